"""What can be set on a simulated Lambda, and what its library refuses. Pure.

Values travel as JSON: enum members by name or number. What libxsp checks by itself is not public; what is refused here
is what its types and documentation rule out.
"""

from __future__ import annotations

import math
from enum import IntEnum, StrEnum
from typing import Any

from maxdaq_tango.detectors.xspectrum_lambda.words import (
    MOST_FRAMES,
    MOST_THRESHOLDS,
    BitDepth,
    CounterMode,
    Switch,
    XspTrigger,
)

LONGEST_SHUTTER_MS = 3_600_000.0
SHORTEST_SHUTTER_MS = 0.01
HIGHEST_KEV = 200.0


class StatusCode(IntEnum):
    """As libxsp 2.1.0 numbers them."""

    BAD_DEVICE_NOT_CONNECTED = 0x80100000
    BAD_DEVICE_NOT_READY = 0x80120000
    BAD_DEVICE_BUSY = 0x80130000
    BAD_DEVICE_FAILURE = 0x80140000
    BAD_COMMAND_NOT_ACCEPTED = 0x80400000
    BAD_COMMAND_NOT_IMPLEMENTED = 0x80410000
    BAD_COMMAND_FAILED = 0x80440000
    BAD_ARG_OUT_OF_RANGE = 0x804A0000
    BAD_ARG_INVALID = 0x804B0000


class Refusal(Exception):
    """What libxsp's RuntimeError says."""

    def __init__(self, code: StatusCode, message: str) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code


_ENUMS: dict[str, type[StrEnum] | type[IntEnum]] = {
    "bit_depth": BitDepth,
    "charge_summing": Switch,
    "counter_mode": CounterMode,
    "trigger_mode": XspTrigger,
    "gating_mode": Switch,
}


class SimulatedSettings:
    """As after a cold start: no thresholds, no beam energy."""

    def __init__(self, modules: int) -> None:
        self.modules = modules
        self.bit_depth = BitDepth.DEPTH_12
        self.charge_summing = Switch.OFF
        self.counter_mode = CounterMode.SINGLE
        self.trigger_mode = XspTrigger.SOFTWARE
        self.gating_mode = Switch.OFF
        self.shutter_time = 10.0
        """ms"""
        self.number_of_frames = 1
        self.frames_per_trigger = 1
        self.thresholds: list[float] = []
        """keV"""
        self.beam_energy = 0.0
        """keV"""
        self.voltages = [200.0] * modules
        """V"""

    def module(self, arguments: list[Any]) -> int:
        """The number of a module, from 0, out of the arguments of a call, where it counts from 1."""
        if len(arguments) != 1 or arguments[0] not in range(1, self.modules + 1):
            raise Refusal(StatusCode.BAD_ARG_OUT_OF_RANGE, f"module {arguments}, and there are 1 to {self.modules}")
        return int(arguments[0]) - 1

    def get(self, name: str, arguments: list[Any]) -> Any:
        """A value; what does not exist is refused."""
        match name:
            case "number_of_modules":
                return self.modules
            case "voltage":
                return self.voltages[self.module(arguments)]
            case "temperature":
                return [31.5 + self.module(arguments), 28.25]
            case "humidity":
                return 4.5 + self.module(arguments)
            case "chip_ids":
                return [f"W{100 + self.module(arguments)}_{chip}" for chip in "ABCDEFGHIJKL"]
            case "firmware_version":
                self.module(arguments)
                return "2.1.0"
            case "thresholds":
                return list(self.thresholds)
            case "shutter_time" | "number_of_frames" | "frames_per_trigger" | "beam_energy":
                return getattr(self, name)
        if name in _ENUMS:
            return getattr(self, name)
        raise Refusal(StatusCode.BAD_COMMAND_NOT_IMPLEMENTED, f"{name} does not exist")

    def set(self, name: str, arguments: list[Any], value: Any) -> bool:
        """True: memory has to be allocated anew."""
        match name:
            case "voltage":
                module = self.module(arguments)
                self.voltages[module] = _number(name, value, 0.0, 400.0)
            case "shutter_time":
                self.shutter_time = _number(name, value, SHORTEST_SHUTTER_MS, LONGEST_SHUTTER_MS)
            case "number_of_frames":
                before, self.number_of_frames = self.number_of_frames, int(_number(name, value, 1, MOST_FRAMES))
                return before != self.number_of_frames
            case "frames_per_trigger":
                self.frames_per_trigger = int(_number(name, value, 1, MOST_FRAMES))
            case "beam_energy":
                self.beam_energy = _number(name, value, 0.0, HIGHEST_KEV)
            case "thresholds":
                if not isinstance(value, list) or not 1 <= len(value) <= MOST_THRESHOLDS:
                    raise Refusal(StatusCode.BAD_ARG_INVALID, f"thresholds {value}, and 1 to {MOST_THRESHOLDS} can be")
                self.thresholds = [_number(name, item, 0.0, HIGHEST_KEV) for item in value]
            case _:
                return self._set_enum(name, value)
        return False

    def _set_enum(self, name: str, value: Any) -> bool:
        kind = _ENUMS.get(name)
        if kind is None:
            raise Refusal(StatusCode.BAD_COMMAND_NOT_IMPLEMENTED, f"{name} cannot be set")
        try:
            wanted = kind(value)
        except ValueError:
            raise Refusal(StatusCode.BAD_ARG_INVALID, f"{name} {value!r} does not exist") from None
        depth = wanted if name == "bit_depth" else self.bit_depth
        counters = wanted if name == "counter_mode" else self.counter_mode
        if depth == BitDepth.DEPTH_24 and counters == CounterMode.DUAL:
            raise Refusal(StatusCode.BAD_ARG_INVALID, "24 bit take both counters of a pixel")
        changed = getattr(self, name) != wanted
        setattr(self, name, wanted)
        return changed and name in ("bit_depth", "counter_mode")


def _number(name: str, value: Any, lowest: float, highest: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise Refusal(StatusCode.BAD_ARG_INVALID, f"{name} {value!r} is no number")
    if not lowest <= value <= highest:
        raise Refusal(StatusCode.BAD_ARG_OUT_OF_RANGE, f"{name} {value:g} is not within {lowest:g} to {highest:g}")
    return float(value)
