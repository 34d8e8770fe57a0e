"""A program's files go to the daemon with its job, and are there for as long as the job is."""

import json
import os
import re
import subprocess
import sys

import pytest
from harness import C4PD, wait_until

HELLO = """
import helper
from c4py import charm
def main(args):
    print(helper.WORD)
    exit()
charm.start(main)
"""

# Stays until a file of this name is there.
STAY = """
import os, sys, time
from c4py import charm
def main(args):
    while not os.path.exists(args[1]):
        time.sleep(0.01)
    exit()
charm.start(main)
"""


@pytest.fixture
def application(tmp_path):
    """A directory with a program of two files, and data beside it."""
    directory = tmp_path / "application"
    (directory / "data").mkdir(parents=True)
    (directory / "app.py").write_text(HELLO)
    (directory / "helper.py").write_text("WORD = 'found'\n")
    (directory / "data" / "table.txt").write_text("1 2 3\n")
    return directory


def blobs(daemon):
    """What the daemon keeps: {content: inode}."""
    found = {}
    for path in (daemon.state_dir / "bundles" / "blobs").iterdir():
        found[path.read_bytes()] = path.stat().st_ino
    return found


def test_what_is_included_is_kept_by_its_content_and_sent_once(start_daemon, application):
    daemon = start_daemon()
    for _ in range(2):
        done = daemon.c4py("submit", "-n", 1, "--include", "data", "app.py", cwd=application)
        assert (done.returncode, done.stdout, done.stderr) == (0, "found\n", "")
    before = blobs(daemon)
    texts = {path.read_bytes() for path in application.rglob("*.*")
             if path.parent.name != "__pycache__"}
    assert set(before) == texts
    (application / "helper.py").write_text("WORD = 'another'\n")
    done = daemon.c4py("submit", "-n", 1, "--include", "data", "app.py", cwd=application)
    assert (done.returncode, done.stdout) == (0, "another\n")
    after = blobs(daemon)
    assert set(after) - set(before) == {b"WORD = 'another'\n"}
    assert all(after[content] == inode for content, inode in before.items())


def test_a_lone_daemon_gets_no_files_and_one_of_a_cluster_all_python(start_daemon, application,
                                                                     no_leftovers):
    daemon = start_daemon()
    assert daemon.c4py("submit", "-n", 1, "app.py", cwd=application).stdout == "found\n"
    assert blobs(daemon) == {}
    daemon.stop()
    state_dir = no_leftovers / "node"
    subprocess.run([C4PD, "init", "--state-dir", state_dir, "--node", "a"], check=True,
                   capture_output=True, timeout=30)
    daemon = start_daemon(state_dir, options=["--listen", "127.0.0.1:0"])
    done = daemon.c4py("submit", "-n", 1, "--no-bundle", "app.py", cwd=application)
    assert done.stdout == "found\n", done.stderr
    assert blobs(daemon) == {}
    done = daemon.c4py("submit", "-n", 1, "app.py", cwd=application)
    assert done.stdout == "found\n", done.stderr
    assert set(blobs(daemon)) == {HELLO.encode(), b"WORD = 'found'\n"}


def test_a_queued_job_finds_its_files_after_kill_9(start_daemon, application, tmp_path):
    daemon = start_daemon(pes=1, options=["--bundle-limit", "1M"])
    go = tmp_path / "go"
    daemon.submit(STAY, args=[go])
    large = application / "data" / "large"
    large.write_bytes(b"a" * 700000)
    done = daemon.c4py("submit", "--detach", "-n", 1, "--include", "data", "app.py",
                       cwd=application)
    assert done.returncode == 0, done.stderr
    daemon.kill()
    kept = blobs(daemon)
    assert large.read_bytes() in kept
    daemon.start()
    daemon.wait_for(done.stdout.strip(), "completed")
    assert blobs(daemon) == kept


def test_what_a_queued_job_needs_stays_also_after_a_restart(start_daemon, application, tmp_path):
    daemon = start_daemon(pes=1, options=["--bundle-limit", "1M"])
    go = tmp_path / "go"
    large = application / "data" / "large"

    def submit(letter):
        large.write_bytes(letter * 700000)
        return daemon.c4py("submit", "--detach", "-n", 1, "--include", "data", "app.py",
                           cwd=application)

    # The first runs, and the second when the daemon is back: the one with files waits on.
    stays = [daemon.submit(STAY, args=[go], options=["--priority", "5"]) for _ in range(2)]
    daemon.wait_for(stays[0], "running")
    waits = submit(b"a").stdout.strip()
    refused = submit(b"b")
    assert refused.returncode == 1
    assert "bundle_limit" in refused.stderr
    daemon.kill()
    daemon.start()
    daemon.wait_for(stays[1], "running")
    assert daemon.job(waits)["state"] == "queued"
    assert submit(b"b").returncode == 1
    go.write_text("")
    daemon.wait_for(waits, "completed")
    assert wait_until(lambda: submit(b"b").returncode == 0)


PLACE = """
import os, sys
import helper
from c4py import charm, Chare, Group
class Place(Chare):
    def tell(self, done):
        with open("data/table.txt") as table:
            print(helper.WORD, table.read().strip(), os.getcwd(), flush=True)
        with open("written", "w") as beside:
            beside.write("x")
        self.reduce(done)
def main(args):
    done = charm.Future()
    Group(Place).tell(done)
    done.get()
    exit()
charm.start(main)
"""


@pytest.fixture
def two_nodes(start_daemon, no_leftovers):
    """Daemons of a cluster on this host: the first has one PE, the second two."""

    def c4pd(*arguments):
        done = subprocess.run([C4PD, *arguments], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    first, second = no_leftovers / "first", no_leftovers / "second"
    c4pd("init", "--state-dir", first, "--node", "a")
    options = ["--listen", "127.0.0.1:0"]
    daemons = [start_daemon(first, pes=1, options=options)]
    token = re.search(r"c4pt1-[\w-]+", c4pd("token", "--state-dir", first)).group()
    c4pd("join", "--state-dir", second, "--name", "b", token)
    daemons.append(start_daemon(second, pes=2, options=options))
    for daemon in daemons:
        assert wait_until(
            lambda: c4pd("nodes", "--state-dir", daemon.state_dir).count(" alive ") == 2)
    return daemons


def detach(daemon, program, *arguments, pes=1, options=(), **more):
    """Submit to one of several daemons; the job's id."""
    done = daemon.c4py("submit", "--state-dir", daemon.state_dir, "--detach", "-n", pes, *options,
                       program, *arguments, **more)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_job_runs_on_a_host_where_its_files_never_were(two_nodes, application, tmp_path):
    home, other = two_nodes
    (application / "app.py").write_text(PLACE)
    stays = []
    for daemon, pes in ((home, 1), (other, 2)):
        go = tmp_path / f"go{pes}"
        stays.append((daemon, detach(daemon, daemon.program(STAY), go, pes=pes), go))
    for daemon, id, _ in stays:
        assert daemon.c4py("wait", "--state-dir", daemon.state_dir, "--timeout", "0s",
                           id).returncode == 124
    options = ["--include", "data", "--name", "traveller"]
    job = detach(home, "app.py", pes=2, options=options, cwd=application)
    application.rename(tmp_path / "elsewhere")      # nobody has them any more but the daemon
    stays[1][2].write_text("")
    ended = home.c4py("wait", "--state-dir", home.state_dir, "--timeout", "50s", job)
    output = home.c4py("logs", "--state-dir", home.state_dir, job)
    assert ended.returncode == 0, output
    lines = sorted(output.stdout.splitlines())
    work = str(other.state_dir / "work") + "/"
    assert [line.split()[:4] for line in lines] == [["found", "1", "2", "3"]] * 2
    assert all(line.split()[4].startswith(work) for line in lines), output
    # Its directory has gone with it, what was fetched stays.
    assert wait_until(lambda: list((other.state_dir / "work").iterdir()) == [])
    assert b"WORD = 'found'\n" in blobs(other)
    assert not (tmp_path / "elsewhere" / "written").exists()
    stays[0][2].write_text("")


def test_a_host_without_a_module_is_left_out_and_named(two_nodes, application, tmp_path):
    home, _ = two_nodes
    base = tmp_path / "base"
    version = "python%d.%d" % sys.version_info[:2]
    (base / "lib" / version / "site-packages").mkdir(parents=True)
    (base / "lib" / version / "site-packages" / "only_here.py").write_text("")
    (application / "app.py").write_text("import only_here" + HELLO)
    # The environment is the job's, not the other daemon's: there it finds no such module.
    options = ["--env", f"PYTHONUSERBASE={base}", "--python", sys.executable]
    job = detach(home, "app.py", pes=2, options=options, cwd=application)

    def reason():
        done = home.c4py("jobs", "--state-dir", home.state_dir, "--json")
        return next(row["reason"] for row in json.loads(done.stdout) if row["id"] == job)

    assert wait_until(lambda: "host b has no module only_here" in reason(), 20), reason()
    cancelled = home.c4py("cancel", "--state-dir", home.state_dir, job)
    assert cancelled.returncode == 0
    done = home.c4py("submit", "--state-dir", home.state_dir, "-n", 1, *options, "app.py",
                     cwd=application)
    assert (done.returncode, done.stdout) == (0, "found\n"), done.stderr


BAD_INPUT = {
    "missing": (["--include", "nothing"], "--include: nothing: No such file or directory"),
    "both": (["--include", "app.py", "--no-bundle"], "does not go together with --include"),
    "apart": (["--include", "/etc/passwd"], "no directory in common but /"),
    "empty": (["--include", ""], "--include: the path is empty"),
    "pipe": (["--include", "data/pipe"], "is neither a file nor a directory"),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_what_cannot_go_along_is_said_before_anything_is_submitted(start_daemon, application, name):
    options, sentence = BAD_INPUT[name]
    daemon = start_daemon()
    os.mkfifo(application / "data" / "pipe")
    done = daemon.c4py("submit", *options, "app.py", cwd=application)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert daemon.jobs() == []
