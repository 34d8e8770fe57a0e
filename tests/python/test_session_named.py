"""Sessions of a lasting daemon: joined, left, found again, and ended."""

import os
import pathlib
import signal

import pytest
from harness import children, marked_processes, wait_until

pytest_plugins = ["sessions"]

BEGIN = """
import os, sys
import c4py
from c4py import Chare, charm, coro

def connect(name=None, **more):
    return c4py.connect(sys.argv[1], name=name, quiet=True, **more)

class Counter(Chare):
    def __init__(self):
        self.value = 0
    def add(self, amount):
        self.value += amount
        return self.value
    def say(self, text):
        print(text)
    def pid(self):
        return os.getpid()
    @coro
    def stay(self):
        c4py.Future().get()

def line(text):
    print(text, flush=True)
"""


def segments_of(pid):
    """Descriptors of a process that are the shared memory of a session."""
    found = []
    for link in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            found += [link.name] if "memfd:c4p" in os.readlink(link) else []
        except OSError:
            continue  # closed meanwhile
    return found


def test_a_second_process_finds_the_chares_of_the_first(start_daemon, start_client):
    state = start_daemon(pes=2).state_dir
    first = start_client(BEGIN + """
session = connect('shared', pes=2)
counter = session.Chare(Counter, onPE=1)
session.publish('counter', counter)
assert counter.add(1, ret=True).get() == 1
line('published')
input()
assert counter.add(1, ret=True).get() == 111
session.close()
""", state, name="first.py")
    assert first.says("published")
    start_client(BEGIN + """
with connect('shared') as session:
    counter = session.lookup('counter')
    assert session.numPes() == 2
    assert counter.add(109, ret=True).get() == 110
    assert type(counter).__name__ == 'CounterArrayProxy', type(counter)
""", state, name="second.py").succeeds()
    first.go_on()
    first.succeeds()


def test_a_named_session_outlives_its_client_and_is_found_again(start_daemon, run_client):
    one = start_daemon(pes=2)
    state = one.state_dir
    for expected in (1, 2, 3):
        run_client(BEGIN + f"""
with connect('lasting') as session:
    if {expected} == 1:
        session.publish('counter', session.Chare(Counter))
    assert session.lookup('counter').add(1, ret=True).get() == {expected}
""", state)
    assert len(children(one.pid)) == 2
    run_client(BEGIN + "connect('lasting', create=False).close()", state)
    assert wait_until(lambda: not children(one.pid))


def test_a_named_session_ends_when_its_time_to_live_is_over(start_daemon, run_client):
    one = start_daemon(pes=2)
    run_client(BEGIN + """
session = connect('short', ttl=0.5)
assert session.Group(Counter).add(1, ret=True).get() == [1, 1]
session.detach()
assert session.closed
session.detach()
""", one.state_dir)
    assert wait_until(lambda: not children(one.pid) and not segments_of(one.pid))
    run_client(BEGIN + """
try:
    connect('short', create=False)
except c4py.Charm4PyError as error:
    assert 'short' in str(error), error
else:
    raise AssertionError
""", one.state_dir)


def test_a_client_that_is_killed_leaves_a_named_session_usable_and_ends_its_own(
    start_daemon, start_client
):
    one = start_daemon(pes=4)
    source = BEGIN + """
session = connect(sys.argv[2] or None, pes=1)
counter = session.Chare(Counter)
session.publish('counter', counter)
counter.add(5, ret=True).get()
line('ready')
counter.stay(ret=True).get()
"""
    named = start_client(source, one.state_dir, "kept", name="named.py")
    anonymous = start_client(source, one.state_dir, "", name="anonymous.py")
    assert named.says("ready") and anonymous.says("ready")
    assert len(children(one.pid)) == 2
    named.signal(signal.SIGKILL)
    anonymous.signal(signal.SIGKILL)
    assert wait_until(lambda: len(children(one.pid)) == 1)
    start_client(BEGIN + """
with connect('kept') as session:
    assert session.lookup('counter').add(1, ret=True).get() == 6
    session.close()
""", one.state_dir, name="again.py").succeeds()


def test_closing_a_session_ends_it_for_the_others_with_the_reason(start_daemon, start_client):
    state = start_daemon(pes=2).state_dir
    waiting = start_client(BEGIN + """
session = connect('ours')
line('waiting')
try:
    session.Chare(Counter).stay(ret=True).get()
except c4py.SessionClosed as error:
    line(error)
""", state, name="waiting.py")
    assert waiting.says("waiting")
    start_client(BEGIN + "connect('ours').close()", state, name="closing.py").succeeds()
    assert "closed" in waiting.succeeds()


def test_a_session_that_is_joined_has_the_pes_it_has(start_daemon, start_client, run_client):
    state = start_daemon(pes=2).state_dir
    first = start_client(BEGIN + """
session = connect('two', pes=2)
line('there')
input()
session.close()
""", state, name="first.py")
    assert first.says("there")
    run_client(BEGIN + """
try:
    connect('two', pes=1)
except c4py.Charm4PyError as error:
    assert 'has 2 PEs, not 1' in str(error), error
else:
    raise AssertionError
with connect('two', pes=2) as session:
    assert session.numPes() == 2
""", state)
    first.go_on()
    first.succeeds()


@pytest.mark.parametrize(
    "arguments, complaint",
    [("'nobody', create=False", "nobody"), ("None, pes=99", "99")],
)
def test_a_session_that_cannot_be_had_is_refused_by_name(
    start_daemon, run_client, arguments, complaint
):
    run_client(BEGIN + f"""
try:
    connect({arguments})
except c4py.Charm4PyError as error:
    assert {complaint!r} in str(error), error
else:
    raise AssertionError
connect(pes=1).close()
""", start_daemon(pes=2).state_dir)


def test_a_session_waits_for_free_pes_says_so_and_gives_up_cleanly(start_daemon, start_client):
    one = start_daemon(pes=1)
    busy = start_client(BEGIN + """
session = connect(pes=1)
line('busy')
input()
session.close()
""", one.state_dir, name="busy.py")
    assert busy.says("busy")
    code, out, err = start_client(BEGIN + """
try:
    c4py.connect(sys.argv[1], pes=1, timeout=1.5)
except TimeoutError as error:
    line(error)
""", one.state_dir, name="timeout.py").finish()
    assert code == 0 and "1.5 seconds" in out, err
    assert err.startswith("c4py: the session waits for ") and err.count("\n") == 1

    waiting = start_client(BEGIN + """
try:
    c4py.connect(sys.argv[1], pes=1, timeout=None)
except KeyboardInterrupt:
    line('given up')
""", one.state_dir, name="waiting.py")
    lines = waiting.process.stderr
    assert lines.readline().startswith(b"c4py: the session waits for ")
    waiting.signal(signal.SIGINT)
    assert "given up" in waiting.succeeds()

    later = start_client(BEGIN + """
with connect(pes=1, timeout=None) as session:
    assert session.Chare(Counter).add(1, ret=True).get() == 1
""", one.state_dir, name="later.py")
    busy.go_on()
    busy.succeeds()
    later.succeeds()


def test_classes_of_the_same_name_in_two_clients_are_two_classes(start_daemon, start_client):
    state = start_daemon(pes=2).state_dir
    source = """
import sys
import c4py
session = c4py.connect(sys.argv[1], name='both', quiet=True)
class Worker(c4py.Chare):
    def answer(self):
        return {answer}
workers = session.Group(Worker)
session.publish('{answer}', workers)
assert workers.answer(ret=True).get() == [{answer}] * session.numPes()
print('ready', flush=True)
input()
other = session.lookup('{other}')
assert other.answer(ret=True).get() == [{other}] * session.numPes()
assert workers.answer(ret=True).get() == [{answer}] * session.numPes()
assert session.Group(Worker).answer(ret=True).get() == [{answer}] * session.numPes()
"""
    clients = [
        start_client(source.format(answer=a, other=3 - a), state, name=f"client{a}.py")
        for a in (1, 2)
    ]
    for client in clients:
        assert client.says("ready")
    for client in clients:
        client.go_on()
    for client in clients:
        client.succeeds()


def test_a_class_of_a_module_that_only_the_second_client_has_travels_by_itself(
    start_daemon, start_client, tmp_path
):
    state = start_daemon(pes=2).state_dir
    first = start_client(BEGIN + """
session = connect('mixed')
line('there')
input()
session.close()
""", state, name="first.py")
    assert first.says("there")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "late.py").write_text(
        "from c4py import Chare\n"
        "def help():\n    return 7\n"
        "class Late(Chare):\n    def answer(self):\n        return help()\n"
    )
    start_client(BEGIN + """
sys.path.insert(0, 'lib')
import late
with connect('mixed') as session:
    assert session.Group(late.Late).answer(ret=True).get() == [7] * session.numPes()
""", state, name="second.py").succeeds()
    first.go_on()
    first.succeeds()


def test_clients_and_pes_of_different_versions_of_python_are_kept_apart(
    start_daemon, start_client
):
    state = start_daemon(pes=2).state_dir
    other = """
sys.version_info = (3, 99, 0)
try:
    connect(sys.argv[2])
except c4py.Charm4PyError as error:
    line(error)
"""
    first = start_client(BEGIN + """
session = connect('versions')
line('there')
input()
session.close()
""", state, name="first.py")
    assert first.says("there")
    joining = start_client(BEGIN + other, state, "versions", name="joining.py").succeeds()
    assert "but this is Python 3.99" in joining
    first.go_on()
    first.succeeds()
    code, out, err = start_client(BEGIN + other, state, "new", name="making.py").finish()
    assert code == 0 and "the session has ended: " in out, err
    assert "the client of this session runs Python 3.99" in err


def test_lookup_waits_for_what_another_client_publishes(start_daemon, start_client):
    state = start_daemon(pes=2).state_dir
    looking = start_client(BEGIN + """
session = connect('names')
line('looking')
assert session.lookup('late', timeout=30) == 'here'
""", state, name="looking.py")
    assert looking.says("looking")
    start_client(
        BEGIN + "with connect('names') as session: session.publish('late', 'here')",
        state,
        name="publishing.py",
    ).succeeds()
    looking.succeeds()


def test_prints_come_to_all_clients_from_when_they_joined(start_daemon, start_client):
    state = start_daemon(pes=2).state_dir
    first = start_client(BEGIN + """
session = connect('loud')
counter = session.Chare(Counter)
session.publish('counter', counter)
counter.say('before')
session.flush()
line('said')
input()
session.flush()
session.close()
""", state, name="first.py")
    assert first.says("said")
    second = start_client(BEGIN + """
with connect('loud') as session:
    session.lookup('counter').say('after')
    session.flush()
""", state, name="second.py").succeeds()
    assert second == "after\n"
    first.go_on()
    assert first.succeeds() == "before\nsaid\nafter\n"


def test_when_the_daemon_is_killed_a_named_session_is_over_for_its_client(
    start_daemon, start_client
):
    one = start_daemon(pes=2)
    client = start_client(BEGIN + """
session = connect('doomed')
counter = session.Chare(Counter)
line('waiting')
try:
    counter.stay(ret=True).get()
except c4py.SessionClosed as error:
    line(error)
try:
    counter.add(1, ret=True)
except c4py.SessionClosed as error:
    line(error)
""", one.state_dir)
    assert client.says("waiting")
    os.kill(one.pid, signal.SIGKILL)
    out = client.succeeds()
    assert out.count("ended with its daemon") == 2, out


def test_a_joined_session_can_be_entered_while_its_pes_are_busy(start_daemon, start_client):
    state = start_daemon(pes=1).state_dir
    first = start_client(BEGIN + """
class Busy(Chare):
    def work(self, path):
        while not os.path.exists(path):
            pass
session = connect('busy')
working = session.Chare(Busy).work('go', awaitable=True)
line('working')
working.get()
session.close()
""", state, name="first.py")
    assert first.says("working")
    start_client(BEGIN + """
session = connect('busy')
pid = session.Chare(Counter).pid(ret=True)
open('go', 'w').close()
try:
    pid.get()
except c4py.SessionClosed:
    pass                        # the first client was quicker to close it
""", state, name="second.py").succeeds()
    first.succeeds()


def test_a_client_with_marks_leaves_no_process_of_a_session_behind(start_daemon, run_client):
    one = start_daemon(pes=2)
    mark = f"C4P_TEST={os.environ['C4P_TEST']}".encode()
    before = set(marked_processes(mark))
    run_client(BEGIN + """
with connect(pes=2) as session:
    session.Group(Counter).add(1, awaitable=True).get()
""", one.state_dir)
    assert wait_until(lambda: set(marked_processes(mark)) == before)
