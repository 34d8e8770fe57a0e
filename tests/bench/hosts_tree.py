"""Runs inside a job of PEs on several nodes and prints what a reduction of 1 MB over all takes.

From the call of the group until PE 0 has the sum; the median of several rounds.
"""

import json
import statistics
import sys
import time

import numpy

from c4py import Chare, Future, Group, Reducer, charm

ROUNDS = 10 * int(sys.argv[1]) if len(sys.argv) > 1 else 50
SIZE = 1 << 20


class Member(Chare):
    """One of those that contribute."""

    def __init__(self):
        self.data = numpy.ones(SIZE // 8)

    def give(self, future):
        self.contribute(self.data, Reducer.sum, future)


def main(_):
    group = Group(Member)

    def once():
        begun = time.perf_counter()
        future = Future()
        group.give(future)
        total = future.get()
        taken = time.perf_counter() - begun
        assert total[0] == charm.numPes()
        return taken

    once()
    print(json.dumps({'reduction_ms': 1e3 * statistics.median(once() for _ in range(ROUNDS))}))
    exit()


charm.start(main)
