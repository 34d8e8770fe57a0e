"""How programs end: exit codes, aborts and exceptions that nobody takes (SPEC 3.5, 3.7, 0.11)."""

import pytest

HEAD = '''
import sys
from c4py import charm, Chare, Group, Array, Future, Reducer, coro
'''

ALL_PES = pytest.mark.parametrize('pes', (1, 2, 3, 4))
SOME_PES = pytest.mark.parametrize('pes', (1, 3))


@pytest.fixture
def ends(run_program):
    """Run a program; returns (exit code, standard output, standard error)."""

    def run(source, pes, *args, **options):
        ran = run_program(HEAD + source, pes, args, **options)
        return ran.returncode, ran.stdout, ran.stderr

    return run


# ---- exit ----

LEAVES = '''
class Leaver(Chare):
    def plain(self, how):
        leave(how)
    @coro
    def coroutine(self, how):
        charm.sleep(0.001)
        leave(how)
    async def asynchronous(self, how):
        await charm.sleep(0.001)
        leave(how)

def leave(how):
    eval(how)
    print('code after exit ran')

def main(args):
    how, where = args[1:]
    group = Group(Leaver)
    if where == 'main':
        leave(how)
    else:
        getattr(group[charm.numPes() - 1], where)(how)
    Future().get()

charm.start(main)
'''


@SOME_PES
@pytest.mark.parametrize('where', ('main', 'plain', 'coroutine', 'asynchronous'))
@pytest.mark.parametrize('how, code', (('exit()', 0), ('sys.exit(7)', 7), ('charm.exit(9)', 9)))
def test_exit_ends_the_program_with_its_code_wherever_it_is_called(ends, pes, where, how, code):
    assert ends(LEAVES, pes, how, where) == (code, '', '')


@pytest.mark.parametrize('how, code, text', (
    ('charm.exit()', 0, ''), ('exit(None)', 0, ''), ('exit(255)', 255, ''), ('exit(True)', 1, ''),
    ('exit(-1)', 255, ''), ('exit(256)', 1, ''), ('exit(2 ** 70)', 1, ''),
    ('exit("a reason")', 1, 'a reason\n'), ('charm.exit("a reason")', 1, 'a reason\n'),
    ('exit(2.5)', 1, '2.5\n')))
def test_what_is_no_code_is_printed_and_the_code_is_1(ends, how, code, text):
    assert ends(LEAVES, 2, how, 'main') == (code, '', text)


@ALL_PES
def test_a_call_with_a_future_may_end_the_program_too(ends, pes):
    assert ends('''
class Leaver(Chare):
    def leave(self):
        exit(4)
def main(args):
    Group(Leaver)[charm.numPes() - 1].leave(ret=True).get()
charm.start(main)
''', pes) == (4, '', '')


@ALL_PES
def test_any_runtime_can_be_told_to_exit(ends, pes):
    for call in ('charm.thisProxy[charm.numPes() - 1].exit(5)', 'charm.thisProxy.exit(5)'):
        assert ends(f'def main(args):\n    {call}\ncharm.start(main)', pes) == (5, '', '')


@ALL_PES
def test_a_reduction_may_end_the_program_and_its_value_is_the_code(ends, pes):
    for target in ('charm.thisProxy.exit', 'charm.thisProxy[charm.numPes() - 1].exit'):
        assert ends(f'''
class Element(Chare):
    def done(self):
        self.reduce({target}, 2, Reducer.sum)
def main(args):
    Array(Element, 5).done()
charm.start(main)
''', pes) == (10, '', '')


def test_an_empty_reduction_may_end_the_program(ends):
    assert ends('''
class Element(Chare):
    def __init__(self):
        self.reduce(charm.thisProxy.exit)
def main(args):
    Array(Element, 5)
charm.start(main)
''', 3) == (0, '', '')


@ALL_PES
def test_what_was_printed_before_exit_is_shown(ends, pes):
    code, out, err = ends('''
class Printer(Chare):
    def say(self):
        sys.stdout.write(f'from {charm.myPe()}\\n')
def main(args):
    Group(Printer).say(awaitable=True).get()
    sys.stdout.write('no newline at the end')
    exit()
charm.start(main)
''', pes)
    assert code == 0 and err == ''
    assert sorted(out.split('\n')) == sorted([f'from {pe}' for pe in range(pes)]
                                             + ['no newline at the end'])


@ALL_PES
def test_what_is_registered_with_atexit_runs_on_every_pe(ends, pes):
    code, out, _ = ends('''
import atexit
def main(args):
    exit(3)
atexit.register(lambda: print('left', charm.myPe()))
charm.start(main)
''', pes)
    assert code == 3
    assert sorted(out.split('\n')[:-1]) == [f'left {pe}' for pe in range(pes)]


def test_messages_that_were_not_delivered_are_dropped_with_the_errors_they_would_raise(ends):
    assert ends('''
class Faulty(Chare):
    def fail(self):
        raise ValueError
def main(args):
    chare = Chare(Faulty, onPE=0)
    for _ in range(100):
        chare.fail()
    exit()
charm.start(main)
''', 2) == (0, '', '')


# ---- the end without exit ----

@ALL_PES
def test_a_program_ends_by_itself_when_main_has_returned_and_nothing_is_left(ends, pes):
    code, out, err = ends('''
class Worker(Chare):
    @coro
    def work(self, left):
        if left:
            charm.sleep(0.001)
            self.thisProxy[(self.thisIndex + 1) % charm.numPes()].work(left - 1)
        else:
            print('worked')
def main(args):
    Group(Worker)[0].work(10)
charm.start(main)
''', pes)
    assert (code, out, err) == (0, 'worked\n', '')


@ALL_PES
def test_a_program_does_not_end_before_its_timers_have_fired(ends, pes):
    code, out, err = ends('''
class Worker(Chare):
    def schedule(self):
        charm.scheduleCallableAfter(self.fired, 0.1)
    def fired(self):
        print('fired')
def main(args):
    Group(Worker).schedule()
charm.start(main)
''', pes)
    assert (code, out, err) == (0, 'fired\n' * pes, '')


@ALL_PES
def test_a_program_without_any_message_ends(ends, pes):
    assert ends('def main(args):\n    pass\ncharm.start(main)', pes) == (0, '', '')


def test_a_program_does_not_end_while_a_thread_of_its_own_may_go_on(ends):
    code, out, err = ends('''
import threading, time
class Sayer(Chare):
    def say(self):
        print('said')
def main(args):
    chare = Chare(Sayer, onPE=charm.numPes() - 1)
    def work():
        time.sleep(0.1)
        chare.say()
    threading.Thread(target=work).start()
charm.start(main)
''', 2)
    assert (code, out, err) == (0, 'said\n', '')


# ---- abort ----

@SOME_PES
def test_abort_ends_the_program_with_code_1_its_text_and_the_place(ends, pes):
    code, out, err = ends('''
class Aborter(Chare):
    def enough(self):
        charm.abort('that is enough')
def main(args):
    Group(Aborter)[charm.numPes() - 1].enough()
    Future().get()
charm.start(main)
''', pes)
    assert code == 1 and out == ''
    assert f'PE {pes - 1}' in err and 'that is enough' in err and 'in enough' in err


def test_the_text_of_abort_may_be_of_any_length(ends):
    code, _, err = ends('def main(args):\n    charm.abort("x" * 100000)\ncharm.start(main)', 2)
    assert code == 1 and 'x' * 255 in err


# ---- exceptions that nobody takes ----

FAILS = '''
class Faulty(Chare):
    def __init__(self, fail=False):
        if fail:
            raise ValueError('in the constructor')
    def plain(self):
        raise ValueError('in a method')
    @coro
    def coroutine(self):
        charm.sleep(0.001)
        raise ValueError('in a coroutine')
    async def asynchronous(self):
        await charm.sleep(0.001)
        raise ValueError('in an async method')
    def wrong_call(self, a, b):
        pass
    @coro
    def pass_on(self):
        self.thisProxy[0].plain(ret=True).get()
    def timer(self):
        charm.scheduleCallableAfter(self.plain, 0.001)
    def reads_unset(self):
        print(self.nothing)

class Slow(Chare):
    @coro
    def __init__(self):
        charm.sleep(0.001)
        raise ValueError('in a waiting constructor')

def last():
    return charm.numPes() - 1

def main(args):
    exec(args[1])
    Future().get()

charm.start(main)
'''


@SOME_PES
@pytest.mark.parametrize('what, error, where', (
    ('1 / 0', 'ZeroDivisionError: division by zero', 'in main'),
    ('Group(Faulty)[last()].plain()', 'ValueError: in a method', 'in plain'),
    ('Group(Faulty).plain()', 'ValueError: in a method', 'in plain'),
    ('Array(Faulty, 5).plain()', 'ValueError: in a method', 'in plain'),
    ('Group(Faulty)[last()].coroutine()', 'ValueError: in a coroutine', 'in coroutine'),
    ('Group(Faulty)[last()].asynchronous()', 'ValueError: in an async method', 'in asynchronous'),
    ('Group(Faulty)[last()].wrong_call(1)', 'TypeError: ', 'wrong_call'),
    ('Group(Faulty)[last()].timer()', 'ValueError: in a method', 'in plain'),
    ('Group(Faulty)[last()].reads_unset()', 'AttributeError: ', 'in reads_unset'),
    ('Group(Faulty, args=[True])', 'ValueError: in the constructor', 'in __init__'),
    ('Array(Faulty, 9, args=[True])', 'ValueError: in the constructor', 'in __init__'),
    ('Chare(Faulty, args=[True], onPE=last())', 'ValueError: in the constructor', 'in __init__'),
    ('charm.awaitCreation(Group(Faulty, args=[True]))', 'ValueError: in the const', 'in __init__'),
    ('charm.awaitCreation(Array(Slow, 9))', 'ValueError: in a waiting constructor', 'in __init__'),
    ('Group(Faulty, args=[1, 2, 3])', 'TypeError: ', '__init__'),
    ('charm.scheduleCallableAfter(lambda: 1 / 0, 0)', 'ZeroDivisionError', 'in <lambda>'),
    ('f = Future(); f.send(1); f.send(2)', 'Charm4PyError: ', 'more values'),
))
def test_an_exception_that_nobody_takes_ends_the_program(ends, pes, what, error, where):
    code, out, err = ends(FAILS, pes, what)
    assert code == 1 and out == ''
    assert error in err and where in err and 'PE ' in err
    assert error in err.splitlines()[-1]            # the last line says it again, in short


def test_an_exception_from_elsewhere_shows_the_trace_of_its_origin(ends):
    code, _, err = ends(FAILS, 3, 'Group(Faulty)[2].pass_on()')
    assert code == 1 and 'in plain' in err and 'ValueError: in a method' in err.splitlines()[-1]


def test_an_exception_caught_by_the_creator_still_ends_the_program(ends):
    code, _, err = ends('''
class Faulty(Chare):
    def __init__(self):
        raise ValueError('in the constructor')
def main(args):
    try:
        Chare(Faulty, onPE=0)
    except ValueError:
        pass
    exit()
charm.start(main)
''', 1)
    assert code == 1 and 'in the constructor' in err


@SOME_PES
def test_exit_in_a_timer_is_refused_with_the_remedy(ends, pes):
    code, _, err = ends('''
def main(args):
    charm.scheduleCallableAfter(sys.exit, 0.001)
    Future().get()
charm.start(main)
''', pes)
    assert code == 1 and 'charm.exit' in err


def test_charm_exit_in_a_timer_ends_the_program_with_its_code(ends):
    assert ends('''
def main(args):
    charm.scheduleCallableAfter(charm.exit, 0.001, [6])
    Future().get()
charm.start(main)
''', 2) == (6, '', '')


@SOME_PES
def test_an_error_in_a_custom_reducer_ends_the_program(ends, pes):
    code, _, err = ends('''
def bad(contributions):
    raise ValueError('in a reducer')
Reducer.addReducer(bad)
class Element(Chare):
    def go(self, future):
        self.reduce(future, 1, Reducer.bad)
def main(args):
    future = Future()
    Array(Element, 5).go(future)
    future.get()
charm.start(main)
''', pes)
    assert code == 1 and 'ValueError: in a reducer' in err and 'in bad' in err


@SOME_PES
def test_values_that_cannot_be_combined_end_the_program(ends, pes):
    code, _, err = ends('''
class Element(Chare):
    def go(self, future):
        self.reduce(future, 'x' if self.thisIndex[0] else 1, Reducer.sum)
def main(args):
    future = Future()
    Array(Element, 5).go(future)
    future.get()
charm.start(main)
''', pes)
    assert code == 1 and 'TypeError' in err.splitlines()[-1]


def test_an_argument_that_cannot_be_unpickled_ends_the_program_if_nobody_waits(ends):
    code, _, err = ends('''
class Bad:
    def __reduce__(self):
        return fail, ()
def fail():
    raise OSError('no way back')
class Taker(Chare):
    def take(self, value):
        print('taken')
def main(args):
    Chare(Taker, onPE=1).take(Bad())
    Future().get()
charm.start(main)
''', 2)
    assert code == 1 and 'OSError: no way back' in err.splitlines()[-1]


@pytest.mark.parametrize('pes', (2, 4))
@pytest.mark.parametrize('first, others', (
    ('Reducer.sum', 'Reducer.max'), ('None', 'Reducer.sum'), ('Reducer.gather', 'None'),
    ('Reducer.gather', 'Reducer.product')))
def test_pes_that_reduce_in_different_ways_end_the_program(ends, pes, first, others):
    code, _, err = ends(f'''
class Element(Chare):
    def go(self, future):
        self.reduce(future, 1, {first} if self.thisIndex == 0 else {others})
def main(args):
    future = Future()
    Group(Element).go(future)
    future.get()
charm.start(main)
''', pes)
    assert code == 1
    assert 'reduction 1 of Element' in err and 'the same calls' in err.splitlines()[-1]


def test_a_reduction_and_an_allreduce_are_not_one(ends):
    code, _, err = ends('''
class Element(Chare):
    @coro
    def go(self, future):
        if self.thisIndex == 0:
            self.reduce(future, 1, Reducer.sum)
        else:
            self.allreduce(1, Reducer.sum).get()
def main(args):
    future = Future()
    Group(Element).go(future)
    future.get()
charm.start(main)
''', 2)
    assert code == 1 and 'reduction 1 of Element' in err
