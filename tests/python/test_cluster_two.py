"""Membership between real daemons of this host: who dies, sleeps or is replaced, for the others."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess

import pytest
from harness import C4PD, C4PY, wait_until

SECONDS = 30  # far beyond what any of it takes


class Node:
    """A node of the cluster: a state directory and its daemon."""

    def __init__(self, place, name):
        self.name = name
        self.state = place / name
        self.state.mkdir(mode=0o700)

    def run(self, command, *arguments):
        """A command of c4pd for this node; the finished process."""
        return subprocess.run(
            [C4PD, command, "--state-dir", self.state, *map(str, arguments)],
            capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)

    def done(self, command, *arguments):
        done = self.run(command, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, listen="127.0.0.1:0"):
        self.done("start", "--pes", 2, "--listen", listen)

    @property
    def pid(self):
        return json.loads(self.run("status", "--json").stdout).get("pid")

    @property
    def nodes(self):
        listed = json.loads(self.done("nodes", "--json"))["nodes"]
        return {node["name"]: node for node in listed}

    @property
    def status(self):
        """What c4py status --json says."""
        where = {**os.environ, "C4P_STATE_DIR": str(self.state)}
        done = subprocess.run([C4PY, "status", "--json"], capture_output=True, text=True,
                              timeout=60, env=where)
        return json.loads(done.stdout)

    @property
    def log(self):
        return (self.state / "c4pd.log").read_text()

    def sees(self, **states):
        """Wait until it sees these nodes in these states."""
        assert wait_until(
            lambda: {name: node["state"] for name, node in self.nodes.items()} == states, SECONDS
        ), self.done("nodes")

    def kill(self):
        """kill -9, and return when it is gone."""
        pid = self.pid
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.run("status").returncode == 3, SECONDS)


@pytest.fixture
def cluster(tmp_path):
    """Three nodes a, b and c that see each other."""
    nodes = [Node(tmp_path, name) for name in "abc"]
    try:
        nodes[0].done("init", "--name", "lab", "--node", "a")
        nodes[0].start()
        token = nodes[0].done("token", "--uses", 2).strip()
        for node in nodes[1:]:
            node.done("join", token, "--name", node.name)
            node.start()
        for node in nodes:
            node.sees(a="alive", b="alive", c="alive")
        yield nodes
    finally:
        for node in nodes:
            if node.pid:
                os.kill(node.pid, signal.SIGCONT)
                node.run("stop", "--now")


def test_every_node_shows_the_cluster_in_its_status(cluster):
    for node in cluster:
        assert wait_until(lambda: node.status["cluster_pes"] == 6, SECONDS)
        status = node.status
        assert (status["cluster"], status["nodes"], status["nodes_lost"]) == ("lab", 3, 0)
        assert status["troubles"] == []


def test_a_node_that_is_killed_is_lost_to_the_others_and_alive_when_it_is_started_again(cluster):
    a, b, c = cluster
    b.kill()
    a.sees(a="alive", b="lost", c="alive")
    c.sees(a="alive", b="lost", c="alive")
    assert (a.status["nodes"], a.status["nodes_lost"]) == (2, 1)
    b.start()  # at another port
    for node in cluster:
        node.sees(a="alive", b="alive", c="alive")
    assert a.nodes["b"]["address"] == b.nodes["b"]["address"]


def test_a_node_that_was_stopped_and_goes_on_is_the_same_member(cluster):
    a, b, c = cluster
    started = a.nodes["b"]["started"]
    os.kill(b.pid, signal.SIGSTOP)
    a.sees(a="alive", b="lost", c="alive")
    os.kill(b.pid, signal.SIGCONT)
    for node in cluster:
        node.sees(a="alive", b="alive", c="alive")
    assert a.nodes["b"]["started"] == started


def test_a_node_that_ends_says_so(cluster):
    a, b, c = cluster
    b.done("stop")
    a.sees(a="alive", b="left", c="alive")
    assert a.status["nodes_lost"] == 0


def test_nodes_that_all_died_find_each_other_by_what_their_disks_know(cluster):
    ports = [node.nodes[node.name]["address"].removeprefix("tcp://") for node in cluster]
    for node in cluster:
        node.done("stop")
    for node, port in zip(cluster, ports):
        node.start(port)
    for node in cluster:
        node.sees(a="alive", b="alive", c="alive")


def test_a_port_in_use_keeps_a_node_from_starting_and_is_named(cluster):
    a, b, c = cluster
    b.done("stop")
    taken = a.nodes["a"]["address"].removeprefix("tcp://")
    refused = b.run("start", "--listen", taken)
    assert refused.returncode == 1
    assert taken in refused.stderr and "listen" in refused.stderr


def test_who_speaks_another_protocol_gets_nothing_and_is_in_the_log(cluster):
    host, port = cluster[0].nodes["a"]["address"].removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port)), timeout=SECONDS) as scanner:
        scanner.sendall(b"GET / HTTP/1.0\r\n\r\n")
        own = scanner.getsockname()
        with contextlib.suppress(ConnectionResetError):
            while scanner.recv(4096):
                pass
    # By its address, unless ZeroMQ had dropped it before anybody could ask who it was.
    refusal = re.compile(rf"refused ({own[0]}:{own[1]}|somebody): it is no node")
    assert wait_until(lambda: refusal.search(cluster[0].log), SECONDS)
    cluster[0].sees(a="alive", b="alive", c="alive")


def test_a_state_directory_that_was_copied_and_is_used_twice_is_noticed(cluster):
    a, b, c = cluster
    copy = Node.__new__(Node)
    copy.name, copy.state = "b", b.state.with_name("copy")
    shutil.copytree(b.state, copy.state, ignore=shutil.ignore_patterns(
        "attach", "c4pd.pid", "control", "instance", "lock"))
    try:
        copy.start()
        for node in (a, c):
            assert wait_until(lambda: node.status["troubles"], SECONDS), node.log
            trouble, = node.status["troubles"]
            assert trouble.startswith("two daemons run with the key of node b, at tcp://127.0.0.1:")
            assert "c4pd leave --now" in trouble
            assert node.log.count("two daemons run with the key of node b") == 1
    finally:
        copy.run("stop", "--now")
    b.done("stop")
    b.start()
    for node in cluster:
        node.sees(a="alive", b="alive", c="alive")
