"""The hosts that the other tests are made of: what they share, and what is cut is cut."""

import pathlib

CONNECT = """
import socket, sys
socket.create_connection((sys.argv[1], 9000), float(sys.argv[2])).close()
"""
LISTEN = """
import socket
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("0.0.0.0", 9000))
listener.listen()
print("ok", flush=True)
while True:
    listener.accept()[0].close()
"""


def listen(host):
    server = host.start("python3", "-c", LISTEN)
    assert server.stdout.readline() == "ok\n"


def reaches(host, other, seconds):
    return host.run("python3", "-c", CONNECT, other.address, seconds, check=False).returncode == 0


def test_hosts_have_names_and_homes_of_their_own(bed):
    a, b, _ = bed.hosts
    assert [host.run("hostname").stdout.strip() for host in bed.hosts] == ["a", "b", "c"]
    path = a.write("file", "here")
    assert a.run("cat", path).stdout == "here"
    assert b.run("cat", path, check=False).returncode != 0


def test_what_is_cut_is_cut_until_it_is_healed(bed):
    a, b, c = bed.hosts
    for host in bed.hosts:
        listen(host)
    assert reaches(a, b, 10) and reaches(b, c, 10)
    bed.cut([0], [1, 2])
    assert not reaches(a, b, 0.5)
    assert reaches(b, c, 10)
    bed.heal()
    assert reaches(a, b, 10)


def test_lossy_links_still_carry_everything_and_are_captured(bed, tmp_path):
    a, b, _ = bed.hosts
    listen(a)
    bed.disturb(delay=2, jitter=1, loss=10, reorder=10, duplicate=5)
    with bed.captured(tmp_path / "capture"):
        for _ in range(5):
            assert reaches(b, a, 30)
    assert int(bed.tell("figures").split()[4]) >= 0
    assert (tmp_path / "capture").stat().st_size > 0


def test_a_host_that_is_switched_off_is_gone_and_comes_back(bed):
    a, b, _ = bed.hosts
    server = a.start("python3", "-c", LISTEN)
    assert server.stdout.readline() == "ok\n"
    a.power_off()
    server.wait(10)
    assert not reaches(b, a, 0.5)
    a.begin()
    listen(a)
    assert reaches(b, a, 10)
    assert pathlib.Path(a.disk / "user").exists()
