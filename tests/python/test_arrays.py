"""NumPy arrays of every kind of dtype, order, stride and byte order arrive equal at another PE."""

import pytest
from harness import ROOT


@pytest.mark.parametrize("pes", [1, 2, 4])
def test_every_array_arrives_equal_writable_and_private(run_c4py, pes):
    done = run_c4py(
        "run", "-n", pes, ROOT / "tests" / "python" / "arrays_program.py", timeout=240
    )
    assert (done.stdout, done.returncode) == ("arrays: ok\n", 0), done.stderr
