"""hypothesis sends arrays of every kind from PE 0 to the last PE and back: they arrive equal.

    c4py run -n 2 tests/python/arrays_program.py [number of examples]
"""

import sys

import numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from c4py import Chare, charm


class Echo(Chare):
    def __init__(self):
        self.kept = []

    def echo(self, array):
        self.kept = self.kept[-7:] + [array]    # some blocks stay pinned for a while
        return array

    def change(self, array):
        array[...] = array[::-1] if array.ndim else array
        return array.flags.writeable


def dtypes():
    orders = st.sampled_from('<>=')
    return st.one_of(
        hnp.boolean_dtypes(), hnp.scalar_dtypes(),
        hnp.integer_dtypes(endianness='?'), hnp.floating_dtypes(endianness='?'),
        hnp.complex_number_dtypes(), hnp.unicode_string_dtypes(max_len=9),
        hnp.byte_string_dtypes(max_len=9), hnp.datetime64_dtypes(), hnp.timedelta64_dtypes(),
        st.tuples(orders, orders).map(lambda o: numpy.dtype(
            [('a', o[0] + 'i4'), ('b', o[1] + 'f8', (2,)), ('c', 'S3'), ('d', 'U2')], align=True)),
        st.integers(1, 12).map(lambda size: numpy.dtype(f'V{size}')))


@st.composite
def arrays(draw):
    """Contents of any dtype, then a view of it in any layout."""
    dtype = draw(dtypes())
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=7))
    if draw(st.integers(0, 9)) == 0 and shape:
        shape = (2500 // max(dtype.itemsize, 1) + 1,) + shape[1:]   # large enough to be in place
    size = int(numpy.prod(shape)) * dtype.itemsize
    if dtype.kind in 'iufcbV' and dtype.names is None:
        raw = draw(st.binary(min_size=min(size, 64), max_size=min(size, 64)))
        data = (raw * (size // len(raw) + 1))[:size] if raw else b''
        if dtype.kind == 'b':
            data = bytes(byte & 1 for byte in data)
        array = numpy.frombuffer(data, dtype, count=int(numpy.prod(shape))).reshape(shape).copy()
    elif dtype.names is None:
        array = draw(hnp.arrays(dtype, shape, fill=st.nothing() if size < 40 else None))
    else:
        array = numpy.zeros(shape, dtype)
        array['a'] = draw(st.integers(-2**31, 2**31 - 1))
        array['b'] = draw(st.floats(allow_nan=False))
        array['c'] = b'xyz'
        array['d'] = 'é'
    how = draw(st.sampled_from(['as is', 'F', 'reversed', 'strided', 'transposed', 'broadcast']))
    if how == 'F':
        return numpy.asfortranarray(array)
    if not array.shape:
        return array            # a slice of it would be a scalar
    if how == 'reversed':
        return array[tuple(slice(None, None, -1) for _ in array.shape)]
    if how == 'strided':
        return array[tuple(slice(None, None, 2) for _ in array.shape)]
    if how == 'transposed':
        return array.T
    if how == 'broadcast':
        return numpy.broadcast_to(array, (3,) + array.shape)
    return array


def same(a, b):
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    # Bit for bit, so that nan equals itself; padding of structured ones is nobody's business.
    if a.dtype.names:
        return all(same(a[name], b[name]) for name in a.dtype.names)
    if a.dtype == numpy.longdouble or a.dtype == numpy.clongdouble:
        return numpy.array_equal(a, b, equal_nan=True)
    return a.tobytes() == b.tobytes()


def main(args):
    far = Chare(Echo, onPE=charm.numPes() - 1)

    @settings(max_examples=int(args[1]) if len(args) > 1 else 300, deadline=None, database=None,
              derandomize=len(args) <= 1, suppress_health_check=list(HealthCheck))
    @given(arrays())
    def arrives_equal(array):
        before = array.copy()
        back = far.echo(array, ret=True).get()
        assert type(back) is numpy.ndarray and back.flags.writeable
        assert same(back, array), (back, array)
        assert far.change(array, ret=True).get() is True
        assert same(array, before), 'the receiver changed the sender\'s array'

    arrives_equal()
    print('arrays: ok', flush=True)
    exit()


if __name__ == '__main__':
    try:
        charm.start(main)
    except ImportError as error:
        sys.exit(str(error))
