"""The runtime as programs see it: the object `charm`."""

import bisect
import sys
import time

from . import _c4py, classes
from ._c4py import Chare, Future as _Future
from .chare import Array as _Array
from .errors import Charm4PyError, NotThreadedError
from .options import Options
from .reduction import Reducer
from .threads import coro

__all__ = ['charm', 'Charm', 'Charm4PyError', 'Future', 'readonlies', 'Options']


class _Readonlies:
    """Attributes that main sets before it first suspends are seen by every PE."""

    def __reduce__(self):                   # wherever it is unpickled: the bag of that PE
        return '_readonlies'


_readonlies = _Readonlies()
_in_use = False             # somebody imported the bag: main's first slice must be held back


def readonlies():
    """The bag of readonlies; asking for it says that the program uses it."""
    global _in_use
    _in_use = True
    return _readonlies


def Future(num_vals=1):
    """Create a future that takes `num_vals` values; in coroutines only.

    It can be sent to any chare, and is called, or its send() is, with a value from anywhere.
    """
    if isinstance(num_vals, bool) or not isinstance(num_vals, int) or num_vals < 1:
        raise ValueError(f'num_vals={num_vals!r}: a future takes 1 value or more')
    return _c4py.create_future(num_vals)


def _module_globals(module_name):
    module = sys.modules.get(module_name)
    if module is None:
        import importlib
        module = importlib.import_module(module_name)
    return vars(module)


def _require_remote_exec():
    if not charm.options.remote_exec:
        raise Charm4PyError('remote execution of code is off: set charm.options.remote_exec = True '
                            'before charm.start()')


class CharmRemote(Chare):
    """The members of charm.thisProxy: what one PE may ask of another's runtime."""

    def exit(self, exit_code=0):
        """End the program; also a target of reductions, whose value becomes the code."""
        charm.exit(exit_code)

    def myPe(self):
        """Number of the PE that runs this."""
        return charm.myPe()

    def updateGlobals(self, globals_dict, module_name='__main__'):
        """Set globals of a module."""
        _module_globals(module_name).update(globals_dict)

    def exec(self, code, module_name='__main__'):
        """Execute code with a module's globals; needs options.remote_exec."""
        _require_remote_exec()
        exec(code, _module_globals(module_name))

    rexec = exec

    def eval(self, expression, module_name='__main__'):
        """Evaluate an expression with a module's globals; needs options.remote_exec."""
        _require_remote_exec()
        return eval(expression, _module_globals(module_name))

    def createArray(self, cls, dims=None, ndims=-1, args=[], map=None, useAtSync=False, cb=None):
        """Create an array from here; calls `cb` with its proxy and returns it."""
        proxy = _Array(cls, dims, ndims, args, map, useAtSync)
        if cb is not None:
            cb(proxy)
        return proxy

    def addReducer(self, func):
        """Register a reducer."""
        Reducer.addReducer(func)

    def _stuck(self):
        from . import ending
        return ending.local_state()

    def _lacking(self, keys):
        return [(key, _c4py.lacking(*key)) for key in keys]

    @coro
    def _end_of_program(self):
        from . import ending
        ending.end_of_program()

    # What clients of a session ask for.

    def _publish(self, name, value):
        from . import _board
        _board.publish(name, value)

    @coro
    def _lookup(self, name, timeout):
        from . import _board
        return _board.lookup(name, timeout)

    def _names(self):
        from . import _board
        return _board.names()

    def _module_path(self):
        return sys.path

    def _start_quiescence(self, callback):
        charm.startQD(callback)

    @coro
    def _output_leaves(self):
        from . import _board
        _board.output_leaves()


class Charm:
    """The runtime of this PE; there is one, `charm`.

    Attributes:
        options: settings, to be made before start(); see Options.
        thisProxy: proxy of the group of runtimes, for exit(), updateGlobals(), exec(), eval() on
            other PEs.
        reducers: the same as Reducer.
    """

    def __reduce__(self):                   # wherever it is unpickled: the runtime of that PE
        return 'charm'

    def __init__(self):
        self.options = Options()
        self.reducers = Reducer
        self.thisProxy = None
        self.started = False
        self._pe = -1
        self._pes = -1
        self._session = None

    # ---- start and end ----

    def start(self, entry=None, classes=[], modules=[], interactive=False):
        """Start the program; every PE calls it, and it does not return.

        Parameters:
            entry: main: a function (it may be an `async def`) of one parameter, the list of
                arguments, or a chare class whose constructor takes just that.  Runs as a coroutine
                on PE 0.
            classes: chare classes of other modules to make known.
            modules: names of modules all of whose chare classes are made known.
            interactive: not in this version of c4py.

        Called in a process that is no PE, as by ``python3 app.py``, starts the program again on one
        PE (what it did before start() it does again) and takes its exit code.
        A worker of multiprocessing that imports the program has nothing to start: it returns.

        Raises Charm4PyError if it was called before, or the entry is not as above.
        """
        if self.started:
            raise Charm4PyError('charm.start() was called before: it is called once')
        if self._session is not None:
            raise Charm4PyError(f'charm.start() in a client: this process drives {self._session!r} '
                                'and creates chares as it is')
        if interactive:
            raise Charm4PyError('interactive mode is not in this version of c4py: run a program')
        self._check_entry(entry)
        from . import _runtime, launch
        if not launch.is_pe():
            if launch.imported_by_multiprocessing():
                return
            launch.run_this_program()
        self.started = True
        self._pe, self._pes = _c4py.attach(_runtime, Charm4PyError)
        launch.forget_environment()
        launch.prepare_streams()
        self._register(entry, classes, modules)
        self.thisProxy = _c4py.charm_group(CharmRemote)
        _c4py.begin()
        arguments, quiet = launch.program_arguments(sys.argv)
        self.options.quiet = self.options.quiet or quiet
        if self._pe == 0:
            self._run_main(entry, arguments)
        _c4py.loop()

    @staticmethod
    def _check_entry(entry):
        assert callable(entry), 'charm.start() needs an entry: a function, or a chare class'
        function = entry.__init__ if isinstance(entry, type) else entry
        expected = 2 if isinstance(entry, type) else 1
        if isinstance(entry, type) and not classes.is_chare_class(entry):
            raise Charm4PyError(f'the entry {entry.__name__} is a class, but not one of chares')
        code = getattr(function, '__code__', None)
        if code is None or code.co_argcount != expected:
            raise Charm4PyError(
                f'the entry {getattr(entry, "__name__", entry)!s} must take exactly one parameter, '
                'the list of arguments')

    @staticmethod
    def _register(entry, chare_classes, modules):
        if isinstance(entry, type):
            classes.class_of(entry)
        for cls in chare_classes:
            classes.class_of(cls)
        import importlib
        for name in modules:
            classes.register_module(importlib.import_module(name))
        classes.register_module(sys.modules['__main__'])

    @staticmethod
    def _run_main(entry, arguments):
        name, is_async = entry.__name__, classes.is_async(entry)
        if isinstance(entry, type):
            entry = _c4py.main_chare(entry).__init__
        _c4py.run_main(entry, name, (arguments,), is_async, _in_use)
        bag = None
        if _in_use:
            bag = {name: value for name, value in vars(_readonlies).items()
                   if not name.startswith('_') and not name.endswith('_')}
        _c4py.main_suspended(bag)

    def exit(self, exit_code=0):
        """End the program on all PEs with an exit code; does not return.

        In a client it closes the session, and returns.
        """
        from . import _runtime
        if self._session is not None:
            self._session.close()
            return
        code, text = _runtime.exit_code(exit_code)
        _c4py.exit(code, text)

    def abort(self, message):
        """End the program with code 1, a message and a stack trace; does not return."""
        import traceback
        text = str(message)
        sys.stdout.flush()
        print(f'PE {self._pe}: abort: {text}', file=sys.stderr)
        traceback.print_stack(sys._getframe(1), file=sys.stderr)
        _c4py.exit(1, f'PE {self._pe}: abort: {text[:255]}')

    # ---- sessions ----

    def _serve_session(self):
        """Be a PE of a session; does not return."""
        from . import _runtime, launch
        self.started = True
        self._pe, self._pes = _c4py.attach(_runtime, Charm4PyError)
        launch.forget_environment()
        launch.prepare_streams()
        classes.enter_session()
        self.thisProxy = _c4py.charm_group(CharmRemote)
        _c4py.begin()
        _c4py.loop()

    def _enter_session(self, session, pes):
        """Be the runtime of a client."""
        self._session, self._pes = session, pes
        self.thisProxy = _c4py.charm_group(CharmRemote)

    def _leave_session(self):
        self._session = self.thisProxy = None
        self._pes = -1

    # ---- where we are ----

    def myPe(self):
        """Number of this PE, from 0; -1 before start(), and in a client."""
        return self._pe

    def numPes(self):
        """Number of PEs of the program; -1 before start()."""
        return self._pes

    def myHost(self):
        """Number of the host that this PE is on; of a client's session, the first one."""
        return self.getPeHost(self._pe) if 0 <= self._pe < self._pes else 0

    def numHosts(self):
        """Number of hosts that the program runs on."""
        return len(_c4py.hosts())

    def getHostPes(self, host):
        """The list of PEs on a host."""
        self._check_host(host)
        bounds = _c4py.hosts() + [self._pes]
        return list(range(bounds[host], bounds[host + 1]))

    def getHostFirstPe(self, host):
        """The first PE on a host."""
        self._check_host(host)
        return _c4py.hosts()[host]

    def getHostNumPes(self, host):
        """How many PEs are on a host."""
        return len(self.getHostPes(host))

    def getPeHost(self, pe):
        """The host that a PE is on."""
        self._check_pe(pe)
        return bisect.bisect_right(_c4py.hosts(), pe) - 1

    def getPeHostRank(self, pe):
        """Position of a PE among those of its host."""
        return pe - self.getHostFirstPe(self.getPeHost(pe))

    def _check_host(self, host):
        if not 0 <= host < self.numHosts():
            raise IndexError(f'host {host}: the hosts are 0 to {self.numHosts() - 1}')

    def _check_pe(self, pe):
        if not 0 <= pe < self._pes:
            raise IndexError(f'PE {pe}: the PEs are 0 to {self._pes - 1}')

    def getTopoTreeEdges(self, pe, root_pe, pes=None, bfactor=4):
        """Parent (None for the root) and list of children of a PE in a spanning tree.

        Parameters:
            pe: the PE.
            root_pe: the root of the tree.
            pes: the PEs of the tree, the root first; None: all PEs.
            bfactor: how many children a PE has at most.
        """
        from . import topology
        if pes is None:
            self._check_pe(root_pe)
            pes = [(root_pe + i) % self._pes for i in range(self._pes)]
        return topology.tree_edges(pe, root_pe, list(pes), bfactor)

    def getTopoSubtrees(self, root_pe, pes, bfactor=4):
        """The subtrees below the root of a spanning tree: lists of PEs, each subtree's root first.

        Parameters:
            root_pe: the root of the tree.
            pes: the PEs of the tree, the root first.
            bfactor: how many children a PE has at most.
        """
        from . import topology
        return topology.subtrees(root_pe, list(pes), bfactor)

    # ---- waiting ----

    def awaitCreation(self, *proxies):
        """Wait until all chares that the given creation calls made have been constructed.

        Parameters:
            proxies: what Chare(), Group() or Array() returned to this coroutine, each once.

        In an ``async def`` method: ``await charm.awaitCreation(...)``.
        """
        futures = []
        for proxy in proxies:
            future = getattr(proxy, 'creation_future', None)
            if not isinstance(proxy, _c4py.Proxy) or future is None:
                raise Charm4PyError(
                    'awaitCreation() takes the proxies that creations in this coroutine returned, '
                    f'each once; {proxy!r} is none, or was awaited before')
            futures.append(future)
            del proxy.creation_future
        return self._wait_all(futures, raising=True)

    def wait(self, awaitables):
        """Wait until all the given futures are ready.

        In an ``async def`` method: ``await charm.wait(...)``.
        """
        return self._wait_all(self._futures(awaitables), raising=False)

    @staticmethod
    def _futures(awaitables):
        futures = list(awaitables)
        for future in futures:
            if not isinstance(future, _Future):
                raise TypeError(f'cannot wait for a {type(future).__name__}: only for futures')
        return futures

    @staticmethod
    def _wait_all(futures, raising):
        async def wait_async():
            for future in futures:
                try:
                    await future
                except Exception:
                    if raising:
                        raise

        if _c4py.context() == 'async':
            return wait_async()
        for future in futures:
            if raising:
                future.get()
            elif not future.done():
                _c4py.wait_any((future,))
        return None

    def iwait(self, awaitables):
        """Generate the given futures as they become ready; in coroutines with @coro only."""
        left = self._futures(awaitables)
        while left:
            ready = [future for future in left if future.done()]
            if not ready:
                _c4py.wait_any(left)
                continue
            left = [future for future in left if not future.done()]
            yield from ready

    def startQD(self, callback):
        """Call back, a future or a method of a proxy, when the program is quiescent.

        Quiescent: no message is queued, under way or being handled anywhere.  Timers, and
        coroutines that wait, do not count.
        """
        _c4py.start_quiescence(callback)

    def waitQD(self):
        """Wait until the program is quiescent; ``await`` it in an ``async def`` method."""
        future = Future()
        self.startQD(future)
        return future if _c4py.context() == 'async' else future.get()

    def sleep(self, secs):
        """Pause for at least `secs` seconds: a coroutine alone, other code with its whole PE.

        In an ``async def`` method: ``await charm.sleep(secs)``.
        """
        context = _c4py.context()
        if context == 'greenlet':
            return _c4py.sleep(secs)
        if context is None:
            return time.sleep(secs)
        future = Future()
        _c4py.schedule(future, secs, ())
        return future

    def scheduleCallableAfter(self, callable_obj, secs, args=[]):
        """Call a callable, future or method of a proxy on this PE after `secs` seconds.

        It runs on the scheduler, so a plain callable cannot wait, and an exception in it ends the
        program.
        """
        if not callable(callable_obj):
            raise TypeError(f'{callable_obj!r} cannot be called')
        _c4py.schedule(callable_obj, secs, tuple(args))

    # ---- making things ----

    @staticmethod
    def Future(num_vals=1):
        """Create a future; see c4py.Future."""
        return Future(num_vals)

    createFuture = Future

    @staticmethod
    def addReducer(func):
        """Register a reducer; see Reducer.addReducer()."""
        return Reducer.addReducer(func)


charm = Charm()

# Re-exported for programs that catch it from here.
NotThreadedError = NotThreadedError
