"""Functions of a client that chares can call, and reductions can have as their target."""

import asyncio
import inspect

from ._c4py import Chare

running = 0         # callbacks that have begun and not ended
_tasks = set()      # a loop does not keep its tasks alive


class Callback(Chare):
    """A chare that lives in the client and calls one function of it."""

    def __init__(self, function):
        self._function = function

    def call(self, *args, **kwargs):
        """Call the function; what an `async def` has to do becomes a task of the running loop."""
        global running
        running += 1
        try:
            result = self._function(*args, **kwargs)
        finally:
            running -= 1
        if not inspect.iscoroutine(result):
            return result
        try:
            task = asyncio.get_running_loop().create_task(result)
        except RuntimeError:
            result.close()
            raise
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)
        return None
