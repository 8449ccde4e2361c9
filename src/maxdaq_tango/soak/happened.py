"""What is known of one acquisition when it is over; plain values, so that judging it is pure."""

from __future__ import annotations

import msgspec

from maxdaq_tango.detectors.simulation.account import SeriesAccount
from maxdaq_tango.detectors.simulation.expected_outcome import ExpectedOutcome
from maxdaq_tango.files import Recovered
from maxdaq_tango.model import Receipt, Verdict
from maxdaq_tango.soak.evidence import FileEvidence

COUNTERS = {
    "nFramesReceived": "frames_received",
    "nFramesWritten": "frames_written",
    "nFramesMissing": "frames_missing_count",
    "nFramesDuplicate": "frames_duplicate",
    "nFramesCorrupt": "frames_corrupt",
    "nFramesLost": "frames_lost_count",
    "nFramesLate": "frames_late",
    "nFramesUnexpected": "frames_unexpected",
    "nFramesOutOfSeries": "frames_out_of_series",
}
"""Attribute of a StreamReceiver > the same in its receipt."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What the devices say after it."""

    verdict: Verdict | None = None
    """Of the controller; None: it knows of none."""
    armed: bool = False
    reasons: tuple[str, ...] = ()
    receipt_of_controller: Receipt | None = None
    receipt_of_receiver: Receipt | None = None
    verdict_of_receiver: str = ""
    state_of_controller: str = ""
    state_of_receiver: str = ""
    counters: dict[str, int] = {}
    """Attribute of the receiver > value."""


class Happened(msgspec.Struct, frozen=True, kw_only=True):
    """One acquisition."""

    refusal: str = ""
    """What Arm said when it did not arm."""
    hung: str = ""
    """What did not come to an end, and in what state."""
    killed: bool = False
    """The kill that the recipe asks for was carried out."""
    killed_server: str = ""
    """Name of the process, where it was the receiver's device server."""
    written_before_kill: int = 0
    """Frames that had been written so long before the kill that every one of them must be safe."""
    told: Told = Told()
    account: SeriesAccount | None = None
    outcome: ExpectedOutcome | None = None
    files: tuple[FileEvidence, ...] = ()
    recovered: tuple[Recovered, ...] = ()
    left: tuple[str, ...] = ()
    """Names of all files in the folder of the acquisition."""
    strays: tuple[str, ...] = ()
    """Files where none of it may be."""
