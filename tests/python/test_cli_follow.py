"""Jobs that are followed: submit and attach, what they say, and what ends them."""

import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import termios
import time

import pytest
from harness import C4PY, Terminal, wait_until
from service_programs import GATED, SLEEP, STUBBORN, TOO_LARGE


@pytest.fixture
def gate(tmp_path):
    return tmp_path / "gate"


# ---- waiting for slots ----


def test_a_job_that_waits_says_for_what_and_starts_when_slots_are_free(daemon, gate):
    first = daemon.submit(GATED, 3, [gate])
    daemon.wait_for(first, "running")
    second = daemon.follow("print('second')", 2, stderr=subprocess.STDOUT)
    assert second.says(b"waits for 2 PEs: 1 of 4 is free\n")
    jobs = {job["id"]: job for job in daemon.jobs()}
    waiting, = jobs.keys() - {first}
    assert jobs[first]["state"] == "running" and jobs[first]["pes"] == 3
    assert jobs[waiting]["state"] == "queued"
    assert jobs[waiting]["reason"] == "waits for 2 PEs: 1 of 4 is free"
    assert jobs[waiting]["started"] is None and jobs[waiting]["exit_code"] is None
    status = json.loads(daemon.c4py("status", "--json").stdout)
    assert (status["pes"], status["pes_used"]) == (4, 3)
    assert (status["running"], status["queued"]) == (1, 1)
    gate.touch()
    code, out, _ = second.finish()
    assert code == 0
    assert out == f"c4py: job {waiting} waits for 2 PEs: 1 of 4 is free\nsecond\nsecond\n"
    assert daemon.c4py("wait", first).returncode == 0


def test_two_jobs_run_at_once_on_different_pes(daemon, gate):
    ids = [daemon.submit(GATED, 2, [gate]) for _ in range(2)]
    for id in ids:
        daemon.wait_for(id, "running")
    third = daemon.submit(GATED, 1, [gate])
    assert daemon.job(third)["state"] == "queued"
    gate.touch()
    assert daemon.c4py("wait", *ids, third).returncode == 0
    assert [job["state"] for job in daemon.jobs()] == ["completed"] * 3


def test_a_higher_priority_goes_first(daemon, gate, tmp_path):
    first = daemon.submit(GATED, 4, [gate])
    daemon.wait_for(first, "running")
    order = tmp_path / "order"
    source = "import sys; open(sys.argv[1], 'a').write(sys.argv[2])"
    ids = [
        daemon.submit(source, 4, [order, name], ["--priority", priority, "--env", "X=1"])
        for name, priority in (("a", -1), ("b", 0), ("c", 7), ("d", 0))
    ]
    gate.touch()
    assert daemon.c4py("wait", *ids).returncode == 0
    assert order.read_text() == "ccccbbbbddddaaaa"


def test_on_a_terminal_the_waiting_is_one_line_that_goes_away(daemon, gate):
    first = daemon.submit(GATED, 3, [gate])
    daemon.wait_for(first, "running")
    terminal = Terminal("submit", "-n", 4, daemon.program("print('second')"))
    assert terminal.says(b"waits for 4 PEs: 1 of 4 is free")
    assert b"\n" not in terminal.out
    gate.touch()
    assert terminal.says(b"\r\x1b[K")
    assert terminal.finish() == 0
    assert terminal.out.endswith(b"\r\x1b[K" + b"second\r\n" * 4)


def test_lines_are_cut_to_the_width_of_a_terminal_and_of_nothing_else(daemon, gate):
    first = daemon.submit(GATED, 3, [gate], ["--name", "a name that is longer than the line"])
    daemon.wait_for(first, "running")
    terminal = Terminal("jobs", columns=30)
    assert terminal.finish() == 0
    lines = terminal.out.decode().splitlines()
    assert len(lines) == 2 and all(len(line) <= 30 for line in lines)
    assert " running " in daemon.c4py("jobs").stdout.splitlines()[1]
    terminal = Terminal("submit", "-n", 4, daemon.program("pass"), columns=30)
    assert terminal.says(b"c4py: job ")
    gate.touch()
    assert terminal.finish() == 0
    shown = terminal.out.partition(b"\r")[0]
    assert b"\n" not in shown and len(shown) < 30


# ---- Ctrl-C and what else ends a client ----


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_cancels_the_job(daemon, number, code):
    running = daemon.follow(SLEEP, 2)
    assert running.says(b"up\nup\n")
    running.signal(number)
    result, _, err = running.finish()
    assert result == code
    assert err.count("c4py:") == 1 and "once more kills it" in err
    assert [job["state"] for job in daemon.jobs()] == ["cancelled"]


def test_a_second_signal_kills(daemon):
    running = daemon.follow(STUBBORN, 2, stderr=subprocess.STDOUT)
    assert running.says(b"up\nup\n")
    running.signal(signal.SIGINT)
    assert running.says(b"once more kills it")
    running.signal(signal.SIGINT)
    assert running.finish()[0] == 130


def test_a_third_signal_leaves_a_daemon_that_does_not_answer(daemon):
    running = daemon.follow(SLEEP, 1, stderr=subprocess.STDOUT)
    assert running.says(b"up\n")
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        running.signal(signal.SIGINT)
        assert running.says(b"once more kills it")
        running.signal(signal.SIGINT)
        assert running.says(b"once more leaves")
        running.signal(signal.SIGINT)
        code, out, _ = running.finish()
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
    assert code == 130
    assert out.endswith(f"c4py jobs tells what becomes of job {daemon.jobs()[0]['id']}\n")


def test_a_signal_takes_a_job_out_of_the_queue(daemon):
    running = daemon.follow("print('never')", TOO_LARGE, stderr=subprocess.STDOUT)
    assert running.says(b"waits")
    running.signal(signal.SIGINT)
    code, out, _ = running.finish()
    assert code == 130 and "never" not in out
    assert "cancelling the job, which has not started" in out and "program" not in out
    job, = daemon.jobs()
    assert job["state"] == "cancelled" and job["started"] is None


def test_a_signal_right_at_the_start_leaves_nothing_running(daemon):
    for delay in range(0, 40, 4):
        running = daemon.follow(SLEEP, 1)
        time.sleep(delay / 1000)  # anywhere in the start: any result but a hang or a leftover
        running.signal(signal.SIGINT)
        assert running.finish()[0] in (130, -signal.SIGINT)
    assert wait_until(lambda: all(job["state"] == "cancelled" for job in daemon.jobs()))


def test_ctrl_c_on_the_terminal_cancels(daemon):
    terminal = Terminal("submit", "-n", 1, daemon.program(SLEEP))
    assert terminal.says(b"up\r\n")
    terminal.type(b"\x03")
    assert terminal.finish() == 130
    assert [job["state"] for job in daemon.jobs()] == ["cancelled"]


def test_when_the_terminal_is_closed_the_job_goes_on(daemon, gate):
    terminal = Terminal("submit", "-n", 1, daemon.program(GATED), gate)
    assert terminal.says(b"up\r\n")
    terminal.hang_up()
    assert terminal.finish() == 129
    job, = daemon.jobs()
    assert job["state"] == "running"
    gate.touch()
    assert daemon.c4py("wait", job["id"]).returncode == 0
    assert daemon.c4py("logs", job["id"]).stdout == "up\nthrough\n"


def test_a_hangup_says_that_the_job_goes_on(daemon, gate):
    running = daemon.follow(GATED, 1, [gate])
    assert running.says(b"up\n")
    running.signal(signal.SIGHUP)
    code, _, err = running.finish()
    job, = daemon.jobs()
    assert code == 129
    assert err == f"c4py: job {job['id']} goes on (c4py attach {job['id']} follows it)\n"
    assert job["state"] == "running"


# ---- attach ----

NUMBERED = """
import os, sys, time
for number in range(300):
    print(number, flush=True)
while not os.path.exists(sys.argv[1]):
    print(number := number + 1, flush=True)
    time.sleep(0.001)
"""


def test_a_killed_client_leaves_its_job_and_attach_shows_every_line_once(daemon, gate):
    running = daemon.follow(NUMBERED, 1, [gate])
    assert running.says(b"\n299\n")
    running.signal(signal.SIGKILL)
    running.finish()
    job, = daemon.jobs()
    assert job["state"] == "running"
    attached = daemon.begin("attach", job["id"])
    assert attached.says(b"\n299\n")
    gate.touch()
    code, out, err = attached.finish()
    assert (code, err) == (0, "")
    numbers = [int(line) for line in out.splitlines()]
    assert numbers == list(range(len(numbers))) and len(numbers) > 300


def test_resume_goes_on_where_the_last_client_left(daemon, gate):
    running = daemon.follow(NUMBERED, 1, [gate])
    assert running.says(b"\n299\n")
    running.signal(signal.SIGHUP)
    code, first, _ = running.finish()
    assert code == 129
    attached = daemon.begin("attach", "--resume", daemon.jobs()[0]["id"])
    assert attached.says(b"\n")
    gate.touch()
    code, second, err = attached.finish()
    assert (code, err) == (0, "")
    numbers = [int(line) for line in (first + second).splitlines()]
    assert numbers == list(range(len(numbers)))


def test_resume_loses_nothing_that_a_killed_client_had_not_written(daemon, tmp_path):
    source = "for n in range(200000): print(n)"
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with open(fifo, "wb") as full:  # nobody reads: most of it waits in the client
        running = daemon.follow(source, 1, stdout=full)

    def is_full():  # 16 pages, of which each may be used by half only
        size = fcntl.ioctl(reader, termios.FIONREAD, b"\0" * 4)
        return int.from_bytes(size, sys.byteorder) > 30_000

    assert wait_until(is_full)
    os.set_blocking(reader, True)
    first = os.read(reader, 1000)
    running.signal(signal.SIGKILL)
    running.process.wait()
    while piece := os.read(reader, 1 << 16):
        first += piece
    os.close(reader)
    done = daemon.c4py("attach", "--resume", daemon.jobs()[0]["id"])
    assert (done.returncode, done.stderr) == (0, "")
    shown = [int(line) for line in first.decode().split("\n")[:-1]]
    rest = [int(line) for line in done.stdout.splitlines()]
    assert shown == list(range(len(shown))) and len(shown) > 100
    assert rest == list(range(rest[0], 200000))
    assert rest[0] <= len(shown)


def test_ctrl_c_detaches(daemon, gate):
    id = daemon.submit(GATED + "raise SystemExit(3)", 1, [gate])
    attached = daemon.begin("attach", id)
    assert attached.says(b"up\n")
    attached.signal(signal.SIGINT)
    code, _, err = attached.finish()
    assert code == 130
    assert err.startswith(f"c4py: detached: job {id} goes on") and err.count("\n") == 1
    assert daemon.job(id)["state"] == "running"
    gate.touch()
    again = daemon.c4py("attach", id)
    assert again.returncode == 3
    assert again.stdout == "up\nthrough\n"


def test_attach_to_a_job_that_is_over_shows_all_of_it(daemon):
    id = daemon.submit("import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)", 1)
    assert daemon.c4py("wait", id).returncode == 7
    done = daemon.c4py("attach", id)
    assert (done.returncode, done.stdout) == (7, "out\n")
    assert done.stderr.startswith("err\n")


def test_who_attaches_sends_standard_input(daemon):
    running = daemon.follow("print('up', flush=True); print(input())", 1, stdin=subprocess.PIPE)
    assert running.says(b"up\n")
    running.signal(signal.SIGKILL)
    running.finish()
    job, = daemon.jobs()
    done = daemon.c4py("attach", job["id"], input="typed\n")
    assert (done.returncode, done.stdout) == (0, "up\ntyped\n")


# ---- output and input ----


def test_several_megabytes_come_through_unchanged(daemon):
    source = """
        import sys
        for number in range(60000):
            sys.stdout.write(f"{number:07d} " + "x" * (number % 100) + "\\n")
    """
    expected = "".join(f"{n:07d} " + "x" * (n % 100) + "\n" for n in range(60000))
    done = daemon.c4py("submit", "-n", 1, daemon.program(source))
    assert done.returncode == 0 and len(done.stdout) > 3_000_000
    assert done.stdout == expected
    assert daemon.c4py("logs", daemon.jobs()[0]["id"]).stdout == expected


def test_standard_input_goes_to_pe_0(daemon):
    data = os.urandom(3_000_000)
    source = """
        import hashlib, os, sys
        print(os.environ["C4P_PE"], hashlib.sha256(sys.stdin.buffer.read()).hexdigest())
    """
    done = daemon.c4py("submit", "-n", 2, daemon.program(source), input=data, text=False)
    empty = hashlib.sha256(b"").hexdigest()
    assert sorted(done.stdout.decode().splitlines()) == [
        f"0 {hashlib.sha256(data).hexdigest()}", f"1 {empty}",
    ]


def test_a_detached_job_has_no_standard_input(daemon):
    id = daemon.submit("import sys; print(repr(sys.stdin.read()))", 1)
    daemon.c4py("wait", id)
    assert daemon.c4py("logs", id).stdout == "''\n"


def test_a_question_on_the_terminal_is_answered_there(daemon):
    terminal = Terminal("submit", "-n", 1, daemon.program("print('hello', input('name? '))"))
    mode = termios.tcgetattr(terminal.terminal)
    mode[3] &= ~termios.ECHO
    termios.tcsetattr(terminal.terminal, termios.TCSANOW, mode)
    assert terminal.says(b"name? ")
    terminal.type(b"me\n")
    assert terminal.finish() == 0
    assert terminal.out == b"name? hello me\r\n"


def test_when_nobody_reads_the_output_the_job_ends(daemon):
    source = "while True: print('line' * 20, flush=True)"
    done = subprocess.run(
        ["bash", "-c", '"$0" submit -n 1 "$1" | head -1; echo "${PIPESTATUS[0]}"',
         C4PY, daemon.program(source)],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60,
    )
    assert done.stdout.splitlines() == ["line" * 20, "141"]
    assert done.stderr == ""
    assert wait_until(lambda: daemon.jobs()[0]["state"] == "cancelled")


def test_when_nobody_reads_a_log_the_job_goes_on(daemon):
    id = daemon.submit("import time\nwhile True: print('line', flush=True); time.sleep(0.01)", 1)
    for command in ("logs -f", "attach"):
        done = subprocess.run(
            ["bash", "-c", f'"$0" {command} "$1" | head -1; echo "${{PIPESTATUS[0]}}"', C4PY, id],
            capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60,
        )
        assert done.stdout.splitlines() == ["line", "141"]
        assert daemon.job(id)["state"] == "running"


def test_a_full_device_is_told(daemon):
    daemon.submit("pass", TOO_LARGE)
    with open("/dev/full", "w") as full:
        done = subprocess.run([C4PY, "jobs"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "c4py: standard output: No space left on device\n"


# ---- the daemon goes away ----


def test_a_client_waits_for_the_daemon_to_come_back(daemon, gate):
    blocker = daemon.submit(GATED, 4, [gate])
    daemon.wait_for(blocker, "running")
    running = daemon.follow("print('at last')", 1, stderr=subprocess.STDOUT)
    assert running.says(b"waits")
    daemon.kill()
    assert running.says(b"is gone")
    daemon.start()
    code, out, _ = running.finish()
    assert code == 0
    assert "the daemon is back" in out and out.endswith("at last\n")
    assert daemon.job(blocker)["state"] == "failed"


def test_ctrl_c_leaves_a_daemon_that_is_away_and_the_job_stays(daemon):
    running = daemon.follow("print('never')", TOO_LARGE, stderr=subprocess.STDOUT)
    assert running.says(b"waits")
    job, = daemon.jobs()
    daemon.kill()
    assert running.says(b"is gone")
    running.signal(signal.SIGINT)
    code, out, _ = running.finish()
    assert code == 130
    assert f"job {job['id']} stays in the queue" in out
    daemon.start()
    assert daemon.job(job["id"])["state"] == "queued"


def test_a_client_of_a_job_that_ran_hears_how_it_ended(daemon):
    running = daemon.follow(SLEEP, 1, stderr=subprocess.STDOUT)
    assert running.says(b"up\n")
    daemon.kill()
    assert running.says(b"is gone")
    daemon.start()
    code, out, _ = running.finish()
    assert code == 1
    assert out.startswith("up\n") and out.count("up\n") == 1
    assert daemon.jobs()[0]["message"] in out


def test_a_daemon_that_drains_refuses_and_says_so(daemon, gate):
    running = daemon.submit(GATED, 1, [gate])
    daemon.wait_for(running, "running")
    os.kill(daemon.pid, signal.SIGTERM)
    assert wait_until(lambda: json.loads(daemon.c4py("status", "--json").stdout)["draining"])
    assert "draining" in daemon.c4py("status").stdout
    done = daemon.c4py("submit", "-n", 1, daemon.program("pass"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("c4py: ") and done.stderr.count("\n") == 1
    assert daemon.jobs("--last", 9)[0]["state"] == "running"
    gate.touch()
    assert daemon.process.wait(20) == 0


def test_a_stopped_daemon_is_not_waited_for_without_a_word(daemon):
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        done = daemon.c4py("status")
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
    assert done.returncode == 1
    assert done.stderr.startswith("c4py: ") and done.stderr.count("\n") == 1


# ---- one stream for programs ----


def test_submit_in_json_is_a_stream_of_events(daemon):
    program = daemon.program("import sys; print('out'); sys.exit(3)")
    done = daemon.c4py("submit", "--json", "-n", 1, program)
    assert (done.returncode, done.stderr) == (3, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[0]["event"] == "accepted"
    assert {line["job"] for line in lines} == {lines[0]["job"]}
    states = [line["state"] for line in lines if line["event"] == "state"]
    assert "running" in states
    assert [line["text"] for line in lines if line["event"] == "output"] == ["out\n"]
    assert (lines[-1]["event"], lines[-1]["exit_code"]) == ("ended", 3)
