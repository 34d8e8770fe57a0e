"""Every public name of the package says what it is."""

import subprocess
import sys

CHECK = """
import inspect, sys
import c4py
def public(owner, names, where):
    for name in names:
        value = getattr(owner, name)
        if inspect.isroutine(value) or isinstance(value, (type, property)):
            yield where + name, inspect.getdoc(value)
lacking = []
for name in c4py.__all__:
    value = getattr(c4py, name)
    if name not in ('charm4py_version',) and not inspect.getdoc(value):
        lacking.append(name)
    kind = value if isinstance(value, type) else type(value)
    if kind.__module__.split('.')[0] == 'c4py' and not isinstance(value, BaseException):
        names = [n for n in vars(kind) if not n.startswith('_')]
        lacking += [where for where, doc in public(kind, names, name + '.') if not doc]
for module in [m for n, m in sorted(sys.modules.items()) if n.split('.')[0] == 'c4py']:
    if not inspect.getdoc(module):
        lacking.append(module.__name__)
print(lacking)
"""


def test_every_public_name_has_its_docstring():
    done = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
