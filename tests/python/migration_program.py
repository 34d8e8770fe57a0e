"""Storms of messages to chares that move all the time, for test_migration_order.py.

    migration_program.py STORM SEED [--by-reference]

Whoever sends to an element counts, on its PE, what was sent from this PE to that element, and gives
the number along.  Every element keeps what it was given.  At the end, when nothing moves any more,
each must have each number of each PE once and in order; so must it have all broadcasts.
"""

import collections
import random
import sys

import numpy

from c4py import Array, Chare, Future, Group, Reducer, _c4py, charm, coro

NEGLIGIBLE = 4096       # bytes of messages that are always under way
SIZES = [1] * 12 + [40, 700, 9000, 1 << 17]     # of arrays of float64: 1 MB at most

_singles = collections.Counter()        # of this PE: (array's number, index) -> messages
_broadcasts = collections.Counter()     # array's number -> messages


def load(number, size):
    """An argument that tells whether it is the right one."""
    return numpy.full(size, number, float)


def send(world, number, index, size=1):
    """A numbered message of this PE to one element."""
    count = _singles[number, index]
    _singles[number, index] += 1
    return world.arrays[number][index].take(charm.myPe(), count, load(count, size))


def broadcast(world, number, size=1):
    """A numbered message of this PE to all elements."""
    count = _broadcasts[number]
    _broadcasts[number] += 1
    world.arrays[number].take_all(charm.myPe(), count, load(count, size))


class World:
    """What every chare of a storm knows."""

    def __init__(self, arrays, dims):
        self.arrays, self.dims = arrays, dims

    def element(self, dice):
        number = dice.randrange(len(self.arrays))
        return number, tuple(dice.randrange(extent) for extent in self.dims[number])


class Target(Chare):
    """Moves, sends, contributes, and keeps all that it was given."""

    def __init__(self, seed):
        self.dice = random.Random(f'{seed} {self.thisIndex}')
        self.singles = collections.defaultdict(list)
        self.broadcasts = collections.defaultdict(list)
        self.moves = self.wrong = self.contributed = 0
        self.world = None

    def meet(self, world, number):
        self.world, self.number = world, number

    def migrated(self):
        self.moves += 1

    def take(self, pe, count, load):
        self.singles[pe].append(count)
        self.wrong += bool((load != count).any())
        return count

    def take_all(self, pe, count, load):
        self.broadcasts[pe].append(count)
        self.wrong += bool((load != count).any())

    def wander(self, left):
        """Moves, sends to itself and to others before and after, and goes on."""
        dice = self.dice
        for _ in range(dice.randrange(3)):
            send(self.world, self.number, self.thisIndex, dice.choice(SIZES))
        if self._numthreads == 0:
            self.migrate(dice.randrange(charm.numPes()))
        for _ in range(dice.randrange(3)):
            send(self.world, self.number, self.thisIndex, dice.choice(SIZES[:14]))
            send(self.world, *self.world.element(dice))
        if left:
            self.thisProxy[self.thisIndex].wander(left - 1)

    def flee(self, pe):
        if self._numthreads == 0:
            self.migrate(pe)

    def add(self, target):
        self.contributed += 1
        self.reduce(target, self.contributed, Reducer.sum)

    @coro
    def agree(self):
        count = self.thisProxy.shape[0]
        assert self.allreduce(1, Reducer.sum).get() == count
        assert self.allreduce(sum(self.thisIndex), Reducer.gather).get() == list(range(count))

    def outcome(self):
        return dict(self.singles), dict(self.broadcasts), self.wrong, self.moves


class Source(Chare):
    """Sends from a PE."""

    def __init__(self, world, seed):
        self.world = world
        self.dice = random.Random(f'{seed} on {self.thisIndex}')

    def blow(self, left, moves, broadcasts):
        """A gust of messages, then another one."""
        dice = self.dice
        for _ in range(dice.randrange(1, 30)):
            number, index = self.world.element(dice)
            chance = dice.random()
            if chance < moves:
                self.world.arrays[number][index].flee(dice.randrange(charm.numPes()))
            elif chance < moves + broadcasts:
                broadcast(self.world, number, dice.choice(SIZES[:14]))
            else:
                send(self.world, number, index, dice.choice(SIZES[:15]))
        if left:
            self.thisProxy[self.thisIndex].blow(left - 1, moves, broadcasts)

    @coro
    def ask(self, rounds):
        """Calls whose values are waited for, several at a time, to elements that move."""
        dice = self.dice
        for _ in range(rounds):
            expected, futures = [], []
            for _ in range(dice.randrange(1, 12)):
                number, index = self.world.element(dice)
                array, pe, = self.world.arrays[number], charm.myPe()
                count = _singles[number, index]
                _singles[number, index] += 1
                futures.append(array[index].take(pe, count, load(count, 1), ret=True))
                expected.append(count)
                if dice.random() < 0.3:
                    array[index].flee(dice.randrange(charm.numPes()))
            assert [future.get() for future in futures] == expected

    def sent(self):
        """What this PE has sent, and bytes of the segment that its messages take."""
        return dict(_singles), dict(_broadcasts)

    def used(self):
        return _c4py.segment_used()


# ---- the storms: (world, sources, seed) ----

def gale(world, sources, seed):
    """Every PE sends to all, and moves them."""
    sources.blow(25, 0.2, 0.05)


def trek(world, sources, seed):
    """The elements move by themselves, and send to themselves while they leave."""
    for array in world.arrays:
        array.wander(40)
    sources.blow(15, 0.05, 0.05)


def questions(world, sources, seed):
    """Answers find those that asked."""
    for array in world.arrays:
        array.wander(10)
    sources.ask(40, awaitable=True).get()


def exodus(world, sources, seed):
    """All elements move at once, again and again, while they are called."""
    dice = random.Random(seed)
    for _ in range(6):
        sources.blow(4, 0.1, 0.1)
        for number, array in enumerate(world.arrays):
            for index in numpy.ndindex(world.dims[number]):
                array[index].flee(dice.randrange(charm.numPes()))
            broadcast(world, number)
            for index in numpy.ndindex(world.dims[number]):
                send(world, number, index)


def sums(world, sources, seed):
    """Reductions and allreduces of elements that move, and calls from all PEs."""
    dice = random.Random(seed)
    sources.blow(20, 0.3, 0.05)
    for array in world.arrays:
        array.wander(5)
    count = numpy.prod(world.dims[0])
    for round in range(1, 30):
        futures = [Future() for _ in range(dice.randrange(1, 4))]
        for future in futures:
            world.arrays[0].add(future)
        found = [future.get() for future in futures]
        first = found[0] // count
        assert found == [(first + i) * count for i in range(len(found))], found
        for _ in range(5):
            world.arrays[0][world.element(dice)[1]].flee(dice.randrange(charm.numPes()))
        if round % 5 == 0:
            world.arrays[0].agree(awaitable=True).get()


def quiet(world, sources, seed):
    """At quiescence all has arrived, and nothing comes after it."""
    for _ in range(12):
        sources.blow(2, 0.3, 0.05)
        for array in world.arrays:
            array.wander(3)
        charm.waitQD()
        before = [array.outcome(ret=True).get() for array in world.arrays]
        charm.waitQD()
        assert before == [array.outcome(ret=True).get() for array in world.arrays]
        check(world, sources)


STORMS = {    # name: (storm, extents of its arrays)
    'gale': (gale, [(5,), (2, 3)]),
    'one': (gale, [(1,)]),
    'trek': (trek, [(4,), (2, 2, 2)]),
    'questions': (questions, [(7,), (1,)]),
    'exodus': (exodus, [(1000,)]),
    'sums': (sums, [(9,)]),
    'quiet': (quiet, [(6,), (2, 2)]),
}


# ---- what must have come ----

def check(world, sources):
    """All that was sent has been taken, in order; returns how often elements have moved."""
    sent = [source for source in sources.sent(ret=True).get()]
    moved = 0
    for number, array in enumerate(world.arrays):
        outcomes = array.outcome(ret=True).get()
        for index, outcome in zip(numpy.ndindex(world.dims[number]), outcomes):
            singles, broadcasts, wrong, moves = outcome
            assert wrong == 0, (number, index, wrong)
            for pe, (all_singles, all_broadcasts) in enumerate(sent):
                compare('messages', number, index, pe, singles.get(pe, []),
                        all_singles.get((number, index), 0))
                compare('broadcasts', number, index, pe, broadcasts.get(pe, []),
                        all_broadcasts.get(number, 0))
            moved += moves
    return moved


def compare(what, number, index, pe, got, count):
    """Numbers that came from a PE are all that it has sent, in order."""
    if got == list(range(count)):
        return
    place = next((i for i, value in enumerate(got) if value != i), len(got))
    raise AssertionError(f'{what} of PE {pe} to element {index} of array {number}: {len(got)} '
                         f'of {count}; from position {place}: {got[place:place + 20]}')


def main(args):
    name, seed = args[1], args[2]
    storm, dims = STORMS[name]
    world = World([Array(Target, extents, args=[seed]) for extents in dims], dims)
    sources = Group(Source, args=[world, seed])
    for number, array in enumerate(world.arrays):
        array.meet(world, number, awaitable=True).get()
    storm(world, sources, seed)
    charm.waitQD()
    moved = check(world, sources)
    charm.waitQD()
    sources.used(awaitable=True).get()
    used = sources.used(ret=True).get()
    assert max(used) < NEGLIGIBLE, f'bytes of the segment left on each PE: {used}'
    for left in 'held', 'open_reductions':
        assert not getattr(_c4py, left)(), left
    print('moved' if moved else 'not moved')
    exit()


if __name__ == '__main__':
    charm.options.local_msg_optim = '--by-reference' in sys.argv
    charm.start(main)
