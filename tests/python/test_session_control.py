"""c4py._control: libc4p for Python."""

import os
import socket
import sys
import threading

import pytest
from harness import wait_until

control = pytest.importorskip("c4py._control")


@pytest.fixture
def client(start_daemon):
    one = control.Client(start_daemon(pes=2).state_dir, "test", 10)
    yield one
    one.close()


def events_of(client, request, last):
    """Events until one of the kind `last`, which answers the request or is about its job."""
    found = []

    def there():
        while (event := client.next()) is not None:
            found.append(event)
            if event["kind"] == last and event["request"] in (request, 0):
                return True
        client.wait(0.05)
        return False

    assert wait_until(there), found
    return found


def submit(client, program, **more):
    environment = [f"{name}={value}" for name, value in os.environ.items()]
    argv = [sys.executable, "-c", program]
    return client.submit(argv, environment, b"/tmp", pes=1, **more)


def test_a_job_is_submitted_followed_and_ends(client):
    request = submit(client, "print('hello'); raise SystemExit(3)", name="greeting", follow=True)
    events = events_of(client, request, "ended")
    kinds = [event["kind"] for event in events]
    assert kinds[0] == "accepted" and events[0]["request"] == request
    (output,) = [event for event in events if event["kind"] == "output"]
    assert (output["pe"], output["stream"], output["data"]) == (0, "stdout", b"hello\n")
    client.output_done(output["job_id"], output["sequence"])
    assert (events[-1]["state"], events[-1]["exit_code"]) == ("failed", 3)

    (job, done) = events_of(client, client.find("greeting"), "done")
    info = job["info"]
    assert info["id_text"] == control.id_text(info["id"]) and info["name"] == "greeting"
    assert (info["state"], info["exit_code"], info["pes"]) == ("failed", 3, 1)
    assert info["argv"][0] == sys.executable and info["cwd"] == "/tmp"
    events = events_of(client, client.list(ended=True), "done")
    assert [event["info"]["id"] for event in events[:-1]] == [info["id"]]


def test_a_job_is_cancelled(client):
    request = submit(client, "import time; time.sleep(1000)", follow=True)
    (job,) = {event["job_id"] for event in events_of(client, request, "state")}
    assert job != 0
    client.cancel(job, kill=True)
    assert events_of(client, None, "ended")[-1]["state"] == "cancelled"


def test_the_daemon_tells_how_it_is(client):
    (event,) = events_of(client, client.status(), "status")
    status = event["status"]
    assert (status["pes"], status["clients"]) == (2, 1)
    assert status["troubles"] == [] and status["pid"] > 1
    assert client.host == socket.gethostname() == status["host"]
    assert client.fd >= 0


def test_what_the_daemon_refuses_comes_as_a_sentence(client):
    for request in (client.find("nothing"), client.end(12345), client.follow(12345)):
        (event,) = events_of(client, request, "refused")
        assert event["text"]
    with pytest.raises(OSError, match="session|job"):
        client.segment(12345)


def test_arguments_of_the_wrong_kind_are_refused(client):
    for call in (
        lambda: client.submit([1], [], "/"),
        lambda: client.submit(["a\0b"], [], "/"),
        lambda: client.submit(5, [], "/"),
        lambda: client.find(None),
        lambda: client.wait("soon"),
        lambda: client.wait(-1),
        lambda: client.wait(float("nan")),
        lambda: client.follow("job"),
        lambda: client.submit(["x" * (2 << 20)], [], "/"),
    ):
        with pytest.raises((TypeError, ValueError)):
            call()
    assert client.next() is None and client.wait(0) is False


def test_a_closed_client_says_so(client):
    client.close()
    client.close()
    assert client.closed
    for call in (client.next, client.wait, client.status, lambda: client.fd, lambda: client.host):
        with pytest.raises(ValueError, match="closed"):
            call()


def test_a_client_is_used_by_one_thread_at_a_time(client):
    waiting = threading.Thread(target=client.wait, args=[1])
    waiting.start()
    complaints = []

    def complained():
        try:
            client.next()
        except RuntimeError as error:
            complaints.append(str(error))
        return complaints

    assert wait_until(complained)
    assert "one thread at a time" in complaints[0]
    waiting.join()
    assert client.next() is None


def test_nobody_at_home_is_told_apart_from_other_trouble(tmp_path):
    with pytest.raises(FileNotFoundError, match="c4pd start"):
        control.Client(tmp_path / "nowhere")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.close()
    with pytest.raises(OSError) as caught:
        control.Client.adopt(ours.detach(), "test", 1)
    assert caught.value.strerror
