"""Programs run across hosts as on one, though their code exists only where they came from."""

import re

import pytest
from harness import ROOT

EXAMPLES = {
    "pi.py": [10000],
    "hello/group.py": [],
    "hello/array.py": [9],
    "migration/spread.py": [24],
    "migration/visitors.py": [12, 1000],
    "stencil.py": [48, 4, 25],
    "wordcount.py": ["--top", 50],
}


def comparable(output):
    """What of a program's output does not depend on time, nor on who was first."""
    output = re.sub(r"[\d.,]+ (s\b|million cells a second)", "TIME", output)
    return sorted(re.sub(r"(on|from) PE \d+", "PE", line) for line in output.splitlines())


@pytest.fixture
def examples(cluster):
    """Run an example on six PEs: a function of its name and the command to run it with."""
    a = cluster.hosts[0]
    a.copy(ROOT / "examples", "programs")

    def run(name, command, **options):
        return a.c4py(command, "-n", 6, f"programs/{name}", *EXAMPLES[name], timeout=120, **options)

    return run


def test_every_example_gives_across_hosts_what_it_gives_on_one(cluster, examples):
    present = {path.relative_to(ROOT / "examples").as_posix()
               for path in (ROOT / "examples").rglob("*.py")}
    assert present == set(EXAMPLES)
    for name in EXAMPLES:
        alone, across = examples(name, "run"), examples(name, "submit")
        assert comparable(across.stdout) == comparable(alone.stdout), name


def test_every_example_is_right_over_slow_and_lossy_links(cluster, examples):
    cluster.disturb(delay=50, loss=5, reorder=10)
    for name in EXAMPLES:
        alone, across = examples(name, "run"), examples(name, "submit")
        assert comparable(across.stdout) == comparable(alone.stdout), name


def test_a_program_knows_the_hosts_that_it_runs_on(cluster):
    done = cluster.hosts[0].submit("""
        import socket
        from c4py import Chare, Group, Reducer, charm

        class Where(Chare):
            def tell(self, future):
                fact = (charm.myPe(), charm.myHost(), socket.gethostname())
                self.contribute(fact, Reducer.gather, future)

        def main(args):
            from c4py import Future
            future = Future()
            Group(Where).tell(future)
            print(future.get())
            print(charm.numHosts(), [charm.getHostPes(host) for host in range(charm.numHosts())],
                  [charm.getPeHost(pe) for pe in range(charm.numPes())],
                  [charm.getPeHostRank(pe) for pe in range(charm.numPes())],
                  [charm.getHostFirstPe(host) for host in range(charm.numHosts())],
                  [charm.getHostNumPes(host) for host in range(charm.numHosts())])
            exit()

        charm.start(main)
    """, 6)
    facts, topology = done.stdout.splitlines()
    facts = eval(facts)
    assert [(pe, host) for pe, host, _ in facts] == [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (5, 2)]
    names = [name for _, _, name in facts]
    assert names[0] == "a" and names[0::2] == names[1::2] and sorted(names[0::2]) == ["a", "b", "c"]
    assert topology == "3 [[0, 1], [2, 3], [4, 5]] [0, 0, 1, 1, 2, 2] [0, 1, 0, 1, 0, 1] " \
                       "[0, 2, 4] [2, 2, 2]"


def test_a_program_finds_its_modules_and_files_on_the_other_hosts(cluster):
    a = cluster.hosts[0]
    a.write("project/helpers/__init__.py", "from .deep import answer")
    a.write("project/helpers/deep.py", "def answer(): return 42")
    a.write("project/data/numbers.txt", "7")
    a.write("project/main.py", """
        import helpers
        from c4py import Chare, Future, Group, Reducer, charm

        class Reader(Chare):
            def read(self, future):
                with open("data/numbers.txt") as file:
                    value = int(file.read()) * helpers.answer()
                self.contribute(value, Reducer.sum, future)

        def main(args):
            future = Future()
            Group(Reader).read(future)
            print(future.get())
            exit()

        charm.start(main)
    """)
    done = a.run("sh", "-c", "cd project && c4py submit -n 6 --include data main.py")
    assert done.stdout == f"{6 * 7 * 42}\n"


def test_a_reduction_passes_through_hosts_whose_pes_compute(make_bed):
    """They compute until the result is known: it could not be, if it needed one of them."""
    bed = make_bed(4)
    bed.form()
    flag = bed.directory / "known"
    done = bed.hosts[0].submit("""
        import os, sys, time
        import numpy
        from c4py import Chare, Future, Group, Reducer, charm

        class Worker(Chare):
            def work(self, flag, future):
                self.contribute(numpy.ones(131072), Reducer.sum, future)
                deadline = time.monotonic() + 60
                while charm.myPe() != 0 and not os.path.exists(flag):
                    assert time.monotonic() < deadline, "the result needs this PE"
                    time.sleep(0.01)

        def main(args):
            future = Future()
            Group(Worker).work(args[1], future)
            total = future.get().sum()
            open(args[1], "w").close()
            print(int(total))
            exit()

        charm.start(main)
    """, 8, args=[flag], timeout=120)
    assert int(done.stdout) == 8 * 131072
