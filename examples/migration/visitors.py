"""Chares that travel to the data: each visits every PE and looks there for what it wants.

    c4py run -n 4 examples/migration/visitors.py [number of visitors] [numbers on each PE]

Every PE holds a large table that never leaves it.  A visitor carries the little that it has found
so far from PE to PE: it reads the table where it is, calls migrate(), and goes on in migrated().
"""

import sys
import time

import numpy as np

from c4py import Array, Chare, Group, Future, Reducer, charm

tables = []                     # this PE's table, for all that come here


def make_table(pe, size):
    """The numbers that a PE holds: any that others can make again, to check the result."""
    return np.random.default_rng(pe).random(size)


class Keeper(Chare):
    """Has one PE make its table."""

    def prepare(self, size):
        tables.append(make_table(charm.myPe(), size))


class Visitor(Chare):
    """Wants the number nearest to its own."""

    def start(self, result):
        self.result = result
        self.wanted = (self.thisIndex[0] + 0.5) / self.thisProxy.shape[0]
        self.nearest, self.place = np.inf, None
        self.left = charm.numPes()
        self.look()

    def look(self):
        """Read the table of this PE, then go to the next one."""
        table, = tables
        position = np.abs(table - self.wanted).argmin()
        if abs(table[position] - self.wanted) < abs(self.nearest - self.wanted):
            self.nearest, self.place = float(table[position]), charm.myPe()
        self.left -= 1
        if self.left > 0:
            self.migrate((charm.myPe() + 1) % charm.numPes())
        else:
            self.reduce(self.result, (self.wanted, self.nearest, self.place), Reducer.gather)

    def migrated(self):
        """The runtime calls this on the new PE."""
        self.look()


def main(args):
    visitors, size = (args[1:] + ['8', '1000000'][len(args) - 1:])[:2]
    if not (visitors.isdigit() and size.isdigit() and int(visitors) and int(size)):
        sys.exit('visitors.py: the numbers of visitors and of numbers on each PE are 1 or more')
    Group(Keeper).prepare(int(size), awaitable=True).get()
    began = time.perf_counter()
    result = Future()
    Array(Visitor, int(visitors)).start(result)
    for wanted, nearest, place in result.get():
        print(f'nearest to {wanted:.6f}: {nearest:.9f} on PE {place}')
    print(f'{visitors} visitors on {charm.numPes()} PEs with {int(size):,} numbers each: '
          f'{time.perf_counter() - began:.3f} s')
    exit()


charm.start(main)
