"""Random values, what a chare makes of one, and when two are the same."""

import array
import fractions
import hashlib
import operator

import numpy

DTYPES = ['?', 'i1', 'u1', '<i2', '>i4', '<i8', '<u8', '<f2', '<f4', '<f8', '>f8', '<c16', 'S5',
          '<U3', '<M8[s]', '<m8[ms]', [('a', '<i4'), ('b', '<f8')]]
SHAPES = [(), (0,), (1,), (7,), (3, 4), (2, 3, 2), (300,), (40, 30)]
WORDS = ['', 'a', 'ä', 'word', '日本', 'x' * 300, 'line\nend', '\0']
NOTHING = 'called without a value'      # what a callback without an argument records


def random_array(rng):
    """An array of any dtype, shape and layout."""
    dtype = numpy.dtype(rng.choice(DTYPES))
    shape = rng.choice(SHAPES) if rng.random() < 0.97 else (20000,)
    size = int(numpy.prod(shape, dtype=int))
    numbers = (numpy.arange(size) * rng.randrange(1, 50) + rng.randrange(90)) % 101
    if dtype.names:
        made = numpy.zeros(size, dtype)
        for name in dtype.names:
            made[name] = numbers
    elif dtype.kind in 'SU':
        made = numbers.astype('U3').astype(dtype)
    else:
        made = numbers.astype(dtype)
    return _laid_out(rng, made.reshape(shape))


def _laid_out(rng, made):
    layout = rng.randrange(6)
    if layout == 0:
        return numpy.asfortranarray(made)
    if layout == 1:
        return made.T
    if made.ndim and layout == 2:
        return made[::-1]
    if made.ndim and layout == 3:
        return made[::2]
    if made.ndim and layout == 4:
        made.flags.writeable = False
    return made


def random_scalar(rng):
    """A number, a text, a truth value, or nothing."""
    return rng.choice([
        lambda: None,
        lambda: rng.random() < 0.5,
        lambda: rng.randrange(-100, 100),
        lambda: rng.randrange(-2 ** 63, 2 ** 63),
        lambda: rng.randrange(-10 ** 40, 10 ** 40),
        lambda: rng.choice([0.0, -0.0, 1.5, -2.25e300, float('inf'), float('nan'), rng.random()]),
        lambda: complex(rng.randrange(9), -1.5),
        lambda: rng.choice(WORDS),
        lambda: rng.choice(WORDS).encode(),
        lambda: numpy.float32(rng.randrange(99)),
        lambda: numpy.int16(rng.randrange(-99, 99)),
        lambda: fractions.Fraction(rng.randrange(-9, 9), rng.randrange(1, 9)),
    ])()


def random_value(rng, depth=0):
    """Anything that may be an argument."""
    choice = rng.randrange(20)
    if depth > 2 or choice < 10:
        return random_scalar(rng)
    if choice < 13:
        return random_array(rng)
    if choice == 13:
        return bytearray(rng.randrange(256) for _ in range(rng.choice([0, 3, 5000])))
    if choice == 14:
        return array.array(rng.choice('bhlfd'), range(rng.choice([0, 3, 90])))
    if choice == 15:
        return frozenset(rng.randrange(50) for _ in range(rng.randrange(5)))
    items = [random_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if choice == 16:
        return {rng.choice(WORDS): item for item in items}
    return items if choice == 17 else tuple(items)


def _twist_array(value, salt):
    if value.dtype.kind in 'iufc':
        with numpy.errstate(all='ignore'):
            value = value + value.dtype.type(salt % 50)
    elif value.ndim and salt % 2:
        value = value[::-1]
    return value.T if salt % 3 else value


def twist(value, salt):
    """What a chare makes of a value: another one of the same kind."""
    if value is None or isinstance(value, (bool, numpy.bool_)):
        return value if salt % 2 else not value
    if isinstance(value, numpy.ndarray):
        return _twist_array(value, salt)
    if isinstance(value, numpy.generic):
        with numpy.errstate(all='ignore'):
            return value + type(value)(salt % 7)
    if isinstance(value, (int, float, complex, fractions.Fraction)):
        return value * 3 + salt
    if isinstance(value, str):
        return f'{value}<{salt}>'
    if isinstance(value, (bytes, bytearray)):
        return value[::-1] + bytes([salt % 256])
    if isinstance(value, (tuple, list)):
        return type(value)(twist(item, salt + i) for i, item in enumerate(value))
    if isinstance(value, dict):
        return {key: twist(item, salt) for key, item in value.items()}
    if isinstance(value, frozenset):
        return value | {salt}
    if isinstance(value, array.array):
        return value[::-1]
    raise TypeError(f'no twist for {type(value).__name__}')


def canonical(value):
    """A text that is equal for two values if, and only if, they are the same."""
    if isinstance(value, numpy.ndarray):
        if value.dtype.kind == 'O':
            content = canonical(value.tolist())
        else:
            content = hashlib.sha256(value.tobytes()).hexdigest()[:16]
        return f'{type(value).__name__}({value.dtype.descr},{value.shape},{content})'
    if isinstance(value, numpy.generic):
        return f'{value.dtype.str}({value!r})'
    if isinstance(value, (tuple, list)):
        return f'{type(value).__name__}({",".join(map(canonical, value))})'
    if isinstance(value, (set, frozenset)):
        return f'{type(value).__name__}({",".join(sorted(map(canonical, value)))})'
    if isinstance(value, dict):
        items = sorted((canonical(key), canonical(item)) for key, item in value.items())
        return f'dict({",".join(map(":".join, items))})'
    if isinstance(value, array.array):
        return f'array({value.typecode},{value.tolist()})'
    if isinstance(value, Exception):
        return f'{type(value).__name__}{canonical(value.args)}'
    return f'{type(value).__name__}:{value!r}'


def bag(values):
    """Values whose order says nothing, in an order."""
    return sorted(values, key=canonical)


def salt_of(index):
    """A number for an element, from its index."""
    if isinstance(index, tuple):
        number = 0
        for coordinate in index:
            number = number * 7 + coordinate
        return number
    return operator.index(index)


def short(value, limit=160):
    """A value for people."""
    text = ' '.join(repr(value).split())
    return text if len(text) <= limit else f'{text[:limit]}...'
