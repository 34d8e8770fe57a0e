"""The command line of the service: every command, with a daemon and without one."""

import fcntl
import hashlib
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest
from harness import C4PY, ROOT, wait_until

# Begins at once, ends when the file that is its argument is there.
GATED = """
import os, sys, time
print("up", flush=True)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
print("through", flush=True)
"""
SLEEP = "import time\nprint('up', flush=True)\ntime.sleep(600)\n"
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEP
TOO_LARGE = 99  # PEs: more than the daemon has, so it waits


@pytest.fixture
def gate(tmp_path):
    return tmp_path / "gate"


# ---- without a daemon ----

ASKING = {
    "submit": ["submit", "PROGRAM"],
    "submit --detach": ["submit", "--detach", "PROGRAM"],
    "jobs": ["jobs"],
    "status": ["status"],
    "logs": ["logs", "abc"],
    "attach": ["attach", "abc"],
    "wait": ["wait", "abc"],
    "cancel": ["cancel", "abc"],
    "sessions": ["sessions"],
    "end": ["end", "abc"],
}


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    return path


@pytest.mark.parametrize("form", ["", "--json"])
@pytest.mark.parametrize("case", ASKING)
def test_without_a_daemon_every_command_says_so(run_c4py, no_leftovers, program, case, form):
    state_dir = no_leftovers / "state"
    arguments = [str(program) if word == "PROGRAM" else word for word in ASKING[case]]
    arguments[1:1] = ["--state-dir", state_dir, *form.split()]
    done = run_c4py(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"c4py: no daemon runs here ({state_dir}): start one with `c4pd start`\n"
    assert not state_dir.exists()


BAD = {
    "two commands": (["jobs", "status"], "jobs: status is not understood"),
    "near command": (["jbos"], "jbos: unknown command (did you mean jobs?"),
    "word for status": (["status", "x"], "status: x is not understood"),
    "word for sessions": (["sessions", "x"], "sessions: x is not understood"),
    "logs of nothing": (["logs"], "logs: no JOB is given"),
    "logs of two": (["logs", "a", "b"], "logs: b is one too many"),
    "attach to nothing": (["attach", "--resume"], "attach: no JOB is given"),
    "attach to two": (["attach", "a", "b"], "attach: b is one too many"),
    "wait for nothing": (["wait"], "wait: no JOB is given"),
    "cancel nothing": (["cancel", "--kill"], "cancel: no JOB is given"),
    "end nothing": (["end"], "end: no SESSION is given"),
    "submit nothing": (["submit"], "submit: no program is given (c4py submit app.py"),
    "submit what is missing": (["submit", "no/such.py"], "no/such.py: No such file"),
    "unknown option": (["submit", "--timelimit", "3", "APP"], "did you mean --time-limit?"),
    "option of another": (["jobs", "--follow"], "--follow: unknown option"),
    "run in a state directory": (["run", "--state-dir", "x", "APP"], "--state-dir: unknown option"),
    "no priority": (["submit", "--priority", "high", "APP"], "--priority: high is not a priority"),
    "half a priority": (["submit", "--priority", "1.5", "APP"], "1.5 is not a priority"),
    "large priority": (["submit", "--priority", "3000000000", "APP"], "is out of range"),
    "no time": (["submit", "--time-limit", "soon", "APP"], "--time-limit: soon is not a time"),
    "empty time": (["submit", "--time-limit=", "APP"], "--time-limit:  is not a time"),
    "no time at all": (["submit", "--time-limit", "0", "APP"], "0 leaves no time to run"),
    "long time": (["submit", "--time-limit", "9999d", "APP"], "9999d is not a time of at most"),
    "units upside down": (["wait", "--timeout", "5m1h", "x"], "--timeout: 5m1h is not a time"),
    "empty name": (["submit", "--name", "", "APP"], "--name: a name has 1 to"),
    "long name": (["submit", "--name", "n" * 101, "APP"], "--name: a name has 1 to"),
    "name of two lines": (["submit", "--name", "a\nb", "APP"], "--name: a name has no control"),
    "no number of jobs": (["jobs", "--last", "x"], "--last: x is not a number of jobs"),
    "no jobs": (["jobs", "--last", "0"], "--last: 0 is not a number of jobs"),
    "no number of lines": (["logs", "--tail", "-1", "x"], "--tail: -1 is not a number of lines"),
    "value of a flag": (["submit", "--detach=no", "APP"], "--detach: takes no value"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told_in_one_line_and_nothing_is_asked(run_c4py, program, case):
    arguments, message = BAD[case]
    arguments = [str(program) if word == "APP" else word for word in arguments]
    done = run_c4py(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("c4py: ") and message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_state_directory_with_too_long_a_path_is_refused(run_c4py):
    done = run_c4py("status", "--state-dir", "/tmp/" + "d" * 200)
    assert done.returncode == 1
    assert done.stderr.startswith("c4py: ") and done.stderr.count("\n") == 1
    assert "ddd" in done.stderr


def test_the_help_of_every_command_is_printed_to_standard_output(run_c4py):
    for command in sorted({words[0] for words in ASKING.values()}):
        done = run_c4py(command, "-h")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"usage: c4py {command} ")


# ---- exit codes ----


@pytest.mark.parametrize("code", [0, 3, 255])
def test_the_exit_code_of_the_program_comes_through(daemon, code):
    done = daemon.c4py("submit", "-n", 1, daemon.program(f"raise SystemExit({code})"))
    assert done.returncode == code
    assert done.stdout == ""


def test_a_crash_is_told_with_its_signal(daemon):
    source = "import os\nos.write(2, b'last words\\n')\nos.kill(os.getpid(), 11)"
    done = daemon.c4py("submit", "-n", 1, daemon.program(source))
    assert done.returncode == 1
    assert "was killed by signal 11 (SIGSEGV)" in done.stderr
    assert "last words\n" in done.stderr


def test_an_exception_is_shown(daemon):
    done = daemon.c4py("submit", "-n", 2, daemon.program("raise ValueError('of that kind')"))
    assert done.returncode == 1
    assert "ValueError: of that kind" in done.stderr


def test_a_time_limit_ends_the_job(daemon):
    done = daemon.c4py("submit", "-n", 1, "--time-limit", "1s", daemon.program(SLEEP))
    assert done.returncode == 124
    assert done.stdout == "up\n"
    assert "time" in done.stderr
    job, = daemon.jobs()
    assert (job["state"], job["exit_code"], job["time_limit_ms"]) == ("failed", 124, 1000)


def test_a_job_that_somebody_else_cancels_ends_here_too(daemon):
    running = daemon.follow(SLEEP, pes=2)
    assert running.says(b"up\nup\n")
    job, = daemon.jobs()
    done = daemon.c4py("cancel", job["id"])
    assert (done.returncode, done.stdout, done.stderr) == (0, job["id"] + "\n", "")
    code, _, err = running.finish()
    assert code == 130
    assert "cancelled" in err


def test_the_environment_and_the_directory_are_those_of_the_command(daemon, tmp_path):
    source = "import os; print(os.getcwd(), os.environ['GREETING'], os.environ['OTHER'])"
    done = daemon.c4py(
        "submit", "-n", 1, "--env", "OTHER=2", daemon.program(source),
        cwd=tmp_path, env={**os.environ, "GREETING": "hello"},
    )
    assert done.stdout == f"{tmp_path} hello 2\n"


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


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, *arguments, columns=80):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
            os.execv(C4PY, [str(C4PY), *map(str, arguments)])
        self.out = b""
        os.set_blocking(self.terminal, False)

    def says(self, text, seconds=20.0):
        def said():
            try:
                self.out += os.read(self.terminal, 1 << 16)
            except (BlockingIOError, OSError):
                pass
            return text in self.out

        return wait_until(said, seconds)

    def type(self, text):
        os.write(self.terminal, text)

    def hang_up(self):
        os.close(self.terminal)
        self.terminal = None

    def finish(self):
        """The exit code."""
        status = None

        def ended():
            nonlocal status
            if self.terminal is not None:
                self.says(b"\0", 0)  # output that nobody reads would keep it
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            return pid

        if not wait_until(ended, 30):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            raise AssertionError(f"it does not end: {self.out}")
        if self.terminal is not None:
            self.says(b"\0", 0)
            self.hang_up()
        return os.waitstatus_to_exitcode(status)


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

    def is_full():
        size = fcntl.ioctl(reader, termios.FIONREAD, b"\0" * 4)
        return int.from_bytes(size, sys.byteorder) > 50_000

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


# ---- logs ----


def test_logs_follow_a_job_to_its_end(daemon, gate):
    id = daemon.submit(GATED + "print('error', file=sys.stderr)\nsys.exit(5)", 1, [gate])
    logs = daemon.begin("logs", "-f", id)
    assert logs.says(b"up\n")
    so_far = daemon.c4py("logs", id)
    assert (so_far.returncode, so_far.stdout) == (0, "up\n")
    gate.touch()
    code, out, err = logs.finish()
    assert (code, out) == (0, "up\nthrough\n")
    assert err.startswith("error\n")
    again = daemon.c4py("logs", id)
    assert (again.returncode, again.stdout, again.stderr) == (0, out, err)


def test_logs_of_a_job_that_waits_are_empty(daemon):
    id = daemon.submit("print('never')", TOO_LARGE)
    done = daemon.c4py("logs", id)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_last_lines_of_a_log(daemon, gate):
    source = "for n in range(1000): print(n)\nprint('no newline', end='')"
    id = daemon.submit(source, 1)
    daemon.c4py("wait", id)
    assert daemon.c4py("logs", "--tail", 3, id).stdout == "998\n999\nno newline"
    assert daemon.c4py("logs", "--tail", 0, id).stdout == ""
    assert daemon.c4py("logs", "--tail", 5000, id).stdout.count("\n") == 1000


def test_what_is_not_kept_any_more_is_told(start_daemon):
    daemon = start_daemon(options=["--output-limit", "1M"])
    id = daemon.submit("for n in range(400000): print(n)", 1)
    daemon.c4py("wait", id)
    done = daemon.c4py("logs", id)
    assert done.returncode == 0
    assert re.fullmatch(r"c4py: \(\d+ pieces of output are not kept any more\)\n", done.stderr)
    numbers = [int(line) for line in done.stdout.splitlines()[1:]]
    assert 0 < numbers[0] and numbers == list(range(numbers[0], 400000))
    lines = [json.loads(line) for line in daemon.c4py("logs", "--json", id).stdout.splitlines()]
    gap, = [line for line in lines if line["event"] == "gap"]
    first = next(line for line in lines if line["event"] == "output")
    assert gap["pieces"] == first["sequence"] - 1
    assert daemon.c4py("logs", "--tail", 2, id).stderr == ""


def test_logs_put_the_pe_before_each_line(daemon):
    id = daemon.submit("print('one\\ntwo')", 2)
    daemon.c4py("wait", id)
    lines = daemon.c4py("logs", "--label", id).stdout.splitlines()
    assert sorted(lines) == ["[0] one", "[0] two", "[1] one", "[1] two"]


def test_a_log_in_json_tells_every_byte(daemon):
    source = "import os; os.write(1, b'caf\\xc3\\xa9\\n\\xff\\n'); os.write(2, b'x\\n')"
    id = daemon.submit(source, 1)
    daemon.c4py("wait", id)
    done = daemon.c4py("logs", "--json", id)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(line["job"] == id for line in lines)
    pieces = [line for line in lines if line["event"] == "output"]
    assert [piece["sequence"] for piece in pieces] == list(range(1, len(pieces) + 1))
    out, = [piece for piece in pieces if piece["stream"] == "stdout"]
    assert (out["pe"], out["text"]) == (0, "café\n\ufffd\n")
    assert subprocess.run(["base64", "-d"], input=out["base64"].encode(),
                          capture_output=True).stdout == b"caf\xc3\xa9\n\xff\n"
    err, = [piece for piece in pieces if piece["stream"] == "stderr"]
    assert err["text"] == "x\n" and "base64" not in err
    assert lines[-1]["event"] == "ended"
    assert (lines[-1]["state"], lines[-1]["exit_code"]) == ("completed", 0)


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


# ---- naming jobs ----


def test_ids_may_be_shortened_and_names_used(daemon):
    id = daemon.submit("print('here')", 1, options=["--name", "the job"])
    daemon.c4py("wait", id)
    for word in (id, id[:7], id.upper(), "the job"):
        assert daemon.c4py("logs", word).stdout == "here\n"


def test_a_beginning_that_several_ids_have_is_refused(daemon):
    ids = [daemon.submit("pass", TOO_LARGE) for _ in range(33)]  # there are 32 first characters
    first = next(id[0] for n, id in enumerate(ids) if id[0] in [other[0] for other in ids[:n]])
    for command in ("logs", "attach", "wait", "cancel"):
        done = daemon.c4py(command, first)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"c4py: {first} ") and done.stderr.count("\n") == 1
    assert {job["state"] for job in daemon.jobs()} == {"queued"}


def test_a_name_that_several_jobs_have_is_refused(daemon):
    for _ in range(2):
        daemon.submit("pass", TOO_LARGE, options=["--name", "twins"])
    done = daemon.c4py("cancel", "twins")
    assert done.returncode == 1
    assert done.stderr.startswith("c4py: twins ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["logs", "attach", "wait", "cancel", "end"])
@pytest.mark.parametrize("word", ["zzzzzzzz", "no such", "", "x" * 5000, "\udcff"])
def test_an_unknown_job_is_refused(daemon, command, word):
    done = daemon.c4py(command, word, errors="surrogateescape")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("c4py: ") and done.stderr.count("\n") == 1


# ---- cancel, wait, detach ----


def test_cancelling_twice_is_refused_the_second_time(daemon):
    id = daemon.submit("pass", TOO_LARGE)
    assert daemon.c4py("cancel", id).returncode == 0
    done = daemon.c4py("cancel", id)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"c4py: job {id} is over: cancelled\n"


def test_one_that_cannot_be_cancelled_does_not_keep_the_others(daemon):
    ids = [daemon.submit("pass", TOO_LARGE) for _ in range(2)]
    done = daemon.c4py("cancel", "--json", ids[0], "zzzzzzzz", ids[1])
    assert done.returncode == 1
    results = json.loads(done.stdout)
    assert [result["given"] for result in results] == [ids[0], "zzzzzzzz", ids[1]]
    assert [result["id"] for result in results] == [ids[0], None, ids[1]]
    assert [result["done"] for result in results] == [True, False, True]
    assert results[1]["error"] and not results[0]["error"]
    assert {job["state"] for job in daemon.jobs()} == {"cancelled"}


def test_a_stubborn_job_can_be_killed(daemon):
    id = daemon.submit(STUBBORN, 1)
    daemon.wait_for(id, "running")
    assert daemon.c4py("cancel", "--kill", id).returncode == 0
    assert daemon.c4py("wait", id).returncode != 0
    assert daemon.job(id)["state"] == "cancelled"


def test_wait_has_the_exit_code_of_the_last_that_failed(daemon):
    ids = [daemon.submit(f"raise SystemExit({code})", 1) for code in (3, 0, 4, 0)]
    assert daemon.c4py("wait", *ids).returncode == 4
    assert daemon.c4py("wait", ids[0], ids[1]).returncode == 3
    assert daemon.c4py("wait", ids[1], ids[3]).returncode == 0
    assert daemon.c4py("wait", ids[1], "zzzzzzzz", ids[3]).returncode == 1
    done = daemon.c4py("wait", "--json", *ids)
    ends = [json.loads(line) for line in done.stdout.splitlines()]
    assert [end["job"] for end in ends] == ids
    assert [end["exit_code"] for end in ends] == [3, 0, 4, 0]


def test_wait_returns_when_the_job_ends(daemon, gate):
    id = daemon.submit(GATED, 1, [gate])
    waiting = daemon.begin("wait", id)
    done = daemon.c4py("wait", "--timeout", "0", id)
    assert (done.returncode, done.stderr) == (124, f"c4py: job {id} is not over yet (--timeout)\n")
    assert waiting.process.poll() is None
    gate.touch()
    assert waiting.finish() == (0, "", "")


def test_detach_prints_the_id_and_nothing_else(daemon):
    program = daemon.program("pass")
    done = daemon.c4py("submit", "-d", "-n", 1, program)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"[0-9a-z]{8}\n", done.stdout)
    other = daemon.c4py("submit", "--detach", "--json", "-n", 1, program)
    ids = [done.stdout.strip(), json.loads(other.stdout)["id"]]
    assert [job["id"] for job in daemon.jobs()] == ids


# ---- lists ----


def test_the_list_of_jobs_tells_the_truth(daemon, gate):
    failed = daemon.submit("raise SystemExit(3)", 1, options=["--name", "failing"])
    daemon.c4py("wait", failed)
    running = daemon.submit(GATED, 1, [gate], ["--priority", 5])
    daemon.wait_for(running, "running")
    waiting = daemon.submit("pass", TOO_LARGE)
    lines = daemon.c4py("jobs").stdout.splitlines()
    assert lines[0].split() == ["ID", "NAME", "STATE", "PES", "SINCE", "DETAIL"]
    assert [line.split()[0] for line in lines[1:]] == [running, waiting]
    assert " running " in lines[1] and " queued " in lines[2]
    assert lines[2].endswith("waits for 99 PEs: this node has only 4")
    column = lines[0].index("STATE")
    assert lines[1][column:].startswith("running") and lines[2][column:].startswith("queued")
    assert daemon.c4py("jobs", "--ids").stdout.split() == [running, waiting]
    assert daemon.c4py("jobs", "-a", "--ids").stdout.split() == [failed, running, waiting]
    assert daemon.c4py("jobs", "--last", 2, "--ids").stdout.split() == [running, waiting]
    assert "failing" in daemon.c4py("jobs", "--all").stdout

    first, second, third = daemon.jobs()
    assert (first["name"], first["state"], first["exit_code"]) == ("failing", "failed", 3)
    assert first["submitted"] <= first["started"] <= first["ended"]
    assert (second["state"], second["priority"], second["pes"]) == ("running", 5, 1)
    assert second["argv"][-1] == str(gate) and second["cwd"] == os.getcwd()
    assert second["ended"] is None and second["exit_code"] is None
    assert (third["state"], third["session"]) == ("queued", False)
    gate.touch()
    daemon.c4py("wait", running)


def test_an_empty_list_says_so(daemon):
    done = daemon.c4py("jobs")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("c4py: no job is queued or runs")
    assert daemon.jobs() == []
    assert json.loads(daemon.c4py("sessions", "--json").stdout) == []
    done = daemon.c4py("sessions")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "c4py: there is no session\n")


def test_a_name_cannot_disturb_the_screen(daemon, tmp_path):
    program = tmp_path / "a\x1b[31m\n.py"
    program.write_text("pass")
    done = daemon.c4py("submit", "-d", "-n", TOO_LARGE, program)
    assert done.returncode == 0
    shown = daemon.c4py("jobs").stdout
    assert "\x1b" not in shown and shown.count("\n") == 2


def test_status_tells_the_truth(daemon):
    status = json.loads(daemon.c4py("status", "--json").stdout)
    assert status["pid"] == daemon.pid
    assert status["state_dir"] == str(daemon.state_dir)
    assert status["host"] == os.uname().nodename
    assert (status["pes"], status["pes_used"], status["clients"]) == (4, 0, 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", status["started"])
    assert status["troubles"] == [] and status["draining"] is False
    shown = daemon.c4py("status").stdout
    assert f"{daemon.pid}, up for" in shown and "0 of 4 in use" in shown
    assert str(daemon.state_dir) in shown


# ---- sessions ----

SESSION = """
import sys, c4py
session = c4py.connect(pes=1, name=sys.argv[1])
print("in", flush=True)
sys.stdin.read()
"""


def test_a_session_is_listed_and_ended(daemon):
    client = subprocess.Popen([sys.executable, "-c", SESSION, "work"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert client.stdout.readline() == b"in\n"
        session, = json.loads(daemon.c4py("sessions", "--json").stdout)
        assert (session["session"], session["state"], session["pes"]) == ("work", "running", 1)
        assert (session["clients"], session["expires"]) == (1, None)
        assert daemon.c4py("sessions", "--ids").stdout == session["id"] + "\n"
        shown = daemon.c4py("sessions").stdout.splitlines()[1].split()
        assert shown[:5] == [session["id"], "work", "running", "1", "1"]
        assert daemon.job(session["id"])["session"] is True
        done = daemon.c4py("end", "work")
        assert (done.returncode, done.stdout, done.stderr) == (0, session["id"] + "\n", "")
        assert wait_until(lambda: daemon.job(session["id"])["state"] == "completed")
        assert daemon.c4py("end", "work").returncode == 1
        assert json.loads(daemon.c4py("sessions", "--json").stdout) == []
    finally:
        client.communicate(timeout=30)


def test_a_job_is_no_session_to_be_ended(daemon):
    id = daemon.submit("pass", TOO_LARGE)
    done = daemon.c4py("end", id)
    assert (done.returncode, done.stderr) == (1, f"c4py: job {id} is no session: cancel it\n")
    assert daemon.job(id)["state"] == "queued"


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


def test_the_shell_offers_the_jobs(daemon):
    id = daemon.submit("pass", TOO_LARGE)
    script = """
        source deploy/completion/c4py.bash
        COMP_WORDS=("$0" cancel "")
        COMP_CWORD=2
        _c4p
        echo "${COMPREPLY[@]}"
    """
    done = subprocess.run(["bash", "-c", script, C4PY], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (id + "\n", "")
