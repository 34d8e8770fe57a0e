"""The command line of the service: every command, with a daemon and without one."""

import json
import os
import re
import subprocess
import sys

import pytest
from harness import wait_until
from service_programs import GATED, SLEEP, STUBBORN, TOO_LARGE


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
    "larger priority": (["submit", "--priority", "1001", "APP"],
                        "1001 is out of range (give -1000 to 1000)"),
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


def test_a_name_goes_before_the_beginning_of_an_id_also_when_its_job_is_over(daemon):
    other = daemon.submit("pass", TOO_LARGE)
    named = daemon.submit("pass", TOO_LARGE, options=["--name", other[:2]])
    assert daemon.c4py("cancel", other[:2]).stdout == named + "\n"
    done = daemon.c4py("cancel", other[:2])
    assert (done.returncode, done.stderr) == (1, f"c4py: job {named} is over: cancelled\n")
    assert daemon.job(other)["state"] == "queued"
    alike = daemon.submit("pass", TOO_LARGE, options=["--name", other])
    assert daemon.c4py("cancel", other).stdout == other + "\n"
    assert daemon.job(alike)["state"] == "queued"


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
session = c4py.connect(pes=1, name=sys.argv[1] or None)
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


def test_among_the_jobs_a_session_without_a_name_is_told_for_one_also_when_it_is_over(daemon):
    client = subprocess.run([sys.executable, "-c", SESSION, ""], stdin=subprocess.DEVNULL,
                            capture_output=True, timeout=60)
    assert (client.returncode, client.stdout) == (0, b"in\n")
    session, = daemon.c4py("jobs", "--all", "--ids").stdout.split()
    assert wait_until(lambda: daemon.job(session)["state"] == "completed")
    shown = daemon.c4py("jobs", "--all").stdout.splitlines()[1].split(maxsplit=5)
    assert shown[:4] + shown[5:] == [session, "-", "completed", "1", "a session"]


def test_a_job_is_no_session_to_be_ended(daemon):
    id = daemon.submit("pass", TOO_LARGE)
    done = daemon.c4py("end", id)
    assert (done.returncode, done.stderr) == (1, f"c4py: job {id} is no session: cancel it\n")
    assert daemon.job(id)["state"] == "queued"
