"""Futures: values that come later (SPEC 1.9, 0.7)."""

import pickle
from copy import deepcopy

from c4py import CancelledError, Chare, Charm4PyError, Future, Group, Array, charm, coro
from c4py.threads import Future as FutureClass

from model import check, start_checks


class Worker(Chare):
    def __init__(self):
        self.kept = None

    def value(self, x=None):
        return x

    def send(self, future, *values):
        for value in values:
            future.send(value)

    def call(self, future, value):
        future(value)

    def send_nested(self, where, value):
        where['futures'][1][0].send(value)

    def fail(self, text):
        raise ValueError(text)

    def try_get(self, future):
        try:
            future.get()
        except Charm4PyError as error:
            return str(error)

    def keep(self, future):
        self.kept = future

    def fire(self, value):
        self.kept.send(value)

    @coro
    def relay(self, future, answer):
        answer.send(('relayed', future.get()))

    async def relay_async(self, future, answer):
        answer.send(('relayed', await future))

    @coro
    def get_after(self, future):
        charm.sleep(0.01)
        return future.get()


def last():
    return charm.numPes() - 1


@check
def test_a_value_sent_from_any_pe_arrives():
    group = Group(Worker)
    for pe in range(charm.numPes()):
        future = Future()
        group[pe].send(future, ('from', pe))
        assert future.get() == ('from', pe)


@check
def test_calling_a_future_sends_to_it():
    future = Future()
    Group(Worker)[last()].call(future, 5)
    assert future.get() == 5


@check
def test_sending_without_a_value_sends_none():
    first, second = Future(), Future()
    first.send()
    second()
    assert first.get() is None and second.get() is None


@check
def test_several_values_come_as_a_list_in_order_of_arrival():
    future = Future(3)
    Group(Worker)[last()].send(future, 'a', 'b', 'c')
    assert future.get() == ['a', 'b', 'c']


@check
def test_values_of_all_pes_are_collected():
    future = Future(num_vals=2 * charm.numPes())
    Group(Worker).send(future, 1, 2)
    assert sorted(future.get()) == sorted([1, 2] * charm.numPes())


@check
def test_a_future_can_be_read_again():
    future = Future()
    future.send([1])
    assert future.get() == [1] and future.get() is future.get()


@check
def test_a_sent_value_is_delivered_later_even_on_its_own_pe():
    future = Future()
    future.send(1)
    assert not future.ready() and not future.done()
    assert future.get() == 1
    assert future.ready() and future.done()


@check
def test_an_exception_as_value_is_raised_every_time():
    future = Future()
    Group(Worker)[last()].send(future, KeyError('k'))
    for _ in range(2):
        try:
            future.get()
        except KeyError as error:
            assert error.args == ('k',)
        else:
            assert False, 'not raised'


@check
def test_the_last_of_several_exceptions_is_raised_when_all_values_are_there():
    future = Future(3)
    Group(Worker)[last()].send(future, KeyError('first'), ValueError('second'), 1)
    try:
        future.get()
    except ValueError as error:
        assert str(error) == 'second'
    else:
        assert False, 'not raised'


@check
def test_any_number_of_coroutines_may_read_one_future():
    workers = [Chare(Worker, onPE=charm.myPe()) for _ in range(5)]
    future, answers = Future(), Future(10)
    for worker in workers:
        worker.relay(future, answers)
        worker.relay_async(future, answers)
    Group(Worker)[last()].send(future, 7)
    assert answers.get() == [('relayed', 7)] * 10


@check
def test_a_future_that_is_done_can_still_be_handed_to_a_reader_on_its_pe():
    worker = Chare(Worker, onPE=charm.myPe())
    future, answer = Future(), Future()
    future.send(3)
    future.get()
    worker.relay(future, answer)
    assert answer.get() == ('relayed', 3)
    assert worker.get_after(future, ret=True).get() == 3


@check(pes=(2, 3, 4))
def test_a_copy_on_another_pe_cannot_be_read_and_says_so():
    future = Future()
    text = Group(Worker)[1].try_get(future, ret=True).get()
    assert 'PE 0' in text and 'only there' in text


@check
def test_futures_travel_inside_of_tuples_lists_and_dicts():
    future = Future()
    Group(Worker)[last()].send_nested({'futures': [0, (future,)]}, 'deep')
    assert future.get() == 'deep'


@check
def test_a_future_kept_by_a_chare_can_be_sent_to_later():
    group = Group(Worker)
    future = Future()
    group[last()].keep(future, awaitable=True).get()
    group[last()].fire(8)
    assert future.get() == 8


@check
def test_copies_of_a_future_send_to_the_same_future():
    for copy in (deepcopy, lambda f: pickle.loads(pickle.dumps(f))):
        future = Future()
        copied = copy(future)
        assert copied == future and hash(copied) == hash(future)
        copied.send(2)
        assert future.get() == 2


@check
def test_a_future_is_an_instance_of_its_class():
    assert isinstance(Future(), FutureClass)
    assert isinstance(Group(Worker).value(awaitable=True), FutureClass)
    assert charm.Future is not None and isinstance(charm.Future(), FutureClass)
    assert isinstance(charm.createFuture(2), FutureClass)


@check
def test_futures_are_equal_only_to_themselves():
    first, second = Future(), Future()
    assert first == first and first != second and first != 1
    assert len({first, second, first}) == 2


@check
def test_more_futures_than_16_bits_can_number_work():
    group = Group(Worker)
    for _ in range(66000):
        Future()
    future = Future()
    group[last()].send(future, 1)
    assert future.get() == 1
    future = Future()
    charm.startQD(future)
    assert future.get() is None


@check
def test_a_wait_ends_with_a_timeout_and_the_future_stays_usable():
    group = Group(Worker)
    future = Future()
    try:
        future.get(timeout=0.01)
    except TimeoutError:
        pass
    else:
        assert False, 'no timeout'
    group[last()].send(future, 1)
    assert future.get(timeout=30) == 1
    assert future.get(0) == 1
    assert future.get(None) == 1


@check
def test_a_cancelled_future_raises_and_drops_what_still_comes():
    group = Group(Worker)
    future = Future(2)
    assert future.cancel() and not future.cancel() and future.done()
    try:
        future.get()
    except CancelledError:
        pass
    else:
        assert False, 'not raised'
    group[last()].send(future, 1, 2)
    charm.waitQD()


@check
def test_cancelling_wakes_who_reads():
    worker = Chare(Worker, onPE=charm.myPe())
    future, answer = Future(), Future()
    outcome = worker.get_after(future, ret=True)
    worker.relay(future, answer, awaitable=True)
    worker.value(awaitable=True).get()
    future.cancel()
    try:
        outcome.get()
    except CancelledError:
        pass
    else:
        assert False, 'not raised'


@check
def test_cancelling_a_future_that_is_done_changes_nothing():
    future = Future()
    future.send(4)
    assert future.get() == 4
    assert not future.cancel() and future.get() == 4


@check
def test_a_number_of_values_below_one_is_refused():
    for bad in (0, -1, 1.5, 'x', True):
        try:
            Future(bad)
        except ValueError as error:
            assert 'num_vals' in str(error)
        else:
            assert False, bad


@check
def test_a_future_takes_one_value_at_a_time():
    for bad in (lambda f: f.send(1, 2), lambda f: f(1, 2), lambda f: f(nothing=1)):
        try:
            bad(Future())
        except TypeError:
            pass
        else:
            assert False, 'not raised'


@check
def test_a_value_that_cannot_be_sent_raises_at_the_sender():
    try:
        Future().send(x for x in ())
    except TypeError as error:
        assert 'generator' in str(error)
    else:
        assert False, 'not raised'


@check
def test_errors_of_never_read_futures_are_hidden():
    Group(Worker).fail('nobody looks', awaitable=True)
    Array(Worker, 5)[4].fail('nobody looks', ret=True)
    charm.waitQD()


if __name__ == '__main__':
    start_checks()
