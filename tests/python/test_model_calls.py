"""Proxies and what is called through them (SPEC 1.7, 3.1, 3.2)."""

import pickle

from c4py import Array, Chare, Group, charm, coro

from model import check, start_checks


class Base(Chare):
    def inherited(self):
        return 'inherited'

    def replaced(self):
        return 'base'


class Mixin:
    def mixed_in(self):
        return 'mixed in'


class Worker(Base, Mixin):
    constant = 5

    class Inner:
        """A class is no method."""

    def __init__(self):
        self.seen = []

    def note(self, value):
        self.seen.append(value)

    def take_seen(self):
        seen, self.seen = self.seen, []
        return seen

    def echo(self, *values):
        return values

    def one(self, value):
        return value

    def nothing(self):
        pass

    def where(self):
        return charm.myPe(), self.thisIndex

    def replaced(self):
        return super().replaced() + ', replaced'

    def _single_underscore(self):
        return 'private'

    @staticmethod
    def static(a, b=2):
        return a + b

    @classmethod
    def on_class(cls, a):
        return cls.__name__, a

    shortcut = echo
    from_lambda = lambda self, x: x + 1             # noqa: E731

    def append_to(self, values):
        values.append(self.thisIndex)
        return list(values)

    def call_method(self, method, *args):
        method(*args)

    def own_note(self):
        self.thisProxy[self.thisIndex].note('by message')
        self.note('directly')

    @coro
    def own_proxy(self, other):
        return (self.thisProxy == other, hash(self.thisProxy) == hash(other),
                self.thisProxy[self.thisIndex] == other[self.thisIndex])

    def give(self, value, future):
        future.send(value)


class Plain(Chare):
    def where(self):
        return charm.myPe(), self.thisIndex

    def myself(self):
        return self.thisProxy


def last():
    return charm.numPes() - 1


def elements():
    """Proxies of elements of every kind of collection, on this PE and on the last."""
    group, array = Group(Worker), Array(Worker, (4, 4))
    proxies = [group[0], group[last()], array[0, 0], array[3, 3], Chare(Worker, onPE=0),
               Chare(Worker, onPE=last())]
    return proxies[charm.numPes() == 1:]


def collections():
    return [Group(Worker), Array(Worker, 5), Array(Worker, (2, 3))]


@check
def test_a_call_returns_none_at_once():
    for proxy in elements() + collections():
        assert proxy.nothing() is None


@check
def test_ret_gives_the_value_of_one_element():
    for proxy in elements():
        assert proxy.one([1, 'x'], ret=True).get() == [1, 'x']


@check
def test_awaitable_gives_the_value_of_one_element_too():
    for proxy in elements():
        assert proxy.one(3, awaitable=True).get() == 3


@check
def test_a_broadcast_with_ret_gives_the_values_in_the_order_of_indexes():
    assert Group(Worker).where(ret=True).get() == [(pe, pe) for pe in range(charm.numPes())]
    values = Array(Worker, (3, 5)).where(ret=True).get()
    assert [index for _, index in values] == [(i, j) for i in range(3) for j in range(5)]


@check
def test_an_awaitable_broadcast_gives_none():
    for proxy in collections():
        assert proxy.one(3, awaitable=True).get() is None


@check
def test_ret_wins_over_awaitable():
    assert Array(Worker, 2).one(3, ret=True, awaitable=True).get() == [3, 3]
    assert Array(Worker, 2).one(3, ret=False, awaitable=False) is None


@check
def test_concurrent_awaitable_broadcasts_do_not_mix():
    array = Array(Worker, 7)
    futures = [array.one(i, ret=True) for i in range(50)]
    done = [array.nothing(awaitable=True) for _ in range(20)]
    for i in reversed(range(50)):
        assert futures[i].get() == [i] * 7
    assert [future.get() for future in done] == [None] * 20


@check
def test_a_call_never_runs_inline_not_even_to_oneself():
    worker = Chare(Worker, onPE=charm.myPe())
    worker.own_note(awaitable=True).get()
    worker.nothing(awaitable=True).get()
    assert worker.take_seen(ret=True).get() == ['directly', 'by message']


@check
def test_inherited_mixed_in_private_static_and_class_methods_are_remote():
    worker = Chare(Worker, onPE=last())
    assert worker.inherited(ret=True).get() == 'inherited'
    assert worker.mixed_in(ret=True).get() == 'mixed in'
    assert worker.replaced(ret=True).get() == 'base, replaced'
    assert worker._single_underscore(ret=True).get() == 'private'
    assert worker.static(1, ret=True).get() == 3
    assert worker.static(1, 5, ret=True).get() == 6
    assert worker.static(b=4, a=3, ret=True).get() == 7
    assert worker.on_class(1, ret=True).get() == ('Worker', 1)
    assert worker.on_class(a=1, ret=True).get() == ('Worker', 1)
    assert worker.shortcut(1, 2, ret=True).get() == (1, 2)
    assert worker.from_lambda(1, ret=True).get() == 2


@check
def test_attributes_that_are_no_methods_are_not_remote():
    worker = Chare(Worker, onPE=0)
    for name in ('constant', 'Inner', 'wait', 'contribute', 'reduce', 'allreduce', 'migrated',
                 '__init__x', 'no_such'):
        assert not hasattr(worker, name), name


@check
def test_an_unknown_method_raises_at_the_caller_and_names_it():
    for proxy in elements() + collections():
        try:
            proxy.no_such_method(1)
        except AttributeError as error:
            assert 'no_such_method' in str(error)
        else:
            assert False, 'not raised'


@check
def test_many_arguments_arrive_in_order():
    values = tuple(range(300))
    for proxy in elements():
        assert proxy.echo(*values, ret=True).get() == values


@check
def test_all_kinds_of_arguments_arrive_equal():
    import array
    import datetime
    import fractions
    values = [None, True, False, 0, -1, 2 ** 63, -2 ** 200, 1.5, float('inf'), 1 + 2j, '', 'ü𝄞',
              b'', b'\0x', bytearray(b'ab'), (), (1, (2, [3])), [], {}, {'a': {1: 2}}, {1, 2},
              frozenset((1,)), range(5), slice(1, 2), array.array('d', [1, 2]),
              datetime.date(2020, 1, 2), fractions.Fraction(1, 3), int, len, Ellipsis]
    for proxy in (Chare(Worker, onPE=0), Chare(Worker, onPE=last())):
        assert list(proxy.echo(*values, ret=True).get()) == values
        for value in values:
            received = proxy.one(value, ret=True).get()
            assert received == value and type(received) is type(value)


@check
def test_functions_and_lambdas_travel():
    worker = Chare(Worker, onPE=last())
    factor = 3
    assert worker.one(last, ret=True).get()() == last()
    assert worker.one(lambda x: factor * x, ret=True).get()(5) == 15


@check
def test_numpy_arrays_are_received_as_private_writable_copies():
    import numpy
    given = numpy.arange(5000.)
    for proxy in elements():
        received = proxy.one(given, ret=True).get()
        assert received.flags.writeable and not numpy.shares_memory(received, given)
        received += 1
        assert (given == numpy.arange(5000.)).all()


@check
def test_the_caller_s_own_objects_are_never_touched():
    mine = []
    for proxy in elements() + collections():
        proxy.append_to(mine, awaitable=True).get()
    assert mine == []


@check
def test_elements_on_one_pe_share_the_arguments_of_a_broadcast():
    lengths = [len(value) for value in Array(Worker, 4 * charm.numPes()).append_to([], ret=True)
               .get()]
    assert lengths == [1, 2, 3, 4] * charm.numPes()


@check
def test_calls_to_one_target_arrive_in_order():
    proxies = elements()
    for i in range(500):
        for proxy in proxies:
            proxy.note(i)
    for proxy in proxies:
        assert proxy.take_seen(ret=True).get() == list(range(500))


# ---- proxies as values ----

@check
def test_proxies_travel_as_arguments_and_stay_equal():
    for proxy in elements() + collections():
        for worker in (Chare(Worker, onPE=0), Chare(Worker, onPE=last())):
            received = worker.one(proxy, ret=True).get()
            assert received == proxy and hash(received) == hash(proxy)
            nested, = worker.one({'here': [proxy]}, ret=True).get()['here']
            assert nested == proxy and type(nested) is type(proxy)


@check
def test_proxies_can_be_pickled():
    for proxy in elements() + collections():
        copy = pickle.loads(pickle.dumps(proxy))
        assert copy == proxy and hash(copy) == hash(proxy) and type(copy) is type(proxy)
        copy.nothing(awaitable=True).get()


@check
def test_the_same_proxies_are_equal_on_all_pes():
    for proxy in (Group(Worker), Array(Worker, (2, charm.numPes()))):
        assert set(proxy.own_proxy(proxy, ret=True).get()) == {(True, True, True)}


@check
def test_element_proxies_are_equal_however_their_index_was_written():
    array = Array(Worker, (3, 3))
    assert array[1, 2] == array[(1, 2)] == array[[1, 2]]
    assert hash(array[1, 2]) == hash(array[[1, 2]])
    assert array[1, 2] != array[2, 1]
    line = Array(Worker, 3)
    assert line[1] == line[(1,)] == line[[1]]
    assert len({line[0], line[(0,)], line[1], line[[1]]}) == 2


@check
def test_proxies_of_different_things_are_unequal():
    proxies = elements() + collections()
    assert len(set(proxies)) == len(proxies)
    group = Group(Worker)
    assert group != group[0] and group != None and not group == 'group'      # noqa: E711


@check
def test_indexes_may_be_anything_that_is_an_integer():
    import numpy
    array = Array(Worker, (2, 2))
    assert array[numpy.int64(1), numpy.uint8(0)] == array[1, 0]
    assert Group(Worker)[numpy.int32(0)].where(ret=True).get() == (0, 0)


@check
def test_indexes_of_other_types_are_refused():
    array, group = Array(Worker, 3), Group(Worker)
    for bad in (True, 1.0, 'x', None, (1.0,)):
        for proxy in (array, group):
            try:
                proxy[bad]
            except TypeError as error:
                assert 'int' in str(error)
            else:
                assert False, bad


@check
def test_an_index_out_of_bounds_raises_at_the_caller():
    group, array, plane = Group(Worker), Array(Worker, 3), Array(Worker, (2, 2))
    for take in (lambda: group[-1], lambda: group[charm.numPes()], lambda: array[3],
                 lambda: array[-1], lambda: plane[0, 2], lambda: plane[2 ** 40, 0],
                 lambda: plane[0], lambda: array[0, 0], lambda: plane[0, 0, 0, 0, 0, 0, 0]):
        try:
            take()
        except IndexError as error:
            assert 'Worker' in str(error) or '32 bits' in str(error)
        else:
            assert False, 'not raised'


@check
def test_an_element_proxy_still_reaches_the_other_elements():
    group = Group(Worker)
    assert group[0][last()] == group[last()]


@check
def test_class_names_of_proxies_tell_their_kind():
    group, array = Group(Worker), Array(Worker, 2)
    assert {p.__class__.__name__ for p in (group, group[0])} == {'WorkerGroupProxy'}
    assert {p.__class__.__name__ for p in (array, array[0], Chare(Worker))} == {'WorkerArrayProxy'}
    assert {p.__class__.__module__ for p in (group, array)} == {'__main__'}
    assert 'WorkerGroupProxy' in repr(group) and 'WorkerArrayProxy' in repr(array[1])
    assert 'Worker[1]' in repr(array[1]) and 'Worker[1, 0]' in repr(Array(Worker, (2, 2))[1, 0])


@check
def test_element_proxies_tell_their_index():
    assert Array(Worker, (2, 3))[1, 2].elemIdx == (1, 2)
    assert Array(Worker, 4)[3].elemIdx == (3,)
    assert Group(Worker)[0].elemIdx == 0
    assert Array(Worker, (2, 3)).ndims == 2 and Group(Worker).ndims == 1


@check
def test_a_group_gives_its_local_object():
    local = Group(Worker).ckLocalBranch()
    assert isinstance(local, Worker) and local.thisIndex == charm.myPe()


# ---- methods as values ----

@check
def test_methods_of_proxies_can_be_kept_sent_and_called():
    for proxy in elements():
        method = proxy.note
        method(1)
        Chare(Worker, onPE=last()).call_method(method, 2, awaitable=True).get()
        pickle.loads(pickle.dumps(method))(3)
        charm.waitQD()
        assert proxy.take_seen(ret=True).get() == [1, 2, 3]


@check
def test_a_method_of_a_collection_as_value_is_a_broadcast():
    array = Array(Worker, 3)
    Chare(Worker, onPE=last()).call_method(array.note, 'x', awaitable=True).get()
    charm.waitQD()
    assert array.take_seen(ret=True).get() == [['x']] * 3


@check
def test_a_method_as_value_takes_the_keywords_of_a_call():
    method = Chare(Worker, onPE=last()).one
    assert method(4, ret=True).get() == 4
    assert method(value=5, ret=True).get() == 5


@check
def test_a_method_tells_its_name_and_documentation():
    method = Group(Worker).where
    assert method.__name__ == 'where' and 'where' in repr(method)
    assert charm.thisProxy.exit.__doc__.startswith('End the program')


@check
def test_the_index_and_proxy_of_a_single_chare():
    chare = Chare(Plain, onPE=last())
    assert chare.where(ret=True).get() == (last(), (0,))
    assert chare.myself(ret=True).get() == chare


if __name__ == '__main__':
    start_checks()
