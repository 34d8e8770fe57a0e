"""Exceptions of c4py."""


class Charm4PyError(Exception):
    """Something that the runtime cannot do as asked; the text says why and what to do.

    Attributes:
        message: the text.
    """

    def __init__(self, message=''):
        super().__init__(message)
        self.message = message


class NotThreadedError(Charm4PyError):
    """A call that has to wait was made outside of a coroutine."""


class CancelledError(Charm4PyError):
    """The future that was read had been cancelled."""


class SegmentFullError(Charm4PyError, MemoryError):
    """A message does not fit into what is left of the job's shared memory."""


class RemoteError(Charm4PyError):
    """Stands for an exception of another PE that cannot itself be sent."""


class SessionClosed(Charm4PyError):
    """The session is at its end; the text says why."""


class NotPublishedError(Charm4PyError, KeyError):
    """Nothing is published in the session under a name; the text says what is."""

    __str__ = Charm4PyError.__str__         # KeyError would quote it


class RemoteTraceback(Exception):
    """The cause of an exception that was raised on another PE: its traceback there."""

    def __str__(self):
        return f'\n"""\n{self.args[0].rstrip()}\n"""'
