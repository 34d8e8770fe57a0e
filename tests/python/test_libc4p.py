"""libc4p as it is installed: header, library, pkg-config file, man page, and the example in C."""

import os
import re
import subprocess

import pytest
from harness import BUILD, ROOT

API = re.compile(r"\bc4p_[a-z_]+(?=\()")


def make(*arguments):
    """make in the tree, as the one that runs this test was told to: same compiler, same build."""
    environment = {name: value for name, value in os.environ.items() if name != "MAKELEVEL"}
    # Without the jobserver, whose descriptors we have not.
    chosen = environment.pop("MAKEFLAGS", "").partition("-- ")[2]
    if chosen:
        environment["MAKEFLAGS"] = f" -- {chosen}"
    command = ["make", "--no-print-directory", "DEPS=no", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True, timeout=300
    ).stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Where `make install` has put everything."""
    place = tmp_path_factory.mktemp("installed")
    make("install", f"DESTDIR={place}", "PREFIX=/opt/c4p", f"BUILD={os.path.relpath(BUILD, ROOT)}")
    return place


@pytest.fixture(scope="module")
def example(installed):
    """examples/c/submit.c, built as a person would with what is installed."""
    staged = {
        "PKG_CONFIG_PATH": f"{installed}/opt/c4p/lib/pkgconfig",
        "PKG_CONFIG_SYSROOT_DIR": str(installed),
    }
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "libc4p"],
        env={**os.environ, **staged}, check=True, capture_output=True, text=True,
    ).stdout.split()
    program = installed / "submit"
    compiler = os.environ.get("CC", "gcc")
    strict = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-D_DEFAULT_SOURCE"]
    subprocess.run(
        [compiler, *strict, ROOT / "examples/c/submit.c", *flags, "-o", program], check=True
    )
    return program


def test_what_is_installed_can_be_removed(tmp_path):
    options = [f"DESTDIR={tmp_path}", "PREFIX=/opt/c4p", f"BUILD={os.path.relpath(BUILD, ROOT)}"]
    make("install", *options)
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {"opt/c4p/include/c4p.h", "opt/c4p/lib/libc4p.a", "opt/c4p/lib/pkgconfig/libc4p.pc",
            "opt/c4p/share/man/man3/libc4p.3"} <= files
    make("uninstall", *options)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def functions_of(header):
    names = set(re.findall(r"C4P_API [^;]*?\b(c4p_[a-z_]+)\(", header.read_text()))
    assert names
    return names


def test_every_function_of_the_header_is_in_the_library(installed):
    listed = subprocess.run(
        ["nm", "--defined-only", "--extern-only", installed / "opt/c4p/lib/libc4p.a"],
        check=True, capture_output=True, text=True,
    ).stdout
    declared = functions_of(installed / "opt/c4p/include/c4p.h")
    assert declared <= set(re.findall(r" T (\w+)$", listed, flags=re.MULTILINE))


def test_the_man_page_has_every_function_and_event_of_the_header():
    header = (ROOT / "client/c4p.h").read_text()
    page = (ROOT / "docs/man/libc4p.3").read_text()
    functions = functions_of(ROOT / "client/c4p.h")
    assert functions == set(API.findall(page.replace("\\fR", "")))
    # Each is explained, beside its line in the synopsis.
    assert functions == set(re.findall(r"^\.BR (c4p_[a-z_]+) ", page, flags=re.MULTILINE))
    events = set(re.findall(r"\bC4P_EVENT_[A-Z]+\b", header))
    assert events == set(re.findall(r"^\.B (C4P_EVENT_[A-Z]+)$", page, flags=re.MULTILINE))


def test_the_man_page_is_laid_out_without_a_complaint():
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z", ROOT / "docs/man/libc4p.3"],
        capture_output=True, text=True, check=True,
    )
    assert not done.stderr


def test_the_example_says_how_it_is_used(example):
    done = subprocess.run([example], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "usage: submit PES COMMAND [ARGUMENT ...]\n"


def test_the_example_says_that_no_daemon_runs(example, tmp_path):
    environment = {**os.environ, "C4P_STATE_DIR": str(tmp_path / "none")[-90:]}
    done = subprocess.run(
        [example, "1", "true"], env=environment, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 1
    assert re.fullmatch(
        r"submit: no daemon runs here \(/.*\): start one with `c4pd start`\n", done.stderr
    )


PYTHON = os.environ.get("C4P_PYTHON", "/usr/bin/python3")


def program(daemon, source):
    return ["2", PYTHON, str(daemon.program(source))]


def test_the_example_shows_all_of_the_output_and_ends_with_the_jobs_code(example, daemon):
    command = program(daemon, """
        from charm4py import charm, Chare, Group

        class Writer(Chare):
            def write(self):
                for number in range(5000):
                    print(charm.myPe(), number)

        def main(args):
            Group(Writer).write(awaitable=True).get()
            charm.exit(3)

        charm.start(main)
    """)
    done = subprocess.run([example, *command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 3, done.stderr
    lines = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    for pe in range(2):
        assert [number for owner, number in lines if owner == pe] == list(range(5000))
    job, = daemon.jobs()
    assert done.stderr.startswith(f"submit: job {job['id']}\n")


def test_the_example_finds_a_daemon_that_was_killed_and_learns_what_became_of_the_job(
        example, daemon):
    command = program(daemon, """
        import time
        from charm4py import charm

        def main(args):
            print("begun", flush=True)
            time.sleep(600)

        charm.start(main)
    """)
    with subprocess.Popen(
        [example, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "begun\n"
        daemon.kill()
        daemon.start()
        out, err = process.communicate(timeout=60)
    assert out == ""  # not once more
    assert process.returncode != 0
    assert re.search(r"^submit: the daemon on \S+ is gone: waiting for it to come back$", err,
                     flags=re.MULTILINE)
    job, = daemon.jobs()
    assert job["state"] == "failed"
    assert f"submit: {job['message']}\n" in err
