"""Clients at Python's prompt, and what docs/sessions.md shows."""

import inspect
import os
import pty
import re
import subprocess
import sys

import pytest
from harness import ROOT, wait_until


class Prompt:
    """A Python at a terminal."""

    def __init__(self, env):
        self.terminal, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-q"], stdin=theirs, stdout=theirs, stderr=theirs, env=env
        )
        os.close(theirs)
        os.set_blocking(self.terminal, False)
        self.text = ""

    def type(self, line):
        os.write(self.terminal, line.encode() + b"\n")

    def shows(self, text):
        def shown():
            try:
                self.text += os.read(self.terminal, 1 << 16).decode()
            except BlockingIOError:
                pass
            return text in self.text

        assert wait_until(shown, 20), self.text

    def end(self):
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)


@pytest.fixture
def prompt(no_leftovers):
    home = str(no_leftovers)
    env = {**os.environ, "XDG_STATE_HOME": home, "HOME": home, "TERM": "dumb"}
    env.update(PYTHON_BASIC_REPL="1", PYTHONSTARTUP="")
    one = Prompt(env)
    yield one
    one.end()


def test_callbacks_run_and_prints_appear_while_the_prompt_waits(prompt):
    prompt.shows(">>> ")
    prompt.type("import c4py, time")
    prompt.type("session = c4py.connect(pes=1)")
    prompt.shows("embedded")
    prompt.type("class Late(c4py.Chare):")
    prompt.type("    def call(self, target):")
    prompt.type("        time.sleep(0.3); print('pri' + 'nted'); target('cal' + 'led')")
    prompt.type("")
    prompt.type("session.Chare(Late).call(session.callback(print))")
    prompt.shows("printed")
    prompt.shows("called")
    prompt.type("session.Chare(Late).fail()")
    prompt.shows("AttributeError")
    prompt.type("session.close(); print('clo' + 'sed')")
    prompt.shows("closed")
    prompt.type("exit()")
    assert wait_until(lambda: prompt.process.poll() is not None)
    assert prompt.process.returncode == 0


BLOCK = re.compile(r"<!-- test: (file (?P<name>\S+)|run) -->\n```\w+\n(?P<text>.*?)```", re.DOTALL)


def test_the_program_of_the_page_on_sessions_prints_what_it_shows(no_leftovers, tmp_path):
    runs = 0
    env = {**os.environ, "XDG_STATE_HOME": str(no_leftovers)}
    for block in BLOCK.finditer((ROOT / "docs" / "sessions.md").read_text()):
        if block["name"]:
            (tmp_path / block["name"]).write_text(block["text"])
            continue
        command, _, expected = block["text"].partition("\n")
        assert command.startswith("$ python3 ")
        done = subprocess.run(
            [sys.executable, *command.split()[2:]],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stdout) == (0, expected), done.stderr
        assert done.stderr.count("\n") == 1
        runs += 1
    assert runs == 1


def test_the_page_on_sessions_has_every_parameter_and_member():
    import c4py

    page = (ROOT / "docs" / "sessions.md").read_text()
    named = set(re.findall(r"`(\w+)(?:\([^`]*\))?`", page))
    members = {name for name in vars(c4py.Session) if not name.startswith("_")}
    assert set(inspect.signature(c4py.connect).parameters) <= named
    assert members <= named
    shown = re.search(r"`c4py\.connect(\(.*?\))`", page, re.DOTALL)[1]
    assert shown.replace("\n", " ") == str(inspect.signature(c4py.connect))


def test_lines_of_several_pes_are_not_mixed(capsys):
    from c4py._plane import Printer

    printer = Printer()
    printer.show(0, "stdout", b"a long ")
    printer.show(1, "stdout", "\u00e4 short one\n".encode())
    printer.show(0, "stdout", b"line \xc3")
    printer.show(0, "stdout", b"\xa4\n")
    printer.show(1, "stderr", b"broken \xff\n")
    assert capsys.readouterr() == ("a long \nä short one\nline ä\n", "broken \ufffd\n")
