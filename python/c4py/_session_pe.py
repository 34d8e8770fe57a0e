"""What a PE of a session runs, as a program of its own.

Its argument is the version of the interpreter that the session's functions are compiled for.  The
environment has the module search path of the client that made the session, so that what can be
imported there can be imported here; on another host what is below the root of the files that came
along leads to them, and what this interpreter finds by itself comes last.
"""

import os
import sys
import types


def main():
    """Serve the session; does not return."""
    version = '.'.join(map(str, sys.version_info[:2]))
    if sys.argv[1:] != [version]:
        sys.exit(f'{sys.executable} is Python {version}, but the client of this session runs '
                 f'Python {" ".join(sys.argv[1:])}: give connect() a python of that version')
    path = os.environ.pop('C4P_SESSION_PATH').split(':')
    own = sys.path[1:]          # the first is the directory that it was started in
    sys.path[:] = path + [entry for entry in own if entry not in path]
    sys.argv[:] = ['']
    sys.modules['__main__'] = types.ModuleType('__main__')      # the clients' own are theirs
    from c4py import charm
    charm._serve_session()


if __name__ == '__main__':
    this = sys.modules['__main__']      # its globals live as long as somebody has it
    main()
