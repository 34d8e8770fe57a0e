"""Sessions: a client process that creates chares and calls them, without being a program of PEs.

::

    import c4py

    with c4py.connect(pes=4) as session:
        numbers = session.Array(Number, 1000)
        print(numbers.value(ret=True).get())

docs/sessions.md explains them.
"""

import atexit
import os
import sys
import threading

from . import _asyncio, _c4py, _callback, _luggage, _plane, _prompt, _runtime, chare, classes
from ._plane import deadline_of, remaining
from .charm import Future, charm
from .errors import Charm4PyError, NotPublishedError, SessionClosed

_PATIENCE = 1.0         # seconds until we say what we wait for
_END_SECONDS = 30.0     # for PEs to leave when a session is closed

_FORKED = ('this process was forked by a client of a session, and can be none itself: start it as '
           'a program of its own (of multiprocessing: "spawn")')

_current = None         # the session of this process
_forked = False         # a client has forked this process


# ---- connecting ----

def connect(address=None, pes=None, name=None, *, create=True, ttl=None, timeout=30, python=None,
            env=None, cwd=None, region_size=0, quiet=False, shared_memory=None, include=(),
            bundle=True):
    """Make a session, or join one, and become its driver: the calling thread.

    Parameters:
        address: state directory of the daemon (a path); None: the user's own daemon, or, if none
            runs, an embedded one that ends with this process.
        pes: number of PEs; None: as many as are free, of an embedded daemon one for each core.
            A session that is joined has what it has.
        name: join the session of this name, or make it: it outlives this process, and others can
            join it.  None: a new session that ends when its client does.
        create: whether to make a named session that does not exist.
        ttl: seconds that a named session lasts without a client; None: as the daemon is configured.
        timeout: seconds to wait until its PEs run; None: for ever.
        python: interpreter of the PEs, of the same version; None: this one.
        env: dict of environment variables for the PEs besides those of this process.
        cwd: working directory of the PEs; None: that of this process.
        region_size: bytes that one PE may have in flight; 0: the daemon decides.
        quiet: say nothing on stderr about daemons and waiting.
        shared_memory: whether to exchange messages with the PEs through the memory that they share
            (True), or over ZeroMQ, with a copy of each (False).  None: through memory where that
            can be, which on the daemon's host is always.
        include: files and directories that PEs on other hosts need besides modules, as paths.
        bundle: whether files go along to hosts that do not have them, if the daemon belongs to a
            cluster: all Python files below the directory of this program (of a notebook or a
            prompt: the current one), and what `include` names.  False: every host has what PEs
            import at the same place.

    Returns a Session, which is a context manager.

    Raises Charm4PyError with a sentence if that cannot be had, TimeoutError if it takes too long.
    """
    _require_no_session()
    opening = _Opening(address, pes, name, timeout, quiet, shared_memory)
    opening.check(ttl)
    cwd = os.path.abspath(cwd) if cwd is not None else os.getcwd()
    luggage = _luggage.find(cwd, include, bundle)
    try:
        opening.open(luggage, create=create, argv=_command(python), env=_environment(env), cwd=cwd,
                     region_size=region_size, ttl_ms=int((ttl or 0) * 1000))
        return opening.enter()
    except BaseException:
        opening.give_up()
        raise


def _require_no_session():
    from . import launch
    if _forked:
        raise Charm4PyError(_FORKED)
    if launch.is_pe() or charm.started:
        raise Charm4PyError('c4py.connect() on a PE: a PE is in a program already, and can create '
                            'chares as it is')
    if _current is not None and _current._plane.over is not None:
        _current._require_driver()
        _current._finish(_current._plane.over)
    if _current is not None:
        raise Charm4PyError(f'this process drives {_current!r}: a process has one session at a '
                            'time; close() or detach() that one first')


def _version():
    return '.'.join(map(str, sys.version_info[:2]))


def _command(python):
    # By its name: on another host c4py may be elsewhere.
    return [os.fspath(python or sys.executable), '-m', 'c4py._session_pe', _version()]


def _search_path():
    """This process's module search path, with the place of c4py in it."""
    path = [os.path.abspath(entry) for entry in sys.path if isinstance(entry, str)]
    ours = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return path if ours in path else [ours] + path


def _environment(more):
    variables = dict(os.environ)
    if more is not None and not isinstance(more, dict):
        raise TypeError(f'env={more!r}: a dict of names and values')
    for name, value in (more or {}).items():
        if not isinstance(name, str) or not isinstance(value, str) or '=' in name or not name:
            raise ValueError(f'env={{{name!r}: {value!r}}}: names and values are texts')
        variables[name] = value
    variables['C4P_SESSION'] = '1'
    variables['C4P_SESSION_PATH'] = ':'.join(_search_path())
    return [f'{name}={value}' for name, value in variables.items()]


def _say(text):
    print(f'c4py: {text}', file=sys.stderr, flush=True)


class _Opening:
    """One connect(), until there is a session or it is given up."""

    def __init__(self, address, pes, name, timeout, quiet, shared_memory):
        self.address, self.pes, self.name, self.quiet = address, pes, name, quiet
        self.remote = shared_memory is not None and not shared_memory
        self.timeout, self.deadline = timeout, deadline_of(timeout)
        self.plane = self.session = None
        self.joined = False

    def check(self, ttl):
        pes, name = self.pes, self.name
        if pes is not None and (isinstance(pes, bool) or not isinstance(pes, int) or pes < 1):
            raise ValueError(f'pes={pes!r}: a session has 1 PE or more')
        if name is not None and (not isinstance(name, str) or not name):
            raise ValueError(f'name={name!r}: the name of a session is a text')
        if ttl is not None and not ttl > 0:
            raise ValueError(f'ttl={ttl!r}: seconds, more than 0')
        if ttl is not None and name is None:
            raise ValueError('ttl is for sessions with a name: others end with their client')

    def open(self, luggage, **how):
        """Reach a daemon and have a session there whose PEs are started."""
        self.plane = _plane.Plane(*_plane.reach(self.address, remaining(self.deadline) or 10.0),
                                  self._ended)
        pes = self.pes
        if self.plane.embedded:
            pes = pes or len(os.sched_getaffinity(0))
            self._say_embedded(pes)
        if self.name is not None:
            self.joined = any(info['session_name'] == self.name for info in self._sessions())
        if self.pes is not None and not self.joined and not self.plane.embedded:
            self._require_pes()
        taken = luggage is not None and self._takes_files(luggage)
        self._ask('open', name=self.name, pes=pes or 0, bundle=taken, **how)
        self._follow()
        self._wait_until_it_runs()

    def _ask(self, *args, **keywords):
        return self.plane.ask(*args, timeout=remaining(self.deadline), **keywords)

    def _sessions(self):
        events = self._ask('list', sessions=True)
        return [event['info'] for event in events if event['kind'] == 'job']

    def _require_pes(self):
        """A job waits until there are more PEs; a person does not."""
        status = self._ask('status')[0]['status']
        there, where = status['pes'], 'the daemon has {there}'
        if status['cluster_pes'] > there:
            there, where = status['cluster_pes'], 'the cluster has {there} on {nodes} nodes'
        if there and self.pes > there:
            raise Charm4PyError(f'pes={self.pes}: '
                                + where.format(there=there, nodes=status['nodes']))

    def _takes_files(self, luggage):
        """Give the daemon the files that PEs on other hosts need: does the session have any?"""
        plane = self.plane
        if self.joined or plane.embedded or not plane.cluster:
            return False
        try:
            self._ask('offer', luggage.root, luggage.paths, python=luggage.python)
        except Charm4PyError:
            if not self._ask('offer_stale'):
                raise
            # Somebody has saved a file in between: once more, as it is now.
            self._ask('offer', luggage.root, luggage.paths, python=luggage.python)
        return True

    def _follow(self):
        """Receive its output: of one that we join, what comes from now on."""
        start = 0
        for info in self._sessions() if self.joined else ():
            if info['id'] == self.plane.job:
                start = info['output_next']
                self._require_version(info['argv'][-1])
        self._ask('follow', self.plane.job, start=start, lossless=not self.joined)

    def _require_version(self, theirs):
        """Functions travel as byte code."""
        if theirs != _version():
            raise Charm4PyError(f"the PEs of session '{self.name}' run Python {theirs}, but this "
                                f'is Python {_version()}: join it with a Python {theirs}')

    def _say_embedded(self, pes):
        lasts = f"; the session '{self.name}' ends with this process" if self.name else ''
        self._say(f'no daemon runs, so an embedded one was started with {pes} '
                  f'PE{"s" if pes > 1 else ""}{lasts}')

    def _say(self, text):
        if not self.quiet:
            _say(text)

    def _wait_until_it_runs(self):
        plane = self.plane

        def settled():
            return plane.state == 'running' or plane.over is not None

        patience = _PATIENCE if self.timeout is None else min(_PATIENCE, self.timeout)
        if not plane.wait_for(settled, patience):
            self._say('the session ' + (plane.waits_for or f'is {plane.state}'))
        if not plane.wait_for(settled, remaining(self.deadline)):
            raise TimeoutError(f'the session does not run after {self.timeout} seconds: it '
                               + (plane.waits_for or f'is {plane.state}'))
        if plane.over is not None:
            raise SessionClosed(plane.over)

    def enter(self):
        """Become the driver of the session."""
        global _current
        endpoint, segment, wake = self._segment()
        pes = _c4py.client_attach(_runtime, Charm4PyError, endpoint, segment, wake)
        self.session = session = Session(self.plane, self.name, pes)
        _current = session
        if self.plane.over is not None:         # meanwhile, when there was none to be told
            session._over(self.plane.over)
        session._begin(None if self.joined else _search_path())
        if self.pes not in (None, pes):
            raise Charm4PyError(f"the session '{self.name}' has {pes} PEs, not {self.pes}: leave "
                                'pes out to join it as it is')
        if not self.joined:
            self._wait_for_pes()
        _asyncio.join()
        _prompt.install()
        return session

    def _segment(self):
        plane = self.plane
        try:
            return self._ask('segment', plane.job, remote=self.remote)
        except Charm4PyError:
            if plane.wait_for(lambda: plane.over is not None, _PATIENCE):
                raise SessionClosed(plane.over) from None       # that is why
            raise

    def _wait_for_pes(self):
        """PEs that cannot start should be heard of here, not in the first call."""
        ready = charm.thisProxy.myPe(ret=True)
        for patience in (_PATIENCE, None):
            try:
                left = remaining(self.deadline)
                ready.get(left if patience is None or left is not None and left < patience
                          else patience)
                return
            except TimeoutError:
                if patience is not None:
                    self._say(f'waiting for {self.session.numPes()} PEs to start')
        raise TimeoutError(f'the PEs have not started after {self.timeout} seconds')

    def _ended(self, reason):
        """In the plane's thread: the session is over."""
        session = self.session
        if session is not None:
            session._over(reason)

    def give_up(self):
        """Leave nothing behind."""
        plane, ours = self.plane, not self.joined
        if self.session is not None:
            self.session._finish('connect() was given up', end=ours)
        elif plane is not None:
            if plane.job is not None and ours:
                _end_job(plane)
            plane.stop()


def _end_job(plane):
    try:
        # What we have sent comes before the end, which goes another way.
        plane.ask('leave_segment', timeout=_END_SECONDS)
        plane.ask('end', plane.job, timeout=_END_SECONDS)
    except (Charm4PyError, TimeoutError):
        pass                    # it is over, or will be when the daemon has lost us


# ---- the session ----

class Session:
    """What connect() gives: a set of PEs that this process drives.

    Chares are created by its methods or by those of the module c4py, which are the same.
    The thread that connected is the driver: only it may wait.
    """

    def __init__(self, plane, name, pes):
        self._plane, self._name, self._pes = plane, name, pes
        self._driver, self._process = threading.current_thread(), os.getpid()
        self._id = _plane.id_text(plane.job)
        self._closed = None             # why, when it is
        self._path = None               # module search path of its PEs

    # ---- life ----

    def _begin(self, path):
        self._path = path
        charm._enter_session(self, self._pes)
        classes.announce_to(self._path_of_pes)

    def _over(self, reason):
        """In the plane's thread."""
        _c4py.client_end(SessionClosed(reason))
        _asyncio.session_over()

    def _path_of_pes(self):
        if self._path is None:
            self._path = charm.thisProxy[0]._module_path(ret=True).get()
        return self._path

    def _finish(self, reason, end=False):
        """Leave the session, ending it or not."""
        if self._closed is not None:
            return
        plane = self._plane
        self._closed = plane.over or reason
        try:
            if end and plane.over is None:
                plane.end_reason = reason
                _end_job(plane)
                plane.wait_for(lambda: plane.over is not None, _END_SECONDS)
        finally:
            self._leave()

    def _leave(self):
        global _current
        _current = None
        _asyncio.leave()
        _prompt.remove()
        classes.announce_to(None)
        _c4py.client_end(SessionClosed(self._closed))
        _c4py.client_detach()
        self._plane.stop()
        charm._leave_session()

    def close(self):
        """End the session, for all who are in it; what its PEs printed is shown.  Can be repeated.
        """
        if self._closed is None:
            self._require_leaver()
            self._finish('the session is closed', end=True)

    def detach(self):
        """Leave a session that has a name; it goes on, and can be joined again.

        Raises Charm4PyError for one that would end with this process.
        """
        if self._closed is not None:
            return
        self._require_leaver()
        if not self._lasts:
            raise Charm4PyError(
                f'detach(): {self!r} ends when this process leaves it: '
                + ('its daemon is an embedded one' if self._name else 'it has no name')
                + '; close() ends it')
        self._finish('this process has left the session')

    @property
    def _lasts(self):
        return self._name is not None and not self._plane.embedded

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self._lasts:
            self.detach()
        else:
            self.close()

    @property
    def closed(self):
        """True if it can be used no more: closed here or by others, or lost."""
        return self._closed is not None or self._plane.over is not None

    @property
    def name(self):
        """The name of the session, or None."""
        return self._name

    def _require(self):
        if self._process != os.getpid():
            raise Charm4PyError(_FORKED)
        if self.closed:
            raise SessionClosed(self._closed or self._plane.over)
        if threading.current_thread() is self._driver:
            _asyncio.join()

    def _require_driver(self):
        thread = threading.current_thread()
        if thread is self._driver or self._process != os.getpid():
            return
        if self._driver.is_alive():
            raise Charm4PyError(f'only the thread that connected ({self._driver.name}) can wait in '
                                'a session, or leave it')
        self._driver = thread
        _c4py.client_drive()

    def _require_leaver(self):
        self._require_driver()
        if _callback.running:
            raise Charm4PyError('a callback cannot leave or close the session: the program that it '
                                'interrupts may be waiting for it')

    # ---- making things ----

    def Chare(self, chare_type, args=[], onPE=-1):
        """Create a single chare; see c4py.Chare."""
        self._require()
        return chare.Chare(chare_type, args, onPE)

    def Group(self, chare_type, args=[], onPEs=None):
        """Create a group, one chare on each PE; see c4py.Group."""
        self._require()
        return chare.Group(chare_type, args, onPEs)

    def Array(self, chare_type, dims=None, ndims=-1, args=[], map=None, useAtSync=False):
        """Create an array of chares; see c4py.Array."""
        self._require()
        return chare.Array(chare_type, dims, ndims, args, map, useAtSync)

    def Future(self, num_vals=1):
        """Create a future that is read here; see c4py.Future."""
        self._require()
        return Future(num_vals)

    def callback(self, function):
        """What chares can call, and reductions can have as their target, to call a function here.

        The function is called in the thread of the driver, with what the caller gave: while it
        waits in get() or in poll(), or while its asyncio loop is idle.  An `async def` becomes a
        task of the loop.  It can be called until the session is closed.
        """
        self._require()
        if not callable(function):
            raise TypeError(f'callback({function!r}): not a function')
        return _c4py.client_chare(_callback.Callback, (function,)).call

    # ---- names ----

    def publish(self, name, value):
        """Keep a value, for instance a proxy, under a name: lookup() finds it, in any client.

        It is kept on PE 0 until another one is published under the name.
        """
        self._require()
        self._require_driver()
        self._require_name(name)
        charm.thisProxy[0]._publish(name, value, awaitable=True).get()

    def lookup(self, name, timeout=None):
        """The value that was published under a name.

        Parameters:
            name: the name.
            timeout: seconds to wait for somebody to publish it; None: it must be there.

        Raises NotPublishedError, a KeyError, that says what there is.
        """
        self._require()
        self._require_driver()
        self._require_name(name)
        found, value = charm.thisProxy[0]._lookup(name, timeout, ret=True).get()
        if found:
            return value
        there = ', '.join(map(repr, value)) or 'nothing'
        waited = f' after {timeout} seconds' if timeout is not None else ''
        raise NotPublishedError(f'nothing is published as {name!r}{waited}; there is: {there}')

    def names(self):
        """The names under which something is published, sorted."""
        self._require()
        self._require_driver()
        return charm.thisProxy[0]._names(ret=True).get()

    @staticmethod
    def _require_name(name):
        if not isinstance(name, str):
            raise TypeError(f'the name {name!r} is not a text')

    # ---- where we are ----

    def numPes(self):
        """Number of PEs of the session."""
        return self._pes

    def poll(self):
        """Handle the messages that are there: callbacks run now.  True if there were any.

        For programs that neither wait in get() nor run an asyncio loop.
        """
        self._require()
        self._require_driver()
        any_there = _c4py.client_poll()
        _asyncio.watch_again()
        return any_there

    def wait_quiescence(self, timeout=None):
        """Wait until the session is quiescent: no message is queued, under way or being handled.

        Raises TimeoutError after `timeout` seconds.
        """
        self._require()
        self._require_driver()
        quiet = Future()
        charm.thisProxy[0]._start_quiescence(quiet)
        quiet.get(timeout)

    def flush(self, timeout=None):
        """Wait until what the PEs have printed so far, whole lines of it, is shown here.

        Waits for PEs that are in the middle of a method.  Raises TimeoutError after `timeout`
        seconds.
        """
        self._require()
        self._require_driver()
        deadline = deadline_of(timeout)
        charm.thisProxy._output_leaves(awaitable=True).get(timeout)
        found = self._plane.ask('find', self._id, timeout=remaining(deadline))
        last = found[0]['info']['output_next'] - 1
        if not self._plane.wait_shown(last, remaining(deadline)):
            raise TimeoutError(f'what the PEs have printed is not shown after {timeout} seconds')

    def __repr__(self):
        name = f' {self._name!r}' if self._name is not None else ''
        state = f', closed: {self._closed or self._plane.over}' if self.closed else ''
        pes = f'{self._pes} PE{"s" if self._pes > 1 else ""}'
        return f'<c4py.Session{name} {self._id}: {pes} on {self._plane.host}{state}>'

    def __reduce__(self):
        raise TypeError('a Session cannot be sent to chares: what a method needs is a proxy, a '
                        'future or what session.callback() returns; give it as an argument')


@atexit.register
def _at_exit():
    session = _current
    if session is None or session._process != os.getpid():
        return
    try:
        session._require_driver()
    except Charm4PyError:               # a daemon thread, which may be in the middle of a call
        if not session._lasts:
            _end_job(session._plane)
        session._plane.stop()
        return
    session._finish('the client has ended', end=not session._lasts)


def _after_fork():
    """A child is no client: what it has inherited belongs to its parent."""
    global _current, _forked
    if _current is not None:
        _forked = True
        classes.announce_to(None)
        _current._plane.forget()
        _current = None


os.register_at_fork(after_in_child=_after_fork)
