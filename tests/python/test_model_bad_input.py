"""What a program does wrong is told in its last line: the thing, the reason, and the remedy."""

import pytest

PROGRAM = '''
import sys
import numpy
from c4py import charm, Chare, Group, Array, Future, Reducer, coro

class Worker(Chare):
    def one(self, a, b=2):
        return a
    def two(self):
        pass
    @coro
    def waits(self):
        Future().get()
    def cannot_wait(self):
        Future()

class Needs(Chare):
    def __init__(self, a):
        pass

def main(args):
    group, array = Group(Worker), Array(Worker, (3, 4))
    chare = Chare(Worker, onPE=charm.numPes() - 1)
    {main}
    charm.exit()

{before}
charm.start(main)
'''


@pytest.fixture
def complaint(run_program):
    """Run a program that is wrong; returns the last line of what it says."""

    def run(main='pass', before='', pes=2, options=()):
        source = PROGRAM.replace('{main}', main).replace('{before}', before)
        ran = run_program(source, pes, options=options)
        assert ran.returncode == 1 and ran.stdout == '', ran
        return ran.stderr.splitlines()[-1]

    return run


@pytest.mark.parametrize('main, words', (
    ('chare.no_such(1)', ("AttributeError", "no_such", "WorkerArrayProxy")),
    ('chare.one(1, nothing=2)', ('TypeError', 'Worker.one', 'nothing')),
    ('chare.one(b=2)', ('TypeError', 'Worker.one', "'a'")),
    ('chare.one(1, ret=True, a=3)', ('TypeError', 'Worker.one', "'a'")),
    ('chare.one((x for x in ()))', ('TypeError', 'argument 1', 'generator', '__reduce__')),
    ('group.one(sys._getframe())', ('TypeError', 'argument 1', 'frame', '__reduce__')),
    ('Future().send((x for x in ()))', ('TypeError', 'generator')),
    ('group[charm.numPes()]', ('IndexError', 'Worker', 'out of bounds')),
    ('group[-1]', ('IndexError', 'Worker', '-1', 'out of bounds')),
    ('array[3, 0]', ('IndexError', '(3, 0)', '(3, 4)', 'out of bounds')),
    ('array[1]', ('IndexError', 'Worker', '2 dimensions')),
    ('array["x", 1]', ('TypeError', 'int', 'str')),
    ('array[0:2, 0:2]', ('TypeError', 'int', 'slice')),
    ('Group(int)', ('Charm4PyError', 'int', 'Chare')),
    ('Array(Worker)', ('Charm4PyError', 'dims')),
    ('Chare(Worker, onPE=99)', ('IndexError', 'onPE=99', 'PEs are 0 to')),
    ('charm.options.no_such = 1', ('Charm4PyError', 'no_such', 'remote_exec')),
    ('charm.awaitCreation(5)', ('Charm4PyError', 'awaitCreation', '5')),
    ('charm.startQD(5)', ('TypeError', 'future')),
    ('charm.wait([5])', ('TypeError', 'int')),
    ('charm.thisProxy.exec("1", awaitable=True).get()', ('Charm4PyError', 'remote_exec')),
    ('chare.cannot_wait(); Future().get()', ('NotThreadedError', 'Worker.cannot_wait', '@coro')),
    ('chare.one(); Future().get()', ('TypeError', "one()", "'a'")),
    ('Group(Needs); Future().get()', ('TypeError', '__init__', "'a'")),
    ('Future(0)', ('ValueError', 'num_vals=0')),
    ('Future().get(wait=5)', ('TypeError', 'timeout')),
    ('charm.scheduleCallableAfter(5, 1)', ('TypeError', '5')),
    ('chare.migrate(99, ret=True).get()', ('IndexError', '99', 'PEs are 0 to')),
    ('chare.migrate(True, ret=True).get()', ('TypeError', 'toPe', 'bool')),
    ('chare.migrate("1", ret=True).get()', ('TypeError', 'toPe', 'str')),
    ('group[0].migrate(0)', ('AttributeError', 'migrate', 'WorkerGroupProxy')),
    ('Worker().migrate(0)', ('Charm4PyError', 'Worker')),
    ('chare.waits(); chare.migrate(0); Future().get()',
     ('Charm4PyError', 'Worker[0]', 'PE 0', 'coroutine')),
))
def test_what_main_does_wrong_is_told(complaint, main, words):
    line = complaint(main)
    assert all(word in line for word in words), line


@pytest.mark.parametrize('before, words', (
    ('charm.options.no_such = 1', ('Charm4PyError', 'no_such')),
    ('class Bad(Chare):\n    def reduce(self):\n        pass', ('Charm4PyError', 'Bad.reduce')),
    ('class Bad(Chare):\n    def f(self, ret):\n        pass', ('AssertionError', 'Bad.f', 'ret')),
    ('main = 5', ('AssertionError', 'entry')),
    ('main = lambda: 5', ('Charm4PyError', 'parameter')),
    ('1 / 0', ('ZeroDivisionError',)),
    ('import no_such_module', ('ModuleNotFoundError', 'no_such_module')),
    ('Group(Worker)', ('Charm4PyError', 'charm.start()')),
))
def test_what_is_wrong_before_the_start_is_told(run_program, before, words):
    ran = run_program(PROGRAM.replace('{main}', 'pass').replace('{before}', before), 2)
    assert ran.returncode == 1 and ran.stdout == ''
    assert any(all(word in line for word in words) for line in ran.stderr.splitlines()), ran.stderr


@pytest.mark.parametrize('pes', (1, 2))
@pytest.mark.parametrize('main', (
    'chare.one(numpy.zeros(1 << 23))', 'group.one(numpy.zeros(1 << 23))',
    'chare.one([numpy.zeros(1 << 23)])', 'chare.one(bytes(1 << 26))',
    'Future().send(numpy.zeros(1 << 23))'))
def test_a_message_larger_than_the_segment_is_told_with_the_option(complaint, pes, main):
    line = complaint(main, pes=pes, options=('--segment-size', '48M'))
    assert 'SegmentFullError' in line and '--segment-size' in line and 'bytes' in line


def test_a_chare_larger_than_the_segment_cannot_move_and_is_named(run_program):
    ran = run_program(PROGRAM.replace('{before}', '').replace('{main}', '''
    class Heavy(Chare):
        def fill(self):
            self.load = numpy.zeros(1 << 23)
            self.migrate(0)
    Chare(Heavy, onPE=1).fill()
    Future().get()'''), 2, options=('--segment-size', '48M'))
    assert ran.returncode == 1 and ran.stdout == '', ran
    assert 'SegmentFullError' in ran.stderr and 'Heavy[0]' in ran.stderr
    assert '--segment-size' in ran.stderr


def test_a_message_larger_than_the_segment_can_be_caught_and_the_program_goes_on(run_program):
    ran = run_program(PROGRAM.replace('{before}', '').replace('{main}', '''
    from c4py import SegmentFullError
    try:
        chare.one(numpy.zeros(1 << 23))
    except SegmentFullError as error:
        assert isinstance(error, MemoryError) and '--segment-size' in error.message
    else:
        print('not refused')
    print(chare.one(3, ret=True).get())'''), 2, options=('--segment-size', '48M'))
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, '3\n', '')


def test_a_value_larger_than_the_segment_is_an_error_of_the_call(run_program):
    ran = run_program(PROGRAM.replace('{before}', '').replace('{main}', '''
    class Giver(Chare):
        def give(self):
            return numpy.zeros(1 << 23)
    giver = Chare(Giver, onPE=1)
    try:
        giver.give(ret=True).get()
    except Exception as error:
        print(type(error).__name__, '--segment-size' in str(error))'''), 2,
                      options=('--segment-size', '48M'))
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, 'SegmentFullError True\n', '')
