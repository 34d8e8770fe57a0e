"""Adds up what the steps of `make test` wrote, says what failed and how to run just that.

usage: summary.py DIRECTORY [--failed STEP...]

DIRECTORY holds NAME.json of tests/run_unit.py and tests/run_fuzz.py and NAME.xml of pytest. A
step that failed without a failed test in its results, because it could not be built or was
interrupted, counts as one failure.
"""
import glob
import json
import os
import sys
import xml.etree.ElementTree as xml


def read_junit(path):
    """pytest's results in the form of the .json ones."""
    name = os.path.splitext(os.path.basename(path))[0]
    target = {"python": "test-python", "nodes": "test-nodes"}.get(name, name.partition("-")[0])
    passed, failed, skipped, failures = 0, 0, 0, []
    for case in xml.parse(path).getroot().iter("testcase"):
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            failed += 1
            failures.append(node_of(case, f"make {target}"))
        elif "skipped" in kinds:
            skipped += 1
        else:
            passed += 1
    return {"name": name, "passed": passed, "failed": failed, "skipped": skipped,
            "failures": failures}


def node_of(case, target):
    """What failed and how to run it, from a testcase of the xunit1 family.

    Not by its `file`: that is where the function was written, maybe beside the test file.
    """
    parts = (case.get("classname") or case.get("name")).split(".")
    for length in range(len(parts), 0, -1):
        path = "/".join(parts[:length]) + ".py"
        if os.path.exists(path):
            break
    else:
        path, length = case.get("file") or case.get("name"), len(parts)
    if not case.get("classname"):
        return {"what": f"{path} cannot be imported", "rerun": f"{target} T='{path}'"}
    node = "::".join([path, *parts[length:], case.get("name")])
    return {"what": node, "rerun": f"{target} T='{node}'"}


def read_all(directory):
    results = []
    for path in sorted(glob.glob(os.path.join(directory, "*"))):
        if path.endswith(".json"):
            with open(path, encoding="utf-8") as file:
                results.append(json.load(file))
        elif path.endswith(".xml"):
            results.append(read_junit(path))
    return results


def main():
    directory = sys.argv[1]
    broken = sys.argv[sys.argv.index("--failed") + 1:] if "--failed" in sys.argv else []
    results = read_all(directory)
    for step in broken:
        prefix = step.removeprefix("test-")
        if not any(r["failed"] for r in results if r["name"].startswith(prefix)):
            results.append({"name": step, "passed": 0, "failed": 1, "failures": [
                {"what": f"{step} did not come to its end", "rerun": f"make {step}"}]})
    print()
    for result in (r for r in results if r["passed"] + r["failed"] + r.get("skipped", 0)):
        skipped = f", {result['skipped']} skipped" if result.get("skipped") else ""
        print(f"  {result['name']:16} {result['passed']:6} passed, {result['failed']} failed"
              f"{skipped}")
    failures = [failure for result in results for failure in result["failures"]]
    if failures:
        print("\nWhat failed, and how to run just that:")
        for failure in failures:
            print(f"  {failure['what']}\n      {failure['rerun']}")
    passed = sum(result["passed"] for result in results)
    failed = sum(result["failed"] for result in results)
    if passed + failed == 0:
        sys.exit("summary: no test ran; T= matches none")
    print(f"\n{passed} passed, {failed} failed")
    return 1 if failed or broken else 0


if __name__ == "__main__":
    sys.exit(main())
