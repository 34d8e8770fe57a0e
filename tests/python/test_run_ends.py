"""How runs end: signals, deaths, corruption. Nothing survives, and the reason is told."""

import os
import pathlib
import signal
import subprocess
import time

import pytest
from harness import C4PY

SLEEP = "import time\nprint('up', flush=True)\ntime.sleep(600)\n"
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEP
CORRUPTIONS = int(os.environ.get("C4P_CORRUPTIONS", "24"))


def test_a_killed_pe_ends_the_run_at_once_with_the_cause(start):
    running = start(
        """
import os, sys, time
for number in range(30):
    print(os.environ["C4P_PE"], "says", number, file=sys.stderr)
sys.stderr.flush()
print("up", flush=True)
time.sleep(600)
""",
        3,
    )
    assert running.says(b"up\nup\nup\n")
    victims = running.pes
    os.kill(victims[1], signal.SIGKILL)
    code, _, err = running.finish(5)
    assert code == 1
    message = err.partition("c4py:")[2].splitlines()
    assert f"on host {os.uname().nodename} was killed by signal 9 (SIGKILL)" in message[0]
    number = message[0].split()[1]
    assert message[1:] == [f"{number} says {line}" for line in range(20, 30)]


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGTERM])
def test_the_signal_that_killed_a_pe_is_named(run_program, number):
    done = run_program(f"import os; os.kill(os.getpid(), {int(number)})", 1)
    assert done.returncode == 1
    assert f"was killed by signal {int(number)} ({number.name})" in done.stderr


def test_the_tail_of_a_pe_that_started_and_died_is_shown(run_c4py, fake_pe):
    done = run_c4py("run", "-n", 2, fake_pe, "leave", 7)
    assert done.returncode == 1
    assert "PE 1 ended with exit code 7 in the middle of the program" in done.stderr


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_the_program(start, number, code):
    running = start(SLEEP, 2)
    assert running.says(b"up\nup\n")
    running.signal(number)
    result, _, err = running.finish()
    assert result == code
    assert "stopping the program" in err and err.count("c4py:") == 1


def test_a_program_that_ignores_sigterm_is_stopped_all_the_same(start):
    running = start(STUBBORN, 2)
    assert running.says(b"up\nup\n")
    running.signal(signal.SIGINT)
    assert running.finish()[0] == 130


def test_the_second_signal_kills(start):
    running = start(STUBBORN, 2)
    assert running.says(b"up\nup\n")
    running.signal(signal.SIGINT)
    running.signal(signal.SIGINT)
    assert running.finish()[0] == 130


def test_a_signal_right_at_the_start_stops_the_program(start):
    for delay in range(0, 60, 4):
        running = start(SLEEP, 2)
        time.sleep(delay / 1000)  # anywhere in the start: any result but a hang or a leftover
        running.signal(signal.SIGINT)
        assert running.finish()[0] in (130, -signal.SIGINT)


def test_ctrl_c_on_the_terminal_reaches_no_pe_directly(start):
    running = start(SLEEP, 2)
    assert running.says(b"up\nup\n")
    group = os.getpgid(running.process.pid)
    assert all(os.getpgid(pid) != group for pid in running.pes + [running.daemon])
    running.signal(signal.SIGINT)
    assert running.finish()[0] == 130


def test_no_pe_survives_its_daemon(start):
    running = start(STUBBORN, 3)
    assert running.says(b"up\nup\nup\n")
    pes = running.pes
    os.kill(running.daemon, signal.SIGKILL)
    code, _, err = running.finish()
    assert code == 1
    assert "the daemon c4pd was killed by signal 9" in err
    assert not any(pathlib.Path(f"/proc/{pid}").exists() for pid in pes)


def test_nothing_survives_a_killed_client(start):
    running = start(STUBBORN, 3)
    assert running.says(b"up\nup\nup\n")
    running.signal(signal.SIGKILL)
    assert running.finish()[0] == -signal.SIGKILL


def test_nothing_survives_a_client_that_is_killed_at_its_start(start):
    for delay in range(0, 60, 4):
        running = start(STUBBORN, 2)
        time.sleep(delay / 1000)  # anywhere in the start: nothing is awaited
        running.signal(signal.SIGKILL)
        running.finish()


def test_nothing_survives_when_client_and_daemon_are_killed(start):
    running = start(STUBBORN, 2)
    assert running.says(b"up\nup\n")
    daemon = running.daemon
    running.signal(signal.SIGKILL)
    os.kill(daemon, signal.SIGKILL)
    running.finish()


def test_a_daemon_that_is_told_to_stop_ends_the_job(start):
    running = start(SLEEP, 2)
    assert running.says(b"up\nup\n")
    os.kill(running.daemon, signal.SIGTERM)
    code, _, err = running.finish()
    assert code == 130
    assert "the job was cancelled" in err


def test_grandchildren_do_not_survive(run_program):
    done = run_program(
        """
        import os, subprocess
        subprocess.Popen(["sleep", "600"])
        subprocess.Popen(["sleep", "600"], start_new_session=True)
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.execlp("sleep", "sleep", "600")
            os._exit(0)
        """,
        2,
    )
    assert done.returncode == 0


def test_grandchildren_do_not_survive_a_killed_daemon(start):
    sleeper = "import subprocess\nsubprocess.Popen(['sleep', '600'], start_new_session=True)\n"
    running = start(sleeper + SLEEP, 2)
    assert running.says(b"up\nup\n")
    os.kill(running.daemon, signal.SIGKILL)
    assert running.finish()[0] == 1


def test_children_that_we_had_before_are_not_ours_to_end(tmp_path):
    program = tmp_path / "program.py"
    program.write_text("pass")
    script = 'sleep 600 >/dev/null & echo $!; exec "$0" run -n 1 "$1" >/dev/null'
    done = subprocess.run(
        ["bash", "-c", script, C4PY, program],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        timeout=30,
    )
    pid = int(done.stdout)
    try:
        assert pathlib.Path(f"/proc/{pid}").exists()
    finally:
        os.kill(pid, signal.SIGKILL)


def test_the_directory_of_the_socket_is_gone_while_the_program_runs(start, no_leftovers):
    running = start(SLEEP, 1)
    assert running.says(b"up\n")
    assert list(no_leftovers.iterdir()) == []
    running.signal(signal.SIGINT)
    running.finish()


@pytest.mark.parametrize("seed", range(CORRUPTIONS))
def test_a_pe_that_overwrites_the_segment_harms_only_its_job(run_c4py, fake_pe, seed):
    options = ("-n", 2, "--segment-size", "4M", "--env", "ASAN_OPTIONS=detect_leaks=0")
    done = run_c4py("run", *options, fake_pe, "garbage", seed, timeout=60)
    assert 0 <= done.returncode <= 255
    assert "the daemon c4pd" not in done.stderr, done.stderr
    assert "Sanitizer" not in done.stderr
    assert done.returncode != 0 or done.stderr == ""
