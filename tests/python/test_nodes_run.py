"""Runs on several nodes of one private daemon (c4py run --nodes): for who looks on, as on one."""

import os
import pathlib
import signal

import pytest
from harness import ROOT

SLEEP = """
import os, time
print(f"up {os.environ['C4P_PE']}", flush=True)
time.sleep(600)
"""

# PE `who` ends the program with `code`.
EXIT = """
import sys
from charm4py import charm, Chare, Group

class Ender(Chare):
    def end(self, code):
        charm.exit(code)

def main(args):
    Group(Ender)[int(args[1])].end(int(args[2]))

charm.start(main)
"""

RING = """
import numpy as np
from charm4py import charm, Chare, Array, Reducer, Future

class Link(Chare):
    def __init__(self, size, done):
        self.size, self.done = size, done

    def turn(self, data, left):
        if left == 0:
            self.done(data)
        else:
            self.thisProxy[(self.thisIndex[0] + 1) % self.size].turn(data + 1, left - 1)

    def total(self, done):
        self.reduce(done, self.thisIndex[0], Reducer.sum)

def main(args):
    size = 4 * charm.numPes()
    done, total = Future(), Future()
    links = Array(Link, size, args=[size, done])
    links[0].turn(np.zeros(100000), 3 * size)
    links.total(total)
    print(done.get().sum() == 100000 * 3 * size, total.get() == size * (size - 1) // 2)
    exit()

charm.start(main)
"""


def nodes(count):
    return ("--nodes", count)


def pe_of(pid):
    """The number of the PE that a process is."""
    environment = pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next(int(entry[7:]) for entry in environment if entry.startswith(b"C4P_PE="))


@pytest.mark.parametrize("pes, count", [(2, 1), (2, 2), (5, 2), (4, 4), (7, 3)])
def test_pes_are_dealt_to_the_nodes_in_blocks_and_the_first_have_more(run_program, pes, count):
    done = run_program(
        """
import mmap, os, struct
from charm4py import charm
descriptor = int(os.environ["C4P_SEGMENT"])
segment = mmap.mmap(descriptor, 4096, prot=mmap.PROT_READ)
epoch, pes, first, local, node, nodes = struct.unpack_from("<6I", segment, 16)
print(os.environ["C4P_PE"], pes, first, local, node, nodes)
""",
        pes,
        options=nodes(count),
    )
    assert done.returncode == 0, done.stderr
    lines = sorted([int(word) for word in line.split()] for line in done.stdout.splitlines())
    sizes = [pes // count + (node < pes % count) for node in range(count)]
    expected = []
    for node, size in enumerate(sizes):
        first = sum(sizes[:node])
        expected += [[pe, pes, first, size, node, count] for pe in range(first, first + size)]
    assert lines == expected


def test_there_are_no_more_nodes_than_pes(run_program):
    done = run_program("print('never')", 2, options=nodes(3))
    assert done.returncode == 1 and done.stdout == ""
    assert "2 PEs cannot be spread over 3 nodes: each has at least one" in done.stderr


def test_without_a_number_of_pes_each_node_has_one_at_least(run_c4py, tmp_path):
    program = tmp_path / "program.py"
    program.write_text("print('here')\n")
    done = run_c4py("run", "--nodes", 9, program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("here") >= 9


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("example", ["hello/array.py", "hello/group.py", "pi.py", "wordcount.py"])
def test_examples_say_the_same_on_several_nodes(run_c4py, example, count):
    def words(done):
        assert done.returncode == 0, done.stderr
        return sorted(line.partition(" in ")[0] for line in done.stdout.splitlines())

    program = ROOT / "examples" / example
    alone = run_c4py("run", "-n", 4, program)
    assert words(run_c4py("run", "-n", 4, *nodes(count), program)) == words(alone)


@pytest.mark.parametrize("pes, count", [(2, 2), (6, 3)])
def test_messages_arrays_and_reductions_go_round_all_nodes(run_program, pes, count):
    done = run_program(RING, pes, options=nodes(count))
    assert (done.returncode, done.stdout) == (0, "True True\n"), done.stderr


@pytest.mark.parametrize("who", range(4))
@pytest.mark.parametrize("code", [0, 7])
def test_a_pe_of_any_node_ends_the_program_with_its_code(run_program, who, code):
    done = run_program(EXIT, 4, options=nodes(4), args=(who, code))
    assert (done.returncode, done.stderr) == (code, "")


@pytest.mark.parametrize("victim", range(4))
def test_a_killed_pe_of_any_node_ends_all_with_its_last_words(start, victim):
    running = start(
        """
import os, sys, time
for number in range(30):
    print(os.environ["C4P_PE"], "says", number, file=sys.stderr)
sys.stderr.flush()
print("up", flush=True)
time.sleep(600)
""",
        4,
        options=nodes(2),
    )
    assert running.says(b"up\nup\nup\nup\n")
    os.kill(next(pid for pid in running.pes if pe_of(pid) == victim), signal.SIGKILL)
    code, _, err = running.finish(10)
    message = err.partition("c4py:")[2].splitlines()
    assert code == 1
    assert f"PE {victim} on host {os.uname().nodename} was killed by signal 9" in message[0]
    assert message[1:] == [f"{victim} says {line}" for line in range(20, 30)]


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_cancel_reaches_every_node(start, number, code):
    running = start(SLEEP, 4, options=nodes(4))
    for pe in range(4):
        assert running.says(f"up {pe}\n".encode())
    running.signal(number)
    assert running.finish(10)[0] == code


def test_what_all_pes_say_before_the_start_is_said_once(run_program):
    done = run_program("raise ValueError('wrong')", 4, options=nodes(2))
    assert done.returncode == 1
    assert done.stderr.count("ValueError: wrong") == 1
    assert "the same on PEs 1-3" in done.stderr


def test_standard_input_is_pe_0s(run_program):
    program = "import sys; data = sys.stdin.read(); data and print(len(data))"
    done = run_program(program, 3, options=nodes(3), input="x" * 200000)
    assert (done.returncode, done.stdout) == (0, "200000\n")


def test_output_of_all_nodes_comes_whole(run_program):
    program = """
import os
pe = os.environ["C4P_PE"]
for number in range(3000):
    print(pe, number, "x" * 60)
"""
    done = run_program(program, 4, options=nodes(4))
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    for pe in range(4):
        mine = [line for line in lines if line.startswith(f"{pe} ")]
        assert mine == [f"{pe} {number} {'x' * 60}" for number in range(3000)]


def test_a_corrupt_segment_of_any_node_ends_the_job(run_c4py, fake_pe):
    done = run_c4py("run", "-n", 2, *nodes(2), fake_pe, "garbage", 3)
    assert done.returncode == 1
    assert done.stderr.startswith("c4py: ")


def test_a_service_says_that_it_is_no_playground(daemon):
    """The option is of c4py run alone."""
    done = daemon.c4py("submit", "--nodes", 2, "-n", 2, "app.py")
    assert done.returncode == 2
    assert "--nodes" in done.stderr
