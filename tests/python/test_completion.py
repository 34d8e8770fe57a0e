"""Shell completion offers what the commands have: it asks them, and what they say has its form."""

import os
import re
import shutil
import subprocess

import pytest
from harness import BUILD, ROOT

COMPLETION = ROOT / "deploy" / "completion"
PROGRAM = str(BUILD / "bin" / "c4py")


def bash_offers(*words):
    """What bash offers for the last of these words."""
    script = """
        source "$0"
        COMP_WORDS=("$@")
        COMP_CWORD=$(($# - 1))
        _c4p
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["bash", "-c", script, COMPLETION / "c4py.bash", *words],
        capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL,
    )
    assert done.stderr == ""
    return sorted(done.stdout.split())


def help_text(*command):
    return subprocess.run(
        [*command, "--help"], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
    ).stdout


def help_commands(program):
    return re.findall(r"^  ([a-z]+) ", help_text(program), re.M)


def help_options(*command):
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", help_text(*command))) - {"--"}


@pytest.mark.parametrize("program", [PROGRAM, str(BUILD / "bin" / "c4pd")])
def test_bash_offers_the_commands_and_their_options_that_the_help_lists(program):
    commands = help_commands(program)
    assert bash_offers(program, "") == sorted(commands + ["--help", "--version"])
    for command in commands:
        offered = bash_offers(program, command, "--")
        assert set(offered) == help_options(program, command), command
        assert len(offered) == len(set(offered))


def test_bash_offers_what_begins_with_what_was_typed():
    assert bash_offers(PROGRAM, "s") == ["sessions", "status", "submit"]
    assert bash_offers(PROGRAM, "logs", "--fo") == ["--follow"]


def test_bash_leaves_the_words_of_the_program_alone():
    assert bash_offers(PROGRAM, "run", "-n", "2", "--la") == ["--label"]
    assert bash_offers(PROGRAM, "run", "--name", "=", "x", "--la") == ["--label"]
    assert bash_offers(PROGRAM, "run", "-n", "2", "app.py", "--la") == []
    assert bash_offers(PROGRAM, "submit", "app.py", "") == []


def test_bash_offers_values_and_files(tmp_path):
    assert bash_offers(PROGRAM, "run", "--log-level", "") == ["debug", "error", "info", "warning"]
    assert bash_offers(PROGRAM, "run", "--log-level", "=", "w") == ["warning"]
    (tmp_path / "directory").mkdir()
    (tmp_path / "application.py").write_text("")
    start = str(tmp_path) + "/"
    assert bash_offers(PROGRAM, "submit", "--cwd", start) == [start + "directory"]
    assert bash_offers(PROGRAM, "submit", start + "a") == [start + "application.py"]


def test_bash_offers_no_job_where_there_is_no_daemon(tmp_path):
    assert bash_offers(PROGRAM, "logs", "--state-dir", str(tmp_path), "") == []


def test_bash_offers_the_jobs_of_the_daemon(daemon):
    over = daemon.submit("pass")
    daemon.c4py("wait", over)
    waiting = daemon.submit("pass", 99)
    assert bash_offers(PROGRAM, "cancel", "") == [waiting]
    assert bash_offers(PROGRAM, "logs", "") == sorted([over, waiting])
    assert bash_offers(PROGRAM, "attach", "--state-dir", str(daemon.state_dir), "") == [waiting]


@pytest.mark.parametrize("shell, file", [
    ("bash", "c4py.bash"), ("zsh", "_c4py"), ("fish", "c4py.fish"),
])
def test_the_shells_understand_their_files(shell, file):
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"there is no {shell} here")
    done = subprocess.run([program, "-n", COMPLETION / file], capture_output=True, text=True,
                          env={**os.environ, "HOME": "/nonexistent"})
    assert (done.returncode, done.stderr) == (0, "")
