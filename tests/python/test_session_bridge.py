"""Clients that do not map the session's memory: over ZeroMQ all is as it is through memory."""

import os
import signal

import pytest
from harness import children, wait_until

pytest_plugins = ["sessions"]

BEGIN = """
import os, sys
import numpy as np
import c4py
from c4py import Chare, Reducer, charm, coro

STATE, MEMORY = sys.argv[1] or None, sys.argv[2] == 'memory'

def connect(name=None, **more):
    return c4py.connect(STATE, name=name, quiet=True, shared_memory=MEMORY, **more)

def line(text):
    print(text, flush=True)

class Worker(Chare):
    def __init__(self, factor=1):
        self.factor, self.calls, self.kept = factor, [], None
    def value(self, *more, scale=1):
        return self.factor * self.thisIndex[0] * scale + sum(more)
    def sum(self, target):
        self.reduce(target, self.factor * self.thisIndex[0], Reducer.sum)
    def arrays(self, target):
        self.reduce(target, np.full(1000, self.thisIndex[0]), Reducer.sum)
    def fail(self, text):
        raise KeyError(text)
    def note(self, number):
        self.calls.append(number)
    def noted(self):
        return self.calls
    def keep(self, array):
        self.kept = array
    def back(self):
        return self.kept
    def tell(self, callback, times):
        for i in range(times):
            callback(self.thisIndex[0], i)
    def shout(self, text):
        print(text)
    def pid(self):
        return os.getpid()
    @coro
    def stay(self):
        c4py.Future().get()
"""

PROGRAM = BEGIN + """
session = connect(pes=2)
results = []
workers = session.Array(Worker, 12, args=[3])

# Calls, keywords, returns, of one and of all.
results.append(workers.value(ret=True).get())
results.append(workers[5].value(1, 2, scale=10, ret=True).get())
results.append(sorted(set(session.Group(Worker).pid(ret=True).get())) != [])

# Reductions to a future here, of numbers and of arrays.
total, arrays = session.Future(), session.Future()
workers.sum(total)
workers.arrays(arrays)
results.append(total.get())
results.append(arrays.get().tolist() == [66] * 1000)

# Exceptions, with what the user needs to find their place.
try:
    workers[3].fail('lost', ret=True).get()
except KeyError as error:
    results.append(error.args)
results.append(workers[0].value(ret=True).get())

# Callbacks into the client, also through a chare of its own.
heard = []
told = session.callback(lambda *what: heard.append(what))
workers[4].tell(told, 100)
workers[4].value(ret=True).get()
while len(heard) < 100:
    session.poll()
results.append(heard)

# 10,000 calls before the first result is read, and as many without one.
futures = [workers[i % 12].value(i, ret=True) for i in range(10000)]
results.append([future.get() for future in futures])
for i in range(10000):
    workers[i % 12].note(i)
results.append(workers.noted(ret=True).get())

# 64 MB there and back.
data = np.arange(8_000_000, dtype=float)
workers[7].keep(data)
back = workers[7].back(ret=True).get()
results.append((back.shape, str(back.dtype), bool((back == data).all())))
del back
everybody = session.Group(Worker)
everybody.keep(data[:1_000_000])
results.append([float(part.sum()) for part in everybody.back(ret=True).get()])

# Classes defined later, and quiescence.
class Late(Chare):
    def text(self):
        return f'late {charm.myPe()}'
results.append(session.Group(Late).text(ret=True).get())
for i in range(1000):
    workers[i % 12].note(i)
session.wait_quiescence()
results.append(sum(map(len, workers.noted(ret=True).get())))

# Nobody waits for these: they come before the end all the same.
for i in range(5):
    workers[0].shout(f'last words {i}')
session.close()
import hashlib
line(hashlib.sha256(repr(results).encode()).hexdigest())
line(repr(results)[:2000])
"""


@pytest.fixture(scope="module")
def outputs():
    return {}


@pytest.mark.parametrize("way", ["memory", "zmq"])
def test_a_session_program_has_the_same_results_over_zmq_as_through_memory(
    run_client, outputs, way
):
    outputs[way] = run_client(PROGRAM, "", way)
    words = [text for text in outputs[way].splitlines() if text.startswith("last words")]
    assert words == [f"last words {i}" for i in range(5)]
    if len(outputs) == 2:
        assert outputs["zmq"] == outputs["memory"]


def test_one_client_through_memory_and_one_over_zmq_share_a_session(start_daemon, start_client):
    state = start_daemon(pes=2).state_dir
    first = start_client(BEGIN + """
session = connect('shared', pes=2)
worker = session.Chare(Worker, onPE=1)
session.publish('worker', worker)
mail = session.Future(2)
session.publish('mail', mail)
line('published')
line(mail.get())
worker.note('first', awaitable=True).get()
line('noted')
input()
session.close()
""", state, "memory", name="first.py")
    assert first.says("published")
    second = start_client(BEGIN + """
session = connect('shared')
worker = session.lookup('worker')
mail = session.lookup('mail')
mail.send('from the second')
mail.send(int(np.arange(100_000).sum()))
line('sent')
while worker.noted(ret=True).get() != ['first']:
    pass
session.detach()
""", state, "zmq", name="second.py")
    assert second.says("sent")
    assert first.says("noted")
    second.succeeds()
    first.go_on()
    assert "['from the second', 4999950000]" in first.succeeds()


def test_what_was_sent_before_detaching_arrives(start_daemon, run_client):
    state = start_daemon(pes=1).state_dir
    run_client(BEGIN + """
with connect('lasting', pes=1) as session:
    worker = session.Chare(Worker)
    session.publish('worker', worker)
    for i in range(3000):
        worker.note(i)
""", state, "zmq")
    run_client(BEGIN + """
with connect('lasting') as session:
    assert session.lookup('worker').noted(ret=True).get() == list(range(3000))
    session.close()
""", state, "zmq")


def test_a_client_that_is_killed_in_the_middle_leaves_a_session_that_others_use(
    start_daemon, start_client, run_client
):
    one = start_daemon(pes=1)
    source = BEGIN + """
session = connect('kept')
if 'worker' not in session.names():
    session.publish('worker', session.Chare(Worker))
worker = session.lookup('worker')
line('ready')
data = np.zeros(3_000_000)
while True:
    worker.keep(data, awaitable=True)
    worker.back(ret=True)
    if len(sys.argv) > 3:
        worker.value(ret=True).get()
"""
    # More often than there are places for clients: each is free again.
    for round in range(20):
        client = start_client(source, one.state_dir, "zmq", *["waits"] * (round % 2))
        assert client.says("ready")
        client.signal(signal.SIGKILL)
        client.finish()
    run_client(BEGIN + """
with connect('kept') as session:
    assert session.lookup('worker').value(5, ret=True).get() == 5
    session.close()
""", one.state_dir, "zmq")
    assert wait_until(lambda: not children(one.pid))


@pytest.mark.parametrize("victim", ["daemon", "pe"])
def test_when_the_other_side_is_killed_all_that_waits_raises_with_the_reason(
    start_client, victim
):
    client = start_client(BEGIN + """
session = connect(pes=1)
worker = session.Chare(Worker)
future = worker.stay(ret=True)
line(worker.pid(ret=True).get())
line('waiting')
try:
    future.get()
except c4py.SessionClosed as error:
    line(error)
try:
    worker.value(ret=True)
except c4py.SessionClosed as error:
    line('and so does what comes later')
""", "", "zmq")
    assert client.says("waiting")
    (daemon,) = wait_until(lambda: children(client.process.pid))
    os.kill(daemon if victim == "daemon" else children(daemon)[0], signal.SIGKILL)
    out = client.succeeds()
    assert ("daemon" if victim == "daemon" else "PE 0") in out
    assert "and so does what comes later" in out


def test_a_message_that_can_never_fit_is_refused_and_the_session_goes_on(run_client):
    run_client(BEGIN + """
session = connect(pes=1, region_size=4 << 20)
worker = session.Chare(Worker)
try:
    worker.keep(np.zeros((4 << 20) - (200 << 10), dtype='u1'))
except c4py.SegmentFullError as error:
    assert 'can never fit' in str(error), error
else:
    raise AssertionError
worker.keep(np.ones(3_900_000, dtype='u1'))
assert worker.back(ret=True).get().sum() == 3_900_000
for i in range(40):
    worker.keep(np.full(1_000_000, i, dtype='u1'), awaitable=True).get()
assert worker.back(ret=True).get()[-1] == 39
session.close()
""", "", "zmq")


def test_the_programs_of_a_forked_child_do_not_disturb_the_bridge(run_client):
    run_client(BEGIN + """
import subprocess
session = connect(pes=1)
worker = session.Chare(Worker)
child = os.fork()
if child == 0:
    try:
        worker.value(ret=True)
    except c4py.Charm4PyError:
        os._exit(7)
    os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert subprocess.run(['true']).returncode == 0
assert worker.value(4, ret=True).get() == 4
session.close()
""", "", "zmq")
