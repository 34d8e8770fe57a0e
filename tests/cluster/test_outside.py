"""A host that is no node uses the cluster of the other two with a key file."""

import json

from harness import wait_until

HELLO = """
import helper
from c4py import charm
def main(args):
    helper.say(args[1:], charm.numPes())
    charm.exit(3)
charm.start(main)
"""
HELPER = """
def say(words, pes):
    print(*words, "on", pes, flush=True)
"""
GATED = """
import pathlib, sys, time
print("begin", flush=True)
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.05)
print("end", flush=True)
"""
TICKS = """
import time
print("begin", flush=True)
while True:
    time.sleep(0.05)
"""


def enrol(laptop, node, name):
    """The commands of docs/cluster.md: the key is made there, let in here, its line goes there."""
    key = laptop.c4pd("key", "new", "key").stdout.strip()
    line = node.c4pd("key", "add", name, key).stdout
    with open(laptop.disk / "user" / "key", "a", encoding="utf-8") as file:
        file.write(line)
    return line.split()[0]


def test_a_host_that_is_no_node_submits_over_two_that_have_none_of_its_files(bed):
    a, b, laptop = bed.hosts
    bed.form(hosts=[a, b])
    address = enrol(laptop, a, "ann")
    assert a.address in address
    laptop.write("work/helper.py", HELPER)
    app = laptop.write("work/app.py", HELLO)
    done = laptop.c4py("submit", "--via", "key", "-n", 4, app, "word", check=False)
    assert done.returncode == 3, done.stderr
    assert done.stdout == "word on 4\n"
    assert not (a.disk / "user" / "work").exists() and not (b.disk / "user" / "work").exists()


def test_a_client_that_was_cut_off_by_the_network_follows_on_when_it_is_healed(bed):
    a, _, laptop = bed.hosts
    bed.form(hosts=[a])
    enrol(laptop, a, "ann")
    process = laptop.start("c4py", "submit", "--via", "key", "-n", 1,
                           laptop.write("gated.py", GATED), "/home/gate")
    assert process.stdout.readline() == "begin\n"
    bed.cut([0], [2])
    assert "is gone: waiting" in process.stderr.readline()
    (a.disk / "gate").touch()  # /home there
    bed.heal()
    out, said = process.communicate(timeout=60)
    assert process.returncode == 0 and out == "end\n" and "the daemon is back" in said


def test_a_key_that_is_revoked_on_another_node_ends_its_clients_and_not_their_jobs(bed):
    a, b, laptop = bed.hosts
    bed.form(hosts=[a, b])
    enrol(laptop, a, "ann")
    process = laptop.start("c4py", "submit", "--via", "key", "-n", 2,
                           laptop.write("ticks.py", TICKS))
    assert process.stdout.readline() == "begin\n"
    b.c4pd("key", "revoke", "ann")
    _, said = process.communicate(timeout=60)
    assert "your key was revoked" in said
    jobs = json.loads(a.c4py("jobs", "--json").stdout)
    assert [job["state"] for job in jobs] == ["running"]
    a.c4py("cancel", "--kill", jobs[0]["id"])
    assert wait_until(lambda: json.loads(a.c4py("jobs", "--json").stdout) == [], 30)
