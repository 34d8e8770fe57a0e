"""Notebooks: the example is executed from its first cell to its last, and a kernel is driven."""

import queue
import time

import jupyter_client
import nbclient
import nbformat
import pytest
from harness import ROOT

NOTEBOOK = ROOT / "examples" / "notebook" / "chares.ipynb"
SECONDS = 60


@pytest.fixture(autouse=True)
def jupyter_at_home(no_leftovers, monkeypatch):
    """What Jupyter and IPython write, they write into the directory of the test."""
    for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(variable, str(no_leftovers / variable.lower()))
    monkeypatch.setenv("XDG_STATE_HOME", str(no_leftovers))
    monkeypatch.delenv("C4P_STATE_DIR", raising=False)


def outputs_of(cell):
    """The text that a cell has shown: its streams by name, and its result."""
    shown = {}
    for output in cell.outputs:
        if output.output_type == "stream":
            shown[output.name] = shown.get(output.name, "") + output.text
        elif output.output_type in ("execute_result", "display_data"):
            shown["result"] = output.data["text/plain"]
    return shown


def test_the_example_notebook_runs_from_its_first_cell_to_its_last():
    notebook = nbformat.read(NOTEBOOK, 4)
    nbclient.NotebookClient(notebook, timeout=SECONDS, kernel_name="python3").execute()
    shown = [outputs_of(cell) for cell in notebook.cells if cell.cell_type == "code"]
    connect, array, again, failure, answers, prints, _ = shown
    assert "embedded" in connect["stderr"]
    assert "2 PEs" in connect["result"]
    assert array["stdout"].startswith("pi is about 3.14")
    assert "by random points 3.14" in again["stdout"] and "on a grid 3.14" in again["stdout"]
    assert "in divide" in failure["stdout"] and "PE 1:" in failure["stdout"]
    assert "a / b" in failure["stdout"], "the source of the cell is in the remote traceback"
    assert answers["result"] == "[0.0, 0.5, 1.0, 1.5, 2.0]"
    assert sorted(prints["stdout"].splitlines()) == ["hello from PE 0", "hello from PE 1"]


def test_the_example_notebook_is_kept_without_outputs():
    for cell in nbformat.read(NOTEBOOK, 4).cells:
        assert not cell.get("outputs") and not cell.get("execution_count")


class Kernel:
    """A kernel that executes cells, one after the other."""

    def __init__(self):
        self.manager, self.client = jupyter_client.manager.start_new_kernel(
            startup_timeout=SECONDS, kernel_name="python3"
        )

    def begin(self, code):
        self.streams, self.idle, self.error = {}, False, None
        self.request = self.client.execute(code, store_history=False, stop_on_error=False)

    def listen(self, until):
        """Take what the kernel shows until a condition holds."""
        deadline = time.monotonic() + SECONDS
        while not until() and time.monotonic() < deadline:
            try:
                message = self.client.get_iopub_msg(timeout=0.1)
            except queue.Empty:
                continue
            content = message["content"]
            if message["msg_type"] == "stream":
                name = content["name"]
                self.streams[name] = self.streams.get(name, "") + content["text"]
            elif message["msg_type"] == "error":
                self.error = "\n".join(content["traceback"])
            elif message["msg_type"] == "status" and content["execution_state"] == "idle":
                if message["parent_header"].get("msg_id") == self.request:
                    self.idle = True
        assert until(), f"it only said {self.streams} {self.error}"

    def shows(self, text, stream="stdout"):
        self.listen(lambda: text in self.streams.get(stream, ""))

    def run(self, code):
        """Execute a cell to its successful end; what it printed."""
        self.begin(code)
        self.listen(lambda: self.idle)
        assert self.error is None, self.error
        return self.streams.get("stdout", "")

    def fails(self, code):
        """Execute a cell that raises; its traceback."""
        self.begin(code)
        self.listen(lambda: self.idle)
        assert self.error is not None
        return self.error

    def interrupt(self):
        self.manager.interrupt_kernel()

    def end(self):
        self.client.stop_channels()
        if self.manager.is_alive():
            self.manager.shutdown_kernel()


@pytest.fixture
def kernel():
    started = []

    def begin():
        started.append(Kernel())
        return started[-1]

    yield begin
    for one in started:
        one.end()


CONNECT = """
import time
import c4py
from c4py import Chare, charm, coro
session = c4py.connect(pes=2, quiet=True)

class Worker(Chare):
    @coro
    def stay(self):
        print('waiting on', charm.myPe())
        c4py.Future().get()
    def fail(self):
        raise ValueError('over there')
    def add(self, a, b):
        return a + b

workers = session.Group(Worker)
"""


def test_an_interrupted_cell_leaves_the_session_usable(kernel):
    notebook = kernel()
    notebook.run(CONNECT)
    for _ in range(3):
        notebook.begin("workers[1].stay(ret=True).get()")
        notebook.shows("waiting on 1")
        notebook.interrupt()
        notebook.listen(lambda: notebook.idle)
        assert "KeyboardInterrupt" in notebook.error
        assert notebook.run("print(workers.add(1, 2, ret=True).get())") == "[3, 3]\n"
    notebook.begin("await workers[1].stay(ret=True)")
    notebook.shows("waiting on 1")
    notebook.interrupt()
    notebook.listen(lambda: notebook.idle)
    assert notebook.error is not None
    assert notebook.run("print(await workers[1].add(1, 2, ret=True))") == "3\n"


def test_a_remote_exception_is_shown_with_its_remote_traceback(kernel):
    notebook = kernel()
    notebook.run(CONNECT)
    error = notebook.fails("workers[1].fail(ret=True).get()")
    assert "over there" in error and "PE 1:" in error and "in fail" in error
    error = notebook.fails("await workers[1].fail(ret=True)")
    assert "over there" in error and "PE 1:" in error and "in fail" in error


def test_callbacks_run_between_two_cells(kernel):
    notebook = kernel()
    notebook.run(CONNECT)
    notebook.run("""
class Caller(Chare):
    def call(self, target):
        time.sleep(0.2)
        target(charm.myPe())
caller = session.Chare(Caller, onPE=1)
""")
    notebook.begin("caller.call(session.callback(lambda pe: print('called from', pe)))")
    notebook.shows("called from 1")


def test_a_kernel_that_is_shut_down_or_killed_leaves_nothing(kernel):
    for killed in (False, True):
        notebook = kernel()
        notebook.run(CONNECT)
        notebook.manager.shutdown_kernel(now=killed)
        assert not notebook.manager.is_alive()


def test_the_notebook_is_named_among_the_examples():
    assert "notebook/chares.ipynb" in (ROOT / "examples" / "README.md").read_text()
    assert NOTEBOOK.exists()
