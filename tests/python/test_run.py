"""c4py run with plain programs: processes, output, input, exit codes."""

import fcntl
import hashlib
import os
import pty
import re
import resource
import socket
import subprocess
import termios

import pytest
from harness import C4PY, wait_until


def test_every_pe_runs_the_program_with_its_arguments(run_program):
    done = run_program("import os, sys; print(os.environ['C4P_PE'], sys.argv[1:])", 3, ["a", "b c"])
    assert sorted(done.stdout.splitlines()) == [f"{pe} ['a', 'b c']" for pe in range(3)]
    assert done.stderr == ""
    assert done.returncode == 0


def test_the_default_number_of_pes_is_that_of_the_cores(run_c4py, tmp_path):
    program = tmp_path / "program.py"
    program.write_text("print('here')")
    cores = len(os.sched_getaffinity(0))
    assert run_c4py("run", program).stdout == "here\n" * cores


def test_main_is_the_program_itself(run_program):
    done = run_program("print(__name__, __file__)", 1, name="my program.py")
    assert done.stdout.startswith("__main__ ") and done.stdout.endswith("/my program.py\n")


def test_label_puts_the_pe_before_each_line(run_program):
    done = run_program(
        """
        import os, sys
        pe = os.environ["C4P_PE"]
        print("one", pe)
        print("two", pe, flush=True)
        print("err", pe, file=sys.stderr)
        """,
        options=["--label"],
    )
    assert sorted(done.stdout.splitlines()) == [
        *("[0] one 0", "[0] two 0", "[1] one 1", "[1] two 1"),
    ]
    assert sorted(done.stderr.splitlines()) == ["[0] err 0", "[1] err 1"]


def test_lines_are_whole_however_they_are_written(run_program):
    done = run_program(
        """
        import os
        pe = os.environ["C4P_PE"].encode()
        for number in range(2000):
            line = b"%s:%d:" % (pe, number) + pe * (number % 50) + b"\\n"
            middle = number % len(line)
            os.write(1, line[:middle])
            os.write(1, line[middle:])
        """,
        4,
    )
    expected = {pe: [f"{pe}:{n}:" + pe * (n % 50) for n in range(2000)] for pe in "0123"}
    found = {pe: [] for pe in "0123"}
    for line in done.stdout.splitlines():
        found[line[0]].append(line)
    assert found == expected


def test_lines_longer_than_any_buffer_stay_in_one_piece(run_program):
    done = run_program(
        """
        import os
        pe = os.environ["C4P_PE"]
        for size in (10, 300_000, 70_000, 1_000_000):
            print(pe * size, flush=True)
        """,
        3,
    )
    lengths = {"0": [], "1": [], "2": []}
    for line in done.stdout.splitlines():
        assert line == line[0] * len(line)
        lengths[line[0]].append(len(line))
    assert lengths == {pe: [10, 300_000, 70_000, 1_000_000] for pe in "012"}


def test_the_end_of_a_line_may_be_missing_at_the_end(run_program):
    done = run_program("import sys; sys.stdout.write('no newline')", 1)
    assert done.stdout == "no newline"


def test_unfinished_lines_of_different_pes_are_on_lines_of_their_own(run_program):
    done = run_program("import os; os.write(1, b'x' + os.environ['C4P_PE'].encode())", 3)
    assert sorted(done.stdout.split("\n")) == ["x0", "x1", "x2"]


def test_output_goes_through_byte_by_byte(run_program):
    data = bytes(range(256)) * 3
    done = run_program(f"import os; os.write(1, {data!r})", 1, text=False)
    assert done.stdout == data


def test_everything_is_delivered_before_the_end(run_program):
    done = run_program(
        """
        import os
        for _ in range(200):
            os.write(1, b"x" * 9_999 + b"\\n")
        os._exit(5)
        """,
        2,
    )
    assert len(done.stdout) == 2 * 200 * 10_000
    assert done.returncode == 5


def test_what_all_pes_complain_of_before_start_is_said_once(run_program):
    done = run_program("def f(:\n    pass\n", 4)
    assert done.returncode == 1
    assert done.stderr.count("SyntaxError") == 1
    assert "program.py" in done.stderr
    assert "before charm.start()" in done.stderr


def test_a_missing_module_ends_the_run_with_its_name(run_program):
    done = run_program("import no_such_module_at_all", 3)
    assert done.returncode == 1
    assert done.stderr.count("No module named 'no_such_module_at_all'") == 1


def test_different_complaints_are_all_shown(run_program):
    done = run_program("import os, sys; print('pe', os.environ['C4P_PE'], file=sys.stderr)", 3)
    assert sorted(done.stderr.splitlines()) == ["pe 0", "pe 1", "pe 2"]


@pytest.mark.parametrize("code", [0, 1, 3, 42, 255])
def test_the_exit_code_is_that_of_the_program(run_program, code):
    done = run_program(f"import sys; sys.exit({code})", 2)
    assert done.returncode == code


@pytest.mark.parametrize("code", [0, 1, 3, 255])
def test_the_exit_code_is_that_of_charm_exit(run_c4py, fake_pe, code):
    done = run_c4py("run", "-n", 3, fake_pe, "exit", code)
    assert (done.returncode, done.stderr) == (code, "")


def test_an_exit_code_of_256_is_no_success(run_c4py, fake_pe):
    assert run_c4py("run", "-n", 2, fake_pe, "exit", 256).returncode == 1
    assert run_c4py("run", "-n", 2, fake_pe, "exit", -1).returncode == 255


def test_the_text_of_charm_exit_is_shown(run_c4py, fake_pe):
    done = run_c4py("run", "-n", 2, fake_pe, "exit", "1:Traceback\n  line\nError: so it is")
    assert done.stderr == "Traceback\n  line\nError: so it is\n"


def test_of_several_exit_codes_one_that_is_not_0_wins(run_c4py, fake_pe):
    assert run_c4py("run", "-n", 3, fake_pe, "exits", "0,0,9").returncode == 9


def test_pes_that_do_not_stop_are_killed(run_c4py, fake_pe):
    assert run_c4py("run", "-n", 4, fake_pe, "deaf").returncode == 0


def test_a_pe_that_leaves_in_the_middle_ends_the_job(run_c4py, fake_pe):
    done = run_c4py("run", "-n", 3, fake_pe, "leave", 0)
    assert done.returncode == 1
    assert "PE 2 ended with exit code 0 in the middle of the program" in done.stderr


def test_pes_that_do_not_all_start_are_told_apart(run_c4py, fake_pe):
    done = run_c4py("run", "-n", 3, fake_pe, "some")
    assert done.returncode == 1
    assert "ended without calling charm.start(), but PE 0 has called it" in done.stderr


def test_messages_that_make_no_sense_are_dropped(run_c4py, fake_pe):
    done = run_c4py("run", "-n", 2, fake_pe, "stray")
    assert (done.returncode, done.stderr) == (4, "")


# ---- standard input ----

COUNT_INPUT = """
import os, sys, hashlib
data = sys.stdin.buffer.read()
print(os.environ["C4P_PE"], len(data), hashlib.sha256(data).hexdigest())
"""


@pytest.mark.parametrize("size", [0, 1, 65_536, 3_000_000])
def test_standard_input_goes_to_pe_0_to_its_end(run_program, size):
    data = os.urandom(size)
    done = run_program(COUNT_INPUT, 2, input=data, text=False)
    assert sorted(done.stdout.decode().splitlines()) == [
        f"0 {size} {hashlib.sha256(data).hexdigest()}",
        f"1 0 {hashlib.sha256(b'').hexdigest()}",
    ]


def test_input_that_nobody_reads_does_not_keep_the_program(run_program):
    assert run_program("pass", 2, input="x" * 1_000_000).returncode == 0


def test_input_that_pe_0_closes_does_not_keep_the_program(run_program):
    done = run_program("import os; os.close(0); print('on')", 1, input="x" * 1_000_000)
    assert (done.returncode, done.stdout) == (0, "on\n")


def test_closed_standard_streams_do_no_harm(tmp_path):
    program = tmp_path / "program.py"
    program.write_text("import sys; print(sys.stdin.read() == ''); sys.exit(6)")
    for closed, output in {
        "<&-": "True\nTrue\n",
        ">&-": "",
        "2>&-": "True\nTrue\n",
        "<&- >&- 2>&-": "",
    }.items():
        done = subprocess.run(
            ["sh", "-c", f'"$0" run -n 2 "$1" {closed}', C4PY, program],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert (done.returncode, done.stdout) == (6, output), closed


def test_an_endless_program_ends_when_nobody_reads_on(tmp_path):
    program = tmp_path / "program.py"
    program.write_text("while True: print('y')")
    done = subprocess.run(
        ["bash", "-c", '"$0" run -n 2 "$1" | head -1; echo ${PIPESTATUS[0]}', C4PY, program],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stdout == "y\n141\n"
    assert done.stderr == ""


def take_terminal(terminal):
    """In the child: a session of its own, with this terminal."""
    os.setsid()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


def test_a_prompt_is_shown_before_its_line_is_complete(start):
    running = start(
        "import os\nif os.environ['C4P_PE'] == '0': print('hello,', input('name? '))",
        2,
        stdin=subprocess.PIPE,
    )
    assert running.says(b"name? ")
    running.process.stdin.write(b"Ada\n")
    running.process.stdin.flush()
    assert running.says(b"hello, Ada\n")
    assert running.finish()[0] == 0


def test_another_pe_does_not_write_behind_a_prompt(start, tmp_path):
    go = tmp_path / "go"
    running = start(
        f"""
import os, time
if os.environ["C4P_PE"] == "0":
    print("got", input("name? "))
else:
    while not os.path.exists({str(go)!r}):
        time.sleep(0.01)
    print("from 1", flush=True)
""",
        2,
        options=["--label"],
        stdin=subprocess.PIPE,
    )
    assert running.says(b"[0] name? ")
    go.touch()
    assert running.says(b"[0] name? \n[1] from 1\n")
    running.process.stdin.write(b"x\n")
    running.process.stdin.flush()
    assert running.finish()[1] == "[0] name? \n[1] from 1\n[0] got x\n"


def test_a_terminal_is_read_line_by_line(start):
    keyboard, terminal = pty.openpty()
    running = start(
        "import sys\nfor line in sys.stdin: print('got', line, end='', flush=True)",
        1,
        stdin=terminal,
        preexec_fn=lambda: take_terminal(terminal),
    )
    os.write(keyboard, b"one\n")
    assert running.says(b"got one\n")
    os.write(keyboard, b"two\n\x04")
    assert running.says(b"got two\n")
    assert running.finish()[0] == 0
    os.close(keyboard)
    os.close(terminal)


def test_a_terminal_in_whose_background_we_are_is_not_read(tmp_path):
    keyboard, terminal = pty.openpty()
    program = tmp_path / "program.py"
    program.write_text("print('done')")
    # An interactive shell makes a process group of each job, and stops one that reads.
    done = subprocess.Popen(
        ["bash", "-m", "-c", '"$0" run -n 1 "$1" & wait $!', C4PY, program],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: take_terminal(terminal),
    )
    os.write(keyboard, b"for the shell\n")
    out, _ = done.communicate(timeout=30)
    assert out == b"done\n"
    os.set_blocking(terminal, False)
    assert os.read(terminal, 100) == b"for the shell\n"
    os.close(keyboard)
    os.close(terminal)


# ---- what the program finds ----


def test_environment_and_directory_are_those_asked_for(run_program, tmp_path):
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    done = run_program(
        "import os; print(os.getcwd(), os.environ['ONE'], os.environ['TWO'], os.environ['HOME'])",
        1,
        options=["--cwd", elsewhere, "--env", "ONE=1", "--env=TWO=a=b", "--env", "ONE=2"],
        env={**os.environ, "HOME": "/home", "ONE": "0"},
    )
    assert done.stdout == f"{elsewhere} 2 a=b /home\n"


def test_the_program_is_looked_for_in_the_directory_where_it_runs(run_c4py, tmp_path):
    (tmp_path / "program.py").write_text("print('found')")
    assert run_c4py("run", "-n", 1, "--cwd", tmp_path, "program.py").stdout == "found\n"


def test_pes_inherit_nothing_but_what_they_need(run_program):
    with socket.socket() as extra:
        done = run_program(
            """
            import os
            names = []
            for fd in sorted(map(int, os.listdir("/proc/self/fd"))):
                try:
                    names.append(f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}")
                except OSError:
                    pass
            print(os.environ["C4P_PE"], os.environ["C4P_SEGMENT"], os.environ["C4P_WAKE"], *names)
            """,
            2,
            pass_fds=[extra.fileno()],
        )
    found = sorted(re.sub(r"pipe:\[\d+\]", "pipe", line) for line in done.stdout.splitlines())
    rest = "1 pipe 2 pipe 3 /memfd:c4p-segment (deleted) 4 anon_inode:[eventfd]"
    assert found == [f"0 3 4 0 pipe {rest}", f"1 3 4 0 /dev/null {rest}"]


def test_pes_have_default_signals_and_groups_of_their_own(run_program):
    done = run_program(
        """
        import os, signal
        assert os.getpgid(0) == os.getpid()
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
        for line in open("/proc/self/status"):
            if line.startswith(("SigIgn", "SigCgt")):
                print(int(line.split()[1], 16) & 0x7fffffff)
        """,
        1,
    )
    # What Python itself does: ignores SIGPIPE and SIGXFSZ, catches SIGINT.
    assert done.stdout.split() == [str(1 << 12 | 1 << 24), str(1 << 1)]


def test_an_executable_that_is_no_python_program_is_launched_as_it_is(run_c4py, tmp_path):
    script = tmp_path / "launch.sh"
    script.write_text('echo "$C4P_PE $1"\n')  # without an interpreter line
    script.chmod(0o755)
    done = run_c4py("run", "-n", 2, script, "x")
    assert sorted(done.stdout.splitlines()) == ["0 x", "1 x"]
    done = run_c4py("run", "-n", 1, "--cwd", tmp_path, "launch.sh", "y")
    assert done.stdout == "0 y\n"


def test_an_interpreter_may_come_first(run_c4py, tmp_path):
    program = tmp_path / "program.py"
    program.write_text("import sys; print(sys.argv[1:])")
    assert run_c4py("run", "-n", 1, "python3", program, "a").stdout == "['a']\n"
    assert run_c4py("run", "-n", 1, "/usr/bin/python3", program, "a").stdout == "['a']\n"


def test_exec_launches_any_command(run_c4py):
    done = run_c4py("run", "-n", 2, "--exec", "--", "sh", "-c", "echo $C4P_PE; exit 3")
    assert sorted(done.stdout.split()) == ["0", "1"]
    assert done.returncode == 3


def test_a_module_is_run_by_its_name(run_c4py, tmp_path):
    (tmp_path / "some_module.py").write_text("import sys; print(__name__, sys.argv[1:])")
    done = run_c4py("run", "-n", 1, "--cwd", tmp_path, "-m", "some_module", "-x", "y")
    assert done.stdout == "__main__ ['-x', 'y']\n"


def test_the_interpreter_is_the_one_chosen(run_program, tmp_path):
    other = tmp_path / "other python"
    other.symlink_to("/usr/bin/python3")
    source = "import sys; print(sys.executable)"
    assert run_program(source, 1, options=["--python", other]).stdout == f"{other}\n"
    chosen = {**os.environ, "C4P_PYTHON": str(other)}
    assert run_program(source, 1, env=chosen).stdout == f"{other}\n"
    relative = os.path.relpath(other, os.getcwd())
    done = run_program(source, 1, options=["--python", relative, "--cwd", "/"])
    assert os.path.samefile(done.stdout.strip(), other)


def test_a_reader_that_stops_stops_the_pes_and_no_memory_fills(start):
    source = """
import os, sys
for number in range(4000):
    os.write(1, b"x" * 9999 + b"\\n")
    if number % 100 == 0: sys.stderr.write(f"{number}\\n"); sys.stderr.flush()
"""
    running = start(source, 1, stderr=subprocess.DEVNULL)
    daemon = running.daemon
    pe = running.pes[0]
    # The PE sleeps in write() once the pipe, the daemon and the client hold what they may.
    assert wait_until(lambda: "pipe_w" in open(f"/proc/{pe}/wchan").read(), 20) or wait_until(
        lambda: open(f"/proc/{pe}/stat").read().split()[2] == "S", 5
    )

    def resident(pid):
        return int(open(f"/proc/{pid}/statm").read().split()[1]) * 4096

    assert resident(daemon) < 60 << 20
    assert resident(running.process.pid) < 60 << 20
    assert len(running.finish()[1]) == 4000 * 10_000


def test_output_that_cannot_be_written_ends_the_run_with_its_reason(start):
    with open("/dev/full", "wb") as full:
        running = start("while True: print('y')", 2, stdout=full)
        code, _, err = running.finish()
    assert code == 1
    assert err == "c4py: standard output: No space left on device\n"


def test_the_limit_of_open_files_is_named_when_it_is_hit(run_program):
    done = run_program(
        "pass", 64, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    )
    assert done.returncode == 1
    assert "Too many open files (raise the limit of open files: ulimit -n)" in done.stderr


def test_the_limit_of_open_files_is_raised_for_the_daemon_and_not_for_the_pes(run_program):
    done = run_program(
        "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE))",
        40,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 1024)),
    )
    assert done.stdout == "(64, 1024)\n" * 40
