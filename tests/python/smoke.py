"""A program that touches every part of the runtime once; prints "smoke: ok" at its end.

Runs under the sanitizers too, so it is short.
"""

import numpy

from c4py import Array, Chare, Future, Group, Reducer, charm, coro


def longest(parts):
    return max(parts, key=len)


Reducer.addReducer(longest)


class Worker(Chare):
    load = 0

    def __init__(self, base=0):
        self.base = base

    def add(self, value, more=0):
        return self.base + value + more

    def echo(self, *args, **keywords):
        return args, keywords

    def contribute_to(self, target, data, reducer):
        self.reduce(target, data, reducer)

    @coro
    def together(self):
        return self.allreduce(1, Reducer.sum).get()

    async def later(self, other):
        await charm.sleep(0.001)
        return await other.add(1, ret=True)

    def fail(self):
        raise ValueError('as asked')

    def carry(self, load):
        self.load = load
        self.migrate((charm.myPe() + 1) % charm.numPes())

    def migrated(self):
        self.load = self.load + 1

    def give_load(self):
        return self.load, charm.myPe()


def check_calls(group, array):
    assert group[charm.numPes() - 1].add(1, more=2, ret=True).get() == 8
    assert array.add(1, ret=True).get() == [1] * 10
    args = (None, True, 2**80, 1.5, 1j, 'é', b'b', (1, ('x',)), [1, {2: 3}], {4}, group, array[3])
    assert array[9].echo(*args, key=args, ret=True).get() == (args, {'key': args})
    assert array[4].later(group[0], ret=True).get() == 6
    assert array.together(ret=True).get() == [10] * 10
    try:
        array[7].fail(ret=True).get()
    except ValueError as error:
        assert error.remote_stacktrace[0] == 0 or charm.numPes() > 1
    else:
        raise AssertionError('the exception did not arrive')


def check_arrays(group):
    kept = []
    for size in (0, 1, 100, 5000, 300000):
        for order in 'CF':
            data = numpy.arange(size * 2, dtype='f8').reshape(2, size, order=order)
            for view in (data, data[:, ::2], data[::-1], data.astype('>i4')):
                (back,), _ = group[size % charm.numPes()].echo(view, ret=True).get()
                assert back.dtype == view.dtype and numpy.array_equal(back, view)
                back += 1
                kept.append(back)
    assert all(array.flags.writeable for array in kept)
    (many,) = {len(args[0]) for args, _ in group.echo(kept, ret=True).get()}
    assert many == len(kept)


def check_reductions(group, array):
    for data, reducer, expected in ((2, Reducer.sum, 20), (1.5, Reducer.max, 1.5),
                                    (True, Reducer.logical_and, True),
                                    ('ab', Reducer.longest, 'ab'),
                                    (3, Reducer.gather, [3] * 10), (None, None, None)):
        result = Future()
        array.contribute_to(result, data, reducer)
        assert result.get() == expected
    result = Future()
    group.contribute_to(result, numpy.ones(50000), Reducer.sum)
    assert result.get().tolist() == [charm.numPes()] * 50000
    many = Future(10)
    array.contribute_to(array[3].add, 5, Reducer.max)
    array.contribute_to(many, 1, Reducer.product)
    for _ in range(9):
        many(1)
    assert many.get() == [1] * 10


def check_migration():
    movers, pes = Array(Worker, 5, args=[7]), charm.numPes()
    for round in range(1, 6):
        for i in range(5):
            movers[i].migrate((i + round) % pes)
            assert movers[i].add(1, ret=True).get() == 8
        result = Future()
        movers.contribute_to(result, round, Reducer.gather)
        movers.carry(numpy.full(20000, round))
        assert result.get() == [round] * 5
        assert movers.together(ret=True).get() == [5] * 5
        loads = movers.give_load(ret=True).get()
        assert [pe for _, pe in loads] == [(i + round + 1) % pes for i in range(5)]
        assert all((load == round + (pes > 1)).all() for load, _ in loads)


def main(args):
    group = Group(Worker, args=[5])
    array = Array(Worker, 10)
    charm.awaitCreation(group, array)
    for _ in range(3):
        check_calls(group, array)
        check_arrays(group)
        check_reductions(group, array)
        check_migration()
    single = Chare(Worker, onPE=charm.numPes() - 1)
    assert single.add(1, ret=True).get() == 1
    cube = Array(Worker, (2, 3, 2))
    assert cube[1, 2, 1].add(3, ret=True).get() == 3
    charm.waitQD()
    print('smoke: ok', flush=True)
    exit()


charm.start(main)
