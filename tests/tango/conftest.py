"""A small site for tests: a real Tango database, device servers as processes, a simulated detector as a process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tango

from maxdaq_tango.detectors.simulation.faults import Faults

START_S = 40.0
END_S = 15.0


def eventually(condition: Callable[[], object], timeout_s: float = 10.0, what: str = "it") -> None:
    """Wait for a condition with a deadline; the last value is in the failure."""
    deadline, pause, last = time.monotonic() + timeout_s, threading.Event(), None
    while time.monotonic() < deadline:
        last = condition()
        if last:
            return
        pause.wait(0.02)
    raise AssertionError(f"{what} did not happen within {timeout_s:g} s; last seen: {last!r}")


class Process:
    """A program of ours; what it says is kept for the failure report."""

    def __init__(self, name: str, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.command = command
        self.log = folder / f"{name}.log"
        self._file = self.log.open("wb")
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=self._file,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
        )
        self.first_line: threading.Event = threading.Event()
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, name=f"output of {name}", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.decode(errors="replace").strip())
            self.first_line.set()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
            raise AssertionError(f"{self.name} did not end within {END_S} s:\n{self.log.read_text()[-3000:]}") from None
        finally:
            self._reader.join(5)
            assert self.process.stdout is not None
            self.process.stdout.close()
            self._file.close()
        return code


class Simulator(Process):
    """A simulated Eiger, and the knobs that no real one has."""

    def __init__(self, name: str, folder: Path, *options: str) -> None:
        command = [sys.executable, "-m", "maxdaq_tango.detectors.eiger.simulator_server", "--host", "127.0.0.1"]
        for port in ("--port", "--stream-port", "--cbor-port"):
            command += [port, "0"]
        super().__init__(name, [*command, "--initialise-time", "0.1", "--arm-time", "0.05", *options], folder, {})
        assert self.first_line.wait(START_S), self.log.read_text()
        ports = json.loads(self.lines[0])
        self.port, self.stream_port, self.cbor_port = ports["http"], ports["stream"], ports["cbor"]

    def faults(self, **faults: object) -> None:
        """Replace the list of faults; none = a detector in good health."""
        Faults(**faults)  # a misspelt fault would be a test that tests nothing
        self.post("faults", json.dumps(faults).encode())

    def post(self, path: str, body: bytes = b"{}") -> bytes:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/simulator/api/{path}", data=body, method="POST")
        with urllib.request.urlopen(request, timeout=5) as answer:
            return bytes(answer.read())


class Program(Process):
    """A simulator or streamer of any family."""

    def __init__(self, name: str, module: str, folder: Path, *options: str) -> None:
        super().__init__(name, [sys.executable, "-m", module, "--host", "127.0.0.1", *options], folder, {})
        assert self.first_line.wait(START_S), self.log.read_text()
        self.answers = json.loads(self.lines[0])

    def faults(self, **faults: object) -> None:
        Faults(**faults)
        self.post("faults", json.dumps(faults).encode())

    def post(self, path: str, body: bytes = b"{}") -> bytes:
        url = f"http://127.0.0.1:{self.answers['http']}/simulator/api/{path}"
        with urllib.request.urlopen(urllib.request.Request(url, data=body, method="POST"), timeout=5) as answer:
            return bytes(answer.read())


class Site:
    """Device servers on one database. Names are unique to the site, so that modules do not disturb each other."""

    def __init__(self, name: str, database: tango.Database, folder: Path) -> None:
        self.name = name
        self.database = database
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir()
        self.servers: dict[str, Process] = {}
        self._ending = contextlib.ExitStack()
        self.simulators: dict[str, Simulator] = {}

    def device_name(self, kind: str, member: str) -> str:
        return f"{self.name}/{kind}/{member}"

    def simulate(self, member: str, *options: str) -> Simulator:
        simulator = Simulator(f"sim-{member}", self.folder, "--rows", "64", "--columns", "48", *options)
        self._ending.callback(simulator.end)
        self.simulators[member] = simulator
        return simulator

    def run(self, name: str, module: str, *options: str) -> Program:
        """A simulator or a streamer of any family; it ends with the site."""
        program = Program(name, module, self.folder, *options)
        self._ending.callback(program.end)
        return program

    def serve(self, module: str, device_class: str, devices: dict[str, dict[str, object]]) -> Process:
        """Register the devices with their properties and start their server."""
        instance = f"{self.name}-{len(self.servers)}"
        for device, properties in devices.items():
            info = tango.DbDevInfo()
            info.name, info._class, info.server = device, device_class, f"{device_class}/{instance}"
            self.database.add_device(info)
            self.database.put_device_property(device, {key: _texts(value) for key, value in properties.items()})
        command = [sys.executable, "-m", module, instance, "-ORBendPoint", "giop:tcp:127.0.0.1:0"]
        server = Process(f"{device_class}-{instance}", command, self.folder, {})
        self.servers[next(iter(devices))] = server
        self._ending.callback(server.end)
        for device in devices:
            eventually(lambda name=device: _pings(name), START_S, f"{device} answering")
        return server

    def kill(self, device: str) -> None:
        """SIGKILL of the server of this device."""
        self.servers[device].end(signal.SIGKILL)

    def start_again(self, device: str) -> None:
        """The server that was killed, with the devices that it had."""
        before = self.servers[device]
        lives = sum(name.startswith(before.name) for name in os.listdir(self.folder))
        server = self.servers[device] = Process(f"{before.name}.{lives}", before.command, self.folder, {})
        self._ending.callback(server.end)
        eventually(lambda: _pings(device), START_S, f"{device} answering")

    @contextlib.contextmanager
    def hanging(self, device: str) -> Iterator[None]:
        """The server of this device does nothing meanwhile, and then goes on where it was."""
        process = self.servers[device].process
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def eiger(self, member: str, receiver: str, **properties: object) -> str:
        simulator = self.simulators[member]
        name = self.device_name("detector", member)
        known = {
            "Host": "127.0.0.1",
            "Port": simulator.port,
            "StreamPort": simulator.stream_port,
            "CborPort": simulator.cbor_port,
            "Receiver": receiver,
        }
        self.serve("maxdaq_tango.detectors.eiger.device", "EigerDetector", {name: {**known, **properties}})
        return name

    def orca(self, member: str, receiver: str, *options: str, **properties: object) -> tuple[str, Program, Program]:
        """A detector, its simulated camera and its streamer."""
        size = ("--rows", "64", "--columns", "96")
        camera = self.run(f"sim-{member}", "maxdaq_tango.detectors.orca.simulator_server", *size, *options)
        streamer = self.run(
            f"streamer-{member}", "maxdaq_tango.detectors.orca.streamer", "--library", camera.answers["library"]
        )
        name = self.device_name("detector", member)
        known = {"Host": "127.0.0.1", "Port": streamer.answers["http"], "Receiver": receiver}
        self.serve("maxdaq_tango.detectors.orca.device", "OrcaDetector", {name: {**known, **properties}})
        return name, camera, streamer

    def receiver(self, member: str, **properties: object) -> str:
        name = self.device_name("receiver", member)
        known: dict[str, object] = {"Roots": str(self.data), "DetectorName": member, "MemoryBudget": 64 << 20}
        self.serve("maxdaq_tango.receiver.device", "StreamReceiver", {name: {**known, **properties}})
        return name

    def controller(self, member: str, *detectors: str, **properties: object) -> str:
        name = self.device_name("daq", member)
        known: dict[str, object] = {"Detectors": list(detectors)}
        self.serve("maxdaq_tango.controller.device", "DAQController", {name: {**known, **properties}})
        return name

    def close(self) -> None:
        self._ending.close()


def _texts(value: object) -> list[str]:
    items = value if isinstance(value, list) else [value]
    return [str(item).lower() if isinstance(item, bool) else str(item) for item in items]


def _pings(name: str) -> bool:
    try:
        return tango.DeviceProxy(name).ping() >= 0
    except tango.DevFailed:
        return False


@pytest.fixture(scope="session")
def database(tmp_path_factory) -> Iterator[tango.Database]:
    """pytango-db on a free port of this computer; TANGO_HOST points to it for the rest of the session."""
    folder = tmp_path_factory.mktemp("database")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    before = os.environ.get("TANGO_HOST")
    os.environ["TANGO_HOST"] = f"127.0.0.1:{port}"
    program = str(Path(sys.executable).with_name("PyDatabaseds"))
    server = Process("database", [program, "--host", "127.0.0.1", "--port", str(port), "2"], folder,
                     {"PYTANGO_DATABASE_NAME": ":memory:"})  # fmt: skip

    def connects() -> bool:
        try:
            tango.Database().get_info()
        except tango.DevFailed:
            return False
        return True

    eventually(connects, START_S, "the database answering")
    yield tango.Database()
    server.end()
    if before is None:
        del os.environ["TANGO_HOST"]
    else:
        os.environ["TANGO_HOST"] = before


@pytest.fixture(scope="module")
def site(database, tmp_path_factory, request) -> Iterator[Site]:
    name = request.module.__name__.rpartition(".")[2].removeprefix("test_").replace("_", "")
    site = Site(name, database, tmp_path_factory.mktemp(name))
    yield site
    site.close()


def proxy(name: str) -> tango.DeviceProxy:
    device = tango.DeviceProxy(name)
    device.set_timeout_millis(4000)
    return device


class Clients:
    """What a test needs of a running site; `settle` before each test brings it back to a known state."""

    def __init__(self, site: Site, **devices: str) -> None:
        self.site = site
        self.names = devices
        for role, name in devices.items():
            setattr(self, role, proxy(name))

    def file(self, name: str) -> Path:
        return self.site.data / name


@pytest.fixture
def wait() -> Callable[..., None]:
    return eventually


@pytest.fixture(scope="module")
def connect() -> Callable[[str], tango.DeviceProxy]:
    return proxy


@pytest.fixture(scope="module")
def make_clients() -> type[Clients]:
    return Clients


@pytest.fixture(scope="module")
def wait_on() -> Callable[..., None]:
    """Until every device is ON, acknowledging what went wrong."""

    def settle(*devices: tango.DeviceProxy) -> None:
        for device in devices:

            def ready(device: tango.DeviceProxy = device) -> bool:
                try:
                    state = device.State()
                    if state in (tango.DevState.ALARM, tango.DevState.FAULT):
                        device.Reset()
                except tango.DevFailed:  # a busy machine: Tango tries a connection once a second
                    return False
                return state == tango.DevState.ON

            eventually(ready, 15.0, f"{device.name()} being ON")

    return settle
