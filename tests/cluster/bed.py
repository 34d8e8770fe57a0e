"""Hosts on one machine: namespaces with a network between them that tests can cut and disturb.

A host has network, mount, host name and process namespaces of its own. It sees the tree and the
system, but /home is its own: what is there exists on no other host. Between the hosts is a switch
in user space (wire.c), since not all kernels have netem. Needs root.
"""

import contextlib
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import textwrap

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "python"))

from harness import C4PD, C4PY, ROOT, children, wait_until  # noqa: E402

NAMES = "abcdefgh"

# The first process of a host: it buries the orphans, as init does.
INIT = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
print('ok', flush=True)
while True:
    signal.sigwait([signal.SIGCHLD])
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
"""


def run(*command, **options):
    """Run a command that has to succeed."""
    return subprocess.run(
        [str(word) for word in command], check=True, capture_output=True, text=True, **options
    )


def end(process):
    """Whatever it does, it is gone afterwards, and so are its pipes."""
    if process.poll() is None:
        process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):  # what was not written yet
                stream.close()


def remove(namespace):
    """Remove a network namespace, and what still runs in it."""
    inside = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True)
    for pid in inside.stdout.split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)


def sweep():
    """Remove what tests left behind that were killed."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True)
    for namespace in re.findall(r"^c\d+n\d+[a-z]+", listed.stdout, re.MULTILINE):
        if not os.path.exists(f"/proc/{namespace[1:].split('n')[0]}"):
            remove(namespace)


def possible():
    """Why there can be no hosts here, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for tool in ("ip", "unshare", "nsenter", "setpriv"):
        if shutil.which(tool) is None:
            return f"there is no {tool}"
    done = subprocess.run(["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "true"])
    return None if done.returncode == 0 else "namespaces cannot be made here"


def build_wire(directory):
    """Compile the switch; its path."""
    program = pathlib.Path(directory) / "wire"
    flags = ["-std=c11", "-D_GNU_SOURCE=", "-O2", "-Wall", "-Wextra"]
    run(os.environ.get("CC", "gcc"), *flags, ROOT / "tests/cluster/wire.c", "-o", program)
    return program


class Host:
    """One host. `address` is what the others reach it at."""

    def __init__(self, bed, number, name):
        self.bed = bed
        self.number = number
        self.name = name
        self.address = f"10.77.0.{number + 1}"
        self.namespace = f"{bed.prefix}h{number}"
        self.disk = bed.directory / self.name  # its /home
        self.disk.mkdir()
        self.home = pathlib.Path("/home/user")
        self.init = None
        self.daemon = None  # in the foreground, if start_daemon() made it
        self.programs = 0

    def boot(self):
        """Make the namespaces."""
        run("ip", "netns", "add", self.namespace)
        port = f"{self.bed.prefix}{self.number}"
        inside = ["netns", self.bed.switch_namespace]
        run("ip", "-n", self.namespace, "link", "add", "eth0", "type", "veth", "peer", "name",
            port, *inside)
        run("ip", "-n", self.bed.switch_namespace, "link", "set", port, "up")
        run("ip", "-n", self.namespace, "addr", "add", f"{self.address}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            run("ip", "-n", self.namespace, "link", "set", device, "up")
        self.begin()
        return port

    def begin(self):
        """Switch it on: the first process."""
        (self.disk / "user").mkdir(exist_ok=True)
        script = (f"hostname {self.name} && mount --bind {self.disk} /home && "
                  f"exec {sys.executable} -c \"$0\"")
        # It goes with the test, whatever becomes of that. What unshare says then is noise.
        self.init = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", self.namespace,
             "unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc",
             "sh", "-c", script, INIT],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        if self.init.stdout.readline() != "ok\n":
            raise AssertionError(f"host {self.name} does not come up")
        self.init_pid = children(self.init.pid)[0]

    def shrink_disk(self, size):
        """Its home is on a disk of its own, of this size, and empty. Before anything runs there."""
        self.run("mount", "-t", "tmpfs", "-o", f"size={size}", "none", self.home)

    def fill_disk(self):
        """No byte more fits on the disk of its home; free_disk() ends it."""
        self.run("sh", "-c", "cat /dev/zero > full; test -s full")

    def free_disk(self):
        self.run("rm", "full")

    def power_off(self):
        """All of its processes die at once."""
        if self.init is not None:
            # Those who watch it from outside end with it: they may not wait for what is dead.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.init_pid, signal.SIGKILL)
            end(self.init)
            self.init = None
        if self.daemon is not None:
            end(self.daemon)
            self.daemon = None

    def command(self, words):
        return ["nsenter", "--target", str(self.init_pid), "--net", "--mount", "--uts", "--pid",
                "sh", "-c", 'cd "$0" && exec "$@"', str(self.home), *map(str, words)]

    def environment(self, more=None):
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith(("C4P_", "XDG_")) or name == "C4P_TEST"}
        environment.update(HOME=str(self.home), PATH=f"{C4PD.parent}:/usr/sbin:/usr/bin:/sbin:/bin")
        environment.update(more or {})
        return environment

    def run(self, *words, check=True, timeout=60, env=None, **options):
        """Run a command on this host to its end; text in, text out."""
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        done = subprocess.run(self.command(words), capture_output=True, text=True, timeout=timeout,
                              env=self.environment(env), **options)
        if check and done.returncode != 0:
            raise AssertionError(f"{self.name}: {words}: code {done.returncode}\n"
                                 f"{done.stdout}\n{done.stderr}\n{self.last_words()}")
        return done

    def start(self, *words, env=None, **options):
        """Start a command and go on: a Popen with pipes."""
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
                   "stderr": subprocess.PIPE, "text": True, **options}
        process = subprocess.Popen(self.command(words), env=self.environment(env), **options)
        self.bed.processes.append(process)
        return process

    def c4pd(self, *words, **options):
        return self.run(C4PD, *words, **options)

    def c4py(self, *words, **options):
        return self.run(C4PY, *words, **options)

    def start_daemon(self, *options, pes=2, env=None):
        """Start c4pd as a service would, and wait until it serves."""
        log = open(self.disk / "daemon.log", "a", encoding="utf-8")
        with log:
            self.daemon = self.start(C4PD, "start", "--foreground", "--pes", pes, *options,
                                     stdout=log, stderr=log, env=env)
        serves = wait_until(lambda: self.daemon.poll() is not None
                            or self.c4py("status", check=False).returncode == 0, 20)
        if not serves or self.daemon.poll() is not None:
            raise AssertionError(f"{self.name}: no daemon:\n{self.log()}")

    def log(self):
        path = self.disk / "daemon.log"
        return path.read_text() if path.exists() else ""

    def last_words(self):
        """How the daemon is, and the end of its log: for what a failed test says."""
        if self.daemon is None:
            return "no daemon was started here"
        code = self.daemon.poll()
        state = "runs" if code is None else f"has ended with code {code}"
        return "\n".join([f"the daemon {state}; the end of its log:",
                          *self.log().splitlines()[-20:]])

    @property
    def daemon_pid(self):
        """As the test sees it, outside of the host."""
        return children(self.daemon.pid)[0]

    def signal_daemon(self, number):
        os.kill(self.daemon_pid, number)
        if number == signal.SIGCONT:
            self.daemon.send_signal(number)  # nsenter has stopped as well

    def kill_daemon(self):
        self.signal_daemon(signal.SIGKILL)
        self.daemon.wait(30)
        self.daemon = None

    def stop_daemon(self):
        self.c4pd("stop", "--now")
        self.daemon.wait(30)
        self.daemon = None

    def members(self):
        """What `c4pd nodes` shows: a list of them all."""
        done = self.c4pd("nodes", "--json", check=False)
        return json.loads(done.stdout)["nodes"] if done.returncode == 0 else []

    def nodes(self):
        """Of these: name -> state."""
        return {node["name"]: node["state"] for node in self.members()}

    def sees(self, states, seconds=30):
        """Wait until these nodes have these states here."""
        last = {}

        def seen():
            last.clear()
            last.update(self.nodes())
            return all(last.get(name) == state for name, state in states.items())

        assert wait_until(seen, seconds), f"{self.name} sees {last}, not {states}\n{self.log()}"

    def write(self, name, source):
        """A file in this host's home, which no other host has; its path there."""
        path = self.disk / "user" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))
        return self.home / name

    def copy(self, source, name=None):
        """A file or directory of the tree, copied to this host's home; its path there."""
        source = pathlib.Path(source)
        target = self.disk / "user" / (name or source.name)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copy(source, target)
        return self.home / target.name

    def program(self, source):
        """A program in a directory of its own; its path."""
        self.programs += 1
        return self.write(f"programs{self.programs}/program.py", source)

    def submit(self, source, pes, *words, args=(), **options):
        """Run a program, given as its source text, on so many PEs, to its end."""
        return self.c4py("submit", "-n", pes, *words, self.program(source), *args, **options)

    def detach(self, source, pes, *words, args=()):
        """Submit it and go on: the job's id."""
        return self.submit(source, pes, "--detach", *words, args=args).stdout.strip()

    def jobs(self):
        """All jobs of this host, by id."""
        done = self.c4py("jobs", "--all", "--json")
        return {job["id"]: job for job in json.loads(done.stdout)}

    def wait_for(self, job, state, seconds=60):
        """Wait until a job is in this state; what is known of it."""
        assert wait_until(lambda: self.jobs()[job]["state"] == state, seconds), self.jobs()[job]
        return self.jobs()[job]

    def processes(self, word):
        """Processes of this host whose command has this word in it."""
        found = []
        for name in self.run("sh", "-c", "ls /proc").stdout.split():
            if name.isdigit():
                line = self.run("cat", f"/proc/{name}/cmdline", check=False).stdout
                if word in line.split("\0"):
                    found.append(int(name))
        return found


class Bed:
    """Hosts a, b, c ... and the network between them."""

    numbers = itertools.count()

    def __init__(self, count, directory, wire, names=NAMES):
        self.directory = pathlib.Path(directory)
        self.prefix = f"c{os.getpid()}n{next(self.numbers)}"  # of interfaces too: 15 characters
        self.switch_namespace = f"{self.prefix}sw"
        self.processes = []
        self.wire = None
        self.hosts = []
        try:
            run("ip", "netns", "add", self.switch_namespace)
            self.hosts = [Host(self, number, names[number]) for number in range(count)]
            ports = [host.boot() for host in self.hosts]
            self.wire = subprocess.Popen(
                ["ip", "netns", "exec", self.switch_namespace, wire, *ports],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
            self._answer()
        except BaseException:
            self.close()
            raise

    def _answer(self):
        line = self.wire.stdout.readline().strip()
        if not line.startswith("ok"):
            raise AssertionError(f"the wire says: {line!r}")
        return line

    def tell(self, *words):
        """A command for wire.c."""
        self.wire.stdin.write(" ".join(map(str, words)) + "\n")
        return self._answer()

    def cut(self, one, other):
        """Nothing passes any more between two groups of hosts, given by their numbers."""
        self.tell("cut", ",".join(map(str, one)), ",".join(map(str, other)))

    def disturb(self, **faults):
        """Faults of all links: delay and jitter in ms; loss, reorder and duplicate in percent."""
        self.tell("link", "all", "all", *(f"{name}={value}" for name, value in faults.items()))

    def heal(self):
        self.tell("heal")

    @contextlib.contextmanager
    def captured(self, path):
        """All that passes is in this file afterwards."""
        self.tell("capture", path)
        yield
        self.tell("capture")

    def form(self, *options, pes=2, hosts=None):
        """From nothing to a running cluster of all hosts."""
        hosts = hosts or self.hosts
        hosts[0].c4pd("init")
        hosts[0].start_daemon(*options, pes=pes)
        for host in hosts[1:]:
            token = hosts[0].c4pd("token").stdout.strip()
            host.c4pd("join", token)
            host.start_daemon(*options, pes=pes)
        alive = {host.name: "alive" for host in hosts}
        for host in hosts:
            host.sees(alive)

    def close(self):
        """Gets to its end, whatever has happened to a part of it."""
        with contextlib.ExitStack() as steps:
            for namespace in [host.namespace for host in self.hosts] + [self.switch_namespace]:
                steps.callback(remove, namespace)
            if self.wire is not None:
                steps.callback(end, self.wire)
            for process in self.processes:
                steps.callback(end, process)
            for host in self.hosts:
                steps.callback(host.power_off)
