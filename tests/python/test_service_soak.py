"""The short form of ``make soak``: clients come and vanish, and the daemon is as before."""

import os
import subprocess
import sys

from harness import ROOT


def test_a_daemon_is_as_it_was_after_many_clients_came_and_vanished():
    program = ROOT / "tests" / "python" / "soak_clients.py"
    done = subprocess.run([sys.executable, str(program), os.environ.get("C4P_SOAK_SECONDS", "8"),
                           os.environ.get("C4P_SOAK_CLIENTS", "12")], capture_output=True,
                          text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
