"""Clients that come, submit, attach, and vanish at random: ``make soak`` runs it for two minutes.

usage: soak_clients.py SECONDS CLIENTS

It starts a daemon of its own. At the end that daemon's descriptors, children and memory have to be
where they were before: that is printed as JSON, and the exit code says whether it holds.
"""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get("C4P_BUILD", HERE.parents[1] / "build"))
C4PY = str(BUILD / "bin" / "c4py")
C4PD = str(BUILD / "bin" / "c4pd")

QUICK = "from c4py import charm\ncharm.start(lambda args: exit())\n"
CHATTY = """
from c4py import charm
def main(args):
    for i in range(200):
        print("line", i, flush=True)
        charm.sleep(0.002)
    exit()
charm.start(main)
"""
SESSION = """
import sys
import c4py
from c4py import Chare
from c4py.errors import Charm4PyError, SessionClosed
class Echo(Chare):
    def echo(self, value):
        return value
try:
    session = c4py.connect(sys.argv[1], pes=1, name=sys.argv[2] or None, quiet=True, timeout=120)
    echo = session.Chare(Echo)
    for i in range(int(sys.argv[3])):
        assert echo.echo(i, ret=True).get() == i
    if sys.argv[2] and int(sys.argv[3]) % 2:
        session.close()
except SessionClosed:
    pass                # another client of the same name did
except Charm4PyError as error:
    if 'every place for a client is taken' not in str(error):
        raise
"""


def figures(pid):
    """What a daemon holds: descriptors, children, resident MB."""
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
    return {"descriptors": len(os.listdir(f"/proc/{pid}/fd")), "children": len(children),
            "rss_mb": round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 2)}


def as_before(before, after):
    return (after["children"] == 0 and after["descriptors"] <= before["descriptors"]
            and after["rss_mb"] < before["rss_mb"] + 8)


class Soak:
    def __init__(self, state_dir, seconds, clients):
        self.state_dir, self.clients = state_dir, clients
        self.end = time.monotonic() + seconds
        self.done = {"whole": 0, "killed": 0, "failed": 0}
        self.complaints = []
        self.lock = threading.Lock()
        folder = pathlib.Path(state_dir) / "soak"
        folder.mkdir(exist_ok=True)
        self.programs = {}
        for name, source in (("quick", QUICK), ("chatty", CHATTY), ("session", SESSION)):
            self.programs[name] = str(folder / f"{name}.py")
            pathlib.Path(self.programs[name]).write_text(source)

    def status(self):
        done = subprocess.run([C4PY, "status", "--json", "--state-dir", self.state_dir],
                              capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    def command(self, chance):
        where = ["--state-dir", self.state_dir]
        kind = chance.randrange(7)
        if kind == 0:
            return [C4PY, "submit", *where, "-n", "1", self.programs["quick"]]
        if kind == 1:
            return [C4PY, "submit", *where, "-n", "1", "--detach", self.programs["chatty"]]
        if kind == 2:
            return [C4PY, "submit", *where, "-n", str(chance.randint(1, 2)),
                    self.programs["chatty"]]
        if kind == 3:
            return [C4PY, "jobs", *where, "--all", "--json"]
        if kind == 4:
            return [C4PY, "status", *where]
        name = chance.choice(["", "", "red", "green"])
        return [sys.executable, self.programs["session"], self.state_dir, name,
                str(chance.randrange(1, 2000))]

    def client(self, seed):
        chance = random.Random(seed)
        while time.monotonic() < self.end:
            command = self.command(chance)
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE)
            patience = chance.choice([0.01, 0.05, 0.2, 1.0, 60.0])
            try:
                _, errors = process.communicate(timeout=patience)
                kind = "whole" if process.returncode == 0 else "failed"
            except subprocess.TimeoutExpired:
                process.send_signal(chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
                _, errors = process.communicate()
                kind = "killed"
            with self.lock:
                self.done[kind] += 1
                if kind == "failed" and len(self.complaints) < 5:
                    self.complaints.append((command[1:3], process.returncode,
                                            errors.decode(errors="replace")[-300:]))

    def settle(self, pid):
        """Cancel what is left and wait until nothing runs."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            left = json.loads(subprocess.run(
                [C4PY, "jobs", "--json", "--state-dir", self.state_dir], capture_output=True,
                text=True, check=True).stdout)
            if not left and not figures(pid)["children"] and self.status()["clients"] <= 1:
                return True
            if left:
                subprocess.run([C4PY, "cancel", "--kill", "--state-dir", self.state_dir,
                                *(job["id"] for job in left[:1000])], capture_output=True,
                               check=False)
        return False

    def run(self):
        pid = self.status()["pid"]
        # The first jobs make what a daemon keeps: buffers, statements of the store.
        for name in ("quick", "chatty"):
            subprocess.run([C4PY, "submit", "--state-dir", self.state_dir, "-n", "1",
                            self.programs[name]], check=True, capture_output=True)
        before = figures(pid)
        threads = [threading.Thread(target=self.client, args=(seed,))
                   for seed in range(self.clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        settled = self.settle(pid)
        deadline = time.monotonic() + 60    # it gives memory back when it has been idle for a while
        while not (good := as_before(before, after := figures(pid)) and settled
                   and not self.done["failed"]):
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        print(json.dumps({"before": before, "after": after, "clients": self.done,
                          "settled": settled, "good": good, "complaints": self.complaints,
                          "troubles": self.status()["troubles"]}, indent=1))
        return 0 if good else 1


def main(seconds, clients):
    with tempfile.TemporaryDirectory(prefix="c4p-soak-", dir="/tmp") as folder:
        state = os.path.join(folder, "s")
        subprocess.run([C4PD, "start", "--state-dir", state, "--pes", "4", "--max-clients",
                        str(2 * clients + 8)], check=True, stdout=subprocess.DEVNULL)
        try:
            return Soak(state, seconds, clients).run()
        finally:
            subprocess.run([C4PD, "stop", "--now", "--state-dir", state], check=True,
                           stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2])))
