"""Whoever moves, gets all that was sent, once and in order; see migration_program.py.

C4P_MIGRATION_SEEDS is how many of each storm are run.
"""

import os
import pathlib

import pytest
from harness import over_nodes

PROGRAM = pathlib.Path(__file__).with_name('migration_program.py')
STORMS = ['gale', 'one', 'trek', 'questions', 'exodus', 'sums', 'quiet']
SEEDS = range(1, 1 + int(os.environ.get('C4P_MIGRATION_SEEDS') or 1))
DELAYS = '0.02,300'         # probability, longest in microseconds


@pytest.mark.parametrize('seed', SEEDS)
@pytest.mark.parametrize('pes', (2, 3, 4))
@pytest.mark.parametrize('storm', STORMS)
@pytest.mark.parametrize('how', ('', 'with delays', 'by reference'))
def test_each_message_arrives_once_and_in_order(run_c4py, storm, pes, seed, how):
    delays = [f'--env=C4P_TEST_DELAYS={seed},{DELAYS}'] if how == 'with delays' else []
    options = ['--by-reference'] if how == 'by reference' else []
    command = ['run', '-n', pes, *over_nodes(pes), *delays, PROGRAM, storm, seed, *options]
    ran = run_c4py(*command, timeout=120)
    again = f'\nagain: build/bin/c4py {" ".join(map(str, command))}'
    assert (ran.returncode, ran.stdout) == (0, 'moved\n'), f'{ran.stdout}{ran.stderr}{again}'


@pytest.mark.parametrize('storm', STORMS)
def test_on_one_pe_there_is_nowhere_to_go(run_c4py, storm):
    ran = run_c4py('run', '-n', 1, PROGRAM, storm, 1)
    assert (ran.returncode, ran.stderr) == (0, ''), ran
