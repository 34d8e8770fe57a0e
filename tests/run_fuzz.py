"""Runs libFuzzer targets for some seconds each, as many at a time as there are cores.

New inputs are kept under the build directory; the seeds are tests/fuzz/corpus/NAME/ for the
target fuzz_NAME. Writes the counts for tests/summary.py.
"""
import argparse
import concurrent.futures
import json
import os
import re
import shlex
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def fuzz(target, options):
    """-> (line of figures, None) or (everything it printed, file of the finding or reason)"""
    name = os.path.basename(target)
    short = name.removeprefix("fuzz_")
    corpus = os.path.join(options.work, "corpus", short)
    findings = os.path.join(options.work, "findings", "")
    seeds = os.path.join(HERE, "fuzz", "corpus", short)
    os.makedirs(corpus, exist_ok=True)
    os.makedirs(findings, exist_ok=True)
    command = shlex.split(options.wrapper) + [
        target, f"-max_total_time={options.seconds}", "-timeout=10", "-rss_limit_mb=2048",
        "-print_final_stats=1", f"-artifact_prefix={findings}{short}-", corpus]
    if os.path.isdir(seeds):
        command.append(seeds)
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=options.seconds + 120, check=False)
    except subprocess.TimeoutExpired as late:
        return (late.stdout or b"").decode(errors="replace"), "it does not end"
    # Without the diary of what it covered.
    output = re.sub(r"^(#\d+\t|INFO: |stat::).*\n", "", done.stdout.decode(errors="replace"),
                    flags=re.MULTILINE)
    if done.returncode:
        finding = re.search(r"Test unit written to (\S+)", output)
        return output, finding[1] if finding else f"exit code {done.returncode}"
    runs = re.search(rb"stat::number_of_executed_units: (\d+)", done.stdout)
    return f"{int(runs[1]) if runs else 0:,} inputs", None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--match", default="", help="only targets whose name has this in it")
    parser.add_argument("--wrapper", default="", help="command that starts each target")
    parser.add_argument("--work", required=True, help="directory for the corpus and findings")
    parser.add_argument("--results", required=True, help="file for the counts")
    parser.add_argument("targets", nargs="*")
    options = parser.parse_args()

    targets = [path for path in options.targets if options.match in os.path.basename(path)]
    failures = []
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        runs = {path: pool.submit(fuzz, path, options) for path in targets}
        for path, future in runs.items():
            name = os.path.basename(path)
            text, finding = future.result()
            if finding is None:
                print(f"  ok      {name:32} {text}", flush=True)
                continue
            print(f"  FAILED  {name:32} {finding}\n{text}", flush=True)
            again = f"{path} {finding}" if os.path.exists(finding) else f"make fuzz T={name}"
            failures.append({"what": f"{name}: {finding}", "rerun": again})
    with open(options.results, "w", encoding="utf-8") as file:
        json.dump({"name": "fuzz", "passed": len(targets) - len(failures),
                   "failed": len(failures), "failures": failures}, file)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
