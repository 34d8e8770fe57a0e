"""What the C runtime calls in Python: rare paths, and what needs the interpreter's own tools.

Every function here is called by name from the extension (runtime_hook).
"""

import copyreg
import sys
import traceback

from . import _c4py, classes, reduction
from .errors import (CancelledError, Charm4PyError, NotThreadedError, RemoteError, RemoteTraceback,
                     SegmentFullError)

future_from = _c4py.future_from
passing_chare = _c4py.passing_chare
proxy_from = _c4py.proxy_from
reducer_from = reduction.by_name
class_of = classes.class_of
describe_class = classes.describe
accept_class = classes.accept
find_reducer = reduction.find
reducer_by_hash = reduction.by_hash
contribution = reduction.contribution
snapshot = reduction.snapshot
combine = reduction.combine
finish_reduction = reduction.finish


def segment_full(size, limit):
    """Raise the error for a message that has no room."""
    if size > limit:
        raise SegmentFullError(
            f'a message of {size} bytes can never fit: a PE may have {limit} bytes of messages '
            'under way; send it in parts, or raise the limit with --segment-size')
    raise SegmentFullError(
        f'no room for a message of {size} bytes: {limit} bytes of messages of this PE are under '
        'way, which is the limit; wait for some of them to be handled, or raise the limit with '
        '--segment-size')


def not_threaded(what, class_name, method_name):
    """Raise the error for a wait outside of a coroutine."""
    if method_name is None and class_name is None:
        where = 'code that is in no entry method'
    elif class_name is None:
        where = method_name
    else:
        where = f'{class_name}.{method_name or "__init__"}'
    raise NotThreadedError(f'{what} in {where}: only coroutines can wait; decorate it with @coro, '
                           'or make it an async def')


class _Reborn(Exception):
    """Carries an exception whose constructor does not take its args; arrives as the exception."""

    def __init__(self, error):
        super().__init__(f'{type(error).__name__}: {error}')
        self.remote_stacktrace = getattr(error, 'remote_stacktrace', None)
        self.parts = type(error), error.args, vars(error)

    def __reduce__(self):
        return _reborn, self.parts


def _reborn(cls, args, attributes):
    error = cls.__new__(cls, *args)
    error.args = args
    vars(error).update(attributes)
    return error


def exception_to_send(error):
    """Give an exception what its reader needs: the text of its traceback and the PE it is from."""
    if not hasattr(error, 'remote_stacktrace'):
        text = ''.join(traceback.format_exception(type(error), error, error.__traceback__))
        try:
            error.remote_stacktrace = (_charm().myPe(), text)
        except AttributeError:              # a class with __slots__
            return RemoteError(text)
    error.__traceback__ = None
    for form in (error, _Reborn(error)):
        if type(form).__module__ == 'builtins' or _can_travel(form):
            return form
    return _stand_in(error)


def _can_travel(value):
    """Can a value be pickled, and unpickled?"""
    import pickle
    try:
        pickle.loads(pickle.dumps(value))
    except Exception:
        try:
            import cloudpickle
            pickle.loads(cloudpickle.dumps(value))
        except Exception:
            return False
    return True


def _stand_in(error):
    stand_in = RemoteError(f'{type(error).__name__}: {error}')
    stand_in.remote_stacktrace = getattr(error, 'remote_stacktrace', None)
    return stand_in


def unsendable(value, reason):
    """What to send instead of a value, or a list of values, that could not be encoded."""
    if isinstance(value, list):
        return [item if _can_travel(item) else unsendable(item, reason) for item in value]
    if isinstance(value, BaseException):
        return _stand_in(value)
    return reason if _can_travel(reason) else _stand_in(reason)


def sort_returns(parts):
    """The values of all PEs' parts of a broadcast with ret=True, in the order of indexes."""
    if parts is None:
        return []
    pairs = []
    for positions, values in parts:
        pairs.extend(zip(positions, values))
    pairs.sort(key=lambda pair: pair[0])
    return [value for _, value in pairs]


def cancelled():
    """Raise what readers of a cancelled future get."""
    raise CancelledError('the future was cancelled')


def check_signature(method, count, keywords):
    """Raise TypeError if an entry method cannot be called so; see SPEC 0.9 on keywords."""
    import inspect
    name = method.__qualname__
    try:
        signature = inspect.signature(classes.plain_function(method.function))
    except (TypeError, ValueError):
        return
    given = (None,) * (count + classes.takes_self(method.function))
    try:
        signature.bind(*given, **(keywords or {}))
    except TypeError as error:
        raise TypeError(f'{name}(): {error}') from None


def element_state(chare):
    """What of a chare moves with it to another PE: what pickle would take of an object."""
    own = getattr(type(chare), '__getstate__', None)
    if own is not None and own is not getattr(object, '__getstate__', None):
        return chare.__getstate__()
    slots = {name: getattr(chare, name) for name in copyreg._slotnames(type(chare))
             if hasattr(chare, name)}
    state = getattr(chare, '__dict__', None)
    return (state, slots) if slots else state


def element_restore(chare, state):
    """Give a chare that has moved its state, as unpickling would."""
    if hasattr(chare, '__setstate__'):
        if state is not None:
            chare.__setstate__(state)
        return
    slots = None
    if isinstance(state, tuple) and len(state) == 2:
        state, slots = state
    if state:
        vars(chare).update(state)
    for name, value in (slots or {}).items():
        setattr(chare, name, value)


def cannot_migrate(name, pe, error):
    """Raise the error for a chare that cannot leave its PE."""
    raise Charm4PyError(f'{name} cannot migrate to PE {pe}: {error}') from error


def set_readonlies(values):
    """Take over what main put into the readonlies bag."""
    from .charm import _readonlies
    vars(_readonlies).update(values)


def _charm():
    from .charm import charm
    return charm


def program_quiescent():
    """The job is quiescent and no timer is set: has the program ended, or is it stuck?"""
    from . import ending
    ending.program_quiescent()


def before_leaving():
    """The last thing that runs on a PE."""
    import atexit
    try:
        atexit._run_exitfuncs()
    finally:
        _flush()


def _flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass


def child_ended(error):
    """The exit code of a process that a PE forked, as the interpreter itself would give it.

    It does not run the functions of atexit: they are the PE's.
    """
    code = 0
    if isinstance(error, SystemExit):
        code, _ = exit_code(error.code)
    elif error is not None:
        traceback.print_exception(type(error), error, error.__traceback__)
        code = 1
    _flush()
    return code


def exit_code(code):
    """What exit(code) means, as for the interpreter itself: (number, text for the user)."""
    if code is None:
        return 0, ''
    if hasattr(code, '__index__'):      # numpy's ints too: a reduced value may be the code
        return int(code) & 0xff or int(int(code) != 0), ''      # 256 is no success
    print(code, file=sys.stderr)
    return 1, ''


def fatal(error):
    """Report an exception that ends the job. Returns the exit code and a line for the user."""
    if isinstance(error, SystemExit):
        return exit_code(error.code)
    pe = _charm().myPe()
    _report(error, pe)
    name = type(error).__name__
    line = f'{name}: {error}' if str(error) else name
    return 1, f'PE {pe}: {line}'


def _report(error, pe):
    """Print an exception that nobody has waited for."""
    remote = getattr(error, 'remote_stacktrace', None)
    _flush()
    if isinstance(remote, tuple) and len(remote) == 2:
        print(f'PE {remote[0]}: exception, raised again on PE {pe}:\n{remote[1].rstrip()}',
              file=sys.stderr)
    else:
        text = ''.join(traceback.format_exception(type(error), error, error.__traceback__))
        print(f'PE {pe}: exception:\n{text.rstrip()}', file=sys.stderr)
    _flush()


# ---- sessions ----

def session_error(error):
    """An exception on a PE of a session that nobody waits for: report it, and go on."""
    if isinstance(error, SystemExit):
        _charm().exit(error.code)
    _report(error, _charm().myPe())


def client_error(error):
    """An exception in a callback of a client: show it where the client is, and go on."""
    traceback.print_exception(type(error), error, error.__traceback__)


def show_remote(error):
    """A client is about to raise an exception: its traceback shall show where it comes from."""
    remote = getattr(error, 'remote_stacktrace', None)
    if isinstance(remote, tuple) and error.__cause__ is None:
        error.__cause__ = RemoteTraceback(f'PE {remote[0]}:\n{remote[1]}')


def await_in_client(future):
    """Iterator of `await future` in a client: works in a task of a running asyncio loop."""
    from . import _asyncio
    return _asyncio.wait(future)
