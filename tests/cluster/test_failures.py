"""What happens when a part of the cluster dies: who is told, what goes on, that nothing is left."""

import signal
import time

import pytest
from harness import BUILD, wait_until

PYTHON = str(BUILD / "python")

# Every PE says where it is, then all wait for ever.
FOREVER = """
    import os, sys, time
    from c4py import Chare, Group, charm

    class Worker(Chare):
        def tell(self):
            print("PE", charm.myPe(), "of", charm.numPes(), "process", os.getpid(), flush=True)
            return charm.myPe()

    def main(args):
        workers = Group(Worker)
        workers.tell(ret=True).get()
        print("all are here", flush=True)
        charm.sleep(3600)

    charm.start(main)
"""

HELLO = """
    from c4py import charm
    def main(args):
        print("hello from", charm.numPes(), "PEs")
        exit()
    charm.start(main)
"""


def pes_of(host):
    """Processes of this host that run a program."""
    count = "cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' | grep -c 'program[.]py$'; true"
    return host.run("sh", "-c", count).stdout.strip()


def all_gone(hosts, seconds=20):
    assert wait_until(lambda: all(pes_of(host) == "0" for host in hosts), seconds), [
        pes_of(host) for host in hosts]


@pytest.fixture
def forever(cluster):
    """A program that runs on all three hosts: the job, and the command that follows it."""
    a = cluster.hosts[0]
    following = a.start("c4py", "submit", "-n", 6, a.program(FOREVER))
    for line in following.stdout:
        if line == "all are here\n":
            break
    else:
        raise AssertionError(following.stderr.read())
    job, = [id for id, job in a.jobs().items() if job["state"] == "running"]
    return job, following


def test_the_death_of_a_pe_on_another_host_names_pe_host_and_signal(cluster, forever):
    _, following = forever
    b = cluster.hosts[1]
    victim = b.run("sh", "-c", "grep -l 'program[.]py' /proc/[0-9]*/cmdline | head -1").stdout
    b.run("kill", "-KILL", victim.split("/")[2])
    _, err = following.communicate(timeout=30)
    assert following.returncode == 1
    assert "on host b was killed by signal 9 (SIGKILL)" in err
    all_gone(cluster.hosts)


def test_a_cancelled_job_ends_on_all_hosts(cluster, forever):
    job, following = forever
    cluster.hosts[0].c4py("cancel", job)
    following.communicate(timeout=30)
    assert following.returncode == 130
    all_gone(cluster.hosts)


def test_a_host_that_is_switched_off_ends_its_jobs_and_is_known_by_all(cluster, forever):
    _, following = forever
    a, b, c = cluster.hosts
    c.power_off()
    _, err = following.communicate(timeout=60)
    assert following.returncode == 1
    assert "node c was lost" in err
    a.sees({"a": "alive", "b": "alive", "c": "lost"})
    b.sees({"a": "alive", "b": "alive", "c": "lost"})
    all_gone([a, b])
    assert a.submit(HELLO, 4).stdout == "hello from 4 PEs\n"
    c.begin()
    c.start_daemon()
    for host in cluster.hosts:
        host.sees({"a": "alive", "b": "alive", "c": "alive"})
    assert a.submit(HELLO, 6).stdout == "hello from 6 PEs\n"


def test_a_daemon_that_is_killed_ends_its_jobs_and_comes_back(cluster, forever):
    _, following = forever
    a, b, _ = cluster.hosts
    b.kill_daemon()
    _, err = following.communicate(timeout=60)
    assert following.returncode == 1 and "node b was lost" in err
    all_gone(cluster.hosts)
    b.start_daemon()
    a.sees({"b": "alive"})
    assert a.submit(HELLO, 6).stdout == "hello from 6 PEs\n"


def test_guests_end_when_their_home_is_gone_and_its_queue_comes_back_with_it(cluster, forever):
    job, following = forever
    a, b, c = cluster.hosts
    waiting = a.detach(HELLO, 6)
    a.kill_daemon()
    all_gone([b, c])
    a.start_daemon()
    _, err = following.communicate(timeout=60)  # it has waited for the daemon
    assert following.returncode == 1 and "waiting for it to come back" in err
    assert a.wait_for(waiting, "completed")["exit_code"] == 0
    assert a.jobs()[job]["state"] == "failed"


def identities(host):
    return sorted((node["name"], node["key"]) for node in host.members())


def stop_for_a_while(bed, host):
    """It is stopped until all others have seen that, and then for the rest of five seconds."""
    others = [each for each in bed.hosts if each is not host]
    began = time.monotonic()
    host.signal_daemon(signal.SIGSTOP)
    for each in others:
        each.sees({host.name: "lost"})
    time.sleep(max(0, 5 - (time.monotonic() - began)))
    host.signal_daemon(signal.SIGCONT)
    for each in bed.hosts:
        each.sees({each.name: "alive" for each in bed.hosts})


def test_a_daemon_that_was_stopped_for_a_while_is_the_same_member_again(cluster):
    a, b, _ = cluster.hosts
    before = identities(a)
    stop_for_a_while(cluster, b)
    for host in cluster.hosts:
        assert identities(host) == before
    assert a.submit(HELLO, 6).stdout == "hello from 6 PEs\n"


def test_a_guest_host_that_was_stopped_for_a_while_ends_what_its_home_gave_up(cluster, forever):
    job, following = forever
    a, b, _ = cluster.hosts
    stop_for_a_while(cluster, b)
    _, err = following.communicate(timeout=60)
    assert following.returncode == 1 and "node b was lost" in err
    assert a.jobs()[job]["state"] == "failed"
    all_gone(cluster.hosts)
    assert a.submit(HELLO, 6).stdout == "hello from 6 PEs\n"


def test_a_home_that_was_stopped_for_a_while_ends_what_its_guests_gave_up(cluster, forever):
    job, following = forever
    a = cluster.hosts[0]
    stop_for_a_while(cluster, a)
    _, err = following.communicate(timeout=60)
    assert following.returncode == 1 and "was lost" in err
    assert a.jobs()[job]["state"] == "failed"
    all_gone(cluster.hosts)
    assert a.submit(HELLO, 6).stdout == "hello from 6 PEs\n"


def test_a_daemon_that_is_killed_among_five_is_known_by_all(make_bed, record_property):
    bed = make_bed(5)
    bed.form()
    killed, others = bed.hosts[4], bed.hosts[:4]
    began = time.monotonic()
    killed.kill_daemon()
    took = {}

    def known():
        for host in others:
            if host.name not in took and host.nodes()[killed.name] == "lost":
                took[host.name] = round(time.monotonic() - began, 2)
        return len(took) == len(others)

    assert wait_until(known, 30), took
    record_property("known after, in seconds", took)


SESSION = """
    import sys
    import c4py

    session = c4py.connect(pes=6)

    class Waiter(c4py.Chare):
        @c4py.coro
        def stay(self):
            c4py.Future().get()
        def host(self):
            return c4py.charm.myHost()

    waiters = session.Group(Waiter)
    futures = [waiters[pe].stay(ret=True) for pe in range(6)]
    assert len(set(waiters.host(ret=True).get())) == 3
    print("waiting", flush=True)
    for future in futures:
        try:
            future.get()
        except c4py.SessionClosed as error:
            print(error, flush=True)
        else:
            raise AssertionError
    session.close()
"""


def test_a_session_is_told_that_a_node_is_lost_and_nothing_of_it_hangs(cluster):
    a, _, c = cluster.hosts
    client = a.start("/usr/bin/python3", a.program(SESSION), env={"PYTHONPATH": PYTHON})
    assert client.stdout.readline() == "waiting\n", client.stderr.read()
    c.power_off()
    out, err = client.communicate(timeout=60)
    assert client.returncode == 0, err
    assert len(out.splitlines()) == 6
    assert all("node c was lost" in line for line in out.splitlines()), out


def test_a_call_that_waits_for_a_pe_of_a_lost_node_ends_with_the_job(cluster):
    a, _, c = cluster.hosts
    following = a.start("c4py", "submit", "-n", 6, a.program("""
        from c4py import Chare, Future, Group, charm, coro

        class Worker(Chare):
            @coro
            def stay(self):
                Future().get()

        def main(args):
            workers = Group(Worker)
            print("all are here", flush=True)
            workers[charm.numPes() - 1].stay(ret=True).get()

        charm.start(main)
    """))
    assert following.stdout.readline() == "all are here\n", following.stderr.read()
    c.power_off()
    _, err = following.communicate(timeout=60)
    assert following.returncode == 1 and "node c was lost" in err


def test_a_host_that_leaves_in_order_is_not_waited_for(cluster):
    a, b, c = cluster.hosts
    c.stop_daemon()
    a.sees({"b": "alive", "c": "left"})
    b.sees({"a": "alive", "c": "left"})
    c.start_daemon()
    a.sees({"c": "alive"})


def test_a_full_disk_on_one_host_is_told_of_and_harms_nobody_else(make_bed):
    bed = make_bed(2)
    a, b = bed.hosts
    b.shrink_disk("8m")
    bed.form()
    b.run("sh", "-c", "echo from c4py import charm > local.py")
    b.fill_disk()
    waiting = a.start("c4py", "submit", "-n", 4, a.program(HELLO))
    said = []
    for line in waiting.stderr:
        said.append(line)
        if "No space left" in line and "host b" in line:
            break
    else:
        raise AssertionError("".join(said))
    refused = b.c4py("submit", "-n", 1, "local.py", check=False)
    assert refused.returncode != 0 and "No space left" in refused.stderr
    a.sees({"a": "alive", "b": "alive"})
    b.free_disk()
    out, err = waiting.communicate(timeout=60)
    assert waiting.returncode == 0 and out == "hello from 4 PEs\n", err
