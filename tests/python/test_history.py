"""A history at its limit: all of it is listed, and neither end ever holds all of it."""

import json
import os
import sqlite3
import struct
import subprocess

from harness import BUILD, C4PY, wait_until

JOBS = 5000
MiB = 1 << 20


def hash_of(data):
    """c4p_hash() of proto/envelope.h."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def checksum(*numbers):
    """Of these numbers, as the store has it."""
    value = hash_of(struct.pack(f"<{len(numbers)}Q", *numbers))
    return value - (1 << 64) if value >> 63 else value


def fill(path, count):
    """Repeat the only job of a store until there are so many, with ids and names of their own."""
    with sqlite3.connect(path) as store:
        store.row_factory = sqlite3.Row
        row = dict(store.execute("SELECT * FROM job").fetchone())
        request, = store.execute("SELECT request FROM request").fetchone()
        request_hash, no_key = hash_of(request), hash_of(bytes(16))
        texts = [hash_of(value) for value in (row["message"].encode(), row["tail"], row["text"])]
        first = row["sequence"]
        for order in range(first + 1, first + count):
            row.update(sequence=order, id=row["id"] % (1 << 39) + 1, key=None, name=f"job {order}")
            row["checksum"] = checksum(order, row["id"], no_key, row["session"], row["priority"],
                                       row["submitted"], hash_of(row["name"].encode()),
                                       request_hash)
            row["end_checksum"] = checksum(order, row["state"], row["pes"], row["started"],
                                           row["ended"], row["exit_code"], *texts)
            store.execute(f"INSERT INTO job ({', '.join(row)}) VALUES (:{', :'.join(row)})", row)
            store.execute("INSERT INTO request VALUES (?, ?)", (order, request))
    store.close()


def most_memory(pid):
    """Of a process that runs, in bytes; 0 of one that has ended."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        lines = [line for line in file if line.startswith("VmHWM:")]
    return int(lines[0].split()[1]) * 1024 if lines else 0


def listed(*words):
    """What c4py prints, and the most memory that it has, as seen with each part of that."""
    with subprocess.Popen([C4PY, *map(str, words)], stdout=subprocess.PIPE) as process:
        parts, most = [], 0
        while part := os.read(process.stdout.fileno(), 1 << 16):
            parts.append(part)
            most = max(most, most_memory(process.pid))
    assert process.returncode == 0
    return b"".join(parts).decode(), most


def test_a_history_at_its_limit_is_listed_to_its_last_job_in_bounded_memory(start_daemon):
    daemon = start_daemon(options=["--keep", JOBS])
    program = daemon.program("pass")
    environment = {name: os.environ[name] for name in ("PATH", "C4P_STATE_DIR", "C4P_TEST")}
    # Long enough that all of them do not fit into a few messages.
    done = daemon.c4py("submit", "--name", "job 0", program, "x" * 3500, env=environment)
    assert done.returncode == 0, done.stderr
    daemon.stop()
    fill(daemon.state_dir / "store.db", JOBS)
    daemon.start()
    started = most_memory(daemon.pid)

    text, used = listed("jobs", "--all", "--json")
    jobs = json.loads(text)
    assert len(text) > 16 * MiB and len(jobs) == JOBS
    orders = [job["name"] for job in jobs]
    first = int(orders[1].split()[1]) - 1
    assert orders == ["job 0"] + [f"job {first + number}" for number in range(1, JOBS)]
    if "asan" not in str(BUILD) and "tsan" not in str(BUILD):  # shadow memory
        assert used < 16 * MiB
        assert most_memory(daemon.pid) - started < 8 * MiB

    ids = [job["id"] for job in jobs]
    lines = listed("jobs", "--all")[0].splitlines()
    assert lines[0].split()[0] == "ID"
    assert [line.split()[0] for line in lines[1:]] == ids
    assert listed("jobs", "--all", "--ids")[0].split() == ids
    assert listed("jobs", "--last", 700, "--ids")[0].split() == ids[-700:]
    assert listed("jobs", "--json")[0] == "[]\n"

    # One more, and the oldest goes.
    assert daemon.c4py("submit", "--name", "new", program).returncode == 0

    def forgotten():
        names = [job["name"] for job in json.loads(listed("jobs", "--all", "--json")[0])]
        return len(names) == JOBS and names[0] != "job 0" and names[-1] == "new"

    assert wait_until(forgotten, 20)
