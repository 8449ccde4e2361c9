"""A module of the shape of `slsdet`, for a simulated Jungfrau: named in property `Library` where `slsdet` stands else.

Classes, attributes and enums have the names and values of PSI's package, version 10; a test compares them with the
published wheel. What the real one does over TCP with the detector server this does over HTTP with the simulator's
process, whose address is the `hostname`: `127.0.0.1:8080`.

As the real one it answers with RuntimeError, in the words of the package; it knows nobody before `hostname` is set; it
refuses attributes that do not exist; and client and server have to be of one major version.
"""

from __future__ import annotations

import json
import threading
from http.client import HTTPConnection, HTTPException
from typing import Any, NamedTuple

from maxdaq_tango.detectors.jungfrau.protocol import ENUM_OF, ENUMS, READ_ONLY, WRITABLE

__version__ = "10.0.1"
TIMEOUT_S = 5.0
CALL_S = 60.0
"""`rx_stop` waits until everything has left."""

globals().update(ENUMS)  # runStatus, timingMode ...: in the spelling of the package


class Geometry(NamedTuple):
    """As `detsize` and `module_geometry` are."""

    x: int
    y: int


def freeSharedMemory(*_indices: int) -> None:  # noqa: N802 - the package's name
    """There is none."""


def _hostname_in(path: str) -> str:
    """Of a configuration file only the line `hostname ...` is looked at."""
    try:
        with open(path) as file:
            lines = [line.split() for line in file]
    except OSError as error:
        raise RuntimeError(f"Could not open configuration file {path}: {error.strerror}") from None
    for words in lines:
        if len(words) == 2 and words[0] == "hostname":
            return words[1]
    raise RuntimeError(f"No hostname in configuration file {path}")


class Jungfrau:
    """One detector; see the module. Not thread-safe beyond what a lock around each request gives."""

    def __init__(self, id: int = 0) -> None:
        put = object.__setattr__
        put(self, "_id", id)
        put(self, "_lock", threading.Lock())
        put(self, "_host", "")

    def start(self) -> None:
        """Begin to expose; returns at once."""
        self._ask("call", "start")

    def stop(self) -> None:
        """End the exposures at once."""
        self._ask("call", "stop")

    def rx_start(self) -> None:
        """The receiver program begins to take frames."""
        self._ask("call", "rx_start")

    def rx_stop(self) -> None:
        """The receiver program ends, and says so in its stream."""
        self._ask("call", "rx_stop")

    def __getattr__(self, name: str) -> Any:
        # Called for what is found nowhere else.
        if name == "clientversion":
            return __version__
        if name not in WRITABLE and name not in READ_ONLY:
            raise AttributeError(f"'Jungfrau' object has no attribute '{name}'")
        if name == "hostname":
            return self._host or self._nobody()
        value = self._ask("get", name)["value"]
        if name in ENUM_OF:
            return ENUM_OF[name](value)
        if name in ("detsize", "module_geometry"):
            return Geometry(*value)
        if isinstance(value, list) and len(set(value)) == 1:
            return value[0]  # the package gives one value where all modules have the same
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in WRITABLE:
            if name in READ_ONLY:
                raise AttributeError(f"property '{name}' of 'Jungfrau' object has no setter")
            raise AttributeError(f"Class Jungfrau is frozen. Cannot set {name} = {value}")
        if name == "hostname":
            self._connect(str(value))
            return
        if name == "config":
            self._connect(_hostname_in(str(value)))
            return
        if name in ENUM_OF and not isinstance(value, ENUM_OF[name]):
            raise TypeError(f"{name}: incompatible argument {value!r}, {ENUM_OF[name].__name__} expected")
        self._ask("set", name, value)

    def _connect(self, host: str) -> None:
        object.__setattr__(self, "_host", host)
        try:
            server = str(self._ask("get", "detectorserverversion")["value"])
        except RuntimeError:
            object.__setattr__(self, "_host", "")
            raise
        if server.split(".")[0] != __version__.split(".")[0]:
            object.__setattr__(self, "_host", "")
            raise RuntimeError(
                f"Detector (Control) version {server} is incompatible with client version {__version__}. Please update "
                "detector (Control) or client"
            )

    def _nobody(self) -> str:
        raise RuntimeError("No modules added")

    def _ask(self, verb: str, name: str, value: Any = None) -> dict[str, Any]:
        host, _, port = str(self._host or self._nobody()).rpartition(":")
        body = json.dumps({"name": name} | ({"value": value} if verb == "set" else {}))
        with self._lock:
            connection = HTTPConnection(host, int(port), timeout=CALL_S if verb == "call" else TIMEOUT_S)
            try:
                connection.request("POST", f"/slsdet/{verb}", body)
                answer = connection.getresponse()
                text = answer.read().decode()
            except (OSError, HTTPException) as error:
                raise RuntimeError(
                    f"ClientSocket: Cannot connect to Detector:{host} on port {port} ({error})"
                ) from None
            finally:
                connection.close()
        if answer.status != 200:
            raise RuntimeError(text)
        told: dict[str, Any] = json.loads(text)
        return told
