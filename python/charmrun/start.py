"""``python3 -m charmrun.start +p4 app.py``: the same as ``c4py run -n 4 app.py``."""

import os
import subprocess
import sys

from c4py.errors import Charm4PyError
from c4py.launch import COUNT_OPTIONS, IGNORED_OPTIONS, find_command

_UNKNOWN = ('++nodelist', '++nodegroup', '++interactive', '++ppn', '++mpiexec', '++numHosts',
            '++server', '++server-port', '++runscript', '++processPerHost', '++timelimit')


def _count(text, option):
    try:
        count = int(text)
    except ValueError:
        count = 0
    if count < 1:
        raise Charm4PyError(f'{option}: the number of PEs is an int from 1 up, not {text!r}')
    return count


def parse(args):
    """Split arguments into (number of PEs, the program and its arguments)."""
    pes, command = 1, []
    rest = list(args)
    while rest:
        option = rest.pop(0)
        if option in COUNT_OPTIONS:
            if not rest:
                raise Charm4PyError(f'{option} needs the number of PEs')
            pes = _count(rest.pop(0), option)
        elif option.startswith('+p') and option[2:3].isdigit() or option.startswith('+p-'):
            pes = _count(option[2:], option)
        elif option in IGNORED_OPTIONS:
            del rest[:IGNORED_OPTIONS[option]]
        elif option in _UNKNOWN:
            raise Charm4PyError(f'{option} is not supported: c4py run starts programs on this host')
        else:
            command.append(option)
    if not command:
        raise Charm4PyError('no program given: python3 -m charmrun.start +p4 app.py')
    return pes, command + ['++quiet'] * ('++quiet' in args)     # the program's runtime takes it


def _command(args):
    pes, command = parse(args)
    return [find_command(), 'run', '-n', str(pes), '--python', sys.executable, '--'] + command


def start(args=None):
    """Run a program and wait for it; args like ['+p4', 'app.py']. Returns its exit code."""
    try:
        command = _command(sys.argv[1:] if args is None else args)
    except Charm4PyError as error:
        print(f'charmrun: {error}', file=sys.stderr)
        return 2
    return subprocess.call(command)


def main():
    """Entry point of the command: replaces this process by the run."""
    try:
        command = _command(sys.argv[1:])
    except Charm4PyError as error:
        print(f'charmrun: {error}', file=sys.stderr)
        sys.exit(2)
    os.execv(command[0], command)


if __name__ == '__main__':
    main()
