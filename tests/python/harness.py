"""What conftest.py is made of: where things are, and a c4py that can be watched."""

import fcntl
import json
import os
import pathlib
import pty
import signal
import struct
import subprocess
import termios
import textwrap
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("C4P_BUILD", ROOT / "build"))
C4PY = BUILD / "bin" / "c4py"
C4PD = BUILD / "bin" / "c4pd"


def over_nodes(pes):
    """Options that deal a program's PEs to $C4P_NODES nodes: the tests of the model on several."""
    nodes = min(int(os.environ.get("C4P_NODES", "1")), int(pes))
    return ["--nodes", str(nodes)] if nodes > 1 else []


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


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, *arguments, columns=80):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
            os.execv(C4PY, [str(C4PY), *map(str, arguments)])
        self.out = b""
        os.set_blocking(self.terminal, False)

    def says(self, text, seconds=20.0):
        def said():
            try:
                self.out += os.read(self.terminal, 1 << 16)
            except (BlockingIOError, OSError):
                pass
            return text in self.out

        return wait_until(said, seconds)

    def type(self, text):
        os.write(self.terminal, text)

    def hang_up(self):
        os.close(self.terminal)
        self.terminal = None

    def finish(self):
        """The exit code."""
        status = None

        def ended():
            nonlocal status
            if self.terminal is not None:
                self.says(b"\0", 0)  # output that nobody reads would keep it
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            return pid

        if not wait_until(ended, 30):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            raise AssertionError(f"it does not end: {self.out}")
        if self.terminal is not None:
            self.says(b"\0", 0)
            self.hang_up()
        return os.waitstatus_to_exitcode(status)


class Daemon:
    """A c4pd of its own in a state directory of its own, in the foreground.

    Whoever uses it has C4P_STATE_DIR set to that directory: c4py, c4pd and connect() find it.
    """

    def __init__(self, state_dir, programs, pes=4, options=()):
        self.state_dir = pathlib.Path(state_dir)
        self.programs = pathlib.Path(programs)  # where submitted programs are written to
        self.options = ["--pes", str(pes), *map(str, options)]
        self.log = self.programs / "daemon.log"
        self.process = None
        self.running = []
        self.written = 0
        self.start()

    @property
    def pid(self):
        return self.process.pid

    def command(self, *more):
        where = ["--foreground", "--state-dir", str(self.state_dir)]
        return [str(C4PD), "start", *where, *self.options, *more]

    def start(self, *more):
        """Start it, and return when it serves."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command(*more), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_until(lambda: self.process.poll() is not None or self.serves(), 20)
        if not self.serves():
            raise AssertionError(f"the daemon does not come up:\n{self.log.read_text()}")

    def start_fails(self, *more):
        """Start it where it refuses to run: the finished process."""
        return subprocess.run(self.command(*more), capture_output=True, text=True, timeout=30)

    def serves(self):
        return self.c4py("status").returncode == 0

    def kill(self):
        """kill -9, and return when it is gone."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """End it and what runs; queued jobs stay in the store."""
        if self.process.poll() is not None:
            return
        subprocess.run(
            [C4PD, "stop", "--now", "--state-dir", self.state_dir], capture_output=True, timeout=30
        )
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()

    def restart(self):
        """Stop it, if it runs, and start it again."""
        self.stop()
        self.start()

    def c4py(self, *arguments, timeout=60, **options):
        """Run a command to its end; text in, text out."""
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        options = {"text": True, **options}
        command = [str(C4PY), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, timeout=timeout, **options)

    def program(self, source):
        """Write a program; its path."""
        self.written += 1
        path = self.programs / f"program{self.written}.py"
        path.write_text(textwrap.dedent(source))
        return path

    def submit(self, source, pes=1, args=(), options=()):
        """Submit a program, given as its source text; the job's id."""
        done = self.c4py("submit", "--detach", "-n", pes, *options, self.program(source), *args)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def begin(self, *arguments, **options):
        """Start a command and go on: a Running."""
        self.running.append(Running(arguments, **options))
        return self.running[-1]

    def follow(self, source, pes=1, args=(), options=(), **more):
        """Start `c4py submit` with a program, and go on: a Running."""
        return self.begin("submit", "-n", pes, *options, self.program(source), *args, **more)

    def jobs(self, *options):
        """All jobs, as `c4py jobs --all --json` tells them."""
        done = self.c4py("jobs", "--all", "--json", *options)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def job(self, id):
        """One of them."""
        return next(job for job in self.jobs() if job["id"] == id)

    def wait_for(self, id, state, seconds=20.0):
        """Wait until the job is in this state."""
        assert wait_until(lambda: self.job(id)["state"] == state, seconds), self.job(id)

    def end(self):
        for running in self.running:
            running.end()
        self.stop()
