"""Quiescence and the end of the program, when threads of the program's own take part."""

THREAD_WAITS = '''
import threading
from c4py import Chare, Future, Group, charm, ending

ending._RECHECK = 1e6       # so that nothing else wakes a PE

def ask(future):
    threading.Event().wait(0.1)
    charm.startQD(future)

class Asks(Chare):
    def ask(self, future):
        threading.Thread(target=ask, args=(future,)).start()

def main(args):
    group = Group(Asks)
    charm.awaitCreation(group)
    for pe in (0, 1):
        future = Future()
        group[pe].ask(future)
        future.get()
    print('quiescent')
    exit()

charm.start(main)
'''


def test_a_thread_that_asks_for_quiescence_is_answered_though_the_pe_sleeps(run_program):
    result = run_program(THREAD_WAITS)
    assert (result.returncode, result.stdout) == (0, 'quiescent\n'), result


# When the thread has ended there is still work on PE 1, and its results are to come.
THREAD_ENDS = '''
import threading
from c4py import Chare, Future, Group, charm, ending

ending._RECHECK = 0.01

class Worker(Chare):
    def work(self, left, future):
        sum(range(100000))
        if left:
            self.thisProxy[1].work(left - 1, future)
        else:
            future('done')

def send(worker, future):
    threading.Event().wait(0.1)
    worker.work(100, future)

def main(args):
    group = Group(Worker)
    charm.awaitCreation(group)
    future = Future()
    threading.Thread(target=send, args=(group[1], future)).start()
    print(future.get())
    exit()

charm.start(main)
'''


def test_a_program_that_a_thread_has_set_going_again_is_not_taken_for_stuck(run_program):
    result = run_program(THREAD_ENDS)
    assert (result.returncode, result.stdout) == (0, 'done\n'), result


# The constructor suspends main; what PE 1 sends meanwhile is kept until PE 0's elements are there.
HELD = '''
from c4py import Array, Chare, Future, charm

class Slow(Chare):
    def __init__(self, future, pe):
        if charm.myPe() == pe:
            self.thisProxy[0].hello(future)
        elif self.thisIndex == (0,):
            charm.sleep(0.05)
    def hello(self, future):
        future(self.thisIndex)

def main(args):
    future = Future()
    Array(Slow, 2, args=[future, 1])
    print(future.get())
    exit()

charm.start(main)
'''


def test_messages_kept_for_a_chare_are_handled_though_nothing_else_comes(run_program):
    result = run_program(HELD)
    assert (result.returncode, result.stdout) == (0, '(0,)\n'), result
