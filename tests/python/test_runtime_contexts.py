"""Context variables: each coroutine has its own, as they were when it began."""

PROGRAM = '''
import contextvars, decimal
from c4py import Chare, Future, Group, charm, coro

VARIABLE = contextvars.ContextVar('variable', default='default')
decimal.getcontext().prec = 5

class Setter(Chare):
    @coro
    def greenlet(self, value, future=None):
        before = VARIABLE.get()
        VARIABLE.set(value)
        if future is not None:
            future.get()
        return before, VARIABLE.get(), str(decimal.Decimal(1) / 3)
    async def awaits(self, value, future=None):
        before = VARIABLE.get()
        VARIABLE.set(value)
        if future is not None:
            await future
        return before, VARIABLE.get(), str(decimal.Decimal(1) / 3)
    def plain(self, value):
        VARIABLE.set(value)
        return VARIABLE.get()

class Constructed(Chare):
    @coro
    def __init__(self):
        self.seen = VARIABLE.get()
    def get(self):
        return self.seen

def main(args):
    group = Group(Setter)
    charm.awaitCreation(group)
    here = group[0]
    for method in here.greenlet, here.awaits:
        futures = [Future() for _ in range(3)]
        waiting = [method(f'value {i}', future, ret=True) for i, future in enumerate(futures)]
        print(method('alone', ret=True).get())
        for future in reversed(futures):
            future()
        print([future.get() for future in waiting])
    here.plain('set by a method', ret=True).get()
    print(here.greenlet('later', ret=True).get(), VARIABLE.get())
    VARIABLE.set('of main')
    print(Chare(Constructed, onPE=0).get(ret=True).get())
    exit()

charm.start(main)
'''


def test_a_coroutine_has_its_own_context_variables_and_begins_with_its_creators(run_program):
    result = run_program(PROGRAM, pes=1)
    waiting = [('default', f'value {i}', '0.33333') for i in range(3)]
    assert result.stdout.splitlines() == [
        str(('default', 'alone', '0.33333')), str(waiting),
        str(('default', 'alone', '0.33333')), str(waiting),
        str(('set by a method', 'later', '0.33333')) + ' default',
        'of main',
    ], result
