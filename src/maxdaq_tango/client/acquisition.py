"""`DAQ`: one device, its set-points, and acquisitions that are waited for. See the package."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import tango

from maxdaq_tango.client.progress import Look, bar, no_look
from maxdaq_tango.client.report import BadRun, Report, report_of
from maxdaq_tango.errors import ConfigurationError, DetectorOffline, DetectorTimeout, StateError
from maxdaq_tango.tango_support.failures import error_of

TANGO_TIMEOUT_S = 10.0
"""Of one call. Arm is the longest one: the devices answer within 3 s."""
ARM_S = 150.0
"""Longest wait for ARMED: a vendor's detector may compute for two minutes after its energy was changed."""
END_S = 30.0
"""Longest wait for the end of what was stopped or aborted."""
STALL_S = 60.0
"""Without any change, in a run whose frames nobody else triggers."""
LOOK_S = 0.05

ATTRIBUTES = {
    "mode": "TriggerMode",
    "exposure_s": "ExposureTime",
    "latency_s": "LatencyTime",
    "frame_time_s": "FrameTime",
    "triggers": "nTriggers",
    "frames_per_trigger": "nFramesPerTrigger",
    "detectors": "EnabledDetectors",
    "directory": "DestinationDirectory",
    "pattern": "FilePattern",
    "scan_number": "ScanNumber",
    "filename": "DestinationFilename",
    "overwrite": "DestinationFileOverwritable",
    "metadata": "Metadata",
    "overrides": "Overrides",
}
"""Word of `DAQ.set` > attribute, in the order in which they are written."""


class DAQ:
    """A DAQController, or a detector device. Every error is a MaxdaqError in one sentence.

    As a context manager it leaves nothing running: what goes on when the block is left is stopped, or aborted where an
    exception leaves it, and its end is waited for.
    """

    def __init__(self, device: str, *, progress: bool | None = None) -> None:
        """`progress`: a bar on stderr while one waits; None = where that is a terminal. DetectorOffline."""
        self.name = device
        self._progress = progress
        try:
            self.proxy = tango.DeviceProxy(device)
            self.proxy.set_timeout_millis(int(TANGO_TIMEOUT_S * 1000))
            self._known = frozenset(self.proxy.get_attribute_list())
        except tango.DevFailed as failed:
            raise error_of(failed, asked="connect", of=device, otherwise=DetectorOffline) from None

    # ---- set-points ----

    def set(
        self,
        *,
        mode: str | None = None,
        exposure_s: float | None = None,
        latency_s: float | None = None,
        frame_time_s: float | None = None,
        triggers: int | None = None,
        frames_per_trigger: int | None = None,
        detectors: Sequence[str] | None = None,
        directory: str | None = None,
        pattern: str | None = None,
        scan_number: int | None = None,
        filename: str | None = None,
        overwrite: bool | None = None,
        metadata: Mapping[str, Any] | None = None,
        overrides: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Write what is given, and nothing else; see the attributes of the device (`ATTRIBUTES`).

        A value that the device refuses is its own error, and those after it have not been written.
        """
        given = {name: value for name, value in locals().items() if name in ATTRIBUTES and value is not None}
        for word, attribute in ATTRIBUTES.items():
            if word in given:
                value = json.dumps(given[word]) if word in ("metadata", "overrides") else given[word]
                self._write(word, attribute, list(value) if word == "detectors" else value)

    # ---- one after the other ----

    def arm(self, timeout_s: float = ARM_S) -> None:
        """Until every detector is armed, or has begun by itself (INTERNAL); BadRun when that failed."""
        self._call("Arm")
        self._until(lambda: self.state != "CONFIGURING", timeout_s, "arm")
        report = None if self.is_running else self._report()
        if report is not None and not report.armed:
            raise BadRun("arm", of=self.name, report=report)

    def trigger(self, timeout_s: float = STALL_S) -> None:
        """One software trigger, as soon as the detectors are ready for it."""
        self._until(
            lambda: self._read("ReadyForSwTrigger") or not self.is_running, timeout_s, "become ready to trigger"
        )
        self._call("SoftwareTrigger")

    def wait(self, timeout_s: float | None = None) -> Report:
        """Until the run is over and its files are closed, whatever its verdict. DetectorTimeout leaves it running.

        `timeout_s` None: as long as anything changes, or a trigger from outside may still come.
        """
        with bar(self._progress) as look:
            self._watch(timeout_s, look)
        return self._report()

    def stop(self) -> None:
        """End in order: detectors first, then files. Waits for it; harmless when nothing runs."""
        self._end("Stop")

    def abort(self) -> None:
        """End at once. Waits for it; harmless when nothing runs."""
        self._end("Abort")

    # ---- all at once ----

    def acquire(self, *, timeout_s: float | None = None, **set_points: Any) -> Report:
        """Set, arm, take, close: COMPLETE, or BadRun with the report. What interrupts it (Ctrl-C) aborts the run.

        Software triggers are given here, each as soon as the detectors are ready.
        """
        self.set(**set_points)
        try:
            self.arm()
            if self._read("TriggerMode") == "SOFTWARE":
                for _ in range(int(self._read("nTriggers"))):
                    self.trigger()
            report = self.wait(timeout_s)
        except BaseException:
            self.abort()
            raise
        if not report.is_complete:
            raise BadRun("acquire", of=self.name, report=report)
        return report

    # ---- looks ----

    @property
    def state(self) -> str:
        """IDLE, CONFIGURING, ARMED, ACQUIRING, DRAINING, FINALISING or FAULT."""
        return str(self._read("AcquisitionState"))

    @property
    def is_running(self) -> bool:
        """From Arm to the last closed file."""
        return self.state not in ("IDLE", "FAULT")

    @property
    def frames_received(self) -> int:
        """Since Arm, of the receiver that has fewest."""
        return int(self._read("nFramesReceived"))

    @property
    def frames_wanted(self) -> int:
        """Of each detector."""
        return int(self._read("nTriggers")) * int(self._read("nFramesPerTrigger"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_running:
            self._end("Stop" if kind is None else "Abort")

    # ---- inside ----

    def _watch(self, timeout_s: float | None, look: Look = no_look) -> None:
        wanted, waits_for_others = self.frames_wanted, str(self._read("TriggerMode")) != "INTERNAL"
        pause, began = threading.Event(), time.monotonic()
        seen: tuple[str, int] = "", -1
        since = began
        while True:
            # The state first: what is counted afterwards is then final when the state says so.
            state = self.state
            now, told = time.monotonic(), (state, self.frames_received)
            if told != seen:
                seen, since = told, now
                look(*told, wanted)
            if state in ("IDLE", "FAULT"):
                return
            may_be_quiet = waits_for_others and told[1] < wanted
            stalled = timeout_s is None and not may_be_quiet and now - since > STALL_S + self._frame_s()
            if stalled or (timeout_s is not None and now - began > timeout_s):
                limit = f"nothing has changed for {now - since:.0f} s" if stalled else f"{timeout_s:g} s are over"
                raise DetectorTimeout(
                    "wait for the end of the run",
                    of=self.name,
                    answer=f"{state}, {told[1]} of {wanted} frames are here, {limit}: {self._status()}",
                    accepted="stop() or abort()",
                )
            pause.wait(LOOK_S)

    def _until(self, condition: Callable[[], object], timeout_s: float, asked: str) -> None:
        pause, deadline = threading.Event(), time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise DetectorTimeout(asked, of=self.name, answer=f"not done in {timeout_s:g} s: {self._status()}")
            pause.wait(LOOK_S)

    def _end(self, command: str) -> None:
        self._call(command)
        self._until(lambda: not self.is_running, END_S, command.lower())

    def _report(self) -> Report:
        return report_of(str(self._read("LastReport")), self.name)

    def _frame_s(self) -> float:
        return float(self._read("ExposureTime"))

    def _status(self) -> str:
        return " ".join(str(self._read("Status")).split())

    def _read(self, attribute: str) -> Any:
        try:
            return self.proxy.read_attribute(attribute).value
        except tango.DevFailed as failed:
            raise error_of(failed, asked=f"read {attribute}", of=self.name, otherwise=DetectorOffline) from None

    def _write(self, word: str, attribute: str, value: Any) -> None:
        asked = f"set {word} to {value!r}"
        if attribute not in self._known:
            raise ConfigurationError(asked, of=self.name, answer="it has no such setting", accepted="a DAQController")
        try:
            self.proxy.write_attribute(attribute, value)
        except tango.DevFailed as failed:
            raise error_of(failed, asked=asked, of=self.name, otherwise=StateError) from None
        except (TypeError, ValueError) as error:  # PyTango, of a value of another type
            raise ConfigurationError(asked, of=self.name, answer=str(error)) from None

    def _call(self, command: str) -> None:
        try:
            self.proxy.command_inout(command)
        except tango.DevFailed as failed:
            raise error_of(failed, asked=command, of=self.name, otherwise=DetectorOffline) from None
