"""c4pd as a lasting daemon: its start, its end, its state directory, log and configuration."""

import json
import os
import pathlib
import pwd
import random
import re
import resource
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time

import pytest
from harness import BUILD, C4PY, ROOT, wait_until

C4PD = str(BUILD / "bin" / "c4pd")
FAILED, USAGE, NOT_RUNNING, REFUSED = 1, 2, 3, 4


class Daemon:
    """The daemon of one state directory."""

    def __init__(self, state):
        self.state = state
        self.log = state / "c4pd.log"

    @property
    def environment(self):
        """For clients of this daemon."""
        return {**os.environ, "C4P_STATE_DIR": str(self.state)}

    def run(self, command, *options, timeout=60, **more):
        """A command of c4pd for this directory."""
        return subprocess.run(
            [C4PD, command, "--state-dir", self.state, *map(str, options)],
            capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, **more)

    def start(self, *options, **more):
        done = self.run("start", *options, **more)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return self.pid

    def foreground(self, *options, **more):
        more.setdefault("stderr", subprocess.DEVNULL)
        return subprocess.Popen(
            [C4PD, "start", "--foreground", "--state-dir", self.state, *map(str, options)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **more)

    @property
    def status(self):
        return json.loads(self.run("status", "--json").stdout)

    @property
    def pid(self):
        return self.status.get("pid")

    def logged(self, text, times=1):
        """Wait until this is in the log."""
        return wait_until(lambda: self.log.read_text().count(text) >= times)


@pytest.fixture
def daemon(no_leftovers, monkeypatch):
    """A state directory of the test's own, and no daemon when it is over."""
    # No configuration of the person who runs the tests.
    monkeypatch.setenv("XDG_CONFIG_HOME", str(no_leftovers / "config"))
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.delenv("C4P_STATE_DIR", raising=False)
    made = Daemon(no_leftovers / "s")
    yield made
    if made.pid:
        made.run("stop", "--now", "--timeout", "20s")
    if made.pid:
        os.kill(made.pid, signal.SIGKILL)
    log = made.log.read_text() if made.log.exists() else ""
    assert "Sanitizer" not in log, log


def lives(pid):
    """Is there such a process that has not ended? Its parent may be slow to reap it."""
    try:
        return ") Z " not in pathlib.Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def attach(state):
    """Is there somebody at the socket for clients?"""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.connect(str(state / "attach"))


# ---- start, status, stop ----


def test_start_returns_when_the_daemon_serves_and_says_so_in_one_line(daemon):
    done = daemon.run("start", "--pes", 3)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout == f"c4pd runs: pid {daemon.pid}, 3 PEs, {daemon.state}\n"
    attach(daemon.state)
    status = daemon.run("status")
    assert status.returncode == 0
    assert re.fullmatch(
        rf"c4pd runs: pid {daemon.pid} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d, 3 PEs, "
        rf"{daemon.state}\n", status.stdout)


def test_stop_ends_the_daemon_and_leaves_no_socket_and_no_pid_file(daemon):
    pid = daemon.start()
    done = daemon.run("stop")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"c4pd has ended: pid {pid}\n", "")
    assert not lives(pid)
    assert not {"attach", "control", "c4pd.pid"} & set(os.listdir(daemon.state))


@pytest.mark.parametrize("command", ["status", "stop", "reload"])
def test_a_command_for_a_daemon_that_does_not_run_says_so(daemon, command):
    done = daemon.run(command)
    assert done.returncode == NOT_RUNNING
    assert done.stdout == f"no daemon runs ({daemon.state})\n"


def test_the_daemon_is_a_process_of_its_own(daemon):
    pid = daemon.start(cwd="/tmp")
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert os.getsid(pid) == pid
    links = {fd: os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1, 2)}
    assert links == {0: "/dev/null", 1: "/dev/null", 2: str(daemon.log)}
    limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
    soft, hard = re.search(r"Max open files +(\d+) +(\d+)", limits).groups()
    assert soft == hard


def test_a_caller_without_standard_streams_can_start_it(daemon):
    done = subprocess.run(["sh", "-c", '"$0" start --state-dir "$1" <&- >&- 2>&-', C4PD,
                           daemon.state], timeout=60)
    assert done.returncode == 0
    attach(daemon.state)
    links = [os.readlink(f"/proc/{daemon.pid}/fd/{fd}") for fd in (0, 1, 2)]
    assert links == ["/dev/null", "/dev/null", str(daemon.log)]


def test_everything_in_the_state_directory_is_the_users_alone(daemon):
    daemon.start()
    assert stat.S_IMODE(daemon.state.stat().st_mode) == 0o700
    for path in daemon.state.rglob("*"):
        assert stat.S_IMODE(path.lstat().st_mode) & 0o077 == 0, path


def test_the_directories_above_are_made(daemon):
    daemon.state = daemon.state / "a" / "b"
    daemon.start()
    assert stat.S_IMODE(daemon.state.parent.stat().st_mode) == 0o700


def test_restart_makes_a_new_daemon_with_the_new_options(daemon):
    first = daemon.start("--pes", 1)
    done = daemon.run("restart", "--pes", 2)
    assert done.returncode == 0
    assert daemon.pid != first and daemon.status["pes"] == 2
    assert not lives(first)


def test_restart_starts_a_daemon_where_none_runs(daemon):
    assert daemon.run("restart").returncode == 0
    assert daemon.pid


def test_restart_with_a_wrong_configuration_leaves_the_daemon_alone(daemon):
    pid = daemon.start()
    assert daemon.run("restart", "--pes", "none").returncode == USAGE
    assert daemon.pid == pid


def test_in_the_foreground_it_logs_on_standard_error_and_an_interrupt_ends_it(daemon):
    process = daemon.foreground(stderr=subprocess.PIPE, text=True)
    try:
        line = process.stderr.readline()
        assert re.match(r"ts=\S+Z level=info subject=c4pd msg=\"c4pd runs: pid ", line)
        assert daemon.pid == process.pid
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=20)
        assert process.returncode == 0
        assert "got SIGINT" in rest and rest.splitlines()[-1].endswith("msg=ends")
    finally:
        process.kill()
        process.wait()
    assert not daemon.log.exists()


def mask(text, name):
    """A set of signals in /proc/PID/status."""
    bits = int(re.search(rf"^{name}:\t([0-9a-f]+)$", text, re.MULTILINE).group(1), 16)
    return {number for number in range(1, 65) if bits >> (number - 1) & 1}


def test_no_signal_interrupts_what_the_daemon_does(daemon):
    """They are blocked in all threads and have no handlers: ZeroMQ gives up what is interrupted."""
    pid = daemon.start()
    ours = {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD}
    threads = list(pathlib.Path(f"/proc/{pid}/task").iterdir())
    assert len(threads) > 1
    for thread in threads:
        text = (thread / "status").read_text()
        assert ours <= mask(text, "SigBlk") and not mask(text, "SigCgt") & ours, text


# ---- the end of what runs ----


@pytest.fixture
def submit(daemon, tmp_path):
    """Submit a program of one PE that needs no runtime of ours; its id."""

    def do(source, name="program.py"):
        path = tmp_path / name
        path.write_text(source)
        done = subprocess.run(
            [C4PY, "submit", "--detach", "-n", "1", "--exec", "--", sys.executable, path],
            env=daemon.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return do


def job(daemon, name):
    """What c4py says of a job."""
    shown = subprocess.run([C4PY, "jobs", "--all", "--json"], env=daemon.environment,
                           capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0, shown.stderr
    return next(one for one in json.loads(shown.stdout) if one["id"] == name)


def waiting_for(path):
    """A program that runs until there is this file, and deaf to a polite end."""
    return ("import os, signal, time\n"
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            f"open('{path}.runs', 'w').close()\n"
            f"while not os.path.exists('{path}'):\n"
            "    time.sleep(0.01)\n")


def test_a_job_that_runs_comes_to_its_end_and_the_next_waits_for_the_next_daemon(
        daemon, submit, tmp_path):
    pid = daemon.start("--pes", 1, "--drain-time", "1h")
    go = tmp_path / "go"
    first = submit(waiting_for(go))
    assert wait_until(pathlib.Path(f"{go}.runs").exists)
    second = submit("print('second')\n", "second.py")
    stop = subprocess.Popen([C4PD, "stop", "--state-dir", daemon.state], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)
    assert daemon.logged("takes and starts no more jobs; what runs has 1h to end")
    assert job(daemon, first)["state"] == "running"
    refused = subprocess.run([C4PY, "submit", "--detach", "--exec", "--", "true"],
                             env=daemon.environment, capture_output=True, text=True, timeout=60)
    assert refused.returncode != 0
    assert lives(pid) and stop.poll() is None
    go.touch()
    out, _ = stop.communicate(timeout=30)
    assert out == f"c4pd has ended: pid {pid}\n"
    daemon.start("--pes", 1)
    assert job(daemon, first)["state"] == "completed"
    assert wait_until(lambda: job(daemon, second)["state"] == "completed")


def test_the_log_of_a_day_has_the_life_of_each_job_under_its_id_and_no_more(
        daemon, submit, tmp_path):
    never = tmp_path / "never"
    daemon.start("--pes", 1)
    name = submit("print('done')\n")
    assert wait_until(lambda: job(daemon, name)["state"] == "completed")
    cut = submit(waiting_for(never))
    assert wait_until(pathlib.Path(f"{never}.runs").exists)
    os.kill(daemon.pid, signal.SIGKILL)
    assert wait_until(lambda: not daemon.pid)
    pid = daemon.start("--pes", 1)
    last = submit(waiting_for(never))
    assert wait_until(lambda: job(daemon, last)["state"] == "running")
    daemon.run("stop", "--now")
    lines = [re.fullmatch(r'ts=\S+Z level=(\w+) subject="?(.*?)"? msg="?(.*?)"?', line).groups()
             for line in daemon.log.read_text().splitlines()]
    told = [(level, subject, re.sub(r"\d\.\d{3}s", "0.000s", text))
            for level, subject, text in lines if subject != "c4pd"
            and not text.endswith("of an earlier daemon's jobs were killed")]  # or died before
    assert told == [
        ("info", f"job {name}", "queued: program.py"),
        ("info", f"job {name}", "starting->running 0.000s"),
        ("info", f"job {name}", "completed, code 0"),
        ("info", f"job {cut}", "queued: program.py"),
        ("info", f"job {cut}", "starting->running 0.000s"),
        ("warning", f"job {cut}", "failed: the daemon ended while the job ran (c4pd was killed, or "
                                  "the host went down), and the job with it"),
        ("warning", "jobs", "an earlier daemon left 0 queued and 1 unfinished"),
        ("info", f"job {last}", "queued: program.py"),
        ("info", f"job {last}", "starting->running 0.000s"),
        ("info", f"job {last}", "cancelled, code 130: the job was cancelled: "
                                "the daemon was stopped"),
    ]
    assert [text for _, subject, text in lines if subject == "c4pd"][-5:] == [
        f"c4pd runs: pid {pid}, 1 PE, {daemon.state}",
        "got SIGQUIT",
        "takes and starts no more jobs (1 job runs, 0 wait, 1 of 1 PEs in use)",
        "ends what runs",
        "ends",
    ]


def test_when_the_time_is_over_what_runs_is_ended_and_recorded(daemon, submit, tmp_path):
    daemon.start("--pes", 1, "--drain-time", "50ms")
    never = tmp_path / "never"
    name = submit(waiting_for(never))
    assert wait_until(pathlib.Path(f"{never}.runs").exists)
    assert daemon.run("stop").returncode == 0
    daemon.start("--pes", 1)
    assert job(daemon, name)["state"] == "cancelled"


@pytest.mark.parametrize("how", ["stop --now", "a second signal"])
def test_the_time_to_drain_can_be_cut_short(daemon, submit, tmp_path, how):
    pid = daemon.start("--pes", 1, "--drain-time", "1h")
    never = tmp_path / "never"
    name = submit(waiting_for(never))
    assert wait_until(pathlib.Path(f"{never}.runs").exists)
    if how == "stop --now":
        assert daemon.run("stop", "--now").returncode == 0
    else:
        done = daemon.run("stop", "--timeout", "0")
        assert (done.returncode, done.stderr) == (
            FAILED, f"c4pd: pid {pid} still runs, and goes on ending "
                    "(c4pd stop --now ends at once what runs)\n")
        assert daemon.logged("got SIGTERM")
        os.kill(pid, signal.SIGTERM)
        assert wait_until(lambda: not lives(pid), 30)
    daemon.start("--pes", 1)
    assert job(daemon, name)["state"] == "cancelled"


def test_who_follows_a_job_hears_of_its_end_before_the_daemon_goes(daemon, tmp_path):
    daemon.start()
    never = tmp_path / "never"
    program = tmp_path / "program.py"
    program.write_text(waiting_for(never))
    follower = subprocess.Popen(
        [C4PY, "submit", "-n", "1", "--exec", "--", sys.executable, program],
        env=daemon.environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert wait_until(pathlib.Path(f"{never}.runs").exists)
    assert daemon.run("stop", "--now").returncode == 0
    _, said = follower.communicate(timeout=30)
    assert follower.returncode == 130
    assert said == "c4py: the job was cancelled: the daemon was stopped\n"


def test_who_waits_for_a_job_does_not_notice_a_restart(daemon, submit, tmp_path):
    daemon.start("--pes", 1)
    go = tmp_path / "go"
    submit(waiting_for(go))
    assert wait_until(pathlib.Path(f"{go}.runs").exists)
    follower = subprocess.Popen(
        [C4PY, "submit", "-n", "1", "--name", "second", "--exec", "--", "echo", "it ran"],
        env=daemon.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True)
    assert daemon.logged("queued: second")
    restart = subprocess.Popen([C4PD, "restart", "--state-dir", daemon.state, "--pes", "1"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert daemon.logged("takes and starts no more jobs")
    go.touch()
    assert restart.wait(60) == 0
    out, _ = follower.communicate(timeout=60)
    assert (follower.returncode, out) == (0, "it ran\n")


def test_a_job_gets_the_mask_and_the_limits_of_who_started_the_daemon(daemon, submit, tmp_path):
    previous = os.umask(0o027)
    try:
        daemon.start()
    finally:
        os.umask(previous)
    name = submit("import os, resource\n"
                  f"with open('{tmp_path}/seen', 'w') as seen:\n"
                  "    print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], file=seen)\n"
                  "    print(os.listdir('/proc/self/fd'), file=seen)\n")
    assert wait_until(lambda: job(daemon, name)["state"] == "completed")
    assert stat.S_IMODE((tmp_path / "seen").stat().st_mode) == 0o640
    files = (tmp_path / "seen").read_text().splitlines()[0]
    assert int(files) == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


# ---- whose directory it is ----


def test_a_second_daemon_is_refused_and_the_first_goes_on(daemon):
    pid = daemon.start()
    done = daemon.run("start")
    assert done.returncode == REFUSED
    assert done.stderr == f"c4pd: a daemon runs here already: pid {pid} ({daemon.state})\n"
    attach(daemon.state)
    assert daemon.pid == pid


def test_a_second_daemon_in_the_foreground_says_the_same(daemon):
    pid = daemon.start()
    second = daemon.foreground(stderr=subprocess.PIPE, text=True)
    _, said = second.communicate(timeout=30)
    assert second.returncode == REFUSED
    assert said == f"c4pd: a daemon runs here already: pid {pid} ({daemon.state})\n"


def test_of_daemons_that_start_together_one_wins(daemon):
    starts = [
        subprocess.Popen([C4PD, "start", "--state-dir", daemon.state], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
        for _ in range(12)]
    outputs = [start.communicate(timeout=60) for start in starts]
    codes = sorted(start.returncode for start in starts)
    assert codes == [0] + [REFUSED] * 11, outputs
    for out, err in outputs:
        assert out.startswith(f"c4pd runs: pid {daemon.pid}, ") or " already: " in err
    attach(daemon.state)


def test_what_a_killed_daemon_left_is_no_hindrance(daemon):
    first = daemon.start()
    os.kill(first, signal.SIGKILL)
    assert wait_until(lambda: daemon.pid is None)
    assert {"attach", "control", "c4pd.pid"} <= set(os.listdir(daemon.state))
    assert daemon.run("status").returncode == NOT_RUNNING
    second = daemon.start()
    assert second != first
    attach(daemon.state)


def test_a_daemon_can_be_killed_at_any_moment_of_its_start(daemon):
    dice = random.Random(20)
    for _ in range(30):
        process = daemon.foreground()
        time.sleep(dice.uniform(0, 0.015))  # the moment is what varies
        process.kill()
        process.wait()
        assert daemon.run("status").returncode == NOT_RUNNING
    daemon.start()
    attach(daemon.state)


def test_several_may_stop_a_daemon_at_a_time(daemon):
    daemon.start()
    stops = [subprocess.Popen([C4PD, "stop", "--state-dir", daemon.state],
                              stdout=subprocess.DEVNULL) for _ in range(8)]
    codes = {stop.wait(60) for stop in stops}
    assert 0 in codes and codes <= {0, NOT_RUNNING}
    assert daemon.pid is None


def test_a_stale_pid_that_belongs_to_another_process_now_is_not_signalled(daemon):
    pid = daemon.start()
    text = (daemon.state / "c4pd.pid").read_text()
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: daemon.pid is None)
    other = subprocess.Popen(["sleep", "60"])
    try:
        (daemon.state / "c4pd.pid").write_text(text.replace(str(pid), str(other.pid), 1))
        for command in ("status", "stop", "reload"):
            assert daemon.run(command).returncode == NOT_RUNNING
        assert other.poll() is None
        daemon.start()
    finally:
        other.kill()
        other.wait()


@pytest.mark.parametrize("text", ["", "x", "1", "-1\n", "99999999999999999999\n", "\0" * 4096])
def test_a_pid_file_that_is_garbage_is_none(daemon, text):
    daemon.state.mkdir(mode=0o700)
    (daemon.state / "c4pd.pid").write_text(text)
    assert daemon.run("stop").returncode == NOT_RUNNING
    daemon.start()


def test_a_directory_that_others_can_enter_is_refused_with_the_remedy(daemon):
    daemon.state.mkdir()
    daemon.state.chmod(0o750)
    done = daemon.run("start")
    assert done.returncode == REFUSED
    assert done.stderr == (f"c4pd: {daemon.state}: is open to other users, its mode is 750 "
                           f"(remedy: chmod 700 {daemon.state})\n")
    assert os.listdir(daemon.state) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_another_user_is_refused(daemon):
    daemon.state.mkdir(mode=0o700)
    other = pwd.getpwnam("nobody")
    os.chown(daemon.state, other.pw_uid, -1)
    done = daemon.run("start")
    assert done.returncode == REFUSED
    assert f"{daemon.state}: belongs to nobody" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_is_told_that_the_directory_is_closed(daemon, no_leftovers, for_everybody):
    daemon.start()
    no_leftovers.chmod(0o755)
    done = subprocess.run([for_everybody(C4PD), "stop", "--state-dir", daemon.state],
                          user="nobody", cwd="/", capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (FAILED, "")
    assert done.stderr == f"c4pd: {daemon.state}: cannot be looked into: Permission denied\n"


def test_a_file_in_place_of_the_directory_is_refused(daemon):
    daemon.state.write_text("")
    done = daemon.run("start")
    assert done.returncode == REFUSED
    assert "Not a directory" in done.stderr and "--state-dir" in done.stderr
    daemon.state.unlink()


def in_namespace(daemon, mount):
    """c4pd start where a mount that nobody else sees has been made."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not there")
    tried = subprocess.run(["unshare", "-m", "sh", "-c", mount], capture_output=True)
    if tried.returncode != 0:
        pytest.skip("mounts are not allowed here")
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", f"{mount} && exec {C4PD} start --state-dir {daemon.state}"],
        capture_output=True, text=True, timeout=60)


def test_a_read_only_directory_is_refused(daemon):
    daemon.state.mkdir(mode=0o700)
    done = in_namespace(daemon, f"mount --bind {daemon.state} {daemon.state} && "
                                f"mount -o remount,bind,ro {daemon.state}")
    assert done.returncode == REFUSED
    assert "Read-only file system" in done.stderr and "--state-dir" in done.stderr


def test_a_full_disk_is_an_error_that_may_pass(daemon):
    daemon.state.mkdir(mode=0o700)
    done = in_namespace(
        daemon, f"mount -t tmpfs -o size=16k,mode=700 none {daemon.state} && "
                f"! dd if=/dev/zero of={daemon.state}/full bs=4k 2>/dev/null")
    assert done.returncode == FAILED
    assert re.search("No space left on device|there is no room left on the disk", done.stderr)
    assert str(daemon.state) in done.stderr


def test_a_state_directory_with_a_long_path_is_refused(daemon):
    done = Daemon(daemon.state / ("x" * 100)).run("start")
    assert done.returncode == USAGE
    assert "is too long: its sockets allow 96 characters" in done.stderr


def test_a_damaged_store_is_refused_and_can_be_set_aside(daemon):
    daemon.start()
    daemon.run("stop")
    (daemon.state / "store.db").write_bytes(b"no database at all " * 1000)
    done = daemon.run("start")
    assert done.returncode == REFUSED
    assert "store.db" in done.stderr and "c4pd start --set-aside" in done.stderr
    daemon.start("--set-aside")
    (aside,) = daemon.state.glob("store.db.damaged-*[0-9]")
    assert aside.read_bytes().startswith(b"no database at all")
    assert aside.name in daemon.log.read_text()


# To whom orphans come: the process that would be the daemon, if the command did not wait for it.
HEIR = """
import ctypes, os, subprocess, sys
assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER
code = subprocess.run(sys.argv[1:], stderr=subprocess.DEVNULL).returncode
try:
    os.waitpid(-1, 0)
except ChildProcessError:
    sys.exit(code)
sys.exit("a process was left")
"""


def test_a_start_that_is_refused_has_ended_when_the_command_does(daemon):
    """Or the next start might find a daemon that runs here already."""
    daemon.start()
    daemon.run("stop")
    (daemon.state / "store.db").write_bytes(b"no database at all " * 1000)
    done = subprocess.run(
        [sys.executable, "-c", HEIR, C4PD, "start", "--state-dir", daemon.state],
        capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (REFUSED, "")


def test_a_store_of_a_later_version_is_refused_even_if_a_damaged_one_would_be_set_aside(daemon):
    daemon.start()
    daemon.run("stop")
    with sqlite3.connect(daemon.state / "store.db") as store:
        store.execute("PRAGMA user_version = 3")
    store.close()
    done = daemon.run("start", "--set-aside")
    assert done.returncode == REFUSED
    assert "store.db" in done.stderr
    assert not list(daemon.state.glob("store.db.damaged*"))


# ---- configuration ----


def config_file(daemon, text):
    path = daemon.state.parent / "config" / "c4p" / "c4pd.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def config_shown(daemon, *options):
    return json.loads(daemon.run("config", "--json", *options).stdout)


def test_config_shows_each_value_and_where_it_comes_from(daemon):
    path = config_file(daemon, "[daemon]\npes = 3\n[jobs]\n\nkeep = 7\n")
    shown = config_shown(daemon, "--keep", 8)
    assert shown["daemon.pes"]["value"] == "3"
    assert shown["daemon.pes"]["source"] == f"{path}:2"
    assert shown["jobs.keep"]["value"] == "8"
    assert shown["jobs.keep"]["source"] == "command line"
    assert shown["jobs.output_limit"]["source"] == "default"
    assert shown["state_dir"] == {"value": str(daemon.state), "source": "command line"}


def test_config_shows_what_is_in_force_in_the_daemon_that_runs(daemon):
    path = config_file(daemon, "[jobs]\nkeep = 7\n")
    pid = daemon.start("--pes", 3)
    config_file(daemon, "[jobs]\nkeep = 8\n")
    shown = config_shown(daemon)
    assert shown["pid"] == pid
    assert shown["daemon.pes"]["value"] == "3"
    assert shown["daemon.pes"]["source"] == "command line"
    assert shown["jobs.keep"]["value"] == "7"
    assert shown["jobs.keep"]["source"] == f"{path}:2"
    assert config_shown(daemon, "--next")["jobs.keep"]["value"] == "8"
    daemon.run("reload")
    assert wait_until(lambda: config_shown(daemon)["jobs.keep"]["value"] == "8")


def test_config_names_the_variable_that_the_state_directory_comes_from(daemon):
    done = subprocess.run([C4PD, "config", "--json"], capture_output=True, text=True,
                          env={**os.environ, "C4P_STATE_DIR": str(daemon.state)})
    assert json.loads(done.stdout)["state_dir"] == {
        "value": str(daemon.state), "source": "C4P_STATE_DIR"}


def test_what_config_prints_is_a_configuration(daemon, tmp_path):
    printed = daemon.run("config", "--pes", 3, "--drain-time", "90s", "--log-level", "debug").stdout
    path = tmp_path / "c4pd.conf"
    path.write_text(printed)
    checked = daemon.run("config", "--check", path)
    assert (checked.returncode, checked.stdout) == (0, f"{path}: right\n")
    shown = config_shown(daemon, "--config", path)
    assert {key: shown[key]["value"] for key in
            ("daemon.pes", "daemon.drain_time", "daemon.log_level")} == {
        "daemon.pes": "3", "daemon.drain_time": "90s", "daemon.log_level": "debug"}


@pytest.mark.parametrize("text, sentence", [
    ("[daemon]\npse = 1\n", ":2: there is no key pse (is it pes?)"),
    ("[demon]\n", ":1: there is no section [demon] (is it [daemon]?)"),
    ("[daemon]\n\nlog_level = loud\n", ":3: log_level: \"loud\" is not a log level"),
    ("[daemon\n", ":1: the section's name does not end"),
    ("[jobs]\nkeep\n", ":2: is neither"),
    ("[jobs]\nkeep = 1\nkeep = 2\n", ":3: keep was set already, in line 2"),
    ("[jobs]\nkeep = 1\0\n", ":2: there is a NUL byte"),
    (";" * 200, ":1: the line is too long"),
])
def test_a_wrong_configuration_is_refused_with_file_line_and_key(daemon, text, sentence):
    path = config_file(daemon, text)
    for command, options in ("start", ()), ("config", ()), ("config", ("--check", path)):
        done = daemon.run(command, *options)
        assert done.returncode == USAGE
        assert done.stderr.startswith(f"c4pd: {path}{sentence}")
        assert done.stdout == ""
    assert not daemon.state.exists()


@pytest.mark.parametrize("options, sentence", [
    (["--config", "/no/such/file"], "/no/such/file: cannot be read: No such file or directory"),
    (["--config", "/"], "/: cannot be read: Is a directory"),
    (["--pes", "0"], "--pes: 0 is out of range (give 1 to 1024)"),
    (["--drain-time", "30"], "--drain-time: \"30\" is not a time (90s, 30m, 1h, 2d)"),
    (["--pes"], "--pes: its value is missing"),
    (["--frob"], "--frob: unknown option (c4pd start --help lists them)"),
    (["extra"], "extra: unexpected argument"),
    (["--json"], "--json: unknown option"),
])
def test_wrong_options_are_refused(daemon, options, sentence):
    done = daemon.run("start", *options)
    assert done.returncode == USAGE
    assert done.stderr.startswith(f"c4pd: {sentence}")
    assert not daemon.state.exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "command: none is given (c4pd start; c4pd --help)"),
        (["frob"], "frob: unknown command"),
        (["--frob"], "--frob: unknown option"),
        (["--embedded=x"], "x: is not an open descriptor"),
        (["--embedded=77"], "77: is not an open descriptor"),
        (["--log-level=loud"], "loud: is not a log level"),
        (["--log-level=info"], "--embedded: is missing"),
    ],
)
def test_what_is_no_command_is_refused(arguments, message):
    done = subprocess.run([C4PD, *arguments], capture_output=True, text=True)
    assert done.returncode == USAGE
    assert done.stderr.startswith(f"c4pd: {message}")


# ---- reload ----


def test_reload_takes_over_what_can_change_and_names_what_cannot(daemon):
    config_file(daemon, "[daemon]\npes = 2\n")
    daemon.start()
    path = config_file(daemon, "[daemon]\npes = 5\nmax_clients = 9\nlog_level = debug\n")
    assert daemon.run("reload").returncode == 0
    assert daemon.logged(f"read again: {path}")
    log = daemon.log.read_text()
    assert "pes: 5 instead of 2" in log and "log_level: debug instead of info" in log
    assert "max_clients: 256 stays until the next start, then it is 9" in log
    assert daemon.status["pes"] == 5


def test_reload_of_a_wrong_file_changes_nothing(daemon):
    config_file(daemon, "[daemon]\npes = 2\n")
    daemon.start()
    path = config_file(daemon, "[daemon]\npes = 5\nfrob = 1\n")
    daemon.run("reload")
    assert daemon.logged(f"{path}:3: there is no key frob")
    assert daemon.status["pes"] == 2
    path.unlink()
    daemon.run("reload")
    assert daemon.logged("read again: there is no file")


def test_the_command_line_goes_before_the_file_also_at_a_reload(daemon):
    daemon.start("--pes", 3)
    config_file(daemon, "[daemon]\npes = 5\nlog_level = debug\n")
    daemon.run("reload")
    assert daemon.logged("read again")
    assert daemon.status["pes"] == 3


# ---- the log ----


def test_a_log_that_was_moved_away_is_made_again_at_a_reload(daemon):
    daemon.start()
    old = daemon.log.rename(daemon.log.with_name("moved"))
    daemon.run("reload")
    assert wait_until(daemon.log.exists)
    assert daemon.logged("read again")
    assert "c4pd runs" in old.read_text()


def test_the_log_is_put_aside_when_it_is_full(daemon):
    config_file(daemon, "[daemon]\nlog_size = 4K\n")
    daemon.start()
    old = daemon.log.with_name("c4pd.log.1")
    keep = 0
    while not old.exists():
        keep += 1
        assert keep < 200, "4 KiB hold fewer lines than that"
        config_file(daemon, f"[daemon]\nlog_size = 4K\n[jobs]\nkeep = {keep}\n")
        daemon.run("reload")
        assert wait_until(lambda: any(
            f"keep: {keep} instead of" in path.read_text() for path in (daemon.log, old)
            if path.exists()))
    assert old.stat().st_size <= 4096 and daemon.log.stat().st_size <= 4096
    assert stat.S_IMODE(old.stat().st_mode) == 0o600
    for line in (old.read_text() + daemon.log.read_text()).splitlines():
        assert re.match(r"ts=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z level=\w+ subject=", line)


def test_a_log_that_cannot_be_written_has_no_torn_lines_and_says_how_many_are_lost(daemon):
    """A limit of the size of files is to the daemon what a full disk is."""

    def reload(keep):
        config_file(daemon, f"[jobs]\nkeep = {keep}\n")
        daemon.run("reload")
        assert wait_until(lambda: config_shown(daemon)["jobs.keep"]["value"] == str(keep))

    pid = daemon.start()
    for keep in range(1, 11):
        reload(keep)
    # By now it is tired of saying that it has read the file again.
    before = daemon.log.read_bytes()
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (len(before) + 20, resource.RLIM_INFINITY))
    reload(99)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    reload(100)
    log = daemon.log.read_bytes()
    assert log.startswith(before)
    after = log[len(before):].decode()
    assert "keep: 99 instead of" not in after and "keep: 100 instead of 99" in after
    assert re.search(r"msg=\"lines that could not be written: \d\"", after)
    for line in after.splitlines():
        assert re.match(r"ts=\S+Z level=\w+ subject=", line)


# ---- systemd ----


@pytest.fixture
def manager(no_leftovers, monkeypatch):
    """Where a service manager listens; hear() waits for a message with this in it."""
    path = no_leftovers / "notify"
    server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    server.bind(str(path))
    server.settimeout(20)

    def hear(text):
        while text not in (message := server.recv(4096).decode()):
            pass
        return message

    yield path, hear
    server.close()


def test_the_service_manager_is_told_of_start_reload_and_end(daemon, manager):
    path, hear = manager
    process = daemon.foreground(env={**os.environ, "NOTIFY_SOCKET": str(path)})
    try:
        assert "STATUS=" in hear("READY=1")
        attach(daemon.state)
        daemon.run("reload")
        assert "MONOTONIC_USEC=" in hear("RELOADING=1")
        hear("READY=1")
        process.send_signal(signal.SIGTERM)
        assert "EXTEND_TIMEOUT_USEC=" in hear("STOPPING=1")
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def test_the_service_manager_is_told_in_words_what_runs(daemon, manager, submit, tmp_path):
    path, hear = manager
    process = daemon.foreground("--pes", 2, env={**os.environ, "NOTIFY_SOCKET": str(path)})
    try:
        assert "STATUS=0 jobs run, 0 wait, 0 of 2 PEs in use" in hear("READY=1")
        go = tmp_path / "go"
        submit(waiting_for(go))
        hear("STATUS=1 job runs, 0 wait, 1 of 2 PEs in use")
        go.touch()
        hear("STATUS=0 jobs run, 0 wait, 0 of 2 PEs in use")
    finally:
        process.kill()
        process.wait()


def test_the_watchdog_of_the_service_manager_is_fed(daemon, manager):
    path, hear = manager
    process = daemon.foreground(
        env={**os.environ, "NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000"})
    try:
        for _ in range(3):
            hear("WATCHDOG=1")
    finally:
        process.kill()
        process.wait()


def test_lines_for_the_journal_have_a_priority(daemon):
    out, into = os.pipe()
    status = os.fstat(into)
    journal = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
    process = daemon.foreground(stderr=into, env={**os.environ, **journal})
    os.close(into)
    with open(out) as lines:
        assert lines.readline().startswith("<6>ts=")
        process.terminate()
        assert process.wait(20) == 0


def test_the_unit_is_what_systemd_expects(no_leftovers):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not there")
    unit = no_leftovers / "c4pd.service"
    text = (ROOT / "systemd" / "c4pd.service").read_text()
    unit.write_text(text.replace("/usr/local/bin/c4pd", C4PD))
    done = subprocess.run(["systemd-analyze", "--user", "--man=no", "verify", unit],
                          capture_output=True, text=True)
    if "Failed to initialize manager" in done.stderr:
        pytest.skip("systemd-analyze cannot work here")
    assert (done.returncode, done.stderr) == (0, "")


# ---- what it costs ----


def switches(pid):
    """How often the threads of a process went to sleep by themselves."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        total += int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)",
                               (task / "status").read_text(), re.MULTILINE)[1])
    return total


def test_a_daemon_without_work_sleeps(daemon, submit):
    pid = daemon.start()
    name = submit("print('done')\n")
    assert wait_until(lambda: job(daemon, name)["state"] == "completed")
    seen = []

    def rests():
        """Not once in the last 1.5 s: with a periodic timer that does not come to pass."""
        now = time.monotonic()
        seen.append((now, switches(pid)))
        return any(now - then >= 1.5 and count == seen[-1][1] for then, count in seen)

    assert wait_until(rests, 20)


@pytest.mark.skipif("asan" in str(BUILD) or "tsan" in str(BUILD), reason="shadow memory")
def test_a_daemon_without_work_is_small_also_when_it_had_some(daemon, submit):
    def kilobytes():
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])

    pid = daemon.start()
    assert kilobytes() < 15 << 10
    names = [submit("print('done')\n") for _ in range(20)]
    assert wait_until(lambda: job(daemon, names[-1])["state"] == "completed", 30)
    assert wait_until(lambda: kilobytes() < 15 << 10)
