"""The network between the hosts is cut: both sides go on, and heal without anybody's help."""

import os
import re
import time

import pytest
from harness import wait_until

ROUNDS = int(os.environ.get("C4P_CUTS", "2"))
HOLD = float(os.environ.get("C4P_CUT_SECONDS", "0"))  # a cut lasts at least so long

# Says once that it ran, in a file that all hosts can reach.
ONCE = """
    import os, sys
    from c4py import charm
    def main(args):
        with open(args[1], "a") as file:
            file.write(args[2] + "\\n")
        exit()
    charm.start(main)
"""

# All PEs talk to each other until a file is there.
TRAFFIC = """
    import os
    from c4py import Chare, Group, charm

    class Worker(Chare):
        def work(self, data):
            return charm.myPe()

    def main(args):
        workers = Group(Worker)
        turn = 0
        while not os.path.exists(args[1]):
            assert workers.work(bytes(50000), ret=True).get() == list(range(charm.numPes()))
            if turn == 0:
                print("turn", turn, flush=True)
            turn += 1
        print(turn, "turns", flush=True)
        exit()

    charm.start(main)
"""


def traffic(host, pes, end):
    """Start it, and wait until it runs: the command that follows it."""
    following = host.start("c4py", "submit", "-n", pes, host.program(TRAFFIC), end)
    line = following.stdout.readline()
    assert line == "turn 0\n", line + following.stderr.read()
    return following


class Round:
    """One cut between the first two hosts and the other three."""

    def __init__(self, bed, number):
        self.bed = bed
        self.number = number
        self.near, self.far = bed.hosts[:2], bed.hosts[2:]
        self.ran = bed.directory / "ran"
        self.jobs = {}  # name -> (host, id)

    def submit(self, host, pes, label):
        name = f"{self.number}-{label}-{host.name}"
        self.jobs[name] = host, host.detach(ONCE, pes, args=[self.ran, name])
        return name

    def state(self, name):
        host, job = self.jobs[name]
        return host.jobs()[job]

    def complete(self, name):
        host, job = self.jobs[name]
        host.wait_for(job, "completed")

    def wait_for_cut(self):
        for one, other in ((self.near, self.far), (self.far, self.near)):
            for host in one:
                host.sees({**{each.name: "alive" for each in one},
                           **{each.name: "lost" for each in other}}, 60)

    def wait_for_heal(self):
        for host in self.bed.hosts:
            host.sees({each.name: "alive" for each in self.bed.hosts}, 60)
            assert len(host.nodes()) == len(self.bed.hosts)

    def live_apart(self, until):
        """Both sides start jobs on all that they have, again and again."""
        turn = 0
        while turn == 0 or time.monotonic() < until:
            names = [self.submit(self.near[0], 4, f"near{turn}"),
                     self.submit(self.far[0], 6, f"far{turn}")]
            for name in names:
                self.complete(name)
            turn += 1

    def judge(self):
        """Nothing ran twice, nothing that says that it ran did not, all else was told why."""
        lines = self.ran.read_text().split()
        assert len(lines) == len(set(lines)), "a job ran twice"
        for name, (host, job) in self.jobs.items():
            host.c4py("wait", job, check=False, timeout=120)
            end = self.state(name)
            assert end["state"] == "completed" or "was lost" in end["message"], (name, end)
            assert end["state"] != "completed" or name in lines, f"{name} did not run"

    def run(self):
        end = self.bed.directory / f"end{self.number}"
        near, far = self.near, self.far
        here = traffic(near[1], 2, end)  # all on one side
        across = traffic(near[0], 6, end)  # more than are free on this side
        for host in self.bed.hosts:
            for pes in (1, 2, 3):
                self.submit(host, pes, f"before{pes}")
        self.bed.cut([0, 1], [2, 3, 4])
        until = time.monotonic() + HOLD
        for host in self.bed.hosts:
            self.submit(host, 1, "early")
        self.wait_for_cut()
        _, err = across.communicate(timeout=60)
        assert across.returncode == 1 and "was lost" in err, err
        assert here.poll() is None, here.stderr.read()
        end.touch()
        out, err = here.communicate(timeout=60)
        assert here.returncode == 0 and "turns" in out, err
        self.live_apart(until)
        self.bed.heal()
        self.wait_for_heal()
        self.complete(self.submit(far[1], 10, "after"))
        self.judge()


@pytest.mark.timeout(120 + ROUNDS * (120 + HOLD))
def test_both_sides_of_a_cut_start_jobs_and_heal_by_themselves(make_bed):
    bed = make_bed(5)
    bed.form()
    for number in range(ROUNDS):
        Round(bed, number).run()


def test_a_cut_that_is_shorter_than_the_detection_harms_no_job(make_bed):
    bed = make_bed(2)
    bed.form()
    end = bed.directory / "end"
    following = traffic(bed.hosts[0], 4, end)
    for _ in range(5):
        bed.cut([0], [1])
        bed.heal()
    end.touch()
    out, err = following.communicate(timeout=60)
    assert following.returncode == 0 and out.endswith(" turns\n"), err


def break_connections(host, port):
    """The kernel ends all of the host's connections to this port of others; how many."""
    done = host.run("ss", "-K", "-H", "-t", "state", "established", "dport", "=", port)
    return len(done.stdout.splitlines())


def test_control_connections_that_break_harm_no_job(make_bed):
    bed = make_bed(2)
    bed.form()
    end = bed.directory / "end"
    following = traffic(bed.hosts[0], 4, end)
    for host in bed.hosts * 2:
        # A connection that is made anew may break again.
        assert wait_until(lambda host=host: break_connections(host, 7227), 30), "ss -K does nothing"
    end.touch()
    out, err = following.communicate(timeout=60)
    assert following.returncode == 0 and out.endswith(" turns\n"), err


def test_data_connections_that_break_end_a_job_with_a_reason_or_not_at_all(make_bed):
    bed = make_bed(2)
    bed.form()
    end = bed.directory / "end"
    following = traffic(bed.hosts[0], 4, end)
    for host in bed.hosts:
        assert wait_until(lambda host=host: break_connections(host, 7228)
                          or following.poll() is not None, 30), "ss -K does nothing"
    end.touch()
    out, err = following.communicate(timeout=60)
    if following.returncode == 0:
        assert out.endswith(" turns\n")
    else:
        assert re.search("node [ab] was lost to node [ab]", err), err
        assert "on the way (submit the job again)" in err, err
    for host in bed.hosts:
        host.sees({"a": "alive", "b": "alive"})
        assert host.submit(TRAFFIC, 4, args=[end]).stdout.endswith(" turns\n")


def unsent(host, port):
    """Bytes that the host's connections to this port of others have not been rid of."""
    done = host.run("ss", "-H", "-t", "state", "established", "dport", "=", port)
    return sum(int(line.split()[1]) for line in done.stdout.splitlines())


@pytest.mark.timeout(180)
def test_data_lost_with_its_connection_ends_the_job_naming_both_hosts_and_a_remedy(make_bed):
    bed = make_bed(2)
    bed.form()
    end = bed.directory / "end"
    following = traffic(bed.hosts[0], 4, end)

    def lose():
        """What is on its way while nothing passes is lost with its connection, unless it was just
        the acknowledgement that had not passed."""
        bed.cut([0], [1])
        assert wait_until(lambda: any(unsent(host, 7228) for host in bed.hosts), 5)
        for host in bed.hosts:
            break_connections(host, 7228)
        bed.heal()
        return wait_until(lambda: following.poll() is not None, 5)

    assert wait_until(lose, 60)
    out, err = following.communicate()
    assert following.returncode == 1 and "turns" not in out
    assert re.search(r"node (a was lost to node b|b was lost to node a) while it ran PEs \d-\d of "
                     r"this job: (it says of this node: )?what it sent was lost on the way "
                     r"\(submit the job again\)", err), err
    for host in bed.hosts:
        host.sees({"a": "alive", "b": "alive"})
    end.touch()
    assert bed.hosts[0].submit(TRAFFIC, 4, args=[end]).stdout.endswith(" turns\n")


@pytest.mark.timeout(180)
def test_two_hosts_that_only_others_reach_have_no_job_together_for_long(make_bed):
    """Membership calls all alive, since the third reaches both: the job ends by their silence."""
    bed = make_bed(3)
    bed.form()
    a, b, _ = bed.hosts
    following = a.start("c4py", "submit", "-n", 6, a.program("""
        from c4py import Chare, Group, charm

        class Worker(Chare):
            def here(self):
                return charm.myPe()

        def main(args):
            workers = Group(Worker)
            while True:
                assert workers.here(ret=True).get() == list(range(charm.numPes()))
                print("round", flush=True)
                charm.sleep(0.05)

        charm.start(main)
    """))
    assert following.stdout.readline() == "round\n"
    bed.cut([0], [1])
    _, err = following.communicate(timeout=120)
    assert following.returncode == 1
    assert "node b was lost" in err and "does not answer" in err, err
    bed.heal()
    for host in bed.hosts:
        host.sees({"a": "alive", "b": "alive", "c": "alive"}, 60)
