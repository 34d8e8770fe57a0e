"""The smallest test of everything; also run with the sanitizers' builds (make asan, make tsan)."""

import pytest
from harness import ROOT


@pytest.mark.parametrize("pes", [1, 2, 3, 4])
def test_a_program_that_touches_every_part_runs(run_c4py, pes):
    done = run_c4py("run", "-n", pes, ROOT / "tests" / "python" / "smoke.py", timeout=240)
    assert (done.stdout, done.returncode) == ("smoke: ok\n", 0), done.stderr
