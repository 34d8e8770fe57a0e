"""c4pd's commands about a cluster: init, token, join, nodes, evict, key, leave."""

import json
import os
import re
import signal
import socket
import stat
import subprocess

import pytest
from harness import BUILD, wait_until

C4PD = str(BUILD / "bin" / "c4pd")
FAILED, USAGE, NOT_RUNNING, REFUSED = 1, 2, 3, 4
SECONDS = 20  # far beyond what any of it takes


class Host:
    """A host: a state directory, and maybe a daemon."""

    def __init__(self, state):
        self.state = state

    def run(self, command, *arguments, input=""):
        """A command of c4pd for this state directory, with this as its standard input."""
        return subprocess.run(
            [C4PD, command, "--state-dir", self.state, *map(str, arguments)],
            capture_output=True, text=True, timeout=60, input=input)

    def done(self, command, *arguments, input=""):
        """A command that succeeds: what it prints."""
        done = self.run(command, *arguments, input=input)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refused(self, code, command, *arguments, input=""):
        """A command that fails with this code: the sentence."""
        done = self.run(command, *arguments, input=input)
        assert done.returncode == code, (done.stdout, done.stderr)
        assert done.stderr.startswith("c4pd: ")
        return done.stderr

    def start(self):
        self.done("start", "--pes", 1, "--listen", "127.0.0.1:0")
        return self

    @property
    def nodes(self):
        """Name and state of the nodes, as this one knows them."""
        listed = json.loads(self.done("nodes", "--json"))["nodes"]
        return {node["name"]: node["state"] for node in listed}

    @property
    def keys(self):
        """State of each key by its kind and name."""
        listed = json.loads(self.done("key", "list", "--json"))["keys"]
        return {(key["kind"], key["name"]): key["revoked"] for key in listed}

    def sees(self, **nodes):
        """Wait until it does."""
        assert wait_until(lambda: self.nodes == nodes, SECONDS), self.nodes

    @property
    def log(self):
        return (self.state / "c4pd.log").read_text()

    def end(self):
        pid = json.loads(self.run("status", "--json").stdout).get("pid")
        if pid and self.run("stop", "--now", "--timeout", "20s").returncode != 0:
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def hosts(no_leftovers, monkeypatch):
    """Hosts by their names: hosts("a")."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(no_leftovers / "config"))
    monkeypatch.delenv("C4P_STATE_DIR", raising=False)
    made = {}

    def host(name):
        return made.setdefault(name, Host(no_leftovers / name))

    yield host
    for one in made.values():
        one.end()
    for one in made.values():
        if (one.state / "c4pd.log").exists():
            assert "Sanitizer" not in one.log, one.log


@pytest.fixture
def alpha(hosts):
    """A node that runs, alone in the cluster lab."""
    host = hosts("a")
    host.done("init", "--name", "lab", "--node", "alpha")
    return host.start()


@pytest.fixture
def both(hosts, alpha):
    """Two nodes that run and know each other."""
    beta = hosts("b").start()
    beta.done("join", alpha.done("token").strip(), "--name", "beta")
    alpha.sees(alpha="alive", beta="alive")
    beta.sees(alpha="alive", beta="alive")
    return alpha, beta


# ---- init ----


def test_a_cluster_is_founded_once_and_its_key_is_closed_to_others(hosts):
    host = hosts("a")
    assert "the cluster lab is founded, and this node is alpha" in host.done(
        "init", "--name", "lab", "--node", "alpha")
    key = (host.state / "cluster" / "node.key").read_bytes()
    assert "belongs to the cluster lab already, as alpha" in host.refused(REFUSED, "init")
    assert (host.state / "cluster" / "node.key").read_bytes() == key
    assert stat.S_IMODE((host.state / "cluster").stat().st_mode) == 0o700
    for file in (host.state / "cluster").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_daemon_that_runs_becomes_a_node_without_a_restart(hosts):
    host = hosts("a").start()
    pid = json.loads(host.run("status", "--json").stdout)["pid"]
    assert "in no cluster" in host.refused(FAILED, "nodes")
    assert "in no cluster" in host.refused(FAILED, "token")
    host.done("init", "--node", "alpha")
    host.sees(alpha="alive")
    assert json.loads(host.run("status", "--json").stdout)["pid"] == pid


@pytest.mark.parametrize("option", ["--name", "--node"])
@pytest.mark.parametrize("name", ["", "a b", "-a", "a/b", "a" * 64, "ä"])
def test_a_name_that_is_none_is_refused_and_nothing_is_founded(hosts, option, name):
    host = hosts("a")
    assert "letters, digits" in host.refused(USAGE, "init", option, name)
    assert not (host.state / "cluster" / "cluster").exists()


def test_a_key_that_others_can_read_keeps_the_daemon_from_starting(hosts):
    host = hosts("a")
    host.done("init", "--node", "alpha")
    (host.state / "cluster" / "node.key").chmod(0o644)
    sentence = host.refused(FAILED, "start", "--listen", "127.0.0.1:0")
    assert "node.key: is open to other users, its mode is 644" in sentence
    assert "chmod 600" in sentence


def test_a_key_that_is_damaged_or_somebody_elses_is_refused_and_not_shown(hosts):
    host = hosts("a")
    host.done("init", "--node", "alpha")
    key = host.state / "cluster" / "node.key"
    public, secret = key.read_text().split()
    key.write_text(f"{public}\n{secret[:-5]}00000\n")
    sentence = host.refused(FAILED, "start", "--listen", "127.0.0.1:0")
    assert "node.key: damaged" in sentence
    assert secret[:10] not in sentence and public[:10] not in sentence
    key.write_text(f"{public}\n{secret}\n")
    if os.geteuid() == 0:
        os.chown(key, 65534, -1)
        sentence = host.refused(FAILED, "start", "--listen", "127.0.0.1:0")
        assert "node.key: belongs to user 65534" in sentence
        os.chown(key, 0, -1)
    (host.state / "cluster").chmod(0o755)
    assert "mode is 755" in host.refused(FAILED, "start", "--listen", "127.0.0.1:0")


# ---- token, join ----


def test_a_token_is_read_from_standard_input_where_no_list_of_processes_shows_it(hosts, alpha):
    beta = hosts("b")
    assert "no token on standard input" in beta.refused(USAGE, "join", "-", input="")
    assert "is no token" in beta.refused(USAGE, "join", "-", input="rubbish\n")
    beta.done("join", "-", "--name", "beta", input=alpha.done("token"))
    assert ("node", "beta") in alpha.keys


def test_a_token_is_all_that_is_printed(alpha):
    assert re.fullmatch(r"c4pt1-[\w-]+\n", alpha.done("token"))


def test_a_host_joins_with_a_token_whether_its_daemon_runs_or_not(hosts, both):
    alpha, beta = both
    gamma = hosts("c")
    said = gamma.done("join", "--name", "gamma", alpha.done("token").strip())
    assert "gamma is a node of the cluster lab" in said and "c4pd start" in said
    gamma.start()
    for host in (alpha, beta, gamma):
        host.sees(alpha="alive", beta="alive", gamma="alive")


def test_a_token_is_good_for_so_many_hosts_and_so_long(hosts, alpha):
    token = alpha.done("token", "--uses", 2, "--ttl", "5m").strip()
    hosts("b").done("join", token, "--name", "beta")
    hosts("c").done("join", token, "--name", "gamma")
    assert "used before as often as it may be" in hosts("d").refused(
        FAILED, "join", token, "--name", "delta")
    assert "refused node delta" in alpha.log and "127.0.0.1" in alpha.log
    short = alpha.done("token", "--ttl", "1ms").strip()
    assert "expired" in hosts("d").refused(FAILED, "join", short, "--name", "delta")
    assert not (hosts("d").state / "cluster" / "cluster").exists()


def test_tokens_are_listed_and_taken_back(hosts, alpha):
    token = alpha.done("token", "--uses", 7).strip()
    listed = json.loads(alpha.done("token", "--list", "--json"))["tokens"]
    assert [one["uses"] for one in listed] == [7]
    assert listed[0]["id"] in alpha.done("token", "--list")
    alpha.done("token", "--revoke", listed[0]["id"])
    assert json.loads(alpha.done("token", "--list", "--json"))["tokens"] == []
    assert "taken back" in hosts("b").refused(FAILED, "join", token, "--name", "beta")
    assert "no such token" in alpha.refused(FAILED, "token", "--revoke", "zzzzzzzz")


@pytest.mark.parametrize("options, sentence", [
    (["--ttl", "0"], "--ttl"),
    (["--ttl", "soon"], "--ttl"),
    (["--uses", "0"], "--uses"),
    (["--uses", "-1"], "--uses"),
])
def test_a_token_without_sense_is_refused(alpha, options, sentence):
    assert sentence in alpha.refused(USAGE, "token", *options)


def test_a_token_for_ever_or_for_nowhere_is_refused(alpha):
    assert "30d" in alpha.refused(FAILED, "token", "--ttl", "31d")
    assert "HOST:PORT" in alpha.refused(FAILED, "token", "--address", "no port")


@pytest.mark.parametrize("token, sentence", [
    ("hello", "begins with c4pt1-"),
    ("c4pt1-AAAA", "another version"),
    ("c4pt1-", "copy all of it"),
    ("c4pt9-AAAA", "another version"),
])
def test_what_is_no_token_is_told(hosts, token, sentence):
    assert sentence in hosts("b").refused(USAGE, "join", token)


def test_a_token_that_was_cut_is_told(hosts, alpha):
    token = alpha.done("token").strip()
    assert "copy all of it" in hosts("b").refused(USAGE, "join", token[:-3])


def test_a_second_join_is_refused(both):
    alpha, beta = both
    token = alpha.done("token").strip()
    assert "belongs to the cluster lab already, as beta" in beta.refused(REFUSED, "join", token)
    beta.sees(alpha="alive", beta="alive")


def test_two_nodes_have_no_name_in_common(hosts, alpha):
    token = alpha.done("token").strip()
    sentence = hosts("b").refused(FAILED, "join", token, "--name", "alpha")
    assert "has a node alpha already" in sentence and "--name" in sentence
    hosts("b").done("join", token, "--name", "beta")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_a_token_of_another_cluster_does_not_open_this_one(hosts, alpha):
    other = hosts("o")
    other.done("init", "--name", "other", "--node", "omega")
    other.start()
    address = json.loads(alpha.done("nodes", "--json"))["nodes"][0]["address"]
    token = other.done("token", "--address", address.removeprefix("tcp://")).strip()
    sentence = hosts("b").refused(FAILED, "join", token, "--name", "beta")
    assert address in sentence and "is not the daemon that the token is of" in sentence
    assert alpha.nodes == {"alpha": "alive"}


def test_a_seed_where_nobody_listens_or_that_has_no_name_is_told_in_time(hosts, alpha):
    address = f"127.0.0.1:{free_port()}"
    token = alpha.done("token", "--address", address).strip()
    sentence = hosts("b").refused(FAILED, "join", token, "--name", "beta")
    assert f"tcp://{address}: nobody listens there" in sentence and "c4pd nodes" in sentence
    token = alpha.done("token", "--address", "no-such-host.invalid:7227").strip()
    sentence = hosts("b").refused(FAILED, "join", token, "--name", "beta", "--timeout", "5s")
    assert "tcp://no-such-host.invalid:7227: " in sentence and "--address" in sentence


def test_a_seed_that_says_nothing_is_given_up_in_time(hosts, alpha):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        token = alpha.done("token", "--address", address).strip()
        sentence = hosts("b").refused(
            FAILED, "join", token, "--name", "beta", "--timeout", "500ms")
    assert f"tcp://{address}: took the connection, and says nothing" in sentence


# ---- nodes ----


def test_nodes_are_a_table_for_people_and_json_for_programs(both):
    alpha, _ = both
    line = re.compile(r"^beta +alive +1/1 +\d+\.\d\d +\S+ +tcp://127.0.0.1:\d+ ", re.M)
    assert wait_until(lambda: line.search(alpha.done("nodes")), SECONDS), alpha.done("nodes")
    lines = alpha.done("nodes").splitlines()
    assert lines[0].split() == [
        "NODE", "STATE", "PES", "LOAD", "RELEASE", "ADDRESS", "SINCE", "KEY"]
    assert lines[1].startswith("alpha (here)  alive")
    listed = json.loads(alpha.done("nodes", "--json"))
    assert listed["cluster"] == "lab"
    assert [node["here"] for node in listed["nodes"]] == [True, False]
    assert all(re.fullmatch("[0-9a-z]{16}", node["key"]) for node in listed["nodes"])


def test_without_the_daemon_the_enrolled_are_shown_and_the_rest_says_what_to_do(both):
    alpha, beta = both
    beta.done("stop")
    shown = beta.run("nodes", "--json")
    assert shown.returncode == NOT_RUNNING and "not who is there" in shown.stderr
    listed = json.loads(shown.stdout)["nodes"]
    assert {node["name"]: node["state"] for node in listed} == {
        "alpha": "enrolled", "beta": "enrolled"}
    for command in (["token"], ["evict", "alpha"], ["key", "list"], ["leave"]):
        assert "c4pd start" in beta.refused(NOT_RUNNING, *command)


# ---- evict, leave ----


def test_an_evicted_node_is_known_by_all_and_comes_back_with_another_key_only(hosts, both):
    alpha, beta = both
    gamma = hosts("c")
    gamma.done("join", beta.done("token").strip(), "--name", "gamma")
    gamma.start()
    alpha.sees(alpha="alive", beta="alive", gamma="alive")
    alpha.done("evict", "gamma")
    alpha.sees(alpha="alive", beta="alive", gamma="revoked")
    beta.sees(alpha="alive", beta="alive", gamma="revoked")
    assert wait_until(lambda: "key was revoked by node alpha" in gamma.log, SECONDS)
    assert "evicted before" in beta.refused(FAILED, "evict", "gamma")
    gamma.done("join", alpha.done("token").strip(), "--name", "gamma")
    assert wait_until(
        lambda: sorted(beta.nodes.values()) == ["alive", "alive", "alive", "revoked"], SECONDS)
    assert beta.nodes["gamma"] == "alive"


def test_who_is_no_node_or_the_node_itself_is_not_evicted(alpha):
    sentence = alpha.refused(FAILED, "evict", "nobody")
    assert "nobody: the cluster lab has no such node" in sentence and "c4pd nodes" in sentence
    assert "c4pd leave" in alpha.refused(FAILED, "evict", "alpha")
    assert "say what: NODE" in alpha.refused(USAGE, "evict")
    assert alpha.nodes == {"alpha": "alive"}


def test_a_node_that_leaves_is_forgotten_here_and_revoked_there(both):
    alpha, beta = both
    assert "belongs to no cluster any more" in beta.done("leave")
    assert not (beta.state / "cluster").exists()
    assert "in no cluster" in beta.refused(FAILED, "nodes")
    alpha.sees(alpha="alive", beta="revoked")
    assert "alone, in no cluster" in beta.refused(FAILED, "leave")


def test_a_node_whose_daemon_is_gone_leaves_without_telling(both):
    alpha, beta = both
    beta.done("stop")
    assert "--now" in beta.refused(NOT_RUNNING, "leave")
    beta.done("leave", "--now")
    assert not (beta.state / "cluster").exists()
    alpha.done("evict", "beta")
    beta.done("join", alpha.done("token").strip(), "--name", "beta")
    beta.start()
    beta.sees(**{"alpha": "alive", "beta": "alive", next(
        name for name in alpha.nodes if name.startswith("beta ")): "revoked"})


# ---- key ----


def test_keys_of_users_are_made_added_listed_and_revoked_everywhere(both, tmp_path):
    alpha, beta = both
    file = tmp_path / "user.key"
    public = alpha.done("key", "new", file).strip()
    assert re.fullmatch("[0-9a-f]{64}", public)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [len(line) for line in file.read_text().splitlines()] == [40, 40]
    added = alpha.run("key", "add", "al@home", public)
    assert added.returncode == 0 and "as al@home" in added.stderr
    address, key = added.stdout.split()  # what goes into the file
    assert address.startswith("tcp://") and len(key) == 40
    assert wait_until(lambda: beta.keys.get(("user", "al@home")) is False, SECONDS)
    assert "knows this key already" in alpha.refused(FAILED, "key", "add", "al2", public)
    beta.done("key", "revoke", "al@home")
    assert wait_until(lambda: alpha.keys.get(("user", "al@home")) is True, SECONDS)
    assert "revoked, for ever" in alpha.refused(FAILED, "key", "add", "al@home", public)
    assert "revoked before" in alpha.refused(FAILED, "key", "revoke", "al@home")
    assert re.search(r"^al@home +user +revoked ", alpha.done("key", "list"), re.M)


def test_a_key_or_name_that_is_none_is_refused(alpha, tmp_path):
    public = alpha.done("key", "new", tmp_path / "one").strip()
    assert "no public key" in alpha.refused(USAGE, "key", "add", "al", public[:-1])
    assert "no public key" in alpha.refused(USAGE, "key", "add", "al", "z" * 64)
    assert "letters, digits" in alpha.refused(USAGE, "key", "add", "a l", public)
    assert "no such user's key" in alpha.refused(FAILED, "key", "revoke", "al")
    for words in ([], ["add"], ["add", "al"], ["list", "al"], ["frob"], ["new"]):
        assert "say what:" in alpha.refused(USAGE, "key", *words)
    before = (tmp_path / "one").read_bytes()
    assert "exists" in alpha.refused(FAILED, "key", "new", tmp_path / "one")
    assert (tmp_path / "one").read_bytes() == before


def test_a_name_belongs_to_one_key_at_a_time(alpha, tmp_path):
    first, second = (
        alpha.done("key", "new", tmp_path / name).strip() for name in ("one", "two"))
    alpha.done("key", "add", "al", first)
    assert "another key has this name" in alpha.refused(FAILED, "key", "add", "al", second)
    alpha.done("key", "revoke", "al")
    alpha.done("key", "add", "al", second)
    assert "al" in alpha.done("key", "list")


def test_what_was_enrolled_and_revoked_is_there_after_a_restart(alpha, tmp_path):
    public = alpha.done("key", "new", tmp_path / "one").strip()
    alpha.done("key", "add", "al", public)
    token = alpha.done("token")
    alpha.done("key", "revoke", "al")
    alpha.done("stop")
    alpha.start()
    assert alpha.keys == {("node", "alpha"): False, ("user", "al"): True}
    assert len(json.loads(alpha.done("token", "--list", "--json"))["tokens"]) == 1
    assert token.startswith("c4pt1-")
