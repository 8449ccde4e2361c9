"""The STINS sender on real sockets, and as the program that people start."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import zmq

from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.detectors.simulation.stins_sender import StinsOptions
from maxdaq_tango.detectors.simulation.stins_server import StinsServer, main
from maxdaq_tango.wire.stins import StinsDecoder

PROGRAM = "maxdaq_tango.detectors.simulation.stins_server"
API = "/simulator/api/"


@pytest.fixture
def server() -> Iterator[StinsServer]:
    with StinsServer(StinsOptions(rows=48, columns=64)) as running:
        yield running
    assert [t.name for t in threading.enumerate() if t.name.startswith(("stins-sim", "sim-thief"))] == []


@pytest.fixture
def http(server: StinsServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=20) as client:
        yield client


@pytest.fixture
def pull(server: StinsServer) -> Iterator[Any]:
    context: zmq.Context[Any] = zmq.Context()
    sock = context.socket(zmq.PULL)
    sock.rcvtimeo = 5000
    sock.connect(f"tcp://127.0.0.1:{server.stream_port}")
    yield sock
    context.destroy(linger=0)


def take(sock: Any, count: int) -> list[Any]:
    return [StinsDecoder().decode(sock.recv_multipart()) for _ in range(count)]


def account_when_over(http: httpx.Client, series: int) -> dict[str, Any]:
    for _ in range(500):
        account: dict[str, Any] = http.get(API + "account", params={"series": series}).json()
        if account["finished"] and account["messages_waiting"] == 0:
            return account
        threading.Event().wait(0.01)
    raise AssertionError(account)


def test_a_series_leaves_and_the_account_tells_it(http: httpx.Client, pull: Any) -> None:
    assert http.post(API + "series", json={"frames": 4}).json() == {"series": 1}
    assert [event.msg_number for event in take(pull, 6)] == [0, 1, 2, 3, 4, 5]
    account = account_when_over(http, 1)
    assert (account["intact"], account["headers"], account["ends"]) == ([[0, 3]], 1, 1)
    status = http.get(API + "status").json()
    assert (status["series"], status["running"], status["frames_made"]) == (1, False, 4)


def test_faults_are_set_at_run_time_and_count_from_the_next_series(http: httpx.Client, pull: Any) -> None:
    assert http.post(API + "faults", json={"drop_frames": [1], "missing_end": True}).status_code == 200
    assert http.get(API + "faults").json()["drop_frames"] == [1]
    http.post(API + "series", json={"frames": 3})
    take(pull, 3)
    account = account_when_over(http, 1)
    assert (account["intact"], account["dropped"], account["ends"]) == ([[0, 0], [2, 2]], [[1, 1]], 0)


def test_a_second_series_is_refused_while_one_is_sent_and_stop_ends_it(http: httpx.Client, pull: Any) -> None:
    http.post(API + "series", json={"frames": 1000, "rate_hz": 0.1})
    take(pull, 2)
    refused = http.post(API + "series", json={"frames": 1})
    assert refused.status_code == 409
    assert "stop" in refused.text
    assert http.post(API + "stop").status_code == 200
    assert take(pull, 1)[0].msg_number == 2
    account = account_when_over(http, 1)
    assert (account["frames_made"], account["ends"]) == (1, 1)


def test_a_sender_that_never_starts_is_ended_by_stop(http: httpx.Client, pull: Any) -> None:
    http.post(API + "faults", json={"never_start": True})
    http.post(API + "series", json={"frames": 3})
    take(pull, 1)
    http.post(API + "stop")
    assert take(pull, 1)[0].msg_number == 1
    assert account_when_over(http, 1)["frames_made"] == 0


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "told"),
    [
        ("POST", "series", b'{"frames": -1}', 400, "0 to"),
        ("POST", "series", b'{"frame": 1}', 400, "unknown field `frame`"),
        ("POST", "series", b"x", 400, "JSON"),
        ("POST", "faults", b'{"dorp": 1}', 400, "dorp"),
        ("GET", "account?series=x", b"", 400, "a number from 1"),
        ("GET", "account?series=4", b"", 400, "none yet"),
        ("GET", "nothing", b"", 404, "POST series"),
        ("GET", "../else", b"", 404, "simulator/api"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(
    http: httpx.Client, method: str, path: str, body: bytes, status: int, told: str
) -> None:
    answer = http.request(method, API + path, content=body)
    assert (answer.status_code, told in answer.text) == (status, True), answer.text


def test_it_closes_while_nobody_reads_and_twice(server: StinsServer, http: httpx.Client) -> None:
    http.post(API + "series", json={"frames": 1000})
    server.close()
    server.close()


def test_the_program_tells_its_ports_and_ends_with_its_parent() -> None:
    command = [sys.executable, "-m", PROGRAM, "--rows", "48", "--columns", "64", "--fault", "drop=0.5"]
    with subprocess.Popen(
        [*command, "--exit-with-parent"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        said = json.loads(process.stdout.readline())
        faults = httpx.get(f"http://127.0.0.1:{said['http']}{API}faults").json()
        assert faults["drop_fraction"] == Faults.parse(["drop=0.5"]).drop_fraction
        process.stdin.close()
        assert process.wait(10) == 0


def test_the_program_refuses_what_cannot_be(capsys: pytest.CaptureFixture[str], server: StinsServer) -> None:
    with pytest.raises(SystemExit):
        main(["--fault", "dorp=0.1"])
    assert "did you mean drop" in capsys.readouterr().err
    assert main(["--stream-port", str(server.stream_port)]) == 1
    assert "cannot serve" in capsys.readouterr().err
