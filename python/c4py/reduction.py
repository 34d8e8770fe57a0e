"""Reducers: how contributions to a reduction are combined."""

import copy
import functools
import operator
import sys

from . import _c4py
from .errors import Charm4PyError

NOP, SUM, PRODUCT, MAX, MIN, AND, OR, XOR, GATHER, CUSTOM = range(10)     # enum reducer_op

_LOGICAL = (AND, OR, XOR)
_NAMES = {'nop': NOP, 'sum': SUM, 'product': PRODUCT, 'max': MAX, 'min': MIN,
          'logical_and': AND, 'logical_or': OR, 'logical_xor': XOR, 'gather': GATHER}
_UFUNCS = {SUM: 'add', PRODUCT: 'multiply', MAX: 'maximum', MIN: 'minimum',
           AND: 'logical_and', OR: 'logical_or', XOR: 'logical_xor'}
_PYTHON = {SUM: operator.add, PRODUCT: operator.mul,
           MAX: lambda a, b: a if a >= b else b, MIN: lambda a, b: a if a <= b else b}

_functions = {}             # function -> (reducer, hook behind it); None -> that of no function


class _Reducers:
    """The reducers by name: ``Reducer.sum``, ``Reducer.max``, ... and what addReducer() adds.

    sum, product, max, min: element by element on arrays and lists.
    logical_and, logical_or, logical_xor: of bools and arrays of bools.
    gather: the list of contributions, ordered by the contributors' index.
    nop: no data; the target is called without an argument.
    """

    def __reduce__(self):                   # wherever they are unpickled: those of that PE
        return 'Reducer'

    def addReducer(self, func, pre=None, post=None):
        """Add a reducer of one's own, called ``Reducer.<name of func>``.

        Call it at module level, so that every PE does.

        Parameters:
            func: takes a list of contributions, of earlier results of func, or of both, in any
                grouping, and returns their combination.
            pre: optional; pre(data, chare) gives what is contributed.
            post: optional; post(result) gives what the target receives.
        """
        name = getattr(func, '__name__', None)
        if name is None or not callable(func):
            raise Charm4PyError(f'addReducer({func!r}): a reducer is a function with a name')
        if name in vars(self) or hasattr(type(self), name):
            raise Charm4PyError(f'Reducer.{name} exists already: give the function another name')
        reducer = _c4py.Reducer(CUSTOM, name, func, pre, post)
        setattr(self, name, reducer)
        _functions[func] = (reducer, post)
        return reducer


Reducer = _Reducers()
for _name, _op in _NAMES.items():
    setattr(Reducer, _name, _c4py.Reducer(_op, _name))
_functions[None] = Reducer.nop, None


def find(function):
    """The reducer that was registered for a function."""
    try:
        return _functions[function][0]
    except (KeyError, TypeError):
        raise Charm4PyError(f'{function!r} is not a reducer: use Reducer.<name>, or register it '
                            'with Reducer.addReducer()') from None


def by_name(name):
    """The reducer of a name."""
    reducer = vars(Reducer).get(name)
    if reducer is None:
        raise Charm4PyError(f'Reducer.{name} is not registered on this PE: call addReducer() at '
                            'module level')
    return reducer


def by_hash(number):
    """The reducer whose name has this hash, in a part that another node sent."""
    for reducer in vars(Reducer).values():
        if reducer.hash == number:
            return reducer
    raise Charm4PyError('the result of a custom reducer came to a PE that has not registered it: '
                        'call addReducer() at module level')


@functools.lru_cache(maxsize=None)
def _ufunc(op):
    import numpy
    return getattr(numpy, _UFUNCS[op])


def _is_numpy(value):
    numpy = sys.modules.get('numpy')        # if nobody has imported it, it is none of its values
    return numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic))


def _refuse(reducer, data):
    raise TypeError(f'Reducer.{reducer.name} cannot combine {type(data).__name__} values: '
                    + ('it takes bools and arrays of bools' if reducer.op in _LOGICAL
                       else 'it takes numbers, arrays of numbers and lists of numbers'))


def _as_array(reducer, data):
    import numpy
    import numbers
    array = numpy.array(data)
    kind = array.dtype.kind
    if kind in 'US' or kind == 'O' and not all(isinstance(item, numbers.Number)
                                               for item in array.flat):
        _refuse(reducer, data)
    return array


def snapshot(data):
    """What a contribution is now, whatever its owner does to it before it is combined."""
    return copy.deepcopy(data)


def contribution(reducer, data, several, first):
    """A contribution in the form in which it is combined: a scalar or an array.

    What waits here until others have come is copied: it is the contributor's. That is an array to
    which others will be added, and any object that may come out of a combination as it is.
    """
    op = reducer.op
    if type(data) is bool:              # bools stay bools where they mean truth
        return data if op in (MAX, MIN) else int(data)
    if isinstance(data, (list, tuple)) or type(data).__module__ == 'array':
        data, first = _as_array(reducer, data), False
    if not _is_numpy(data):
        if op in _LOGICAL:
            _refuse(reducer, data)
        return snapshot(data) if several else data
    if op in _LOGICAL and data.dtype.kind not in 'bO':
        _refuse(reducer, data)
    if op in (SUM, PRODUCT) and data.dtype.kind == 'b':
        return data.astype(int)
    return data.copy() if several and first and hasattr(data, 'shape') and data.shape else data


def combine(reducer, a, b, a_owned, b_owned):
    """Combine two contributions; an owned array may be changed in place and returned."""
    op = reducer.op
    if not _is_numpy(a) and not _is_numpy(b):
        return _PYTHON[op](a, b)
    ufunc = _ufunc(op)
    import numpy
    if (type(a) is not numpy.ndarray or type(b) is not numpy.ndarray or a.shape == ()
            or a.shape != b.shape or a.dtype != b.dtype):
        return ufunc(a, b)
    if a_owned:
        return ufunc(a, b, out=a)
    if b_owned:
        return ufunc(a, b, out=b)
    return ufunc(a, b)


def finish(reducer, value):
    """The combined value as the target receives it."""
    op = reducer.op
    if op == GATHER:
        return [data for _, data in sorted(value, key=operator.itemgetter(0))]
    if op == CUSTOM:
        post = _functions[reducer.function][1]
        return post(value[0]) if post is not None else value[0]
    shape = getattr(value, 'shape', None)
    if _is_numpy(value) and (shape == (1,) or shape == () and hasattr(value, 'flags')):
        return value.reshape(-1)[0]
    return value
