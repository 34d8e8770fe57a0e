"""The control plane of a session, as its client sees it.

A thread owns the connection to the daemon: it shows what the PEs print, hears of the session's end,
and carries the requests of the thread that drives the session.
"""

import codecs
import collections
import os
import select
import subprocess
import sys
import threading
import time

from . import launch
from .errors import Charm4PyError, SessionClosed

# Requests whose answer is what the method returns, and kinds of the last event of the others.
_IMMEDIATE = ('segment', 'leave_segment', 'offer_stale')
_LAST = ('done', 'refused', 'accepted', 'following', 'status')
_END_SECONDS = 10.0                     # for a daemon of ours to leave, before it is killed


# ---- the daemon ----

class EmbeddedDaemon:
    """A private c4pd, which ends with the connection to it.

    Attributes:
        fd: our end of the connection, to be adopted.
    """

    def __init__(self):
        import socket
        path = os.environ.get('C4PD') or launch.find_command('c4pd')
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # A session of its own: Ctrl-C, and an interrupt of a notebook, are for us alone.
            self._process = subprocess.Popen(
                [path, f'--embedded={theirs.fileno()}', '--log-level=warning'],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
                start_new_session=True)
        self.fd = ours.detach()

    def wait(self):
        """Wait for its end, when the connection is closed."""
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _control():
    try:
        from . import _control as module
    except ImportError as error:
        raise Charm4PyError('this c4py was built without what attaches to a daemon (c4py._control: '
                            f'{error}); install the libraries that README.md names, and c4py '
                            'again') from error
    return module


def id_text(job):
    """The id of a job as it is shown."""
    return _control().id_text(job)


def reach(address, timeout):
    """Attach to a daemon: (client, None), or to an embedded one if none runs: (client, daemon).

    Parameters:
        address: its state directory; None: the user's own, or an embedded one.
        timeout: seconds.
    """
    control = _control()
    name = f'c4py.connect() of process {os.getpid()}'
    try:
        return control.Client(address, name, timeout), None
    except (FileNotFoundError, ConnectionRefusedError) as error:
        if address is not None:
            raise Charm4PyError(error.strerror) from None
    except OSError as error:
        raise Charm4PyError(error.strerror) from None
    daemon = EmbeddedDaemon()
    try:
        return control.Client.adopt(daemon.fd, name, timeout), daemon
    except OSError as error:
        daemon.wait()
        raise Charm4PyError(f'the embedded daemon does not come up: {error.strerror}') from None


# ---- showing output ----

class Printer:
    """Shows pieces of output on sys.stdout and sys.stderr, whatever they are at that moment."""

    def __init__(self):
        self._decoders = {}
        self._open = None       # source of the line that is not finished yet

    def show(self, pe, stream, data):
        """Show bytes that a PE wrote to a stream, 'stdout' or 'stderr'."""
        source = pe, stream
        decoder = self._decoders.get(source)
        if decoder is None:
            decoder = codecs.getincrementaldecoder('utf-8')('replace')
            self._decoders[source] = decoder
        text = decoder.decode(data)
        if self._open is not None and self._open != source:
            self._write(self._open[1], '\n')
        self._open = None if data.endswith(b'\n') else source
        self._write(stream, text)

    @staticmethod
    def _write(stream, text):
        try:
            outlet = getattr(sys, stream)
            outlet.write(text)
            outlet.flush()
        except Exception:
            pass                # there is none, it is closed, or a broken one of the program's own


# ---- the thread ----

class _Thread(threading.Thread):
    """A thread with a run() of its own.

    Jupyter's kernels put something before Thread.run() that shows whatever the thread prints below
    the cell that began it; what PEs print belongs below the one that runs now.
    """

    def __init__(self, body):
        super().__init__(name='c4py control plane', daemon=True)
        self._body = body

    def run(self):
        self._body()


class _Request:
    def __init__(self, method, args, keywords):
        self.method, self.args, self.keywords = method, args, keywords
        self.events = []
        self.result = self.error = None
        self.answered = threading.Event()

    def fail(self, error):
        self.error = error
        self.answered.set()


class Plane:
    """The connection of a session to its daemon, and the thread that owns it.

    Attributes:
        job: number of the session's job; set by the session when it knows it.
        state, waits_for: of the job, as last heard.
        over: why the session is at its end, a sentence; None while it is not.
        end_reason: why it is over if it ends as it should.
        host: name of the daemon's host.
        cluster: whether jobs of the daemon may run on other hosts.
        changed: condition that is notified when one of these, or what was shown, has changed.
    """

    def __init__(self, client, daemon, on_end):
        """Start the thread.

        Parameters:
            client: a _control.Client, taken over.
            daemon: an EmbeddedDaemon, or None.
            on_end: called in the thread with the reason when the session is over.
        """
        self.job = None
        self.state = self.waits_for = ''
        self.over = None
        self.end_reason = 'the session was closed, by a client of it or by charm.exit()'
        self.changed = threading.Condition()
        self.host, self.cluster = client.host, client.cluster
        self._client, self._daemon, self._on_end = client, daemon, on_end
        self._printer = Printer()
        self._shown = 0                     # number of the last piece of output that was shown
        self._asked = collections.deque()   # requests that the thread has to make
        self._pending = {}                  # those that it has made: id -> _Request
        self._stopping = self._gone = False
        self._bell, self._ringer = os.pipe()
        os.set_blocking(self._bell, False)
        os.set_blocking(self._ringer, False)
        client.set_reconnect(False)         # a session does not outlive its daemon
        self._thread = _Thread(self._run)
        self._thread.start()

    @property
    def embedded(self):
        """Is the daemon one of our own?"""
        return self._daemon is not None

    # ---- for the driver ----

    def ask(self, method, *args, timeout=None, **keywords):
        """Make a request: call a method of the client, and wait for the answer.

        Returns what an immediate one returned, or the list of the events that answered.
        Raises Charm4PyError with the daemon's sentence if it refuses, SessionClosed if it is gone,
        TimeoutError.
        """
        request = _Request(method, args, keywords)
        self._asked.append(request)
        self._ring()
        if self._gone:
            self._refuse_all()
        if not request.answered.wait(timeout):
            raise TimeoutError(f'the daemon has not answered for {timeout:.3g} seconds')
        if request.error is not None:
            raise request.error
        return request.result if method in _IMMEDIATE else request.events

    def wait_for(self, condition, timeout=None):
        """Wait until a condition of what we heard holds; False if it does not after `timeout`."""
        with self.changed:
            return self.changed.wait_for(condition, timeout)

    def wait_shown(self, sequence, timeout=None):
        """Wait until a piece of output has been shown, or the session is over."""
        return self.wait_for(lambda: self._shown >= sequence or self.over is not None, timeout)

    def stop(self):
        """Leave the daemon, and wait for the end of an embedded one."""
        self._stopping = True
        self._ring()
        self._thread.join()
        os.close(self._bell)
        os.close(self._ringer)
        self._client.close()
        if self._daemon is not None:
            self._daemon.wait()

    def forget(self):
        """In a forked child: the connection is the parent's, whose end the daemon has to see."""
        self._client.forget()
        os.close(self._bell)
        os.close(self._ringer)

    def _ring(self):
        try:
            os.write(self._ringer, b'!')
        except (BlockingIOError, OSError):
            pass                        # it rings already, or the thread is gone

    # ---- the thread itself ----

    def _run(self):
        try:
            poller = select.poll()
            poller.register(self._client.fd, select.POLLIN)
            poller.register(self._bell, select.POLLIN)
            while True:
                self._make_requests()
                self._take_events()
                if self._stopping:
                    break
                poller.poll()
                self._silence()
        except Exception as error:
            self._end(f'the connection to the daemon failed: {error}')
        self._gone = True
        self._refuse_all()

    def _silence(self):
        try:
            while os.read(self._bell, 512):
                pass
        except BlockingIOError:
            pass

    def _make_requests(self):
        while self._asked:
            request = self._asked.popleft()
            try:
                result = getattr(self._client, request.method)(*request.args, **request.keywords)
            except (OSError, ValueError) as error:
                request.fail(Charm4PyError(getattr(error, 'strerror', None) or str(error)))
                continue
            if request.method in _IMMEDIATE:
                request.result = result
                request.answered.set()
            else:
                self._pending[result] = request

    def _refuse_all(self):
        for request in [*self._pending.values(), *self._asked]:
            request.fail(SessionClosed(self.over or 'the session is closed'))
        self._pending.clear()
        self._asked.clear()

    def _take_events(self):
        while (event := self._client.next()) is not None:
            request = self._pending.get(event['request'])
            if request is not None:
                self._answer(request, event)
            handler = self._HANDLERS.get(event['kind'])
            if handler is not None and event['job_id'] in (self.job, 0):
                handler(self, event)

    def _answer(self, request, event):
        request.events.append(event)
        if event['kind'] == 'accepted':
            self.job = event['job_id']
        if event['kind'] not in _LAST:
            return
        del self._pending[event['request']]
        if event['kind'] == 'refused':
            request.error = Charm4PyError(event['text'])
        request.answered.set()

    def _on_state(self, event):
        with self.changed:
            self.state, self.waits_for = event['state'], event['text']
            self.changed.notify_all()

    def _on_output(self, event):
        self._printer.show(event['pe'], event['stream'], event['data'])
        self._client.output_done(self.job, event['sequence'])
        with self.changed:
            self._shown = event['sequence']
            self.changed.notify_all()

    def _on_ended(self, event):
        said = event['text'] or event['data'].decode(errors='replace').strip()
        if said:
            self._end(f'the session has ended: {said}')
        elif event['exit_code']:
            self._end(f'the session has ended with exit code {event["exit_code"]}')
        else:
            self._end(self.end_reason)

    def _on_lost(self, event):
        self._end(f'the session has ended with its daemon: {event["text"]}')
        self._stopping = True

    _HANDLERS = {'state': _on_state, 'output': _on_output, 'ended': _on_ended, 'lost': _on_lost}

    def _end(self, reason):
        with self.changed:
            if self.over is not None:
                return
            self.over = reason
            self.changed.notify_all()
        self._on_end(reason)


def deadline_of(timeout):
    """A deadline for remaining(); None: never."""
    return None if timeout is None else time.monotonic() + timeout


def remaining(deadline):
    """Seconds until a deadline, at least 0; None: no limit."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())
