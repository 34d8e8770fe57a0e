"""A session under a running asyncio loop: messages are handled while the loop is idle."""

import asyncio
import os
import signal
import threading
import time

from . import _c4py

_QUICK = 50e-6          # seconds to look for an answer before a trip through the loop
_SLICE = 5e-3           # seconds of handling messages before the loop's other tasks get a turn

_loop = None            # the one that watches our descriptor
_fd = None
_due = False            # _handle() will be called
_over = False           # the session is: it sends no more mail
_signals = None         # ends of the pipe that a signal writes to: (to read, to write)
_last_turn = 0.0        # when a task of ours has last given way


def join(loop=None):
    """Let a loop, the running one, watch for messages; nothing if none runs."""
    global _loop, _fd, _due, _over
    if loop is None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
    if loop is _loop:
        return
    leave()
    fd = _c4py.client_fd()
    loop.add_reader(fd, _handle)
    _loop, _fd, _due, _over = loop, fd, False, False
    _wake_by_signals()
    _handle()


def leave():
    """Watch no more."""
    global _loop, _fd
    if _loop is None:
        return
    _sleep_through_signals()
    if not _loop.is_closed():
        _loop.remove_reader(_fd)
    _loop = _fd = None


def _wake_by_signals():
    """Let an interrupt wake the loop, unless somebody else has seen to it.

    A handler that only calls loop.call_soon(), as Jupyter's kernel has one, is otherwise heard of
    when the next message comes.
    """
    global _signals
    if threading.current_thread() is not threading.main_thread():
        return
    reader, writer = os.pipe()
    for fd in (reader, writer):
        os.set_blocking(fd, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    if before == -1:
        _loop.add_reader(reader, os.read, reader, 64)
        _signals = reader, writer
    else:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)


def _sleep_through_signals():
    global _signals
    if _signals is None:
        return
    reader, writer = _signals
    other = signal.set_wakeup_fd(-1)
    if other not in (-1, writer):
        signal.set_wakeup_fd(other)
    if not _loop.is_closed():
        _loop.remove_reader(reader)
    os.close(reader)
    os.close(writer)
    _signals = None


def session_over():
    """From any thread: let the loop look at once."""
    global _over
    _over = True
    loop = _loop
    if loop is not None:
        try:
            loop.call_soon_threadsafe(_handle)
        except RuntimeError:
            pass                        # it is closed


def watch_again():
    """Who has polled by itself has taken the sign that the loop was to see."""
    global _due
    if _loop is not None and not _due and not _loop.is_closed():
        _due = True
        _loop.call_soon(_handle)


def _handle():
    """Handle the messages that are there, then let the descriptor tell of the next one."""
    global _due
    _due = False
    end = time.monotonic() + _SLICE
    while _loop is not None:
        if not _c4py.client_poll() and (_over or _c4py.client_arm()):
            return
        if time.monotonic() > end:
            watch_again()
            return


def wait(future):
    """Iterator for `await future` in a task of a running loop.

    An answer that comes at once is had without giving way, unless that would keep the loop's other
    tasks from running.
    """
    global _last_turn
    loop = asyncio.get_running_loop()
    join(loop)
    if loop.time() - _last_turn > _SLICE:
        _last_turn = loop.time()
        yield
    if not future.done():
        try:
            return future.get(_QUICK)
        except TimeoutError:            # this one, or the value
            pass
        finally:
            watch_again()
    if not future.done():
        done = loop.create_future()
        future._watch(lambda: done.done() or done.set_result(None))
        yield from done
        _last_turn = loop.time()
    return future.get()
