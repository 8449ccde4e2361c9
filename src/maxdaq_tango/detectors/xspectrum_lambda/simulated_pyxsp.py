"""A stand-in for X-Spectrum's `pyxsp`, which is not public: the same names and habits, before a simulated detector.

The streamer imports it by name where it would import `pyxsp`; the path of the system is the address of the simulator,
`http://127.0.0.1:18123`. Names are those that public users of `pyxsp` 3.1 call (LiberTEM-live c8433dc, Pierre
Thibault's labcontrol) and, where they are silent, those of libxsp 2.1.0's header in Python's spelling. Its habits:

- `System(path)` is None when there is no system there, and no exception;
- `get_frame(ms)` is None after a time-out; a frame must go back with `release_frame`, once;
- `ram_allocated` and `voltage_settled(module)` are false for a while; modules count from 1, times are ms, energies keV;
- what the detector refuses is a RuntimeError of this module, with a code.
"""

from __future__ import annotations

import http.client
import threading
import urllib.parse
from collections.abc import Callable
from enum import Enum
from typing import Any

import msgspec
import numpy as np

from maxdaq_tango.detectors.xspectrum_lambda.simulator_server import FRAME_HEAD, LIBRARY, STATUSES

PATIENCE_S = 10.0
LONGEST_WAIT_MS = 4000.0
"""For a frame, in one request."""

LogLevel = Enum("LogLevel", {"ERROR": 0, "WARN": 1, "INFO": 2, "DEBUG": 3})
EventType = Enum("EventType", ["READY", "START", "STOP"])
FrameStatusCode = Enum(
    "FrameStatusCode",
    {"FRAME_OK": 0, "FRAME_INCOMPLETE": 1, "FRAME_MISSING": 2, "FRAME_COMPRESSION_FAILED": 3},
)
BitDepth = Enum("BitDepth", {"DEPTH_1": 1, "DEPTH_6": 6, "DEPTH_12": 12, "DEPTH_24": 24})
ChargeSumming = Enum("ChargeSumming", ["OFF", "ON"], start=0)
CounterMode = Enum("CounterMode", ["SINGLE", "DUAL"], start=0)
TrigMode = Enum("TrigMode", ["SOFTWARE", "EXT_SEQUENCE", "EXT_FRAMES"], start=0)
Gating = Enum("Gating", ["OFF", "ON"], start=0)


class Error(Exception):
    """Of the library."""


class RuntimeError(Error):
    """What the detector or the system said; `code` is one of libxsp's status codes."""

    def __init__(self, message: str, code: int = 0x80050000) -> None:
        super().__init__(message)
        self.code = code


def library_version() -> str:
    """Of the library whose names these are."""
    return "3.1-simulated"


class _Link:
    """Connections to the simulator, one a thread; those of threads that have ended are closed."""

    def __init__(self, url: str) -> None:
        address = urllib.parse.urlsplit(url)
        if address.scheme != "http" or not address.hostname or not address.port:
            raise OSError(f"{url} is no address of a simulated detector")
        self._address = (address.hostname, address.port)
        self._connections: dict[threading.Thread, http.client.HTTPConnection] = {}

    def post(self, route: str, body: Any) -> tuple[int, bytes]:
        """One request. The connection may have been closed by the other side since the last one: then once more."""
        data = msgspec.json.encode(body)
        me = threading.current_thread()
        connection = self._connections.get(me)
        if connection is not None:
            try:
                return self._ask(connection, route, data)
            except (OSError, http.client.HTTPException):
                self._drop(me)
        for thread in [one for one in list(self._connections) if not one.is_alive()]:
            self._drop(thread)
        connection = self._connections[me] = http.client.HTTPConnection(*self._address, timeout=PATIENCE_S)
        try:
            return self._ask(connection, route, data)
        except (OSError, http.client.HTTPException) as error:
            self._drop(me)
            raise RuntimeError(f"BAD_COMMUNICATION_ERROR: {error or type(error).__name__}") from error

    def close(self) -> None:
        """All of them."""
        for thread in list(self._connections):
            self._drop(thread)

    @staticmethod
    def _ask(connection: http.client.HTTPConnection, route: str, data: bytes) -> tuple[int, bytes]:
        connection.request("POST", LIBRARY + route, data)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status == 409:
            told = msgspec.json.decode(body)
            raise RuntimeError(told["message"], told["code"])
        if answer.status >= 400:
            raise RuntimeError(f"BAD_INTERNAL_ERROR: {body.decode(errors='replace')}", 0x80020000)
        return answer.status, body

    def _drop(self, thread: threading.Thread) -> None:
        connection = self._connections.pop(thread, None)
        if connection is not None:
            connection.close()

    def call(self, name: str, of: str = "", arguments: tuple[Any, ...] = (), value: Any = None) -> Any:
        """A command, a value read or a value set."""
        body = {"name": name, "of": of, "arguments": arguments, "value": value}
        return msgspec.json.decode(self.post("call", body)[1])["value"]


class Frame:
    """One frame of one receiver; its pixels are a flat array in memory of the library."""

    def __init__(self, body: bytes) -> None:
        handle, nr, seq, subframe, status, dtype = FRAME_HEAD.unpack_from(body)
        self.nr, self.seq, self.subframe, self.connector, self.trigger = nr, seq, subframe, 0, 0
        self.status_code = FrameStatusCode[STATUSES[status]]
        self.handle = handle
        self._data: Any = np.frombuffer(body, dtype.rstrip(b"\0").decode(), offset=FRAME_HEAD.size)

    @property
    def data(self) -> Any:
        """The pixels. Gone once the frame was released: the memory holds another frame then."""
        if self._data is None:
            raise RuntimeError("the data of a released frame are not to be read", 0x804B0000)
        return self._data

    def forget(self) -> None:
        """It was released."""
        self._data = None

    @property
    def size(self) -> int:
        """Bytes."""
        return int(self.data.nbytes)


class Receiver:
    """Of one module."""

    def __init__(self, link: _Link, module: int) -> None:
        self._link, self._module = link, module
        self.id = f"lambda/{module + 1}"

    def connect(self) -> None:
        """Done with the system."""

    def disconnect(self) -> None:
        """Done with the system."""

    def initialize(self) -> None:
        """Done with the system."""

    def get_frame(self, timeout_ms: float) -> Frame | None:
        """The oldest frame, or None when none came in time."""
        left = float(timeout_ms)
        while True:
            wait = min(left, LONGEST_WAIT_MS)
            status, body = self._link.post("frame", {"module": self._module, "timeout_ms": wait})
            if status == 200:
                return Frame(body)
            left -= wait
            if left <= 0:
                return None

    def release_frame(self, frame: Frame) -> None:
        """Its memory may be used again."""
        self._link.post("release", {"module": self._module, "handle": frame.handle})
        frame.forget()

    def _told(self, name: str) -> Any:
        return self._link.call("receiver", arguments=(self._module,))[name]

    frame_width = property(lambda self: self._told("frame_width"))
    frame_height = property(lambda self: self._told("frame_height"))
    frame_depth = property(lambda self: self._told("frame_depth"))
    frames_queued = property(lambda self: self._told("frames_queued"))
    ram_allocated = property(lambda self: self._told("ram_allocated"))
    compression = property(lambda self: False)

    @property
    def position(self) -> Position:
        """Of the module in the picture, pixels."""
        return Position(*self._told("position"))

    @property
    def rotation(self) -> Rotation:
        """Degrees."""
        return Rotation(*self._told("rotation"))


class Position:
    """In pixels."""

    def __init__(self, x: float, y: float, z: float) -> None:
        self.x, self.y, self.z = x, y, z


class Rotation:
    """In degrees."""

    def __init__(self, alpha: float, beta: float, gamma: float) -> None:
        self.alpha, self.beta, self.gamma = alpha, beta, gamma


def _value(name: str, kind: Any = None, doc: str = "") -> Any:
    """A setting of the detector as a property; enums travel by their name, a depth by its number."""

    def read(self: Detector) -> Any:
        told = self._link.call("get", name)
        return told if kind is None else kind(told) if kind is BitDepth else kind[told]

    def write(self: Detector, value: Any) -> None:
        if kind is not None and not isinstance(value, kind):
            raise TypeError(f"{name} takes a {kind.__name__}, not {value!r}")  # as a binding of C++ does
        plain = value if kind is None else value.value if kind is BitDepth else value.name
        self._link.call("set", name, value=plain)

    return property(read, write, doc=doc)


def _of_module(name: str) -> Callable[..., Any]:
    def read(self: Detector, module_nr: int) -> Any:
        return self._link.call("get", name, (module_nr,))

    read.__doc__ = f"{name} of one module; the first is 1."
    return read


class Detector:
    """All modules together."""

    def __init__(self, link: _Link) -> None:
        self._link = link
        self.id = "lambda"

    shutter_time = _value("shutter_time", doc="ms")
    number_of_frames = _value("number_of_frames")
    frames_per_trigger = _value("frames_per_trigger")
    thresholds = _value("thresholds", doc="keV; empty after a cold start")
    beam_energy = _value("beam_energy", doc="keV")
    bit_depth = _value("bit_depth", BitDepth)
    charge_summing = _value("charge_summing", ChargeSumming)
    counter_mode = _value("counter_mode", CounterMode)
    trigger_mode = _value("trigger_mode", TrigMode)
    gating_mode = _value("gating_mode", Gating)
    number_of_modules = property(lambda self: self._link.call("get", "number_of_modules"))
    is_busy = property(lambda self: self._link.call("get", "is_busy"))
    is_ready = property(lambda self: self._link.call("get", "is_ready"))
    voltage = _of_module("voltage")
    voltage_settled = _of_module("voltage_settled")
    temperature = _of_module("temperature")
    humidity = _of_module("humidity")
    chip_ids = _of_module("chip_ids")
    firmware_version = _of_module("firmware_version")

    def set_voltage(self, module_nr: int, voltage: float) -> None:
        """Of one module's sensor, V."""
        self._link.call("set", "voltage", (module_nr,), voltage)

    def connect(self) -> None:
        """Done with the system."""

    def initialize(self) -> None:
        """Brings it out of its error state."""
        self._link.call("initialize")

    def start_acquisition(self) -> None:
        """Begin, or wait for edges, as the trigger mode says."""
        self._link.call("start")

    def stop_acquisition(self) -> None:
        """End; harmless when nothing is under way."""
        self._link.call("stop")


class System:
    """A detector and its receivers, as a file of the vendor (here: an address) describes them."""

    def __new__(cls, path: str) -> System | None:  # type: ignore[misc]  # the library does the same
        """None when there is none."""
        try:
            link = _Link(path)
            modules = link.call("describe")["modules"]
        except (OSError, Error):
            return None
        system = super().__new__(cls)
        system._link, system._modules = link, modules
        return system

    _link: _Link
    _modules: int

    def connect(self) -> None:
        """To the detector and its receivers."""
        self._link.call("connect")

    def disconnect(self) -> None:
        """Let go of both."""
        try:
            self._link.call("disconnect")
        finally:
            self._link.close()

    def initialize(self) -> None:
        """Detector and receivers."""
        self._link.call("initialize")

    def list_detectors(self) -> list[str]:
        """Ids."""
        return ["lambda"]

    def list_receivers(self) -> list[str]:
        """Ids, one a module."""
        return [f"lambda/{number}" for number in range(1, self._modules + 1)]

    def open_detector(self, id: str) -> Detector:
        """By its id."""
        if id not in self.list_detectors():
            raise RuntimeError(f"BAD_ARG_INVALID: no detector {id}", 0x804B0000)
        return Detector(self._link)

    def open_receiver(self, id: str) -> Receiver:
        """By its id."""
        if id not in self.list_receivers():
            raise RuntimeError(f"BAD_ARG_INVALID: no receiver {id}", 0x804B0000)
        return Receiver(self._link, self.list_receivers().index(id))

    def start_acquisition(self) -> None:
        """Of the detector."""
        self._link.call("start")

    def stop_acquisition(self) -> None:
        """Of the detector."""
        self._link.call("stop")
