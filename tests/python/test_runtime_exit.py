"""exit() ends the program with its code wherever it is called, and whoever waits for an outcome."""

import pytest

PROGRAM = '''
import sys
from c4py import Array, Chare, Future, Group, Reducer, charm, coro

def leave(*ignored):
    exit(7)

Reducer.addReducer(leave)

class Unpickles:
    def __reduce__(self):
        return leave, ()

class Pickles:
    def __reduce__(self):
        leave()

class Adds:
    def __add__(self, other):
        leave()

class Leaves(Chare):
    def method(self, *ignored):
        leave()
    @coro
    def coroutine(self):
        charm.sleep(0)
        leave()
    async def asynchronous(self):
        await charm.sleep(0)
        leave()
    def gives(self, what):
        return what()
    def takes(self, what):
        pass
    def combines(self, target):
        self.reduce(target, 1, Reducer.leave)
    def adds(self, target):
        self.reduce(target, Adds(), Reducer.sum)

class Constructor(Chare):
    def __init__(self):
        leave()

class CoroutineConstructor(Chare):
    @coro
    def __init__(self):
        charm.sleep(0)
        leave()

def main(args):
    group = Group(Leaves)
    charm.awaitCreation(group)
    one = group[int(args[1])]
    try:
        {action}
        charm.waitQD()
        Future().get()
    except Exception as error:
        print('caught', repr(error))
    exit(1)

charm.start(main)
'''

ACTIONS = [
    'one.method()',
    'one.method(ret=True).get()',
    'group.method(ret=True).get()',
    'one.coroutine()',
    'one.coroutine(ret=True).get()',
    'group.coroutine(awaitable=True).get()',
    'one.asynchronous()',
    'one.asynchronous(ret=True).get()',
    'charm.startQD(one.method)',
    'Chare(Constructor, onPE=int(args[1]))',
    'charm.awaitCreation(Chare(Constructor, onPE=int(args[1])))',
    'Array(Constructor, 10)',
    'Chare(CoroutineConstructor, onPE=int(args[1]))',
    'charm.awaitCreation(Array(CoroutineConstructor, 10))',
    'one.takes(Unpickles())',
    'one.takes(Unpickles(), ret=True).get()',
    'group.takes(Unpickles(), ret=True).get()',
    'one.takes(Pickles())',
    'one.gives(Unpickles, ret=True).get()',
    'group.gives(Unpickles, ret=True).get()',
    'one.gives(Pickles, ret=True).get()',
    'group.gives(Pickles, ret=True).get()',
    'group.combines(Future())',
    'group.combines(one.method)',
    'group.adds(Future())',
    'Future().send(Unpickles()); charm.sleep(1)',
    'charm.thisProxy[int(args[1])].exit(7)',
]


@pytest.mark.parametrize('action', ACTIONS)
@pytest.mark.parametrize('pe', [0, 1])
def test_exit_ends_the_program(run_program, action, pe):
    result = run_program(PROGRAM.replace('{action}', action), args=[pe], timeout=30)
    assert (result.returncode, result.stdout, result.stderr) == (7, '', ''), result
