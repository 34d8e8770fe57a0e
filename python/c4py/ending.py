"""The end of a program that nobody ended: was it over, or was it stuck?

PE 0 comes here when the whole job is quiescent and no timer is set: nothing can happen any more,
unless a thread of the program's own does it.
"""

import os
import sys
import threading

from . import _c4py
from .charm import charm

_HERE = os.path.dirname(os.path.abspath(__file__))
_SHOWN = 20             # lines of each kind in a report
_RECHECK = 1.0          # seconds until we look again while threads are alive

_asking = False


def program_quiescent():
    """Ask all PEs what they wait for; called by the runtime on PE 0."""
    global _asking
    if not _asking:
        _asking = True
        charm.thisProxy[0]._end_of_program()


def _look_again():
    """Being called is an activity: if nothing comes of it, the runtime asks us again."""


# ---- what one PE knows ----

def _is_ours(frame):
    return os.path.dirname(frame.f_code.co_filename) == _HERE


def _user_frame(stand):
    """The innermost frame that is not the runtime's own, of a frame or a coroutine object."""
    innermost = None
    while hasattr(stand, 'cr_frame'):       # an `async def`: from the outermost inwards
        frame, stand = stand.cr_frame, stand.cr_await
        if frame is not None and not _is_ours(frame):
            innermost = frame
    if innermost is not None:
        return innermost
    frame = stand if hasattr(stand, 'f_back') else None
    while frame is not None and _is_ours(frame):
        frame = frame.f_back
    return frame


def _what(waits_for):
    if isinstance(waits_for, tuple):
        if len(waits_for) > 1:
            return f'any of {len(waits_for)} futures'
        waits_for, = waits_for
    if not isinstance(waits_for, _c4py.Future):
        return str(waits_for)
    about, received, expected = waits_for._about
    if isinstance(about, _c4py.EntryMethod):
        return f'the outcome of {about.__qualname__}()'
    if isinstance(about, _c4py.Reducer):
        return f'an allreduce with Reducer.{about.name}'
    if isinstance(about, _c4py.ChareClass):
        return f'the creation of {about.name}'
    return f'a future that has received {received} of {expected} values'


def _blocked():
    lines = []
    for where, name, stand, waits_for in reversed(_c4py.blocked()):         # the oldest first
        if name == '_end_of_program':
            continue
        frame = _user_frame(stand)
        place = f', {frame.f_code.co_filename}:{frame.f_lineno}' if frame is not None else ''
        who = f'{where}.{name}' if where is not None else name
        lines.append(f'{who} on PE {charm.myPe()}{place}: waits for {_what(waits_for)}')
    return lines


def local_state():
    """What this PE has that is not finished; sent to PE 0."""
    return {
        'blocked': _blocked(),
        'held': _c4py.held(),
        'reductions': _c4py.open_reductions() + _c4py.recent_reductions(),
        'threads': sum(thread.is_alive() and not thread.daemon
                       for thread in threading.enumerate()) - 1,
    }


# ---- the verdict, on PE 0 ----

def _list(title, lines):
    shown = [f'  {line}' for line in lines[:_SHOWN]]
    if len(lines) > _SHOWN:
        shown.append(f'  ... and {len(lines) - _SHOWN} more')
    return [title] + shown if lines else []


def _lacking_lines(answers):
    """One line for each reduction: who has not contributed."""
    reductions = {}
    for pe, answer in enumerate(answers):
        for key, lacking in answer:
            if lacking is not None:
                reductions.setdefault(tuple(key), []).append((pe,) + tuple(lacking))
    lines = []
    for (_, sequence), parts in sorted(reductions.items()):
        total = sum(lack for _, _, lack, _ in parts)
        some = [f'{element} (PE {pe})' for pe, _, _, elements in parts for element in elements]
        if total:
            more = ', ...' if total > len(some[:5]) else ''
            lines.append(f'reduction {sequence + 1} of {parts[0][1]} lacks {total} of its '
                         f'contributors: {", ".join(some[:5])}{more}')
    return lines


def _report(states, lacking):
    blocked = [line for state in states for line in state['blocked']]
    held = [f'{count} for collection {collection:#x}, held on PE {pe}'
            for pe, state in enumerate(states) for collection, count in state['held']]
    return (_list('coroutines that wait for what can no longer come:', blocked)
            + _list('reductions that can no longer complete:', lacking)
            + _list('messages for chares that do not exist:', held))


def end_of_program():
    """A coroutine on PE 0: end the program with code 0, or with a report of what is stuck."""
    global _asking
    states = charm.thisProxy._stuck(ret=True).get()
    if any(state['threads'] > 0 for state in states):
        _asking = False
        charm.scheduleCallableAfter(_look_again, _RECHECK)
        return
    keys = sorted({tuple(key) for state in states for key in state['reductions']})
    lacking = _lacking_lines(charm.thisProxy._lacking(keys, ret=True).get()) if keys else []
    report = _report(states, lacking)
    if not report:
        charm.exit(0)
    sys.stdout.flush()
    print('deadlock: no PE has anything to do, no message is under way and no timer is set',
          file=sys.stderr)
    print('\n'.join(report), file=sys.stderr)
    _c4py.exit(1, 'deadlock: the program can never go on (see the report above); a program ends '
                  'with exit() or when nothing waits any more')
