"""Groups, arrays and single chares: what they are made of and where (SPEC 4, 0.1, 0.16)."""

from c4py import Array, Chare, Charm4PyError, Future, Group, Reducer, charm, coro

from model import check, start_checks


class Element(Chare):
    def __init__(self, *args):
        self.args = args

    def where(self):
        return charm.myPe()

    def index(self):
        return self.thisIndex

    def get_args(self):
        return self.args

    def make(self, kind):
        if kind == 'group':
            return Group(Element, args=['remote'])
        if kind == 'array':
            return Array(Element, (2, 3), args=['remote'])
        return Chare(Element, args=['remote'])

    def count(self, future):
        self.reduce(future, 1, Reducer.sum)

    def change(self, value):
        self.args += (value,)

    def touch(self):
        pass


class Immediate(Chare):
    made = []

    def __init__(self):
        Immediate.made.append(self.thisIndex)


class Two(Chare):
    """Has a constructor that a constructor of a subclass calls."""

    calls = 0

    def __init__(self, value):
        type(self).calls += 1
        self.value = value


class Three(Two):
    def __init__(self, a, b):
        super().__init__(a + b)

    def outcome(self):
        return self.value, type(self).calls


class NotThree(Two):
    """Does not call its parent's constructor."""

    def __init__(self):
        self.own = True

    def outcome(self):
        return self.own, hasattr(self, 'value')


class PlainConstructor(Chare):
    def __init__(self):
        super().__init__()
        self.seen = self.thisIndex, self.thisProxy

    def get_seen(self):
        return self.seen


class Caller(Chare):
    def __init__(self, future):
        self.got = []
        if self.thisIndex == (0,):
            self.thisProxy.note('from the constructor')
        self.reduce(future, 1, Reducer.sum)

    def note(self, text):
        self.got.append(text)

    def get_got(self):
        return self.got


def blocks(total, pes):
    """The documented placement: the first total mod pes PEs take one more."""
    return [pe for pe in range(pes)
            for _ in range(total // pes + (pe < total % pes))]


def refused(call, error_class, *words):
    try:
        call()
    except error_class as error:
        assert all(word in str(error) for word in words), str(error)
    else:
        assert False, 'not raised'


@check
def test_a_group_has_one_element_on_every_pe():
    group = Group(Element)
    assert group.where(ret=True).get() == list(range(charm.numPes()))
    assert group.index(ret=True).get() == list(range(charm.numPes()))


@check
def test_arrays_are_placed_in_blocks_of_the_row_major_order():
    for total in (1, 2, 3, 5, 8, 10, 17, 100):
        assert Array(Element, total).where(ret=True).get() == blocks(total, charm.numPes())
    for shape in ((2, 3), (3, 1, 4), (2, 2, 2, 2), (1, 2, 1, 2, 3), (2, 1, 2, 1, 2, 2)):
        total = 1
        for extent in shape:
            total *= extent
        array = Array(Element, shape)
        assert array.where(ret=True).get() == blocks(total, charm.numPes())
        index = array.index(ret=True).get()
        assert index == sorted(index) and len(set(index)) == total
        assert index[-1] == tuple(extent - 1 for extent in shape)
        assert array[index[-1]].index(ret=True).get() == index[-1]


@check
def test_array_indexes_are_tuples_of_plain_ints_and_group_indexes_are_ints():
    for index in Array(Element, (1, 2)).index(ret=True).get():
        assert type(index) is tuple and [type(i) for i in index] == [int, int]
    assert [type(i) for i in Array(Element, 1).index(ret=True).get()] == [tuple]
    assert [type(i) for i in Group(Element).index(ret=True).get()] == [int] * charm.numPes()


@check
def test_dims_may_be_an_int_a_tuple_or_a_list():
    import numpy
    for dims in (4, (4,), [4], [2, 2], (4, 1), numpy.int64(4), (numpy.int32(2), 2)):
        assert len(Array(Element, dims).index(ret=True).get()) == 4
    assert len(Array(Element, dims=(2, 2), ndims=2).index(ret=True).get()) == 4


@check
def test_an_array_may_be_empty():
    for dims in (0, (0, 0), (3, 0)):
        array = Array(Element, dims)
        assert array.where(ret=True).get() == []
        assert array.touch(awaitable=True).get() is None
        array.touch()
        charm.awaitCreation(array)


@check
def test_a_wrong_shape_is_refused():
    refused(lambda: Array(Element), Charm4PyError, 'dims')
    refused(lambda: Array(Element, (2, 2), ndims=3), Charm4PyError, 'ndims=3', '2 dimensions')
    refused(lambda: Array(Element, (1,) * 7), Charm4PyError, '6')
    refused(lambda: Array(Element, ()), Charm4PyError, 'dimensions')
    refused(lambda: Array(Element, -1), Charm4PyError, '-1')
    refused(lambda: Array(Element, 2 ** 31), Charm4PyError, 'extent')
    refused(lambda: Array(Element, (2 ** 30,) * 6), Charm4PyError, 'too many')
    refused(lambda: Array(Element, 2.5), TypeError, '2.5')
    refused(lambda: Array(Element, 'x'), TypeError, 'dims')


@check
def test_only_chare_classes_can_be_created():
    class NoChare:
        pass

    for bad in (NoChare, int, 5, Chare, None, Element.where):
        for create in (Group, lambda cls: Array(cls, 2)):
            refused(lambda: create(bad), Charm4PyError, 'Chare')
    refused(lambda: Chare(NoChare), Charm4PyError, 'NoChare')


@check
def test_constructor_arguments_reach_every_element():
    values = [1, 'x', {'a': [2]}]
    for proxy in (Group(Element, args=values), Array(Element, 5, args=values)):
        assert set(map(str, proxy.get_args(ret=True).get())) == {str(tuple(values))}
    assert Chare(Element, args=values).get_args(ret=True).get() == tuple(values)
    assert Chare(Element, values).get_args(ret=True).get() == tuple(values)
    assert Group(Element, values).get_args(ret=True).get()[-1] == tuple(values)


@check
def test_many_constructor_arguments_work():
    values = list(range(200))
    assert Group(Element, args=values).get_args(ret=True).get() == [tuple(values)] * charm.numPes()


@check
def test_constructor_arguments_are_a_list():
    refused(lambda: Group(Element, args=5), TypeError, 'args')
    assert Group(Element, args=(1, 2))[0].get_args(ret=True).get() == (1, 2)


@check
def test_constructor_arguments_that_cannot_be_sent_raise_at_the_creator():
    if charm.numPes() > 1:
        refused(lambda: Group(Element, args=[x for x in [(y for y in ())]]), TypeError, 'generator')


@check
def test_construction_on_the_creating_pe_is_synchronous():
    Immediate.made = []
    Group(Immediate)
    assert Immediate.made == [charm.myPe()]
    Immediate.made = []
    Array(Immediate, 2 * charm.numPes())
    assert Immediate.made == [(0,), (1,)]
    Immediate.made = []
    Chare(Immediate, onPE=charm.myPe())
    assert Immediate.made == [(0,)]


@check
def test_no_constructor_runs_twice_or_unasked():
    Three.calls = NotThree.calls = 0
    assert set(Group(Three, args=[1, 2]).outcome(ret=True).get()) == {(3, 1)}
    assert set(Array(NotThree, 3).outcome(ret=True).get()) == {(True, False)}


@check
def test_index_and_proxy_are_there_in_the_constructor():
    group = Group(PlainConstructor)
    assert group.get_seen(ret=True).get() == [(pe, group) for pe in range(charm.numPes())]
    array = Array(PlainConstructor, 3)
    assert array.get_seen(ret=True).get() == [((i,), array) for i in range(3)]


@check
def test_constructors_may_call_and_contribute():
    future = Future()
    array = Array(Caller, 3 * charm.numPes(), args=[future])
    assert future.get() == 3 * charm.numPes()
    charm.waitQD()
    assert array.get_got(ret=True).get() == [['from the constructor']] * 3 * charm.numPes()


@check
def test_collections_can_be_created_on_any_pe():
    group = Group(Element)
    for pe in range(charm.numPes()):
        made = group[pe].make('group', ret=True).get()
        assert made.get_args(ret=True).get() == [('remote',)] * charm.numPes()
        made = group[pe].make('array', ret=True).get()
        assert made.where(ret=True).get() == blocks(6, charm.numPes())
        made = group[pe].make('chare', ret=True).get()
        assert made.get_args(ret=True).get() == ('remote',)


@check
def test_collections_can_be_created_through_the_remote_runtime():
    for pe in range(charm.numPes()):
        array = charm.thisProxy[pe].createArray(Element, 4, args=['c'], ret=True).get()
        assert array.get_args(ret=True).get() == [('c',)] * 4


@check
def test_a_single_chare_is_created_where_it_was_asked_for():
    for pe in range(charm.numPes()):
        assert Chare(Element, onPE=pe).where(ret=True).get() == pe
    refused(lambda: Chare(Element, onPE=charm.numPes()), IndexError, 'onPE')
    refused(lambda: Chare(Element, onPE=-2), IndexError, 'onPE')


@check
def test_single_chares_without_a_place_go_round_the_pes():
    places = [Chare(Element).where(ret=True).get() for _ in range(3 * charm.numPes())]
    assert sorted(places) == sorted(list(range(charm.numPes())) * 3)
    assert [(place + 1) % charm.numPes() for place in places[:-1]] == places[1:]


@check(pes=(2, 3, 4))
def test_creators_start_the_round_at_different_pes():
    group = Group(Element)
    places = [group[pe].make('chare', ret=True).get().where(ret=True).get()
              for pe in range(1, charm.numPes())]     # main has made any number of them
    assert len(set(places)) == charm.numPes() - 1


@check
def test_what_is_sent_before_the_elements_exist_is_kept_in_order():
    for _ in range(20):
        array = Array(Element, 2 * charm.numPes())
        for i in range(5):
            array.change(i)
        assert array.get_args(ret=True).get() == [tuple(range(5))] * 2 * charm.numPes()


@check
def test_a_large_array_works():
    future = Future()
    array = Array(Element, (100, 100))
    array.count(future)
    assert future.get() == 10000
    assert array[99, 99].index(ret=True).get() == (99, 99)


@check
def test_many_collections_work():
    arrays = [Array(Element, 3, args=[i]) for i in range(500)]
    assert [array[2].get_args(ret=True).get() for array in arrays[::50]] == [
        (i,) for i in range(0, 500, 50)]


@check
def test_there_are_no_sections_sparse_arrays_or_maps_yet_and_that_is_said():
    refused(lambda: Group(Element, onPEs=[0]), Charm4PyError, 'onPEs')
    refused(lambda: Array(Element, ndims=2), Charm4PyError, 'dims')
    refused(lambda: Array(Element, 3, map=1), Charm4PyError, 'map')


# ---- awaitCreation ----

class Slow(Chare):
    @coro
    def __init__(self):
        self.finished = False
        charm.sleep(0.01)
        self.finished = True

    def is_finished(self):
        return self.finished


class Creator(Chare):
    @coro
    def create(self):
        array = Array(Slow, 4)
        charm.awaitCreation(array)
        return array.is_finished(ret=True).get()

    async def create_async(self):
        array, group, chare = Array(Slow, 4), Group(Slow), Chare(Slow)
        await charm.awaitCreation(array, group, chare)
        return await array.is_finished(ret=True)


@check
def test_awaiting_creation_waits_for_constructors_that_are_coroutines():
    group, array, chare = Group(Slow), Array(Slow, 5), Chare(Slow, onPE=charm.numPes() - 1)
    charm.awaitCreation(group, array, chare)
    assert group.is_finished(ret=True).get() == [True] * charm.numPes()
    assert array.is_finished(ret=True).get() == [True] * 5
    assert chare.is_finished(ret=True).get()


@check
def test_creation_can_be_awaited_in_any_coroutine():
    group = Group(Creator)
    assert group.create(ret=True).get() == [[True] * 4] * charm.numPes()
    assert group.create_async(ret=True).get() == [[True] * 4] * charm.numPes()


@check
def test_creation_is_awaited_at_most_once_and_only_by_what_the_creation_returned():
    array = Array(Element, 3)
    assert hasattr(array, 'creation_future')
    charm.awaitCreation(array)
    assert not hasattr(array, 'creation_future')
    copy = Chare(Element, args=[Group(Element)]).get_args(ret=True).get()[0]
    twice = Group(Element)
    for bad in ((array,), (array[0],), (copy,), (5,), ('x',), (twice, twice)):
        refused(lambda: charm.awaitCreation(*bad), Charm4PyError, 'awaitCreation')
    charm.awaitCreation()


if __name__ == '__main__':
    start_checks()
