"""Runs cmocka binaries, each with a time limit, and counts their tests.

Prints a line for each binary and everything that a failing one said; writes the counts for
tests/summary.py.
"""
import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time

# Not only at the start of a line: a test may have printed half of one.
EVENT = re.compile(r"\[ *(RUN|OK|FAILED|ERROR|SKIPPED) *\] (?:\S+: )?(\w+)\s*$", re.MULTILINE)
PLANNED = re.compile(r"^\[==========\] (?:\S+: )?Running (\d+) test", re.MULTILINE)


def run(command, limit):
    """Run to the end or the limit. -> (what it printed, why it ended badly or None)"""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, start_new_session=True) as process:
        try:
            output, _ = process.communicate(timeout=limit)
            reason = None
        except subprocess.TimeoutExpired:
            reason = f"still running after {limit:g} s"
        # What it left behind must not disturb the next one, nor keep the pipe open.
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        if reason:
            output, _ = process.communicate()
        elif process.returncode < 0:
            reason = f"killed by {signal.Signals(-process.returncode).name}"
        elif process.returncode > 0:
            reason = f"exit code {process.returncode}"
    return output.decode(errors="replace"), reason


def judge(output, reason):
    """-> (number of tests passed, names of those that failed), from cmocka's standard output."""
    passed, skipped, failed, running = 0, 0, [], None
    for kind, name in EVENT.findall(output):
        if kind == "RUN":
            running = name
        elif name == running:  # else it is the list at the end of a group
            passed += kind == "OK"
            skipped += kind == "SKIPPED"
            failed += [name] if kind in ("FAILED", "ERROR") else []
            running = None
    # A crash ends the count early: the test it happened in failed and the rest never ran.
    if running is not None:
        failed.append(running)
    planned = sum(int(number) for number in PLANNED.findall(output))
    never_ran = planned - passed - len(failed) - skipped
    if never_ran > 0:
        failed.append(f"{never_ran} that never ran")
    if reason and not failed:
        failed.append(reason)
    return passed, failed


def count(failed):
    return sum(int(name.split()[0]) if name.endswith("never ran") else 1 for name in failed)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=float, default=120, help="seconds for each binary")
    parser.add_argument("--match", default="", help="only binaries whose name has this in it")
    parser.add_argument("--wrapper", default="", help="command that starts each binary")
    parser.add_argument("--arguments", default="", help="what each binary is called with")
    parser.add_argument("--rerun", default="make test-unit", help="how to run this again")
    parser.add_argument("--name", default="unit", help="name of this step in the summary")
    parser.add_argument("--results", required=True, help="file for the counts")
    parser.add_argument("binaries", nargs="*")
    options = parser.parse_args()

    total, failures, bad = 0, [], 0
    for binary in options.binaries:
        name = os.path.basename(binary)
        if options.match not in name:
            continue
        start = time.monotonic()
        output, reason = run(shlex.split(options.wrapper) + [binary]
                             + shlex.split(options.arguments), options.limit)
        passed, failed = judge(output, reason)
        took = time.monotonic() - start
        total += passed
        bad += count(failed)
        if not failed and passed == 0:
            bad += 1
            failed = ["it ran no test"]
        if not failed:
            print(f"  ok      {name:32} {passed:4} tests  {took:6.2f} s", flush=True)
            continue
        print(f"  FAILED  {name:32} {reason or ''}: {', '.join(failed)}\n{output}", flush=True)
        failures += [{"what": f"{name}: {test}", "rerun": f"{options.rerun} T={name}"}
                     for test in failed]
    with open(options.results, "w", encoding="utf-8") as file:
        json.dump({"name": options.name, "passed": total, "failed": bad, "failures": failures},
                  file)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
