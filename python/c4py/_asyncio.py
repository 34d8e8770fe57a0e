"""A session under a running asyncio loop: messages are handled while the loop is idle."""

import asyncio
import time

from . import _c4py

_QUICK = 50e-6          # seconds to look for an answer before a trip through the loop
_SLICE = 5e-3           # seconds of handling messages before the loop's other tasks get a turn

_loop = None            # the one that watches our descriptor
_fd = None
_last_turn = 0.0        # when a task of ours has last given way


def join(loop=None):
    """Let a loop, the running one, watch for messages; nothing if none runs."""
    global _loop, _fd
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
    _loop, _fd = loop, fd
    _handle()


def leave():
    """Watch no more."""
    global _loop, _fd
    if _loop is not None and not _loop.is_closed():
        _loop.remove_reader(_fd)
    _loop = _fd = None


def nudge():
    """From any thread: make the loop look, for a session that is over sends no mail."""
    loop = _loop
    if loop is not None:
        try:
            loop.call_soon_threadsafe(_handle)
        except RuntimeError:
            pass                        # it is closed


def _handle():
    """Handle the messages that are there, then let the descriptor tell of the next one."""
    if _loop is None:
        return
    end = time.monotonic() + _SLICE
    while True:
        while _c4py.client_poll():
            if time.monotonic() > end:
                _loop.call_soon(_handle)
                return
        if _loop is None or _c4py.client_arm():
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
    end = time.perf_counter() + _QUICK
    while not future.done() and time.perf_counter() < end:
        _c4py.client_poll()
    if not future.done():
        done = loop.create_future()
        future._watch(lambda: done.done() or done.set_result(None))
        _handle()
        yield from done
        _last_turn = loop.time()
    return future.get()
