"""The network between the hosts is cut: both sides go on, and heal without anybody's help."""

import os

import pytest

ROUNDS = int(os.environ.get("C4P_CUTS", "2"))

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


def cut_round(bed, number):
    ran = bed.directory / "ran"
    near, far = bed.hosts[:2], bed.hosts[2:]
    names = []

    def submit(host, pes, label):
        names.append(f"{number}-{label}-{host.name}")
        return host, host.detach(ONCE, pes, args=[ran, names[-1]])

    jobs = [submit(host, pes, f"before{pes}") for host in bed.hosts for pes in (1, 2, 3)]
    bed.cut([0, 1], [2, 3, 4])
    jobs += [submit(host, 1, "early") for host in bed.hosts]
    for one, other in ((near, far), (far, near)):
        for host in one:
            host.sees({**{each.name: "alive" for each in one},
                       **{each.name: "lost" for each in other}}, 60)
    jobs += [submit(near[0], 4, "near"), submit(far[0], 6, "far")]
    for host, job in jobs[-2:]:
        host.wait_for(job, "completed")
    bed.heal()
    for host in bed.hosts:
        host.sees({each.name: "alive" for each in bed.hosts}, 60)
    jobs.append(submit(far[1], 10, "after"))
    lines = None
    for host, job in jobs:
        end = host.wait_for(job, "completed") if job == jobs[-1][1] else host.jobs()[job]
        if end["state"] not in ("completed", "failed"):
            end = wait_for_end(host, job)
        # What the cut went through is told so; nothing else may fail.
        assert end["state"] == "completed" or "was lost" in end["message"], end
    lines = ran.read_text().split()
    assert len(lines) == len(set(lines)), "a job ran twice"
    for (host, job), name in zip(jobs, names):
        if host.jobs()[job]["state"] == "completed":
            assert name in lines, f"{name} says that it is complete, and did not run"


def wait_for_end(host, job):
    host.c4py("wait", job, check=False, timeout=120)
    return host.jobs()[job]


@pytest.mark.timeout(900)
def test_both_sides_of_a_cut_start_jobs_and_heal_by_themselves(make_bed):
    bed = make_bed(5)
    bed.form()
    for number in range(ROUNDS):
        cut_round(bed, number)


def test_a_cut_that_is_shorter_than_the_detection_harms_no_job(make_bed):
    bed = make_bed(2)
    bed.form()
    a = bed.hosts[0]
    following = a.start("c4py", "submit", "-n", 4, a.program("""
        from c4py import Chare, Group, charm

        class Worker(Chare):
            def work(self):
                return charm.myPe()

        def main(args):
            workers = Group(Worker)
            for turn in range(40):
                assert workers.work(ret=True).get() == list(range(charm.numPes()))
                print("turn", turn, flush=True)
                charm.sleep(0.05)
            exit()

        charm.start(main)
    """))
    assert following.stdout.readline() == "turn 0\n"
    bed.cut([0], [1])
    bed.heal()
    out, err = following.communicate(timeout=60)
    assert following.returncode == 0, err
    assert out.splitlines()[-1] == "turn 39"
