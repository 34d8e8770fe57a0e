"""What is combined in a reduction, and who else sees it."""

import pytest

ALIASES = '''
import numpy
from c4py import Array, Chare, Future, Reducer, charm

def add_in_place(contributions):
    total = contributions[0]
    for other in contributions[1:]:
        total += other
    return total

Reducer.addReducer(add_in_place)

class Number:
    """Something with an order and a sum."""
    def __init__(self, value):
        self.value = value
    def __add__(self, other):
        return Number(self.value + other.value)
    def __ge__(self, other):
        return self.value >= other.value

class Owner(Chare):
    def __init__(self):
        index = self.thisIndex[0]
        self.list = [index]
        self.array = numpy.ones(3)
        self.number = Number(index)
    def contribute_all(self, gathered, summed, custom, greatest):
        self.reduce(gathered, self.list, Reducer.gather)
        self.reduce(summed, self.array, Reducer.sum)
        self.reduce(custom, self.array, Reducer.add_in_place)
        self.reduce(greatest, self.number, Reducer.max)
        # What the others contribute later must not meet these.
        self.list.append('changed')
        self.array += 100
        self.number.value = -1
    def state(self):
        return self.list, self.array.tolist(), self.number.value

def main(args):
    count = {count}
    array = Array(Owner, count)
    charm.awaitCreation(array)
    futures = [Future() for _ in range(4)]
    array.contribute_all(*futures)
    gathered, summed, custom, greatest = [future.get() for future in futures]
    assert gathered == [[index] for index in range(count)], gathered
    assert summed.tolist() == [count] * 3, summed
    assert custom.tolist() == [count] * 3, custom
    assert greatest.value == count - 1, greatest.value
    # Nor are the results what the contributors hold.
    gathered[0].append('mine')
    summed[:] = custom[:] = 7
    greatest.value = 7
    states = array.state(ret=True).get()
    assert states == [([index, 'changed'], [101] * 3, -1) for index in range(count)], states
    print('right')
    exit()

charm.start(main)
'''


@pytest.mark.parametrize('pes', [1, 2])
@pytest.mark.parametrize('count', [1, 2, 5])
def test_contributions_are_what_they_were_and_results_are_nobody_elses(run_program, pes, count):
    result = run_program(ALIASES.replace('{count}', str(count)), pes=pes)
    assert result.stdout == 'right\n', result


# Each PE contributes a proxy of a class that no other PE knows.
UNKNOWN = '''
from c4py import Chare, Future, Group, Reducer, charm

class Base(Chare):
    def where(self):
        return charm.myPe()

def join(lists):
    return sum(lists, [])

Reducer.addReducer(join)

class Member(Chare):
    def contribute_own(self, gathered, joined):
        name = f'Unknown{charm.myPe()}'
        proxy = Chare(type(name, (Base,), {'__qualname__': name}), onPE=charm.myPe())
        self.reduce(gathered, proxy, Reducer.gather)
        self.reduce(joined, [proxy], Reducer.join)
    def twice(self, future):
        self.reduce(future, 1, Reducer.sum)

def main(args):
    group = Group(Member)
    charm.awaitCreation(group)
    gathered, joined, more = Future(), Future(), Future()
    group.contribute_own(gathered, joined)
    group.twice(more)
    print(more.get())
    print([proxy.where(ret=True).get() for proxy in gathered.get()])
    print(sorted(proxy.where(ret=True).get() for proxy in joined.get()))
    exit()

charm.start(main)
'''


def test_parts_of_a_reduction_wait_for_classes_that_the_last_contributor_does_not_know(run_program):
    result = run_program(UNKNOWN, pes=4)
    assert result.stdout.splitlines() == ['4', '[0, 1, 2, 3]', '[0, 1, 2, 3]'], result
