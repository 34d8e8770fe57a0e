"""The files that a session takes along to hosts that do not have them.

As `c4py submit` does: the Python files below the directory of the program, and what was included.
"""

import os
import sys
import sysconfig
from typing import NamedTuple

from .errors import Charm4PyError


class Luggage(NamedTuple):
    """What goes along.

    Attributes:
        root: an absolute directory that all of it is below; the same tree is made elsewhere.
        paths: files and directories below it, relative to it.
        python: directory whose Python files go along, relative to the root; None: of none.
    """

    root: str
    paths: list
    python: str


def find(cwd, include, bundle):
    """What a session of this process takes along: a Luggage, or None.

    Parameters:
        cwd: absolute; the directory that its PEs run in.
        include: paths of files and directories.
        bundle: whether anything goes along.

    Raises TypeError, ValueError or Charm4PyError if that cannot be.
    """
    included = [_included(path) for path in _paths(include)]
    if not bundle:
        if included:
            raise ValueError('include= does not go together with bundle=False')
        return None
    directory = _program_directory()
    if directory is None and not included:
        return None
    root = _root(cwd, directory, included)
    python = os.path.relpath(directory, root) if directory is not None else None
    return Luggage(root, [os.path.relpath(path, root) for path in included],
                   '' if python == '.' else python)


def _paths(include):
    if isinstance(include, (str, bytes, os.PathLike)):
        raise TypeError(f'include={include!r}: a list of paths')
    return [os.fsdecode(path) for path in include]


def _included(path):
    if not os.path.exists(path):
        raise Charm4PyError(f'include: {path!r}: there is no such file or directory')
    return os.path.abspath(path)


def _below(directory, path):
    return os.path.commonpath([directory, path]) == directory


def _program_directory():
    """Where this program's modules are; None if they are installed, or cannot be known."""
    program = sys.modules.get('__main__')
    file = getattr(program, '__file__', None)
    if file is None:            # a notebook, or a prompt
        directory = os.getcwd()
        return None if directory in ('/', os.path.expanduser('~')) else directory
    if getattr(program, '__spec__', None) is not None:          # python -m
        file, directory = os.path.abspath(file), os.getcwd()
        return directory if _below(directory, file) and not _installed(file) else None
    file = os.path.abspath(file)
    return None if _installed(file) else os.path.dirname(file)


def _installed(file):
    places = [sysconfig.get_path(name) for name in ('stdlib', 'purelib', 'platlib', 'scripts')]
    return any(place and _below(place, file) for place in [*places, '/usr/bin', '/usr/lib'])


def _root(cwd, directory, included):
    """The directory that the files are below.

    The PEs' own if the program is below that, so that relative paths stay true.
    """
    root = cwd
    if directory is not None and (cwd == '/' or not _below(cwd, directory)):
        root = directory
    for path in included:
        root = os.path.commonpath([root, path if os.path.isdir(path) else os.path.dirname(path)])
    if root == '/':
        raise Charm4PyError("the program's files have no directory in common but / (put them "
                            'together, or use connect(bundle=False) if every host has them)')
    return root
