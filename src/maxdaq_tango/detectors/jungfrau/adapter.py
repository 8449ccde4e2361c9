"""The only place that touches `slsdet`, the client library of PSI's detector package.

It is imported by name when a device is made that wants it, so a computer without it runs all other families. Every call
is made in one thread: the library keeps its state in shared memory and is not made for several. That memory has a name
(environment variable SLSDETNAME) and a number; two clients with the same ones change each other's detector, so each
device has a name of its own.

The library answers with RuntimeError whatever went wrong; here it becomes DetectorOffline (nobody answers) or
DetectorRefused (anything else, in the library's own words).
"""

from __future__ import annotations

import contextlib
import importlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

from maxdaq_tango.detectors.jungfrau.call_thread import CallThread
from maxdaq_tango.detectors.jungfrau.protocol import ENUM_OF, ENUMS, METHODS
from maxdaq_tango.errors import ConfigurationError, DetectorError, DetectorOffline, DetectorRefused

T = TypeVar("T")
LIBRARY = "slsdet"
CALL_S = 10.0
CONNECT_S = 30.0
NAME_VARIABLE = "SLSDETNAME"
UNREACHABLE = ("cannot connect", "no modules added", "clientsocket", "tcp socket")
"""Words in an error of the library that mean that nobody answers."""
_ENUM_NAME = {kind: name for name, kind in ENUMS.items()}
_environment = threading.Lock()


class SlsDetector(Protocol):
    """`slsdet.Jungfrau`: beside these methods attributes that are read and written, see `protocol`."""

    hostname: Any

    def start(self) -> Any:
        """Begin to expose."""
        ...

    def stop(self) -> Any:
        """End the exposures."""
        ...

    def rx_start(self) -> Any:
        """The receiver program begins."""
        ...

    def rx_stop(self) -> Any:
        """The receiver program ends."""
        ...


class SlsLibrary(Protocol):
    """The module `slsdet`."""

    Jungfrau: Callable[[int], SlsDetector]
    freeSharedMemory: Callable[..., Any]  # noqa: N815 - the library's name


def load_library(name: str) -> SlsLibrary:
    """The library by the name of its module; ConfigurationError in one sentence when it is not there."""
    accepted = "the slsdet of the same major version as the detector's server, such as pip install 'slsdet==10.*'"
    try:
        library: Any = importlib.import_module(name)
    except ImportError as error:
        raise ConfigurationError(
            f"drive a Jungfrau through {name}", of="this Python", answer=str(error), accepted=accepted
        ) from None
    lacking = [one for one in ("Jungfrau", "freeSharedMemory", *ENUMS) if not hasattr(library, one)]
    lacking += [one for one in METHODS if not hasattr(getattr(library, "Jungfrau", None), one)]
    if lacking:
        raise ConfigurationError(
            f"drive a Jungfrau through {name}", answer=f"it has no {', '.join(lacking)}", accepted=accepted
        )
    found: SlsLibrary = library
    return found


class SlsAdapter:
    """One detector. Methods may be called by any thread."""

    def __init__(
        self,
        host: str,
        *,
        config_file: str = "",
        library: str = LIBRARY,
        memory_number: int = 0,
        memory_name: str = "",
    ) -> None:
        """Nothing is asked of the detector before `connect`. `host` is `name` or `name:port`, of several modules joined
        by `+`; a `config_file` of the package says it, and much else, in its place. ConfigurationError.
        """
        self._library = load_library(library)
        self.library = library
        self.host = host or config_file
        self._config_file = config_file
        self._number, self._name = memory_number, memory_name
        self._calls = CallThread(f"slsdet of {self.host}")
        self._detector: SlsDetector | None = None

    @property
    def is_connected(self) -> bool:
        """It has answered once."""
        return self._detector is not None

    def connect(self) -> None:
        """Attach to the detector anew: the library forgets what it knew."""

        def attach() -> SlsDetector:
            with self._memory():
                self._library.freeSharedMemory(self._number)
                try:
                    detector = self._library.Jungfrau(self._number)
                    if self._config_file:
                        detector.config = self._config_file  # type: ignore[attr-defined]
                    else:
                        detector.hostname = self.host
                except BaseException:
                    self._library.freeSharedMemory(self._number)  # the library leaves it behind, with nobody in it
                    raise
            return detector

        self._detector = None
        self._detector = self._run("connect", attach, CONNECT_S)

    def close(self) -> None:
        """Let go; the detector stays as it is. Calls that wait end with an error. May be called twice."""
        detector, self._detector = self._detector, None
        if detector is not None:
            with contextlib.suppress(DetectorError):
                self._run("let go", self._free, 1.0)
        self._calls.close()

    def get(self, name: str, timeout_s: float = CALL_S) -> Any:
        """An attribute as a plain value: a member of an enum as one of ours, times in s."""
        detector = self._must(f"read {name}")
        value = self._run(f"read {name}", lambda: getattr(detector, name), timeout_s)
        if name in ENUM_OF:
            return _own_member(name, value)
        return plain(value)

    def set(self, name: str, value: Any, timeout_s: float = CALL_S) -> None:
        """Set an attribute; a member of an enum of ours becomes the library's."""
        asked = f"set {name} to {getattr(value, 'name', value)}"
        detector = self._must(asked)
        if name in ENUM_OF:
            value = self._library_member(name, value)
        self._run(asked, lambda: setattr(detector, name, value), timeout_s)

    def call(self, name: str, timeout_s: float = CALL_S) -> None:
        """A method without arguments."""
        detector = self._must(name)
        self._run(name, getattr(detector, name), timeout_s)

    # ---- inside ----

    def _must(self, asked: str) -> SlsDetector:
        if self._detector is None:
            raise DetectorOffline(asked, of=self.host, answer="not connected", accepted="connect first")
        return self._detector

    def _run(self, asked: str, call: Callable[[], T], timeout_s: float) -> T:
        try:
            return self._calls.run(asked, call, timeout_s)
        except DetectorError:
            raise
        except (RuntimeError, ValueError, TypeError, AttributeError, OSError) as error:
            raise self._told(asked, str(error).strip()) from None

    def _told(self, asked: str, answer: str) -> DetectorError:
        if "incompatible" in answer:
            accepted = f"a {self.library} of the major version of the detector's server"
            return DetectorRefused(asked, of=self.host, answer=answer, accepted=accepted)
        if any(words in answer.lower() for words in UNREACHABLE):
            return DetectorOffline(asked, of=self.host, answer=answer)
        return DetectorRefused(asked, of=self.host, answer=answer)

    def _library_member(self, name: str, value: Any) -> Any:
        kind = getattr(self._library, _ENUM_NAME[ENUM_OF[name]])
        return getattr(kind, value.name)

    def _free(self) -> None:
        with self._memory():
            self._library.freeSharedMemory(self._number)

    @contextlib.contextmanager
    def _memory(self) -> Iterator[None]:
        """The library looks at the variable when it opens its memory; the process may have several detectors."""
        with _environment:
            before = os.environ.get(NAME_VARIABLE)
            if self._name:
                os.environ[NAME_VARIABLE] = self._name
            try:
                yield
            finally:
                if self._name and before is None:
                    os.environ.pop(NAME_VARIABLE, None)
                elif self._name and before is not None:
                    os.environ[NAME_VARIABLE] = before


def plain(value: Any) -> Any:
    """As JSON has it: numbers and texts as they are, pairs of x and y as lists, members of enums by name."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if hasattr(value, "x") and hasattr(value, "y"):
        return [int(value.x), int(value.y)]
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    name = getattr(value, "name", None)
    return name if isinstance(name, str) else str(value)


def _own_member(name: str, value: Any) -> Any:
    """One of ours; the name alone where modules differ or it is one that a Jungfrau does not have."""
    if isinstance(value, list | tuple):
        return plain(value)
    kind = ENUM_OF[name]
    told = str(getattr(value, "name", value))
    return kind[told] if told in kind.__members__ else told
