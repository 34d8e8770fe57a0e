"""Collections whose elements move (SPEC 5): broadcasts, reductions, quiescence; and how it ends."""

import operator
import re

import numpy

from c4py import Array, Chare, Future, Group, Reducer, charm, coro

from model import check, start_checks

MOVING = (2, 3, 4)          # numbers of PEs on which there is somewhere to go
ARITHMETIC = {'sum': operator.add, 'product': operator.mul, 'max': max, 'min': min}
LOGICAL = {'logical_and': operator.and_, 'logical_or': operator.or_, 'logical_xor': operator.xor}


def last():
    return charm.numPes() - 1


def fold(operation, values):
    """The values combined from left to right."""
    total = values[0]
    for value in values[1:]:
        total = operation(total, value)
    return total


def name_pairs(data, chare):
    """Hook of the custom reducer: who contributed, and from where."""
    return [(chare.thisIndex, chare.weight, data)]


def as_table(pairs):
    return {index: (weight, data) for index, weight, data in pairs}


def collect_pairs(parts):
    return sorted(pair for part in parts for pair in part)


Reducer.addReducer(collect_pairs, pre=name_pairs, post=as_table)


class Worker(Chare):
    """Contributes, moves, and remembers what it was sent."""

    def __init__(self):
        self.weight = sum(self.thisIndex) + 1
        self.got, self.rounds = [], 0

    def where(self):
        return charm.myPe()

    def give(self, target, reducer, values=None):
        data = self.weight if values is None else values[self.thisIndex[0]]
        self.reduce(target, data, getattr(Reducer, reducer))

    def give_nothing(self, target):
        self.reduce(target)

    def give_array(self, target, reducer, size):
        self.reduce(target, numpy.full((2, size), self.weight, float), getattr(Reducer, reducer))

    def give_many(self, targets, route):
        """Contributes to several at once, then leaves."""
        for target in targets:
            self.reduce(target, self.weight, Reducer.sum)
        self.migrate(route[self.weight % len(route)] % charm.numPes())

    def give_and_leave(self, target, step, reducer='sum'):
        self.reduce(target, self.weight, getattr(Reducer, reducer))
        self.migrate((charm.myPe() + step) % charm.numPes())

    def leave_and_give(self, target, step):
        self.migrate((charm.myPe() + step) % charm.numPes())
        self.reduce(target, self.weight, Reducer.sum)

    def run(self, left, target):
        """By itself: contributes to one reduction after the other, and moves between them."""
        self.reduce(target, (left, self.weight), Reducer.gather)
        if left > 1:
            self.migrate((charm.myPe() + self.weight + left) % charm.numPes())
            self.thisProxy[self.thisIndex].run(left - 1, target)

    def take(self, *values):
        self.got.append(values)

    def taken(self):
        return self.got, charm.myPe()

    def index(self):
        return self.thisIndex

    def fail_if(self, weights):
        if self.weight in weights:
            raise ValueError(f'{self.weight} on {charm.myPe()}')
        return self.weight

    @coro
    def agree(self, reducer, count):
        futures = [self.allreduce(self.weight + i, getattr(Reducer, reducer))
                   for i in range(count)]
        return [future.get() for future in futures], charm.myPe()

    async def agree_async(self, size):
        total = await self.allreduce(numpy.full(size, self.weight), Reducer.sum)
        await self.allreduce()
        return total

    @coro
    def answer_later(self, step):
        charm.sleep(0.001 * (self.weight % 3))
        return self.weight, charm.myPe()


def scatter(array, step=1, offset=0):
    """Move every element, and say where each is now."""
    where = array.where(ret=True).get()
    pes = [(pe + i * step + offset) % charm.numPes() for i, pe in enumerate(where)]
    indexes = array.index(ret=True).get()
    for index, pe in zip(indexes, pes):
        array[index].migrate(pe)
    charm.waitQD()
    assert array.where(ret=True).get() == pes
    return pes


def scattered(dims):
    """Arrays of that shape whose elements are in different places, one after the other."""
    array = Array(Worker, dims)
    yield array
    for step, offset in (1, 1), (0, last()), (2, 1):
        scatter(array, step, offset)
        yield array
    for pe in 0, last():
        array.migrate(pe, awaitable=True).get()
        yield array


# ---- broadcasts ----

@check
def test_values_of_a_broadcast_come_in_the_order_of_indexes():
    for array in scattered((4, 3)):
        assert array.index(ret=True).get() == [(i // 3, i % 3) for i in range(12)]
        values = array.answer_later(1, ret=True).get()
        assert [weight for weight, _ in values] == [i // 3 + i % 3 + 1 for i in range(12)]
        assert [pe for _, pe in values] == array.where(ret=True).get()


@check
def test_each_element_gets_each_broadcast_once_and_in_order():
    array, n = Array(Worker, 13), 0
    for step in range(1, 12):
        for _ in range(5):
            array.take(n)
            n += 1
        for i in range(0, 13, 2):
            array[i].migrate((i * step) % charm.numPes())
        for _ in range(5):
            array.take(n)
            n += 1
    charm.waitQD()
    for got, _ in array.taken(ret=True).get():
        assert got == [(i,) for i in range(n)]


@check
def test_an_awaited_broadcast_is_over_when_all_have_run_wherever_they_are():
    array = Array(Worker, 9)
    for round in range(20):
        for i in range(9):
            array[i].migrate((i + round) % charm.numPes())
        assert array.take(round, awaitable=True).get() is None
        assert [len(got) for got, _ in array.taken(ret=True).get()] == [round + 1] * 9


@check
def test_exceptions_of_a_broadcast_come_from_where_the_elements_are():
    array = Array(Worker, 6)
    pes = scatter(array, 2, 1)
    values = array.fail_if([2, 5], ret=True).get()
    assert [str(value) for value in values] == [
        '1', f'2 on {pes[1]}', '3', '4', f'5 on {pes[4]}', '6']
    try:
        array.fail_if([3], awaitable=True).get()
    except ValueError as error:
        assert str(error) == f'3 on {pes[2]}' and error.remote_stacktrace[0] == pes[2]
    else:
        assert False, 'not raised'


class Caller(Chare):
    """Broadcasts and calls, on its own PE."""

    def __init__(self, array):
        self.array = array

    def call_all(self, count):
        for i in range(count):
            self.array.take(self.thisIndex, i)

    @coro
    def ask_all(self, count):
        return [self.array.index(ret=True).get() for _ in range(count)]

    def move(self, seed, count):
        for i in range(count):
            self.array[(seed + 3 * i) % 10].migrate((seed + i) % charm.numPes())


@check
def test_broadcasts_of_all_pes_reach_elements_that_all_pes_move():
    array = Array(Worker, 10)
    callers = Group(Caller, args=[array])
    for seed in range(5):
        callers.call_all(10)
        for pe in range(charm.numPes()):
            callers[pe].move(seed + pe, 20)
        callers.call_all(10)
        asked = callers.ask_all(5, ret=True).get()
        assert asked == [[[(i,) for i in range(10)]] * 5] * charm.numPes()
    charm.waitQD()
    for got, _ in array.taken(ret=True).get():
        for pe in range(charm.numPes()):
            assert [i for source, i in got if source == pe] == 10 * list(range(10)), got


# ---- reductions ----

@check
def test_every_reducer_combines_those_that_are_elsewhere():
    for array in scattered(7):
        weights = list(range(1, 8))
        for name, operation in ARITHMETIC.items():
            result = Future()
            array.give(result, name)
            assert result.get() == fold(operation, weights), name
        truths = [True, False, True, True, False, True, True]
        for name, operation in LOGICAL.items():
            result = Future()
            array.give(result, name, truths)
            assert result.get() == fold(operation, truths), name
        for name in ('gather', 'nop'):
            result = Future()
            array.give(result, name)
            assert result.get() == (weights if name == 'gather' else None), name
        result = Future()
        array.give_nothing(result)
        assert result.get() is None


@check
def test_gathered_values_come_in_the_order_of_indexes():
    for array in scattered((3, 3)):
        result = Future()
        array.give(result, 'gather')
        assert result.get() == [i // 3 + i % 3 + 1 for i in range(9)]


@check
def test_a_custom_reducer_with_hooks_sees_each_chare_once():
    for array in scattered(6):
        result = Future()
        array.give(result, 'collect_pairs', list('abcdef'))
        assert result.get() == {(i,): (i + 1, 'abcdef'[i]) for i in range(6)}


@check
def test_arrays_are_combined_in_any_size():
    for array in scattered(5):
        for size in (1, 10, 1 << 16):
            for name, value in (('sum', 15), ('max', 5), ('product', 120)):
                result = Future()
                array.give_array(result, name, size)
                found = result.get()
                assert found.shape == (2, size) and (found == value).all()


@check
def test_who_has_contributed_may_leave_before_the_others_contribute():
    array, total = Array(Worker, 8), sum(range(1, 9))
    for step in range(1, 6):
        results = [Future() for _ in range(2)]
        for result, method in zip(results, ('give_and_leave', 'leave_and_give')):
            for i in range(0, 8, 2):
                getattr(array[i], method)(result, step)
            array.where(ret=True).get()
            assert not result.ready()
            for i in range(1, 8, 2):
                getattr(array[i], method)(result, step + i)
            assert result.get() == total


@check
def test_many_reductions_are_open_while_elements_move():
    array, total = Array(Worker, 6), sum(range(1, 7))
    for round in range(4):
        targets = [Future() for _ in range(12)]
        order = [(i + round) % 6 for i in range(6)]
        for part in range(3):
            for i in order[part::3]:
                array[i].give_many(targets[:5], [0, last(), part])
                array[i].give_many(targets[5:], [last(), part, 0])
        assert [target.get() for target in targets] == [total] * 12


@check
def test_one_element_may_be_far_ahead_when_it_comes_to_the_others():
    array, ahead = Array(Worker, 2 * charm.numPes()), 40
    targets = [Future() for _ in range(ahead)]
    total = sum(range(1, 2 * charm.numPes() + 1))
    for k, target in enumerate(targets):
        array[0].give_and_leave(target, 1 + k % 3)
    array.where(ret=True).get()
    for target in targets:
        for i in range(1, 2 * charm.numPes()):
            array[i].give_and_leave(target, 0)
    assert [target.get() for target in targets] == [total] * ahead


@check
def test_elements_contribute_and_move_all_by_themselves():
    array, rounds = Array(Worker, 9), 30
    target = Chare(Worker, onPE=last())
    array.run(rounds, target.take)
    charm.waitQD()
    got, _ = target.taken(ret=True).get()
    assert sorted(got) == [([(left, weight) for weight in range(1, 10)],)
                           for left in range(1, rounds + 1)]


@check
def test_allreduces_give_everybody_the_result_wherever_it_is():
    for array in scattered(6):
        pes = array.where(ret=True).get()
        sums = [sum(range(1, 7)) + 6 * i for i in range(4)]
        assert array.agree('sum', 4, ret=True).get() == [(sums, pe) for pe in pes]
        assert array.agree('gather', 2, ret=True).get() == [
            ([list(range(1, 7)), list(range(2, 8))], pe) for pe in pes]
        for total in array.agree_async(1000, ret=True).get():
            assert total.shape == (1000,) and (total == 21).all()


@check
def test_results_go_to_methods_of_elements_that_are_away():
    array, targets = Array(Worker, 4), Array(Worker, 3)
    for step in range(1, 5):
        pes = scatter(targets, step, 1)
        scatter(array, 1, step)
        array.give(targets[1].take, 'sum')
        array.give(targets.take, 'gather')
        array.give(array.take, 'max')
        charm.waitQD()
        taken = targets.taken(ret=True).get()
        assert [pe for _, pe in taken] == pes
        gathered = ([1, 2, 3, 4],)
        assert [got for got, _ in targets.taken(ret=True).get()] == [
            [gathered] * step, taken[1][0], [gathered] * step]
        assert sorted(map(str, taken[1][0])) == sorted(['(10,)', str(gathered)] * step)
        assert [got for got, _ in array.taken(ret=True).get()] == [[(4,)] * step] * 4


@check(pes=MOVING)
def test_a_collection_whose_elements_are_all_elsewhere_still_reduces():
    for count in (1, 2, charm.numPes()):
        array, total = Array(Worker, count), sum(range(1, count + 1))
        for pe in (last(), 0, 1):
            array.migrate(pe, awaitable=True).get()
            for _ in range(3):
                result = Future()
                array.give(result, 'sum')
                assert result.get() == total
        assert array.where(ret=True).get() == [1] * count


@check
def test_a_single_chare_reduces_and_agrees_where_it_is():
    single = Chare(Worker, onPE=0)
    for pe in list(range(charm.numPes())) + [0]:
        single.migrate(pe)
        result = Future()
        single.give(result, 'gather')
        assert result.get() == [1]
        assert single.agree('sum', 2, ret=True).get() == ([1, 2], pe)


@check
def test_two_collections_that_share_pes_do_not_disturb_each_other():
    one, other = Array(Worker, 5), Array(Worker, (5,))
    targets = [Future() for _ in range(40)]
    for k in range(20):
        one.give_and_leave(targets[2 * k], k)
        other.give_and_leave(targets[2 * k + 1], 1, 'max')
    assert [target.get() for target in targets] == [15, 5] * 20


# ---- quiescence ----

class Walker(Chare):
    """Sends tokens on, and moves while they come."""

    def __init__(self):
        self.steps = 0

    def walk(self, left, seed):
        self.steps += 1
        if seed % 3 == 0:
            self.migrate(seed % charm.numPes())
        if left:
            count = self.thisProxy.shape[0]
            self.thisProxy[seed % count].walk(left - 1, (seed * 5 + 3) % 1009)

    def get_steps(self):
        return self.steps


@check
def test_quiescence_comes_after_all_messages_that_follow_movers():
    walkers = Array(Walker, 7)
    for round in range(1, 9):
        for i in range(10):
            walkers[i % 7].walk(25, 31 * round + i)
        charm.waitQD()
        assert sum(walkers.get_steps(ret=True).get()) == round * 10 * 26
        charm.waitQD()
        assert sum(walkers.get_steps(ret=True).get()) == round * 10 * 26


@check
def test_quiescence_comes_after_chares_have_arrived():
    for round in range(20):
        array = Array(Worker, 12)
        for i in range(12):
            array[i].migrate((i + round) % charm.numPes())
        charm.waitQD()
        assert array.where(ret=True).get() == [(i + round) % charm.numPes() for i in range(12)]


@check
def test_quiescence_can_be_told_to_an_element_that_is_away():
    array = Array(Worker, 3)
    for round in range(1, 6):
        array[1].migrate(round % charm.numPes())
        charm.startQD(array[1].take)
        charm.waitQD()
        charm.waitQD()
        assert array[1].taken(ret=True).get() == ([()] * round, round % charm.numPes())


# ---- programs of their own ----

def test_the_program_in_the_documentation_does_what_it_says(run_program):
    from harness import ROOT            # not in the program of checks
    text = (ROOT / 'docs' / 'migration.md').read_text()
    program = re.search(r'```python\n(.*?)```', text, re.S)[1]
    printed = re.search(r'```text\n(.*?)```', text, re.S)[1]
    ran = run_program(program, 3)
    assert (ran.returncode, ran.stdout) == (0, printed), ran


BEGIN = '''
import threading
from c4py import charm, Chare, Group, Array, Future, Reducer, coro

class Worker(Chare):
    def where(self):
        return charm.myPe()
    def set_lock(self, name):
        setattr(self, name, threading.Lock())
    def go(self, pe):
        self.migrate(pe)
    @coro
    def block(self):
        Future().get()                              # block
    def give(self, target, lacking):
        if self.thisIndex[0] not in lacking:
            self.reduce(target, 1, Reducer.sum)
    @coro
    def agree(self, lacking):
        if self.thisIndex[0] not in lacking:
            self.allreduce(1, Reducer.sum).get()

class Touchy(Worker):
    def migrated(self):
        raise RuntimeError(f'I do not like PE {charm.myPe()}')

class Unreadable(Worker):
    def __setstate__(self, state):
        raise RuntimeError('not to be restored')

class Refusing(Worker):
    def __getstate__(self):
        raise RuntimeError('not to be saved')

def last():
    return charm.numPes() - 1

'''


def ending(run_program, main, pes, **options):
    """Run a main that does not end well; its standard error."""
    ran = run_program(BEGIN + 'def main(args):\n    ' + main + '\n\ncharm.start(main)\n', pes,
                      **options)
    assert ran.returncode == 1, ran
    assert ran.stdout == '', ran
    return ran.stderr


def test_a_state_that_cannot_be_pickled_ends_the_program_and_is_named(run_program):
    error = ending(run_program, '''
    array = Array(Worker, 3)
    array[2].set_lock('the_lock', awaitable=True).get()
    array[2].migrate(0)
    print(array[2].where(ret=True).get())
    exit(0)''', 3)
    assert 'Worker[2]' in error and 'lock' in error and 'pickle' in error, error
    assert 'PE 0' in error, error


def test_so_does_an_exception_in_getstate_setstate_and_migrated(run_program):
    for name, text in (('Refusing', 'Refusing[0] cannot migrate to PE 1: not to be saved'),
                       ('Unreadable', 'Unreadable[0] cannot migrate to PE 1: not to be restored'),
                       ('Touchy', 'PE 1: RuntimeError: I do not like PE 1')):
        error = ending(run_program, f'''
    chare = Chare({name}, onPE=0)
    chare.migrate(1)
    print(chare.where(ret=True).get())
    exit(0)''', 2)
        assert text in error, error


def test_a_refusal_that_nobody_waits_for_ends_the_program(run_program):
    for call in ('migrate(0)', 'go(0)'):
        error = ending(run_program, f'''
    chare = Chare(Worker, onPE=last())
    chare.block()
    chare.{call}
    charm.waitQD()
    exit(0)''', 2)
        assert 'Worker[0]' in error and 'PE 0' in error and 'coroutine' in error, error


def test_the_main_chare_cannot_move(run_program):
    ran = run_program('''
        from c4py import charm, Chare, Charm4PyError

        class Main(Chare):
            def __init__(self, args):
                try:
                    self.thisProxy.migrate(0)
                except AttributeError as error:
                    print('migrate' in str(error))
                try:
                    self.migrate(0)
                except Charm4PyError as error:
                    print('Main' in str(error) and 'main chare' in str(error))
                exit()

        charm.start(Main)
        ''', 2)
    assert (ran.returncode, ran.stdout) == (0, 'True\nTrue\n'), ran


def test_a_report_of_a_deadlock_names_coroutines_where_they_are(run_program):
    error = ending(run_program, '''
    array = Array(Worker, 2)
    array[0].migrate(last(), awaitable=True).get()
    array[0].block()''', 3)
    assert 'deadlock' in error.splitlines()[0]
    assert re.search(r'Worker\[0\]\.block on PE 2.*: waits for a future', error), error


def test_a_report_of_a_deadlock_names_those_that_lack_wherever_they_are(run_program):
    for method in ('give(charm.thisProxy.exit, [0, 5])', 'agree([0, 5])'):
        error = ending(run_program, f'''
    array = Array(Worker, 6)
    array[0].migrate(last(), awaitable=True).get()
    array[4].migrate(0, awaitable=True).get()
    array[5].migrate(1, awaitable=True).get()
    array.{method}''', 3)
        assert 'deadlock' in error.splitlines()[0]
        lack = re.search(r'reduction 1 of Worker lacks 2 of its contributors: (.*)', error)
        assert lack and set(lack[1].rstrip('.').split(', ')) == {
            'Worker[0] (PE 2)', 'Worker[5] (PE 1)'}, error


def test_a_report_of_a_deadlock_counts_who_contributed_and_left(run_program):
    error = ending(run_program, '''
    array = Array(Worker, 4)
    for i in range(3):
        array[i].give(charm.thisProxy.exit, [])
        array[i].migrate(last() - i)
    array[3].migrate(0)''', 3)
    assert re.search(r'reduction 1 of Worker lacks 1 of its contributors: Worker\[3\] \(PE 0\)',
                     error), error


def test_a_program_that_is_over_ends_although_its_chares_have_moved(run_program):
    ran = run_program(BEGIN + '''
def main(args):
    array = Array(Worker, 20)
    array.migrate(last())
    array[3].migrate(0)

charm.start(main)
''', 3)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, '', ''), ran


def test_a_program_may_end_while_its_chares_move(run_program):
    for code in range(5):
        ran = run_program(BEGIN + f'''
def main(args):
    array = Array(Worker, 300)
    for i in range(300):
        array[i].migrate((i * 7) % charm.numPes())
    exit({code})

charm.start(main)
''', 3)
        assert (ran.returncode, ran.stderr) == (code, ''), ran


if __name__ == '__main__':
    start_checks()
