"""wait, iwait, sleep and timers (SPEC 1.2, 0.6)."""

import time

from c4py import Array, CancelledError, Chare, Future, Group, charm, coro

from model import check, start_checks


class Worker(Chare):
    def __init__(self):
        self.order = []

    def value(self, x):
        return x

    def fail(self):
        raise ValueError('failed')

    def note(self, x):
        self.order.append(x)

    def get_order(self):
        return self.order

    @coro
    def sleep(self, seconds):
        start = time.monotonic()
        charm.sleep(seconds)
        return time.monotonic() - start

    async def sleep_async(self, seconds):
        start = time.monotonic()
        await charm.sleep(seconds)
        return time.monotonic() - start

    def sleep_plainly(self, seconds):
        start = time.monotonic()
        charm.sleep(seconds)
        return time.monotonic() - start

    @coro
    def sleep_and_note(self, seconds, x):
        charm.sleep(seconds)
        self.note(x)

    @coro
    def get_it(self, future):
        return future.get()

    def send(self, future, value):
        future.send(value)

    @coro
    def iwait_values(self, peer, count):
        futures = [peer.value(i, ret=True) for i in range(count)]
        return sorted(future.get() for future in charm.iwait(futures))

    def schedule(self, future, seconds):
        charm.scheduleCallableAfter(future, seconds, [charm.myPe()])


def last():
    return charm.numPes() - 1


# ---- wait ----

@check
def test_waiting_for_nothing_returns_at_once():
    assert charm.wait([]) is None
    assert charm.wait(()) is None


@check
def test_after_a_wait_all_futures_are_ready():
    group = Group(Worker)
    futures = [group[i % charm.numPes()].value(i, ret=True) for i in range(20)]
    futures.append(group.value('all', ret=True))
    assert charm.wait(futures) is None
    assert all(future.ready() for future in futures)
    assert [future.get() for future in futures[:20]] == list(range(20))


@check
def test_a_wait_takes_any_iterable_and_futures_that_are_done():
    group = Group(Worker)
    done = group[0].value(1, ret=True)
    done.get()
    charm.wait(future for future in (done, group[last()].value(2, ret=True)))
    charm.wait({done, done})


@check
def test_a_wait_does_not_raise_what_its_futures_would():
    futures = [Group(Worker)[last()].fail(ret=True), Future()]
    futures[1].cancel()
    charm.wait(futures)
    for future, error_class in zip(futures, (ValueError, CancelledError)):
        try:
            future.get()
        except error_class:
            pass
        else:
            assert False, 'not raised'


@check
def test_only_futures_can_be_waited_for():
    for wait in (charm.wait, lambda things: list(charm.iwait(things))):
        try:
            wait([Future(), 5])
        except TypeError as error:
            assert 'int' in str(error)
        else:
            assert False, 'not raised'


# ---- iwait ----

@check
def test_iwait_gives_every_future_once_as_it_becomes_ready():
    group = Group(Worker)
    futures = [group[i % charm.numPes()].value(i, ret=True) for i in range(50)]
    given = list(charm.iwait(futures))
    assert len(given) == 50 and set(given) == set(futures)
    assert all(future.ready() for future in given)


@check
def test_iwait_gives_those_that_are_ready_first_in_their_order():
    futures = [Future() for _ in range(5)]
    for i in (3, 1):
        futures[i].send(i)
    charm.wait([futures[1], futures[3]])
    waiting = charm.iwait(futures)
    assert next(waiting) is futures[1] and next(waiting) is futures[3]
    for i in (4, 0, 2):
        futures[i].send(i)
    assert [future.get() for future in waiting] == [4, 0, 2]


@check
def test_iwait_gives_futures_in_the_order_in_which_they_become_ready():
    futures = [Future() for _ in range(4)]
    waiting = charm.iwait(futures)
    for i in (2, 0, 3, 1):
        futures[i].send()
        assert next(waiting) is futures[i]
    assert list(waiting) == [] and list(charm.iwait([])) == []


@check
def test_iwait_can_be_used_in_many_coroutines_at_once():
    array = Array(Worker, 3 * charm.numPes())
    assert array.iwait_values(array[0], 20, ret=True).get() == [
        list(range(20))] * 3 * charm.numPes()


@check
def test_iwait_takes_futures_that_others_wait_for_too():
    worker, gate = Chare(Worker, onPE=charm.myPe()), Future()
    outcome = worker.get_it(gate, ret=True)
    Group(Worker)[last()].send(gate, 'open')
    assert [future.get() for future in charm.iwait([gate, outcome])] == ['open', 'open']


# ---- sleep ----

@check
def test_a_sleep_lasts_at_least_as_long_as_asked_for():
    for pe in {0, last()}:
        worker = Chare(Worker, onPE=pe)
        for method in (worker.sleep, worker.sleep_async, worker.sleep_plainly):
            assert method(0.02, ret=True).get() >= 0.02
            assert method(0, ret=True).get() >= 0
    start = time.monotonic()
    charm.sleep(0.01)
    assert time.monotonic() - start >= 0.01


@check
def test_while_a_coroutine_sleeps_others_run_and_wake_in_the_order_of_their_times():
    worker = Chare(Worker, onPE=last())
    done = [worker.sleep_and_note(seconds, seconds, awaitable=True)
            for seconds in (0.15, 0.05, 0.1, 0)]
    worker.note('meanwhile')
    charm.wait(done)
    assert worker.get_order(ret=True).get() in (['meanwhile', 0, 0.05, 0.1, 0.15],
                                                [0, 'meanwhile', 0.05, 0.1, 0.15])


@check
def test_thousands_of_coroutines_may_sleep_at_once():
    worker = Chare(Worker, onPE=last())
    done = [worker.sleep_and_note(0.01, i, awaitable=True) for i in range(3000)]
    charm.wait(done)
    assert worker.get_order(ret=True).get() == list(range(3000))


@check
def test_a_time_that_is_no_number_is_refused():
    for bad in ('x', None, float('nan')):
        for call in (charm.sleep, lambda s: charm.scheduleCallableAfter(print, s)):
            try:
                call(bad)
            except (TypeError, ValueError):
                pass
            else:
                assert False, bad


# ---- timers ----

@check
def test_a_function_is_called_later_with_its_arguments():
    got = []
    start = time.monotonic()
    future = Future()
    charm.scheduleCallableAfter(lambda *args: (got.append(args), future.send()), 0.02, [1, 'x'])
    assert got == []
    future.get()
    assert got == [(1, 'x')] and time.monotonic() - start >= 0.02


@check
def test_futures_and_methods_of_proxies_can_be_called_later():
    group = Group(Worker)
    first, second = Future(), Future()
    charm.scheduleCallableAfter(first, 0.001)
    charm.scheduleCallableAfter(second, 0.001, ['value'])
    assert first.get() is None and second.get() == 'value'
    charm.scheduleCallableAfter(group[last()].note, 0.001, ['noted'])
    charm.sleep(0.01)
    while group[last()].get_order(ret=True).get() != ['noted']:
        charm.sleep(0.001)


@check
def test_every_pe_has_timers():
    future = Future(charm.numPes() + 1)
    Group(Worker).schedule(future, 0.002)
    future.send(-1)
    assert sorted(future.get()) == list(range(-1, charm.numPes()))


@check
def test_thousands_of_timers_may_be_set():
    fired, future = [], Future()
    times = [(i * 7919) % 1000 / 50000 for i in range(3000)]
    for i, seconds in enumerate(times):
        charm.scheduleCallableAfter(fired.append, seconds, [i])
    charm.scheduleCallableAfter(future, 0.05)
    future.get()
    assert sorted(fired) == list(range(3000))


@check
def test_timers_of_one_time_fire_in_the_order_of_their_creation():
    fired, future = [], Future()
    for i in range(100):
        charm.scheduleCallableAfter(fired.append, 0, [i])
    charm.scheduleCallableAfter(future, 0.001)
    future.get()
    assert fired == list(range(100))


@check
def test_only_what_can_be_called_is_scheduled():
    try:
        charm.scheduleCallableAfter(5, 0)
    except TypeError as error:
        assert '5' in str(error)
    else:
        assert False, 'not raised'


if __name__ == '__main__':
    start_checks()
