"""Detection of quiescence (SPEC 1.9)."""

from c4py import Array, Chare, Future, Group, charm, coro

from model import check, start_checks


class Walker(Chare):
    def __init__(self):
        self.steps = self.quiet = 0

    def walk(self, left, pe):
        self.steps += 1
        if left:
            self.thisProxy[pe % charm.numPes()].walk(left - 1, pe * 7 + 3)

    def fan(self, depth):
        self.steps += 1
        if depth:
            self.thisProxy[(self.thisIndex + 1) % charm.numPes()].fan(depth - 1)
            self.thisProxy[(self.thisIndex * 2) % charm.numPes()].fan(depth - 1)

    def get_steps(self):
        return self.steps

    def at_quiescence(self, *args):
        assert args == ()
        self.quiet += 1

    def get_quiet(self):
        return self.quiet

    @coro
    def sleep(self, seconds):
        charm.sleep(seconds)

    @coro
    def wait_for(self, future):
        future.get()

    @coro
    def wait_for_quiescence(self):
        charm.waitQD()
        return self.steps

    async def wait_for_quiescence_async(self):
        await charm.waitQD()
        return self.steps

    @coro
    def ask(self, left):
        for i in range(left):
            self.thisProxy[(self.thisIndex + i) % charm.numPes()].get_steps(ret=True).get()
        self.steps += 1


@check
def test_quiescence_comes_after_all_messages_that_messages_cause():
    group = Group(Walker)
    for _ in range(5):
        for i in range(10):
            group[i % charm.numPes()].walk(20, i)
        charm.waitQD()
    assert sum(group.get_steps(ret=True).get()) == 5 * 10 * 21
    group.fan(8)
    charm.waitQD()
    assert sum(group.get_steps(ret=True).get()) == 5 * 10 * 21 + charm.numPes() * (2 ** 9 - 1)


@check
def test_quiescence_waits_for_coroutines_that_messages_keep_alive():
    group = Group(Walker)
    group.ask(30)
    charm.waitQD()
    assert group.get_steps(ret=True).get() == [1] * charm.numPes()


@check
def test_sleeping_and_blocked_coroutines_do_not_count():
    group, gate = Group(Walker), Future()
    sleeping = group.sleep(0.2, awaitable=True)
    waiting = group[charm.myPe()].wait_for(gate, awaitable=True)
    charm.waitQD()
    assert not waiting.ready()
    gate.send()
    waiting.get()
    sleeping.get()


@check
def test_pending_timers_do_not_count():
    future = Future()
    charm.scheduleCallableAfter(future, 0.1)
    charm.waitQD()
    future.get()


@check
def test_quiescence_can_be_awaited_again_and_again():
    for _ in range(100):
        charm.waitQD()


@check
def test_a_future_can_be_told():
    future = Future()
    charm.startQD(future)
    assert future.get() is None


@check
def test_methods_of_any_proxy_can_be_told():
    group, array, chare = Group(Walker), Array(Walker, 5), Chare(Walker)
    charm.startQD(group.at_quiescence)
    charm.startQD(group[0].at_quiescence)
    charm.startQD(array.at_quiescence)
    charm.startQD(array[4].at_quiescence)
    charm.startQD(chare.at_quiescence)
    charm.waitQD()
    charm.waitQD()
    assert group.get_quiet(ret=True).get() == [2] + [1] * (charm.numPes() - 1)
    assert array.get_quiet(ret=True).get() == [1, 1, 1, 1, 2]
    assert chare.get_quiet(ret=True).get() == 1


@check
def test_many_may_wait_for_the_same_quiescence():
    group = Group(Walker)
    waiting = [group.wait_for_quiescence(ret=True) for _ in range(5)]
    waiting += [group.wait_for_quiescence_async(ret=True) for _ in range(5)]
    futures = [Future() for _ in range(20)]
    for future in futures:
        charm.startQD(future)
    charm.wait(futures)
    assert [future.get() for future in waiting] == [[0] * charm.numPes()] * 10


@check
def test_only_futures_and_methods_of_proxies_can_be_told():
    for bad in (print, 5, None):
        try:
            charm.startQD(bad)
        except TypeError as error:
            assert 'future' in str(error)
        else:
            assert False, bad


if __name__ == '__main__':
    start_checks()
