"""What the tests of sessions share: clients as programs of their own."""

import os
import subprocess
import sys
import textwrap

import pytest
from harness import wait_until


class Client:
    """A client program in the background, line by line."""

    def __init__(self, path, args, env, cwd):
        self.process = subprocess.Popen(
            [sys.executable, path, *map(str, args)],
            env=env,
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.out = b""
        os.set_blocking(self.process.stdout.fileno(), False)

    def says(self, text, seconds=20.0):
        """Wait until this was written to standard output."""

        def said():
            try:
                self.out += os.read(self.process.stdout.fileno(), 1 << 20)
            except BlockingIOError:
                pass
            return text.encode() in self.out or self.process.poll() is not None

        wait_until(said, seconds)
        return text.encode() in self.out

    def go_on(self):
        """Let a client that waits in input() continue."""
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def signal(self, number):
        self.process.send_signal(number)

    def finish(self, seconds=30.0):
        """Exit code, all of standard output, standard error."""
        os.set_blocking(self.process.stdout.fileno(), True)
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, (self.out + out).decode(), err.decode()

    def succeeds(self):
        """It ends with code 0; standard output."""
        code, out, err = self.finish()
        assert code == 0, f"{out}\n{err}"
        return out

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            stream.close()


@pytest.fixture
def start_client(no_leftovers, tmp_path):
    """Start a client, given as its source text, and go on."""
    started = []

    def begin(source, *args, name="client.py", **env):
        path = tmp_path / name
        path.write_text(textwrap.dedent(source))
        # No daemon is found where none was started by the test.
        everything = {**os.environ, "XDG_STATE_HOME": str(no_leftovers), **env}
        everything.pop("C4P_STATE_DIR", None)
        started.append(Client(path, args, everything, tmp_path))
        return started[-1]

    yield begin
    for client in started:
        client.end()


@pytest.fixture
def run_client(start_client):
    """Run a client, given as its source text, to a successful end; its standard output."""

    def run(source, *args, **env):
        return start_client(source, *args, **env).succeeds()

    return run
