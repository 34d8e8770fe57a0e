"""What README.md tells a newcomer to type works, and prints what README.md shows."""

import os
import re
import socket
import subprocess

import nbclient
import nbformat
import pytest
from harness import BUILD, C4PD, ROOT

README = (ROOT / "README.md").read_text()
BLOCK = re.compile(
    r"<!-- test: (?P<kind>file|run|session|cell|shows)(?: (?P<name>\S+))? -->\n"
    r"```\w+\n(?P<text>.*?)```",
    re.DOTALL,
)
BLOCKS = list(BLOCK.finditer(README))
# What is another one each time, as it looks in the README: ids of jobs, numbers, paths.
VARIES = (
    (r"(?=\w*\d)[0-9a-z]{8}\b", r"[0-9a-z]{8}"),
    (r"/(?:[\w.-]+/)+[\w.-]+", r"\S+"),
    (r"\d+", r"\d+"),
    (r" +", r" +"),
)


def pattern_of(line):
    """A regular expression for a line that the README shows."""
    parts = "|".join(f"(?P<v{i}>{found})" for i, (found, _) in enumerate(VARIES))
    pattern, position = "", 0
    for match in re.finditer(parts, line):
        pattern += re.escape(line[position:match.start()]) + VARIES[int(match.lastgroup[1:])][1]
        position = match.end()
    return pattern + re.escape(line[position:])


def assert_shown(output, expected):
    """The output is what the README shows; a line of three dots is any number of lines."""
    pattern = ""
    for line in expected.splitlines():
        pattern += "(?:.*\n)*" if line == "..." else pattern_of(line) + " *\n"
    assert re.fullmatch(pattern, output), f"{output!r} is not {expected!r}"


@pytest.fixture
def place(tmp_path, no_leftovers, monkeypatch):
    """A directory where the README's files are, as in the root of the repository."""
    monkeypatch.setenv("C4P_STATE_DIR", str(no_leftovers / "state"))
    for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    (tmp_path / "build").symlink_to(BUILD)
    for block in BLOCKS:
        if block["kind"] == "file":
            (tmp_path / block["name"]).write_text(block["text"])
    yield tmp_path
    subprocess.run([C4PD, "stop", "--now"], capture_output=True, timeout=60)


def test_the_programs_of_the_readme_print_what_it_shows(place):
    runs = [block for block in BLOCKS if block["kind"] == "run"]
    for block in runs:
        command, _, expected = block["text"].partition("\n")
        assert command.startswith("$ ")
        done = subprocess.run(
            command[2:], shell=True, cwd=place, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == expected
    assert len(runs) == 2


def test_the_first_service_of_the_readme_says_what_it_shows(place):
    sessions = [block["text"] for block in BLOCKS if block["kind"] == "session"]
    assert len(sessions) == 2
    path = os.environ["PATH"]
    for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", "".join(sessions), re.M):
        if command.startswith("export PATH="):
            path = command.partition("=")[2].replace("$PWD", str(place)).replace("$PATH", path)
            continue
        done = subprocess.run(command, shell=True, cwd=place, capture_output=True, text=True,
                              timeout=60, env={**os.environ, "PATH": path})
        assert (done.returncode, done.stderr) == (0, ""), (command, done)
        assert_shown(done.stdout, expected.replace("pluto", socket.gethostname()))


def test_the_first_notebook_of_the_readme_shows_what_it_says(place):
    notebook, shown = nbformat.v4.new_notebook(), {}
    for block in BLOCKS:
        if block["kind"] == "cell":
            notebook.cells.append(nbformat.v4.new_code_cell(block["text"]))
        elif block["kind"] == "shows":
            shown[len(notebook.cells) - 1] = block["text"]
    assert len(notebook.cells) == 4 and len(shown) == 2
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    for number, text in shown.items():
        outputs = notebook.cells[number].outputs
        found = "".join(output.get("text") or output["data"]["text/plain"] for output in outputs)
        assert found.strip() == text.strip()


def test_every_make_target_that_the_readme_names_exists():
    targets = subprocess.run(
        ["make", "-s", "-C", ROOT, "help"], check=True, capture_output=True, text=True
    ).stdout
    for target in re.findall(r"`make (\w+)`", README):
        assert re.search(rf"\b{target}\b", targets), target


def test_every_document_that_the_readme_links_to_exists():
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
