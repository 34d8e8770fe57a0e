"""Settings of the runtime."""

from . import _c4py
from .errors import Charm4PyError

_DEFAULTS = {
    'local_msg_optim': False,
    'local_msg_buf_size': 50,
    'pickle_protocol': -1,
    'profiling': False,
    'quiet': False,
    'remote_exec': False,
    'auto_flush_wait_queues': True,
}


class Options:
    """``charm.options``: set the attributes before charm.start().

    Attributes:
        local_msg_optim: pass arguments to chares on the same PE by reference.
        local_msg_buf_size: accepted for older programs; there is no such limit.
        pickle_protocol: protocol for what is pickled; -1 is the highest.
        profiling: False; measuring methods and messages is not in this version of c4py.
        quiet: print nothing of one's own.
        remote_exec: allow charm.thisProxy.exec() and eval().
        auto_flush_wait_queues: accepted for older programs.
    """

    def __reduce__(self):                   # wherever they are unpickled: those of that PE
        from .charm import charm
        return getattr, (charm, 'options')

    def __init__(self):
        for name, value in _DEFAULTS.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name, value):
        if name not in _DEFAULTS:
            known = ', '.join(sorted(_DEFAULTS))
            raise Charm4PyError(f'charm.options has no {name!r}: the options are {known}')
        if name == 'pickle_protocol' and not (isinstance(value, int) and -1 <= value <= 5):
            raise Charm4PyError(f'pickle_protocol={value!r}: an int from -1 (the highest) to 5')
        if name == 'profiling' and value:
            raise Charm4PyError('profiling is not in this version of c4py: leave the option False')
        object.__setattr__(self, name, value)
        _c4py.set_options(self.pickle_protocol, self.local_msg_optim)

    def __str__(self):
        return '\n'.join(f'{name}: {getattr(self, name)}' for name in _DEFAULTS)
