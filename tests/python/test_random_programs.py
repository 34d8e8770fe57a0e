"""Random programs come out as their oracle says; see random_programs.py.

C4P_RANDOM_PROGRAMS is how many are run with delays injected, over 1 to 4 PEs; a quarter as many
run without, and with arguments passed by reference.
"""

import os
import pathlib
import re
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
PROGRAM = HERE / 'random_programs.py'
TOTAL = int(os.environ.get('C4P_RANDOM_PROGRAMS') or 400)
MOST = 500              # programs in one job
LIMIT = 600             # seconds for a job


def batches():
    """(PEs, options, first seed, last seed) of each job."""
    for options, count in ('--delays', TOTAL // 4), ('', TOTAL // 16), (
            '--delays --by-reference', TOTAL // 16):
        for pes in 1, 2, 3, 4:
            for first in range(1, count + 1, MOST):
                yield pes, options.split(), first, min(first + MOST - 1, count)


def name(pes, options, first, last):
    return ' '.join([f'{first} to {last} on {pes}'] + options)


def run(*arguments):
    """Run random_programs.py; returns the exit code and all that it printed."""
    try:
        done = subprocess.run([sys.executable, str(PROGRAM), *arguments], timeout=LIMIT, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
    except subprocess.TimeoutExpired as expired:
        return None, expired.stdout.decode()
    return done.returncode, done.stdout


def explain(code, output, first, last, replay):
    """What a person needs to know of a job that did not go right."""
    done = [int(seed) for seed in re.findall(r'^seed (\d+): ', output, re.M)]
    wrong = [int(seed) for seed in re.findall(r'^seed (\d+): wrong', output, re.M)]
    if code is None or len(done) < last - first + 1 and not wrong:
        wrong.append(first + len(done))
        output += f'\nprogram {wrong[-1]} ' + (
            f'was not over after {LIMIT} s' if code is None else 'ended the job')
    lines = [line for line in output.splitlines() if not line.endswith(': right')]
    again = [f'{PROGRAM} --seed {seed} {" ".join(replay)}' for seed in wrong]
    return '\n'.join([''] + lines[:200] + ['replay with:'] + again)


@pytest.mark.timeout(2 * LIMIT)
@pytest.mark.parametrize('pes, options, first, last', batches(),
                         ids=[name(*batch) for batch in batches()])
def test_random_programs_come_out_as_their_oracle_says(pes, options, first, last):
    replay = ['--pes', str(pes)] + options
    code, output = run('--seeds', f'{first}-{last}', *replay)
    right = len(re.findall(r'^seed \d+: right$', output, re.M))
    assert code == 0 and right == last - first + 1, explain(code, output, first, last, replay)


def test_a_program_can_be_replayed_with_its_statements_and_their_outcome():
    code, output = run('--seed', '7', '--pes', '2')
    assert code == 0 and output.endswith('seed 7: right\n')
    assert re.search(r"^ +\d+ create 'c1'", output, re.M)
    assert re.search(r'^ +\d+ get .* -> ', output, re.M)
    assert run('--seed', '7', '--pes', '2') == (code, output)


@pytest.mark.parametrize('text', ['', '1', '1,2,3', '1,-0.5,3', '1,nan,3', '1,0.5,3x',
                                  '1,0.5,9999999'])
def test_malformed_delays_are_refused_with_what_is_expected(run_c4py, text):
    result = run_c4py('run', '--env', f'C4P_TEST_DELAYS={text}', PROGRAM, '--seeds', '1-1')
    assert result.returncode == 1
    assert f'C4P_TEST_DELAYS={text}: must be seed,probability,microseconds' in result.stderr
