"""A program that can never go on ends with a report that names what is stuck (SPEC 0.11)."""

import re

import pytest

PROGRAM = '''
import sys
from c4py import charm, Chare, Group, Array, Future, Reducer, coro

class Worker(Chare):
    @coro
    def reads(self):
        Future().get()                              # reads
    @coro
    def reads_some(self):
        future = Future(3)
        future.send(1)
        future.get()
    @coro
    def waits(self):
        charm.wait([Future(), Future()])
    @coro
    def waits_for_any(self):
        for future in charm.iwait([Future(), Future()]):
            pass
    async def awaits(self):
        await Future()
    async def awaits_deeply(self):
        await self.helper()
    async def helper(self):
        await charm.wait([Future()])                # helper
    @coro
    def calls(self, other):
        other.reads(ret=True).get()
    @coro
    def broadcasts(self):
        self.thisProxy.reads(awaitable=True).get()
    @coro
    def reduces_all(self, lacking):
        if self.thisIndex not in lacking:
            self.allreduce(1, Reducer.sum).get()
    def reduces(self, future, lacking):
        if self.thisIndex not in lacking:
            self.reduce(future, 1, Reducer.sum)
    @coro
    def in_a_function(self):
        somewhere()

class Slow(Chare):
    @coro
    def __init__(self):
        Future().get()

def somewhere():
    Future().get()                                  # somewhere

def last():
    return charm.numPes() - 1

def main(args):
    {main}

charm.start(main)
'''


def line_of(comment):
    return next(number for number, line in enumerate(PROGRAM.splitlines(), 1)
                if line.endswith(f'# {comment}'))


@pytest.fixture
def stuck(run_program):
    """Run a main that gets stuck; returns the report."""

    def run(main, pes):
        ran = run_program(PROGRAM.replace('{main}', main), pes)
        assert ran.returncode == 1, ran
        assert 'deadlock' in ran.stderr.splitlines()[0]
        assert 'deadlock' in ran.stderr.splitlines()[-1]
        return ran.stderr

    return run


@pytest.mark.parametrize('pes', (1, 3))
@pytest.mark.parametrize('main, culprits', (
    ('Future().get()', (r'main on PE 0, .*program.py:\d+: waits for a future that has received '
                        '0 of 1 values',)),
    ('Group(Worker)[last()].reads()',
     (rf'Worker\[LAST\]\.reads on PE LAST, .*program.py:{line_of("reads")}: waits for a future',)),
    ('Array(Worker, (2, 2))[0, 1].reads_some()',
     (r'Worker\[0, 1\]\.reads_some on PE \d.*received 1 of 3 values',)),
    ('Chare(Worker, onPE=last()).waits()', (r'Worker\[0\]\.waits on PE LAST.*a future that has ',)),
    ('Group(Worker)[last()].waits_for_any()', ('waits_for_any on PE LAST.*any of 2 futures',)),
    ('Group(Worker)[last()].awaits()', (r'Worker\[LAST\]\.awaits on PE LAST.*a future that has ',)),
    ('Group(Worker)[last()].awaits_deeply()',
     (rf'awaits_deeply on PE LAST, .*program.py:{line_of("helper")}: waits for a future',)),
    ('Group(Worker)[last()].in_a_function()',
     (rf'in_a_function on PE LAST, .*program.py:{line_of("somewhere")}: waits for',)),
    ('g = Group(Worker); g[0].calls(g[last()])',
     (r'Worker\[0\]\.calls on PE 0.*the outcome of Worker\.reads\(\)', r'\.reads on PE LAST')),
    ('Group(Worker)[0].broadcasts()', (r'the outcome of Worker\.reads\(\)', r'\.reads on PE 0')),
    ('Array(Worker, 5).reduces_all([(1,)])',
     (r'Worker\[4\]\.reduces_all.*an allreduce with Reducer\.sum',
      r'reduction 1 of Worker lacks 1 of its contributors: Worker\[1\] \(PE \d\)')),
    ('Array(Worker, 5).reduces(charm.thisProxy.exit, [(1,), (4,)])',
     (r'reduction 1 of Worker lacks 2 of its contributors: .*Worker\[1\].*Worker\[4\] \(PE LAST\)',
      )),
    ('f = Future(); Array(Worker, (2, 2)).reduces(f, [(1, 1)]); f.get()',
     (r'main on PE 0.*a future that has received 0 of 1', r'lacks 1 .*Worker\[1, 1\] \(PE \d\)')),
    ('charm.awaitCreation(Group(Slow))',
     (r'main on PE 0.*the creation of Slow', r'Slow\[LAST\]\.__init__ on PE LAST')),
))
def test_the_report_names_the_culprits(stuck, pes, main, culprits):
    report = stuck(main, pes)
    for culprit in culprits:
        assert re.search(culprit.replace('LAST', str(pes - 1)), report), report


def test_a_reduction_that_one_of_a_group_has_begun_lacks_all_others(stuck):
    report = stuck('Group(Worker)[0].reduces(charm.thisProxy.exit, [])', 4)
    assert re.search(r'reduction 1 of Worker lacks 3 of its contributors: '
                     r'Worker\[1\] \(PE 1\), Worker\[2\] \(PE 2\), Worker\[3\] \(PE 3\)$', report,
                     re.MULTILINE), report


def test_the_number_of_the_reduction_is_told(stuck):
    report = stuck('a = Array(Worker, 3); f = Future(2)\n'
                   '    a.reduces(f, []); a.reduces(f, []); a.reduces(f, [(0,)]); f.get()\n'
                   '    Future().get()', 2)
    assert re.search(r'reduction 3 of Worker lacks 1 of its contributors: Worker\[0\]', report)


def test_a_long_report_is_cut_and_says_so(stuck):
    report = stuck('Array(Worker, 1000).reads()', 3)
    assert len(report.splitlines()) < 50 and 'and 980 more' in report


def test_the_oldest_coroutine_is_named_first(stuck):
    report = stuck('c = Chare(Worker, onPE=0); c.waits(); c.reads(); c.awaits()', 1)
    assert [line.split()[0] for line in report.splitlines() if ' waits for ' in line] == [
        'Worker[0].waits', 'Worker[0].reads', 'Worker[0].awaits']


def test_what_was_printed_before_is_shown_before_the_report(run_program):
    ran = run_program(PROGRAM.replace('{main}', 'print("here"); Future().get()'), 2)
    assert ran.returncode == 1 and ran.stdout == 'here\n'


def test_a_timer_that_may_still_help_is_waited_for(run_program):
    ran = run_program(PROGRAM.replace(
        '{main}', 'f = Future(); charm.scheduleCallableAfter(f, 0.3); f.get(); exit(5)'), 3)
    assert (ran.returncode, ran.stderr) == (5, '')


def test_a_wait_with_a_timeout_is_no_deadlock(run_program):
    ran = run_program(PROGRAM.replace('{main}', '''
    try:
        Future().get(timeout=0.2)
    except TimeoutError:
        exit(6)'''), 2)
    assert (ran.returncode, ran.stderr) == (6, '')


def test_quiescence_that_somebody_waits_for_comes_before_the_report(run_program):
    ran = run_program(PROGRAM.replace('{main}', '''
    Group(Worker).reads()
    charm.waitQD()
    print('quiet')'''), 2)
    assert ran.returncode == 1 and ran.stdout == 'quiet\n'
    assert 'main' not in ran.stderr
