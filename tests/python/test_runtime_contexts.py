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


GREENLETS = '''
import greenlet, threading
from c4py import Chare, Future, Group, charm, coro

class Echo(Chare):
    def echo(self, value):
        return value

class Constructed(Chare):
    @coro
    def __init__(self, echo):
        self.values = [echo.echo(i, ret=True).get() for i in range(3)]
    def get(self):
        return self.values

def main(args):
    group = Group(Echo)
    charm.awaitCreation(group)
    log = []

    def inner(name):
        for i in range(3):
            log.append(group[1].echo(f'{name} {i}', ret=True).get())
            greenlet.getcurrent().parent.switch()
        made = Chare(Constructed, args=[group[1]], onPE=0)
        charm.awaitCreation(made)
        log.append(made.get(ret=True).get())

    inners = [greenlet.greenlet(inner) for _ in range(2)]
    while inners:
        for one, name in zip(list(inners), 'ab'):
            one.switch(name)
            log.append(group[1].echo('outer', ret=True).get())
            if one.dead:
                inners.remove(one)
    print(log[:4], log.count('outer'), log[-2:])

    def wait():
        try:
            Future().get()
        except Exception as error:
            print(error)
    thread = threading.Thread(target=wait)
    thread.start()
    thread.join()
    exit()

charm.start(main)
'''


def test_the_program_may_have_greenlets_of_its_own_and_wait_in_them(run_program):
    result = run_program(GREENLETS)
    assert result.stdout.splitlines() == [
        "['a 0', 'outer', 'b 0', 'outer'] 8 [[0, 1, 2], 'outer']",
        'Future in code that is in no entry method: only coroutines can wait; decorate it with '
        '@coro, or make it an async def'], result
