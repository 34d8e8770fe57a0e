"""The man pages name the options that the commands have, and no others."""

import re
import subprocess

import pytest
from harness import BUILD, ROOT

OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")


def page_text(page):
    """The source of a page, with its options as they are typed."""
    text = (ROOT / "docs" / "man" / page).read_text()
    return text.replace("\\-", "-").replace("\\fR", " ")


def help_text(*command):
    program = BUILD / "bin" / command[0]
    return subprocess.run(
        [program, *command[1:], "--help"], check=True, capture_output=True, text=True
    ).stdout


def c4py_commands():
    listed = help_text("c4py").partition("commands:\n")[2].partition("\n\n")[0]
    return [line.split()[0] for line in listed.splitlines()]


@pytest.mark.parametrize("page, commands", [
    ("c4py.1", [["c4py"], *(["c4py", name] for name in c4py_commands())]),
    ("c4pd.8", [["c4pd"]]),
])
def test_a_man_page_and_the_help_text_name_the_same_options(page, commands):
    shown = "".join(help_text(*command) for command in commands)
    assert set(OPTION.findall(page_text(page))) == set(OPTION.findall(shown))


def test_each_command_has_its_section_with_the_options_of_its_help():
    section = re.compile(r"^\.SS (\w+)\n(.*?)(?=^\.S[SH] )", re.M | re.S)
    commands = page_text("c4py.1").partition("\n.SH COMMANDS\n")[2].partition("\n.SH COMMON")[0]
    found = {name: set(OPTION.findall(text)) for name, text in section.findall(commands + "\n.SH ")}
    assert found == {name: set(OPTION.findall(help_text("c4py", name))) for name in c4py_commands()}
