"""What all Python tests share: running programs, and the proof that they leave nothing behind."""

import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import textwrap

import pytest
from harness import C4PY, ROOT, Daemon, Running, over_nodes
from leftovers import no_leftovers  # noqa: F401

# Under nohup commands ignore hangups, as it has to be, but what tests start must not: what is
# handled here is as usual there.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda number, frame: None)


@pytest.fixture
def run_c4py():
    """Run the command with these arguments; text in, text out."""

    def run(*arguments, timeout=60, **options):
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        command = [str(C4PY), *map(str, arguments)]
        options = {"text": True, **options}
        return subprocess.run(command, capture_output=True, timeout=timeout, **options)

    return run


@pytest.fixture
def run_program(run_c4py, tmp_path):
    """Run a program, given as its source text, on some PEs."""

    def run(source, pes=2, args=(), options=(), name="program.py", timeout=60, **more):
        path = tmp_path / name
        path.write_text(textwrap.dedent(source))
        spread = [*over_nodes(pes), *options]
        return run_c4py("run", "-n", pes, *spread, path, *args, timeout=timeout, **more)

    return run


@pytest.fixture
def start(tmp_path):
    """Start a program, given as its source text, and go on: a harness.Running."""
    started = []

    def begin(source, pes=2, args=(), options=(), **more):
        path = tmp_path / "program.py"
        path.write_text(textwrap.dedent(source))
        started.append(Running(["run", "-n", pes, *over_nodes(pes), *options, path, *args], **more))
        return started[-1]

    yield begin
    for running in started:
        running.end()


@pytest.fixture
def start_daemon(no_leftovers, monkeypatch, tmp_path):  # noqa: F811
    """Start a daemon with these keyword arguments of harness.Daemon; it is ended after the test."""
    started = []

    def begin(state_dir=no_leftovers / "state", **options):
        monkeypatch.setenv("C4P_STATE_DIR", str(state_dir))
        started.append(Daemon(state_dir, tmp_path, **options))
        return started[-1]

    yield begin
    for daemon in started:
        daemon.end()


@pytest.fixture
def daemon(start_daemon):
    """A lasting daemon with 4 PEs in a state directory of its own: a harness.Daemon."""
    return start_daemon()


@pytest.fixture
def for_everybody():
    """Copy a program to where every user may execute it: the tree may be in somebody's home."""
    place = pathlib.Path(tempfile.mkdtemp(prefix="c4p-others-", dir="/tmp"))
    place.chmod(0o755)
    yield lambda program: str(shutil.copy(program, place))
    shutil.rmtree(place)


@pytest.fixture(scope="session")
def fake_pe(tmp_path_factory):
    """A program in C that speaks the data plane, well and badly (fake_pe.c)."""
    program = tmp_path_factory.mktemp("fake") / "fake_pe"
    sources = [ROOT / f"proto/{name}.c" for name in ("envelope", "segment", "inbox", "region")]
    sources.append(ROOT / "tests/python/fake_pe.c")
    flags = ["-std=c11", "-D_GNU_SOURCE=", "-O2", "-Wall", "-Wextra", f"-I{ROOT}"]
    compiler = os.environ.get("CC", "gcc")
    subprocess.run([compiler, *flags, *sources, "-o", program], check=True)
    return program
