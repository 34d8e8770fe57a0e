"""Those who are worse than strangers: streams that are played again, half-open connections, and a
node of the cluster that was taken over."""

import json
import os
import struct

import pytest
from harness import wait_until

CONTROL, DATA = 7227, 7228
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"

WAITS = """
    import os, time
    from c4py import Chare, Group, charm

    class Worker(Chare):
        def work(self, data):
            return len(data)

    def main(args):
        workers = Group(Worker)
        while not os.path.exists("/home/user/go"):
            workers.work(b"x" * 1000, ret=True).get()
            time.sleep(0.05)
        print("through with", charm.numPes(), "PEs")
        exit()

    charm.start(main)
"""


def resident(host):
    """Memory of a host's daemon, in bytes."""
    with open(f"/proc/{host.daemon_pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors(host):
    """How many a host's daemon has."""
    return len(os.listdir(f"/proc/{host.daemon_pid}/fd"))


# ---- streams ----


def frames(captured):
    """The Ethernet frames of a capture, which holds one behind the other."""
    place = 0
    while place + 34 <= len(captured):
        kind = captured[place + 12:place + 14]
        if kind == b"\x08\x00":
            size = 14 + struct.unpack_from("!H", captured, place + 16)[0]
        elif kind == b"\x86\xdd":
            size = 54 + struct.unpack_from("!H", captured, place + 18)[0]
        else:
            size = 42
        yield captured[place:place + size]
        place += size


def streams(captured, port):
    """What was sent to a TCP port, connection by connection."""
    pieces = {}
    for frame in frames(captured):
        if frame[12:14] != b"\x08\x00" or frame[23] != 6:
            continue
        start = 14 + (frame[14] & 15) * 4
        source, target, number = struct.unpack_from("!HHI", frame, start)
        data = frame[start + (frame[start + 12] >> 4) * 4:]
        if target == port and data:
            pieces.setdefault((frame[26:30], source), {})[number] = data
    return [b"".join(data for number, data in sorted(stream.items()))
            for stream in pieces.values()]


REPLAY = """
import socket, sys
address, port = sys.argv[1], int(sys.argv[2])
data = open(sys.argv[3], "rb").read()
heard = 0
for turn in range(5):
    with socket.create_connection((address, port), 5) as peer:
        peer.settimeout(0.5)
        try:
            peer.sendall(data)
            while True:
                piece = peer.recv(65536)
                if not piece:
                    break
                heard += len(piece)
        except OSError:
            pass
print(heard)
"""


def test_streams_that_are_played_again_are_worth_nothing(make_bed, tmp_path):
    bed = make_bed(3)
    a, b, c = bed.hosts
    a.c4pd("init")
    a.start_daemon()
    path = tmp_path / "capture"
    token = a.c4pd("token", "--uses", 5).stdout.strip()
    with bed.captured(path):
        b.c4pd("join", token)
        b.start_daemon()
        a.sees({"b": "alive"})
        assert a.submit(WAITS.replace("not os.path.exists", "False and"), 4).stdout
    captured = path.read_bytes()
    keys = a.c4pd("key", "list", "--json").stdout
    left = json.loads(a.c4pd("token", "--list", "--json").stdout)["tokens"]
    program = c.write("replay.py", REPLAY)
    count = 0
    for port in (CONTROL, DATA):
        for number, stream in enumerate(streams(captured, port)):
            (c.disk / "user" / "stream").write_bytes(stream)
            done = c.run("/usr/bin/python3", program, a.address, port, c.home / "stream")
            # The server's greeting and its half of a handshake that goes no further.
            assert int(done.stdout) <= 5 * 512, (port, number, done.stdout)
            count += len(stream) > 600
    assert count >= 3, "there were no streams of a join, a node and its data"
    assert a.c4pd("key", "list", "--json").stdout == keys
    assert json.loads(a.c4pd("token", "--list", "--json").stdout)["tokens"] == left
    assert a.nodes() == {"a": "alive", "b": "alive"}
    assert "refused" in a.log() and a.log().count("refused") < 60


# ---- half-open connections ----

IDLE = """
import select, socket, sys, time
address = sys.argv[1]
peers = []
for number in range(500):
    for port in (7227, 7228):
        peers.append(socket.create_connection((address, port), 10))
print("ok", flush=True)
greeting = b"\\xff" + bytes(8) + b"\\x7f\\x03\\x00CURVE" + bytes(48)
sent, end = 0, time.monotonic() + 60
while peers and time.monotonic() < end:
    for peer in peers[::2]:  # these say a byte of a handshake now and then
        try:
            peer.send(greeting[sent % len(greeting):][:1])
        except OSError:
            pass
    sent += 1
    poll = select.poll()
    for peer in peers:
        poll.register(peer, select.POLLIN)
    gone = []
    by = {peer.fileno(): peer for peer in peers}
    for fd, what in poll.poll(500):
        try:
            if not by[fd].recv(4096):
                gone.append(by[fd])
        except OSError:
            gone.append(by[fd])
    for peer in gone:
        peer.close()
        peers.remove(peer)
print("left", len(peers))
"""


def test_half_open_connections_hold_nobody_up_and_are_closed(make_bed):
    bed = make_bed(3)
    a, b, c = bed.hosts
    bed.form(hosts=[a, b])
    before = descriptors(a)
    program = c.write("idle.py", IDLE)
    idle = c.start("/usr/bin/python3", program, a.address)
    assert idle.stdout.readline() == "ok\n"
    assert a.c4pd("status").returncode == 0
    assert a.submit(WAITS.replace("not os.path.exists", "False and"), 4).stdout == (
        "through with 4 PEs\n")
    assert a.nodes() == b.nodes() == {"a": "alive", "b": "alive"}
    assert idle.stdout.readline() == "left 0\n"
    assert wait_until(lambda: descriptors(a) < before + 20, 20), (before, descriptors(a))
    assert a.log().count("refused") < 60


# ---- a node that was taken over ----

HOSTILE = """
import os, struct, sys, time
import zmq

address, server, job = sys.argv[1], sys.argv[2].encode(), int(sys.argv[3])
public, secret = open(sys.argv[4], "rb").read().split()
context = zmq.Context()


def connect(kind, port):
    peer = context.socket(kind)
    peer.linger = 500
    peer.curve_publickey, peer.curve_secretkey, peer.curve_serverkey = public, secret, server
    peer.connect(f"tcp://{address}:{port}")
    return peer


def varint(number):
    number &= 2 ** 64 - 1
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def message(**fields):
    return b"".join(field(int(name[1:]), value) for name, value in fields.items())


def peer(body, content, version=1, incarnation=2 ** 40):
    return message(_1=version, _2=incarnation) + field(body, content)


BIG = 2 ** 64 - 1
control = connect(zmq.DEALER, 7227)


def say(*all):
    for each in all:
        control.send(each)


for turn in range(1000):
    say(os.urandom(turn))
say(bytes(2 << 20), bytes([0xff]) * (1 << 20), b"", field(10, b"") * 100000)
member = message(_1=os.urandom(32), _2=BIG, _3=BIG, _4=77, _6=message(_1=b"x" * 5000))
say(peer(14, field(2, member) * 100))
say(peer(14, field(2, b"") * 300000), peer(14, field(3, b"") * 300000))
for version in range(300):
    say(peer(10, b"", version=0), peer(version, os.urandom(30)))
for turn in range(1000):
    say(peer(22, field(1, b"reason %d" % turn)), peer(10, field(1, turn)))
say(peer(20, message(_1=os.urandom(32), _2=b"z", _3=1, _4=1)))
say(peer(21, message(_2=os.urandom(16), _3=b"z", _6=1)))
for each in (0, 1, job, BIG):
    say(peer(30, message(_1=each, _2=1, _3=2 ** 32 - 1, _4=2 ** 32 - 1)))
    say(peer(32, message(_1=each)))
    node = message(_1=public, _2=b"x" * 10000, _3=b"ipc:///etc/passwd", _4=0, _5=2 ** 32 - 1)
    say(peer(40, message(_1=each, _2=BIG) + field(3, 2 ** 32 - 1) * 3 + field(4, node) * 1000))
    for body in range(40, 48):
        say(peer(body, message(_1=each, _2=1, _3=1, _4=2 ** 32 - 1, _5=9)))
        say(peer(body, message(_1=each, _2=1, _3=BIG, _4=BIG, _5=BIG, _6=BIG)))
        for kind in range(12):
            say(peer(body, message(_1=each, _2=1, _3=1, _4=kind)))
for turn in range(1500):
    say(peer(45, message(_1=job, _2=turn % 5, _4=turn + 1, _5=bytes(100000), _7=1)))
    say(peer(43, message(_1=job, _2=turn % 4, _3=turn % 4, _6=turn + 1, _8=1, _7=b"killed")))
    say(peer(42, message(_1=job, _2=1, _3=2, _4=9, _5=1, _6=1, _7=turn)))
for path in (b"../../../../../../../etc/passwd", b"/etc/passwd", bytes(32), os.urandom(32)):
    say(peer(52, field(1, path.ljust(32, b"\\0"))), peer(52, message(_1=path, _2=BIG)))
    say(peer(50, field(1, path.ljust(32, b"\\0"))), peer(51, message(_1=path, _2=bytes(1000))))
    say(peer(53, message(_1=bytes(32), _2=BIG, _3=bytes(1000))))

data = connect(zmq.PUSH, 7228)
for turn in range(500):
    data.send(os.urandom(turn))
    header = struct.pack("<BBBBIQIIQ16s16s", 1, turn % 5, turn % 3, 0, turn, job,
                         turn % 3, turn % 2, turn, os.urandom(16), bytes(16))
    data.send(header + bytes(turn))
    data.send_multipart([header, bytes(turn), b"more"])
    if turn % 50 == 0:  # each of these ends the connection
        data.send_multipart([header, bytes(300000)])
control.send(bytes(5 << 20))  # ends the connection
time.sleep(1)
context.destroy(500)
print("through")
"""


@pytest.mark.timeout(150)
def test_a_node_that_was_taken_over_breaks_nothing_of_the_others(make_bed):
    bed = make_bed(3)
    a, b, c = bed.hosts
    bed.form(hosts=[a, b])
    job = a.detach(WAITS, 4)  # before there is a c, which is to have no part in it
    a.wait_for(job, "running")
    c.c4pd("join", a.c4pd("token").stdout.strip())
    c.start_daemon()
    a.sees({"c": "alive"})
    c.kill_daemon()
    number = 0
    for character in job:  # as proto/control.c has it
        number = number << 5 | ALPHABET.index(character)
    process, memory, lines = a.daemon_pid, resident(a), a.log().count("\n")
    program = c.write("hostile.py", HOSTILE)
    server = a.run("sh", "-c", "head -1 ~/.local/state/c4p/a/cluster/node.key").stdout.strip()
    done = c.run("/usr/bin/python3", program, a.address, server, number,
                 c.home / ".local/state/c4p/c/cluster/node.key", timeout=90)
    assert done.stdout == "through\n"
    assert a.daemon_pid == process
    assert a.nodes()["b"] == "alive" and set(a.nodes()) == {"a", "b", "c"}
    a.write("go", "")
    b.write("go", "")
    assert a.wait_for(job, "completed")["exit_code"] == 0
    assert a.c4py("logs", job).stdout == "through with 4 PEs\n"
    assert resident(a) < memory + (96 << 20), (memory, resident(a))
    assert a.log().count("\n") - lines < 150, a.log()
    assert "root:" not in a.log()
    assert a.submit(WAITS, 4).stdout == "through with 4 PEs\n"
