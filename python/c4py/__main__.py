"""``python3 -m c4py ...``: the command c4py."""

import os
import sys

from .errors import Charm4PyError
from .launch import find_command


def main():
    """Run the command c4py with this process's arguments."""
    try:
        path = find_command()
    except Charm4PyError as error:
        sys.exit(f'c4py: {error}')
    os.environ.setdefault('C4P_PYTHON', sys.executable)
    os.execv(path, [path] + sys.argv[1:])


if __name__ == '__main__':
    main()
