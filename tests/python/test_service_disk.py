"""The disk under the daemon: full, read-only, damaged, of another time. What runs goes on, its end
is recorded, and everything else is refused with the reason."""

import json
import os
import pathlib
import sqlite3
import subprocess

import pytest
from harness import wait_until

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")

WAITS = """
import os, sys
from c4py import charm
def main(args):
    print("here", flush=True)
    while not os.path.exists(args[1]):
        charm.sleep(0.01)
    print("x" * 100000)
    exit(5)
charm.start(main)
"""
QUICK = "from c4py import charm\ncharm.start(lambda args: exit())\n"


@pytest.fixture
def small_disk(no_leftovers):
    """A file system of 12 MiB for a daemon's state."""
    place = no_leftovers / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m,mode=0700", "tmpfs", str(place)],
                   check=True)
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place):
    file = os.open(place / "filler", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        while True:
            os.write(file, bytes(4096))
    except OSError:
        os.close(file)


def jobs(daemon):
    done = daemon.c4py("jobs", "--all", "--json")
    assert done.returncode == 0, done.stderr
    return {job["id"]: job for job in json.loads(done.stdout)}


def submitted(daemon, tmp_path, source, *arguments):
    path = tmp_path / f"program{len(list(tmp_path.iterdir()))}.py"
    path.write_text(source)
    return daemon.c4py("submit", "--detach", "-n", "1", path, *arguments)


def begun(daemon, tmp_path, flag):
    done = submitted(daemon, tmp_path, WAITS, flag)
    assert done.returncode == 0, done.stderr
    job = done.stdout.strip()
    assert wait_until(lambda: "here" in daemon.c4py("logs", job).stdout, 20)
    return job


@root_only
def test_on_a_full_disk_nothing_is_accepted_and_what_runs_is_recorded(small_disk, start_daemon,
                                                                      tmp_path):
    daemon = start_daemon(small_disk / "s")
    flag = tmp_path / "flag"
    job = begun(daemon, tmp_path, flag)
    fill(small_disk)
    refused = submitted(daemon, tmp_path, QUICK)
    # What was reserved for ends may still take a submission or two; never silently nothing.
    for _ in range(200):
        if refused.returncode:
            break
        fill(small_disk)
        refused = submitted(daemon, tmp_path, QUICK)
    assert refused.returncode == 1
    assert "full" in refused.stderr or "no room" in refused.stderr, refused.stderr
    flag.touch()
    assert wait_until(lambda: jobs(daemon)[job]["state"] == "failed", 20)
    assert jobs(daemon)[job]["exit_code"] == 5
    daemon.kill()
    daemon.start()
    assert jobs(daemon)[job]["state"] == "failed"
    assert jobs(daemon)[job]["exit_code"] == 5, jobs(daemon)[job]
    (small_disk / "filler").unlink()
    accepted = wait_until(lambda: submitted(daemon, tmp_path, QUICK).returncode == 0, 30)
    assert accepted, submitted(daemon, tmp_path, QUICK).stderr


@root_only
def test_a_daemon_does_not_start_on_a_read_only_directory(small_disk, start_daemon):
    daemon = start_daemon(small_disk / "s")
    daemon.stop()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    failed = daemon.start_fails()
    assert failed.returncode not in (0, 2)
    assert "read-only" in failed.stderr.lower(), failed.stderr


def ended_store(daemon, tmp_path):
    """A daemon with three ended jobs, stopped."""
    for _ in range(3):
        assert submitted(daemon, tmp_path, QUICK).returncode == 0
    assert wait_until(lambda: len(jobs(daemon)) == 3 and all(
        job["state"] == "completed" for job in jobs(daemon).values()), 30)
    ids = list(jobs(daemon))
    daemon.stop()
    return ids


@pytest.mark.parametrize("size", [0, 1, 100, 4096, 5000, 12288])
def test_a_truncated_store_is_refused_with_the_remedy(daemon, tmp_path, size):
    ended_store(daemon, tmp_path)
    store = pathlib.Path(daemon.state_dir) / "store.db"
    if size >= store.stat().st_size:
        pytest.skip("the store is smaller")
    os.truncate(store, size)
    for name in ("store.db-wal", "store.db-shm"):
        (pathlib.Path(daemon.state_dir) / name).unlink(missing_ok=True)
    failed = daemon.start_fails()
    assert failed.returncode not in (0, 1), failed
    assert "store.db" in failed.stderr and "--set-aside" in failed.stderr, failed.stderr
    daemon.start("--set-aside")
    assert jobs(daemon) == {}
    assert list(pathlib.Path(daemon.state_dir).glob("store.db.damaged-*"))


def test_a_corrupt_row_goes_into_quarantine_and_the_others_stay(daemon, tmp_path):
    ids = ended_store(daemon, tmp_path)
    with sqlite3.connect(pathlib.Path(daemon.state_dir) / "store.db") as store:
        store.execute("UPDATE job SET state = 99 WHERE sequence = "
                      "(SELECT sequence FROM job ORDER BY sequence LIMIT 1 OFFSET 1)")
    store.close()
    daemon.start()
    assert list(jobs(daemon)) == [ids[0], ids[2]]
    troubles = json.loads(daemon.c4py("status", "--json").stdout)["troubles"]
    assert any("quarantine" in trouble for trouble in troubles), troubles


def test_a_store_of_a_newer_daemon_is_not_touched(daemon, tmp_path):
    ended_store(daemon, tmp_path)
    path = pathlib.Path(daemon.state_dir) / "store.db"
    with sqlite3.connect(path) as store:
        store.execute("PRAGMA user_version = 99")
    store.close()
    before = path.read_bytes()
    failed = daemon.start_fails()
    assert failed.returncode not in (0, 1), failed
    assert "newer" in failed.stderr or "later" in failed.stderr, failed.stderr
    assert path.read_bytes() == before
