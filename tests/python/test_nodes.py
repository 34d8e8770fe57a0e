"""Programs whose PEs are on several nodes: what is different there, and must not be seen.

The tests of the model run on several nodes too, with C4P_NODES=2 in the environment.
"""

import pytest

HEAD = '''
import os, pathlib, sys, time
import numpy
from c4py import charm, Chare, Group, Array, Future, Reducer, coro
'''


@pytest.fixture
def spread(run_program):
    """Run a program on some PEs of some nodes; what it printed, if all went well."""

    def run(source, pes, nodes, code=0, options=()):
        ran = run_program(HEAD + source, pes, options=("--nodes", nodes, *options))
        assert ran.returncode == code, ran
        return ran.stderr if code else ran.stdout

    return run


@pytest.mark.parametrize("pes, nodes", [(3, 2), (5, 5), (9, 6), (12, 12)])
def test_broadcasts_of_all_sizes_keep_the_order_of_each_sender(spread, pes, nodes):
    # Straight to each node, along a tree, and to single PEs: always in the order of the calls.
    assert spread('''
class Sink(Chare):
    def __init__(self):
        self.seen = []
    def take(self, number, data):
        assert (data == number).all()
        self.seen.append(number)
    def cast(self, sinks, base):
        for i in range(12):
            sinks.take(base + 2 * i, numpy.full([1, 100, 8000, 40000][i % 4], float(base + 2 * i)))
            sinks[(charm.myPe() + i) % charm.numPes()].take(base + 2 * i + 1,
                                                           numpy.full(9, base + 2.0 * i + 1))
    def told(self):
        return self.seen
def main(args):
    sinks = Group(Sink)
    for pe in range(charm.numPes()):
        sinks[pe].cast(sinks, 1000 * pe)
    charm.waitQD()
    for pe, seen in enumerate(sinks.told(ret=True).get()):
        for sender in range(charm.numPes()):
            whole = [2 * i for i in range(12)]
            single = [2 * i + 1 for i in range(12) if (sender + i) % charm.numPes() == pe]
            assert [number - 1000 * sender for number in seen
                    if number // 1000 == sender] == sorted(whole + single)
    print('in order')
    exit()
charm.start(main)
''', pes, nodes) == "in order\n"


@pytest.mark.parametrize("pes, nodes", [(8, 4), (14, 7)])
def test_reductions_complete_through_nodes_whose_pes_are_busy(spread, tmp_path, pes, nodes):
    # All PEs but the first compute until main has the result.
    assert spread(f'''
flag = pathlib.Path({str(tmp_path)!r}) / 'done'
class Worker(Chare):
    def work(self, target):
        self.contribute(numpy.full(3000, charm.myPe() + 1.0), Reducer.sum, target)
        deadline = time.monotonic() + 30
        while charm.myPe() > 0 and not flag.exists():
            assert time.monotonic() < deadline, 'the reduction waits for PEs that are busy'
def main(args):
    result = Future()
    Group(Worker).work(result)
    n = charm.numPes()
    print((result.get() == n * (n + 1) // 2).all())
    flag.touch()
    exit()
charm.start(main)
''', pes, nodes) == "True\n"


@pytest.mark.parametrize("pes, nodes", [(4, 2), (7, 7), (13, 6)])
def test_every_reducer_and_every_target_over_nodes(spread, pes, nodes):
    assert spread('''
def longest(contributions):
    return max(contributions, key=len)
Reducer.addReducer(longest)
class Target(Chare):
    def __init__(self, done):
        self.done = done
    def take(self, value):
        self.done.send((charm.myPe(), value))
    def nothing(self):
        self.done.send(charm.myPe())
class Worker(Chare):
    def give(self, data, name, target):
        mine = data[self.thisIndex[0]] if data is not None else None
        self.contribute(mine, getattr(Reducer, name), target)
    @coro
    def all(self, data, name):
        return self.allreduce(data[self.thisIndex[0]], getattr(Reducer, name)).get()
def reduced(workers, data, name):
    result = Future()
    workers.give(data, name, result)
    return result.get()
def main(args):
    n, elements = charm.numPes(), 3 * charm.numPes() + 1
    workers = Array(Worker, elements)
    numbers = list(range(elements))
    assert reduced(workers, numbers, 'sum') == sum(numbers)
    assert reduced(workers, [2**62] * elements, 'sum') == 2**62 * elements
    assert reduced(workers, [float(x) for x in numbers], 'max') == elements - 1
    assert reduced(workers, [1, 2.5] + numbers[2:], 'min') == 1
    assert reduced(workers, [x > 0 for x in numbers], 'logical_and') is False
    assert reduced(workers, [x == 2 for x in numbers], 'logical_xor') is True
    arrays = [numpy.full((7, 3), x, 'i2') for x in numbers]
    assert reduced(workers, arrays, 'sum').dtype == numpy.int16
    assert (reduced(workers, arrays, 'sum') == sum(numbers)).all()
    one = reduced(workers, [numpy.array([x]) for x in numbers], 'sum')
    assert type(one) is numpy.int64 and one == sum(numbers)
    halves = reduced(workers, [numpy.full(3, x, 'e') for x in numbers], 'max')
    assert halves.dtype == numpy.float16 and (halves == elements - 1).all()
    lists = reduced(workers, [[x, -x] for x in numbers], 'min')
    assert list(lists) == [0, 1 - elements]
    words = [f'{x:03}' for x in numbers]
    assert reduced(workers, words, 'gather') == words
    assert reduced(workers, ['x' * x for x in numbers], 'longest') == 'x' * (elements - 1)
    assert reduced(workers, None, 'nop') is None
    for name, expected in (('sum', sum(numbers)), ('gather', numbers)):
        assert workers.all(numbers, name, ret=True).get() == [expected] * elements
        for pe in (0, n - 1, n // 2):
            done = Future()
            target = Chare(Target, onPE=pe, args=[done])
            workers.give(numbers, name, target.take)
            assert done.get() == (pe, expected)
        done = Future(n)
        workers.give(numbers, name, Group(Target, args=[done]).take)
        assert sorted(done.get()) == [(pe, expected) for pe in range(n)]
    done = Future(n)
    workers.give(None, 'nop', Group(Target, args=[done]).nothing)
    assert sorted(done.get()) == list(range(n))
    few = Array(Worker, 2)
    assert reduced(few, [1, 2], 'sum') == 3
    print('all right')
    exit()
charm.start(main)
''', pes, nodes) == "all right\n"


def test_floating_point_results_do_not_depend_on_who_comes_last(spread):
    assert spread('''
import random
class Worker(Chare):
    def give(self, target, pause):
        time.sleep(pause)
        self.contribute(0.1 * (self.thisIndex[0] + 1) ** 3, Reducer.sum, target)
def main(args):
    workers = Array(Worker, 24)
    results = set()
    for _ in range(30):
        done = Future()
        for i in range(24):
            workers[i].give(done, random.choice([0, 0.001]))
        results.add(done.get())
    print(len(results))
    exit()
charm.start(main)
''', 8, 4) == "1\n"


@pytest.mark.parametrize("one, other", [
    ("gather", "sum"), ("sum", "max"), ("nop", "gather"), ("sum", "nop")])
def test_nodes_that_mean_different_reducers_end_the_program(spread, one, other):
    said = spread(f'''
class Worker(Chare):
    def give(self, target):
        name = {one!r} if charm.myPe() < 2 else {other!r}
        self.contribute(None if name == 'nop' else 1, getattr(Reducer, name), target)
def main(args):
    done = Future()
    Group(Worker).give(done)
    done.get()
charm.start(main)
''', 4, 2, code=1)
    assert "reduction 1 of Worker" in said and "must make the same calls" in said


def test_a_deadlock_names_who_has_not_contributed_on_another_node(spread):
    said = spread('''
class Worker(Chare):
    def give(self, target):
        if charm.myPe() < 4:
            self.contribute(1, Reducer.sum, target)
def main(args):
    done = Future()
    Group(Worker).give(done)
    done.get()
charm.start(main)
''', 6, 3, code=1)
    assert "deadlock" in said
    assert "reduction 1 of Worker lacks 2 of its contributors: Worker[4] (PE 4)" in said


@pytest.mark.parametrize("pes, nodes", [(2, 2), (6, 3), (8, 8)])
def test_quiescence_is_seen_when_the_last_message_of_any_node_is_handled(spread, pes, nodes):
    assert spread('''
class Walker(Chare):
    def __init__(self):
        self.handled = 0
    def step(self, left):
        self.handled += 1
        if left % 5 == 0:
            time.sleep(0.002)
        if left:
            self.thisProxy[(charm.myPe() * 7 + left) % charm.numPes()].step(left - 1)
    def told(self):
        return self.handled
def main(args):
    walkers = Group(Walker)
    for turn in range(1, 6):
        for i in range(10):
            walkers[i % charm.numPes()].step(20)
        charm.waitQD()
        assert sum(walkers.told(ret=True).get()) == turn * 210
    print('quiet')
    exit()
charm.start(main)
''', pes, nodes) == "quiet\n"


def test_a_program_that_nobody_ends_is_over_when_a_timer_of_another_node_has_fired(spread):
    assert spread('''
class Late(Chare):
    def later(self):
        charm.scheduleCallableAfter(self.thisProxy[self.thisIndex].last, 0.3)
    def last(self):
        print('fired', flush=True)
def main(args):
    Group(Late)[charm.numPes() - 1].later()
charm.start(main)
''', 3, 3) == "fired\n"


@pytest.mark.parametrize("case", range(4))
def test_order_reductions_and_quiescence_hold_with_delays_at_every_turn(spread, case):
    delays = f"C4P_TEST_DELAYS={case},0.05,300"
    assert spread('''
class Ring(Chare):
    @coro
    def run(self, rounds, data):
        total = 0
        for i in range(rounds):
            got = self.allreduce(data * (charm.myPe() + 1), Reducer.sum).get()
            total += float(got[0])
            self.thisProxy[(charm.myPe() + 1) % charm.numPes()].note(i, data)
        return total
    def note(self, i, data):
        self.notes = getattr(self, 'notes', 0)
        assert i == self.notes
        self.notes += 1
def main(args):
    n = charm.numPes()
    ring = Group(Ring)
    assert ring.run(20, numpy.ones(9000), ret=True).get() == [20 * n * (n + 1) / 2] * n
    charm.waitQD()
    print('right')
    exit()
charm.start(main)
''', 5, 5, options=("--env", delays)) == "right\n"


@pytest.mark.parametrize("pes, nodes", [(3, 3), (8, 4), (12, 12)])
def test_parts_of_reductions_that_wait_leave_room_for_what_they_wait_for(spread, pes, nodes):
    # As much as each PE may have under way, and the last one comes when all others are done.
    assert spread('''
SIZE, COUNT = 60000, 7
class Worker(Chare):
    def __init__(self):
        self.others = 0
    def work(self, workers, targets):
        self.targets = targets
        if charm.myPe() < charm.numPes() - 1:
            self.give()
        workers[charm.numPes() - 1].done()
    def done(self):
        self.others += 1
        if self.others == charm.numPes():
            self.give()
    def give(self):
        for target in self.targets:
            self.contribute(numpy.full(SIZE, charm.myPe() + 1.0), Reducer.sum, target)
def main(args):
    targets = [Future() for _ in range(COUNT)]
    workers = Group(Worker)
    workers.work(workers, targets)
    n = charm.numPes()
    print(all((target.get() == n * (n + 1) // 2).all() for target in targets))
    exit()
charm.start(main)
''', pes, nodes, options=("--segment-size", "4M")) == "True\n"


@pytest.mark.parametrize("pes, nodes", [(4, 4), (8, 5), (12, 12)])
def test_results_and_broadcasts_that_fill_the_memory_of_all_nodes_come_through(spread, pes, nodes):
    # Everybody sends to everybody, straight and along trees, in between come large allreduces.
    assert spread('''
SIZES = [1, 60000, 9000, 3000, 30000]
class Worker(Chare):
    def __init__(self):
        self.seen = [0] * charm.numPes()
        self.sums = 0
    def work(self, workers, rounds):
        for i in range(rounds):
            data = numpy.full(SIZES[(i + charm.myPe()) % 5], float(i))
            workers.take(charm.myPe(), i, data)
            self.contribute(numpy.full(SIZES[i % 5], i + 1.0), Reducer.sum, self.thisProxy.total)
    def take(self, sender, number, data):
        assert self.seen[sender] == number and (data == number).all()
        self.seen[sender] += 1
    def total(self, data):
        assert (data == charm.numPes() * (self.sums + 1)).all(), (data[0], self.sums)
        self.sums += 1
    def told(self):
        return self.seen + [self.sums]
def main(args):
    workers = Group(Worker)
    for turn in range(4):
        workers.work(workers, 5)
        charm.waitQD()
        for told in workers.told(ret=True).get():
            assert set(told) == {5}, told
        workers = Group(Worker)
    print('all')
    exit()
charm.start(main)
''', pes, nodes, options=("--segment-size", "4M")) == "all\n"
