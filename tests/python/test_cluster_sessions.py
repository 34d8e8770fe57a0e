"""Sessions whose PEs are on several nodes: real daemons of one cluster on this host."""

import json
import os
import signal
import subprocess
import sys

import pytest
from harness import C4PD, C4PY, wait_until

SECONDS = 60  # far beyond what any of it takes

MODULE = '''
from c4py import Chare, charm

WORD = 'beside'


class Beside(Chare):
    def where(self):
        return charm.myHost(), __file__

    def read(self, path):
        with open(path) as file:
            return file.read()

    def fail(self):
        raise ValueError(f'no good on {charm.myPe()}')
'''

# What clients begin with: `beside` is imported while it is there.
CLIENT = '''
import sys
import beside
import c4py
import numpy
from c4py import Chare, Reducer, charm
'''

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


class Node:
    """A node of the cluster: a state directory and its daemon."""

    def __init__(self, place, name):
        self.name = name
        self.state = place / name

    def run(self, command, *arguments):
        binary = C4PY if command in ("submit", "sessions", "jobs") else C4PD
        return subprocess.run(
            [binary, command, "--state-dir", self.state, *map(str, arguments)],
            capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)

    def done(self, command, *arguments):
        done = self.run(command, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self):
        self.done("start", "--pes", 2, "--listen", "127.0.0.1:0")

    @property
    def nodes(self):
        return json.loads(self.done("nodes", "--json"))["nodes"]

    @property
    def log(self):
        return (self.state / "c4pd.log").read_text()

    @property
    def pid(self):
        return json.loads(self.run("status", "--json").stdout).get("pid")

    def knows(self, count, pes=2):
        """Wait until it has so many nodes alive, and all of their PEs free."""
        assert wait_until(
            lambda: [node["pes_free"] for node in self.nodes if node["state"] == "alive"]
            == [pes] * count, SECONDS), self.done("nodes")


@pytest.fixture
def pair(no_leftovers):
    """Two nodes a and b of two PEs each, that know each other."""
    a, b = nodes = [Node(no_leftovers, name) for name in "ab"]
    try:
        a.done("init", "--name", "lab", "--node", "a")
        a.start()
        b.done("join", a.done("token").strip(), "--name", "b")
        b.start()
        for node in nodes:
            node.knows(2)
        yield nodes
    finally:
        for node in nodes:
            if node.pid:
                os.kill(node.pid, signal.SIGCONT)
                node.run("stop", "--now")


@pytest.fixture
def project(tmp_path):
    """A directory with a module, data, and later a client."""
    directory = tmp_path / "project"
    directory.mkdir()
    (directory / "beside.py").write_text(MODULE)
    (directory / "table.txt").write_text("1 2 3\n")
    return directory


@pytest.fixture
def client(pair, project):
    """Start a client of node a in the project: the process, whose output is text."""
    started = []

    def start(body, script=True):
        source = CLIENT + body
        (project / "client.py").write_text(source)
        env = {**os.environ, "C4P_STATE_DIR": str(pair[0].state)}
        words = ["client.py"] if script else ["-c", source]
        process = subprocess.Popen([sys.executable, *words], cwd=project, env=env, text=True,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def full(pair, tmp_path):
    """All PEs of both nodes are taken: functions to free them, by the node's name."""
    program = tmp_path / "stay.py"
    program.write_text(STAY)
    for node in pair:
        node.done("submit", "--detach", "-n", 2, program, tmp_path / f"go-{node.name}")
        wait_until(lambda: '"state": "running"' in node.done("jobs", "--json"), SECONDS)
    yield {node.name: (tmp_path / f"go-{node.name}").touch for node in pair}
    for node in pair:
        (tmp_path / f"go-{node.name}").touch()


WHERE = '''
class Here(Chare):
    def look(self):
        import beside
        with open('table.txt') as table:
            return beside.__file__, table.read()

session = c4py.connect(pes=2, timeout=100, include=['table.txt'])
found = session.Group(Here).look(ret=True).get(30)
files = {file for file, _ in found}
print(len(files), '/work/' in files.pop(), [text for _, text in found])
session.close()
'''


@pytest.mark.parametrize("script", [True, False], ids=["script", "prompt"])
def test_modules_and_files_beside_the_program_are_on_hosts_that_never_had_them(
        client, full, pair, project, script):
    process = client(WHERE, script)
    # When the daemon has said that it is queued, it has the files.
    assert wait_until(lambda: '"queued"' in pair[0].done("sessions", "--json"), SECONDS)
    project.rename(project.parent / "moved")
    full["b"]()
    out, err = process.communicate(timeout=SECONDS)
    assert (out, process.returncode) == ("1 True ['1 2 3\\n', '1 2 3\\n']\n", 0), err


def test_without_its_files_a_session_waits_and_says_what_a_host_lacks(client, full, pair, project):
    process = client(WHERE.replace("timeout=100, include=['table.txt']", "timeout=8, bundle=False"))
    assert wait_until(lambda: '"queued"' in pair[0].done("sessions", "--json"), SECONDS)
    project.rename(project.parent / "moved")
    full["b"]()
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 1 and f"host b: there is no directory {project} there" in err, err


def test_a_session_may_have_all_pes_of_the_cluster_and_no_more(client):
    process = client('''
class Here(Chare):
    def add(self, target):
        self.contribute(numpy.full(1000, charm.myPe() + 1.0), Reducer.sum, target)
    def fail(self):
        raise ValueError(f'no good on {charm.myPe()}')
    def say(self):
        print('said by', charm.myPe())

try:
    c4py.connect(pes=5)
except c4py.errors.Charm4PyError as error:
    print(error)
with c4py.connect(pes=4) as session:
    group = session.Group(Here)
    total = session.Future()
    group.add(total)
    print(total.get(30).sum())
    print(sorted({host for host, _ in session.Group(beside.Beside).where(ret=True).get(30)}))
    try:
        group[3].fail(ret=True).get(30)
    except ValueError as error:
        print(error)
    group[3].say()
    session.wait_quiescence(30)
    session.flush()
''')
    out, err = process.communicate(timeout=SECONDS)
    assert out.splitlines() == [
        "pes=5: the cluster has 4 on 2 nodes", "10000.0", "[0, 1]", "no good on 3", "said by 3"
    ], err


def test_who_drives_a_session_is_told_when_a_node_of_it_dies(client, pair):
    process = client('''
session = c4py.connect(pes=4)
group = session.Group(beside.Beside)
group.where(ret=True).get(30)
print('there', flush=True)
sys.stdin.readline()
try:
    never = session.Future()
    never.get(60)
except c4py.SessionClosed as error:
    print(error)
''')
    assert process.stdout.readline() == "there\n", process.communicate()
    os.kill(pair[1].pid, signal.SIGKILL)
    out, err = process.communicate("\n", timeout=SECONDS)
    assert "node b was lost while it ran PEs 2-3" in out, (out, err)
    pair[0].knows(1)


def test_a_node_is_never_seen_without_its_pes(pair):
    a, b = pair
    b.done("stop")
    seen = set()

    def comes():
        states = {node["name"]: (node["state"], node["pes"]) for node in a.nodes}
        seen.add(states["b"])
        return states["b"] == ("alive", 2)

    b.start()
    assert wait_until(comes, SECONDS)
    assert ("alive", 0) not in seen


def test_who_leaves_is_said_to_have_left_and_that_is_no_error(pair):
    a, b = pair
    b.done("leave")
    assert wait_until(lambda: "node b has left the cluster for good" in a.log, SECONDS)
    assert wait_until(lambda: "this node has left cluster lab for good" in b.log, SECONDS)
    assert "error" not in b.log and "revoked" not in a.log + b.log
