"""What README.md tells a newcomer to type on three hosts works, and prints what README.md shows."""

import re

from harness import ROOT, wait_until

README = (ROOT / "README.md").read_text()
HOSTS = ("pluto", "mars", "venus")
TOKEN = re.compile(r"c4pt1-\S+")
# What is another one each time: tokens, dates, fingerprints, paths, numbers, and blanks in tables.
VARIES = (
    (r"c4pt1-\S+", r"c4pt1-\S+"),
    (r"(?=\w*\d)[0-9a-z]{16}\b", r"[0-9a-z]{16}"),
    (r"2/2", r"2/2"),
    (r"/(?:[\w.-]+/)+", r"\S+/"),
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


def shown(output, expected):
    pattern = ""
    for line in expected.splitlines():
        pattern += "(?:.*\n)*" if line == "..." else pattern_of(line) + " *\n"
    return re.fullmatch(pattern, output)


def test_the_first_cluster_of_the_readme_says_what_it_shows(make_bed):
    bed = make_bed(len(HOSTS), names=HOSTS)
    hosts = dict(zip(HOSTS, bed.hosts))
    program, = re.findall(r"<!-- test: file squares.py -->\n```\w+\n(.*?)```", README, re.S)
    hosts["pluto"].write("squares.py", program)
    text, = re.findall(r"<!-- test: cluster -->\n```console\n(.*?)```", README, re.S)
    steps = re.findall(r"^(\w+)\$ (.*)\n((?:(?!\w+\$ ).*\n)*)", text, re.M)
    assert len(steps) == 10
    token = None
    for name, command, expected in steps:
        if token:
            command = TOKEN.sub(token, command)

        def done():
            """A table of nodes is as it is shown when the last one has been heard of."""
            nonlocal result
            result = hosts[name].run("sh", "-c", command, check=False)
            return shown(result.stdout + result.stderr, expected)

        result = None
        wait_until(done, 20 if command == "c4pd nodes" else 0)
        assert result.returncode == 0, (command, result)
        assert shown(result.stdout + result.stderr, expected), (command, result, expected)
        found = TOKEN.search(result.stdout)
        token = found.group() if found else token
    for host in bed.hosts:
        host.c4pd("stop", "--now")
