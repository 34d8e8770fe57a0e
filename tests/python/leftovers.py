"""The proof that a test leaves nothing behind."""

import os
import pathlib
import shutil
import signal
import tempfile
import uuid

import pytest
from harness import marked_processes, segments_held, wait_until


@pytest.fixture(autouse=True)
def no_leftovers(monkeypatch):
    """After a test no process, shared memory, socket or temporary file of it is left.

    Every process that a test starts has a mark in its environment. A segment is a memfd: it is
    gone when no process holds it. Sockets and temporary files can only be in the directory that
    the test was given, which is the value of the fixture.
    """
    mark = f"C4P_TEST={uuid.uuid4()}"
    # Not one of pytest's: the path of a socket has to be short.
    directory = pathlib.Path(tempfile.mkdtemp(prefix="c4p-test-", dir="/tmp"))
    shared = set(os.listdir("/dev/shm"))
    monkeypatch.setenv(*mark.split("="))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    monkeypatch.setenv("TMPDIR", str(directory))
    yield directory
    wait_until(lambda: not marked_processes(mark.encode()), 5)
    processes = marked_processes(mark.encode())
    for pid in processes:
        os.kill(pid, signal.SIGKILL)
    files = sorted(path.name for path in directory.glob("c4p-*"))
    shutil.rmtree(directory, ignore_errors=True)
    assert not processes, f"processes are left: {processes}"
    assert not files, f"files are left: {files}"
    assert not segments_held(), "this process holds a segment"
    left = [name for name in set(os.listdir("/dev/shm")) - shared if "c4p" in name]
    assert not left, f"shared memory is left: {left}"
