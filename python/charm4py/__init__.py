"""The name under which Charm4py programs know c4py: the very same modules."""

import importlib
import importlib.abc
import importlib.util
import sys

import c4py


class _Alias(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds charm4py.x as the module c4py.x."""

    def find_spec(self, fullname, path=None, target=None):
        if not fullname.startswith('charm4py.'):
            return None
        name = 'c4py.' + fullname[len('charm4py.'):]
        if importlib.util.find_spec(name) is None:
            return None
        return importlib.util.spec_from_loader(fullname, self)

    def create_module(self, spec):
        module = importlib.import_module('c4py.' + spec.name[len('charm4py.'):])
        self._own = module.__spec__, module.__loader__
        return module

    def exec_module(self, module):
        # The import system has stamped the alias on it: it stays what it was.
        module.__spec__, module.__loader__ = self._own


sys.meta_path.insert(0, _Alias())
sys.modules[__name__] = c4py
# Importing charm4py.charm must not put the module into the place of the object c4py.charm.
for _name in [name for name in sys.modules if name.startswith('c4py.')]:
    sys.modules['charm4py.' + _name[len('c4py.'):]] = sys.modules[_name]
