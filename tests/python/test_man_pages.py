"""The man pages name the options that the commands have, and no others."""

import json
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
])
def test_a_man_page_and_the_help_text_name_the_same_options(page, commands):
    shown = "".join(help_text(*command) for command in commands)
    assert set(OPTION.findall(page_text(page))) == set(OPTION.findall(shown))


def test_each_command_has_its_section_with_the_options_of_its_help():
    section = re.compile(r"^\.SS (\w+)\n(.*?)(?=^\.S[SH] )", re.M | re.S)
    commands = page_text("c4py.1").partition("\n.SH COMMANDS\n")[2].partition("\n.SH COMMON")[0]
    found = {name: set(OPTION.findall(text)) for name, text in section.findall(commands + "\n.SH ")}
    assert found == {name: set(OPTION.findall(help_text("c4py", name))) for name in c4py_commands()}


# ---- c4pd ----


def man_page(name):
    text = (ROOT / "docs" / "man" / name).read_text()
    for mark, shown in (("\\-", "-"), ("\\fI", ""), ("\\fR", "")):
        text = text.replace(mark, shown)
    return text


def c4pd(*arguments):
    return subprocess.run([BUILD / "bin" / "c4pd", *arguments], capture_output=True, text=True)


def test_the_manual_of_c4pd_and_the_help_of_its_commands_name_the_same():
    help_of_all = c4pd("--help").stdout
    commands = re.findall(r"^  ([a-z]+) ", help_of_all, re.MULTILINE)
    assert "start" in commands and "config" in commands
    page = man_page("c4pd.8")
    assert re.findall(r"^\.TP\n\.B ([a-z]+)$", page, re.MULTILINE) == commands
    shown = help_of_all + "".join(c4pd(name, "--help").stdout for name in commands)
    page = page.replace("systemctl --user enable --now", "")
    assert set(OPTION.findall(page)) == set(OPTION.findall(shown))


def test_the_exit_codes_of_c4pd_keep_the_unit_from_repeating_an_error():
    page = man_page("c4pd.8")
    unit = (ROOT / "systemd" / "c4pd.service").read_text()
    documented = re.findall(r"^\.TP\n\.B ([0-9])$", page, re.MULTILINE)
    assert documented == ["0", "1", "2", "3", "4"]
    assert re.search(r"^After 2 and 4 ", page, re.MULTILINE)
    assert re.search(r"^RestartPreventExitStatus=2 4$", unit, re.MULTILINE)


def test_the_manual_of_the_configuration_has_every_key_as_it_is(tmp_path):
    page = man_page("c4pd.conf.5")
    empty = tmp_path / "empty"
    empty.write_text("")
    keys = json.loads(c4pd("config", "--json", "--config", str(empty)).stdout)
    assert keys.pop("pid") == 0 and keys.pop("state_dir")
    found = re.findall(r"^\.SH SECTION \[(\w+)\]$|^\.BR (\w+) \" = ", page, re.MULTILINE)
    section, names = None, []
    for heading, key in found:
        section = heading or section
        names += [f"{section}.{key}"] if key else []
    assert names == list(keys)
    for name, key in keys.items():
        entry = re.split(r"^\.(?:TP|SH)", page.split(f"\n.BR {name.split('.')[1]} \" = ")[1],
                         flags=re.MULTILINE)[0].replace("\n", " ")
        default = "one for each core" if name == "daemon.pes" else key["value"]
        assert f"Default: {default}" in entry, name
        assert f".BR {key['option']} ." in entry, name
        assert ("at the next start" in entry) != key["reloadable"], name
        large = {"time": "999999d", "size": "9999T", "number": "9" * 15}
        kind = re.match(r"(\w+)\"", entry)[1]
        if kind in large:
            refused = c4pd("config", key["option"], large[kind]).stderr
            assert re.search(r"\(give (.+)\)$", refused)[1] in entry, name


def test_the_example_of_the_configuration_is_right(tmp_path):
    example = man_page("c4pd.conf.5").split(".SH EXAMPLE\n.nf\n")[1].split(".fi")[0]
    path = tmp_path / "c4pd.conf"
    path.write_text(example)
    done = c4pd("config", "--check", str(path))
    assert (done.returncode, done.stderr) == (0, "")
