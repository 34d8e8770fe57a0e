"""Chare classes as the runtime knows them: checked, with their methods, and named alike on all PEs.

A class that can be found in its module has that place as its identity, so every PE that has the
module knows it.  Any other one, made in a function or replaced under its name, has an identity of
its own and travels as a pickle to the PEs that meet it.  So do, in a session, classes of a client's
`__main__`, which is another one in each client, and those that its PEs cannot import.
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

# In a session, on PEs and in clients.
_in_session = False
_announced = None           # in a client: classes that all PEs of its session have been told of
_path_of_pes = None         # in a client: a function, to the PEs' module search path
_importable = {}            # in a client: top-level module -> can PEs import the same?


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
    moving = {'migrate': _c4py.EntryMethod(record, 'migrate', Chare.migrate, 0, 1, 1)}
    proxies = [type(cls.__name__ + suffix, (_c4py.Proxy,),
                    dict(methods, **more, __slots__=(), __module__=cls.__module__,
                         __doc__=f'Proxy of {cls.__name__}.'))
               for suffix, more in (('Proxy', {}), ('GroupProxy', {}), ('ArrayProxy', moving))]
    record.enter(*proxies)
    _taken.add(identity)
    _known[cls] = record, identity, address
    return record


def _own_identity(cls):
    """An identity for a class that cannot be found by its name.

    In a session it is the same wherever the class is unpickled.
    """
    unique = os.urandom(8).hex()
    if _in_session:                     # it may also travel inside of other pickles
        from cloudpickle import cloudpickle
        unique = cloudpickle._get_or_create_tracker_id(cls)
    return f'{cls.__module__}:{cls.__qualname__}#{unique}'


def _name_class(cls):
    """Identity, and address or None, of a class that is not known yet."""
    address = _address(cls) if _has_public_place(cls) else None
    identity = f'{cls.__module__}:{address}'
    if address is None or identity in _taken:
        return _own_identity(cls), None
    return identity, address


def class_of(cls):
    """The runtime's record of a chare class, made when it is first needed.

    Raises Charm4PyError if `cls` is not a subclass of Chare or breaks the rules of one.
    """
    known = _known.get(cls) if isinstance(cls, type) else None
    if known is None:
        _check(cls)
        record = _enter(cls, *_name_class(cls))
    else:
        record = known[0]
    if _announced is not None and cls not in _announced:
        record = _announce(cls)
    return record


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


# ---- sessions ----

def enter_session():
    """From now on `__main__` is not the same module everywhere."""
    global _in_session
    _in_session = True


def announce_to(path_of_pes):
    """A client has joined a session, or (None) left it.

    Parameters:
        path_of_pes: function that gives the module search path of the session's PEs.
    """
    global _announced, _path_of_pes
    _announced = set() if path_of_pes is not None else None
    _path_of_pes = path_of_pes
    _importable.clear()
    if path_of_pes is not None:
        enter_session()


def _announce(cls):
    """Tell all PEs of a class before they meet it."""
    _announced.add(cls)
    record, _, address = _known[cls]
    if address is not None and not _has_public_place(cls):      # as it had in another session
        record = _enter(cls, _own_identity(cls), None)
    _c4py.client_send_class(record)
    return record


def _has_public_place(cls):
    """Is the module of a class the same one wherever it is imported?"""
    if not _in_session:
        return True
    if cls.__module__ == '__main__':
        return False
    if _path_of_pes is None:
        return True
    top = cls.__module__.partition('.')[0]
    if top not in _importable:
        _importable[top] = top == 'c4py' or _pes_import_the_same(top)
    return _importable[top]


def _pes_import_the_same(top):
    """Would PEs of the session find a top-level module where this client has found it?"""
    import importlib.machinery
    spec = getattr(sys.modules.get(top), '__spec__', None)
    if spec is None:
        return False
    if spec.origin in ('built-in', 'frozen'):
        return True
    found = importlib.machinery.PathFinder.find_spec(top, _path_of_pes())
    return found is not None and (found.origin, list(found.submodule_search_locations or ())) \
        == (spec.origin, list(spec.submodule_search_locations or ()))


class _WithSource:
    """Pickled in place of a class: the class, and its source for tracebacks if no file has it."""

    def __init__(self, cls):
        self._cls = cls

    def __reduce__(self):
        return _with_source, (self._cls, _sources(self._cls))


def _with_source(cls, sources):
    import linecache
    for name, lines in sources.items():
        linecache.cache[name] = sum(map(len, lines)), None, lines, name
    return cls


def _sources(cls):
    """Lines of a notebook's cells, or of a prompt's input, that methods of a class are from."""
    import linecache
    names = {method.__code__.co_filename
             for method in map(plain_function, _remote_methods(cls).values())
             if hasattr(method, '__code__')}
    return {name: linecache.getlines(name) for name in names if not os.path.exists(name)}


def _pickle(cls):
    """A class by its value, although its module may be there."""
    import cloudpickle
    from . import _cloud
    module = sys.modules.get(cls.__module__)
    by_value = (module is not None and module.__name__ == cls.__module__ != '__main__'
                and cls.__module__ not in cloudpickle.list_registry_pickle_by_value())
    if by_value:
        cloudpickle.register_pickle_by_value(module)
    try:
        return _cloud.dumps(_WithSource(cls))
    finally:
        if by_value:
            cloudpickle.unregister_pickle_by_value(module)


# ---- between PEs ----

def describe(cls):
    """What another PE needs to know a class."""
    _, identity, address = _known[cls]
    pickled = None
    if address is None:
        pickled = _pickle(cls)
    elif cls.__module__ == '__main__':
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
    known = _known.get(found)
    if known is not None and known[1] == identity:
        return known[0]                 # it has come before, as part of another one
    return _enter(found, identity, address)
