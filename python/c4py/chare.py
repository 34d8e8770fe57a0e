"""Creating chares: single ones, groups and arrays."""

import operator

from . import _c4py
from ._c4py import Chare
from .classes import register
from .errors import Charm4PyError

__all__ = ['Chare', 'Group', 'Array', 'register']

MAX_DIMS = 6
MAX_EXTENT = 2 ** 31 - 1


def Group(chare_type, args=[], onPEs=None):
    """Create a group: one chare on every PE, with the PE's number as its index.

    Parameters:
        chare_type: subclass of Chare.
        args: list of positional arguments for every constructor.
        onPEs: None; groups on some of the PEs only are sections.

    Returns the group's proxy at once; see charm.awaitCreation().
    """
    if onPEs is not None:
        raise Charm4PyError('Group(onPEs=...) makes a section, which this version of c4py does '
                            'not have: create the group on all PEs')
    return _c4py.create_group(chare_type, args)


def _shape(dims):
    if isinstance(dims, (tuple, list)):
        values = tuple(dims)
    else:
        values = (dims,)
    try:
        shape = tuple(operator.index(value) for value in values)
    except TypeError:
        raise TypeError(f'dims={dims!r}: the extents of an array are ints') from None
    if not 1 <= len(shape) <= MAX_DIMS:
        raise Charm4PyError(f'dims={dims!r}: an array has 1 to {MAX_DIMS} dimensions')
    for extent in shape:
        if not 0 <= extent <= MAX_EXTENT:
            raise Charm4PyError(f'dims={dims!r}: an extent lies between 0 and {MAX_EXTENT}')
    return shape


def Array(chare_type, dims=None, ndims=-1, args=[], map=None, useAtSync=False):
    """Create an array of chares with indexes of 1 to 6 dimensions.

    Parameters:
        chare_type: subclass of Chare.
        dims: extents, a tuple of ints (an int for one dimension).  Elements are placed in
            contiguous blocks of the row-major order, evenly over the PEs.
        ndims: number of dimensions; must agree with dims.
        args: list of positional arguments for every constructor.
        map: None: placement by ArrayMap needs a later version.
        useAtSync: whether the elements take part in load balancing by AtSync().

    Returns the array's proxy at once; see charm.awaitCreation().
    """
    if dims is None:
        raise Charm4PyError('Array() needs dims: arrays whose elements are inserted one by one '
                            'are not in this version of c4py')
    if map is not None:
        raise Charm4PyError('Array(map=...) is not in this version of c4py: leave it out for '
                            'placement in blocks')
    shape = _shape(dims)
    if ndims not in (-1, len(shape)):
        raise Charm4PyError(f'ndims={ndims}, but dims={dims!r} has {len(shape)} dimensions')
    return _c4py.create_array(chare_type, shape, args)
