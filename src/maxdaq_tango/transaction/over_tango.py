"""Detector and receiver of a pair where they are Tango devices: the ports through DeviceProxy.

Looks and calls have links of their own, so that a call that hangs does not blind the watcher. Only what is asked now
counts: nothing here relies on an event having arrived.
"""

from __future__ import annotations

import threading
import time

import msgspec

from maxdaq_tango.errors import DetectorOffline, EngineError, MaxdaqError
from maxdaq_tango.model import (
    AcquisitionSettings,
    AcquisitionState,
    Orientation,
    Receipt,
    RunRequest,
    ScanMaster,
    StreamDescription,
    encoded,
)
from maxdaq_tango.model.hardware import ArmedSeries, DetectorReport, HardwareState
from maxdaq_tango.model.state import BUSY_STATES
from maxdaq_tango.tango_support.device_link import DeviceLink
from maxdaq_tango.transaction.ports import ReceiverView
from maxdaq_tango.transaction.words import ExpectFields, PlaceFields, PrepareFields

ABORT_WAIT_S = 12.0
ABORT_LOOK_S, ABORT_AGAIN_S = 0.05, 0.3


class TangoDetector:
    """A detector device of ours, driven step by step. Fulfils `DetectorPort`.

    `user` is told to it as the one who is using it: its own device name, or "".
    """

    def __init__(self, name: str, user: str = "") -> None:
        self._name, self._user = name, user
        self._calls = DeviceLink(name, offline=DetectorOffline)
        self._looks = DeviceLink(name, offline=DetectorOffline, timeout_s=2.0)

    @property
    def name(self) -> str:
        """Of the device."""
        return self._name

    def configure(self, settings: AcquisitionSettings) -> StreamDescription:
        """Command Configure; its result is attribute StreamDescription."""
        words = msgspec.to_builtins(settings) | ({"used_by": self._user} if self._user else {})
        self._calls.step("Configure", msgspec.json.encode(words).decode())
        return msgspec.json.decode(self._calls.read("StreamDescription")[0], type=StreamDescription)

    def arm(self) -> ArmedSeries:
        """Command ArmHardware; its result is attribute ArmedSeries."""
        self._calls.step("ArmHardware")
        return msgspec.json.decode(self._calls.read("ArmedSeries")[0], type=ArmedSeries)

    def trigger(self, exposure_time_s: float | None = None) -> None:
        """Command TriggerHardware, or TriggerHardwareFor with an exposure."""
        if exposure_time_s is None:
            self._calls.step("TriggerHardware")
        else:
            self._calls.step("TriggerHardwareFor", exposure_time_s)

    def stop(self) -> None:
        """Command StopHardware."""
        self._calls.step("StopHardware")

    def abort(self) -> None:
        """Command AbortHardware. A device that is away is waited for: nobody would disarm its detector afterwards."""
        deadline_s, pause = time.monotonic() + ABORT_WAIT_S, threading.Event()
        while True:
            try:
                return self._calls.step("AbortHardware")
            except DetectorOffline:
                if time.monotonic() > deadline_s:
                    raise
                pause.wait(ABORT_AGAIN_S)

    def reset(self) -> None:
        """Command Reset."""
        self._calls.command("Reset")

    def is_used_by_us(self) -> bool:
        """Attribute UsedBy: it holds itself ready for a run of `user`."""
        return bool(self._user) and str(self._looks.read("UsedBy")[0]).lower() == self._user.lower()

    def report(self) -> DetectorReport:
        """Attribute HardwareReport: the device looks again before it calls a step done."""
        try:
            return msgspec.json.decode(self._looks.read("HardwareReport")[0], type=DetectorReport)
        except (MaxdaqError, msgspec.DecodeError, TypeError) as error:
            return DetectorReport(state=HardwareState.OFFLINE, message=str(error))


class TangoReceiver:
    """A StreamReceiver device. Fulfils `ReceiverPort`.

    How frames are turned and whether they are written are settings of the detector device. Where that is another
    device (`turned_by`), they are read from it when the receiver is prepared.
    """

    def __init__(self, name: str, *, turned_by: str = "") -> None:
        self._name = name
        self._turned_by = DeviceLink(turned_by, offline=DetectorOffline) if turned_by else None
        self._calls = DeviceLink(name)
        self._looks = DeviceLink(name, timeout_s=2.0)
        self._run_id = ""
        self._receipt: Receipt | None = None

    @property
    def name(self) -> str:
        """Of the device."""
        return self._name

    def check(self, places: PlaceFields) -> None:
        """Command CheckDestination, until the step is done; without a file there is nothing to ask."""
        if self._turned_by is not None and places.destination and not self._turned_by.read("SaveRaw")[0]:
            places = msgspec.structs.replace(places, destination="")
        if places.destination or places.scan_master:
            self._calls.step("CheckDestination", msgspec.json.encode(places).decode())

    def prepare(self, request: RunRequest) -> None:
        """Command Prepare, until the step is done."""
        if self._turned_by is not None:
            rotation, fliplr, flipud, save_raw = self._turned_by.read("Rotation", "Fliplr", "Flipud", "SaveRaw")
            orientation = Orientation(int(rotation), bool(fliplr), bool(flipud))
            request = msgspec.structs.replace(request, orientation=orientation, save_raw=bool(save_raw))
        self._run_id = request.run_id
        self._calls.step("Prepare", msgspec.json.encode(PrepareFields.of_request(request)).decode())

    def expect(self, series: str | None, frames: int | None) -> None:
        """Command Expect."""
        self._calls.command("Expect", msgspec.json.encode(ExpectFields(series=series, frames=frames)).decode())

    def stop(self, finished: str = "") -> None:
        """Command Stop, or Finish where nobody asked for a stop."""
        if finished:
            self._calls.command("Finish", finished)
        else:
            self._calls.command("Stop")

    def abort(self, reason: str) -> None:
        """Command Abort, unless the receiver works for somebody else; then until it is free."""
        view = self._view()
        if view.run_id != self._run_id or view.state not in BUSY_STATES:
            return
        self._abort(view, reason)

    def let_go(self, reason: str) -> None:
        """Command Abort, whatever run it is busy with; then until it is free."""
        view = self._view()
        if view.state in BUSY_STATES:
            self._abort(view, reason)

    def _abort(self, view: ReceiverView, reason: str) -> None:
        run_id = view.run_id
        self._calls.command("Abort", reason)
        deadline_s, pause = time.monotonic() + ABORT_WAIT_S, threading.Event()
        while (view := self._view()).state in BUSY_STATES and view.run_id == run_id:
            if time.monotonic() > deadline_s:
                raise EngineError("abort", of=self._name, answer=f"still {view.state.value} after {ABORT_WAIT_S:g} s")
            pause.wait(ABORT_LOOK_S)

    def link(self, master: ScanMaster) -> None:
        """Command WriteScanMaster, until the step is done."""
        self._calls.step("WriteScanMaster", encoded(master).decode())

    def reset(self) -> None:
        """Command Reset."""
        self._calls.command("Reset")

    def restart(self) -> None:
        """Command RestartEngine."""
        self._calls.command("RestartEngine")

    def poll(self) -> ReceiverView:
        """Attribute View, and LastReceipt once the run has ended: a receipt may be long."""
        try:
            view = self._view()
            if view.state in (AcquisitionState.IDLE, AcquisitionState.FAULT) and view.run_id:
                if self._receipt is None or self._receipt.run_id != view.run_id:
                    text = self._looks.read("LastReceipt")[0]
                    self._receipt = msgspec.json.decode(text, type=Receipt) if text else None
                if self._receipt is not None and self._receipt.run_id == view.run_id:
                    return msgspec.structs.replace(view, receipt=self._receipt)
        except (MaxdaqError, msgspec.DecodeError, TypeError) as error:
            return ReceiverView(reachable=False, message=str(error))
        return view

    def _view(self) -> ReceiverView:
        return msgspec.json.decode(self._looks.read("View")[0], type=ReceiverView)
