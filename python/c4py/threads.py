"""Coroutines: entry methods and functions that can wait without blocking their PE."""

from ._c4py import Future
from .errors import NotThreadedError

__all__ = ['Future', 'NotThreadedError', 'coro', 'threaded', 'coro_ext']


def coro(function):
    """Mark a method (or a function) as a coroutine: it may suspend.

    A coroutine waits with ``future.get()``, ``charm.wait()``, ``charm.sleep()`` and the like; while
    it does, its PE runs other methods, also of the same chare.  Called directly, the function is
    an ordinary one.  ``async def`` methods are coroutines without it.
    """
    function._ck_coro = True
    return function


threaded = coro


def coro_ext(event_notify=False):
    """Decorator factory for coroutines; ``event_notify`` is accepted for older programs."""
    def mark(function):
        function._ck_coro_notify = event_notify
        return coro(function)
    return mark
