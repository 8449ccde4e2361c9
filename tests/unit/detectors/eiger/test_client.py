"""The SIMPLON client against a server that can be told to answer anything, late, wrongly or not at all."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from maxdaq_tango.detectors.eiger.client import SimplonClient
from maxdaq_tango.detectors.eiger.protocol import DetectorCommand, Module, Task
from maxdaq_tango.errors import DetectorOffline, DetectorRefused, DetectorTimeout

STATE = "/detector/api/1.8.0/status/state"
CONFIG = "/detector/api/1.8.0/config/"
COMMAND = "/detector/api/1.8.0/command/"
Answer = tuple[int, bytes]


class Detector:
    """Answers by (method, path); everything asked is kept in order."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], Answer | Callable[[bytes], Answer | None]] = {}
        self.asked: list[tuple[str, str, bytes]] = []
        self.port = 0
        self.give("/detector/api/version", value="1.8.0")
        self.give(STATE, value="idle", value_type="string")

    def give(self, path: str, **envelope: Any) -> None:
        """Serve a parameter."""
        self.answers["GET", path] = 200, json.dumps(envelope).encode()

    def on_put(self, path: str, answer: Answer | Callable[[bytes], Answer | None]) -> None:
        """Serve a write or command; a callable that returns None closes the connection without an answer."""
        self.answers["PUT", path] = answer

    def asked_for(self, method: str, path: str) -> list[bytes]:
        """Bodies of the requests made so far."""
        return [body for m, p, body in self.asked if (m, p) == (method, path)]


@contextmanager
def serving(detector: Detector) -> Iterator[Detector]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0]
            detector.asked.append((self.command, path, body))
            found = detector.answers.get((self.command, path), (404, b"unknown path"))
            result = found(body) if callable(found) else found
            if result is None:
                self.close_connection = True
                return
            status, content = result
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = answer  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = False
        block_on_close = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a client that hung up on purpose

    with Server(("127.0.0.1", 0), Handler) as server:
        detector.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="scripted-detector")
        thread.start()
        try:
            yield detector
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def detector() -> Iterator[Detector]:
    with serving(Detector()) as detector:
        yield detector


@pytest.fixture
def client(detector: Detector) -> Iterator[SimplonClient]:
    with SimplonClient("127.0.0.1", detector.port) as client:
        yield client


def count_time(detector: Detector, value: float = 0.5, **more: Any) -> None:
    detector.give(CONFIG + "count_time", value=value, value_type="float", min=3e-6, max=1800.0, unit="s", **more)


# --- connecting -------------------------------------------------------------------------------------------------------


def test_the_version_is_asked_for(client: SimplonClient) -> None:
    assert client.version == "1.8.0"


@pytest.mark.parametrize("version", ["1.6.0", "1.8.0"])
def test_a_missing_version_endpoint_is_made_up_for_by_probing(detector: Detector, version: str) -> None:
    detector.answers.clear()
    detector.give(f"/detector/api/{version}/status/state", value="na")
    with SimplonClient("127.0.0.1", detector.port) as client:
        assert client.version == version
        assert client.state() == "na"


def test_a_given_version_is_probed_and_not_asked_for(detector: Detector) -> None:
    with SimplonClient("127.0.0.1", detector.port, "1.8.0") as client:
        assert client.version == "1.8.0"
    assert detector.asked_for("GET", "/detector/api/version") == []


def test_a_given_version_that_is_not_served_is_refused(detector: Detector) -> None:
    with pytest.raises(DetectorRefused, match=r"1\.6\.0.*404"):
        SimplonClient("127.0.0.1", detector.port, "1.6.0").connect()


def test_a_server_that_is_no_detector_is_refused_with_what_would_do(detector: Detector) -> None:
    detector.answers.clear()
    with pytest.raises(DetectorRefused, match=r"Accepted: 1\.6\.0, 1\.8\.0"):
        SimplonClient("127.0.0.1", detector.port).connect()


def test_nobody_at_the_address_is_offline_and_the_address_is_named() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(DetectorOffline, match=f"http://127.0.0.1:{port}/detector/api/version"):
            SimplonClient("127.0.0.1", port).connect()


def test_connect_and_close_may_be_called_twice(detector: Detector) -> None:
    client = SimplonClient("127.0.0.1", detector.port)
    client.connect()
    client.connect()
    assert client.state() == "idle"
    client.close()
    client.close()
    with pytest.raises(DetectorOffline, match="not connected"):
        client.state()
    client.connect()
    assert client.state() == "idle"
    client.close()


def test_a_detector_that_goes_away_is_offline(detector: Detector) -> None:
    other = Detector()
    with serving(other):
        client = SimplonClient("127.0.0.1", other.port)
        client.connect()
        other.answers["GET", STATE] = lambda body: None
        with pytest.raises(DetectorOffline, match="read detector/status/state"):
            client.state()
        client.close()
        late = SimplonClient("127.0.0.1", other.port)
    with pytest.raises(DetectorOffline):
        late.connect()


# --- reading ----------------------------------------------------------------------------------------------------------


def test_values_are_remembered_until_forgotten(detector: Detector, client: SimplonClient) -> None:
    count_time(detector)
    assert client.config(Module.DETECTOR, "count_time").value == 0.5
    count_time(detector, 0.7)
    assert client.config(Module.DETECTOR, "count_time").value == 0.5
    client.forget()
    assert client.config(Module.DETECTOR, "count_time").value == 0.7


def test_read_only_values_survive_a_partial_forget(detector: Detector, client: SimplonClient) -> None:
    count_time(detector)
    detector.give(CONFIG + "description", value="Eiger", value_type="string", access_mode="r")
    for _ in range(2):
        client.config(Module.DETECTOR, "count_time")
        client.config(Module.DETECTOR, "description")
        client.forget(writable_only=True)
    assert len(detector.asked_for("GET", CONFIG + "count_time")) == 2
    assert len(detector.asked_for("GET", CONFIG + "description")) == 1


def test_an_answer_that_is_no_value_is_refused_with_what_came(detector: Detector, client: SimplonClient) -> None:
    detector.answers["GET", CONFIG + "count_time"] = 200, b"<html>maintenance</html>"
    with pytest.raises(DetectorRefused, match="maintenance"):
        client.read(Module.DETECTOR, Task.CONFIG, "count_time")


def test_a_slow_answer_is_a_timeout_that_names_url_and_time(detector: Detector, client: SimplonClient) -> None:
    release = threading.Event()

    def slow(body: bytes) -> Answer:
        release.wait(5)
        return 200, b'{"value": "idle"}'

    detector.answers["GET", STATE] = slow
    with pytest.raises(DetectorTimeout, match=r"read detector/status/state \(of http://.*no answer within 0\.1 s"):
        client.state(timeout_s=0.1)
    release.set()


def test_keys_come_bare_or_wrapped_and_may_be_missing(detector: Detector, client: SimplonClient) -> None:
    detector.answers["GET", CONFIG + "keys"] = 200, b'["count_time", "nimages"]'
    assert client.keys(Module.DETECTOR) == ("count_time", "nimages")
    detector.answers["GET", "/stream/api/1.8.0/config/keys"] = 200, b'{"value": ["mode"]}'
    assert client.keys(Module.STREAM) == ("mode",)
    assert client.keys(Module.MONITOR) == ()


def test_existence_is_proved_by_reading_where_the_list_is_silent(detector: Detector, client: SimplonClient) -> None:
    detector.answers["GET", CONFIG + "keys"] = 200, b'["count_time"]'
    detector.give(CONFIG + "wavelength", value=1.0)
    assert client.exists(Module.DETECTOR, "count_time")
    assert client.exists(Module.DETECTOR, "wavelength")
    for _ in range(2):
        assert not client.exists(Module.DETECTOR, "nonsense")
    assert len(detector.asked_for("GET", CONFIG + "nonsense")) == 1


def test_a_connection_closed_while_idle_is_opened_again(detector: Detector, client: SimplonClient) -> None:
    answers = [None, (200, b'{"value": "ready"}')]
    detector.answers["GET", STATE] = lambda body: answers.pop(0)
    assert client.state() == "ready"


# --- writing ----------------------------------------------------------------------------------------------------------


def test_a_write_sends_the_value_in_its_type(detector: Detector, client: SimplonClient) -> None:
    count_time(detector)
    detector.give(CONFIG + "nimages", value=1, value_type="uint", min=1, max=2000000000)
    detector.on_put(CONFIG + "count_time", (200, b"[]"))
    detector.on_put(CONFIG + "nimages", (200, b"[]"))
    assert client.write(Module.DETECTOR, "count_time", 2) == 2.0
    assert client.write(Module.DETECTOR, "nimages", 10.0) == 10
    assert detector.asked_for("PUT", CONFIG + "count_time") == [b'{"value":2.0}']
    assert detector.asked_for("PUT", CONFIG + "nimages") == [b'{"value":10}']


@pytest.mark.parametrize(
    ("envelope", "value", "says"),
    [
        ({"value_type": "float", "min": 3e-6, "max": 1800.0, "unit": "s"}, 9000, "above.*3e-06 to 1800 s"),
        ({"value_type": "float", "min": 3e-6, "max": 1800.0, "unit": "s"}, 0.0, "below.*3e-06 to 1800 s"),
        ({"value_type": "float"}, "abc", "not a value of type float"),
        ({"value_type": "float"}, float("nan"), "not a value of type float"),
        ({"value_type": "uint", "min": 1}, 1.5, "not a value of type uint.*1 or more"),
        ({"value_type": "uint"}, True, "not a value of type uint"),
        ({"value_type": "uint"}, -1, "not a value of type uint"),
        ({"value_type": "bool"}, 1, "not a value of type bool"),
        ({"value_type": "string"}, 1, "not a value of type string"),
        ({"value_type": "string", "allowed_values": ["lz4", "bslz4"]}, "gzip", "one of 'lz4', 'bslz4'"),
        ({"value_type": "float", "access_mode": "r"}, 1.0, "read-only"),
    ],
)
def test_what_the_detector_says_it_refuses_is_not_sent(
    detector: Detector, client: SimplonClient, envelope: dict[str, Any], value: object, says: str
) -> None:
    detector.give(CONFIG + "thing", value=None, **envelope)
    with pytest.raises(DetectorRefused, match=says):
        client.write(Module.DETECTOR, "thing", value)
    assert detector.asked_for("PUT", CONFIG + "thing") == []


def test_equal_limits_are_no_limits(detector: Detector, client: SimplonClient) -> None:
    detector.give(CONFIG + "threshold_energy", value=6000.0, value_type="float", min=0.0, max=0.0)
    detector.on_put(CONFIG + "threshold_energy", (200, b"[]"))
    assert client.write(Module.DETECTOR, "threshold_energy", 5000) == 5000.0


@pytest.mark.parametrize("status", [201, 204, 400, 404, 500])
def test_only_200_is_success(detector: Detector, client: SimplonClient, status: int) -> None:
    count_time(detector)
    detector.on_put(CONFIG + "count_time", (status, b"" if status == 204 else b"no such luck"))
    with pytest.raises(DetectorRefused, match=rf"set detector/count_time to 1\.0.*HTTP {status}") as refusal:
        client.write(Module.DETECTOR, "count_time", 1.0)
    assert refusal.value.accepted == "3e-06 to 1800 s"
    assert status == 204 or "no such luck" in refusal.value.answer


def test_a_page_of_html_is_shortened(detector: Detector, client: SimplonClient) -> None:
    detector.answers["GET", STATE] = 502, b"<p>bad gateway</p>\n" * 500
    with pytest.raises(DetectorRefused) as refusal:
        client.state()
    assert len(str(refusal.value)) < 500


def test_what_a_write_changed_is_read_again(detector: Detector, client: SimplonClient) -> None:
    count_time(detector)
    for name in ("frame_time", "nimages"):
        detector.give(CONFIG + name, value=1, value_type="float")
        client.config(Module.DETECTOR, name)
    detector.on_put(CONFIG + "count_time", (200, b'["count_time", "frame_time", "never_heard_of"]'))
    client.write(Module.DETECTOR, "count_time", 1.0)
    for name in ("count_time", "frame_time", "nimages"):
        client.config(Module.DETECTOR, name)
    reads = {name: len(detector.asked_for("GET", CONFIG + name)) for name in ("count_time", "frame_time", "nimages")}
    assert reads == {"count_time": 2, "frame_time": 2, "nimages": 1}


@pytest.mark.parametrize("answer", [b"", b"{}", b"null", b"[]", b"done", b"\xff"])
def test_an_answer_that_names_no_keys_makes_the_whole_module_unknown(
    detector: Detector, client: SimplonClient, answer: bytes
) -> None:
    count_time(detector)
    detector.give(CONFIG + "frame_time", value=1, value_type="float")
    client.config(Module.DETECTOR, "frame_time")
    detector.on_put(CONFIG + "count_time", (200, answer))
    client.write(Module.DETECTOR, "count_time", 1.0)
    client.config(Module.DETECTOR, "frame_time")
    assert len(detector.asked_for("GET", CONFIG + "frame_time")) == 2


# --- commands ---------------------------------------------------------------------------------------------------------


@contextmanager
def blocked_trigger(
    detector: Detector, client: SimplonClient, command: DetectorCommand = DetectorCommand.TRIGGER
) -> Iterator[list[BaseException]]:
    """A command that the detector does not answer before the end of the block; its error is collected."""
    entered, release, errors = threading.Event(), threading.Event(), []

    def block(body: bytes) -> Answer:
        entered.set()
        release.wait(10)
        return 200, b"{}"

    def trigger() -> None:
        try:
            client.command(command, timeout_s=10)
        except Exception as error:
            errors.append(error)

    detector.on_put(COMMAND + command, block)
    thread = threading.Thread(target=trigger, name="trigger")
    thread.start()
    assert entered.wait(5)
    try:
        yield errors
    finally:
        release.set()
        thread.join()


def test_state_and_abort_pass_while_a_trigger_blocks(detector: Detector, client: SimplonClient) -> None:
    detector.on_put(COMMAND + "abort", (200, b'{"sequence id": 1}'))
    with blocked_trigger(detector, client) as errors:
        assert client.state() == "idle"
        assert client.command(DetectorCommand.ABORT) == b'{"sequence id": 1}'
    assert errors == []


def test_state_and_abort_pass_while_a_cancel_waits_for_its_frame(detector: Detector, client: SimplonClient) -> None:
    detector.on_put(COMMAND + "abort", (200, b""))
    with blocked_trigger(detector, client, DetectorCommand.CANCEL):
        assert client.state(timeout_s=1) == "idle"
        client.command(DetectorCommand.ABORT, timeout_s=1)


def test_an_interrupted_command_ends_at_once_and_the_next_one_works(detector: Detector, client: SimplonClient) -> None:
    with blocked_trigger(detector, client) as errors:
        started = time.monotonic()
        client.interrupt()
        while not errors and time.monotonic() < started + 5:
            threading.Event().wait(0.01)
        assert isinstance(errors[0], DetectorOffline)
    detector.on_put(COMMAND + "trigger", (200, b"{}"))
    assert client.command(DetectorCommand.TRIGGER, timeout_s=5) == b"{}"


def test_interrupt_is_harmless_when_nothing_blocks(detector: Detector, client: SimplonClient) -> None:
    client.interrupt()
    detector.on_put(COMMAND + "arm", (200, b'{"sequence id": 3}'))
    client.command(DetectorCommand.ARM)
    client.interrupt()
    client.command(DetectorCommand.ARM)
    assert client.state() == "idle"


def test_closing_ends_a_blocked_command(detector: Detector) -> None:
    client = SimplonClient("127.0.0.1", detector.port)
    client.connect()
    with blocked_trigger(detector, client) as errors:
        client.close()
        deadline = time.monotonic() + 5
        while not errors and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        assert isinstance(errors[0], DetectorOffline)


def test_a_slow_setting_does_not_hold_up_a_look_at_the_state(detector: Detector, client: SimplonClient) -> None:
    entered, release = threading.Event(), threading.Event()

    def recompute_flatfield(body: bytes) -> Answer:
        entered.set()
        release.wait(10)
        return 200, b'["photon_energy"]'

    detector.give(CONFIG + "photon_energy", value=8000.0, value_type="float")
    detector.on_put(CONFIG + "photon_energy", recompute_flatfield)
    thread = threading.Thread(target=client.write, args=(Module.DETECTOR, "photon_energy", 9000.0), name="energy")
    thread.start()
    try:
        assert entered.wait(5)
        assert client.state(timeout_s=1) == "idle"
    finally:
        release.set()
        thread.join()


def test_a_command_that_lasts_too_long_is_a_timeout(detector: Detector, client: SimplonClient) -> None:
    release = threading.Event()

    def block(body: bytes) -> Answer:
        release.wait(5)
        return 200, b"{}"

    detector.on_put(COMMAND + "arm", block)
    with pytest.raises(DetectorTimeout, match=r"arm \(of .*/command/arm\): no answer within 0\.1 s"):
        client.command(DetectorCommand.ARM, timeout_s=0.1)
    release.set()


@pytest.mark.parametrize("command", [DetectorCommand.ARM, DetectorCommand.TRIGGER, DetectorCommand.DISARM])
def test_a_command_is_never_given_twice(detector: Detector, client: SimplonClient, command: DetectorCommand) -> None:
    detector.on_put(COMMAND + command, lambda body: None)
    with pytest.raises(DetectorOffline):
        client.command(command, timeout_s=5)
    assert len(detector.asked_for("PUT", COMMAND + command)) == 1


def test_a_command_carries_an_argument_or_no_body(detector: Detector, client: SimplonClient) -> None:
    detector.on_put(COMMAND + "trigger", (200, b""))
    client.command(DetectorCommand.TRIGGER, timeout_s=5)
    client.command(DetectorCommand.TRIGGER, argument=0.5, timeout_s=5)
    assert detector.asked_for("PUT", COMMAND + "trigger") == [b"", b'{"value":0.5}']


def test_initialize_forgets_everything(detector: Detector, client: SimplonClient) -> None:
    assert not client.exists(Module.DETECTOR, "count_time")
    count_time(detector)
    detector.on_put(COMMAND + "initialize", (200, b""))
    client.command(DetectorCommand.INITIALIZE)
    assert client.exists(Module.DETECTOR, "count_time")


# --- monitor ----------------------------------------------------------------------------------------------------------


def test_the_monitor_gives_tiff_or_a_timeout(detector: Detector, client: SimplonClient) -> None:
    path = "/monitor/api/1.8.0/images/monitor"
    detector.answers["GET", path] = 200, b"II*\0pixels"
    assert client.monitor_image() == b"II*\0pixels"
    detector.answers["GET", path] = 408, b"no image"
    with pytest.raises(DetectorTimeout, match="no image"):
        client.monitor_image()


def test_a_client_reads_no_certificates(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would be read for each connection, for a detector that has no TLS."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("certificates are read")

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", refuse)
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", refuse)
    with SimplonClient("127.0.0.1", detector.port) as client:
        count_time(detector)
        assert client.exists(Module.DETECTOR, "count_time")
