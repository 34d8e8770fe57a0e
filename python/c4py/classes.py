"""Chare classes as the runtime knows them: checked, with their methods, and named alike on all PEs.

A class that can be found in its module has that place as its identity, so every PE that has the
module knows it.  Any other one, made in a function or replaced under its name, has an identity of
its own and travels as a pickle to the PEs that meet it.
"""

import os
import sys

from . import _c4py
from ._c4py import Chare
from .errors import Charm4PyError

CORO, AWAITABLE = 1, 2      # enum method_flags
ALWAYS_CHECK = 1 << 30      # no number of positional arguments alone is right

# Names that the runtime needs for itself, and those that can only be called directly.
RESERVED = frozenset(('wait', 'contribute', 'reduce', 'allreduce', 'AtSync', 'migrate',
                      'setMigratable'))
LOCAL_ONLY = frozenset(('wait', 'contribute', 'reduce', 'allreduce', 'migrated'))

_known = {}                 # class -> (ChareClass, identity, address)
_taken = set()              # identities in use


# ---- methods ----

def plain_function(method):
    """What a class attribute calls, without the staticmethod or classmethod around it."""
    return method.__func__ if isinstance(method, (staticmethod, classmethod)) else method


def is_async(method):
    """Is it an `async def`?"""
    code = getattr(plain_function(method), '__code__', None)
    return code is not None and bool(code.co_flags & 0x80)      # CO_COROUTINE


def _parameters(method):
    code = getattr(plain_function(method), '__code__', None)
    return code.co_varnames[:code.co_argcount + code.co_kwonlyargcount] if code is not None else ()


def _flags(method):
    flags = AWAITABLE if 'awaitable' in _parameters(method) else 0
    if getattr(plain_function(method), '_ck_coro', False) and not is_async(method):
        flags |= CORO
    return flags


def takes_self(method):
    """Is the chare passed to it?  Not to static methods, nor to callables that are no functions."""
    return hasattr(type(method), '__get__') and not isinstance(method, staticmethod)


def _arity(method):
    """Least and most positional arguments besides self."""
    function = plain_function(method)
    code = getattr(function, '__code__', None)
    if code is None:                        # no plain function: its own call will tell
        return 0, ALWAYS_CHECK
    most = code.co_argcount - takes_self(method)
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


# ---- checking and entering ----

def is_chare_class(value):
    """True for subclasses of Chare."""
    return isinstance(value, type) and issubclass(value, Chare) and value is not Chare


def _check(cls):
    if not is_chare_class(cls):
        raise Charm4PyError(f'{cls!r} is not a subclass of Chare: only chare classes can be '
                            'created')
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
    if is_async(cls.__init__):
        raise Charm4PyError(f'{cls.__name__}.__init__ is an async def: use @coro for a '
                            'constructor that waits')


def _find(module, address):
    found = module
    for part in address.split('.'):
        found = getattr(found, part, None)
    return found


def _address(cls):
    """Where a class is found in its module; None if it is not."""
    module = sys.modules.get(cls.__module__)
    if _find(module, cls.__qualname__) is cls:
        return cls.__qualname__
    names = [name for name, value in list(vars(module).items()) if value is cls] if module else []
    return min(names, default=None)


def _enter(cls, identity, address):
    record = _c4py.ChareClass(cls, cls.__name__, cls.__module__, identity, _flags(cls.__init__))
    methods = {}
    for name, method in _remote_methods(cls).items():
        methods[name] = _c4py.EntryMethod(record, name, method, _flags(method), *_arity(method))
    proxies = [type(cls.__name__ + suffix, (_c4py.Proxy,),
                    dict(methods, __slots__=(), __module__=cls.__module__,
                         __doc__=f'Proxy of {cls.__name__}.'))
               for suffix in ('Proxy', 'GroupProxy', 'ArrayProxy')]
    record.enter(*proxies)
    _taken.add(identity)
    _known[cls] = record, identity, address
    return record


def class_of(cls):
    """The runtime's record of a chare class, made when it is first needed.

    Raises Charm4PyError if `cls` is not a subclass of Chare or breaks the rules of one.
    """
    known = _known.get(cls) if isinstance(cls, type) else None
    if known is not None:
        return known[0]
    _check(cls)
    address = _address(cls)
    identity = f'{cls.__module__}:{address}'
    if address is None or identity in _taken:
        address = None
        identity = f'{cls.__module__}:{cls.__qualname__}#{os.urandom(8).hex()}'
    return _enter(cls, identity, address)


def register(cls):
    """Class decorator: check that a class can be one of chares.

    No class has to be registered: the runtime knows a class as soon as it is used.
    """
    _check(cls)
    return cls


def register_module(module):
    """Make the chare classes that a module's namespace holds known."""
    for _, value in sorted(vars(module).items()):
        if is_chare_class(value):
            class_of(value)


# ---- between PEs ----

def describe(cls):
    """What another PE needs to know a class."""
    _, identity, address = _known[cls]
    pickled = None
    if address is None or cls.__module__ == '__main__':
        import cloudpickle
        pickled = cloudpickle.dumps(cls)
    return identity, cls.__module__, cls.__qualname__, address, pickled


def accept(description):
    """Enter a class that another PE described."""
    identity, module_name, qualname, address, pickled = description
    found = None
    if address is not None and (pickled is None or module_name in sys.modules):
        import importlib
        try:
            found = _find(importlib.import_module(module_name), address)
        except ImportError as error:
            raise Charm4PyError(f'the class {module_name}.{qualname} cannot be had on this PE: '
                                f'{error}') from error
    if found is None and pickled is not None:
        import cloudpickle
        found = cloudpickle.loads(pickled)
        found.__module__, found.__qualname__ = module_name, qualname    # cloudpickle loses them
    if not is_chare_class(found):
        raise Charm4PyError(f'the program uses the class {module_name}.{qualname}, which this PE '
                            'cannot find: define it at module level, or import its module')
    return _enter(found, identity, address)
