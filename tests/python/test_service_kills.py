"""The daemon is killed at every stage of its work: what it acknowledged is never missing, never
twice, and runs in order.

C4P_KILLS is the number of rounds. A round submits jobs one after the other from several clients,
kills the daemon with -9 at a random moment, reads the store cold, starts the daemon again, and lets
it finish. The programs write down that they ran.
"""

import json
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time

import pytest
from harness import C4PY, marked_processes, wait_until

KILLS = int(os.environ.get("C4P_KILLS", "4"))
JOBS = 20
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"

# Writes down its number; a long line would not be one write.
NOTE = """
import os, sys
from c4py import charm
def main(args):
    file = os.open(args[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, (args[2] + "\\n").encode())
    exit()
charm.start(main)
"""

# Fills the daemon, has a child that makes a group of its own, and stays.
STAY = """
import os, subprocess, sys
from c4py import charm
def main(args):
    subprocess.Popen(["sleep", "3600"], start_new_session=True)
    print("here", flush=True)
    charm.sleep(3600)
charm.start(main)
"""


def id_of(text):
    number = 0
    for character in text:
        number = number << 5 | ALPHABET.index(character)
    return number


def submit(daemon, path, *arguments):
    """Submit detached; the job's id, or None if it was not acknowledged."""
    command = [str(C4PY), "submit", "--state-dir", str(daemon.state_dir), "--detach", "-n", "2",
               str(path), *map(str, arguments)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=60)
    return done.stdout.strip() if done.returncode == 0 else None


def stored(daemon):
    """All jobs of the store, as another process reads it: {id: state}."""
    script = (
        "import sqlite3, sys, json\n"
        "store = sqlite3.connect('file:' + sys.argv[1] + '?mode=ro', uri=True)\n"
        "print(json.dumps(store.execute('SELECT id, state FROM job').fetchall()))")
    done = subprocess.run([sys.executable, "-c", script, str(daemon.state_dir / "store.db")],
                          check=True, capture_output=True, text=True, timeout=60)
    return json.loads(done.stdout)


def jobs(daemon):
    done = daemon.c4py("jobs", "--all", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def all_over(daemon):
    return all(job["state"] in ("completed", "failed", "cancelled") for job in jobs(daemon))


@pytest.mark.parametrize("round", range(KILLS))
def test_a_job_that_was_acknowledged_is_never_missing_and_never_twice(start_daemon, tmp_path,
                                                                      round):
    daemon = start_daemon(pes=2)
    chance = random.Random(round)
    stay, note, notes = tmp_path / "stay.py", tmp_path / "note.py", tmp_path / "notes"
    stay.write_text(STAY)
    note.write_text(NOTE)
    # Every second round a job holds all PEs, so that the others are in the queue; in the other
    # rounds they start and end while more come, and the daemon dies at some point of that.
    blocker = submit(daemon, stay) if round % 2 == 0 else None
    if blocker:
        assert wait_until(lambda: b"here" in daemon.c4py(
            "logs", blocker, text=False).stdout, 20)
    acknowledged = []

    def send():
        for number in range(JOBS):
            job = submit(daemon, note, notes, number)
            if job is None:
                return
            acknowledged.append((job, number))

    killer = threading.Timer(chance.uniform(0, 1.0), daemon.kill)
    sender = threading.Thread(target=send)
    killer.start()
    sender.start()
    killer.join()
    sender.join()

    rows = stored(daemon)
    ids = [row[0] for row in rows]
    assert len(ids) == len(set(ids))
    missing = [job for job, _ in acknowledged if id_of(job) not in ids]
    assert not missing, f"acknowledged, and not in the store: {missing}"

    daemon.start()
    assert wait_until(lambda: all_over(daemon), 60), jobs(daemon)
    ended = {job["id"]: job for job in jobs(daemon)}
    assert len(ended) == len(ids)
    if blocker:
        assert ended[blocker]["state"] == "failed"
        assert "daemon" in ended[blocker]["message"], ended[blocker]["message"]
    ran = [int(line) for line in notes.read_text().split()] if notes.exists() else []
    assert len(ran) == len(set(ran)), f"a job ran twice: {ran}"
    assert ran == sorted(ran), f"out of order: {ran}"
    for job, number in acknowledged:
        # What had started when the daemon died is failed and is not run again; whether it came to
        # write its note is open.
        if ended[job]["state"] == "completed":
            assert number in ran
        else:
            assert ended[job]["state"] == "failed" and not blocker, ended[job]
    failed = [job for job, _ in acknowledged if ended[job]["state"] == "failed"]
    assert len(failed) <= 1, failed
    unknown = set(ran) - {number for _, number in acknowledged}
    assert len(unknown) <= 1, "more than the one submission under way was made and not answered"


def test_nothing_of_a_job_survives_the_daemon_that_ran_it(daemon, tmp_path, monkeypatch):
    mark = f"C4P_SURVIVOR={os.getpid()}-{time.monotonic_ns()}"
    monkeypatch.setenv(*mark.split("="))
    stay = tmp_path / "stay.py"
    stay.write_text(STAY)
    job = submit(daemon, stay)
    assert wait_until(lambda: b"here" in daemon.c4py("logs", job, text=False).stdout, 20)
    assert any("sleep" in command for command in marked_processes(mark.encode()).values())
    daemon.kill()
    daemon.start()

    def left():
        found = marked_processes(mark.encode())
        return {pid: command for pid, command in found.items() if pid != daemon.pid}

    assert wait_until(lambda: not left(), 10), left()
    assert [found["state"] for found in jobs(daemon) if found["id"] == job] == ["failed"]


def test_the_store_is_readable_while_the_daemon_runs(daemon):
    with sqlite3.connect(f"file:{daemon.state_dir}/store.db?mode=ro", uri=True) as store:
        assert store.execute("SELECT count(*) FROM job").fetchall() == [(0,)]
