"""Users on machines that are no nodes: another home and state directory, and a key file."""

import json
import os
import shutil
import signal
import subprocess
import time

import pytest
from harness import C4PD, C4PY, wait_until

SECONDS = 60  # far beyond what any of it takes

HELLO = """
import helper
from c4py import charm
def main(args):
    helper.say(charm.numPes(), args[1:])
    charm.exit(7)
charm.start(main)
"""
HELPER = """
def say(pes, words):
    print("hello from", pes, *words, flush=True)
"""
TICKS = """
import pathlib, sys, time
print("begin", flush=True)
number = 0
while not pathlib.Path(sys.argv[1]).exists():
    number += 1
    time.sleep(0.02)
print("end", flush=True)
"""


def run(binary, *words, env, code=0, timeout=60, cwd=None, stdin=subprocess.DEVNULL):
    done = subprocess.run([binary, *map(str, words)], capture_output=True, text=True, env=env,
                          timeout=timeout, cwd=cwd, stdin=stdin)
    assert code is None or done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done


class User:
    """Somebody at a machine of their own, which runs no daemon."""

    def __init__(self, place, node, name):
        self.home = place / name
        self.home.mkdir()
        self.node = node
        self.name = name
        self.env = {**os.environ, "HOME": str(self.home), "XDG_CONFIG_HOME": str(self.home / "c"),
                    "C4P_STATE_DIR": str(self.home / "state")}
        self.env.pop("XDG_RUNTIME_DIR", None)
        self.file = self.home / "key"
        self.key = run(C4PD, "key", "new", self.file, env=self.env).stdout.strip()

    def enrol(self):
        with open(self.file, "a") as file:
            file.write(self.node.c4pd("key", "add", self.name, self.key).stdout)
        return self

    def c4py(self, command, *words, code=0, **options):
        return run(C4PY, command, "--via", self.file, *words, env=self.env, code=code,
                   cwd=self.home, **options)

    def start(self, *words):
        return subprocess.Popen([C4PY, words[0], "--via", self.file, *map(str, words[1:])],
                                env=self.env, cwd=self.home, text=True, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def write(self, name, text):
        (self.home / name).write_text(text)
        return self.home / name

    def job(self, id):
        return next(job for job in json.loads(self.c4py("jobs", "--all", "--json").stdout)
                    if job["id"] == id)


class Node:
    """The daemon of a cluster of one."""

    def __init__(self, place, name="alpha", pes=2):
        self.state = place / name
        self.env = {**os.environ, "XDG_CONFIG_HOME": str(place / "config")}
        self.env.pop("C4P_STATE_DIR", None)
        self.pes = pes
        self.name = name

    def c4pd(self, command, *words, code=0):
        return run(C4PD, command, "--state-dir", self.state, *words, env=self.env, code=code)

    def begin(self):
        self.c4pd("init", "--node", self.name)
        return self.start()

    def start(self, listen="127.0.0.1:0"):
        self.c4pd("start", "--pes", self.pes, "--listen", listen)
        return self


@pytest.fixture
def node(no_leftovers):
    node = Node(no_leftovers).begin()
    yield node
    node.c4pd("stop", "--now", code=None)


@pytest.fixture
def user(no_leftovers, node):
    return User(no_leftovers, node, "ann").enrol()


def test_a_program_of_another_machine_runs_with_its_files_output_and_exit_code(user):
    user.write("helper.py", HELPER)
    user.write("app.py", HELLO)
    done = user.c4py("submit", "-n", 2, "app.py", "one", "two", code=7)
    assert done.stdout == "hello from 2 one two\n", done.stderr


def test_a_program_whose_files_are_nowhere_on_the_node_runs_in_a_copy_of_them(
        user, node, tmp_path):
    user.write("ticks.py", TICKS)
    user.c4py("submit", "-d", "-n", 2, "ticks.py", tmp_path / "gate")
    place = user.home / "only" / "here"
    place.mkdir(parents=True)
    (place / "helper.py").write_text(HELPER)
    (place / "app.py").write_text(HELLO.replace("charm.exit(7)", "charm.exit(0)"))
    id = user.c4py("submit", "-d", "-n", 2, "--cwd", place, "app.py").stdout.strip()
    shutil.rmtree(place)
    (tmp_path / "gate").touch()
    user.c4py("wait", id)
    assert user.c4py("logs", id).stdout == "hello from 2\n"
    assert not list((node.state / "work").iterdir())


def test_standard_input_goes_to_the_program(user, tmp_path):
    user.write("cat.py", "import sys\nprint(sys.stdin.read().upper())\n")
    given = tmp_path / "given"
    given.write_text("words")
    with open(given) as stdin:
        done = user.c4py("submit", "-n", 1, "cat.py", stdin=stdin)
    assert done.stdout == "WORDS\n"


def test_without_its_files_a_job_is_refused_with_the_remedy(user):
    user.write("app.py", "print(1)\n")
    done = user.c4py("submit", "--no-bundle", "app.py", code=1)
    assert "has to bring its files along" in done.stderr and "--include" in done.stderr


def test_a_signal_cancels_the_job(user, tmp_path):
    user.write("ticks.py", TICKS)
    process = user.start("submit", "-n", 1, "ticks.py", tmp_path / "gate")
    assert process.stdout.readline() == "begin\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=SECONDS)
    assert process.returncode == 128 + signal.SIGINT
    jobs = json.loads(user.c4py("jobs", "--all", "--json").stdout)
    assert [job["state"] for job in jobs] == ["cancelled"]


def test_a_job_goes_on_when_its_client_is_killed_and_is_followed_again(user, tmp_path):
    user.write("ticks.py", TICKS)
    process = user.start("submit", "-n", 1, "ticks.py", tmp_path / "gate")
    assert process.stdout.readline() == "begin\n"
    process.kill()
    process.communicate()
    id = json.loads(user.c4py("jobs", "--json").stdout)[0]["id"]
    again = user.start("attach", id)
    assert again.stdout.readline() == "begin\n"
    (tmp_path / "gate").touch()
    out, _ = again.communicate(timeout=SECONDS)
    assert out == "end\n" and again.returncode == 0
    assert user.job(id)["state"] == "completed"


def test_whose_key_is_revoked_is_told_so_and_cut_off_at_once_and_the_job_goes_on(
        user, node, tmp_path, no_leftovers):
    other = User(no_leftovers, node, "ben").enrol()
    user.write("ticks.py", TICKS)
    process = user.start("submit", "-n", 1, "ticks.py", tmp_path / "gate")
    assert process.stdout.readline() == "begin\n"
    node.c4pd("key", "revoke", "ann")
    _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 1 and "your key was revoked" in said
    done = user.c4py("jobs", code=1)
    assert "does not let the key" in done.stderr and user.key in done.stderr
    job = json.loads(other.c4py("jobs", "--json").stdout)[0]
    assert job["state"] == "running"
    (tmp_path / "gate").touch()
    other.c4py("wait", job["id"])


def test_a_key_that_nobody_knows_is_refused_with_address_and_remedy(user, node, no_leftovers):
    stranger = User(no_leftovers, node, "eve")
    line = user.file.read_text().splitlines()[2]
    stranger.file.write_text(stranger.file.read_text() + line + "\n")
    before = time.monotonic()
    done = stranger.c4py("status", code=1)
    assert time.monotonic() - before < 30
    assert line.split()[0] in done.stderr and f"c4pd key add NAME {stranger.key}" in done.stderr


def test_a_daemon_with_another_key_than_the_file_says_is_told(user, no_leftovers):
    lines = user.file.read_text().splitlines()
    address = lines[2].split()[0]
    user.file.write_text("\n".join([*lines[:2], f"{address} {lines[0]}"]) + "\n")
    done = user.c4py("status", code=1)
    assert address in done.stderr and "key add" in done.stderr


def test_a_daemon_that_does_not_run_is_told_with_its_address(user, node):
    address = user.file.read_text().splitlines()[2].split()[0]
    node.c4pd("stop", "--now")
    done = user.c4py("status", code=1)
    assert address in done.stderr and "does it run there" in done.stderr


@pytest.mark.parametrize("text, sentence", [
    ("", "is no key file"),
    ("what\nis\nthis\n", "is no key file"),
    (None, "No such file"),
])
def test_a_file_that_is_none_is_named(user, text, sentence):
    user.file.unlink()
    if text is not None:
        user.file.write_text(text)
        user.file.chmod(0o600)
    done = user.c4py("status", code=1)
    assert sentence in done.stderr and str(user.file) in done.stderr


def test_a_file_without_a_daemon_or_that_others_may_read_is_told(user, node, no_leftovers):
    done = User(no_leftovers, node, "eve").c4py("status", code=1)
    assert "c4pd key add" in done.stderr
    user.file.chmod(0o644)
    assert "chmod 600" in user.c4py("status", code=1).stderr


def test_a_client_follows_on_when_the_daemon_is_back(user, node, tmp_path):
    user.write("ticks.py", TICKS)
    # It waits in the queue, which outlives the daemon.
    node.c4pd("stop", "--now")
    address = user.file.read_text().splitlines()[2].split()[0].removeprefix("tcp://")
    node.start(address)
    first = user.c4py("submit", "-d", "-n", 2, "ticks.py", tmp_path / "gate").stdout.strip()
    process = user.start("submit", "-n", 2, "ticks.py", tmp_path / "gate")
    assert wait_until(lambda: len(json.loads(user.c4py("jobs", "--json").stdout)) == 2, SECONDS)
    node.c4pd("stop", "--now")
    (tmp_path / "gate").touch()
    node.start(address)
    out, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 0 and out.count("end") == 2, said
    assert user.job(first)["state"] in ("failed", "cancelled")


def test_a_program_that_was_edited_while_it_waited_runs_as_it_was_submitted(node, tmp_path):
    app = tmp_path / "app.py"
    app.write_text("open('result', 'w').write('kept')\nprint('as submitted')\n")
    gate = tmp_path / "gate"
    (tmp_path / "ticks.py").write_text(TICKS)
    submit = ["--state-dir", node.state, "-d"]
    run(C4PY, "submit", *submit, "-n", 2, tmp_path / "ticks.py", gate, env=node.env)
    id = run(C4PY, "submit", *submit, "-n", 1, "app.py", env=node.env, cwd=tmp_path).stdout.strip()
    app.write_text("print('as edited')\n")
    gate.touch()
    run(C4PY, "wait", "--state-dir", node.state, id, env=node.env)
    assert run(C4PY, "logs", "--state-dir", node.state, id, env=node.env).stdout \
        == "as submitted\n"
    assert (tmp_path / "result").read_text() == "kept"
    assert not list((node.state / "work").iterdir())
