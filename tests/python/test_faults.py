"""Whatever dies or writes garbage while PEs are at work, the run ends and tells why.

C4P_KILLS (default 4) and C4P_CORRUPTIONS (default 20; 200 in the full form) are how many random
cases of each kind are tried; see also test_run_ends.py.
"""

import os
import pathlib
import random
import re
import shutil
import signal
import time

import pytest
from harness import BUILD, Running

HERE = pathlib.Path(__file__).resolve().parent
KILLS = int(os.environ.get('C4P_KILLS') or 4)
CORRUPTIONS = int(os.environ.get('C4P_CORRUPTIONS') or 20)
PES = 3

STORM = [HERE / 'storm_program.py']
PROGRAMS = [HERE / 'random_programs.py', '--pes', PES, '--seeds', '1-100000']


@pytest.fixture
def at_work():
    """Start a program and wait until its PEs have been at work for some random time."""
    started = []

    def begin(command, rng, **environment):
        options = [option for name, value in environment.items()
                   for option in ('--env', f'{name}={value}')]
        running = Running(['run', '-n', PES, *options, *command])
        started.append(running)
        assert running.says(b'\n')
        time.sleep(rng.uniform(0, 0.3))      # any moment is right
        return running

    yield begin
    for running in started:
        running.end()


@pytest.mark.parametrize('command', [STORM, PROGRAMS], ids=['a storm', 'random programs'])
@pytest.mark.parametrize('case', range(KILLS))
def test_a_pe_killed_at_any_moment_ends_the_run_with_its_name(at_work, command, case):
    rng = random.Random(case)
    running = at_work(command, rng, C4P_TEST_DELAYS=f'{case},0.1,200')
    victim = rng.randrange(PES)
    os.kill(running.pes[victim], signal.SIGKILL)
    code, _, errors = running.finish()
    assert code == 1
    assert re.search(rf'^c4py: PE {victim} on host \S+ was killed by signal 9 \(SIGKILL\)', errors,
                     re.M), errors


@pytest.mark.parametrize('case', range(KILLS))
def test_no_pe_survives_its_daemon_whatever_it_does(at_work, case):
    running = at_work(STORM, random.Random(case))
    os.kill(running.daemon, signal.SIGKILL)
    code, _, errors = running.finish()
    assert code == 1
    assert 'the daemon c4pd was killed by signal 9' in errors


@pytest.mark.parametrize('case', range(KILLS))
def test_nothing_survives_c4py_whatever_it_does(at_work, case):
    running = at_work(STORM, random.Random(case))
    running.signal(signal.SIGKILL)
    assert running.finish()[0] == -signal.SIGKILL


@pytest.mark.parametrize('number, code', [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize('case', range(KILLS))
def test_a_signal_stops_the_program_whatever_it_does(at_work, number, code, case):
    running = at_work(STORM, random.Random(case))
    running.signal(number)
    result, _, errors = running.finish()
    assert result == code and errors.count('\n') == 1, errors


@pytest.mark.parametrize('case', range(KILLS))
def test_exit_on_any_pe_ends_the_program_whatever_the_others_do(run_c4py, case):
    done = run_c4py('run', '-n', PES, '--env', f'C4P_TEST_DELAYS={case},0.1,200', *STORM, 'exit',
                    case)
    assert (done.returncode, done.stdout, done.stderr) == (7, 'up\n', ''), done


@pytest.mark.parametrize('case', range(KILLS))
def test_an_exception_on_any_pe_ends_the_program_whatever_the_others_do(run_c4py, case):
    done = run_c4py('run', '-n', PES, '--env', f'C4P_TEST_DELAYS={case},0.1,200', *STORM, 'raise',
                    case)
    assert done.returncode == 1
    pe = re.search(r'^PE (\d): ValueError: raised on (\d)$', done.stderr, re.M)
    assert pe and pe[1] == pe[2], done.stderr


# The daemon, and the one with sanitizers if it has been built.
DAEMONS = [path for path in ('bin/c4pd', 'asan/bin/c4pd') if (BUILD / path).exists()]


@pytest.mark.parametrize('daemon', DAEMONS)
@pytest.mark.parametrize('seed', range(CORRUPTIONS))
def test_garbage_in_the_segment_ends_the_job_and_harms_nothing_else(run_c4py, tmp_path, daemon,
                                                                    seed):
    # Sanitizers are for the daemon alone: beside it are the PEs' packages without.
    (tmp_path / 'bin').mkdir()
    shutil.copy(BUILD / daemon, tmp_path / 'bin')
    (tmp_path / 'python').symlink_to(BUILD.resolve() / 'python')
    environment = dict(os.environ, C4PD=str(tmp_path / 'bin' / 'c4pd'))
    done = run_c4py('run', '-n', PES, '--segment-size', '8M', *STORM, 'garbage', seed,
                    env=environment, timeout=120)
    assert 'the daemon c4pd' not in done.stderr and 'Sanitizer' not in done.stderr, done.stderr
    if done.returncode == 0:        # what was overwritten was not in use
        assert done.stdout == 'up\nover\n' and not done.stderr
    else:
        assert done.stdout.startswith('up\n') and done.returncode == 1 and done.stderr, done
