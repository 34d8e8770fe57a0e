"""`c4pd testbed`: a cluster on this machine that a person can try things on."""

import json
import os
import pathlib
import re
import signal
import subprocess

from harness import C4PD, C4PY, wait_until

HELLO = """
from c4py import charm

def main(args):
    print('hello from', charm.numPes(), 'PEs on', charm.numHosts(), 'hosts')
    exit()

charm.start(main)
"""


def test_a_command_finds_a_cluster_and_nothing_is_left_of_it(tmp_path, no_leftovers):
    path = tmp_path / "hello.py"
    path.write_text(HELLO)
    done = subprocess.run([C4PD, "testbed", "-N", "3", C4PY, "submit", "-n", "6", path],
                          capture_output=True, text=True, timeout=90)
    assert (done.returncode, done.stdout) == (0, "hello from 6 PEs on 3 hosts\n"), done.stderr
    assert not list(no_leftovers.glob("c4p-testbed*"))


def test_the_exit_code_is_that_of_the_command(tmp_path):
    done = subprocess.run([C4PD, "testbed", "-N", "1", "sh", "-c", "exit 7"], timeout=60)
    assert done.returncode == 7


def test_it_tells_how_to_speak_to_each_node_and_ends_with_ctrl_c(no_leftovers):
    bed = subprocess.Popen([C4PD, "testbed", "-N", "2", "--pes", "1"], stdout=subprocess.PIPE,
                           text=True)
    places = []
    for line in bed.stdout:
        places += re.findall(r"export C4P_STATE_DIR=(\S+)", line)
        if line.startswith("Then:"):
            break
    assert len(places) == 2

    def alive(place):
        done = subprocess.run([C4PD, "nodes", "--json"], capture_output=True, text=True,
                              env={**os.environ, "C4P_STATE_DIR": place})
        nodes = json.loads(done.stdout)["nodes"]
        return [node["name"] for node in nodes if node["state"] == "alive"]

    for place in places:
        assert wait_until(lambda: alive(place) == ["node1", "node2"], 20)
    bed.send_signal(signal.SIGINT)
    assert bed.wait(30) == 0
    bed.stdout.close()
    assert not pathlib.Path(places[0]).exists()


def test_wrong_numbers_are_refused():
    for options in (["-N", "0"], ["-N", "33"], ["--nodes", "x"], ["--pes", "0"]):
        done = subprocess.run([C4PD, "testbed", *options], capture_output=True, text=True)
        assert done.returncode == 2 and "is not a number from 1 to" in done.stderr
