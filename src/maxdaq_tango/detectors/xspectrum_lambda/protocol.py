"""The words between the driver of a Lambda and its streamer. Everything here is in s and eV.

The commands are served by `detectors.streaming.control` as POST /streamer/api/<name>:

| command | arguments | answer | |
|---|---|---|---|
| connect | - | Identity | open the library, connect and initialise what is not; leaves a running series alone |
| initialise | - | - | the detector's own initialisation; out of its error state as well |
| settings | - | DetectorSettings | as the detector has them now |
| set | Change | DetectorSettings | what is not None; read back |
| configure | SeriesSettings | Configured | apply, read back, say what will be sent |
| arm | - | Armed | the headers leave; external series wait for their edges from now on |
| trigger | - | - | one burst; answers when the detector has finished with it |
| stop, abort | - | - | end; what was taken is still sent (stop) or thrown away (abort), and the ends are sent |
| health | - | Health | temperatures and the like; takes a while |
| status | - | Status | in a series it does not wait for the detector; one at rest is asked, every 0.3 s at most |
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from maxdaq_tango.detectors.xspectrum_lambda.geometry import ModulePlace
from maxdaq_tango.detectors.xspectrum_lambda.words import BitDepth, CounterMode, Switch
from maxdaq_tango.model import TriggerMode

DEFAULT_PORT = 9014
"""Of the control: the next one after those of MAX IV's four modules, 9010 to 9013."""


class State(StrEnum):
    """Of the detector as its streamer sees it."""

    OFFLINE = "OFFLINE"
    """The library is not there, or reaches no detector."""
    IDLE = "IDLE"
    CONFIGURING = "CONFIGURING"
    ARMED = "ARMED"
    ACQUIRING = "ACQUIRING"
    ERROR = "ERROR"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who was found."""

    model: str
    serial_number: str
    firmware: str
    library_version: str
    modules: int


class DetectorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What stays from series to series, as the detector has it."""

    bit_depth: BitDepth
    charge_summing: Switch
    counter_mode: CounterMode
    gating: Switch
    thresholds_ev: tuple[float, ...]
    """Empty after a cold start: nothing can be acquired then."""
    energy_ev: float


class Change(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings to be changed; None = leave it."""

    bit_depth: BitDepth | None = None
    charge_summing: Switch | None = None
    counter_mode: CounterMode | None = None
    gating: Switch | None = None
    thresholds_ev: tuple[float, ...] | None = None
    energy_ev: float | None = None
    voltage_v: float | None = None
    """Of the sensors of all modules."""


class SeriesSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of the next series."""

    exposure_time_s: float
    latency_time_s: float = 0.0
    frames_per_trigger: int = 1
    trigger_count: int = 1
    trigger_mode: TriggerMode = TriggerMode.INTERNAL
    filename: str = ""
    """For receivers that take it from the header."""
    metadata: dict[str, Any] = {}
    """For the headers of all modules."""


class Configured(msgspec.Struct, frozen=True, kw_only=True):
    """What will be sent."""

    ports: tuple[int, ...]
    """Of the streams, in the order of the modules."""
    module_shape: tuple[int, int]
    """(rows, columns)"""
    places: tuple[ModulePlace, ...]
    full_shape: tuple[int, int]
    dtype: str
    frame_count: int
    """Messages of one module: two an exposure where both counters are read."""
    exposure_time_s: float
    """As read back."""
    frame_period_s: float
    settings: DetectorSettings
    notes: tuple[str, ...] = ()
    """What a person should know of this series."""


class Armed(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to arm."""

    series: int
    """As the streamer counts; its messages do not carry it."""
    frame_count: int


class ModuleStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Of one module's part of the present or last series."""

    taken: int = 0
    """Frames that came out of the library in order."""
    sent: int = 0
    faulty: int = 0
    """That the library called incomplete, or that have another size than they should; they are not sent."""
    strays: int = 0
    """With a number that this series does not have, or a second time."""
    given_up: int = 0
    """Taken out of the library, and then thrown away because the series was aborted or nobody took them."""
    queued_bytes: int = 0


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """One look."""

    state: State
    message: str = ""
    ready_for_trigger: bool = False
    frames_acquired: int = 0
    """Since arm."""
    series: int = 0
    modules: tuple[ModuleStatus, ...] = ()


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Of all modules, in their order; what the library does not tell is empty."""

    temperatures_degc: tuple[tuple[float, ...], ...] = ()
    """Several sensors a module."""
    humidities_percent: tuple[float, ...] = ()
    voltages_v: tuple[float, ...] = ()
    voltages_settled: bool = False
