"""Processes that a program starts from a PE."""

FORKS = '''
import atexit, multiprocessing, os, subprocess, sys
import numpy
from c4py import Chare, Future, Group, Reducer, charm, coro

atexit.register(print, 'at exit')

def square(number):
    return number * number

def outcome(pid):
    return os.WEXITSTATUS(os.waitpid(pid, 0)[1])

class Forks(Chare):
    def exits(self, array):
        pid = os.fork()
        if pid == 0:
            array[:] = 7
            sys.exit(3)
        return outcome(pid), float(array.sum())
    def returns(self):
        pid = os.fork()
        return outcome(pid) if pid else 'from the child'
    def raises(self):
        pid = os.fork()
        if pid == 0:
            raise ValueError('in the child')
        return outcome(pid)
    def sends(self, group, future):
        pid = os.fork()
        if pid == 0:
            for send in (future.send, group.returns, lambda: Group(Forks), charm.exit,
                         lambda: self.reduce(future, 1, Reducer.sum)):
                try:
                    send()
                except Exception as error:
                    print(type(error).__name__, 'forked by a PE' in str(error))
            os._exit(0)
        return outcome(pid)
    @coro
    def waits(self, future):
        pid = os.fork()
        if pid == 0:
            try:
                future.get()
            except Exception as error:
                print(type(error).__name__, 'forked by a PE' in str(error))
            sys.exit(5)
        return outcome(pid)
    @coro
    def returns_from_coroutine(self):
        pid = os.fork()
        if pid:
            return outcome(pid)
    def maps(self):
        with multiprocessing.get_context('fork').Pool(2) as pool:
            return pool.map(square, range(5))
    def environment(self):
        show = 'import os; print([name for name in os.environ if name.startswith("C4P_PE")])'
        return [subprocess.run([sys.executable, '-c', show], env=env, stdout=subprocess.PIPE,
                               text=True).stdout for env in (None, dict(os.environ))]

def main(args):
    group = Group(Forks)
    charm.awaitCreation(group)
    other = group[1]
    future = Future()
    print(other.exits(numpy.ones(100000), ret=True).get())
    print(other.returns(ret=True).get())
    print(other.raises(ret=True).get())
    print(other.sends(group, future, ret=True).get())
    print(group[0].waits(future, ret=True).get())
    print(other.returns_from_coroutine(ret=True).get())
    print(other.maps(ret=True).get())
    print(other.environment(ret=True).get())
    print(group.maps(ret=True).get())
    charm.waitQD()
    exit()

charm.start(main)
'''


def test_a_forked_child_is_no_pe_and_leaves_its_parent_alone(run_program):
    result = run_program(FORKS)
    refused = 'Charm4PyError True'
    lines = result.stdout.splitlines()
    assert result.returncode == 0, result
    # What the children print and what main prints come through two pipes, in no order.
    assert lines.count(refused) == 6, result
    assert [line for line in lines if line != refused] == [
        '(3, 100000.0)', '0', '1', '0', '5', '0', '[0, 1, 4, 9, 16]',
        "['[]\\n', '[]\\n']", '[[0, 1, 4, 9, 16], [0, 1, 4, 9, 16]]', 'at exit', 'at exit',
    ], result
    assert result.stderr.splitlines()[-1] == 'ValueError: in the child', result


AT_EXIT = '''
import atexit
from c4py import Chare, Group, charm

@atexit.register
def end():
    print('at exit', flush=True)
    charm.exit(9)

charm.start(lambda args: charm.exit(4))
'''


def test_what_runs_at_exit_may_end_the_program_and_runs_once(run_program):
    result = run_program(AT_EXIT, pes=1)
    assert (result.returncode, result.stdout) == (9, 'at exit\n'), result


WORKERS = '''
import multiprocessing, os
from concurrent.futures import ProcessPoolExecutor
from c4py import Chare, Group, charm

def square(number):
    return number * number

class Maps(Chare):
    def maps(self, method):
        context = multiprocessing.get_context(method)
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return list(pool.map(square, range(4)))

def main(args):
    group = Group(Maps)
    charm.awaitCreation(group)
    for method in multiprocessing.get_all_start_methods():
        print(method, group[1].maps(method, ret=True).get())
    exit()

charm.start(main)
'''


def test_workers_of_multiprocessing_do_not_start_the_program_again(run_program):
    result = run_program(WORKERS)
    assert (result.returncode, result.stderr) == (0, ''), result
    assert sorted(result.stdout.splitlines()) == [
        f'{method} [0, 1, 4, 9]' for method in ('fork', 'forkserver', 'spawn')], result
