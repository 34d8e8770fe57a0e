"""How jobs get PEs of several nodes: real daemons of one cluster on this host."""

import json
import os
import signal
import subprocess

import pytest
from harness import C4PD, C4PY, wait_until
from service_programs import GATED

SECONDS = 60  # far beyond what any of it takes

# Each PE leaves a line in the file that is its argument.
MARKS = """
import os, sys
with open(sys.argv[1], "a") as file:
    file.write(f"{os.getpid()}\\n")
"""


class Node:
    """A node of the cluster: a state directory and its daemon."""

    def __init__(self, place, name, pes):
        self.name = name
        self.state = place / name
        self.pes = pes
        self.place = place
        self.written = 0

    def run(self, command, *arguments, timeout=60):
        """A command of c4pd or c4py for this node; the finished process."""
        binary = C4PY if command in ("submit", "jobs") else C4PD
        return subprocess.run(
            [binary, command, "--state-dir", self.state, *map(str, arguments)],
            capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)

    def done(self, command, *arguments):
        done = self.run(command, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self):
        self.done("start", "--pes", self.pes, "--listen", "127.0.0.1:0")

    @property
    def pid(self):
        return json.loads(self.run("status", "--json").stdout).get("pid")

    def knows(self, *names):
        """Wait until it has these nodes alive, and their PEs, all of them free."""

        def known():
            listed = json.loads(self.done("nodes", "--json"))["nodes"]
            return {node["name"] for node in listed
                    if node["state"] == "alive" and node["pes"] > 0
                    and node["pes"] == node["pes_free"]} == set(names)

        assert wait_until(known, SECONDS), self.done("nodes")

    def submit(self, source, pes, *arguments):
        self.written += 1
        program = self.place / f"{self.name}-{self.written}.py"
        program.write_text(source)
        return self.done("submit", "--detach", "-n", pes, program, *arguments).strip()

    def job(self, id):
        return next(job for job in json.loads(self.done("jobs", "--all", "--json"))
                    if job["id"] == id)

    def wait_for(self, id, state):
        assert wait_until(lambda: self.job(id)["state"] == state, SECONDS), self.job(id)

    def says(self, id, sentence):
        """Wait until this is what the job waits for."""
        assert wait_until(lambda: sentence in (self.job(id)["reason"] or ""), SECONDS), \
            self.job(id)

    def end(self):
        pid = self.pid
        if pid and self.run("stop", "--now").returncode != 0:
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def cluster(no_leftovers, monkeypatch):
    """Nodes with so many PEs each: cluster(2, 3). More of them: cluster.join(2)."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(no_leftovers / "config"))
    monkeypatch.delenv("C4P_STATE_DIR", raising=False)
    nodes = []

    def join(pes):
        node = Node(no_leftovers, ["alpha", "beta", "gamma"][len(nodes)], pes)
        nodes.append(node)
        if len(nodes) == 1:
            node.done("init", "--node", node.name)
        else:
            token = nodes[0].done("token").split()[-1]
            node.done("join", "--name", node.name, token)
        node.start()
        return node

    def build(*pes):
        for number in pes:
            join(number)
        for node in nodes:
            node.knows(*(other.name for other in nodes))
        return nodes

    build.join = join
    yield build
    for node in nodes:
        node.end()


def test_a_job_that_is_larger_than_the_cluster_holds_nobody_up_and_starts_when_a_host_joins(
        cluster, tmp_path):
    alpha, _ = cluster(1, 2)
    marks = tmp_path / "marks"
    large = alpha.submit(MARKS, 5, marks)
    alpha.says(large, "wants 5 PEs: the cluster has 3 on 2 nodes (it starts when a host joins)")
    small = alpha.submit("print('small')", 3)
    alpha.wait_for(small, "completed")
    assert alpha.job(large)["state"] == "queued"
    cluster.join(2)
    alpha.wait_for(large, "completed")
    assert len(set(marks.read_text().split())) == 5


def test_two_nodes_that_both_want_everything_get_it_by_turns(cluster, tmp_path):
    nodes = cluster(2, 2)
    files, jobs = [], []
    for number in range(4):
        for node in nodes:
            files.append(tmp_path / f"marks-{node.name}-{number}")
            jobs.append((node, node.submit(MARKS, 4, files[-1])))
    for node, job in jobs:
        node.wait_for(job, "completed")
    for file in files:
        assert len(file.read_text().split()) == 4  # each PE once: no job ran twice
    for node in nodes:
        node.knows("alpha", "beta")  # nothing is kept by anybody


def test_a_job_waits_for_pes_that_jobs_of_another_node_have_and_nobody_is_in_the_way_of_the_rest(
        cluster, tmp_path):
    alpha, beta = cluster(2, 2)
    gate = tmp_path / "gate"
    first = beta.submit(GATED, 3, gate)
    beta.wait_for(first, "running")
    second = alpha.submit("print('second')", 2)
    alpha.says(second, "waits for 2 PEs: 1 of 4 is free on 2 nodes")
    gate.touch()
    beta.wait_for(first, "completed")
    alpha.wait_for(second, "completed")


def test_a_node_that_is_stopped_when_it_is_asked_holds_up_nobody_for_ever(cluster, tmp_path):
    alpha, beta = cluster(1, 2)
    marks = tmp_path / "marks"
    os.kill(beta.pid, signal.SIGSTOP)
    try:
        large = alpha.submit(MARKS, 3, marks)
        # It does not answer, is suspected, and then lost: the job is too large, and others run.
        alpha.says(large, "wants 3 PEs: the cluster has 1 on 1 node")
        small = alpha.submit("print('small')", 1)
        alpha.wait_for(small, "completed")
    finally:
        os.kill(beta.pid, signal.SIGCONT)
    alpha.wait_for(large, "completed")
    assert len(set(marks.read_text().split())) == 3


def test_a_node_that_drains_is_asked_for_nothing(cluster, tmp_path):
    alpha, beta = cluster(1, 2)
    gate = tmp_path / "gate"
    kept = beta.submit(GATED, 1, gate)
    beta.wait_for(kept, "running")
    stop = subprocess.Popen([C4PD, "stop", "--state-dir", beta.state], stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    job = alpha.submit("print('through')", 2)
    alpha.says(job, "wants 2 PEs: the cluster has 1 on 1 node")
    gate.touch()
    assert stop.wait(SECONDS) == 0
    beta.start()
    alpha.wait_for(job, "completed")


def test_a_job_whose_python_is_gone_at_its_home_fails_and_does_not_wait_for_ever(cluster, tmp_path):
    alpha, _ = cluster(1, 2)
    gate = tmp_path / "gate"
    python = tmp_path / "python3"
    python.symlink_to("/usr/bin/python3")
    first = alpha.submit(GATED, 3, gate)
    alpha.wait_for(first, "running")
    program = tmp_path / "late.py"
    program.write_text("print('never')")
    late = alpha.done("submit", "--detach", "-n", 3, "--python", python, program).strip()
    python.unlink()
    gate.touch()
    alpha.wait_for(late, "failed")
    assert str(python) in alpha.job(late)["message"]
    after = alpha.submit("print('after')", 3)
    alpha.wait_for(after, "completed")
