"""Runs inside a job of 2 PEs on two nodes and prints, as one JSON line, what each row took.

Every row is the median of several rounds.
"""

import json
import statistics
import sys
import time

import numpy

from c4py import Chare, Future, Group, charm, coro

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
SCALE = float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
BULK = 16 << 20


class Player(Chare):
    """One of the two ends."""

    def setup(self, other, done):
        self.other = other
        self.done = done

    def host(self):
        return charm.myHost()

    def empty(self):
        if self.left:
            self.left -= 1
            self.other.pong()
        else:
            self.done(time.perf_counter() - self.begun)

    def pong(self):
        self.other.empty()

    def run_empty(self, count):
        self.left = count
        self.begun = time.perf_counter()
        self.empty()

    def nothing(self):
        pass

    def run_one_way(self, count):
        self.begun = time.perf_counter()
        nothing = self.other.nothing
        for _ in range(count):
            nothing()
        self.other.end()

    def end(self):
        self.other.over()

    def over(self):
        self.done(time.perf_counter() - self.begun)

    @coro
    def run_bulk(self, count):
        """One-way arrays: each is sent when the one before the last has arrived."""
        payload = numpy.ones(BULK // 8)
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


def main(_):
    players = Group(Player)

    def timed(start, count):
        done = Future()
        players[0].setup(players[1], done, ret=True).get()
        players[1].setup(players[0], done, ret=True).get()
        start(count)
        return done.get() / count

    def median(measure, count):
        count = max(int(count * SCALE), 4)
        measure(count)                      # warms up
        return statistics.median(measure(count) for _ in range(ROUNDS))

    print(json.dumps({
        'pes_on': [players[pe].host(ret=True).get() for pe in range(2)],
        'round_trip_us': 1e6 * median(lambda count: timed(players[0].run_empty, count), 5000),
        'one_way_per_s': 1 / median(lambda count: timed(players[0].run_one_way, count), 200000),
        'numpy_16m_gb_s': BULK / 1e9 / median(
            lambda count: players[0].run_bulk(count, ret=True).get() / count, 16),
    }))
    exit()


charm.start(main)
