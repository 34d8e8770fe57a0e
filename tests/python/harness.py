"""What conftest.py is made of: where things are, and a c4py that can be watched."""

import os
import pathlib
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("C4P_BUILD", ROOT / "build"))
C4PY = BUILD / "bin" / "c4py"


def wait_until(condition, seconds=10.0):
    """Ask until the condition holds; its last value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return value


def marked_processes(mark):
    """Processes (pid: command) in whose environment at their start the mark was."""
    found = {}
    for directory in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if mark in (directory / "environ").read_bytes():
                command = (directory / "cmdline").read_bytes().replace(b"\0", b" ")
                found[int(directory.name)] = command.decode(errors="replace")
        except OSError:
            continue  # gone meanwhile, or another user's
    return found


def segments_held():
    """Descriptors of this very process that are a job's segment."""
    held = []
    for link in pathlib.Path("/proc/self/fd").iterdir():
        try:
            if "memfd:c4p" in os.readlink(link):
                held.append(link.name)
        except OSError:
            continue
    return held


def children(pid):
    path = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()]


class Running:
    """c4py in the background: what it says so far, and the processes that it made."""

    def __init__(self, arguments, **options):
        for stream in ("stdout", "stderr"):
            options.setdefault(stream, subprocess.PIPE)
        options.setdefault("stdin", subprocess.DEVNULL)
        self.process = subprocess.Popen([str(C4PY), *map(str, arguments)], **options)
        self.out = b""
        if self.process.stdout is not None:
            os.set_blocking(self.process.stdout.fileno(), False)

    def says(self, text, seconds=20.0):
        """Wait until this was written to standard output."""

        def said():
            try:
                self.out += os.read(self.process.stdout.fileno(), 1 << 20)
            except BlockingIOError:
                pass
            return text in self.out

        return wait_until(said, seconds)

    @property
    def daemon(self):
        return wait_until(lambda: children(self.process.pid))[0]

    @property
    def pes(self):
        return wait_until(lambda: children(self.daemon))

    def signal(self, number):
        self.process.send_signal(number)

    def finish(self, seconds=30.0):
        """Exit code, all of standard output, standard error."""
        if self.process.stdout is not None:
            os.set_blocking(self.process.stdout.fileno(), True)
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, (self.out + (out or b"")).decode(), (err or b"").decode()

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
