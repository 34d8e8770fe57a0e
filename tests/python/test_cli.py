"""The command line: help, and bad input told in one line before anything is started."""

import os
import re
import shutil
import subprocess

import pytest
from harness import BUILD, C4PY


def test_help_is_printed_to_standard_output(run_c4py):
    for arguments in (["--help"], ["-h"], ["run", "--help"], ["run", "-h"]):
        done = run_c4py(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("usage: c4py run")


def test_the_version_is_that_of_the_release(run_c4py):
    done = run_c4py("--version")
    assert re.fullmatch(r"c4py \d+\.\d+\.\d+\S*\n", done.stdout)
    daemon = subprocess.run([BUILD / "bin/c4pd", "--version"], capture_output=True, text=True)
    assert daemon.stdout.split()[1] == done.stdout.split()[1]


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    return path


# The arguments, and what must be said of them.
BAD = {
    "no command": ([], "command: none is given"),
    "unknown command": (["rum"], "rum: unknown command"),
    "unknown global option": (["--verbose"], "--verbose: unknown option"),
    "no program": (["run"], "run: no program is given"),
    "only options": (["run", "-n", "2"], "run: no program is given"),
    "n 0": (["run", "-n", "0", "APP"], "-n: 0 PEs"),
    "n -1": (["run", "-n", "-1", "APP"], "-n: -1 PEs"),
    "n x": (["run", "-n", "x", "APP"], "-n: x is not a number"),
    "n empty": (["run", "-n", "", "APP"], "-n:  is not a number"),
    "n 1.5": (["run", "--pes=1.5", "APP"], "--pes: 1.5 is not a number"),
    "n too large": (["run", "-n", "5000", "APP"], "-n: 5000 PEs are too many"),
    "n huge": (
        ["run", "-n99999999999999999999", "APP"],
        "-n: 99999999999999999999 PEs are too many",
    ),
    "n missing": (["run", "-n"], "-n: its value is missing"),
    "typing error": (["run", "--lable", "APP"], "--lable: unknown option (did you mean --label?)"),
    "unknown option": (["run", "--frobnicate", "APP"], "--frobnicate: unknown option (c4py run"),
    "unknown short option": (["run", "-z", "APP"], "-z: unknown option"),
    "unwanted value": (["run", "--label=yes", "APP"], "--label: takes no value"),
    "missing app": (["run", "no/such.py"], "no/such.py: No such file or directory"),
    "directory": (["run", "/tmp"], "/tmp: is a directory"),
    "file as directory": (["run", "APP/x.py"], "Not a directory"),
    "missing interpreter": (
        ["run", "--python", "/no/python", "APP"],
        "--python: /no/python: there is no",
    ),
    "interpreter not in PATH": (
        ["run", "--python", "nopython9", "APP"],
        "--python: nopython9: there is no",
    ),
    "interpreter no program": (["run", "--python", "/etc/passwd", "APP"], "is not a program"),
    "interpreter directory": (["run", "--python", "/tmp", "APP"], "is not a program"),
    "segment size word": (
        ["run", "--segment-size", "big", "APP"],
        "--segment-size: big is not a size",
    ),
    "segment size unit": (
        ["run", "--segment-size", "4X", "APP"],
        "--segment-size: 4X is not a size",
    ),
    "segment size negative": (["run", "--segment-size", "-4G", "APP"], "-4G is not a size"),
    "segment size small": (["run", "--segment-size", "1K", "APP"], "1K is out of range"),
    "segment size large": (["run", "--segment-size", "9999T", "APP"], "9999T is out of range"),
    "cwd missing": (["run", "--cwd", "/no/such", "APP"], "--cwd: /no/such: No such file"),
    "cwd file": (["run", "--cwd", "/etc/passwd", "APP"], "--cwd: /etc/passwd: Not a directory"),
    "env without value": (["run", "--env", "FOO", "APP"], "--env: FOO is no variable"),
    "env without name": (["run", "--env", "=1", "APP"], "--env: =1 is no variable"),
    "nodes none": (["run", "--nodes", "0", "APP"], "--nodes: 0 is not a number of nodes"),
    "nodes word": (["run", "--nodes", "two", "APP"], "--nodes: two is not a number of nodes"),
    "nodes many": (["run", "--nodes", "257", "APP"], "give one from 1 to 256"),
    "log level": (["run", "--log-level", "loud", "APP"], "--log-level: loud is no log level"),
    "exec missing": (
        ["run", "--exec", "nosuchprogram9"],
        "nosuchprogram9: there is no such program",
    ),
    "exec not executable": (["run", "--exec", "/etc/passwd"], "/etc/passwd: Permission denied"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told_in_one_line_and_nothing_is_started(run_c4py, program, case):
    arguments, message = BAD[case]
    arguments = [word.replace("APP", str(program)) for word in arguments]
    done = run_c4py(*arguments, env={**os.environ, "C4PD": "/bin/false"})
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("c4py: ") and message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not program.with_name("ran").exists()


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root reads all")
def test_a_program_that_cannot_be_read_is_named(program, no_leftovers):
    # Where anybody may go, as far as the permissions of the program let them.
    own = no_leftovers / "c4py"
    shutil.copy(C4PY, own)
    hidden = shutil.copy(program, no_leftovers / "hidden.py")
    os.chmod(hidden, 0)
    no_leftovers.chmod(0o755)
    command = [own, "run", "-n", "2", hidden]
    if os.geteuid() == 0:
        command = ["setpriv", "--reuid=65534", "--clear-groups", *command]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/")
    assert done.returncode == 2
    assert done.stderr == f"c4py: {hidden}: Permission denied (the program must be readable)\n"


@pytest.mark.parametrize("daemon", ["/no/such/c4pd", "/etc/passwd"])
def test_a_missing_daemon_is_named(run_c4py, program, daemon):
    done = run_c4py("run", "-n", 1, program, env={**os.environ, "C4PD": daemon})
    assert done.returncode == 1
    assert done.stderr.startswith(f"c4py: {daemon}: ")


def test_a_daemon_that_does_not_come_up_is_reported(run_c4py, program):
    done = run_c4py("run", "-n", 1, program, env={**os.environ, "C4PD": "/bin/true"})
    assert done.returncode == 1
    assert done.stderr.startswith("c4py: the daemon c4pd does not come up: ")


def test_an_environment_larger_than_a_message_is_refused(run_c4py, program):
    large = {f"LARGE{n}": "x" * 100_000 for n in range(11)}
    done = run_c4py("run", "-n", 1, program, env={**os.environ, **large})
    assert done.returncode == 2
    assert "larger than 1 MiB" in done.stderr


def test_a_segment_that_does_not_fit_is_refused_with_the_option_that_changes_it(run_c4py, program):
    done = run_c4py("run", "-n", 1024, "--segment-size", "256G", program)  # beyond any address
    assert done.returncode == 1
    assert "Cannot allocate memory" in done.stderr and "--segment-size" in done.stderr
    assert not program.with_name("ran").exists()
