"""A session at Python's own prompt: messages are handled while it waits for input."""

import ctypes
import sys

from . import _c4py

_hook = None            # keeps the C function alive while the interpreter has its address


def _pointer():
    return ctypes.c_void_p.in_dll(ctypes.pythonapi, 'PyOS_InputHook')


def _while_waiting():
    try:
        _c4py.client_poll()
    except Exception:
        pass                            # the next use of the session will say it
    return 0


def install():
    """Begin, if this is a prompt and nobody else, as tkinter, has its hook."""
    global _hook
    if _hook is None and hasattr(sys, 'ps1') and not _pointer().value:
        _hook = ctypes.CFUNCTYPE(ctypes.c_int)(_while_waiting)
        _pointer().value = ctypes.cast(_hook, ctypes.c_void_p).value


def remove():
    """End it."""
    global _hook
    if _hook is not None and _pointer().value == ctypes.cast(_hook, ctypes.c_void_p).value:
        _pointer().value = None
    _hook = None
