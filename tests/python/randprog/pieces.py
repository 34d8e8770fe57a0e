"""What elements contribute to reductions, and what must come out of them."""

import array
import fractions
import functools
import operator
import random

import numpy

from c4py import Reducer

# The reducers that can combine each kind of piece.
ARITHMETIC = ('sum', 'product', 'max', 'min')
LOGICAL = ('logical_and', 'logical_or', 'logical_xor')
ALWAYS = ('gather', 'merge_counts', 'widest', 'average')
KINDS = {
    'int': ARITHMETIC, 'wide': ARITHMETIC, 'float': ARITHMETIC, 'fraction': ARITHMETIC,
    'complex': ('sum',), 'int32': ARITHMETIC, 'float64': ARITHMETIC,
    'array': ARITHMETIC, 'bytes': ARITHMETIC, 'table': ARITHMETIC, 'large': ARITHMETIC,
    'fortran': ARITHMETIC, 'single': ARITHMETIC, 'zero-d': ARITHMETIC, 'list': ARITHMETIC,
    'tuple': ARITHMETIC, 'one': ARITHMETIC, 'packed': ARITHMETIC,
    'bool': LOGICAL + ('max', 'min'), 'bools': LOGICAL, 'bool array': LOGICAL,
    'mixed': (), 'nothing': ('nop', None),
}


def random_spec(rng):
    """A reducer's name and a kind of piece that go together."""
    kind = rng.choice(list(KINDS))
    reducers = KINDS[kind] + (() if kind == 'nothing' else ALWAYS)
    return rng.choice(reducers), kind, rng.randrange(10 ** 6)


def piece(spec, salt):
    """What the element with this number contributes."""
    reducer, kind, seed = spec
    rng = random.Random(seed * 1009 + salt)
    if reducer == 'product':        # so that no product leaves what its type holds exactly
        small, eighth = rng.choice([-1, 1]), rng.choice([0.5, 1.0, 2.0, -1.0])
    else:
        small, eighth = rng.randrange(-1000, 1000), rng.randrange(-8000, 8000) / 8
    return _MAKERS[kind](rng, small, eighth)


def _truths(rng, count):
    return [rng.random() < 0.8 for _ in range(count)]


_MAKERS = {
    'int': lambda rng, small, eighth: small,
    'wide': lambda rng, small, eighth: small * 10 ** 30 if rng.random() < 0.1 else small,
    'float': lambda rng, small, eighth: eighth,
    'fraction': lambda rng, small, eighth: fractions.Fraction(small, rng.randrange(1, 9)),
    'complex': lambda rng, small, eighth: complex(small % 2, 1),
    'int32': lambda rng, small, eighth: numpy.int32(small),
    'float64': lambda rng, small, eighth: numpy.float64(eighth),
    'array': lambda rng, small, eighth: numpy.arange(5) * 10 ** 18 + 3 * small,
    'bytes': lambda rng, small, eighth: numpy.full((2, 3), 5 * small % 256, numpy.uint8),
    'table': lambda rng, small, eighth: numpy.full((4, 3), eighth),
    'large': lambda rng, small, eighth: numpy.full(3000, eighth),
    'fortran': lambda rng, small, eighth: numpy.full((3, 2), eighth, order='F'),
    'single': lambda rng, small, eighth: numpy.array([eighth], numpy.float32),
    'zero-d': lambda rng, small, eighth: numpy.array(eighth),
    'list': lambda rng, small, eighth: [small, 1, -small],
    'tuple': lambda rng, small, eighth: (eighth, eighth, 2.0),
    'one': lambda rng, small, eighth: [small],
    'packed': lambda rng, small, eighth: array.array('d', [eighth, 0.5]),
    'bool': lambda rng, small, eighth: rng.random() < 0.8,
    'bools': lambda rng, small, eighth: _truths(rng, 3),
    'bool array': lambda rng, small, eighth: numpy.array(_truths(rng, 6)).reshape(2, 3),
    'mixed': lambda rng, small, eighth: rng.choice([None, 'text', small, (small, b'x')]),
    'nothing': lambda rng, small, eighth: rng.choice([None, 7, 'ignored']),
}


# ---- custom reducers ----

def _text(data):
    return repr(data) if not isinstance(data, numpy.ndarray) else repr(data.tolist())


def merge_counts(contributions):
    """How often each text was contributed."""
    merged = {}
    for counts in contributions:
        for text, count in counts.items():
            merged[text] = merged.get(text, 0) + count
    return merged


def widest(contributions):
    """The longest text, the greatest of equals."""
    return max(contributions, key=lambda text: (len(text), text))


def average(contributions):
    """The sums of two columns."""
    return [sum(column) for column in zip(*contributions)]


def _counts_before(data, chare):
    return {_text(data)[:8]: 1, type(chare).__name__[:4]: 1}


def _text_before(data, chare):
    return _text(data)


def _average_before(data, chare):
    return [1, len(_text(data))]


def _average_after(sums):
    return {'elements': sums[0], 'mean': sums[1] / sums[0]}


Reducer.addReducer(merge_counts, pre=_counts_before)
Reducer.addReducer(widest, pre=_text_before)
Reducer.addReducer(average, pre=_average_before, post=_average_after)


# ---- the oracle ----

def _greater(a, b):
    return numpy.maximum(a, b) if _numeric(a) else max(a, b)


def _lesser(a, b):
    return numpy.minimum(a, b) if _numeric(a) else min(a, b)


def _numeric(value):
    return isinstance(value, (numpy.ndarray, numpy.generic))


def _logical(of_arrays, of_bools):
    return lambda a, b: of_arrays(a, b) if _numeric(a) else of_bools(a, b)


_TWO = {
    'sum': operator.add, 'product': operator.mul, 'max': _greater, 'min': _lesser,
    'logical_and': _logical(numpy.logical_and, operator.and_),
    'logical_or': _logical(numpy.logical_or, operator.or_),
    'logical_xor': _logical(numpy.logical_xor, operator.xor),
}


def _custom(reducer, pieces, chare_name):
    if reducer == 'widest':
        return widest([_text(data) for data in pieces])
    if reducer == 'average':
        lengths = [len(_text(data)) for data in pieces]
        return {'elements': len(lengths), 'mean': sum(lengths) / len(lengths)}
    counts = {}
    for text in [_text(data)[:8] for data in pieces] + [chare_name[:4]] * len(pieces):
        counts[text] = counts.get(text, 0) + 1
    return counts


def reduced(spec, salts, chare_name):
    """What the target of a reduction must receive; `salts` in the order of indexes."""
    reducer = spec[0]
    pieces = [piece(spec, salt) for salt in salts]
    if reducer in ('nop', None):
        return None
    if reducer == 'gather':
        return pieces
    if reducer in ('merge_counts', 'widest', 'average'):
        return _custom(reducer, pieces, chare_name)
    if isinstance(pieces[0], (list, tuple, array.array)):
        pieces = [numpy.array(data) for data in pieces]
    with numpy.errstate(all='ignore'):
        value = functools.reduce(_TWO[reducer], pieces)
    if isinstance(value, numpy.ndarray) and value.shape in ((), (1,)):
        return value.reshape(-1)[0]
    return value
