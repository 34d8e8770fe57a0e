"""Nobody gets in who does not belong, who tries brings nothing down, nothing is in the clear."""

import base64
import hashlib
import json
import re
import shutil
import subprocess

import pytest
from harness import wait_until

CONTROL, DATA = 7227, 7228

# Strangers of all kinds, run on a host of the network that is no member: argv is address and port.
STRANGER = """
import os, socket, sys, time
import zmq

address, port, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]
end = f"tcp://{address}:{port}"

def zmq_stranger(**options):
    context = zmq.Context()
    sockets = []
    for type in (zmq.DEALER, zmq.PUSH, zmq.REQ):
        peer = context.socket(type)
        peer.linger = 0
        for name, value in options.items():
            setattr(peer, name, value)
        peer.connect(end)
        sockets.append(peer)
    heard = False
    for turn in range(20):
        for peer in sockets:
            try:
                peer.send(os.urandom(1000) if turn % 2 else b"", zmq.DONTWAIT)
            except zmq.ZMQError:
                pass
        heard = heard or sockets[0].poll(50) != 0
    context.destroy(0)
    print("heard" if heard else "silence")

def raw(*pieces, hold=0.0):
    for turn in range(20):
        with socket.create_connection((address, port), 5) as peer:
            for piece in pieces:
                try:
                    peer.sendall(piece)
                except OSError:
                    break
    print("silence")

GREETING = b"\\xff" + bytes(8) + b"\\x7f\\x03\\x00"

if kind == "null":
    zmq_stranger()
elif kind == "plain":
    zmq_stranger(plain_username=b"root", plain_password=b"root")
elif kind == "curve":
    public, secret = zmq.curve_keypair()
    zmq_stranger(curve_publickey=public, curve_secretkey=secret,
                 curve_serverkey=sys.argv[4].encode())
elif kind == "scan":
    raw()
elif kind == "http":
    raw(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
elif kind == "garbage":
    raw(os.urandom(100000))
elif kind == "greeting":
    raw(GREETING + b"CURVE" + bytes(47), b"\\x04\\xff" + os.urandom(250))
elif kind == "oversized":
    raw(GREETING + b"NULL" + bytes(48), b"\\x06" + b"\\x7f" * 8 + bytes(100000))
"""

HELLO = """
    from c4py import charm
    def main(args):
        print("hello from", charm.numPes(), "PEs")
        exit()
    charm.start(main)
"""


def server_key(host):
    """The public key of a node, as ZeroMQ writes it."""
    return host.run("sh", "-c", "cat ~/.local/state/c4p/*/cluster/node.key").stdout.split()[0]


def tokens(host):
    """Those that are good."""
    return json.loads(host.c4pd("token", "--list", "--json").stdout)["tokens"]


@pytest.mark.timeout(300)
def test_strangers_get_nothing_and_are_logged_within_a_limit(make_bed):
    bed = make_bed(3)
    a, b, stranger = bed.hosts
    bed.form(hosts=[a, b])
    program = stranger.write("stranger.py", STRANGER)
    for port in (CONTROL, DATA):
        for kind in ("null", "plain", "curve", "scan", "http", "garbage", "greeting", "oversized"):
            done = stranger.run("/usr/bin/python3", program, a.address, port, kind, server_key(a))
            assert done.stdout == "silence\n", (kind, port)
    assert a.nodes() == {"a": "alive", "b": "alive"}
    assert a.submit(HELLO, 4).stdout == "hello from 4 PEs\n"
    refusals = [line for line in a.log().splitlines() if "refused" in line]
    assert any(stranger.address in line for line in refusals), a.log()
    assert len(refusals) < 200, f"{len(refusals)} lines about {16 * 20 * 3} attempts"


def test_who_only_tries_the_data_port_is_logged_too(make_bed):
    bed = make_bed(2)
    a, stranger = bed.hosts
    a.c4pd("init")
    a.start_daemon()
    program = stranger.write("stranger.py", STRANGER)
    stranger.run("/usr/bin/python3", program, a.address, DATA, "plain", server_key(a))
    assert wait_until(lambda: f"refused {stranger.address}" in a.log(), 10), a.log()
    assert a.log().count("refused") < 20


@pytest.mark.parametrize("kind", ["scan", "http", "garbage", "greeting", "oversized"])
def test_a_scanner_of_the_data_port_is_logged_and_a_node_is_not(make_bed, kind):
    bed = make_bed(3)
    a, b, stranger = bed.hosts
    bed.form(hosts=[a, b])
    assert a.submit(HELLO, 4).stdout == "hello from 4 PEs\n"
    b.stop_daemon()
    assert "refused" not in a.log()
    program = stranger.write("stranger.py", STRANGER)
    stranger.run("/usr/bin/python3", program, a.address, DATA, kind, server_key(a))
    assert wait_until(lambda: "refused" in a.log(), 10), a.log()
    lines = [line for line in a.log().splitlines() if "refused" in line]
    assert all("somebody:" in line or stranger.address in line for line in lines), a.log()


def believe(host, others):
    """Write into what `host` keeps that these hosts belong to its cluster, and where they are."""
    directory = host.disk / "user/.local/state/c4p" / host.name / "cluster"
    theirs = others[0].disk / "user/.local/state/c4p" / others[0].name / "cluster"
    lines = (directory / "enrolled").read_text().splitlines()[:-1]
    lines += (theirs / "enrolled").read_text().splitlines()[1:-1]
    text = "\n".join(lines) + "\n"
    total = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    (directory / "enrolled").write_text(f"{text}sum {total}\n")
    shutil.copy(theirs / "members", directory / "members")


def test_two_clusters_on_one_network_do_not_mix(make_bed):
    bed = make_bed(3)
    a, b, c = bed.hosts
    bed.form(hosts=[a, b])
    b.stop_daemon()
    b.start_daemon()
    a.sees({"b": "alive"})
    a.stop_daemon()  # writes down where b is
    a.start_daemon()
    c.c4pd("init")
    # c takes a and b for nodes of its own cluster, and calls them. They do not know it.
    believe(c, [a, b])
    c.start_daemon()
    assert wait_until(lambda: "refuses this node's key" in c.log(), 30), c.log()
    assert wait_until(lambda: "nobody here knows this key" in a.log() + b.log(), 30), a.log()
    assert set(a.nodes()) == set(b.nodes()) == {"a", "b"}
    assert "alive" not in {state for name, state in c.nodes().items() if name != "c"}
    assert a.submit(HELLO, 4).stdout == "hello from 4 PEs\n"


def test_tokens_expire_are_used_up_and_can_be_withdrawn(make_bed):
    bed = make_bed(4)
    a, b, c, d = bed.hosts
    a.c4pd("init")
    a.start_daemon()
    once = a.c4pd("token").stdout.strip()
    b.c4pd("join", "-", input=once + "\n")  # where no list of processes shows it
    done = c.c4pd("join", once, check=False)
    assert done.returncode != 0 and "token" in done.stderr
    short = a.c4pd("token", "--ttl", "1s").stdout.strip()
    assert wait_until(lambda: not tokens(a), 10)
    done = c.c4pd("join", short, check=False)
    assert done.returncode != 0 and "token" in done.stderr
    for number in range(25):
        c.c4pd("join", short, "--name", f"n{number}", check=False)
    assert 0 < a.log().count("refused node") < 15, "who holds an old token does not fill the log"
    twice = a.c4pd("token", "--uses", 2).stdout.strip()
    c.c4pd("join", twice)
    d.c4pd("join", twice)
    assert set(a.nodes()) == {"a", "b", "c", "d"}


def test_an_evicted_node_is_shut_out_at_once_and_for_ever(cluster):
    a, b, c = cluster.hosts
    a.c4pd("evict", "c")
    for host in (a, b):
        assert wait_until(lambda: host.nodes().get("c") in (None, "revoked"), 20), host.nodes()
    done = a.submit(HELLO, 6, "--detach")
    assert "6" in next(iter(a.jobs().values()))["reason"]
    a.c4py("cancel", done.stdout.strip())
    c.stop_daemon()
    c.start_daemon()
    assert wait_until(lambda: re.search("refuse|revoked|evicted", c.log()), 30), c.log()
    assert a.submit(HELLO, 4).stdout == "hello from 4 PEs\n"
    assert a.nodes().get("c") in (None, "revoked")


def test_what_passes_between_hosts_cannot_be_read(make_bed, tmp_path):
    bed = make_bed(3)
    a, b, c = bed.hosts
    bed.form(hosts=[a, b])
    secret = "the quick brown secret jumps over the lazy dog"
    variable = "walls have ears and so do switches"
    content = "what a file of the program says is nobody's business"
    a.write("programs1/helper.py", f"text = {content!r}")
    path = tmp_path / "capture"
    with bed.captured(path):
        token = a.c4pd("token").stdout.strip()
        c.c4pd("join", token)
        c.start_daemon()
        a.sees({"c": "alive"})
        done = a.submit("""
            import os
            import helper
            from c4py import Chare, Group, charm

            class Keeper(Chare):
                def keep(self, text, many):
                    assert many == text.encode() * 20000
                    print(text, len(os.environ["CONFIDENTIAL"]), len(helper.text))
                    return text

            def main(args):
                text = args[1]
                Group(Keeper).keep(text, text.encode() * 20000, ret=True).get()
                exit()

            charm.start(main)
        """, 6, args=[secret], env={"CONFIDENTIAL": variable})
    assert done.stdout.splitlines() == [f"{secret} {len(variable)} {len(content)}"] * 6
    captured = path.read_bytes()
    assert len(captured) > 2 * len(secret) * 20000, "nothing was captured"
    for part in (secret, secret[:16], variable[:16], content[:16], token[-60:-20], "CONFIDENTIAL",
                 "Keeper", "helper", "program.py"):
        assert part.encode() not in captured, part
    once = base64.urlsafe_b64decode(token.split("-", 1)[1] + "==")[-36:-4]  # without checksum
    assert once[:16] not in captured and once[16:] not in captured
    assert subprocess.run(["grep", "-qa", "CURVE", path]).returncode == 0
