"""What routers make of two parts of a reduction (daemon/router/combine.h).

The oracle is what a PE makes of them: c4py.reduction, that is the interpreter and NumPy.
"""

import ctypes
import os
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from c4py import reduction
from harness import ROOT

pytest_plugins = ["args_build"]

CANNOT, IN_PLACE, APART = range(3)
SMALL = 40
NUMERIC = (reduction.SUM, reduction.PRODUCT, reduction.MAX, reduction.MIN)
LOGICAL = (reduction.AND, reduction.OR, reduction.XOR)
REALS = "bBhHiIlLqQfdg"
COMPLEX = "FDG"


class Result(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint8 * SMALL), ("size", ctypes.c_size_t)]


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    target = tmp_path_factory.mktemp("combine") / "combine.so"
    sources = [ROOT / "daemon/router" / name for name in ("combine.c", "combine_items.c")]
    subprocess.run(
        [os.environ.get("CC", "gcc"), "-std=c11", "-O2", "-Wall", "-fPIC", "-shared", f"-I{ROOT}"]
        + [*map(str, sources), "-o", str(target)],
        check=True,
    )
    loaded = ctypes.CDLL(str(target))
    loaded.combine_values.argtypes = [
        ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t,
        ctypes.POINTER(Result)]
    loaded.combine_finish.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.POINTER(Result)]
    return loaded


class Combiner:
    """a op b as routers do it: the value that the target gets, or None if they leave it to a PE."""

    def __init__(self, library, codec):
        self.library, self.codec = library, codec

    def values(self, op, first, second):
        """Encoded values; the encoded result or None."""
        place = ctypes.create_string_buffer(first, len(first))
        result = Result()
        answer = self.library.combine_values(op, place, len(first), second, len(second), result)
        if answer == CANNOT:
            assert place.raw == first
            return None
        return place.raw if answer == IN_PLACE else bytes(result.bytes[:result.size])

    def finish(self, body):
        result = Result()
        answer = self.library.combine_finish(body, len(body), result)
        assert answer != CANNOT
        return body if answer == IN_PLACE else bytes(result.bytes[:result.size])

    def encode(self, op, value):
        reducer = next(r for r in vars(reduction.Reducer).values() if r.op == op)
        return self.codec.encode((reduction.contribution(reducer, value, False, True),))

    def __call__(self, op, first, second):
        combined = self.values(op, self.encode(op, first), self.encode(op, second))
        if combined is None:
            return None
        (value,), _ = self.codec.decode(self.finish(combined), 1)
        return value

    def expected(self, op, first, second):
        reducer = next(r for r in vars(reduction.Reducer).values() if r.op == op)
        with np.errstate(all="ignore"):
            parts = [reduction.contribution(reducer, value, False, True)
                     for value in (first, second)]
            return reduction.finish(reducer, reduction.combine(reducer, *parts, False, False))


@pytest.fixture(scope="session")
def combine(library, codec):
    return Combiner(library, codec)


def assert_same(got, expected, exact=True):
    """`exact` False: of complex products NumPy itself rounds those in vectors differently."""
    assert type(got) is type(expected), (got, expected)
    if isinstance(expected, (np.ndarray, np.generic)):
        assert got.dtype == expected.dtype and got.shape == expected.shape
        if exact:
            np.testing.assert_array_equal(got, expected)
        else:
            np.testing.assert_allclose(got, expected, rtol=8 * np.finfo(expected.dtype).eps)
    elif expected != expected:
        assert got != got
    else:
        assert got == expected and str(got) == str(expected)


def random_array(dtype, shape, seed):
    random = np.random.default_rng(seed)
    if dtype == "?":
        return random.integers(0, 2, shape).astype(bool)
    if dtype in COMPLEX:
        return (random.normal(size=shape) + 1j * random.normal(size=shape)).astype(dtype)
    if dtype in "fdge":
        return (100 * random.normal(size=shape)).astype(dtype)
    return random.integers(0, 256, (*shape, np.dtype(dtype).itemsize), np.uint8).view(dtype)[..., 0]


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3), (300,), (64, 33), (0,), (1, 1)])
@pytest.mark.parametrize("dtype", REALS + COMPLEX + "?")
def test_arrays_of_every_plain_dtype_become_what_numpy_makes_of_them(combine, dtype, shape):
    a, b = (random_array(dtype, shape, seed) for seed in (1, 2))
    ops = NUMERIC[2:] + LOGICAL if dtype == "?" else NUMERIC[:2 if dtype in COMPLEX else 4]
    for op in ops:
        exact = dtype not in COMPLEX or op != reduction.PRODUCT
        assert_same(combine(op, a, b), combine.expected(op, a, b), exact)


@pytest.mark.parametrize("dtype", REALS + COMPLEX + "?")
def test_numpy_scalars_stay_scalars(combine, dtype):
    a, b = (random_array(dtype, (1,), seed)[0] for seed in (3, 4))
    ops = NUMERIC[2:] + LOGICAL if dtype == "?" else NUMERIC[:2 if dtype in COMPLEX else 4]
    for op in ops:
        exact = dtype not in COMPLEX or op != reduction.PRODUCT
        assert_same(combine(op, a, b), combine.expected(op, a, b), exact)


@pytest.mark.parametrize("op", NUMERIC)
def test_nan_and_infinity_come_out_as_in_numpy_and_in_python(combine, op):
    special = [float("nan"), float("inf"), -float("inf"), 1.5, -2.5, 1e308, 5e-324]
    for a in special:
        for b in special:
            assert_same(combine(op, a, b), combine.expected(op, a, b))
    for dtype in "fdg":
        with np.errstate(over="ignore", under="ignore"):
            a, b = (np.array(axis).astype(dtype).ravel()
                    for axis in np.meshgrid(special, special))
        assert_same(combine(op, a, b), combine.expected(op, a, b))


@pytest.mark.parametrize("shape", [(7,), (4, 100)])
def test_fortran_order_is_kept_and_only_combined_with_itself(combine, shape):
    a = np.asfortranarray(random_array("d", shape, 1))
    b = np.asfortranarray(random_array("d", shape, 2))
    assert_same(combine(reduction.SUM, a, b), a + b)
    if len(shape) > 1:
        assert combine(reduction.SUM, a, np.ascontiguousarray(b)) is None


integers = st.integers(-2**66, 2**66) | st.sampled_from(
    [0, 1, -1, 127, 128, -128, -129, 2**31, -2**31 - 1, 2**63 - 1, -2**63])


@settings(deadline=None)
@given(op=st.sampled_from(NUMERIC), a=integers, b=integers)
def test_ints_are_right_or_left_to_a_pe(combine, op, a, b):
    got = combine(op, a, b)
    expected = combine.expected(op, a, b)
    fits = all(-2**63 <= value < 2**63 for value in (a, b, expected))
    assert (got == expected and type(got) is int) if fits else got is None


@settings(deadline=None)
@given(op=st.sampled_from(NUMERIC), a=st.floats(), b=st.floats())
def test_floats_are_those_of_python(combine, op, a, b):
    assert_same(combine(op, a, b), combine.expected(op, a, b))


@pytest.mark.parametrize("op, truth", [
    (reduction.AND, lambda a, b: a and b), (reduction.OR, lambda a, b: a or b),
    (reduction.XOR, lambda a, b: a != b), (reduction.MAX, max), (reduction.MIN, min)])
def test_bools_are_those_of_python(combine, op, truth):
    for a in (False, True):
        for b in (False, True):
            bodies = [combine.codec.encode((value,)) for value in (a, b)]
            (value,), _ = combine.codec.decode(combine.values(op, *bodies), 1)
            assert value is truth(a, b)


def test_complex_numbers_have_a_sum_and_a_product(combine):
    for op in NUMERIC[:2]:
        assert_same(combine(op, 1.5 - 2j, -3 + 0.1j), combine.expected(op, 1.5 - 2j, -3 + 0.1j))
    assert combine(reduction.MAX, 1j, 2j) is None


@pytest.mark.parametrize("a, b", [
    (1, 1.0), (1.0, np.float64(1)), (np.float32(1), np.float64(1)), (np.zeros(3), np.zeros(4)),
    (np.zeros(3), np.zeros(3, "f")), (np.zeros((2, 3)), np.zeros((3, 2))), (np.zeros(3), 1.0),
    (np.zeros(2, "e"), np.zeros(2, "e")), (np.zeros(2, ">f8"), np.zeros(2, ">f8")),
    (np.zeros(2, "q"), np.zeros(2, "l"))])
def test_values_of_two_kinds_are_left_to_a_pe(combine, a, b):
    assert combine(reduction.SUM, a, b) is None


@settings(deadline=None)
@given(dtype=st.sampled_from(REALS), data=st.data())
def test_any_items_wherever_they_lie(combine, dtype, data):
    shape = data.draw(hnp.array_shapes(max_dims=3, max_side=5))
    a, b = (data.draw(hnp.arrays(dtype, shape)) for _ in range(2))
    for op in NUMERIC:
        assert_same(combine(op, a, b), combine.expected(op, a, b))


@settings(deadline=None)
@given(op=st.integers(0, 9), body=st.binary(max_size=60), other=st.binary(max_size=60),
       head=st.sampled_from([b"", b"\x23\x00\x01d", b"\x25f", b"\x06"]))
def test_bytes_that_are_no_values_are_refused(combine, op, body, other, head):
    combined = combine.values(op, head + body, head + other)
    if combined is not None:
        (value,), _ = combine.codec.decode(combined, 1)
        assert isinstance(value, (int, float, complex, np.ndarray, np.generic))
