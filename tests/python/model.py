"""What the tests of the programming model share: checks that run inside of a program of chares.

A file of checks is a program too: ``c4py run -n 3 tests/python/test_model_futures.py`` runs its
checks on 3 PEs, ``... test_model_futures.py test_a test_b`` only those named.  Under pytest every
check is a test of its own for each number of PEs, but a file runs only once for each number.
"""

import ast
import functools
import os
import subprocess
import traceback

_INSIDE = 'C4P_PE' in os.environ        # are we a PE, or is this pytest?
_MARK = '@@'                            # begins the lines that tell the outcome of a check
_TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_TIMEOUT = 60                           # seconds for one program

_checks = {}                            # (file, name) -> (function, numbers of PEs)


def check(function=None, *, pes=(1, 2, 3, 4)):
    """Decorator of a test that runs as (a part of) main, on each of the numbers of PEs."""
    if function is None:
        return functools.partial(check, pes=pes)
    _checks[function.__code__.co_filename, function.__name__] = (function, pes)
    if _INSIDE:
        return function
    import pytest

    @pytest.mark.parametrize('pes', pes)
    def test(pes):
        _assert_outcome(function.__code__.co_filename, function.__name__, pes)

    test.__name__ = test.__qualname__ = function.__name__
    test.__module__ = function.__module__
    test.__doc__ = function.__doc__
    return test


# ---- in the program ----

def _describe(error):
    """The traceback, with the local variables of the check's innermost frame."""
    lines = traceback.format_exception(type(error), error, error.__traceback__)
    frame = None
    for step, _ in traceback.walk_tb(error.__traceback__):
        frame = step
    if isinstance(error, AssertionError) and frame is not None:
        lines += [f'  {name} = {value!r}\n'[:400] for name, value in frame.f_locals.items()]
    return ''.join(lines)


def _run_one(name, function):
    print(_MARK, 'begin', name)
    try:
        function()
    except Exception as error:          # the outcome of a check, whatever it is
        print(_MARK, 'failed', name, repr(_describe(error)))
    else:
        print(_MARK, 'passed', name)


def start_checks():
    """The last line of a file of checks."""
    from c4py import charm

    def main(args):
        for (_, name), (function, pes) in _checks.items():
            if name in args[1:] or len(args) == 1 and charm.numPes() in pes:
                _run_one(name, function)
                charm.waitQD()          # what a check leaves behind belongs to it
        print(_MARK, 'end')
        charm.exit()

    charm.start(main)


# ---- in pytest ----

def _outcomes(path, pes, names):
    """Run checks; returns {name: None or why it failed}, of those that were begun."""
    from harness import C4PY, over_nodes
    ran = subprocess.run([C4PY, 'run', '-n', str(pes), *over_nodes(pes), path, *names], text=True,
                         stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT)
    found, begun = {}, None
    for line in ran.stdout.splitlines():
        words = line.split(' ', 3)
        if words[0] != _MARK:
            continue
        if words[1] == 'begin':
            begun = words[2]
        elif words[1] in ('passed', 'failed'):
            found[words[2]] = None if words[1] == 'passed' else ast.literal_eval(words[3])
    if not ran.stdout.endswith(f'{_MARK} end\n') or ran.returncode != 0:
        found[begun] = (f'the program ended in it, or in what it left behind, with code '
                        f'{ran.returncode}:\n{ran.stdout[-2000:]}{ran.stderr}')
    return found


@functools.lru_cache(maxsize=None)
def _file_outcomes(path, pes):
    """Outcomes of all checks of a file; those behind one that ends the program get another run."""
    left = [name for (file, name), (_, numbers) in _checks.items()
            if file == path and pes in numbers]
    outcomes = {}
    while left:
        found = _outcomes(path, pes, left)
        if not set(found) & set(left):
            return {**outcomes, **dict.fromkeys(left, f'the program did not begin: {found}')}
        outcomes.update(found)
        left = [name for name in left if name not in outcomes]
    return outcomes


def _assert_outcome(path, name, pes):
    why = _file_outcomes(path, pes).get(name, 'it was not run')
    from harness import over_nodes
    spread = ' '.join(['', *over_nodes(pes)])
    again = f'build/bin/c4py run -n {pes}{spread} {os.path.relpath(path, _TREE)} {name}'
    assert why is None, f'{why}\nagain: {again}'
