"""The sockets before the simulated Eiger: real HTTP, real ZeroMQ, and the program that people start."""

from __future__ import annotations

import json
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import zmq

from maxdaq_tango.detectors.eiger.simulator import SimulatorOptions
from maxdaq_tango.detectors.eiger.simulator_server import EigerSimulatorServer, main
from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.detectors.simulation.pattern import expected_frame
from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.kernels.compression import decode_pixels
from maxdaq_tango.wire.dectris_v1 import DectrisV1Decoder
from maxdaq_tango.wire.dectris_v2 import DectrisV2Decoder

API = "/detector/api/1.8.0/"
PROGRAM = "maxdaq_tango.detectors.eiger.simulator_server"
OPTIONS = SimulatorOptions(rows=64, columns=48, initialise_time_s=0.0)


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = [thread.name for thread in set(threading.enumerate()) - before if thread.is_alive()]
    assert not left


@pytest.fixture
def server() -> Iterator[EigerSimulatorServer]:
    with EigerSimulatorServer(OPTIONS) as running:
        yield running


@pytest.fixture
def http(server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=20) as client:
        yield client


def put(client: httpx.Client, path: str, value=None) -> httpx.Response:
    answer = client.put(path, json={} if value is None else {"value": value})
    assert answer.status_code == 200, answer.text
    return answer


def prepare(client: httpx.Client, *, frames: int = 5, stream_format: str = "legacy", **settings) -> None:
    put(client, API + "command/initialize")
    client.put("/stream/api/1.8.0/config", json={"mode": {"value": "enabled"}, "format": {"value": stream_format}})
    for key, value in {"count_time": 0.002, "frame_time": 0.004, "nimages": frames, **settings}.items():
        put(client, API + "config/" + key, value)


@pytest.fixture
def pull() -> Iterator:
    context = zmq.Context()
    sockets = []

    def connect(port: int) -> zmq.Socket:
        sock = context.socket(zmq.PULL)
        sock.linger = 0
        sock.rcvtimeo = 5000
        sock.connect(f"tcp://127.0.0.1:{port}")
        sockets.append(sock)
        return sock

    yield connect
    for sock in sockets:
        sock.close()
    context.term()


@pytest.mark.parametrize("stream_format", ["legacy", "cbor"])
def test_a_series_from_arm_to_the_last_message(server, http, pull, stream_format):
    receiver = pull(server.stream_port if stream_format == "legacy" else server.cbor_port)
    prepare(http, stream_format=stream_format)
    assert put(http, API + "command/arm").json() == {"sequence id": 1}
    begun = time.monotonic()
    put(http, API + "command/trigger")
    assert time.monotonic() - begun >= 0.018
    assert http.get(API + "status/state").json()["value"] == "idle"
    decoder = DectrisV1Decoder() if stream_format == "legacy" else DectrisV2Decoder()
    events = [decoder.decode(receiver.recv_multipart()) for _ in range(7)]
    for number, frame in enumerate(events[1:6]):
        pixels = decode_pixels(frame.format, frame.blobs).reshape(64, 48)
        assert (pixels == expected_frame(1, number, (64, 48), "uint16")).all()


def test_without_a_receiver_control_goes_on_and_nothing_is_lost(server, http, pull):
    prepare(http)
    put(http, API + "command/arm")
    put(http, API + "command/trigger")
    begun = time.monotonic()
    for _ in range(20):
        assert http.get(API + "status/state").json()["value"] == "idle"
    assert time.monotonic() - begun < 2
    receiver = pull(server.stream_port)
    assert len([receiver.recv_multipart() for _ in range(7)]) == 7


def test_an_unread_port_does_not_hold_up_the_other(server, http, pull):
    prepare(http)
    put(http, API + "command/arm")
    put(http, API + "command/trigger")
    put(http, "/stream/api/1.8.0/config/format", "cbor")
    receiver = pull(server.cbor_port)
    put(http, API + "command/arm")
    put(http, API + "command/trigger")
    assert len([receiver.recv() for _ in range(7)]) == 7


def test_a_queue_that_is_full_drops_and_counts(pull):
    with (
        EigerSimulatorServer(SimulatorOptions(rows=64, columns=48, initialise_time_s=0, queue_bytes=20_000)) as server,
        httpx.Client(base_url=server.url, timeout=20) as http,
    ):
        prepare(http, frames=200, count_time=1e-4, frame_time=2e-4)
        put(http, API + "command/arm")
        put(http, API + "command/trigger")
        dropped = http.get("/stream/api/1.8.0/status/dropped").json()["value"]
        assert dropped > 50
        receiver, seen = pull(server.stream_port), 0
        while b"dseries_end" not in receiver.recv_multipart()[0]:
            seen += 1
        assert seen - 1 + dropped == 200


@pytest.mark.parametrize("command", ["abort", "cancel", "disarm"])
def test_a_blocking_trigger_is_ended_from_another_connection(server, http, pull, command):
    receiver = pull(server.stream_port)
    prepare(http, frames=100_000)
    put(http, API + "command/arm")
    with ThreadPoolExecutor(1) as pool:
        trigger = pool.submit(httpx.put, server.url + API + "command/trigger", json={}, timeout=20)
        for _ in range(5):
            receiver.recv_multipart()
        begun = time.monotonic()
        assert put(http, API + "command/" + command).json() == {"sequence id": 1}
        assert trigger.result(5).status_code == 200
        assert time.monotonic() - begun < 1
    while b"dseries_end" not in receiver.recv_multipart()[0]:
        pass
    assert http.get(API + "status/state").json()["value"] == "idle"


def test_stopping_the_server_answers_those_who_wait(server, http):
    prepare(http, frames=100_000)
    put(http, API + "command/arm")
    with ThreadPoolExecutor(1) as pool:
        trigger = pool.submit(httpx.put, server.url + API + "command/trigger", json={}, timeout=20)
        while http.get(API + "status/state").json()["value"] != "acquire":
            pass
        begun = time.monotonic()
        server.close()
        assert time.monotonic() - begun < 3
        assert trigger.exception(5) is not None or trigger.result().status_code == 503
    server.close()  # twice does no harm


def test_requests_are_quick(http):
    put(http, API + "command/initialize")
    begun = time.perf_counter()
    for _ in range(100):
        http.get(API + "config/count_time")
    assert (time.perf_counter() - begun) / 100 < 0.010  # 0.4 ms measured; Nagle's delay would make it 40 ms


def test_many_clients_at_once_are_served(server, http):
    put(http, API + "command/initialize")
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: httpx.get(server.url + API + "config/nimages").status_code, range(64)))
    assert answers == [200] * 64


def talk(server: EigerSimulatorServer, text: bytes) -> bytes:
    with socket.create_connection((server.host, server.http_port), timeout=5) as sock:
        sock.sendall(text)
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := sock.recv(4096):
            answer += chunk
        return answer


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (b"PUT /detector/api/1.8.0/config/nimages HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"411"),
        (b"PUT /detector/api/1.8.0/config/nimages HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"411"),
        (b"PUT /detector/api/1.8.0/config/nimages HTTP/1.1\r\nContent-Length: -5\r\n\r\n", b"411"),
        (b"BREW /detector/api/1.8.0/config/nimages HTTP/1.1\r\n\r\n", b"501"),
        (b"hello\r\n\r\n", b"400"),
        (b"GET /detector/api/1.8.0/config/%ff HTTP/1.1\r\n\r\n", b"404"),
    ],
)
def test_bad_http_is_answered_and_hurts_nobody(server, http, request_text, status):
    assert status in talk(server, request_text).split(b"\r\n")[0]
    assert http.get("/detector/api/version").status_code == 200


def test_a_body_that_breaks_off_changes_nothing(server, http):
    put(http, API + "command/initialize")
    assert (
        talk(server, b"PUT " + API.encode() + b'config/nimages HTTP/1.1\r\nContent-Length: 99\r\n\r\n{"value": 5}')
        == b""
    )
    assert http.get(API + "config/nimages").json()["value"] == 1


def test_head_has_no_body(http):
    answer = http.head("/detector/api/version")
    assert answer.status_code == 200
    assert answer.content == b""
    assert http.get("/detector/api/version").json()["value"] == "1.8.0"  # the connection is still in step


def test_the_control_address_can_go_and_come_back(server, http):
    http.post("/simulator/api/faults", json={"offline_s": 0.4}).raise_for_status()
    deadline = time.monotonic() + 5
    refused = False
    while time.monotonic() < deadline and not refused:
        try:
            httpx.get(server.url + "/detector/api/version", timeout=1)
        except httpx.TransportError:
            refused = True
    assert refused
    answered = False
    while time.monotonic() < deadline and not answered:
        try:
            answered = httpx.get(server.url + "/detector/api/version", timeout=1).status_code == 200
        except httpx.TransportError:
            continue
    assert answered


def test_a_frame_that_cannot_be_made_ends_in_error_and_nobody_waits_for_ever(server, http, capfd, monkeypatch):
    prepare(http)
    put(http, API + "command/arm")

    def broken(*_arguments: object) -> None:
        raise MemoryError("no room for a frame")

    monkeypatch.setattr(server.simulator, "perform", broken)
    answer = http.put(API + "command/trigger", json={})
    assert answer.status_code == 400
    assert "no room" in answer.text
    assert http.get(API + "status/state").json()["value"] == "error"
    assert "MemoryError" in capfd.readouterr().err


def test_a_fault_of_the_simulator_itself_is_said_to_both_sides(server, http, capfd, monkeypatch):
    monkeypatch.setattr(server.simulator, "handle", lambda *_arguments: 1 / 0)
    answer = http.get("/detector/api/version")
    assert answer.status_code == 500
    assert "ZeroDivisionError" in answer.text
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_edges_come_in_by_http(server, http, pull):
    receiver = pull(server.stream_port)
    prepare(http, frames=2, ntrigger=3, trigger_mode="exts")
    put(http, API + "command/arm")
    assert http.post("/simulator/api/edge?count=3").json() == {"taken": 3, "ignored": 0}
    assert len([receiver.recv_multipart() for _ in range(8)]) == 8


def test_a_taken_port_is_an_error_and_leaves_nothing(server):
    with pytest.raises((OSError, zmq.ZMQError)):
        EigerSimulatorServer(OPTIONS, stream_port=server.stream_port).__enter__()
    with pytest.raises(OSError), EigerSimulatorServer(OPTIONS, http_port=server.http_port):
        pass


@pytest.mark.parametrize(
    "bad", [{"model": "merlin"}, {"api_version": "1.7.0"}, {"rows": 0}, {"columns": 99999}, {"bit_depth": 12}]
)
def test_impossible_detectors_are_refused(bad):
    with pytest.raises(ConfigurationError, match="Accepted"):
        SimulatorOptions(**bad)


# --- the program -----------------------------------------------------------------------------------------------------


def start(*arguments: str) -> tuple[subprocess.Popen[bytes], dict]:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "maxdaq_tango.detectors.eiger.simulator_server",
            "--rows",
            "32",
            "--columns",
            "32",
            *arguments,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], 20)
    line = process.stdout.readline() if readable else b""
    if not line:
        process.kill()
        raise AssertionError(process.communicate()[1].decode())
    return process, json.loads(line)


def finish(process: subprocess.Popen[bytes]) -> tuple[int, bytes, bytes]:
    try:
        out, err = process.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, out, err


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_the_program_tells_its_ports_once_and_ends_on_a_signal(how):
    process, ready = start("--model", "EIGER", "--api", "1.6.0")
    assert set(ready) == {"http", "stream", "cbor", "host", "api", "model"}
    answer = httpx.get(f"http://127.0.0.1:{ready['http']}/detector/api/version")
    assert answer.json()["value"] == "1.6.0"
    process.send_signal(how)
    assert finish(process) == (0, b"", b"")


def test_the_program_ends_with_its_parent_if_asked():
    process, _ = start("--exit-with-parent")
    assert process.stdin is not None
    process.stdin.close()
    process.stdin = None
    assert finish(process) == (0, b"", b"")


def test_the_program_refuses_in_a_sentence(capsys, server):
    with pytest.raises(SystemExit):
        main(["--rows", "0"])
    assert "Accepted" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--model", "merlin"])
    process = subprocess.run(
        [sys.executable, "-m", PROGRAM, "--port", str(server.http_port)],
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert process.returncode == 1
    assert b"cannot serve" in process.stderr
    assert process.stdout == b""


# --- faults that only a socket can have ----------------------------------------------------------------------------


def take(sock, count: int) -> list:
    return [DectrisV1Decoder().decode(sock.recv_multipart()) for _ in range(count)]


def account_when_sent(client: httpx.Client, wanted) -> dict:
    for _ in range(500):
        account = client.get("/simulator/api/account").json()
        if wanted(account):
            return account
        threading.Event().wait(0.01)
    raise AssertionError(account)


def test_a_sender_that_vanishes_comes_back_on_the_same_port_and_goes_on(http, server, pull):
    prepare(http, frames=5)
    assert http.post("/simulator/api/faults", json={"vanish_at": 2, "vanish_s": 0.2}).status_code == 200
    sock = pull(server.stream_port)
    put(http, API + "command/arm")
    http.put(API + "command/trigger")
    events = take(sock, 7)
    assert [event.frame_number for event in events[1:-1]] == [0, 1, 2, 3, 4]
    account = account_when_sent(http, lambda told: told["ends"] == 1)
    assert account["intact"] == [[0, 4]]


def test_a_thief_takes_its_share_and_the_account_says_which(http, server, pull):
    prepare(http, frames=20)
    assert http.post("/simulator/api/faults", json={"thief_at": 4}).status_code == 200
    sock = pull(server.stream_port)
    put(http, API + "command/arm")
    http.put(API + "command/trigger")
    account_when_sent(http, lambda told: told["finished"] and told["messages_waiting"] == 0)
    ours = set()
    while sock.poll(1500):
        ours |= {getattr(event, "frame_number", None) for event in take(sock, 1)}
    account = http.get("/simulator/api/account").json()
    stolen = {n for first, last in account["stolen"] for n in range(first, last + 1)}
    assert account["intact"] == [[0, 19]]
    assert stolen
    assert {0, 1, 2, 3} <= ours
    assert ours - {None} == set(range(20)) - stolen


def test_the_program_takes_faults_and_refuses_those_there_are_not(capsys):
    with pytest.raises(SystemExit):
        main(["--fault", "dorp=0.1"])
    assert "did you mean drop" in capsys.readouterr().err
    with EigerSimulatorServer(OPTIONS, faults=Faults.parse(["drop=0.5"])) as server:
        assert httpx.get(server.url + "/simulator/api/faults").json()["drop_fraction"] == 0.5


def test_a_simulator_that_is_closed_while_it_is_away_lets_go(http, server, pull):
    prepare(http, frames=3)
    http.post("/simulator/api/faults", json={"vanish_at": 0, "vanish_s": 600})
    sock = pull(server.stream_port)
    put(http, API + "command/arm")
    http.put(API + "command/trigger")
    assert take(sock, 1)
    server.close()
