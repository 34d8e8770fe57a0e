"""What PEs of a session do for its clients: names, kept on PE 0, and output that leaves."""

import fcntl
import os
import stat
import sys
import termios

from .charm import Future, charm

_values = {}        # what is published, by name
_waiting = {}       # futures of names that somebody has waited for

_PAUSE = 0.001      # seconds between two looks at a pipe


def publish(name, value):
    """Keep a value under a name, instead of the one before."""
    _values[name] = value
    future = _waiting.pop(name, None)
    if future is not None:
        future.send()


def names():
    """The names under which something is kept."""
    return sorted(_values)


def lookup(name, timeout):
    """A coroutine: (True, the value), or (False, the names that there are) after `timeout` seconds.
    """
    if name not in _values and timeout is not None:
        if name not in _waiting:
            _waiting[name] = Future()
        try:
            _waiting[name].get(timeout)
        except TimeoutError:
            pass
    return (True, _values[name]) if name in _values else (False, names())


def _unread(fd):
    """Bytes in a pipe that the daemon has not read yet."""
    try:
        if not stat.S_ISFIFO(os.fstat(fd).st_mode):
            return 0
        return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)
    except OSError:
        return 0


def output_leaves():
    """A coroutine: wait until the daemon has what was printed here."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass
    while _unread(1) or _unread(2):
        charm.sleep(_PAUSE)
