"""Programs that the tests of the service submit."""

# Begins at once, ends when the file that is its argument is there.
GATED = """
import os, sys, time
print("up", flush=True)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
print("through", flush=True)
"""
SLEEP = "import time\nprint('up', flush=True)\ntime.sleep(600)\n"
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEP
TOO_LARGE = 99  # PEs: more than the daemon has, so it waits
