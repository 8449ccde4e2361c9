"""A DAQController or a detector device as a scan sees it: a few calls over Tango, each error one sentence."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import tango

from maxdaq_tango.errors import ConfigurationError, DetectorOffline, MaxdaqError, StateError
from maxdaq_tango.integrations.sardana.naming import Files

CALL_S = 5.0
LOOK_S = 0.02


@dataclass(frozen=True)
class Settings:
    """Of one series. Times in seconds."""

    mode: str
    """SOFTWARE, EXTERNAL_MULTI or EXTERNAL_MULTI_GATE."""
    exposure_s: float
    latency_s: float
    triggers: int
    frames_per_trigger: int
    detectors: tuple[str, ...]
    """Detector devices that take part."""
    files: Files


@dataclass(frozen=True)
class Look:
    """At one moment; counts in the order of `Settings.detectors`."""

    state: str
    """IDLE, CONFIGURING, ARMED, ACQUIRING, DRAINING, FINALISING or FAULT."""
    ready: bool
    """For a software trigger."""
    received: tuple[int, ...] = ()
    safe: tuple[int, ...] = ()
    """Frames 0 to this, exclusive, are in the file and would survive a kill of the receiver."""

    @property
    def running(self) -> bool:
        """From Arm to the last closed file."""
        return self.state not in ("IDLE", "FAULT")


@dataclass(frozen=True)
class Report:
    """Of the last series."""

    verdict: str
    reasons: tuple[str, ...] = ()
    receipts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By detector device, in small letters."""


class DaqLink:
    """One device. Nothing is asked of it before it is needed, so a Pool starts without it."""

    def __init__(self, name: str) -> None:
        self.name = name.strip()
        self._proxies: dict[str, tango.DeviceProxy] = {}
        self._detectors: tuple[str, ...] = ()
        self._is_controller = False
        self._writes_masters = False
        self._active: tuple[str, ...] = ()
        self._receivers: dict[str, str] = {}

    # ---- who is there ----

    @property
    def detectors(self) -> tuple[str, ...]:
        """Detector devices: those of the controller in its order, or the device itself."""
        if not self._detectors:
            names = {name.lower() for name in self._call(self.name, "get_attribute_list", "connect")}
            if not {"arm", "softwaretrigger"} <= self._commands():
                raise ConfigurationError(
                    "acquire", of=self.name, answer="it has no Arm", accepted="a DAQController or a detector device"
                )
            self._is_controller = "detectors" in names
            self._writes_masters = "masterpattern" in names
            found = self.read("Detectors")[0] if self._is_controller else [self.name]
            if not found:
                raise ConfigurationError("acquire", of=self.name, answer="it has no detectors")
            self._detectors = tuple(name.lower() for name in found)
        return self._detectors

    def detector(self, axis: int) -> str:
        """Of an axis, from 1."""
        detectors = self.detectors
        if not 1 <= axis <= len(detectors):
            numbered = ", ".join(f"{number} {name}" for number, name in enumerate(detectors, 1))
            raise ConfigurationError(f"use axis {axis}", of=self.name, answer="no such detector", accepted=numbered)
        return detectors[axis - 1]

    def readout_time(self) -> float:
        """Of the slowest detector, s; 0.0 where none tells."""
        times = [self._read_or(name, "ReadoutTime", 0.0) for name in self.detectors]
        return max((float(seconds) for seconds in times if seconds), default=0.0)

    def frame_shape(self, axis: int) -> tuple[int, int] | None:
        """Rows and columns of the last series of a detector, else as the detector tells; None when nobody can say."""
        detector = self.detector(axis)
        shape: list[int] = self.report().receipts.get(detector, {}).get("shape") or []
        if len(shape) == 3:
            return int(shape[1]), int(shape[2])
        rows, columns = (self._read_or(detector, f"{letter}PixelsDetector", None) for letter in "YX")
        return (int(rows), int(columns)) if rows and columns else None

    # ---- a series ----

    def configure(self, settings: Settings) -> None:
        """Write the set-points; what the device refuses is its own sentence."""
        self._active = settings.detectors
        values: dict[str, Any] = {
            "TriggerMode": settings.mode,
            "ExposureTime": settings.exposure_s,
            "LatencyTime": settings.latency_s,
            "nTriggers": settings.triggers,
            "nFramesPerTrigger": settings.frames_per_trigger,
            "DestinationFileOverwritable": False,
        }
        files = settings.files
        if self._is_controller:
            values["EnabledDetectors"] = list(settings.detectors)
            values["DestinationDirectory"] = files.directory
            values["ScanNumber"] = files.scan
            if self.read("FilePattern")[0] != files.pattern:  # memorised: each write goes to the database
                values["FilePattern"] = files.pattern
            if self._writes_masters and self.read("MasterPattern")[0]:
                values["MasterPattern"] = ""  # the scan file is Sardana's
        else:
            values["DestinationFilename"] = files.path(self.name)
        for name, value in values.items():
            self._call(self.name, "write_attribute", f"set {name} to {value!r}", name, value)

    def arm(self, wait_s: float) -> None:
        """Until armed, or after `wait_s` with the work going on; the device itself waits for 2 s at most."""
        began = time.monotonic()
        self._command("Arm")
        self.wait_until_armed(wait_s - (time.monotonic() - began))

    def wait_until_armed(self, wait_s: float) -> bool:
        """Raises with the reason when arming failed."""
        deadline = time.monotonic() + wait_s
        while True:
            look = self.look(counts=False)
            if look.state in ("ARMED", "ACQUIRING"):
                return True
            if not look.running:
                raise StateError("arm", of=self.name, answer=self.trouble())
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_S)

    def trigger(self) -> None:
        """One software trigger."""
        self._command("SoftwareTrigger")

    def stop(self) -> None:
        """In order. Returns at once; harmless when idle."""
        self._command("Stop")

    def abort(self) -> None:
        """At once. Returns at once; harmless when idle."""
        self._command("Abort")

    def wait_until_idle(self, wait_s: float) -> bool:
        """False when it still runs after that."""
        deadline = time.monotonic() + wait_s
        while self.look(counts=False).running:
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_S)
        return True

    # ---- looks ----

    def look(self, *, counts: bool = True, safe: bool = False) -> Look:
        """`counts`: frames received as well; `safe`: those that are safe, asked of the receivers."""
        counter = "DetectorFramesReceived" if self._is_controller else "nFramesReceived"
        # The state first: what is counted afterwards is then final when the state says so.
        state, ready, *count = self.read("AcquisitionState", "ReadyForSwTrigger", *([counter] if counts else []))
        received = tuple(int(number) for number in _items(count[0])) if counts else ()
        return Look(str(state), bool(ready), received, self._safe() if safe else ())

    def _safe(self) -> tuple[int, ...]:
        return tuple(self._safe_of(name) for name in self._active)

    def _safe_of(self, detector: str) -> int:
        if detector not in self._receivers:
            self._receivers[detector] = str(self._read(detector, "ReceiverName")[0])
        counts = ("nFramesSafe", "nFramesMissing", "nFramesLost", "nFramesCorrupt", "nFramesReceived", "NewestFrame")
        safe, missing, lost, corrupt, received, newest = self._read(self._receivers[detector], *counts)
        # A damaged frame that came again in good health leaves none.
        damaged = corrupt and newest is not None and received <= newest
        # With a hole below the newest frame, a count says nothing about which frames are there.
        return 0 if missing or lost or damaged else int(safe or 0)

    def trouble(self) -> str:
        """Status in one line."""
        return " ".join(str(self.read("Status")[0]).split())

    def report(self) -> Report:
        """Of the last series; an empty one before there was one."""
        text = str(self.read("LastReport")[0] or "")
        if not text:
            return Report("")
        told = json.loads(text)
        receipts = {name.lower(): receipt for name, receipt in told.get("receipts", {}).items()}
        return Report(str(told.get("verdict", "")), tuple(told.get("reasons", ())), receipts)

    def read(self, *attributes: str) -> list[Any]:
        """Values of attributes of the device; one that is invalid is None."""
        return self._read(self.name, *attributes)

    # ---- inside ----

    def _read(self, device: str, *attributes: str) -> list[Any]:
        asked = f"read {', '.join(attributes)}"
        values = self._call(device, "read_attributes", asked, list(attributes))
        for value in values:
            if value.has_failed:
                raise DetectorOffline(asked, of=device, answer=value.get_err_stack()[0].desc)
        return [None if value.quality == tango.AttrQuality.ATTR_INVALID else value.value for value in values]

    def _read_or(self, device: str, attribute: str, default: Any) -> Any:
        try:
            return self._read(device, attribute)[0]
        except MaxdaqError:
            return default

    def _commands(self) -> set[str]:
        return {name.lower() for name in self._call(self.name, "get_command_list", "connect")}

    def _command(self, name: str) -> None:
        self._call(self.name, "command_inout", name, name)

    def _call(self, device: str, method: str, asked: str, *arguments: Any) -> Any:
        try:
            if device not in self._proxies:
                proxy = tango.DeviceProxy(device)
                proxy.set_timeout_millis(int(CALL_S * 1000))
                self._proxies[device] = proxy
            return getattr(self._proxies[device], method)(*arguments)
        except tango.DevFailed as failed:
            first = failed.args[0]
            if str(first.reason).startswith("MAXDAQ_"):
                raise Refused(first.desc) from None
            raise DetectorOffline(asked, of=device, answer=first.desc.strip()) from None


class Refused(MaxdaqError):
    """What a device of ours said: a sentence that has everything in it already."""


def _items(value: Any) -> Sequence[Any]:
    if value is None:
        return ()
    return value if isinstance(value, Iterable) else (value,)  # type: ignore[return-value]
