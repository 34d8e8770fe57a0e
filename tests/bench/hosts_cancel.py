"""Runs inside a job of PEs on several nodes until it is cancelled; each PE prints its process id.

What it does then is the argument: ``sleep``; ``compute``, in one call of C or in a loop of Python,
turn about; or ``deaf``: it ignores SIGTERM.
"""

import os
import signal
import sys
import time

from c4py import Chare, Group, charm


class Member(Chare):
    """One of those that never come back."""

    def go(self, how):
        if how == 'deaf':
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print(os.getpid(), flush=True)
        if how != 'compute':
            time.sleep(3600)
        elif charm.myPe() % 2:
            sum(range(1 << 60))
        while True:
            pass


def main(_):
    Group(Member).go(sys.argv[1])


charm.start(main)
