"""A client moves chares of its session, and calls them wherever they are."""

import pytest

pytest_plugins = ["sessions"]

BEGIN = """
import threading
import numpy
import c4py
from c4py import Chare, Charm4PyError, Reducer, charm, coro
session = c4py.connect(pes=3, quiet=True{more})

class Bad:
    def __reduce__(self):
        return int, ('not a number',)

class Nomad(Chare):
    def __init__(self, value=None):
        self.value, self.got, self.arrived = value, [], []
    def migrated(self):
        if not hasattr(self, 'arrived'):
            return
        self.arrived.append(charm.myPe())
    def where(self):
        return charm.myPe()
    def identity(self):
        return self.thisIndex, self.thisProxy, charm.myPe(), self.value
    def take(self, *values):
        self.got.append(values)
        return values[0] if values else None
    def taken(self):
        return self.got
    def set(self, value):
        self.value = value
    def set_lock(self):
        self.the_lock = threading.Lock()
    def plant(self):
        self.bad = Bad()
    def clear(self):
        del self.the_lock
    def go(self, pe):
        self.migrate(pe)
    def add(self, target):
        self.reduce(target, self.thisIndex[0], Reducer.gather)
    def call(self, callback):
        callback(charm.myPe())
    def fail(self):
        raise ValueError(f'on PE {charm.myPe()}')
    @coro
    def block(self):
        self.gate = c4py.Future()
        return self.gate.get()
    def release(self):
        self.gate.send(5)
"""


@pytest.fixture(params=["", ", shared_memory=False"], ids=["memory", "bridge"])
def client(request, start_client):
    """Run a client of a session of 3 PEs to a successful end; standard output, standard error."""

    def run(source):
        code, out, err = start_client(BEGIN.replace("{more}", request.param) + source).finish(60)
        assert code == 0, f"{out}\n{err}"
        return out, err

    return run


def test_chares_move_with_their_state_and_class(client):
    client("""
nomads, single = session.Array(Nomad, 5, args=[{1: [2]}]), session.Chare(Nomad, args=['x'])
for pe in (0, 1, 2, 2, 0):
    single.migrate(pe)
    assert single.identity(ret=True).get() == ((0,), single, pe, 'x')
    nomads[3].migrate(toPe=pe)
    assert nomads[3].identity(ret=True).get() == ((3,), nomads, pe, {1: [2]})
    nomads.migrate(pe, awaitable=True).get()
    assert nomads.where(ret=True).get() == [pe] * 5
    nomads[4].go(1)
    assert nomads[4].where(ret=True).get() == 1
""")


def test_messages_of_a_client_arrive_once_and_in_order(client):
    client("""
nomads = session.Array(Nomad, 4)
answers = []
for i in range(400):
    if i % 7 == 0:
        nomads[i % 4].migrate(i % 3)
    answers.append((i, nomads[i % 4].take(i, ret=True)))
    nomads[(i + 1) % 4].take(i)
assert all(answer.get() == i for i, answer in answers)
session.wait_quiescence()
for k, got in enumerate(nomads.taken(ret=True).get()):
    assert [i for i, in got] == [i for i in range(400) if k in (i % 4, (i + 1) % 4)
                                 ], (k, got)
""")


def test_broadcasts_reductions_and_callbacks_work_where_they_are(client):
    client("""
nomads = session.Array(Nomad, 7)
told = []
for round in range(1, 6):
    for i in range(7):
        nomads[i].migrate((i * round) % 3)
    nomads.take(round)
    result = session.Future()
    nomads.add(result)
    assert result.get() == list(range(7))
    assert [len(got) for got in nomads.taken(ret=True).get()] == [round] * 7
    session.wait_quiescence()
    assert nomads.where(ret=True).get() == [(i * round) % 3 for i in range(7)]
    nomads[5].call(session.callback(told.append), awaitable=True).get()
    nomads.add(session.callback(told.append))
    session.wait_quiescence()
    session.poll()
assert len(told) == 10 and told.count(list(range(7))) == 5, told
try:
    nomads[2].migrate(1)
    nomads[2].fail(ret=True).get()
except ValueError as error:
    assert str(error) == 'on PE 1'
else:
    assert False
""")


def test_large_arrays_move_and_come_back(client):
    client("""
size = 1 << 17
nomads = session.Array(Nomad, 2)
nomads[0].set(numpy.arange(size))
for pe in (1, 2, 0, 2):
    nomads[0].migrate(pe)
    value = nomads[0].identity(ret=True).get()[3]
    assert (value == numpy.arange(size)).all()
    nomads[0].set(value)
""")


def test_what_is_refused_is_raised_in_the_client(client):
    client("""
nomads, group = session.Array(Nomad, 2), session.Group(Nomad)
def error_of(call, error_class):
    try:
        call().get()
    except error_class as error:
        return str(error)
    assert False, 'not raised'
assert '3' in error_of(lambda: nomads[0].migrate(3, ret=True), IndexError)
error_of(lambda: nomads[0].migrate(True, ret=True), TypeError)
error_of(lambda: group[0].migrate(1, ret=True), AttributeError)
nomads[1].migrate(2, awaitable=True).get()
blocked = nomads[1].block(ret=True)
text = error_of(lambda: nomads[1].migrate(0, ret=True), Charm4PyError)
assert 'Nomad[1]' in text and 'PE 0' in text and 'coroutine' in text, text
nomads[1].release()
assert blocked.get() == 5
assert nomads[1].where(ret=True).get() == 2
""")


def test_a_chare_that_cannot_be_pickled_stays_and_works_on_and_it_is_reported(client):
    _, err = client("""
nomads = session.Array(Nomad, 3)
nomads[1].migrate(0, awaitable=True).get()
nomads[1].set_lock(awaitable=True).get()
for pe in (2, 1):
    nomads[1].migrate(pe)
    for i in range(20):
        assert nomads[1].take(i, ret=True).get() == i
    assert nomads[1].where(ret=True).get() == 0
result = session.Future()
nomads.add(result)
assert result.get() == [0, 1, 2]
assert nomads.where(ret=True).get()[1] == 0
session.flush()
nomads[1].clear(awaitable=True).get()
nomads[1].migrate(2)
assert nomads[1].where(ret=True).get() == 2
assert nomads[1].taken(ret=True).get() == 2 * [(i,) for i in range(20)]
""")
    assert "Nomad[1]" in err and "lock" in err and "pickle" in err, err
    assert "PE 2" in err and "PE 1" in err, err


def test_a_chare_that_cannot_be_unpickled_is_reported_and_nobody_waits_for_it_for_ever(client):
    _, err = client("""
class Unreadable(Nomad):
    def __setstate__(self, state):
        raise LookupError('not to be restored')
bad = [session.Chare(Unreadable, onPE=0), session.Array(Nomad, 1)[0]]
bad[1].plant(awaitable=True).get()
for one in bad:
    one.migrate(2)
    assert one.where(ret=True).get() == 2
    try:
        one.taken(ret=True).get()
    except AttributeError as error:
        assert 'got' in str(error)
    else:
        assert False, 'not raised'
session.flush()
""")
    assert "Unreadable[0]" in err and "not to be restored" in err and "PE 2" in err, err
    assert "Nomad[0]" in err and "not a number" in err, err


def test_a_client_that_comes_later_finds_chares_where_they_are(start_client, start_daemon):
    state = start_daemon(pes=3).state_dir
    begin = BEGIN.replace("connect(", "connect(sys.argv[1], ").replace("{more}", ", name='moving'")
    start_client("import sys" + begin + """
nomads = session.Array(Nomad, 6)
for i in range(6):
    nomads[i].migrate(2 - i % 3)
    nomads[i].take('first')
session.publish('nomads', nomads)
session.wait_quiescence()
session.detach()
""", state).succeeds()
    start_client("""
import sys
import c4py
session = c4py.connect(sys.argv[1], name='moving', create=False, quiet=True)
nomads = session.lookup('nomads')
assert nomads.where(ret=True).get() == [2 - i % 3 for i in range(6)]
for i in range(6):
    nomads[i].take('second')
    nomads[i].migrate(i % 3)
    nomads[i].take('third')
    assert nomads[i].where(ret=True).get() == i % 3
assert nomads.taken(ret=True).get() == [[('first',), ('second',), ('third',)]] * 6
session.close()
""", state).succeeds()
