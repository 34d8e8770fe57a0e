"""Chare classes and the collections made of them."""

import operator
import sys

from . import _c4py
from ._c4py import Chare
from .errors import Charm4PyError

__all__ = ['Chare', 'Group', 'Array', 'register']

CORO, ASYNC, AWAITABLE = 1, 2, 4        # enum method_flags
MAX_DIMS = 6
MAX_EXTENT = 2 ** 31 - 1
ALWAYS_CHECK = 1 << 30      # no number of positional arguments alone is right

# Names that the runtime needs for itself, and those that can only be called directly.
RESERVED = frozenset(('wait', 'contribute', 'reduce', 'allreduce', 'AtSync', 'migrate',
                      'setMigratable'))
LOCAL_ONLY = frozenset(('wait', 'contribute', 'reduce', 'allreduce', 'migrated'))
INHERITED = frozenset(dir(Chare))

_known = {}                 # class -> ChareClass


def plain_function(method):
    """What a class attribute calls, without the staticmethod or classmethod around it."""
    return method.__func__ if isinstance(method, (staticmethod, classmethod)) else method


def _is_async(method):
    code = getattr(plain_function(method), '__code__', None)
    return code is not None and bool(code.co_flags & 0x80)      # CO_COROUTINE


def _parameters(method):
    code = getattr(plain_function(method), '__code__', None)
    return code.co_varnames[:code.co_argcount + code.co_kwonlyargcount] if code is not None else ()


def _flags(method):
    flags = AWAITABLE if 'awaitable' in _parameters(method) else 0
    if _is_async(method):
        return flags | ASYNC
    return flags | CORO if getattr(plain_function(method), '_ck_coro', False) else flags


def _arity(method):
    """Least and most positional arguments besides self."""
    function = plain_function(method)
    code = getattr(function, '__code__', None)
    if code is None:                        # no plain function: its own call will tell
        return 0, ALWAYS_CHECK
    most = code.co_argcount - (not isinstance(method, staticmethod))
    least = most - len(function.__defaults__ or ())
    required = code.co_kwonlyargcount - len(function.__kwdefaults__ or ())
    if required:
        return ALWAYS_CHECK, ALWAYS_CHECK
    if code.co_flags & 0x04:                # CO_VARARGS
        most = ALWAYS_CHECK
    return max(least, 0), most


def _remote_methods(cls):
    """Names and attributes of a class that can be called through its proxies."""
    found = {}
    for base in reversed(cls.__mro__):
        if base is Chare or base is object:
            continue
        for name, value in vars(base).items():
            if name.startswith('__') and name.endswith('__') or name in LOCAL_ONLY:
                continue
            if callable(plain_function(value)) and not isinstance(value, type):
                found[name] = value
            else:
                found.pop(name, None)
    return found


def _check_class(cls):
    for base in cls.__mro__:
        if base is Chare or base is object:
            continue
        clash = RESERVED.intersection(vars(base))
        if clash:
            raise Charm4PyError(
                f'{cls.__name__}.{sorted(clash)[0]}: the runtime uses this name for itself in '
                'every chare: choose another one')
    for name, method in _remote_methods(cls).items():
        if 'ret' in _parameters(method):
            raise AssertionError(
                f'{cls.__name__}.{name}: a parameter cannot be called "ret": calls use that '
                'keyword to ask for the return value')


def class_of(cls):
    """The runtime's record of a chare class, made when it is first needed.

    Raises Charm4PyError if `cls` is not a subclass of Chare or breaks the rules of one.
    """
    known = _known.get(cls)
    if known is not None:
        return known
    if not isinstance(cls, type) or not issubclass(cls, Chare) or cls is Chare:
        raise Charm4PyError(f'{cls!r} is not a subclass of Chare: only chare classes can be '
                            'created')
    _check_class(cls)
    init = cls.__init__
    if _is_async(init):
        raise Charm4PyError(f'{cls.__name__}.__init__ is an async def: use @coro for a '
                            'constructor that waits')
    record = _c4py.ChareClass(cls, cls.__name__, cls.__module__, cls.__qualname__, _flags(init))
    methods = {}
    for name, method in _remote_methods(cls).items():
        methods[name] = _c4py.EntryMethod(record, name, method, _flags(method), *_arity(method))
    proxies = [type(cls.__name__ + suffix, (_c4py.Proxy,),
                    dict(methods, __slots__=(), __module__=cls.__module__,
                         __doc__=f'Proxy of {cls.__name__}.'))
               for suffix in ('Proxy', 'GroupProxy', 'ArrayProxy')]
    record.enter(*proxies)
    _known[cls] = record
    return record


def register(cls):
    """Class decorator: make a chare class known to the runtime.

    Classes in ``__main__`` and those handed to ``charm.start()`` need no decorator, and any other
    class is registered when it is first used.
    """
    class_of(cls)
    return cls


def is_chare_class(value):
    """True for subclasses of Chare."""
    return isinstance(value, type) and issubclass(value, Chare) and value is not Chare


def register_module(module):
    """Register the chare classes that a module's namespace holds."""
    for _, value in sorted(vars(module).items()):
        if is_chare_class(value):
            class_of(value)


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


def describe(cls):
    """What another PE needs to know a class: (module, qualified name, pickle or None)."""
    module = sys.modules.get(cls.__module__)
    found = module
    for part in cls.__qualname__.split('.'):
        found = getattr(found, part, None)
    importable = (found is cls and cls.__module__ != '__main__')
    if importable:
        return cls.__module__, cls.__qualname__, None
    import cloudpickle
    return cls.__module__, cls.__qualname__, cloudpickle.dumps(cls)


def accept(description):
    """Register a class that another PE described."""
    module_name, qualname, pickled = description
    found = None
    if module_name in sys.modules or pickled is None:
        import importlib
        found = importlib.import_module(module_name)
        for part in qualname.split('.'):
            found = getattr(found, part, None)
    if found is None and pickled is not None:
        import cloudpickle
        found = cloudpickle.loads(pickled)
        found.__module__, found.__qualname__ = module_name, qualname    # cloudpickle loses them
    if not is_chare_class(found):
        raise Charm4PyError(f'the program uses the class {module_name}.{qualname}, which this PE '
                            'cannot find: define it at module level, or import its module')
    return class_of(found)
