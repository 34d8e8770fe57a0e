"""cloudpickle for sessions: a class that goes there and back stays what it was.

Each pickle of an object by cloudpickle has the whole class of the object in it.  Loading one sets
all attributes of the class again, also where the class was defined: its methods there would be
replaced by copies that see other globals.  Here a class is filled once in each process, when it
comes first.
"""

import io
import weakref

import cloudpickle

_complete = weakref.WeakSet()       # classes that need no filling here


class CloudPickler(cloudpickle.CloudPickler):
    """What pickles the arguments of messages when pickle cannot."""

    def reducer_override(self, obj):
        """As cloudpickle reduces it, but for how a class is filled."""
        reduced = super().reducer_override(obj)
        if isinstance(obj, type) and isinstance(reduced, tuple) and len(reduced) == 6:
            _complete.add(obj)
            return (*reduced[:5], _fill) if reduced[5] is not None else reduced
        return reduced


def _fill(cls, state):
    """Give a class that was unpickled its attributes."""
    if cls in _complete:
        return cls
    _complete.add(cls)
    return _set_state(cls, state)


def _find_set_state():
    try:
        from cloudpickle.cloudpickle import _class_setstate
    except ImportError:             # before cloudpickle 3
        from cloudpickle.cloudpickle_fast import _class_setstate
    return _class_setstate


_set_state = _find_set_state()


def dumps(obj):
    """The pickle of an object."""
    with io.BytesIO() as file:
        CloudPickler(file).dump(obj)
        return file.getvalue()
