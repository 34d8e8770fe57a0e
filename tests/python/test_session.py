"""Clients with an embedded daemon: what a session can do.

Each test runs a client, a program of its own, whose assertions are the test's.
"""

import os
import pathlib
import signal

import pytest
from harness import children, wait_until

pytest_plugins = ["sessions"]

BEGIN = """
import sys
import c4py
from c4py import Chare, Reducer, charm, coro
session = c4py.connect(pes=2, quiet=True)
"""

NUMBER = """
class Number(Chare):
    def __init__(self, factor=1):
        self.factor = factor
    def value(self):
        return self.factor * self.thisIndex[0]
    def sum(self, target):
        self.reduce(target, self.value(), Reducer.sum)
    def where(self):
        return charm.myPe()
"""


def test_a_script_makes_an_array_and_reduces_over_it(run_client):
    run_client(BEGIN + NUMBER + """
numbers = session.Array(Number, 100, args=[3])
result = session.Future()
numbers.sum(result)
assert result.get() == 3 * sum(range(100))
assert numbers.value(ret=True).get() == [3 * i for i in range(100)]
assert set(numbers.where(ret=True).get()) == {0, 1}
session.close()
""")


def test_without_a_daemon_it_says_in_a_line_that_it_started_one(start_client):
    code, out, err = start_client("""
import c4py
with c4py.connect(pes=2, name='ours') as session:
    assert session.numPes() == 2
    print(session)
""").finish()
    assert code == 0, err
    assert err.count("\n") == 1
    assert "embedded" in err and "2 PEs" in err and "'ours' ends with this process" in err
    assert "<c4py.Session 'ours'" in out


def test_single_chares_groups_and_arrays_can_be_made_by_the_functions_of_the_module(run_client):
    run_client(BEGIN + """
class Where(Chare):
    def pe(self):
        return charm.myPe()

assert c4py.Chare(Where, onPE=1).pe(ret=True).get() == 1
assert c4py.Group(Where).pe(ret=True).get() == [0, 1]
assert len(c4py.Array(Where, (2, 3)).pe(ret=True).get()) == 6
assert (charm.numPes(), charm.myPe()) == (2, -1)
group = session.Group(Where)
charm.awaitCreation(group)
future = c4py.Future(2)
for pe in range(2):
    future.send(pe)
assert sorted(future.get()) == [0, 1]
""")


def test_a_class_that_is_defined_again_is_another_one(run_client):
    run_client(BEGIN + """
def define(answer):
    exec(f'class Worker(Chare):\\n  def ask(self): return {answer}', globals())

define(1)
first = session.Group(Worker)
define(2)
second = session.Group(Worker)
assert first.ask(ret=True).get() == [1, 1]
assert second.ask(ret=True).get() == [2, 2]
""")


def test_chares_of_a_client_can_create_chares_of_its_other_classes(run_client):
    run_client(BEGIN + """
class Inner(Chare):
    def name(self):
        return 'inner', charm.myPe()

class Outer(Chare):
    @coro
    def make(self):
        return c4py.Group(Inner).name(ret=True).get()
    def give(self):
        return c4py.Group(Inner)

outer = session.Group(Outer)
expected = [('inner', 0), ('inner', 1)]
assert outer.make(ret=True).get() == [expected, expected]
assert outer[1].give(ret=True).get().name(ret=True).get() == expected
assert session.Group(Inner).name(ret=True).get() == expected
""")


def test_objects_and_functions_of_main_travel_both_ways(run_client):
    run_client(BEGIN + """
import dataclasses

@dataclasses.dataclass
class Point:
    x: int
    def doubled(self):
        return Point(2 * self.x)

scale = 10

class Worker(Chare):
    def double(self, point):
        assert isinstance(point, Point)
        return point.doubled()
    def apply(self, function, value):
        return function(value)

worker = session.Chare(Worker, onPE=1)
answer = worker.double(Point(4), ret=True).get()
assert answer == Point(8) and type(answer) is Point
assert worker.apply(lambda value: value * scale, 4, ret=True).get() == 40
""")


def test_a_class_that_comes_back_from_a_pe_stays_what_it_is_here(run_client):
    run_client(BEGIN + """
class Point:
    count = 0
    def scaled(self):
        return scale
class Keeper(Chare):
    def keep(self, point):
        self.point = point
    def give(self):
        return self.point, Point
scale = 1
before = Point.scaled
keeper = session.Chare(Keeper, onPE=1)
keeper.keep(Point())
Point.count = 7
for scale in (2, 3):
    point, cls = keeper.give(ret=True).get()
    assert cls is Point and type(point) is Point and Point.scaled is before
    assert point.scaled() == scale and Point.count == 7
""")


def test_classes_of_a_module_that_the_client_can_import_are_found_by_the_pes(run_client, tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "workers.py").write_text(
        "from c4py import Chare\n"
        "class Worker(Chare):\n"
        "    def module(self):\n"
        "        import workers\n"
        "        return workers.Worker is type(self)\n"
    )
    run_client("""
import sys
sys.path.insert(0, 'lib')
import c4py, workers
with c4py.connect(pes=2, quiet=True) as session:
    assert session.Group(workers.Worker).module(ret=True).get() == [True, True]
""")


def test_a_class_that_the_pes_cannot_import_travels_by_itself(run_client):
    run_client(BEGIN + """
import types
made = types.ModuleType('made')
sys.modules['made'] = made
exec('import c4py\\n'
     'def help(): return 7\\n'
     'class Worker(c4py.Chare):\\n'
     '    def answer(self): return help()', made.__dict__)
assert session.Group(made.Worker).answer(ret=True).get() == [7, 7]
""")


def test_large_arrays_go_both_ways_and_outlive_the_session(run_client):
    run_client(BEGIN + """
import numpy
class Doubler(Chare):
    def double(self, array):
        return array * 2

doubler = session.Chare(Doubler, onPE=1)
given = numpy.arange(3_000_000, dtype=float)
results = [doubler.double(given + i, ret=True).get() for i in range(4)]
session.close()
for i, result in enumerate(results):
    assert numpy.array_equal(result, (given + i) * 2)
    result += 1                                 # they are ours
""")


def test_a_thousand_calls_can_be_under_way(run_client):
    run_client(BEGIN + """
class Adder(Chare):
    def add(self, a, b):
        return a + b

adders = session.Group(Adder)
futures = [adders[i % 2].add(i, 1, ret=True) for i in range(1000)]
assert [future.get() for future in futures] == list(range(1, 1001))
""")


def test_reductions_of_arrays_come_to_a_future_of_the_client(run_client):
    run_client(BEGIN + """
import numpy
class Part(Chare):
    def contribute_to(self, target):
        self.reduce(target, numpy.full(1000, self.thisIndex), Reducer.sum)
    def barrier(self, target):
        self.reduce(target)

parts = session.Group(Part)
for _ in range(20):
    result = session.Future()
    parts.contribute_to(result)
    assert (result.get() == 1).all()
    done = session.Future()
    parts.barrier(done)
    assert done.get() is None
""")


# ---- callbacks ----

def test_chares_and_reductions_call_functions_of_the_client(run_client):
    run_client(BEGIN + NUMBER + """
heard = []
hear = session.callback(lambda *args: heard.append(args))
numbers = session.Array(Number, 4)
numbers.sum(hear)
class Caller(Chare):
    def call(self, target):
        target('from', charm.myPe())
        self.reduce(target)
session.Group(Caller).call(hear)
session.wait_quiescence()
while len(heard) < 4:
    session.poll()
assert sorted(heard, key=repr) == [('from', 0), ('from', 1), (), (6,)]
""")


def test_a_chare_can_wait_for_what_a_callback_returns(run_client):
    run_client(BEGIN + """
class Asker(Chare):
    @coro
    def ask(self, target):
        return target(20, ret=True).get() + 1

asker = session.Chare(Asker, onPE=1)
assert asker.ask(session.callback(lambda value: 2 * value), ret=True).get() == 41
""")


def test_a_callback_can_call_chares_and_wait_for_them(run_client):
    run_client(BEGIN + NUMBER + """
numbers = session.Array(Number, 4)
class Asker(Chare):
    @coro
    def ask(self, target):
        return target(ret=True).get()

asker = session.Chare(Asker, onPE=1)
depth = 0
def nested():
    global depth
    depth += 1
    if depth < 5:
        return asker.ask(back, ret=True).get() + 1
    return sum(numbers.value(ret=True).get())
back = session.callback(nested)
assert asker.ask(back, ret=True).get() == 6 + 4

def close():
    session.close()
try:
    asker.ask(session.callback(close), ret=True).get()
except c4py.Charm4PyError as error:
    assert 'a callback cannot' in str(error)
else:
    raise AssertionError
assert not session.closed
""")


def test_an_exception_in_a_callback_is_shown_and_life_goes_on(start_client):
    code, out, err = start_client(BEGIN + """
called = []
def broken():
    called.append(True)
    raise LookupError('of the callback')
class Caller(Chare):
    def call(self, target):
        target()
session.Chare(Caller).call(session.callback(broken))
while not called:
    session.poll()
print(session.Group(Caller) is not None)
""").finish()
    assert (code, out) == (0, "True\n"), err
    assert "LookupError: of the callback" in err and "in broken" in err


# ---- errors ----

FAILING = BEGIN + """
class Failing(Chare):
    def fail(self, text):
        raise ValueError(text)
    def fine(self):
        return 'fine'
failing = session.Group(Failing)
"""


def test_a_remote_exception_is_raised_with_its_remote_traceback(start_client):
    code, _, err = start_client(FAILING + """
try:
    failing[1].fail('here', ret=True).get()
except ValueError as error:
    assert error.args == ('here',)
    pe, text = error.remote_stacktrace
    assert pe == 1 and 'in fail' in text
assert failing[1].fine(ret=True).get() == 'fine'
failing[1].fail('for all to see', ret=True).get()
""").finish()
    assert code == 1
    assert "PE 1:" in err and "in fail" in err
    assert err.rstrip().endswith("ValueError: for all to see")


def test_an_exception_that_nobody_waits_for_is_printed_and_the_session_goes_on(start_client):
    code, out, err = start_client(FAILING + """
failing[1].fail('unseen')
session.wait_quiescence()
print(failing.fine(ret=True).get())
session.flush()
""").finish()
    assert (code, out) == (0, "['fine', 'fine']\n"), err
    assert "PE 1: exception:" in err and "ValueError: unseen" in err


def test_an_exception_of_a_class_of_main_is_caught_as_such(run_client):
    run_client(BEGIN + """
class Mine(Exception):
    def __init__(self, a, b):
        super().__init__(f'{a} and {b}')
        self.a = a
class Failing(Chare):
    def fail(self):
        raise Mine(1, 2)
try:
    session.Group(Failing).fail(awaitable=True).get()
except Mine as error:
    assert error.a == 1 and str(error) == '1 and 2'
else:
    raise AssertionError
""")


def test_calls_of_a_collection_whose_constructor_failed_fail_with_its_error(run_client):
    run_client(BEGIN + """
class Broken(Chare):
    def __init__(self):
        raise KeyError('not made')
    def ask(self):
        return 1
broken = session.Group(Broken)
for _ in range(2):
    try:
        broken.ask(ret=True).get()
    except KeyError as error:
        assert error.args == ('not made',)
    else:
        raise AssertionError
""")


def test_get_with_a_timeout_leaves_the_future_usable(run_client):
    run_client(BEGIN + """
class Slow(Chare):
    @coro
    def answer(self, go):
        go.get()
        return 5
    def gate(self):
        pass
class Gate(Chare):
    def __init__(self):
        self.future = None
    @coro
    def stay(self):
        self.future = c4py.Future()
        return self.future.get()
    def open(self):
        self.future.send(5)
gate = session.Chare(Gate)
answer = gate.stay(ret=True)
try:
    answer.get(0.05)
except TimeoutError:
    pass
else:
    raise AssertionError
assert not answer.done()
gate.open()
assert answer.get(timeout=10) == 5
""")


# ---- life ----

def test_a_session_can_be_closed_twice_and_not_used_afterwards(run_client):
    run_client(FAILING + """
pending = c4py.Future()
session.close()
session.close()
assert session.closed and 'closed' in repr(session)
for use in (lambda: failing.fine(), lambda: session.Group(Failing), lambda: session.Future(),
            lambda: session.lookup('x'), session.flush, session.poll, pending.get,
            session.wait_quiescence, lambda: session.callback(print)):
    try:
        use()
    except c4py.Charm4PyError as error:
        assert 'closed' in str(error), error
    else:
        raise AssertionError(use)
try:
    pending.get()
except c4py.SessionClosed as error:
    assert 'closed' in str(error)
""")


def test_an_anonymous_session_cannot_be_detached_from(run_client):
    run_client(BEGIN + """
try:
    session.detach()
except c4py.Charm4PyError as error:
    assert 'it has no name' in str(error)
else:
    raise AssertionError
session.close()
session.detach()
""")


def test_a_process_has_one_session_at_a_time(run_client):
    run_client(BEGIN + """
try:
    c4py.connect()
except c4py.Charm4PyError as error:
    assert 'one session at a time' in str(error)
else:
    raise AssertionError
try:
    charm.start(lambda args: None)
except c4py.Charm4PyError as error:
    assert 'in a client' in str(error)
else:
    raise AssertionError
""")


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        ("pes=0", "1 PE or more"),
        ("pes=True", "1 PE or more"),
        ("name=''", "name"),
        ("ttl=5", "sessions with a name"),
        ("name='x', ttl=-1", "more than 0"),
        ("env={'A=B': 'c'}", "texts"),
        ("python='/nowhere/python'", "/nowhere/python"),
        ("python='/bin/false'", "exit code 1"),
        ("address='/nowhere'", "/nowhere"),
        ("cwd='/nowhere/at/all'", "/nowhere/at/all"),
    ],
)
def test_connect_refuses_what_it_cannot_do_with_a_sentence(run_client, arguments, complaint):
    run_client(f"""
import c4py
try:
    c4py.connect({arguments}, quiet=True)
except (c4py.Charm4PyError, ValueError) as error:
    assert {complaint!r} in str(error), error
else:
    raise AssertionError
c4py.connect(pes=1, quiet=True).close()
""")


def test_pes_run_where_and_with_what_connect_says(run_client, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    run_client("""
import os
import c4py
class Place(c4py.Chare):
    def tell(self):
        return os.getcwd(), os.environ['COLOUR'], 'C4P_SESSION_PATH' in os.environ
session = c4py.connect(pes=1, env={'COLOUR': 'blue'}, cwd='elsewhere', quiet=True)
assert session.Chare(Place).tell(ret=True).get() == (os.path.abspath('elsewhere'), 'blue', False)
""")


def test_prints_of_pes_appear_where_the_client_is(start_client):
    code, out, err = start_client(BEGIN + """
import io
class Printer(Chare):
    def say(self, text, stream='stdout'):
        print(text, charm.myPe(), file=getattr(sys, stream))
printers = session.Group(Printer)
printers.say('hello from')
printers[1].say('oops on', 'stderr')
session.flush()
sys.stdout = kept = io.StringIO()
printers[0].say('kept')
session.flush()
sys.stdout = sys.__stdout__
assert kept.getvalue() == 'kept 0\\n'
printers[1].say('\\u00e4 last', awaitable=True).get()
session.close()
""").finish()
    assert code == 0, err
    lines = out.splitlines()
    assert sorted(lines[:2]) == ["hello from 0", "hello from 1"]
    assert lines[2:] == ["ä last 1"]
    assert err == "oops on 1\n"


def test_exit_on_a_pe_ends_the_session_and_says_so(run_client):
    run_client(BEGIN + """
class Leaver(Chare):
    def leave(self, code):
        charm.exit(code)
    @coro
    def stay(self):
        c4py.Future().get()
leavers = session.Group(Leaver)
waiting = leavers.stay(ret=True)
leavers[1].leave(3)
try:
    waiting.get()
except c4py.SessionClosed as error:
    assert '3' in str(error), error
else:
    raise AssertionError
with c4py.connect(pes=1, quiet=True) as session:
    assert session.Chare(Leaver) is not None
""")


def test_exit_in_the_client_closes_its_session(run_client):
    run_client(BEGIN + """
charm.exit()
assert session.closed
""")


WAITING = BEGIN + """
import os
class Waiter(Chare):
    @coro
    def stay(self):
        c4py.Future().get()
    def pid(self):
        return os.getpid()
    def tell(self, target):
        target('told')
waiters = session.Group(Waiter)
"""


def test_when_a_pe_is_killed_all_that_waits_raises_with_the_reason(run_client):
    run_client(WAITING + """
import signal
futures = [waiters[i % 2].stay(ret=True) for i in range(10)]
os.kill(waiters[1].pid(ret=True).get(), signal.SIGKILL)
for future in futures:
    try:
        future.get()
    except c4py.SessionClosed as error:
        assert 'PE 1' in str(error) and 'killed' in str(error), error
    else:
        raise AssertionError
assert session.closed and 'PE 1' in repr(session)
session.close()
""")


def test_when_the_daemon_is_killed_all_that_waits_raises_with_the_reason(start_client):
    client = start_client(WAITING + """
future = waiters.stay(ret=True)
print('waiting', flush=True)
try:
    future.get()
except c4py.SessionClosed as error:
    assert 'daemon' in str(error), error
else:
    raise AssertionError
session.close()
""")
    assert client.says("waiting")
    (daemon,) = wait_until(lambda: children(client.process.pid))
    pes = children(daemon)
    assert len(pes) == 2
    os.kill(daemon, signal.SIGKILL)
    client.succeeds()


def test_an_interrupt_of_a_long_get_leaves_the_session_usable(start_client):
    client = start_client(WAITING + """
future = waiters.stay(ret=True)
try:
    print('waiting', flush=True)
    future.get()
except KeyboardInterrupt:
    print('interrupted', flush=True)
assert len(set(waiters.pid(ret=True).get())) == 2
""")
    assert client.says("waiting")
    client.signal(signal.SIGINT)
    assert client.says("interrupted")
    client.succeeds()


def test_an_interrupt_is_heard_at_whatever_moment_of_a_get_it_comes(run_client):
    run_client(WAITING + """
import signal, threading
future = waiters.stay(ret=True)
def interrupt():
    for _ in range(30):
        wanted.acquire()                # gets the interpreter when get() gives it up to sleep
        os.kill(os.getpid(), signal.SIGINT)
wanted = threading.Semaphore(0)
threading.Thread(target=interrupt, daemon=True).start()
for _ in range(30):
    try:
        wanted.release()
        future.get(timeout=20)
    except KeyboardInterrupt:
        pass
""")


def test_a_client_that_is_killed_leaves_nothing(start_client):
    client = start_client(WAITING + """
waiters.stay(ret=True)
print('waiting', flush=True)
input()
""")
    assert client.says("waiting")
    client.signal(signal.SIGKILL)           # no_leftovers sees the rest


def test_only_the_thread_that_connected_can_wait_but_others_can_send(run_client):
    run_client(WAITING + """
import threading
told = c4py.Future()
complaints = []
def work():
    waiters[0].tell(told)
    session.Group(Waiter)
    for wait in (lambda: waiters.pid(ret=True), told.get, session.flush, session.close,
                 session.poll, session.wait_quiescence):
        try:
            wait()
        except c4py.Charm4PyError as error:
            complaints.append(str(error))
thread = threading.Thread(target=work)
thread.start()
thread.join()
assert len(complaints) == 6, complaints
for complaint in complaints:
    assert 'only the thread that' in complaint, complaint
assert told.get() == 'told'
""")


def test_when_the_thread_that_connected_has_ended_another_one_can_drive(run_client):
    run_client("""
import threading
import c4py
class Worker(c4py.Chare):
    def five(self):
        return 5
def work():
    global session, worker
    session = c4py.connect(pes=1, quiet=True)
    worker = session.Chare(Worker)
    assert worker.five(ret=True).get() == 5
for _ in range(3):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    session.wait_quiescence()
    assert worker.five(ret=True).get() == 5
    session.close()
thread = threading.Thread(target=work)
thread.start()
thread.join()
""")


def test_a_forked_child_is_no_client(run_client):
    run_client(WAITING + """
child = os.fork()
if child == 0:
    try:
        for use in (lambda: waiters.pid(ret=True), lambda: session.Group(Waiter), session.flush,
                    c4py.connect):
            try:
                use()
            except c4py.Charm4PyError as error:
                assert 'forked by a PE' not in str(error) and 'forked' in str(error), error
            else:
                os._exit(1)
        os._exit(0)
    except BaseException:
        import traceback
        traceback.print_exc()
    os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert len(waiters.pid(ret=True).get()) == 2
""")


def test_a_child_that_outlives_a_killed_client_does_not_keep_its_session(start_client):
    client = start_client(WAITING + """
child = os.fork()
if child == 0:
    input()
    os._exit(0)
print(child, *waiters.pid(ret=True).get(), flush=True)
waiters.stay(ret=True).get()
""")
    assert client.says("\n")
    child, *pes = map(int, client.out.split())
    client.signal(signal.SIGKILL)
    assert wait_until(lambda: not any(pathlib.Path(f"/proc/{pid}").exists() for pid in pes))
    assert pathlib.Path(f"/proc/{child}").exists()
    client.go_on()


def test_twenty_sessions_leave_no_descriptors_mappings_or_threads(run_client):
    run_client("""
import gc, os, threading
import numpy
import c4py
from c4py import Chare

class Echo(Chare):
    def back(self, value):
        return value

def once():
    with c4py.connect(pes=1, quiet=True) as session:
        echo = session.Chare(Echo)
        assert echo.back(numpy.arange(100_000), ret=True).get()[-1] == 99_999
        assert echo.back(session.callback(print), ret=True).get() is not None

def held():
    gc.collect()
    with open('/proc/self/maps') as maps:
        segments = sum('memfd:c4p' in line for line in maps)
    return len(os.listdir('/proc/self/fd')), segments, threading.active_count(), \\
        len(os.listdir('/proc/self/task'))

once()
before = held()
for _ in range(20):
    once()
assert held() == before, (before, held())
assert before[1] == 0
""")


def test_the_session_itself_cannot_be_sent(run_client):
    run_client(BEGIN + """
class Taker(Chare):
    def take(self, value):
        pass
try:
    session.Chare(Taker).take(session)
except TypeError as error:
    assert 'cannot be sent' in str(error)
else:
    raise AssertionError
""")


def test_names_are_published_and_looked_up(run_client):
    run_client(BEGIN + """
class Keeper(Chare):
    def answer(self):
        return 42
session.publish('keeper', session.Chare(Keeper, onPE=1))
session.publish('limits', {'low': 1})
assert session.lookup('keeper').answer(ret=True).get() == 42
assert session.lookup('limits') == {'low': 1}
assert session.names() == ['keeper', 'limits']
for timeout in (None, 0.05):
    try:
        session.lookup('keper', timeout)
    except KeyError as error:
        assert isinstance(error, c4py.NotPublishedError)
        assert "'keper'" in str(error) and "'keeper', 'limits'" in str(error), error
    else:
        raise AssertionError
session.publish('limits', None)
assert session.lookup('limits') is None
""")
