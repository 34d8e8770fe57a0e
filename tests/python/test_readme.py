"""What README.md tells a newcomer to type works, and prints what README.md shows."""

import re
import subprocess

from harness import BUILD, ROOT

README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"<!-- test: (file (?P<name>\S+)|run) -->\n```\w+\n(?P<text>.*?)```", re.DOTALL)


def test_the_programs_of_the_readme_print_what_it_shows(tmp_path):
    (tmp_path / "build").symlink_to(BUILD)
    runs = 0
    for block in BLOCK.finditer(README):
        if block["name"]:
            (tmp_path / block["name"]).write_text(block["text"])
            continue
        command, _, expected = block["text"].partition("\n")
        assert command.startswith("$ ")
        done = subprocess.run(
            command[2:], shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == expected
        runs += 1
    assert runs == 2


def test_every_make_target_that_the_readme_names_exists():
    targets = subprocess.run(
        ["make", "-s", "-C", ROOT, "help"], check=True, capture_output=True, text=True
    ).stdout
    for target in re.findall(r"`make (\w+)`", README):
        assert re.search(rf"\b{target}\b", targets), target


def test_every_document_that_the_readme_links_to_exists():
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
