"""The man pages name the options that the commands have, and no others."""

import re
import subprocess

import pytest
from harness import BUILD, ROOT


@pytest.mark.parametrize("page, commands", [
    ("c4py.1", [["c4py", "run", "--help"], ["c4py", "--help"]]),
    ("c4pd.8", [["c4pd", "--help"]]),
])
def test_a_man_page_and_the_help_text_name_the_same_options(page, commands):
    text = (ROOT / "docs" / "man" / page).read_text().replace("\\-", "-").replace("\\fR", " ")
    shown = ""
    for command in commands:
        program = BUILD / "bin" / command[0]
        shown += subprocess.run(
            [program, *command[1:]], check=True, capture_output=True, text=True
        ).stdout
    option = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
    assert set(option.findall(text)) == set(option.findall(shown))
