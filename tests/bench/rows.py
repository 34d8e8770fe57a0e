"""Runs inside a job of 2 PEs and prints, as one JSON line, what each row of the table took.

Every row is the median of several rounds, so that one disturbance does not count.
"""

import json
import statistics
import sys
import time

import numpy

from c4py import Array, Chare, Future, Group, Reducer, charm, coro

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
SCALE = float(sys.argv[2]) if len(sys.argv) > 2 else 1.0


def times(count):
    return max(int(count * SCALE), 10)


class Player(Chare):
    """One of the two ends of a ping-pong."""

    def setup(self, other, done):
        self.other = other
        self.done = done

    def empty(self):
        if self.left:
            self.left -= 1
            self.other.pong()
        else:
            self.done(time.perf_counter() - self.begun)

    def pong(self):
        self.other.empty()

    def data(self, payload):
        if self.left:
            self.left -= 1
            self.other.data_back(payload)
        else:
            self.done(time.perf_counter() - self.begun)

    def data_back(self, payload):
        self.other.data(payload)

    def run_empty(self, count):
        self.left = count
        self.begun = time.perf_counter()
        self.empty()

    def run_data(self, payload, count):
        self.left = count
        self.begun = time.perf_counter()
        self.data(payload)

    @coro
    def run_blocking(self, count):
        begun = time.perf_counter()
        for _ in range(count):
            self.other.nothing(ret=True).get()
        return time.perf_counter() - begun

    @coro
    def run_pipelined(self, count):
        begun = time.perf_counter()
        for _ in range(count // 50):
            futures = [self.other.nothing(ret=True) for _ in range(50)]
            for future in futures:
                future.get()
        return time.perf_counter() - begun

    def nothing(self):
        pass

    def run_one_way(self, count):
        self.begun = time.perf_counter()
        nothing = self.other.nothing
        for _ in range(count):
            nothing()
        self.other.one_way_end()

    def one_way_end(self):
        self.other.one_way_over()

    def one_way_over(self):
        self.done(time.perf_counter() - self.begun)

    def run_same_pe(self, count):
        self.left = count
        self.me = self.thisProxy[self.thisIndex]
        self.begun = time.perf_counter()
        self.same_pe()

    def same_pe(self):
        self.left -= 1
        if self.left > 0:
            self.me.same_pe()
        else:
            self.done(time.perf_counter() - self.begun)

    @coro
    def run_bulk(self, size, count):
        """One-way arrays: each is sent when the one before the last has arrived."""
        payload = numpy.ones(size // 8)
        self.other.bulk(payload, ret=True).get()
        begun = time.perf_counter()
        before = None
        for _ in range(count):
            future = self.other.bulk(payload, ret=True)
            if before is not None:
                before.get()
            before = future
        before.get()
        return time.perf_counter() - begun

    def bulk(self, payload):
        pass


class Member(Chare):
    """An element of the collections that are broadcast to."""

    def __init__(self):
        self.data = None

    def empty(self, future):
        self.reduce(future)

    def vector(self, size):
        self.data = numpy.ones(size // 8)

    def sum(self, future):
        self.reduce(future, self.data, Reducer.sum)


class Trivial(Chare):
    def __init__(self):
        self.value = 1

    def resident(self):
        return resident()


class Nomad(Member):
    """An element that changes its PE."""

    def swap(self):
        self.migrate(1 - charm.myPe())


def resident():
    """Resident bytes of this process."""
    with open('/proc/self/statm') as statm:
        return int(statm.read().split()[1]) * 4096


def median_of(function):
    """Median over the rounds of what one call returns, in seconds."""
    return statistics.median(function() for _ in range(ROUNDS))


def players():
    group = Group(Player)
    ends = group[0], group[1]
    return ends


def measure(start, ends):
    """Run `start` with both ends knowing each other; what the first one reports."""
    done = Future()
    ends[0].setup(ends[1], done, awaitable=True).get()
    ends[1].setup(ends[0], done, awaitable=True).get()
    start()
    return done.get()


def point_to_point(results):
    ends = players()
    n = times(20000)
    results['empty_round_trip_us'] = 1e6 / n * median_of(
        lambda: measure(lambda: ends[0].run_empty(n), ends))
    for name, payload, count in (('bytes_1k', b'x' * 1024, 10000),
                                 ('numpy_64k', numpy.ones(8192), 4000),
                                 ('numpy_1m', numpy.ones(131072), 500)):
        m = times(count)
        results[name + '_round_trip_us'] = 1e6 / m * median_of(
            lambda: measure(lambda: ends[0].run_data(payload, m), ends))
    m = times(100)
    results['numpy_16m_one_way_gb_s'] = 16 * 2**20 * m / 1e9 / median_of(
        lambda: ends[0].run_bulk(16 * 2**20, m, ret=True).get())
    n = times(100000)
    results['one_way_per_s'] = n / median_of(lambda: measure(lambda: ends[0].run_one_way(n), ends))
    results['same_pe_per_s'] = n / median_of(lambda: measure(lambda: ends[0].run_same_pe(n), ends))
    n = times(10000)
    results['blocking_ret_us'] = 1e6 / n * median_of(
        lambda: ends[0].run_blocking(n, ret=True).get())
    n = times(20000)
    results['pipelined_ret_per_s'] = n / median_of(
        lambda: ends[0].run_pipelined(n, ret=True).get())


def collective(results):
    group = Group(Member)
    charm.awaitCreation(group)

    def rounds(proxy, method, count):
        begun = time.perf_counter()
        for _ in range(count):
            future = Future()
            method(future)
            future.get()
        return time.perf_counter() - begun

    n = times(5000)
    results['group_broadcast_reduction_per_s'] = n / median_of(
        lambda: rounds(group, group.empty, n))
    group.vector(2**20, awaitable=True).get()
    n = times(500)
    results['group_sum_1m_per_s'] = n / median_of(lambda: rounds(group, group.sum, n))
    array = Array(Member, 1000)
    charm.awaitCreation(array)
    n = times(300)
    results['array_1000_broadcast_reduction_per_s'] = n / median_of(
        lambda: rounds(array, array.empty, n))


def creation(results):
    count = times(100000)
    memory = Group(Trivial)
    charm.awaitCreation(memory)
    rates, sizes = [], []
    for _ in range(min(ROUNDS, 3)):
        before = sum(memory.resident(ret=True).get())
        begun = time.perf_counter()
        charm.awaitCreation(Array(Trivial, count))
        rates.append(count / (time.perf_counter() - begun))
        sizes.append((sum(memory.resident(ret=True).get()) - before) / count)
    results['create_per_s'] = statistics.median(rates)
    results['bytes_per_chare'] = statistics.median(sizes)


def migration(results):
    count = times(2000)
    array = Array(Nomad, count)
    charm.awaitCreation(array)
    rates = []
    for _ in range(2 * ROUNDS):
        begun = time.perf_counter()
        array.swap()
        charm.waitQD()
        rates.append(count / (time.perf_counter() - begun))
    results['migrations_per_s'] = statistics.median(rates)


def main(args):
    results = {}
    point_to_point(results)
    collective(results)
    creation(results)
    migration(results)
    print(json.dumps(results), flush=True)
    exit()


charm.start(main)
