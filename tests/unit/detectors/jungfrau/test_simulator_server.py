"""The simulated Jungfrau as a program: its control over HTTP, its ports, and what it says when it cannot start."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from typing import Any

import pytest
import zmq

from maxdaq_tango.detectors.jungfrau.protocol import RunStatus
from maxdaq_tango.detectors.jungfrau.simulator_ports import Ports
from maxdaq_tango.detectors.jungfrau.simulator_server import JungfrauSimulatorServer, main
from maxdaq_tango.detectors.jungfrau.simulator_stream import JungfrauOptions
from maxdaq_tango.model import ModuleEnd, ModuleFrame
from maxdaq_tango.testing.driver_contract import wait_for
from maxdaq_tango.wire.marked import mark
from maxdaq_tango.wire.sls_json import SlsJsonDecoder


def ask(simulated: Any, path: str, body: bytes | None = None) -> tuple[int, str]:
    method = "GET" if body is None else "POST"
    request = urllib.request.Request(f"http://{simulated.host}{path}", data=body, method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.parametrize(
    ("path", "body", "status", "told"),
    [
        ("/slsdet/get", b'{"name": "colour"}', 404, "colour"),
        ("/slsdet/set", b'{"name": "colour", "value": 1}', 404, "colour"),
        ("/slsdet/call", b'{"name": "dance"}', 404, "dance"),
        ("/slsdet/sing", b'{"name": "exptime"}', 404, "get, set, call"),
        ("/slsdet/get", b"exptime", 400, "malformed"),
        ("/slsdet/set", b'{"name": "exptime", "value": "long"}', 400, "not supported"),
        ("/slsdet/set", b'{"name": "highvoltage", "value": 10}', 409, "60 - 200"),
        ("/simulator/api/nothing", None, 404, "edge, beam, faults"),
        ("/simulator/api/account?series=x", None, 400, "a number from 1"),
        ("/simulator/api/account?series=9999", None, 400, "9999"),
        ("/simulator/api/faults", b'{"thief_at": 3}', 400, "PUB gives every subscriber"),
        ("/simulator/api/faults", b'{"drop_fraction": 2}', 400, "0 to 1"),
        ("/simulator/api/edge?count=many", b"", 400, "many"),
    ],
)
def test_what_it_cannot_do_is_refused_with_the_reason(
    simulated: Any, path: str, body: bytes | None, status: int, told: str
) -> None:
    found, text = ask(simulated, path, body)
    assert (found, told in text) == (status, True), text


def test_faults_and_status_can_be_read(simulated: Any) -> None:
    simulated.post("faults", drop_frames=[3], silent_port=1)
    faults = simulated.get("faults")
    assert (faults["drop_frames"], faults["silent_port"], faults["packet_loss_count"]) == ([3], 1, 16)
    simulated.post("faults")
    assert simulated.get("faults")["silent_port"] is None
    assert simulated.get("status")["options"]["interfaces"] == 2
    assert simulated.post("beam?on=0") == {"beam": False}
    assert simulated.post("beam?on=1") == {"beam": True}
    assert simulated.post("edge?count=3") == {"taken": 0}


def test_an_outage_that_was_asked_for_at_start_begins_there_and_ends(start: Any) -> None:
    simulated = start("--fault", "offline_s=1.5")
    with pytest.raises(OSError, match=r"refused|reset"):
        ask(simulated, "/simulator/api/status")

    def answers() -> bool:
        try:
            return ask(simulated, "/simulator/api/status")[0] == 200
        except OSError:
            return False

    wait_for("an answer", answers)
    assert simulated.get("faults")["offline_s"] == 1.5


def test_the_stream_is_what_the_decoder_reads_on_every_port_of_every_module() -> None:
    options = JungfrauOptions(modules=2, interfaces=2, rows=8, columns=16)
    context: zmq.Context[Any] = zmq.Context()
    with JungfrauSimulatorServer(options) as server:
        assert server.simulator.values["rx_zmqport"][0] == server.stream_port
        sockets = []
        for first in server.simulator.values["rx_zmqport"]:
            for interface in range(2):
                receiver = context.socket(zmq.SUB)
                monitor = receiver.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
                receiver.connect(f"tcp://127.0.0.1:{first + interface}")
                assert monitor.poll(5000)
                receiver.disable_monitor()
                monitor.close()
                receiver.subscribe(b"")
                sockets.append(receiver)

        class There:
            host = f"127.0.0.1:{server.http_port}"

        def call(verb: str, **body: Any) -> None:
            assert ask(There, f"/slsdet/{verb}", json.dumps(body).encode())[0] == 200

        for name, value in {"powerchip": True, "rx_zmqstream": True, "rx_zmqfreq": 1, "period": 0.01}.items():
            call("set", name=name, value=value)
        events: list[list[Any]] = [[] for _ in sockets]
        decoder = SlsJsonDecoder()
        # What is published before a subscription has arrived is lost: series are sent until one comes whole.
        for _ in range(100):
            call("call", name="rx_start")
            call("call", name="start")
            call("call", name="stop")
            call("call", name="rx_stop")
            for port, receiver in enumerate(sockets):
                while receiver.poll(20):
                    events[port].append(decoder.decode([mark(port), *receiver.recv_multipart()]))
            if all(events):
                break
        call("call", name="rx_start")
        call("call", name="start")
        idle = json.dumps({"value": int(RunStatus.IDLE)})
        wait_for("the frame", lambda: ask(There, "/slsdet/get", b'{"name": "status"}')[1] == idle.replace(" ", ""))
        call("call", name="rx_stop")
        for port, receiver in enumerate(sockets):
            seen = []
            while receiver.poll(1000 if not any(isinstance(e, ModuleFrame) for e in seen) else 20):
                seen.append(decoder.decode([mark(port), *receiver.recv_multipart()]))
            (frame,) = [event for event in seen if isinstance(event, ModuleFrame)]
            assert (frame.module, frame.module_count, frame.format.shape) == (port, 4, (4, 16))
            assert isinstance(seen[-1], ModuleEnd)
    context.destroy(0)


def test_ports_come_back_where_they_were() -> None:
    ports = Ports("127.0.0.1", 0, 2, 2)
    before = list(ports.first_ports)
    ports.leave()
    ports.come_back()
    assert ports.first_ports == before
    ports.close()
    ports.close()


def test_a_port_that_is_taken_is_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "maxdaq_tango.detectors.jungfrau.simulator_server", "--stream-port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "cannot serve" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "words",
    [["--fault", "thief=3"], ["--fault", "nothing"], ["--curve-key", "x"], ["--rows", "7", "--interfaces", "2"],
     ["--modules", "99"]],
)  # fmt: skip
def test_options_that_cannot_work_start_nothing(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "simulated-jungfrau" in capsys.readouterr().err
