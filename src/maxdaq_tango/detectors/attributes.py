"""What every detector device shows, as one table; the spelling is MAX IV's. Families add their own beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from maxdaq_tango.tango_support.attributes import told
from maxdaq_tango.transaction.attributes import set_destination
from maxdaq_tango.transaction.metadata import read_metadata


def _set(name: str) -> Callable[[Any, Any], None]:
    return lambda self, value: setattr(self.set_points, name, value)


def _set_rotation(self: Any, value: int) -> None:
    self.set_points.rotation = value % 4


def _set_metadata(self: Any, text: str) -> None:
    self.set_points.metadata = read_metadata(text, self.get_name())


def _set_frame_rate(self: Any, value: float) -> None:
    self.set_points.frame_time_s = 1.0 / value


class DetectorAttributes:
    """Attributes of every detector device; the functions get the device."""

    Filename = told(
        lambda self: self.set_points.destination,
        set_destination,
        dtype=str,
        label="Destination file (older name)",
        doc="DestinationFilename, for clients of MAX IV's older servers.",
    )
    FrameRate = told(
        lambda self: 1.0 / self.set_points.frame_time,
        _set_frame_rate,
        dtype=float,
        label="Frame rate",
        unit="Hz",
        format="%.3f",
        minimum=1e-9,
        doc="1 / FrameTime, for clients that set it instead.",
    )
    SaveRaw = told(
        lambda self: self.set_points.save_raw,
        _set("save_raw"),
        dtype=bool,
        label="Save raw frames",
        memorized=True,
        doc="False: frames are received and counted, but not written.",
    )
    Rotation = told(
        lambda self: self.set_points.rotation,
        _set_rotation,
        dtype=int,
        label="Rotation (quarter turns)",
        format="%d",
        minimum=-3,
        maximum=3,
        memorized=True,
        doc="Quarter turns counter-clockwise before frames are stored, as numpy.rot90 counts.",
    )
    Fliplr = told(
        lambda self: self.set_points.fliplr,
        _set("fliplr"),
        dtype=bool,
        label="Flip left-right",
        memorized=True,
        doc="Mirror frames left to right before they are stored, after Rotation.",
    )
    Flipud = told(
        lambda self: self.set_points.flipud,
        _set("flipud"),
        dtype=bool,
        label="Flip up-down",
        memorized=True,
        doc="Mirror frames top to bottom before they are stored, after Rotation.",
    )
    FramesPerFile = told(
        lambda self: self.set_points.frames_per_file,
        _set("frames_per_file"),
        dtype=int,
        label="Frames per data file",
        format="%d",
        minimum=0,
        doc="Of this device's own Arm: so many frames in each data file, and a master that joins them; 0 = as the "
        "receiver's property FramesPerFile says.",
    )
    Metadata = told(
        lambda self: _json(self.set_points.metadata),
        _set_metadata,
        dtype=str,
        label="Metadata",
        doc="JSON object that is stored in the files of this device's own Arm: sample, proposal ...",
    )
    nFramesAcquired = told(
        lambda self: self.session.frames_acquired,
        dtype=int,
        label="Frames acquired",
        format="%d",
        doc="Since Arm, by the detector, or by the receiver where it does not count. Kept until the next Arm.",
    )
    nFramesReceived = told(
        lambda self: self.session.frames_received,
        dtype=int,
        label="Frames received",
        format="%d",
        doc="Since Arm, by the receiver. Kept until the next Arm.",
    )
    ReadyForSwTrigger = told(
        lambda self: self.session.ready_for_trigger,
        dtype=bool,
        label="Ready for trigger",
        doc="SoftwareTrigger given now would start an exposure.",
    )
    ReadoutTime = told(
        lambda self: self.session.hardware.readout_time_s,
        dtype=float,
        label="Readout time",
        unit="s",
        format="%.9f",
        doc="Shortest dead time between two frames. Invalid before the detector was reached.",
    )
    AcquisitionState = told(
        lambda self: self.session.state.value,
        dtype=str,
        label="Acquisition state",
        doc="IDLE, CONFIGURING, ARMED, ACQUIRING, DRAINING, FINALISING or FAULT.",
    )
    HardwareState = told(
        lambda self: self.session.hardware.last_report.state.value,
        dtype=str,
        label="Hardware state",
        doc="What the detector says of itself: OFFLINE, NOT_INITIALISED, IDLE, CONFIGURING, ARMED, ACQUIRING or ERROR.",
    )
    SimulatedHardware = told(
        lambda self: self.is_simulated,
        dtype=bool,
        label="Simulated hardware",
        doc="The detector at the other end says that it is a simulation.",
    )
    Verdict = told(
        lambda self: self.verdict,
        dtype=str,
        label="Verdict",
        doc="Of the last acquisition of this device: COMPLETE, INCOMPLETE, ABORTED or FAILED.",
    )
    LastReceipt = told(
        lambda self: msgspec.json.encode(self.session.receipt).decode() if self.session.receipt else "",
        dtype=str,
        label="Last receipt",
        doc="The receiver's account of the last acquisition of this device, JSON.",
    )
    LastReport = told(
        lambda self: self.session.executor.outcome.report if self.session.executor.outcome else "",
        dtype=str,
        label="Last report",
        doc="JSON {run_id, verdict, armed, reasons, warnings, scan, verdicts, receipts} of the last acquisition of "
        "this device.",
    )
    ReceiverName = told(
        lambda self: self.session.receiver.name if self.session.receiver else "",
        dtype=str,
        label="Receiver",
        doc="The StreamReceiver device of this detector's stream; a DAQController pairs them by it.",
    )
    UsedBy = told(
        lambda self: self.session.used_by,
        dtype=str,
        label="Used by",
        expert=True,
        doc="The DAQController that is using the detector; empty = none.",
    )
    StreamDescription = told(
        lambda self: _json(self.session.description),
        dtype=str,
        label="Stream description",
        expert=True,
        doc="Result of Configure, JSON: what the detector is going to send.",
    )
    ArmedSeries = told(
        lambda self: _json(self.session.series),
        dtype=str,
        label="Armed series",
        expert=True,
        doc="Result of ArmHardware, JSON: series id and frame count.",
    )
    HardwareReport = told(
        lambda self: _json(self.session.hardware.last_report),
        dtype=str,
        label="Hardware report",
        expert=True,
        doc="The last look at the detector, JSON.",
    )
    StepResults = told(
        lambda self: _json(self.session.steps.records()),
        dtype=str,
        label="Step results",
        expert=True,
        doc="JSON list of {number, step, done, error} of the last 32 expert steps.",
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode() if value is not None else ""
