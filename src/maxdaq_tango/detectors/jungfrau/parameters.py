"""Settings of a Jungfrau: which there are, which values may be asked for, and what is set before each series."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from maxdaq_tango.detectors.jungfrau.adapter import SlsAdapter
from maxdaq_tango.detectors.jungfrau.protocol import (
    ENUM_OF,
    HIGHEST_HIGH_VOLTAGE,
    LOWEST_HIGH_VOLTAGE,
    ZMQ_PORT,
    FrameDiscardPolicy,
    GainMode,
    TimingMode,
)
from maxdaq_tango.errors import DetectorRefused

RESOLUTION_S = 2e-7
"""Times are counted in ticks of the detector's clock, 25 ns and more, and read back as it rounds them."""
RELATIVE = 1e-6
SETTABLE = (
    "gainmode",
    "settings",
    "highvoltage",
    "powerchip",
    "readoutspeed",
    "delay",
    "temp_threshold",
    "temp_control",
    "numinterfaces",
)
TOLD = (
    "exptime",
    "period",
    "delay",
    "frames",
    "triggers",
    "timing",
    "gainmode",
    "settings",
    "readoutspeed",
    "highvoltage",
    "powerchip",
    "temp_threshold",
    "temp_control",
    "numinterfaces",
    "nmod",
    "module_geometry",
    "detsize",
    "serialnumber",
    "chipversion",
    "detectorserverversion",
    "firmwareversion",
    "clientversion",
    "rx_version",
    "rx_hostname",
    "rx_zmqport",
    "rx_zmqfreq",
)
"""Stored with the frames."""


class JungfrauParameters:
    """Reads and sets them through the adapter."""

    def __init__(self, adapter: SlsAdapter, *, allow_fix_g0: bool = False) -> None:
        self._adapter = adapter
        self._allow_fix_g0 = allow_fix_g0

    def read(self, name: str) -> Any:
        """One, as JSON has it."""
        value = self._adapter.get(name)
        return value.name if name in ENUM_OF and isinstance(value, ENUM_OF[name]) else value

    def told(self, name: str) -> Any:
        """The same; None where this detector, its server or this version of the package does not have it."""
        try:
            return self.read(name)
        except DetectorRefused:
            return None

    def numbers(self, name: str) -> list[int]:
        """One for each port, in their order; [] where it cannot be told."""
        value = self.told(name)
        values = value if isinstance(value, list) else [value]
        flat = [one for item in values for one in (item if isinstance(item, list) else [item])]
        return [int(one) for one in flat if isinstance(one, int | float)]

    def everything(self) -> dict[str, Any]:
        """All that can be told, for the file."""
        found = {name: self.told(name) for name in TOLD}
        return {name: value for name, value in found.items() if value is not None}

    def set(self, name: str, value: Any) -> Any:
        """Set one of SETTABLE, members of enums by name; returns what reads back."""
        host = self._adapter.host
        asked = f"set {name} to {value}"
        if name not in SETTABLE:
            raise DetectorRefused(asked, of=host, answer="not a setting", accepted=", ".join(SETTABLE))
        if name in ENUM_OF:
            members = ENUM_OF[name].__members__
            if str(value) not in members:
                raise DetectorRefused(asked, of=host, answer="no such word", accepted=", ".join(members))
            value = members[str(value)]
        if value is GainMode.FIX_G0:
            self._refuse_fix_g0(asked)
        if name == "highvoltage" and value != 0 and not LOWEST_HIGH_VOLTAGE <= value <= HIGHEST_HIGH_VOLTAGE:
            accepted = f"0, or {LOWEST_HIGH_VOLTAGE} to {HIGHEST_HIGH_VOLTAGE} V"
            raise DetectorRefused(f"{asked} V", of=host, answer="out of range", accepted=accepted)
        self._adapter.set(name, value)
        return self.read(name)

    def must_be_harmless(self) -> None:
        """DetectorRefused when somebody has set FIX_G0, and nobody has allowed it."""
        mode = self._adapter.get("gainmode")
        if mode is GainMode.FIX_G0 or (isinstance(mode, list) and GainMode.FIX_G0.name in mode):
            self._refuse_fix_g0("expose in gain mode FIX_G0")

    def must_be_ready(self) -> None:
        """DetectorRefused with the reason when the chip is off."""
        host = self._adapter.host
        if self.told("temp_event"):
            accepted = "ClearTemperatureEvent when it has cooled down, then PowerChip"
            raise DetectorRefused(
                "arm", of=host, answer="a temperature event has switched the chip off", accepted=accepted
            )
        power = self._adapter.get("powerchip")
        if not (all(power) if isinstance(power, list) else power):  # a list: modules differ
            raise DetectorRefused("arm", of=host, answer="the chip is not powered", accepted="PowerChip")

    def apply(self, *, timing: TimingMode, frames: int, triggers: int, exposure_s: float, period_s: float) -> None:
        """What a series needs, in the order that the package wants; DetectorRefused where something else reads back."""
        wanted: dict[str, Any] = {
            "fwrite": False,  # the receiver program shall write no files of its own
            "rx_discardpolicy": FrameDiscardPolicy.NO_DISCARD,  # incomplete frames are kept, and told as such
            "rx_zmqstartfnum": 0,
            "rx_zmqfreq": 1,  # 0 streams one frame now and then
            "rx_zmqstream": True,
            "timing": timing,
            "frames": frames,
            "triggers": triggers,
            "exptime": exposure_s,
            "period": period_s,
        }
        for name, value in wanted.items():
            if name in ("fwrite", "rx_zmqstream") and self._adapter.get(name) == value:
                continue  # setting it anew restarts the stream's sockets
            self._adapter.set(name, value)
        self._must_read(wanted)

    def expose(self, *, exposure_s: float, period_s: float) -> None:
        """Other times for the bursts that follow; DetectorRefused where something else reads back."""
        wanted = {"exptime": exposure_s, "period": period_s}
        for name, value in wanted.items():
            self._adapter.set(name, value)
        self._must_read(wanted)

    def _must_read(self, wanted: Mapping[str, Any]) -> None:
        for name, value in wanted.items():
            found = self._adapter.get(name)
            if isinstance(value, float):
                same = isinstance(found, int | float) and math.isclose(
                    found, value, rel_tol=RELATIVE, abs_tol=RESOLUTION_S
                )
            else:
                same = found == value
            if not same:
                raise DetectorRefused(
                    f"set {name} to {getattr(value, 'name', value)}",
                    of=self._adapter.host,
                    answer=f"it reads {getattr(found, 'name', found)}",
                    accepted="a value that the detector takes as it is",
                )

    def _refuse_fix_g0(self, asked: str) -> None:
        if not self._allow_fix_g0:
            raise DetectorRefused(
                asked,
                of=self._adapter.host,
                answer="FIX_G0 never switches the gain, and strong light can damage the detector",
                accepted="another gain mode; or property AllowFixG0, by whoever answers for the detector",
            )


def sources_of(told: dict[str, Any], stream_host: str, control_host: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Endpoints of all ports in the order of the modules; and (ports, rows, columns) of a frame, () where not known.

    The package tells one port for each module; the second interface of a module has the next number.
    """
    first: Any = told.get("rx_zmqport", ZMQ_PORT)
    firsts: list[Any] = first if isinstance(first, list) else [first]
    interfaces, modules = told.get("numinterfaces") or 1, int(told.get("nmod") or 1)
    if not isinstance(interfaces, int):
        answer = f"modules have {interfaces} of them"
        raise DetectorRefused(
            "find the streams by the number of interfaces", of=control_host, answer=answer, accepted="1 or 2, alike"
        )
    if len(firsts) < modules:
        firsts = [int(firsts[0]) + module * interfaces for module in range(modules)]
    host = stream_host or str(told.get("rx_hostname") or "").split("+")[0].split(":")[0]
    host = host or control_host.split("+")[0].split(":")[0]
    ports = [int(port) + interface for port in firsts for interface in range(interfaces)]
    sources = tuple(f"tcp://{host}:{port}" for port in ports)
    size, geometry = told.get("detsize"), told.get("module_geometry")
    if not isinstance(size, list) or not isinstance(geometry, list) or min(*size, *geometry) < 1:
        return sources, ()
    rows, columns = size[1] // (geometry[1] * interfaces), size[0] // geometry[0]
    return sources, (len(ports), rows, columns) if rows and columns else ()
