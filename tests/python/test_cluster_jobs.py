"""Jobs whose PEs are on several nodes: real daemons of one cluster on this host."""

import json
import os
import pathlib
import signal
import subprocess

import pytest
from harness import C4PY, wait_until
from test_cluster_reserve import SECONDS, cluster  # noqa: F401

pytest_plugins = ["sessions"]

# Each PE leaves its number and process, says a few words, and stays.
STAY = """
import os, sys, time
pe = os.environ["C4P_PE"]
for number in range(3):
    print(pe, "says", number, file=sys.stderr, flush=True)
with open(sys.argv[1] + "." + pe, "w") as file:
    file.write(str(os.getpid()))
time.sleep(600)
"""

EXIT = """
import sys
from charm4py import charm, Chare, Group

class Ender(Chare):
    def end(self, code):
        charm.exit(code)

def main(args):
    Group(Ender)[int(args[1])].end(int(args[2]))

charm.start(main)
"""


def processes(marks, pes):
    """Wait until all PEs of a STAY run; their processes, by number."""
    files = [pathlib.Path(f"{marks}.{pe}") for pe in range(pes)]
    assert wait_until(lambda: all(file.exists() and file.read_text() for file in files), SECONDS)
    return [int(file.read_text()) for file in files]


def gone(pid):
    """Has this process ended, and been reaped?"""
    return not os.path.exists(f"/proc/{pid}")


def runs_over(node, program, pes, *arguments, options=(), **more):
    """Submit a program, follow it to its end: the finished process."""
    path = node.place / "followed.py"
    path.write_text(program)
    command = [C4PY, "submit", "--state-dir", node.state, "-n", str(pes), *options, path,
               *map(str, arguments)]
    if "input" not in more:
        more["stdin"] = subprocess.DEVNULL
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, **more)


@pytest.mark.parametrize("victim, host", [(0, "alpha"), (3, "beta")])
def test_a_killed_pe_ends_the_job_with_its_host_and_its_last_words(
        cluster, tmp_path, victim, host):  # noqa: F811
    alpha, _ = cluster(2, 2)
    id = alpha.submit(STAY, 4, tmp_path / "mark")
    pids = processes(tmp_path / "mark", 4)
    os.kill(pids[victim], signal.SIGKILL)
    alpha.wait_for(id, "failed")
    assert f"PE {victim} on host {host} was killed by signal 9 (SIGKILL)" in \
        alpha.job(id)["message"]
    assert wait_until(lambda: all(map(gone, pids)), SECONDS)
    alpha.knows("alpha", "beta")


@pytest.mark.parametrize("who", range(4))
def test_a_pe_of_any_node_ends_the_job_with_its_code(cluster, who):  # noqa: F811
    alpha, _ = cluster(2, 2)
    done = runs_over(alpha, EXIT, 4, who, 7)
    assert done.returncode == 7, done.stderr


def test_where_the_pes_of_a_job_are_is_told_and_remembered(cluster, tmp_path):  # noqa: F811
    alpha, _ = cluster(1, 2)
    alone = alpha.submit(STAY, 1, tmp_path / "alone")
    processes(tmp_path / "alone", 1)
    away = alpha.submit(STAY, 1, tmp_path / "away")
    processes(tmp_path / "away", 1)
    assert alpha.job(alone)["hosts"] == []
    assert alpha.job(away)["hosts"] == [{"name": "beta", "first_pe": 0, "pes": 1}]
    waits = alpha.submit(STAY, 3, tmp_path / "mark")
    assert alpha.job(waits)["hosts"] == []
    for id in (alone, away):
        subprocess.run([C4PY, "cancel", "--state-dir", alpha.state, id], check=True)
    processes(tmp_path / "mark", 3)
    hosts = [{"name": "alpha", "first_pe": 0, "pes": 1}, {"name": "beta", "first_pe": 1, "pes": 2}]
    alpha.wait_for(waits, "running")
    assert alpha.job(waits)["hosts"] == hosts
    assert "on alpha 0, beta 1-2" in alpha.done("jobs")
    subprocess.run([C4PY, "cancel", "--state-dir", alpha.state, waits], check=True)
    alpha.wait_for(waits, "cancelled")
    alpha.done("stop")
    alpha.start()
    assert alpha.job(waits)["hosts"] == hosts


def test_a_cancel_ends_the_pes_of_every_node(cluster, tmp_path):  # noqa: F811
    alpha, _, _ = cluster(1, 2, 1)
    id = alpha.submit(STAY, 4, tmp_path / "mark")
    pids = processes(tmp_path / "mark", 4)
    cancelled = subprocess.run([C4PY, "cancel", "--state-dir", alpha.state, id])
    assert cancelled.returncode == 0
    alpha.wait_for(id, "cancelled")
    assert wait_until(lambda: all(map(gone, pids)), SECONDS)
    alpha.knows("alpha", "beta", "gamma")


def test_a_cancel_ends_pes_that_ignore_it_on_every_node(cluster, tmp_path):  # noqa: F811
    alpha, beta = cluster(1, 2)
    deaf = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + STAY
    id = alpha.submit(deaf, 3, tmp_path / "mark")
    pids = processes(tmp_path / "mark", 3)
    subprocess.run([C4PY, "cancel", "--state-dir", alpha.state, id], check=True)
    alpha.wait_for(id, "cancelled")
    assert wait_until(lambda: all(map(gone, pids)), SECONDS)
    for node in (alpha, beta):
        node.knows("alpha", "beta")
        assert json.loads(node.done("jobs", "--json")) == []


def test_a_corrupt_segment_of_another_node_ends_the_job_with_that_host(
        cluster, fake_pe):  # noqa: F811
    alpha, _ = cluster(1, 2)
    done = subprocess.run(
        [C4PY, "submit", "--state-dir", alpha.state, "-n", "3", fake_pe, "garbage", "3"],
        capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
    assert done.returncode not in (0, None)
    assert "host beta: the job's shared segment is corrupt" in done.stderr, done.stderr
    alpha.knows("alpha", "beta")


def test_a_time_limit_holds_on_every_node(cluster, tmp_path):  # noqa: F811
    alpha, _ = cluster(1, 1)
    done = runs_over(alpha, STAY, 2, tmp_path / "mark", options=("--time-limit", "3s"))
    assert done.returncode == 124
    assert "the time limit of 3 s is reached" in done.stderr
    assert all(map(gone, processes(tmp_path / "mark", 2)))


def test_a_node_that_dies_ends_the_job_which_says_what_was_there(cluster, tmp_path):  # noqa: F811
    alpha, beta = cluster(2, 2)
    id = alpha.submit(STAY, 4, tmp_path / "mark")
    pids = processes(tmp_path / "mark", 4)
    os.kill(beta.pid, signal.SIGKILL)
    alpha.wait_for(id, "failed")
    assert "node beta was lost while it ran PEs 2-3 of this job: " in alpha.job(id)["message"]
    assert wait_until(lambda: all(map(gone, pids)), SECONDS)


def test_a_home_that_dies_leaves_no_guests_and_holds_no_slots(cluster, tmp_path):  # noqa: F811
    alpha, beta = cluster(1, 2)
    alpha.submit(STAY, 3, tmp_path / "mark")
    pids = processes(tmp_path / "mark", 3)
    os.kill(alpha.pid, signal.SIGKILL)
    assert wait_until(lambda: all(map(gone, pids)), SECONDS)
    beta.knows("beta")
    beta.wait_for(beta.submit("print('here')", 2), "completed")


def test_a_home_that_comes_back_at_once_finds_no_guests_of_its_earlier_life(
        cluster, tmp_path):  # noqa: F811
    alpha, _ = cluster(1, 2)
    id = alpha.submit(STAY, 3, tmp_path / "mark")
    pids = processes(tmp_path / "mark", 3)
    os.kill(alpha.pid, signal.SIGKILL)
    assert wait_until(lambda: gone(pids[0]), SECONDS)
    alpha.start()
    assert wait_until(lambda: all(map(gone, pids)), SECONDS)
    alpha.knows("alpha", "beta")
    assert alpha.job(id)["state"] == "failed"


def test_a_node_that_is_stopped_says_so(cluster, tmp_path):  # noqa: F811
    alpha, beta = cluster(1, 1)
    id = alpha.submit(STAY, 2, tmp_path / "mark")
    pids = processes(tmp_path / "mark", 2)
    beta.done("stop", "--now")
    alpha.wait_for(id, "failed")
    assert "beta" in alpha.job(id)["message"]
    assert wait_until(lambda: all(map(gone, pids)), SECONDS)


def test_a_job_without_a_pe_at_its_home_is_given_input(cluster, tmp_path):  # noqa: F811
    alpha, _ = cluster(1, 2)
    blocks = alpha.submit(STAY, 1, tmp_path / "mark")
    processes(tmp_path / "mark", 1)
    program = "import sys; data = sys.stdin.read(); data and print(len(data))"
    done = runs_over(alpha, program, 2, input="x" * 300000)
    assert (done.returncode, done.stdout) == (0, "300000\n"), done.stderr
    assert alpha.job(blocks)["state"] == "running"


def test_output_of_guests_comes_whole(cluster):  # noqa: F811
    alpha, _ = cluster(1, 2)
    program = """
import os
pe = os.environ["C4P_PE"]
for number in range(20000):
    print(pe, number, "x" * 70)
"""
    done = runs_over(alpha, program, 3)
    assert done.returncode == 0, done.stderr
    for pe in range(3):
        mine = [line for line in done.stdout.splitlines() if line.startswith(f"{pe} ")]
        assert mine == [f"{pe} {number} {'x' * 70}" for number in range(20000)]


# ---- sessions ----

SESSION = """
import os, sys
import c4py
from c4py import Chare, Reducer, charm, coro

class Worker(Chare):
    def __init__(self):
        self.seen = 0
    def host(self):
        return charm.myHost()
    def add(self, a, b):
        return a + b
    def sum(self, target):
        self.reduce(target, charm.myPe(), Reducer.sum)
    def pass_on(self, hops):
        self.seen += 1
        if hops > 0:
            self.thisProxy[(charm.myPe() + 1) % charm.numPes()].pass_on(hops - 1)
    def count(self, target):
        self.reduce(target, self.seen, Reducer.sum)
    @coro
    def stay(self):
        charm.createFuture().get()

session = c4py.connect(sys.argv[1], pes=4, quiet=True)
workers = session.Group(Worker)
hosts = workers.host(ret=True).get()
assert len(set(hosts[:2])) == len(set(hosts[2:])) == 1 and hosts[0] != hosts[3], hosts
"""


def test_a_session_over_two_nodes_calls_reduces_and_waits_for_quiescence(
        cluster, run_client):  # noqa: F811
    alpha, beta = cluster(2, 2)
    run_client(SESSION + """
calls = [workers[i % 4].add(i, 1, ret=True) for i in range(200)]
assert [call.get() for call in calls] == [i + 1 for i in range(200)]
total = session.Future()
workers.sum(total)
assert total.get() == 6
for start in range(4):
    workers[start].pass_on(99)
session.wait_quiescence(timeout=60)
count = session.Future()
workers.count(count)
assert count.get() == 400
session.close()
try:
    c4py.connect(sys.argv[1], pes=5, quiet=True)
except c4py.Charm4PyError as error:
    assert 'pes=5: the cluster has 4 on 2 nodes' in str(error), error
else:
    raise AssertionError
""", alpha.state)
    for node in (alpha, beta):
        node.knows("alpha", "beta")


def test_a_session_whose_other_node_dies_tells_its_client_which(
        cluster, start_client):  # noqa: F811
    alpha, beta = cluster(2, 2)
    client = start_client(SESSION + """
futures = [workers[i % 4].stay(ret=True) for i in range(8)]
print('waiting', flush=True)
for future in futures:
    try:
        future.get()
    except c4py.SessionClosed as error:
        assert 'node beta was lost while it ran PEs 2-3' in str(error), error
    else:
        raise AssertionError
assert session.closed
session.close()
""", alpha.state)
    assert client.says("waiting", SECONDS)
    os.kill(beta.pid, signal.SIGKILL)
    client.succeeds()
    alpha.knows("alpha")
