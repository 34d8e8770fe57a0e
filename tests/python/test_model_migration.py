"""Chares move between PEs (SPEC 5): what a program sees of it.

Their collections' reductions, broadcasts and quiescence: test_model_migration_all.py.
"""

import array
import gc
import threading

import numpy

from c4py import Array, Chare, Charm4PyError, Future, Group, Reducer, charm, coro

from model import check, start_checks

MOVING = (2, 3, 4)          # numbers of PEs on which there is somewhere to go


def last():
    return charm.numPes() - 1


def all_pes():
    return list(range(charm.numPes()))


def error_of(call, error_class):
    """What is raised by the call, or by the future that it returns."""
    try:
        future = call()
        if future is not None:
            future.get()
    except error_class as error:
        return error
    assert False, 'not raised'


class Nomad(Chare):
    """Remembers where it was made and where it came to."""

    def __init__(self, value=None):
        self.value = value
        self.made = [charm.myPe()]
        self.log = []

    def migrated(self):
        self.log.append(('migrated', charm.myPe()))

    def note(self, what):
        self.log.append((what, charm.myPe()))

    def get_log(self):
        return self.log

    def where(self):
        return charm.myPe()

    def identity(self):
        return self.thisIndex, self.thisProxy, charm.myPe(), self.made, self.value

    def go(self, *pes):
        for pe in pes:
            assert self.migrate(pe) is None
        self.log.append(('gone', charm.myPe()))
        return charm.myPe()

    def go_by_name(self, pe):
        self.migrate(toPe=pe)

    def come_along(self, other, pe):
        """Moves another chare, then asks it where it is by a message of its own."""
        other.migrate(pe)
        self.migrate(pe)

    def set(self, name, value):
        setattr(self, name, value)

    def get(self, name):
        return getattr(self, name)

    def fail(self):
        raise ValueError(f'on PE {charm.myPe()}')

    @coro
    def wait_for(self, other):
        return other.where(ret=True).get(), charm.myPe()

    async def wait_for_async(self, other):
        return await other.where(ret=True), charm.myPe()

    @coro
    def block(self, name):
        setattr(self, name, Future())
        return getattr(self, name).get()

    def release(self, name, value):
        getattr(self, name).send(value)

    @coro
    def go_from_coroutine(self, pe):
        self.migrate(pe)

    def threads(self):
        return self._numthreads


# ---- moving ----

@check
def test_an_element_moves_with_all_that_it_is_and_no_constructor_runs_again():
    nomads = Array(Nomad, 4, args=[{'a': [1]}])
    made = nomads.where(ret=True).get()
    for i in range(4):
        for pe in all_pes():
            nomads[i].migrate(pe)
            assert nomads[i].identity(ret=True).get() == (
                (i,), nomads, pe, [made[i]], {'a': [1]})


@check
def test_a_single_chare_moves():
    for start in all_pes():
        nomad = Chare(Nomad, args=['x'], onPE=start)
        for pe in [last(), 0, 0, last(), start]:
            nomad.migrate(pe)
            assert nomad.identity(ret=True).get() == ((0,), nomad, pe, [start], 'x')


@check
def test_a_chare_that_the_runtime_placed_moves():
    nomads = [Chare(Nomad) for _ in range(2 * charm.numPes())]
    for number, nomad in enumerate(nomads):
        nomad.migrate(number % charm.numPes())
    assert [nomad.where(ret=True).get() for nomad in nomads] == 2 * all_pes()


@check
def test_a_whole_array_moves_to_one_pe_and_on():
    nomads = Array(Nomad, (3, 4), args=['x'])
    made = nomads.where(ret=True).get()
    for pe in [last(), 0, charm.numPes() // 2]:
        assert nomads.migrate(pe, awaitable=True).get() is None
        found = nomads.identity(ret=True).get()
        assert found == [((i // 4, i % 4), nomads, pe, [made[i]], 'x') for i in range(12)]


@check
def test_a_broadcast_behind_a_move_of_all_finds_them_all_there():
    nomads = Array(Nomad, 11)
    for pe in [last(), 0] * 5:
        nomads.migrate(pe)
        assert nomads.where(ret=True).get() == [pe] * 11


@check
def test_elements_of_every_number_of_dimensions_move():
    for dims in [(3,), (2, 3), (1, 2, 2), (2, 1, 2, 1), (1, 1, 2, 1, 2), (2, 1, 1, 1, 1, 2)]:
        nomads = Array(Nomad, dims)
        index = tuple(extent - 1 for extent in dims)
        for pe in all_pes() + [0]:
            nomads[index].migrate(pe)
            assert nomads[index].identity(ret=True).get()[:3] == (index, nomads, pe)


@check
def test_the_flags_and_the_keyword_of_a_call_are_those_of_any():
    nomads = Array(Nomad, 2)
    assert nomads[0].migrate(last()) is None
    assert nomads[0].migrate(0, ret=True).get() is None
    assert nomads[0].migrate(last(), awaitable=True).get() is None
    assert nomads[0].where(ret=True).get() == last()
    nomads[0].migrate(toPe=0)
    assert nomads[0].where(ret=True).get() == 0
    assert nomads.migrate(toPe=last(), ret=True).get() == [None, None]
    assert nomads.where(ret=True).get() == [last()] * 2
    for args, keywords in ((), {}), ((0, 1), {}), ((), {'pe': 0}), ((0,), {'toPe': 0}):
        error_of(lambda: nomads[0].migrate(*args, **keywords, ret=True), TypeError)
    assert nomads[0].where(ret=True).get() == last()


@check
def test_a_method_that_calls_it_goes_on_where_it_is():
    nomad = Chare(Nomad, onPE=0)
    for pe in [last(), 0]:
        came_from = nomad.where(ret=True).get()
        assert nomad.go(pe, ret=True).get() == came_from
        assert nomad.where(ret=True).get() == pe
    nomad.go_by_name(last())
    assert nomad.where(ret=True).get() == last()


@check
def test_the_last_of_several_moves_counts():
    nomads = Array(Nomad, 2)
    for round in range(10):
        pes = [(round * 3 + i * i) % charm.numPes() for i in range(5)]
        for i in range(2):
            nomads[i].go(*pes, pes[0])
            assert nomads[i].where(ret=True).get() == pes[0]


@check
def test_to_move_where_it_is_does_no_harm():
    nomad = Chare(Nomad, args=['x'], onPE=last())
    for _ in range(5):
        nomad.migrate(last())
        nomad.go(last())
        nomad.go(0, last())
    assert nomad.identity(ret=True).get() == ((0,), nomad, last(), [last()], 'x')
    assert [pe for what, pe in nomad.get_log(ret=True).get() if what == 'gone'] == [last()] * 10


@check(pes=MOVING)
def test_migrated_is_called_on_the_new_pe_before_any_later_message():
    nomads = Array(Nomad, 3)
    for i in range(3):
        nomads[i].migrate(0, awaitable=True).get()
        nomads[i].set('log', [], awaitable=True).get()
        expected = []
        for pe in [step % charm.numPes() for step in range(1, 10)]:
            nomads[i].go(pe)
            nomads[i].note('first')
            nomads[i].note('second')
            expected += ['gone', 'migrated', ('first', pe), ('second', pe)]
        log = nomads[i].get_log(ret=True).get()
        assert [what if what in ('gone', 'migrated') else (what, pe)
                for what, pe in log] == expected
        assert [pe for what, pe in log if what == 'migrated'] == [
            step % charm.numPes() for step in range(1, 10)]


class Plain(Chare):
    """Has no migrated() of its own."""

    def __init__(self):
        self.notes = []

    def where(self):
        return charm.myPe()

    def note(self, what):
        self.notes.append(what)

    def noted(self):
        return self.notes


@check
def test_migrated_need_not_be_defined_and_cannot_be_called_from_outside():
    plain = Chare(Plain, onPE=0)
    assert not hasattr(plain, 'migrated')
    plain.migrate(last())
    assert plain.where(ret=True).get() == last()
    assert callable(Chare.migrated)         # for super().migrated()


class Heir(Nomad):
    def migrated(self):
        Chare.migrated(self)
        super().migrated()
        self.log.append(('heir', charm.myPe()))


@check(pes=MOVING)
def test_migrated_is_inherited_and_calls_that_of_its_base():
    heir = Chare(Heir, onPE=0)
    heir.migrate(last())
    assert heir.get_log(ret=True).get() == [('migrated', last()), ('heir', last())]


class Hopper(Chare):
    """Moves on from migrated(), as its route says."""

    def travel(self, route, arrived):
        self.route, self.arrived = route, arrived
        self.seen = [charm.myPe()]
        self.migrate(self.route.pop(0))

    def migrated(self):
        self.seen.append(charm.myPe())
        if self.route:
            self.migrate(self.route.pop(0))
        else:
            self.arrived(self.seen)

    def where(self):
        return charm.myPe()


@check(pes=MOVING)
def test_it_can_move_on_from_migrated():
    hoppers = Array(Hopper, 3)
    futures = [Future() for _ in range(3)]
    pes = charm.numPes()
    starts = hoppers.where(ret=True).get()
    routes = [[(start + 1 + i) % pes for i in range(3 * pes)] for start in starts]
    for i in range(3):
        hoppers[i].travel(routes[i], futures[i])
    for start, route, future in zip(starts, routes, futures):
        assert future.get() == [start] + route
    assert hoppers.where(ret=True).get() == [route[-1] for route in routes]


class Rounds(Chare):
    def hop(self, left, done):
        if left == 0:
            done(charm.myPe())
            return
        self.migrate((charm.myPe() + 1) % charm.numPes())
        self.thisProxy.hop(left - 1, done)


@check
def test_a_chare_hops_on_round_all_pes_a_thousand_times():
    done = Future()
    Chare(Rounds, onPE=0).hop(1000, done)
    assert done.get() == 1000 % charm.numPes()


# ---- where to ----

@check(pes=MOVING)
def test_it_may_go_to_a_pe_that_has_no_element_of_its_collection():
    small = Array(Nomad, 1, args=['x'])
    nomad = Chare(Nomad, args=['x'], onPE=0)
    for pe in all_pes()[::-1] + all_pes():
        small[0].migrate(pe)
        nomad.migrate(pe)
        assert small[0].identity(ret=True).get()[2:] == (pe, [0], 'x')
        assert small.where(ret=True).get() == [pe]
        assert nomad.where(ret=True).get() == pe


@check(pes=MOVING)
def test_it_may_go_before_its_collection_is_known_where_it_goes():
    for _ in range(20):
        nomads = Array(Nomad, charm.numPes(), args=['x'])
        single = Chare(Nomad, args=['x'], onPE=0)
        nomads[0].migrate(last())
        single.migrate(last())
        assert nomads[0].identity(ret=True).get() == ((0,), nomads, last(), [0], 'x')
        assert single.identity(ret=True).get() == ((0,), single, last(), [0], 'x')


class Maker(Chare):
    """Makes chares of a class that no other PE has heard of, and sends them away at once."""

    def make(self, pe):
        class Unheard(Nomad):
            pass
        made = Chare(Unheard, args=['x'], onPE=charm.myPe())
        made.migrate(pe)
        array = Array(Unheard, 2 * charm.numPes(), args=['x'])
        array[2 * charm.myPe()].migrate(pe)
        return made, array


@check(pes=MOVING)
def test_it_may_go_where_even_its_class_is_not_known():
    makers = Group(Maker)
    for start in all_pes():
        pe = (start + 1) % charm.numPes()
        made, array = makers[start].make(pe, ret=True).get()
        assert made.identity(ret=True).get() == ((0,), made, pe, [start], 'x')
        assert array[2 * start].identity(ret=True).get() == (
            (2 * start,), array, pe, [start], 'x')
        assert array.where(ret=True).get()[2 * start] == pe


class BornAway(Nomad):
    def __init__(self, pe):
        super().__init__()
        self.migrate(pe)


@check
def test_a_constructor_may_send_it_away():
    chare, array = Chare(BornAway, args=[last()], onPE=0), Array(BornAway, 5, args=[last()])
    charm.awaitCreation(chare, array)
    assert chare.where(ret=True).get() == last()
    assert array.where(ret=True).get() == [last()] * 5


@check
def test_the_pe_may_be_any_kind_of_integer():
    nomad = Chare(Nomad, onPE=0)
    for kind in (numpy.int32, numpy.uint8, numpy.int64):
        nomad.migrate(kind(last()))
        assert nomad.where(ret=True).get() == last()
        nomad.go(kind(0))
        assert nomad.where(ret=True).get() == 0


# ---- refusals ----

@check
def test_a_pe_that_is_not_there_is_refused_with_those_that_are():
    nomads = Array(Nomad, 2)
    for pe in (-1, charm.numPes(), 10 ** 6, 2 ** 40, -2 ** 70):
        for call in (lambda: nomads[1].migrate(pe, ret=True), lambda: nomads[1].go(pe, ret=True),
                     lambda: Chare(Nomad).migrate(toPe=pe, awaitable=True)):
            text = str(error_of(call, IndexError))
            assert str(pe) in text and str(last()) in text, text
    assert nomads[1].get_log(ret=True).get() == []


@check
def test_what_is_no_pe_is_refused():
    nomads = Array(Nomad, 2)
    for pe in (True, False, 1.0, numpy.float64(0), '0', None, [0]):
        error_of(lambda: nomads[1].migrate(pe, ret=True), TypeError)
        error_of(lambda: nomads[1].go(pe, ret=True), TypeError)
    assert nomads[1].get_log(ret=True).get() == []


@check
def test_a_chare_with_a_coroutine_that_waits_stays_and_works_on():
    pe = last()
    nomads = Array(Nomad, charm.numPes())
    waiting = nomads[pe].block('gate', ret=True)
    for call in (lambda: nomads[pe].migrate(0, ret=True), lambda: nomads[pe].go(0, ret=True)):
        text = str(error_of(call, Charm4PyError))
        assert f'Nomad[{pe}]' in text and 'PE 0' in text and 'coroutine' in text, text
    assert nomads[pe].where(ret=True).get() == pe and not waiting.ready()
    nomads[pe].release('gate', 7)
    assert waiting.get() == 7
    nomads[pe].set('gate', None)
    nomads[pe].migrate(0, ret=True).get()
    assert nomads[pe].where(ret=True).get() == 0


@check
def test_a_coroutine_cannot_move_its_own_chare():
    nomad = Chare(Nomad, onPE=last())
    text = str(error_of(lambda: nomad.go_from_coroutine(0, ret=True), Charm4PyError))
    assert 'Nomad[0]' in text and 'PE 0' in text and 'coroutine' in text, text
    assert nomad.where(ret=True).get() == last()
    nomad.migrate(0, ret=True).get()
    assert nomad.where(ret=True).get() == 0


class Settled(Chare):
    def go(self, pe):
        self.migrate(pe)

    def where(self):
        return charm.myPe()


@check
def test_groups_cannot_move():
    group = Group(Settled)
    for proxy in (group, group[0]):
        error = error_of(lambda: proxy.migrate(0), AttributeError)
        assert 'migrate' in str(error)
    text = str(error_of(lambda: group[last()].go(0, ret=True), Charm4PyError))
    assert f'Settled[{last()}]' in text and 'PE 0' in text and 'group' in text, text
    assert group.where(ret=True).get() == all_pes()


@check
def test_an_object_that_is_no_created_chare_cannot_move():
    text = str(error_of(lambda: Nomad(1).migrate(0), Charm4PyError))
    assert 'Nomad' in text, text


# ---- the state ----

class Valise:
    """Knows its owner, as parts of an object often do."""

    def __init__(self, owner):
        self.owner = owner


class Packer(Nomad):
    def pack(self):
        self.itself = self
        self.valise = Valise(self)
        self.twice = [self.valise, self.valise]

    def unpacked(self):
        return (self.itself is self, self.valise.owner is self, self.twice[0] is self.twice[1],
                self.twice[0] is self.valise)


@check(pes=MOVING)
def test_references_inside_the_state_stay_what_they_are():
    packer = Chare(Packer, onPE=0)
    packer.pack()
    for pe in [last(), 0]:
        packer.migrate(pe)
        assert packer.unpacked(ret=True).get() == (True,) * 4


class Custom(Chare):
    def __init__(self):
        self.kept, self.cache = 'kept', 'not to be moved'

    def __getstate__(self):
        return {'kept': self.kept, 'left': charm.myPe()}

    def __setstate__(self, state):
        self.restored = charm.myPe(), self.thisIndex, dict(state)
        self.kept = state['kept']

    def migrated(self):
        self.before = self.restored

    def get(self):
        return vars(self)


@check(pes=MOVING)
def test_getstate_and_setstate_of_the_class_are_used():
    custom = Array(Custom, 1)
    custom[0].migrate(last())
    restored = last(), (0,), {'kept': 'kept', 'left': 0}
    assert custom[0].get(ret=True).get() == {
        'kept': 'kept', 'restored': restored, 'before': restored}


class Slotted(Chare):
    __slots__ = ('a', 'b', 'never')

    def __init__(self):
        self.a, self.b = [1], self.thisIndex

    def get(self):
        return self.a, self.b, hasattr(self, 'never'), charm.myPe()


class SlottedHeir(Slotted):
    def __init__(self):
        super().__init__()
        self.c = 'in the dictionary'

    def get_all(self):
        return self.get(), self.c


@check(pes=MOVING)
def test_slots_move():
    slotted, heir = Chare(Slotted, onPE=0), Chare(SlottedHeir, onPE=0)
    for pe in [last(), 0]:
        slotted.migrate(pe)
        heir.migrate(pe)
        assert slotted.get(ret=True).get() == ([1], (0,), False, pe)
        assert heir.get_all(ret=True).get() == (([1], (0,), False, pe), 'in the dictionary')


class Empty(Chare):
    __slots__ = ()

    def where(self):
        return self.thisIndex, charm.myPe()


@check(pes=MOVING)
def test_a_chare_without_any_state_moves():
    empty = Array(Empty, 2)
    empty.migrate(last(), awaitable=True).get()
    assert empty.where(ret=True).get() == [((0,), last()), ((1,), last())]


@check(pes=MOVING)
def test_values_of_all_kinds_move():
    table = numpy.zeros(3, [('a', '<i4'), ('b', '>f8')])
    values = [1 << 100, 'text', b'bytes', bytearray(b'x'), 2.5, None, {1: (2, [3])}, {4, 5},
              array.array('d', [1.5]), numpy.float32(2), ValueError('text'), range(3)]
    arrays = [numpy.arange(12).reshape(3, 4).T, numpy.arange(20)[::3], table,
              numpy.array(['a', 'bc']), numpy.array([1, None], object), numpy.zeros((0, 3))]
    nomad = Chare(Nomad, args=[(values, arrays)], onPE=0)
    for pe in [last(), 0]:
        nomad.migrate(pe)
        moved, moved_arrays = nomad.get('value', ret=True).get()
        assert list(map(repr, moved)) == list(map(repr, values))
        for one, other in zip(moved_arrays, arrays):
            assert one.dtype == other.dtype and numpy.array_equal(one, other)


class Carrier(Chare):
    """Its arrays are its own wherever it is."""

    def __init__(self, size):
        self.load = numpy.arange(size, dtype=float)
        self.moves = 0

    def migrated(self):
        self.moves += 1
        self.load += 1              # it can be written to

    def take(self, load):
        self.load = load

    def check(self, size):
        return self.moves, bool((self.load == numpy.arange(size) + self.moves).all())

    def add(self, other):
        self.load += other
        self.moves += 1
        return self.load


@check(pes=MOVING)
def test_large_states_and_large_arguments_move():
    size = 1 << 17                                          # 1 MB
    carriers = Array(Carrier, 2, args=[size])
    here = carriers.add(numpy.zeros(size), ret=True).get()  # not in their homes' memory only
    assert all(array.shape == (size,) for array in here)
    for i in range(12):
        carriers[i % 2].migrate(i % charm.numPes())
        carriers[i % 2].add(numpy.ones(size))
    carriers[0].migrate(last())
    for i in range(2):
        load = carriers[i].add(numpy.zeros(size), ret=True).get()
        moves, _ = carriers[i].check(size, ret=True).get()
        assert load[-1] - load[0] == size - 1 and load[0] == moves - 2


@check(pes=MOVING)
def test_an_array_that_came_as_an_argument_moves_with_its_receiver():
    size = 1 << 17
    carrier = Chare(Carrier, args=[1], onPE=0)
    carrier.take(numpy.arange(size, dtype=float))
    for pe in [last(), 0, 1, last()]:
        carrier.migrate(pe)
    moves, right = carrier.check(size, ret=True).get()
    assert right and moves >= 3


@check(pes=MOVING)
def test_functions_and_classes_that_only_the_program_knows_move():
    class Local:
        def __init__(self, number):
            self.number = number

    factor = 7
    nomad = Chare(Nomad, args=[[lambda x: x * factor, Local(5)]], onPE=0)
    nomad.migrate(last())
    function, local = nomad.get('value', ret=True).get()
    assert function(6) == 42 and local.number == 5


class Sender(Chare):
    def __init__(self, future, proxies):
        self.future, self.proxies = future, proxies

    def send(self):
        self.future.send(charm.myPe())
        for proxy in self.proxies:
            proxy.note(charm.myPe())

    def same(self, proxies):
        return self.proxies == proxies, list(map(hash, self.proxies)) == list(map(hash, proxies))


@check(pes=MOVING)
def test_futures_and_proxies_in_the_state_lead_where_they_led():
    future, group, array = Future(3), Group(Plain), Array(Plain, 3)
    single = Chare(Plain, onPE=0)
    proxies = [group, group[last()], array, array[2], single]
    route = [last(), 0, 1]
    sender = Chare(Sender, args=[future, proxies], onPE=0)
    for pe in route:
        array.migrate(pe)
        single.migrate(pe)
        sender.migrate(pe)
        sender.send(awaitable=True).get()
        assert sender.same(proxies, ret=True).get() == (True, True)
    assert sorted(future.get()) == sorted(route)
    charm.waitQD()
    assert single.noted(ret=True).get() == route
    for proxies in group, array:
        notes = proxies.noted(ret=True).get()
        assert sorted(max(notes, key=len)) == sorted(2 * route), notes
        assert sum(map(len, notes)) == (len(notes) + 1) * len(route), notes


# ---- what stays behind ----

_kept = []


class Left(Nomad):
    def keep(self):
        _kept.append(self)


class Looker(Chare):
    @coro
    def look(self):
        """What the objects say that somebody has kept here."""
        found = []
        while _kept:
            old = _kept.pop()
            for use in (lambda: old.thisProxy, lambda: old.reduce(charm.thisProxy.exit),
                        lambda: old.contribute(1, Reducer.sum, charm.thisProxy.exit),
                        lambda: old.allreduce(), lambda: old.migrate(0)):
                try:
                    found.append(use())
                except Charm4PyError as error:
                    found.append(str(error))
        return found

    def kept_objects(self):
        gc.collect()
        return sum(isinstance(thing, Nomad) for thing in gc.get_objects())


@check(pes=MOVING)
def test_an_object_that_somebody_has_kept_says_that_it_has_migrated():
    lookers, left = Group(Looker), Array(Left, 2)
    left[0].migrate(0, awaitable=True).get()
    left[0].keep()
    left[0].migrate(last())
    assert left[0].where(ret=True).get() == last()
    found = lookers[0].look(ret=True).get()
    assert len(found) == 5
    for text in found:
        assert 'Left' in text and 'has migrated' in text, found


@check(pes=MOVING)
def test_nothing_of_it_stays_behind():
    lookers, nomads = Group(Looker), Array(Nomad, 20)
    charm.awaitCreation(nomads)
    before = sum(lookers.kept_objects(ret=True).get())
    for pe in [last(), 0] * 3:
        nomads.migrate(pe, awaitable=True).get()
        assert nomads.where(ret=True).get() == [pe] * 20
    charm.waitQD()
    assert sum(lookers.kept_objects(ret=True).get()) == before


# ---- working on ----

@check
def test_coroutines_run_where_it_is_and_find_others_where_they_are():
    nomads = Array(Nomad, 4)
    for i, pe in enumerate([0, last(), last(), 0]):
        nomads[i].migrate(pe, ret=True).get()
    pes = nomads.where(ret=True).get()
    assert pes == [0, last(), last(), 0]
    for i in range(4):
        for j in range(4):
            assert nomads[i].wait_for(nomads[j], ret=True).get() == (pes[j], pes[i])
            assert nomads[i].wait_for_async(nomads[j], ret=True).get() == (pes[j], pes[i])
    assert nomads.threads(ret=True).get() == [0] * 4


@check
def test_exceptions_come_back_from_where_it_is():
    nomads = Array(Nomad, 3)
    nomads[0].migrate(last(), ret=True).get()
    for flags in ({'ret': True}, {'awaitable': True}):
        error = error_of(lambda: nomads[0].fail(**flags), ValueError)
        assert str(error) == f'on PE {last()}' and error.remote_stacktrace[0] == last()
    error = error_of(lambda: nomads.fail(awaitable=True), ValueError)
    nomads.migrate(0, ret=True).get()
    assert [str(error) for error in nomads.fail(ret=True).get()] == ['on PE 0'] * 3


@check
def test_one_chare_moves_another_and_itself():
    nomads = Array(Nomad, 2)
    for pe in all_pes() * 3:
        nomads[0].come_along(nomads[1], pe, awaitable=True).get()
        assert nomads[0].where(ret=True).get() == pe
        assert nomads[0].wait_for(nomads[1], ret=True).get() == (pe, pe)


@check
def test_timers_and_callbacks_find_it_where_it_is():
    nomads = Array(Nomad, 2)
    callback = nomads[1].note
    for pe in all_pes():
        charm.scheduleCallableAfter(nomads[1].note, 0.01, [pe])
        nomads[1].migrate(pe, awaitable=True).get()
        nomads[0].set('value', callback, awaitable=True).get()
        nomads[0].migrate(last() - pe, awaitable=True).get()
        nomads[0].get('value', ret=True).get()(('back', pe))
    seen = []
    while len(seen) < 2 * charm.numPes():
        charm.sleep(0.005)
        seen = [what for what, _ in nomads[1].get_log(ret=True).get() if what != 'migrated']
    assert sorted(map(str, seen)) == sorted(
        [str(pe) for pe in all_pes()] + [str(('back', pe)) for pe in all_pes()])


@check
def test_threads_of_the_program_may_move_chares_too():
    nomads = Array(Nomad, 4)

    def run(i):
        for number in range(50):
            nomads[i].migrate((i + number) % charm.numPes())
            nomads[i].note(number)

    threads = [threading.Thread(target=run, args=[i]) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    charm.waitQD()              # main's messages are not behind those of threads
    for i in range(4):
        log = nomads[i].get_log(ret=True).get()
        assert [(what, pe) for what, pe in log if what != 'migrated'] == [
            (number, (i + number) % charm.numPes()) for number in range(50)]


@check(pes=MOVING)
def test_the_position_of_a_proxy_does_not_depend_on_where_it_is():
    nomads = Array(Nomad, 3)
    before = [hash(nomads[i]) for i in range(3)]
    nomads[1].migrate(last(), ret=True).get()
    _, mine, *_ = nomads[1].identity(ret=True).get()
    assert mine == nomads and mine[1] == nomads[1]
    assert [hash(mine[i]) for i in range(3)] == before


if __name__ == '__main__':
    start_checks()
