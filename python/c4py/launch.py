"""How a program gets onto PEs when it was started as a plain Python program."""

import os
import sys

from .errors import Charm4PyError


# Options of Charm++'s launcher: those that say how many PEs, with one value, and those that change
# nothing here, with the number of their values.
COUNT_OPTIONS = ('+p', '+n', '++n', '++np')
IGNORED_OPTIONS = {'++local': 0, '++quiet': 0, '++verbose': 0, '++scalable-start': 0,
                   '++usehostname': 0, '++auto-provision': 0, '++timeout': 1, '++batch': 1,
                   '++useip': 1, '++remote-shell': 1, '+libcharm_interface': 1}


def program_arguments(arguments):
    """Arguments without the launcher's options, and whether ++quiet was among these."""
    rest, skip = [], 0
    for argument in arguments:
        if skip:
            skip -= 1
        elif argument in COUNT_OPTIONS:
            skip = 1
        elif argument in IGNORED_OPTIONS:
            skip = IGNORED_OPTIONS[argument]
        elif not (argument.startswith('+p') and argument[2:].isdigit()):
            rest.append(argument)
    return rest, '++quiet' in arguments


def is_pe():
    """Has c4pd started this process as a PE?"""
    return 'C4P_PE' in os.environ


def imported_by_multiprocessing():
    """Is this a worker that multiprocessing has spawned, and that only imports the program?"""
    process = sys.modules.get('multiprocessing.process')
    return process is not None and getattr(process.current_process(), '_inheriting', False)


def find_command(name='c4py'):
    """Path of one of our programs: beside the package, in the build tree, or on PATH."""
    here = os.path.dirname(os.path.abspath(__file__))
    places = [os.path.join(here, '_bin'), os.path.join(here, '..', '..', 'bin')]
    for place in places + os.environ.get('PATH', '').split(os.pathsep):
        path = os.path.join(place, name)
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return os.path.normpath(path)
    raise Charm4PyError(f'cannot find the program {name}: install c4p, or put {name} on PATH')


def _own_command():
    """The command line of this process."""
    original = getattr(sys, 'orig_argv', None)
    if original:
        return [sys.executable] + original[1:]
    if sys.argv[0] in ('', '-', '-c'):
        raise Charm4PyError('a program from standard input or -c cannot be started again: put it '
                            'into a file')
    return [sys.executable] + sys.argv


def run_this_program():
    """Replace this process by `c4py run` of the same program on one PE."""
    command = _own_command()
    if len(command) < 2 or command[1] == '-':
        raise Charm4PyError('charm.start() at a prompt, or in a program from standard input: put '
                            'the program into a file')
    path = find_command()
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(path, [path, 'run', '-n', '1', '--exec', '--'] + command)


def forget_environment():
    """Take out of the environment what says that this is a PE: its children are none."""
    for name in ('C4P_PE', 'C4P_SEGMENT', 'C4P_WAKE', 'C4P_SESSION', 'C4P_SESSION_PATH'):
        os.environ.pop(name, None)


def prepare_streams():
    """Let whole lines leave this PE when they are printed."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, 'reconfigure', None)
        if reconfigure is not None:
            stream.flush()
            reconfigure(line_buffering=True)
