"""What the runtime's objects hold on to, and what happens to what they were made of."""

LISTS = '''
import gc
from c4py import Array, Chare, charm

class Argument:
    pass

ARGUMENTS = [Argument()]

class Clears(Chare):
    def __init__(self, argument):
        ARGUMENTS.clear()
        self.others = [bytes(40) for _ in range(1000)]
        assert type(argument) is Argument

class Shrinks:
    """An index that empties the list that it is in."""
    def __init__(self, indexes):
        self.indexes = indexes
    def __index__(self):
        self.indexes.clear()
        return 0

def main(args):
    array = Array(Clears, (2, 2), args=ARGUMENTS)
    charm.awaitCreation(array)
    indexes = []
    indexes += [Shrinks(indexes), 1]
    print(array[indexes])
    try:
        Array(Clears, 2, args=5)
    except TypeError as error:
        print(error)
    exit()

charm.start(main)
'''


def test_lists_of_arguments_and_indexes_may_change_while_they_are_used(run_program):
    result = run_program(LISTS, pes=1)
    assert result.stdout.splitlines() == [
        '<__main__.ClearsArrayProxy Clears[0, 1]>', 'args: a list of constructor arguments'], result


CIRCLES = '''
import gc, weakref
from c4py import Chare, Future, Group, charm, coro

class Fails(Chare):
    def fail(self):
        raise ValueError
    def same(self, value):
        return value

class Circle:
    pass

def read_error(group):
    future = group[1].fail(ret=True)
    try:
        future.get()
    except ValueError:
        pass
    return weakref.ref(future)

def hold_itself(group):
    future = Future()
    circle = Circle()
    circle.future = future
    future(circle)
    assert future.get().future is future
    future.get().held = [future.get(), future]
    return weakref.ref(future)

def main(args):
    group = Group(Fails)
    charm.awaitCreation(group)
    for function in read_error, hold_itself:
        references = [function(group) for _ in range(3)]
        gc.collect()
        print([reference() for reference in references])
    exit()

charm.start(main)
'''


def test_a_future_whose_error_was_read_or_that_holds_itself_is_given_back(run_program):
    result = run_program(CIRCLES)
    assert result.stdout.splitlines() == ['[None, None, None]'] * 2, result


MISUSE = '''
import pickle, threading
from c4py import Array, Chare, Future, Group, Reducer, charm, coro

def refusal(function):
    try:
        function()
    except Exception as error:
        return f'{type(error).__name__}: {error}'

class Plain(Chare):
    def method(self):
        return 1
    @coro
    def make_future(self):
        return Future()

class Waits(Chare):
    @coro
    def __init__(self):
        charm.sleep(0)

early = [refusal(lambda: pickle.dumps(Reducer.sum)), refusal(lambda: Plain().allreduce())]

class Thief:
    pass

def create(lines):
    lines.append(Array(Plain, 10).shape)
    lines.append(refusal(lambda: Array(Waits, 10)))

def main(args):
    group = Group(Plain)
    charm.awaitCreation(group)
    print(*early, sep=chr(10))
    Thief.method = type(group).method
    print(refusal(lambda: Thief().method))
    print(refusal(lambda: type(group).method(Thief())))
    lines = []
    thread = threading.Thread(target=create, args=(lines,))
    thread.start()
    thread.join()
    print(*lines, sep=chr(10))
    futures = [group[1].method(ret=True), group[1].make_future(ret=True).get()]
    print(refusal(lambda: charm.wait(futures)))
    exit()

charm.start(main)
'''

REFUSALS = [
    'Charm4PyError: the program has not started: this works only after charm.start()',
    'Charm4PyError: the program has not started: this works only after charm.start()',
    'TypeError: <entry method Plain.method> is a method of proxies, not of Thief objects',
    'TypeError: method() is called on a proxy',
    '(10,)',
    'Charm4PyError: Waits.__init__ is a coroutine: chares of this class cannot be created from a '
    "thread of the program's own",
    'Charm4PyError: this future belongs to PE 1 and can be read only there: from here it can be '
    'sent to, or the value passed on',
]


def test_misuse_is_refused_with_a_sentence(run_program):
    result = run_program(MISUSE)
    assert (result.returncode, result.stdout.splitlines()) == (0, REFUSALS), result


DROPPED = '''
import threading
import numpy
from c4py import Chare, Group, _c4py, charm

class Keeper(Chare):
    def keep(self, array):
        self.array = array
        threading.Thread(target=self.drop).start()
    def drop(self):
        threading.Event().wait(0.1)
        self.array = None

def empty():
    for _ in range(2000):
        if _c4py.segment_used() == 0:
            return True
        charm.sleep(0.001)

def main(args):
    group = Group(Keeper)
    charm.awaitCreation(group)
    group[1].keep(numpy.ones(1000), awaitable=True).get()
    print(_c4py.segment_used() > 8000, empty())
    exit()

charm.start(main)
'''


def test_an_array_that_a_thread_drops_is_given_back_though_the_pe_sleeps(run_program):
    result = run_program(DROPPED, options=("--nodes", 1))  # nothing is pinned elsewhere
    assert result.stdout == 'True True\n', result
