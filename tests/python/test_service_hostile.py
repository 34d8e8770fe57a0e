"""Garbage at every socket of a daemon, and clients of other users: refused, told why, and nothing
crashes, hangs or stays."""

import json
import os
import pathlib
import random
import socket
import subprocess

import pytest
from harness import BUILD, C4PY, wait_until

zmq = pytest.importorskip("zmq")

NOBODY = 65534
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")


def held(daemon):
    """Descriptors of the daemon."""
    return len(os.listdir(f"/proc/{daemon.pid}/fd"))


def works(daemon):
    done = daemon.c4py("status", "--json")
    return done.returncode == 0 and json.loads(done.stdout)


def knock(daemon):
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client.settimeout(30)
    client.connect(str(daemon.state_dir / "attach"))
    return client


def control(daemon, context):
    dealer = context.socket(zmq.DEALER)
    dealer.setsockopt(zmq.LINGER, 0)
    dealer.setsockopt(zmq.RCVTIMEO, 30000)
    dealer.connect(f"ipc://{daemon.state_dir}/control")
    return dealer


def garbage(chance):
    size = chance.choice([0, 1, 2, 7, 33, 100, 1000, 60000])
    return chance.randbytes(size) if hasattr(chance, "randbytes") else os.urandom(size)


def test_garbage_packets_at_the_door_are_answered_or_end_the_connection(daemon):
    before, chance = held(daemon), random.Random(1)
    for _ in range(200):
        client = knock(daemon)
        try:
            for _ in range(chance.randint(1, 3)):
                client.send(garbage(chance))
            client.recv(65536)
        except OSError:
            pass            # it closes on who makes no sense
        client.close()
    assert works(daemon)
    assert wait_until(lambda: held(daemon) <= before)


def test_a_packet_that_is_too_large_does_no_harm(daemon):
    client = knock(daemon)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    try:
        client.send(bytes(100000))
        assert len(client.recv(65536)) < 65536
    except OSError:
        pass
    client.close()
    assert works(daemon)


def test_connections_that_say_nothing_do_not_keep_others_out(daemon):
    silent = []
    try:
        for _ in range(300):
            silent.append(knock(daemon))
    except OSError:
        pass                # no more were let in
    for client in silent:
        client.close()
    assert wait_until(lambda: works(daemon), 30)


def test_frames_without_a_ticket_are_refused(daemon):
    before, chance, context = held(daemon), random.Random(2), zmq.Context()
    dealer = control(daemon, context)
    for _ in range(300):
        dealer.send(garbage(chance))
    for _ in range(10):
        dealer.send_multipart([garbage(chance), garbage(chance), garbage(chance)])
    answer = dealer.recv()
    assert b"Hello" in answer or b"hello" in answer or b"request" in answer, answer
    dealer.close()
    context.term()
    assert works(daemon)
    assert wait_until(lambda: held(daemon) <= before)


def test_a_frame_of_many_megabytes_costs_its_sender_the_connection(daemon):
    context = zmq.Context()
    dealer = control(daemon, context)
    rss = works(daemon)["rss"]
    dealer.send(bytes(64 << 20), copy=False)
    assert works(daemon)
    assert works(daemon)["rss"] < rss + (32 << 20)
    dealer.close()
    context.term()


def test_bytes_that_are_no_zeromq_at_all_are_ignored(daemon):
    before, chance = held(daemon), random.Random(3)
    for _ in range(50):
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.connect(str(daemon.state_dir / "control"))
        try:
            client.sendall(garbage(chance) + b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f")
        except OSError:
            pass
        client.close()
    assert works(daemon)
    assert wait_until(lambda: held(daemon) <= before)


@root_only
def test_another_user_cannot_even_see_the_sockets(daemon, for_everybody):
    done = subprocess.run([for_everybody(C4PY), "status", "--state-dir", str(daemon.state_dir)],
                          user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 1
    assert str(daemon.state_dir) in done.stderr and "another user" in done.stderr, done.stderr


@root_only
def test_another_user_who_gets_to_the_socket_is_turned_away(daemon, for_everybody):
    # Somebody has opened what c4pd had closed.
    for directory in (daemon.state_dir, *pathlib.Path(daemon.state_dir).parents):
        if str(directory).startswith("/tmp/"):
            os.chmod(directory, 0o755)
    for name in ("attach", "control"):
        os.chmod(daemon.state_dir / name, 0o777)
    done = subprocess.run([for_everybody(C4PY), "jobs", "--state-dir", str(daemon.state_dir)],
                          user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 1
    assert "user" in done.stderr, done.stderr
    assert works(daemon)


def test_two_daemons_do_not_share_a_state_directory(daemon):
    done = subprocess.run([str(BUILD / "bin" / "c4pd"), "start", "--foreground", "--state-dir",
                           str(daemon.state_dir)], capture_output=True, text=True, timeout=60)
    assert done.returncode not in (0, 1)
    assert str(daemon.pid) in done.stderr, done.stderr
    assert works(daemon)
