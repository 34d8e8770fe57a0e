"""Tests of several hosts: what all of them share."""

import contextlib
import pathlib
import shutil
import signal
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "python"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import bed as beds  # noqa: E402
from leftovers import no_leftovers  # noqa: E402,F401


@pytest.fixture(scope="session", autouse=True)
def orderly():
    """Who is told to end (timeout, make) cleans up before, as after Ctrl-C."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def wire(tmp_path_factory):
    """The switch between the hosts, compiled."""
    if beds.possible() is None:
        beds.sweep()
    return beds.build_wire(tmp_path_factory.mktemp("wire"))


@pytest.fixture
def make_bed(no_leftovers, wire):  # noqa: F811
    """Make hosts, and end them after the test: a function from number and names to a Bed."""
    reason = beds.possible()
    if reason:
        pytest.skip(reason)
    made = []

    def make(count, **options):
        directory = tempfile.mkdtemp(prefix="bed-", dir=no_leftovers)
        made.append(beds.Bed(count, directory, wire, **options))
        return made[-1]

    with contextlib.ExitStack() as ends:
        yield make
        for each in made:
            ends.callback(shutil.rmtree, each.directory, ignore_errors=True)
            ends.callback(each.close)


@pytest.fixture
def bed(make_bed):
    """Three hosts, nothing running on them."""
    return make_bed(3)


@pytest.fixture
def cluster(bed):
    """Three hosts that are a cluster, with 2 PEs each."""
    bed.form()
    return bed
