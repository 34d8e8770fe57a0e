"""A program in which every PE sends without end, for test_faults.py.

    storm_program.py                run until something ends it
    storm_program.py garbage SEED   one PE writes garbage over the segment meanwhile; main goes on
                                    for a while, then ends the program
    storm_program.py exit SEED      some PE ends the program with code 7 meanwhile
    storm_program.py raise SEED     ... with an exception

A PE that nothing has ended after some time is killed by its alarm, so that a job whose messages
were lost to garbage ends as well.
"""

import random
import signal
import sys
import threading

import numpy

from c4py import Array, Chare, Future, Group, Reducer, charm, coro

ALARM = 10              # seconds
ROUNDS = 100            # of main, after the garbage
BUFFERS = [numpy.arange(size, dtype=float) for size in (1, 50, 900, 9000)]


class Storm(Chare):
    """Passes messages on for ever."""

    def meet(self, everybody):
        self.everybody = everybody

    def blow(self, tokens):
        for _ in range(tokens):
            self.pass_on(random.choice(BUFFERS), 'started')

    def pass_on(self, buffer, text, *rest):
        if isinstance(self.thisIndex, tuple) and not self._numthreads and random.random() < 0.02:
            self.migrate(random.randrange(charm.numPes()))
        proxy = random.choice(self.everybody)
        element = random.randrange(proxy.shape[0])
        proxy[element].pass_on(random.choice(BUFFERS), text[-200:] + 'x', buffer.sum())

    def add(self, future):
        self.reduce(future, random.choice(BUFFERS[:1]), Reducer.sum)

    @coro
    def agree(self):
        return self.allreduce(BUFFERS[2], Reducer.max).get()[1]

    def garbage(self, seed):
        Garbage(seed).write()

    def end(self, how):
        if how == 'raise':
            raise ValueError(f'raised on {charm.myPe()}')
        exit(7)


class Garbage:
    """Ways to overwrite the segment."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.start, self.size = self.mapping()
        # As in proto/segment.h: a page of header, then slots of 256 bytes and the meeting table.
        self.slots = charm.numPes() + 1 + 15
        self.tables = 4096 + self.slots * 256 + 1024 * 64
        self.regions = -(-self.tables // (2 << 20)) * (2 << 20)
        self.region = (self.size - self.regions) // self.slots
        self.memory = open('/proc/self/mem', 'r+b', buffering=0)

    @staticmethod
    def mapping():
        with open('/proc/self/maps') as maps:
            for line in maps:
                if 'memfd:c4p' in line:
                    first, last = (int(text, 16) for text in line.split()[0].split('-'))
                    return first, last - first
        raise LookupError('the segment is not mapped')

    def read(self, offset, size):
        self.memory.seek(self.start + offset)
        return self.memory.read(size)

    def put(self, offset, data):
        self.memory.seek(self.start + offset)
        self.memory.write(data)

    def write(self):
        """Some garbage, perhaps in some rounds, perhaps while the PE works on; it may die of it."""
        ways = [self.noise, self.zeros, self.ones, self.links, self.words, self.flips, self.copies]
        way = ways[self.random.randrange(len(ways))]
        rounds = self.random.choice([1, 1, 3, 100])
        if self.random.random() < 0.3:
            threading.Thread(target=lambda: [way() for _ in range(rounds)], daemon=True).start()
        else:
            for _ in range(rounds if way in (self.flips, self.links) else 1):
                way()

    def noise(self):
        """Random bytes over all, or over the tables in front."""
        size = self.random.choice([self.size, self.regions, 4096])
        self.put(0, numpy.random.default_rng(self.random.randrange(2 ** 32)).bytes(size))

    def zeros(self):
        self.put(0, bytes(self.random.choice([self.size, self.regions])))

    def ones(self):
        self.put(0, b'\xff' * self.random.choice([self.size, self.regions]))

    def offset(self):
        """A place where a block could be."""
        region = self.regions + self.random.randrange(self.slots) * self.region
        return region + self.random.randrange(self.region // 64) * 64

    def links(self):
        """Queues and meeting places lead to blocks that are there, or could be."""
        for _ in range(self.random.randrange(1, 30)):
            place = self.random.choice([
                4096 + self.random.randrange(self.slots) * 256 + self.random.choice([0, 64]),
                4096 + self.slots * 256 + self.random.randrange(1024) * 64 + 8])
            near = self.regions + self.random.randrange(charm.numPes()) * self.region
            where = self.random.choice([self.offset(), near + self.random.randrange(2000) * 64])
            self.put(place, where.to_bytes(8, 'little'))

    def words(self):
        """Random words, some of them places of blocks, over the start of each region."""
        size = 1 << 20
        for slot in range(self.slots):
            words = numpy.random.default_rng(slot).integers(0, 2 ** 63, size // 8)
            words[::3] = self.regions + words[::3] % (self.size - self.regions) // 64 * 64
            words[1::3] %= 256
            self.put(self.regions + slot * self.region, words.tobytes())

    def flips(self):
        """Single bits where something is."""
        for _ in range(300):
            start = self.random.choice([4096, self.regions + self.random.randrange(
                charm.numPes() + 1) * self.region])
            place = start + self.random.randrange(100000)
            byte = self.read(place, 1)[0] ^ 1 << self.random.randrange(8)
            self.put(place, bytes([byte]))

    def copies(self):
        """Blocks over other blocks."""
        for _ in range(300):
            near = self.regions + self.random.randrange(charm.numPes() + 1) * self.region
            block = self.read(near + self.random.randrange(3000) * 64, 256)
            self.put(near + self.random.randrange(3000) * 64, block)


def main(args):
    group, array = Group(Storm), Array(Storm, 3 * charm.numPes())
    for everybody in group, array:
        everybody.meet([group, array], awaitable=True).get()
    group.blow(20)
    print('up')
    rounds = 0
    while True:
        future = Future()
        array.add(future)
        future.get()
        array.agree(ret=True).get()
        charm.awaitCreation(Group(Storm))
        rounds += 1
        if args[1:2] == ['garbage'] and rounds == 3:
            group[charm.numPes() - 1].garbage(int(args[2]))
        elif args[1:] and rounds == 3:
            proxy = random.choice([group, array])
            proxy[random.randrange(proxy.shape[0])].end(args[1])
        if args[1:] and rounds == 3 + ROUNDS:
            print('over')
            exit()


if __name__ == '__main__':
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(ALARM)
    random.seed(' '.join(sys.argv))
    charm.start(main)
