"""c4p: distributed, object-parallel Python.

Programs are made of chares, objects that live on any PE and call each other's methods
asynchronously::

    from c4py import charm, Chare, Group

    class Hello(Chare):
        def greet(self):
            print('hello from PE', charm.myPe())

    def main(args):
        Group(Hello).greet(awaitable=True).get()
        exit()

    charm.start(main)

or by a process of its own that attaches to PEs: see connect().
"""

import atexit as _atexit
import os as _os
import sys as _sys

from ._version import __version__
from .chare import Array, Chare, Group, register
from .charm import Charm4PyError, Future, charm
from .errors import (CancelledError, NotPublishedError, NotThreadedError, RemoteError,
                     SegmentFullError, SessionClosed)
from .options import Options
from .reduction import Reducer
from .threads import coro, coro_ext, threaded

charm4py_version = __version__

__all__ = ['Array', 'CancelledError', 'Chare', 'Charm4PyError', 'Future', 'Group',
           'NotPublishedError', 'NotThreadedError', 'Options', 'Reducer', 'RemoteError',
           'SegmentFullError', 'SessionClosed', 'charm', 'charm4py_version', 'coro', 'coro_ext',
           'readonlies', 'register', 'threaded']


def __getattr__(name):
    if name == 'readonlies':            # asking for it says that the program uses it
        return _sys.modules[__name__ + '.charm'].readonlies()
    if name in ('connect', 'Session'):  # not for PEs, which would pay for it
        from . import session
        return getattr(session, name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def checkCharmStarted():
    """At exit of a PE: say so if the program never reached charm.start()."""
    if 'C4P_PE' in _os.environ and not charm.started:
        print('The program has ended without charm.start(): call it to start the runtime',
              file=_sys.stderr)


_atexit.register(checkCharmStarted)
