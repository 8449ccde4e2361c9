"""SIMPLON, the HTTP grammar of Eiger, Eiger2 and Pilatus4: addresses, values, arrays, answers and deadlines.

Sans-IO and used by both sides: the client builds requests and reads answers with it, the simulator the other way round.
Arrays travel inside values; their grammar is in `darray.py`.

Sources: SIMPLON API reference 1.6 (document 1.3.2) and 1.8 (document 3.2, April 2024), as far as areaDetector/ADEiger
publishes them; where ADEiger's code and the text disagree, the wire wins and the place says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from maxdaq_tango.errors import WireError

API_VERSIONS = ("1.6.0", "1.8.0")
"""Versions this grammar knows; a detector refuses any other in a URL since 2023.1."""
LEGACY_STREAM_PORT = 9999
"""ZeroMQ PUSH of stream v1, bound by the detector."""
CBOR_STREAM_PORT = 31001
"""ZeroMQ PUSH of stream v2, bound by the detector."""
JSON_TYPE = "application/json"
TIFF_TYPE = "application/tiff"


class Module(StrEnum):
    """First part of a URL: which program on the detector control unit is meant."""

    DETECTOR = "detector"
    MONITOR = "monitor"
    FILEWRITER = "filewriter"
    STREAM = "stream"
    SYSTEM = "system"


class Task(StrEnum):
    """What a URL below a module names."""

    CONFIG = "config"
    STATUS = "status"
    COMMAND = "command"
    IMAGES = "images"
    """Monitor only: frames as TIFF."""
    FILES = "files"
    """Filewriter only."""


class State(StrEnum):
    """Value of `detector/.../status/state`."""

    NA = "na"
    """After boot or a restart of the acquisition program: only `initialize` helps."""
    INITIALIZE = "initialize"
    IDLE = "idle"
    CONFIGURE = "configure"
    READY = "ready"
    ACQUIRE = "acquire"
    TEST = "test"
    ERROR = "error"


BUSY_STATES = frozenset({State.CONFIGURE, State.READY, State.ACQUIRE})
"""A series is under way. A driver polls until the state has left these, and looks for `error` as well."""


class StreamState(StrEnum):
    """Value of `stream/.../status/state` and `filewriter/.../status/state`."""

    DISABLED = "disabled"
    READY = "ready"
    ACQUIRE = "acquire"
    ERROR = "error"


class MonitorState(StrEnum):
    """Value of `monitor/.../status/state`."""

    NORMAL = "normal"
    OVERFLOW = "overflow"


class VendorTriggerMode(StrEnum):
    """Value of `trigger_mode`. First three letters: who starts; last: series or exposure (one frame a trigger)."""

    INTS = "ints"
    """nimages for each software trigger, ntrigger times; `trigger` blocks for the whole burst."""
    INTE = "inte"
    """One frame a software trigger; nimages must be 1; `trigger` carries the count time."""
    EXTS = "exts"
    """nimages for each electrical edge, ntrigger times."""
    EXTE = "exte"
    """One frame a gate, the gate is the exposure; nimages must be 1."""
    EXTG = "extg"
    """Gated with several gates a frame (EIGER2); stays armed after the series."""
    EIES = "eies"
    """Externally interrupted exposure series (EIGER2); no public detail."""


ONE_FRAME_MODES = frozenset({VendorTriggerMode.INTE, VendorTriggerMode.EXTE})
"""Modes that demand nimages = 1, set before the mode (2020.2.2 refuses the mode otherwise)."""
SOFTWARE_MODES = frozenset({VendorTriggerMode.INTS, VendorTriggerMode.INTE})
"""Modes in which the `trigger` command starts an exposure."""


class DetectorCommand(StrEnum):
    """Commands of the detector module."""

    INITIALIZE = "initialize"
    ARM = "arm"
    TRIGGER = "trigger"
    DISARM = "disarm"
    CANCEL = "cancel"
    ABORT = "abort"
    STATUS_UPDATE = "status_update"
    CHECK_CONNECTIONS = "check_connections"
    HV_RESET = "hv_reset"
    WAIT = "wait"
    """Exists but is undocumented and unreliable; no driver should use it."""


class ModuleCommand(StrEnum):
    """Commands of the modules beside the detector."""

    INITIALIZE = "initialize"
    CLEAR = "clear"
    RESTART = "restart"


COMMAND_TIMEOUTS_S: Mapping[str, float] = {
    DetectorCommand.INITIALIZE: 240.0,
    DetectorCommand.ARM: 120.0,
    DetectorCommand.DISARM: 60.0,
    DetectorCommand.CANCEL: 60.0,
    DetectorCommand.ABORT: 30.0,
    DetectorCommand.STATUS_UPDATE: 30.0,
    DetectorCommand.CHECK_CONNECTIONS: 60.0,
    DetectorCommand.HV_RESET: 30.0,
    ModuleCommand.CLEAR: 10.0,
    ModuleCommand.RESTART: 30.0,
}
"""Longest time a command may block before a client gives up (ADEiger's values where it has one). Not for `trigger`."""
CONFIG_TIMEOUT_S = 30.0
"""For PUT on a parameter: an energy or threshold change recomputes the flatfield and takes seconds."""
READ_TIMEOUT_S = 5.0
"""For GET."""
TRIGGER_MARGIN_S = 10.0
SLOW_PARAMETERS = frozenset({"photon_energy", "incident_energy", "element", "wavelength", "threshold_energy"})
"""Writing these recomputes the flatfield (as does any threshold/n/energy): write only what really changes."""


def trigger_timeout_s(frame_time_s: float, frames: int, start_delay_s: float = 0.0) -> float:
    """Longest time one `trigger` may block; `frames` counts one trigger's frames (nimages)."""
    return frame_time_s * frames + start_delay_s + TRIGGER_MARGIN_S


# --- addresses -------------------------------------------------------------------------------------------------------


class Address(msgspec.Struct, frozen=True):
    """A parsed SIMPLON path."""

    module: str
    version: str = ""
    """"" for `<module>/api/version`, the only path without one."""
    task: str = ""
    key: str = ""
    """Parameter or command, may hold slashes (`threshold/1/energy`); `keys` lists all; "" = the task itself."""


def path(module: str, version: str, task: str, key: str = "") -> str:
    """The path of a parameter, command or key list: `/detector/api/1.8.0/config/count_time`."""
    base = f"/{module}/api/{version}/{task}"
    return f"{base}/{key}" if key else base


def version_path(module: str = Module.DETECTOR) -> str:
    """Where a module tells its API version (not every server has it)."""
    return f"/{module}/api/version"


def keys_path(module: str, version: str, task: str) -> str:
    """Where a module lists the parameters of a task."""
    return path(module, version, task, "keys")


def parse_path(url_path: str) -> Address:
    """The inverse of `path` and `version_path`; a query string is no part of it. Raises `WireError`."""
    parts = url_path.strip("/").split("/")
    if len(parts) >= 3 and parts[1] == "api":
        if parts[2] == "version" and len(parts) == 3:
            return Address(parts[0])
        if len(parts) >= 4 and all(parts):
            return Address(parts[0], parts[2], parts[3], "/".join(parts[4:]))
    raise WireError(
        f"the SIMPLON path {url_path!r}", answer="not understood", accepted="/<module>/api/<version>/<task>/<parameter>"
    )


# --- values ----------------------------------------------------------------------------------------------------------


class Parameter(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The envelope in which a configuration or status value travels; absent members are UNSET."""

    value: Any
    """bool, int, float, str, list of these, or a darray object."""
    value_type: str = ""
    """bool, float, int, uint, string, string[] ...; "" where an old server says nothing."""
    min: float | int | UnsetType | None = UNSET
    max: float | int | UnsetType | None = UNSET
    allowed_values: Any = UNSET
    """A list; some firmware sends a bare string for a list of one. Use `choices`."""
    unit: str | UnsetType | None = UNSET
    access_mode: str | UnsetType | None = UNSET
    """r, w or rw; absent means rw for config and r for status."""
    time: str | UnsetType = UNSET
    """Status only: when the value was taken, ISO 8601."""
    state: str | UnsetType | None = UNSET
    """Status only: normal, critical, disabled or invalid."""
    critical_limits: Any = UNSET
    critical_values: Any = UNSET

    @property
    def choices(self) -> tuple[Any, ...]:
        """Allowed values, () when any value of the type goes."""
        if self.allowed_values is UNSET or self.allowed_values is None:
            return ()
        if isinstance(self.allowed_values, list | tuple):
            return tuple(self.allowed_values)
        return (self.allowed_values,)

    @property
    def minimum(self) -> float | None:
        """Lower limit, None when the server states none."""
        return None if self.min is UNSET or self.min is None else float(self.min)

    @property
    def maximum(self) -> float | None:
        """Upper limit, None when the server states none."""
        return None if self.max is UNSET or self.max is None else float(self.max)

    @property
    def is_writable(self) -> bool:
        """True unless the server says read-only."""
        return self.access_mode is UNSET or self.access_mode is None or "w" in str(self.access_mode)


_decode_parameter = msgspec.json.Decoder(Parameter).decode
_decode_any = msgspec.json.Decoder().decode


def encode_parameter(parameter: Parameter) -> bytes:
    """The answer to GET."""
    return msgspec.json.encode(parameter)


def decode_parameter(body: bytes) -> Parameter:
    """Read the answer to GET; unknown members are ignored. Raises `WireError`."""
    try:
        return _decode_parameter(body)
    except msgspec.MsgspecError as error:
        raise _unreadable("a parameter", body, error, '{"value": ..., "value_type": ...}') from error


def encode_value(value: Any) -> bytes:
    """The body of PUT: `{"value": X}`."""
    return msgspec.json.encode({"value": value})


def decode_value(body: bytes) -> Any:
    """Read the body of a PUT on one parameter. Raises `WireError` when it is not `{"value": X}`."""
    content = _json("the body of a PUT", body, '{"value": X}')
    if not isinstance(content, dict) or "value" not in content:
        raise _unreadable("the body of a PUT", body, "no member 'value'", '{"value": X}')
    return content["value"]


def decode_command_argument(body: bytes) -> Any:
    """Argument of a command, None when there is none (no body, `{}`, `null` and `{"value": null}` all mean that).

    A bare JSON number is taken as well: ADEiger sends the count time of `trigger` so.
    """
    if not body.strip():
        return None
    content = _json("the argument of a command", body, '{"value": X}, {} or nothing')
    if content is None or content == {}:
        return None
    if isinstance(content, dict):
        if "value" not in content:
            raise _unreadable("the argument of a command", body, "no member 'value'", '{"value": X}, {} or nothing')
        return content["value"]
    return content


def encode_bulk(values: Mapping[str, Any]) -> bytes:
    """The body of a PUT on `stream/api/1.8.0/config`: several parameters at once."""
    return msgspec.json.encode({name: {"value": value} for name, value in values.items()})


def decode_bulk(body: bytes) -> dict[str, Any]:
    """Read a bulk PUT, one object or a list of objects. Raises `WireError`."""
    accepted = '{"name": {"value": X}, ...}'
    content = _json("a bulk configuration", body, accepted)
    values: dict[str, Any] = {}
    for entry in content if isinstance(content, list) else [content]:
        if not isinstance(entry, dict):
            raise _unreadable("a bulk configuration", body, "not an object", accepted)
        for name, envelope in entry.items():
            if not isinstance(envelope, dict) or "value" not in envelope:
                raise _unreadable("a bulk configuration", body, f"{name!r} holds no 'value'", accepted)
            values[name] = envelope["value"]
    return values


def decode_keys(body: bytes) -> tuple[str, ...]:
    """Read a key list (`.../keys`). Raises `WireError`."""
    content = _json("a list of keys", body, '["name", ...]')
    if isinstance(content, dict):  # some servers wrap the list in the usual envelope
        content = content.get("value")
    if not isinstance(content, list) or not all(isinstance(name, str) for name in content):
        raise _unreadable("a list of keys", body, "not a list of names", '["name", ...]')
    return tuple(content)


def decode_changed_keys(body: bytes) -> tuple[str, ...]:
    """Names of the parameters that a PUT (possibly) changed, to be read again.

    Never raises: since 2020.2 an empty answer is `{}`, older firmware sends nothing, and some answers are free text.
    Then the tuple is empty and only the parameter written is known to have changed.
    """
    try:
        content = _decode_any(body)
    except msgspec.MsgspecError:
        return ()
    if not isinstance(content, list):
        return ()
    return tuple(name for name in content if isinstance(name, str))


SEQUENCE_ID = "sequence id"
"""As `arm`, `disarm`, `cancel` and `abort` spell it on the wire, with a space; the manual writes sequence_id."""
_SEQUENCE_ID_SPELLINGS = (SEQUENCE_ID, "sequence_id", "series id", "series_id")


def encode_sequence_id(number: int) -> bytes:
    """The answer to `arm`, `disarm`, `cancel` and `abort`."""
    return msgspec.json.encode({SEQUENCE_ID: number})


def decode_sequence_id(body: bytes) -> int | None:
    """Series number out of the answer to `arm`; None when the answer has none under any known spelling."""
    try:
        content = _decode_any(body)
    except msgspec.MsgspecError:
        return None
    if isinstance(content, dict):
        for name in _SEQUENCE_ID_SPELLINGS:
            number = content.get(name)
            if isinstance(number, int) and not isinstance(number, bool):
                return number
    return None


def _json(what: str, body: bytes, accepted: str) -> Any:
    try:
        return _decode_any(body)
    except msgspec.MsgspecError as error:
        raise _unreadable(what, body, error, accepted) from error


def _unreadable(what: str, body: bytes, why: object, accepted: str) -> WireError:
    return WireError(what, answer=f"{why}; received {bytes(body[:120])!r}", accepted=accepted)
