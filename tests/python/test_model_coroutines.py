"""Coroutines: `@coro` methods and `async def` methods (SPEC 3.3, 0.14, 1.6)."""

from c4py import Array, Chare, Charm4PyError, Future, Group, NotThreadedError, charm, coro, threaded
from c4py import coro_ext

from model import check, start_checks


class Peer(Chare):
    def __init__(self):
        self.running = 0

    def value(self, x):
        return x

    def fail(self):
        raise KeyError('failed')

    @coro
    def chain(self, others):
        if not others:
            return [charm.myPe()]
        return [charm.myPe()] + others[0].chain(others[1:], ret=True).get()

    async def chain_async(self, others):
        if not others:
            return [charm.myPe()]
        return [charm.myPe()] + await others[0].chain_async(others[1:], ret=True)

    @coro
    def enter(self, gate, entered):
        self.running += 1
        entered.send(self.running)
        gate_value = gate.get()
        self.running -= 1
        return gate_value, self.running

    async def enter_async(self, gate, entered):
        self.running += 1
        entered.send(self.running)
        await gate
        self.running -= 1
        return self.running

    def threads(self):
        return self._numthreads

    @coro
    def own_future(self, peer):
        future = Future()
        peer.send_to(future)
        return future.get()

    def send_to(self, future):
        future.send('sent')

    def suspended_state(self):
        return self.running

    # ---- direct calls ----

    @coro
    def waits(self, peer):
        return peer.value(5, ret=True).get()

    @coro
    def calls_directly(self, peer):
        return self.waits(peer)

    def calls_directly_without_being_one(self, peer):
        try:
            return self.waits(peer)
        except NotThreadedError as error:
            return str(error)

    # ---- outside of coroutines ----

    def no_coroutine(self, peer):
        texts = []
        for call in (lambda: Future(), lambda: peer.value(1, ret=True),
                     lambda: peer.value(1, awaitable=True), lambda: self.allreduce(),
                     lambda: charm.waitQD()):
            try:
                call()
            except NotThreadedError as error:
                assert error.message == str(error)
                texts.append(error.message)
        return texts

    @coro
    def give_future(self):
        self.future = Future()

    def get_outside(self):
        texts = []
        for call in (lambda: self.future.get(), lambda: charm.wait([self.future]),
                     lambda: list(charm.iwait([self.future]))):
            try:
                call()
            except NotThreadedError as error:
                texts.append(str(error))
        return texts

    # ---- async def ----

    async def nothing_awaited(self):
        return 'done'

    async def helper(self, x):
        return await self.thisProxy[self.thisIndex].value(x, ret=True)

    async def nested(self):
        return [await self.helper(i) for i in range(3)]

    async def catch(self, peer):
        try:
            await peer.fail(ret=True)
        except KeyError as error:
            return error.args

    async def throws(self):
        await charm.sleep(0)
        raise ValueError('from async')

    async def uses_get(self, peer):
        future = peer.value(1, ret=True)
        try:
            return future.get()
        except Charm4PyError as error:
            await future
            return str(error)

    async def gets_done_one(self, peer):
        future = peer.value(1, ret=True)
        await future
        return future.get()

    async def awaits_again(self, peer):
        future = peer.value((1, 2), ret=True)
        return [await future, await future]

    async def awaits_nonsense(self):
        class Nonsense:
            def __await__(self):
                yield 'nonsense'
        await Nonsense()

    async def waiting_things(self, peer):
        futures = [peer.value(i, ret=True) for i in range(3)]
        await charm.wait(futures)
        values = [future.get() for future in futures]
        await charm.wait([])
        await charm.sleep(0.001)
        await charm.waitQD()
        total = await self.allreduce()
        return values, total

    async def async_generator_inside(self, peer):
        async def generate():
            for i in range(3):
                yield await peer.value(i, ret=True)
        return [value async for value in generate()]


class Old(Chare):
    @threaded
    def waits(self, peer):
        return peer.value(1, ret=True).get()

    @coro_ext(event_notify=True)
    def waits_too(self, peer):
        return peer.value(2, ret=True).get()


class Plain(Chare):
    """Its constructor is no coroutine, though main may run it."""

    def __init__(self):
        self.texts = []
        for call in (lambda: Future(), lambda: charm.thisProxy[0].myPe(ret=True),
                     lambda: self.thisProxy.text(ret=True)):
            try:
                call()
            except NotThreadedError as error:
                self.texts.append(str(error))

    def text(self):
        return self.texts


def last():
    return charm.numPes() - 1


def peers():
    return [Chare(Peer, onPE=charm.myPe()), Chare(Peer, onPE=last())]


@check
def test_coroutines_call_each_other_across_pes():
    group = Group(Peer)
    path = [group[pe] for _ in range(3) for pe in range(charm.numPes())]
    pes = [path_pe for _ in range(3) for path_pe in range(charm.numPes())]
    assert path[0].chain(path[1:], ret=True).get() == pes
    assert path[0].chain_async(path[1:], ret=True).get() == pes


@check
def test_while_one_waits_other_methods_and_instances_of_it_run():
    peer = Chare(Peer, onPE=charm.myPe())
    gate, entered = Future(), Future(4)
    outcomes = [peer.enter(gate, entered, ret=True) for _ in range(4)]
    assert entered.get() == [1, 2, 3, 4]
    assert peer.suspended_state(ret=True).get() == 4
    gate.send('open')
    assert [outcome.get() for outcome in outcomes] == [('open', n) for n in (3, 2, 1, 0)]


@check
def test_while_one_awaits_other_methods_and_instances_of_it_run():
    peer = Chare(Peer, onPE=charm.myPe())
    gate, entered = Future(), Future(4)
    outcomes = [peer.enter_async(gate, entered, ret=True) for _ in range(4)]
    assert entered.get() == [1, 2, 3, 4]
    gate.send()
    assert [outcome.get() for outcome in outcomes] == [3, 2, 1, 0]


@check
def test_the_number_of_live_coroutines_is_known():
    peer = Chare(Peer, onPE=charm.myPe())
    gate, entered = Future(), Future(2)
    outcomes = [peer.enter(gate, entered, ret=True), peer.enter_async(gate, entered, ret=True)]
    entered.get()
    assert peer.threads(ret=True).get() == 2
    gate.send()
    charm.wait(outcomes)
    assert peer.threads(ret=True).get() == 0


@check
def test_a_coroutine_may_make_and_wait_for_futures():
    for peer in peers():
        for other in peers():
            assert peer.own_future(other, ret=True).get() == 'sent'


@check
def test_a_coroutine_called_directly_runs_in_the_caller_s_coroutine():
    for peer in peers():
        assert peer.calls_directly(peer, ret=True).get() == 5


@check
def test_a_coroutine_called_directly_from_a_plain_method_cannot_wait():
    for peer in peers():
        text = peer.calls_directly_without_being_one(peer, ret=True).get()
        assert 'Peer.calls_directly_without_being_one' in text and '@coro' in text


@check
def test_waiting_outside_of_a_coroutine_names_the_method_and_the_remedy():
    array = Array(Peer, charm.numPes() + 1)
    for texts in array.no_coroutine(array[0], ret=True).get():
        assert len(texts) == 5
        for text in texts:
            assert 'Peer.no_coroutine' in text and '@coro' in text
    array.give_future(awaitable=True).get()
    for texts in array.get_outside(ret=True).get():
        assert len(texts) == 3
        for text in texts:
            assert 'Peer.get_outside' in text and '@coro' in text


@check
def test_a_plain_constructor_cannot_wait_wherever_it_runs():
    for texts in Group(Plain).text(ret=True).get():
        assert len(texts) == 3
        for text in texts:
            assert 'Plain.__init__' in text and '@coro' in text
    assert Future() is not None         # and main still can


@check
def test_old_names_of_the_decorator_work():
    for pe in range(charm.numPes()):
        old, peer = Chare(Old, onPE=pe), Chare(Peer, onPE=0)
        assert old.waits(peer, ret=True).get() == 1
        assert old.waits_too(peer, ret=True).get() == 2


@check
def test_async_methods_need_not_await():
    assert Group(Peer).nothing_awaited(ret=True).get() == ['done'] * charm.numPes()


@check
def test_async_methods_may_await_their_own_async_functions():
    assert Array(Peer, 3).nested(ret=True).get() == [[0, 1, 2]] * 3


@check
def test_remote_exceptions_are_raised_by_await():
    for peer in peers():
        assert peer.catch(peer, ret=True).get() == ('failed',)


@check
def test_exceptions_of_async_methods_reach_the_caller():
    for peer in peers():
        try:
            peer.throws(ret=True).get()
        except ValueError as error:
            assert str(error) == 'from async' and 'throws' in error.remote_stacktrace[1]
        else:
            assert False, 'not raised'


@check
def test_get_in_an_async_method_says_to_await():
    for peer in peers():
        text = peer.uses_get(peer, ret=True).get()
        assert 'uses_get' in text and 'await' in text
        assert peer.gets_done_one(peer, ret=True).get() == 1


@check
def test_a_future_can_be_awaited_again():
    for peer in peers():
        assert peer.awaits_again(peer, ret=True).get() == [(1, 2), (1, 2)]


@check
def test_awaiting_what_is_no_awaitable_of_ours_is_an_error_that_says_so():
    for peer in peers():
        try:
            peer.awaits_nonsense(ret=True).get()
        except TypeError as error:
            assert 'awaits_nonsense' in str(error) and 'await' in str(error)
        else:
            assert False, 'not raised'


@check
def test_everything_that_waits_can_be_awaited():
    group = Group(Peer)
    assert group.waiting_things(group[0], ret=True).get() == [([0, 1, 2], None)] * charm.numPes()


@check
def test_async_generators_work_inside_of_async_methods():
    for peer in peers():
        assert peer.async_generator_inside(peer, ret=True).get() == [0, 1, 2]


@check
def test_many_coroutines_may_wait_at_once():
    peer = Chare(Peer, onPE=charm.myPe())
    gate, entered = Future(), Future(2000)
    outcomes = [peer.enter(gate, entered, ret=True) for _ in range(1000)]
    outcomes += [peer.enter_async(gate, entered, ret=True) for _ in range(1000)]
    assert len(entered.get()) == 2000
    gate.send()
    charm.wait(outcomes)
    assert peer.threads(ret=True).get() == 0


@check
def test_deep_recursion_of_coroutines_works():
    peer = Chare(Peer, onPE=last())
    assert len(peer.chain([peer] * 300, ret=True).get()) == 301


if __name__ == '__main__':
    start_checks()
