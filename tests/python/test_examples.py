"""The examples do what they say, on 1 to 4 PEs."""

import collections
import pathlib
import re
import subprocess

import numpy
import pytest
from harness import ROOT

EXAMPLES = ROOT / "examples"
PES = pytest.mark.parametrize("pes", [1, 2, 3, 4])


@pytest.fixture
def example(run_c4py):
    """Run an example; it must succeed."""

    def run(name, *args, pes=2, **options):
        done = run_c4py("run", "-n", pes, EXAMPLES / name, *args, **options)
        assert done.returncode == 0, done.stderr
        return done

    return run


@PES
def test_pi_comes_close(example, pes):
    output = example("pi.py", 10000, pes=pes).stdout
    assert output.startswith("pi is about 3.14159265")
    assert f"on {pes} PEs" in output


@PES
def test_every_member_of_the_group_says_hello_in_turn(example, pes):
    output = example("hello/group.py", pes=pes).stdout
    assert output.splitlines() == [f"hello from PE {pe} of {pes}" for pe in range(pes)]


@PES
def test_every_chare_of_the_array_says_hello(example, pes):
    output = example("hello/array.py", 9, pes=pes).stdout
    assert sorted(line.split(" on ")[0] for line in output.splitlines()) == [
        f"hello from chare {chare}" for chare in range(9)
    ]


def words_by_tools(paths):
    """What cat, tr, sort and uniq count, most frequent first, equal ones by name."""
    command = "cat -- \"$@\" | tr -cs A-Za-z '\\n' | tr A-Z a-z | grep . | LC_ALL=C sort | uniq -c"
    output = subprocess.run(
        ["sh", "-c", command, "sh", *paths], check=True, capture_output=True, text=True
    ).stdout
    counts = {word: int(count) for count, word in (line.split() for line in output.splitlines())}
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def words_printed(output):
    lines = output.splitlines()
    return [(word, int(count)) for count, word in (line.split() for line in lines[:-1])], lines[-1]


@PES
def test_wordcount_equals_the_tools_on_the_licences(example, pes):
    paths = {
        str(path.resolve())
        for path in pathlib.Path("/usr/share/common-licenses").rglob("*")
        if path.is_file()
    }
    done = example("wordcount.py", "--top", 100000, pes=pes)
    counts, summary = words_printed(done.stdout)
    assert counts == words_by_tools(sorted(paths))
    assert f"{sum(count for _, count in counts):,} words" in summary
    assert f"on {pes} PEs" in summary
    assert "100 % of" in done.stderr


def test_wordcount_counts_words_that_cross_its_pieces_once(example, tmp_path):
    random = numpy.random.default_rng(7)
    words = ["".join(random.choice(list("abXY"), random.integers(1, 900))) for _ in range(1500)]
    path = tmp_path / "text"
    path.write_text("".join(word + str(random.choice(list(" \n-9"))) for word in words)[:-1])
    counts, _ = words_printed(example("wordcount.py", "--top", 100000, path, pes=3).stdout)
    assert dict(counts) == collections.Counter(word.lower() for word in words)


def test_wordcount_names_a_path_that_does_not_exist(run_c4py):
    done = run_c4py("run", "-n", 2, EXAMPLES / "wordcount.py", "/nowhere/at/all")
    assert done.returncode == 1
    assert "wordcount.py: /nowhere/at/all: no such file or directory" in done.stderr


def jacobi(size, iterations):
    """The same plate, in one piece."""
    heat = numpy.zeros((size + 2, size + 2))
    heat[0, :] = 1.0
    for _ in range(iterations):
        inner = 0.25 * (heat[:-2, 1:-1] + heat[2:, 1:-1] + heat[1:-1, :-2] + heat[1:-1, 2:])
        change = numpy.abs(inner - heat[1:-1, 1:-1]).max()
        heat[1:-1, 1:-1] = inner
    return heat[1:-1, 1:-1].mean(), change


@PES
@pytest.mark.parametrize("blocks", [1, 3, 4])
def test_stencil_equals_the_plate_in_one_piece(example, pes, blocks):
    output = example("stencil.py", 48, blocks, 25, pes=pes).stdout
    mean, change = map(float, re.search(r"mean heat (\S+), last change (\S+)", output).groups())
    expected = jacobi(48, 25)
    assert mean == pytest.approx(expected[0], abs=1e-6)
    assert change == pytest.approx(expected[1], rel=1e-2)


def nearest_of_all(wanted, pes, size):
    """The number nearest to the wanted one, and the PE that has it."""
    tables = [numpy.random.default_rng(pe).random(size) for pe in range(pes)]
    near = [table[numpy.abs(table - wanted).argmin()] for table in tables]
    pe = min(range(pes), key=lambda pe: abs(near[pe] - wanted))
    return f"nearest to {wanted:.6f}: {near[pe]:.9f} on PE {pe}"


@PES
@pytest.mark.parametrize("visitors", [1, 7])
def test_visitors_find_what_is_nearest_on_any_pe(example, pes, visitors):
    lines = example("migration/visitors.py", visitors, 5000, pes=pes).stdout.splitlines()
    wanted = [(i + 0.5) / visitors for i in range(visitors)]
    assert lines[:-1] == [nearest_of_all(number, pes, 5000) for number in wanted]


@PES
def test_spread_finds_the_same_wherever_its_parts_are(example, pes):
    output = example("migration/spread.py", 20, pes=pes).stdout
    assert [line.split(":")[0] for line in output.splitlines()[:2]] == ["in blocks", "spread out"]
    assert output.endswith("perfect numbers: 6 28 496\n")
