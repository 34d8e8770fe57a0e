"""charm.options.local_msg_optim: calls on one PE pass references (SPEC 0.13, 1.5, 3.1)."""

from c4py import Array, Chare, Future, Group, charm, coro

from model import check, start_checks


class Taker(Chare):
    def __init__(self):
        self.seen = []

    def append(self, values, *, value=None, times=1):
        values.extend([value] * times)

    def note(self, value):
        self.seen.append(value)

    def take_seen(self):
        seen, self.seen = self.seen, []
        return [value if isinstance(value, int) else 'object' for value in seen]

    def same(self, value, address):
        return id(value) == address

    @coro
    def later(self, values):
        charm.sleep(0.001)
        values.append('coroutine')

    async def later_still(self, values):
        await charm.sleep(0.001)
        values.append('async')

    def step(self, left, values):
        values.append(left)
        if left:
            self.thisProxy[self.thisIndex].step(left - 1, values)

    def fail(self, value):
        raise ValueError('failed')

    def one(self, value):
        return value


def here():
    """Chares on this PE, of each kind that has some."""
    pe = charm.myPe()
    return [Group(Taker)[pe], Array(Taker, charm.numPes())[pe], Chare(Taker, onPE=pe)]


@check
def test_a_call_on_its_own_pe_gets_the_very_object():
    for chare in here():
        values = []
        assert chare.same(values, id(values), ret=True).get()
        chare.append(values, value='x', times=2, awaitable=True).get()
        assert values == ['x', 'x']


@check
def test_coroutines_get_the_very_object():
    for chare in here():
        values = []
        chare.later(values, awaitable=True).get()
        chare.later_still(values, awaitable=True).get()
        assert values == ['coroutine', 'async']


@check
def test_what_cannot_be_pickled_can_be_passed_on_a_pe():
    for chare in here():
        chare.note((x for x in ()))
        assert chare.take_seen(ret=True).get() == ['object']


@check(pes=(2, 3, 4))
def test_calls_to_other_pes_copy():
    last = charm.numPes() - 1
    values = []
    for chare in (Group(Taker)[last], Array(Taker, charm.numPes())[last], Chare(Taker, onPE=last)):
        chare.append(values, value=1, awaitable=True).get()
    assert values == []


@check
def test_broadcasts_copy():
    values = []
    Group(Taker).append(values, value=1, awaitable=True).get()
    Array(Taker, 5).append(values, value=1, awaitable=True).get()
    assert values == []


@check
def test_messages_of_both_kinds_keep_their_order():
    for chare in here():
        for i in range(0, 1000, 2):
            chare.note(i)
            chare.note(i + 1)
        assert chare.take_seen(ret=True).get() == list(range(1000))


@check
def test_they_count_for_quiescence():
    group, values = Group(Taker), []
    group[charm.myPe()].step(200, values)
    charm.waitQD()
    assert values == list(range(200, -1, -1))


@check
def test_results_and_exceptions_come_back():
    for chare in here():
        assert chare.one([1], ret=True).get() == [1]
        try:
            chare.fail([], ret=True).get()
        except ValueError as error:
            assert 'in fail' in error.remote_stacktrace[1]
        else:
            assert False, 'not raised'


@check
def test_a_future_passed_by_reference_can_be_read():
    future = Future()
    chare = here()[0]
    assert chare.same(future, id(future), ret=True).get()


@check
def test_more_messages_than_older_versions_could_keep_may_wait():
    chare, values = here()[2], []
    for i in range(5000):
        chare.append(values, value=i)
    charm.waitQD()
    assert values == list(range(5000))


if __name__ == '__main__':
    charm.options.local_msg_optim = True
    start_checks()
