"""What this interpreter is, and which modules it finds: told to the daemon that asks.

The daemon runs this file with the names of modules as arguments, before it places a job's PEs on
this host. It works with any Python 3, also with one that c4py does not support: that is what the
daemon wants to know.

It writes lines::

    c4p-probe 1
    version 3.11
    package 0.3.0           the release of c4py; nothing if it cannot be imported
    standard json           a module of the standard library
    missing scipy           one that is not found
    end

A module that is found otherwise is not mentioned.
"""

import sys


def standardNames():
    """Names of the standard library's modules; before Python 3.10 only those built in."""
    return frozenset(getattr(sys, 'stdlib_module_names', sys.builtin_module_names))


def isFound(name):
    """Whether a top-level module of this name can be imported, without importing it."""
    from importlib.util import find_spec
    try:
        return find_spec(name) is not None
    except Exception:       # a finder of somebody's own
        return False


def packageRelease():
    """The release of c4py that this interpreter imports, or None."""
    try:
        from c4py import __version__
        return __version__
    except Exception:       # no such package, or its extension is for another Python
        return None


def main(modules):
    """Write the answer about these modules to standard output."""
    write = sys.stdout.write
    write('\nc4p-probe 1\nversion %d.%d\n' % sys.version_info[:2])
    release = packageRelease()
    if release is not None:
        write('package %s\n' % release)
    standard = standardNames()
    for name in modules:
        if name in standard:
            write('standard %s\n' % name)
        elif not isFound(name):
            write('missing %s\n' % name)
    write('end\n')
    sys.stdout.flush()


if __name__ == '__main__':
    if sys.path and sys.path[0].rstrip('/').endswith('c4py'):
        del sys.path[0]     # of this file: its neighbours are no top-level modules
    main(sys.argv[1:])
