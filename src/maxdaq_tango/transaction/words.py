"""The words of the transaction: what can happen to it, what it tells others to do, and what is asked of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec

from maxdaq_tango.errors import MaxdaqError
from maxdaq_tango.model import (
    AcquisitionSettings,
    Orientation,
    RunRequest,
    ScanMaster,
    StreamDescription,
    StreamFormat,
)
from maxdaq_tango.model.conversion import RAW, Conversion
from maxdaq_tango.model.hardware import ArmedSeries, DetectorReport
from maxdaq_tango.transaction.ports import ReceiverView


class Step(StrEnum):
    """What a pair can be told to do. The values are the words of error messages."""

    CHECK = "check the files with the receiver"
    CONFIGURE = "configure the detector"
    PREPARE = "prepare the receiver"
    ARM = "arm the detector"
    EXPECT = "tell the receiver what will come"
    TRIGGER = "trigger the detector"
    STOP_SOURCE = "stop the detector"
    STOP_RECEIVER = "stop the receiver"
    ABORT_SOURCE = "abort the detector"
    ABORT_RECEIVER = "abort the receiver"
    LINK = "have the scan master written by the receiver"


RECEIVER_STEPS = frozenset({Step.CHECK, Step.PREPARE, Step.EXPECT, Step.STOP_RECEIVER, Step.ABORT_RECEIVER, Step.LINK})
"""Done by the receiver of a pair; all others by its detector."""

HARMLESS_STEPS = frozenset({Step.CHECK, Step.LINK})
"""Nothing is to be undone when their answer comes too late."""


class Deadlines(msgspec.Struct, frozen=True, kw_only=True):
    """Longest waits, all in seconds. A step that exceeds its own has failed, and its late answer is undone."""

    check_s: float = 10.0
    configure_s: float = 60.0
    """A new energy makes an Eiger recompute its flat field."""
    prepare_s: float = 10.0
    arm_s: float = 130.0
    """Longer than any driver waits by itself, whose error says more."""
    expect_s: float = 5.0
    trigger_margin_s: float = 30.0
    """On top of the length of what is triggered."""
    stop_s: float = 30.0
    """On top of one frame, which a detector may finish first."""
    abort_s: float = 15.0
    drain_s: float = 2.0
    """Silence after the detector has finished before the receiver is told that nothing more will come."""
    settle_s: float = 3.0
    """Time for a detector to become idle by itself when its receiver has all frames; then it is stopped."""
    close_s: float = 60.0
    """Silence of a stopped receiver before it is aborted, or of one that looks for nothing before it is stopped: a disk
    that hangs."""
    link_s: float = 15.0
    unreachable_s: float = 30.0
    """How long a side may be out of reach in a run before it is given up. Data flow without the control link."""


DEFAULT_DEADLINES = Deadlines()


class PrepareFields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The part of a RunRequest that a client may choose: the argument of StreamReceiver.Prepare, as JSON.

    Where files may be made, how much memory is used and how long is waited are properties of the receiver.
    """

    sources: tuple[str, ...]
    stream_format: StreamFormat
    destination: str = ""
    overwrite: bool = False
    save_raw: bool = True
    expected_frames: int | None = None
    series: str | None = None
    frame_period_s: float | None = None
    triggered: bool = False
    frame_nbytes: int | None = None
    orientation: Orientation = Orientation()
    conversion: Conversion = RAW
    series_count: int = 1
    expect_follows: bool = False
    run_id: str = ""
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    frames_per_file: int = 0
    """0 = as the receiver's property says."""

    @classmethod
    def of_request(cls, request: RunRequest) -> PrepareFields:
        """The client's part of a request."""
        return cls(**{name: getattr(request, name) for name in cls.__struct_fields__})

    def request(self, **own: Any) -> RunRequest:
        """The whole request; `own` are the receiver's fields."""
        chosen = msgspec.structs.asdict(self)
        if not self.frames_per_file:
            del chosen["frames_per_file"]
        return RunRequest(**{**own, **chosen})


class ExpectFields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an armed detector said it will send: the argument of StreamReceiver.Expect, as JSON."""

    series: str | None = None
    frames: int | None = None


class PlaceFields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Files that a run is going to make: the argument of StreamReceiver.CheckDestination, as JSON."""

    destination: str = ""
    overwrite: bool = False
    frames: int | None = None
    frames_per_file: int = 0
    """0 = as the receiver's property says."""
    scan_master: str = ""
    """Written when the run is over; "" = none, or somebody else writes it."""


@dataclass(frozen=True, kw_only=True)
class ScanPlan:
    """What is asked of all pairs together."""

    number: int = 0
    master: str = ""
    """Absolute path of the scan master; "" = none."""
    overwrite: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PairPlan:
    """What is asked of one pair."""

    settings: AcquisitionSettings
    destination: str = ""
    """Absolute path of the file; "" = live only."""
    overwrite: bool = False
    save_raw: bool = True
    orientation: Orientation = field(default_factory=Orientation)
    metadata: dict[str, Any] = field(default_factory=dict)
    """JSON values stored with the file, beside what the detector says of itself."""
    frames_per_file: int = 0
    """Frames of one data file; 0 = as the receiver's property says."""


Argument = AcquisitionSettings | RunRequest | ExpectFields | PlaceFields | ScanMaster | str | float | None


@dataclass(frozen=True)
class Instruction:
    """One call to be made on one side of one pair, without anybody waiting for it."""

    number: int
    pair: str
    step: Step
    deadline_s: float
    argument: Argument = None


@dataclass(frozen=True)
class Begin:
    """Arm was asked for."""

    run_id: str
    pairs: dict[str, PairPlan]
    scan: ScanPlan | None = None
    """None: of one detector by itself, or of a live view."""


@dataclass(frozen=True)
class Answered:
    """An instruction succeeded."""

    number: int
    value: StreamDescription | ArmedSeries | None = None


@dataclass(frozen=True)
class Failed:
    """An instruction failed."""

    number: int
    error: MaxdaqError


@dataclass(frozen=True)
class TimedOut:
    """An instruction has exceeded its deadline. Its answer may still come."""

    number: int


@dataclass(frozen=True)
class SourceSeen:
    """A look at a detector."""

    pair: str
    report: DetectorReport
    tick: int
    """`Sequence.tick` when the look began: a look from before arm must not be taken for the end of the series."""


@dataclass(frozen=True)
class ReceiverSeen:
    """A look at a receiver."""

    pair: str
    view: ReceiverView
    tick: int


@dataclass(frozen=True)
class TriggerAsked:
    """SoftwareTrigger was asked for."""

    exposures_s: dict[str, float] = field(default_factory=dict)
    """Of the pairs that were armed with an exposure for each trigger; the others leave theirs out."""


@dataclass(frozen=True)
class StopAsked:
    """Stop was asked for."""


@dataclass(frozen=True)
class AbortAsked:
    """Abort was asked for."""

    reason: str = "Abort"


@dataclass(frozen=True)
class ResetAsked:
    """Reset was asked for: what went wrong has been read."""


Event = (
    Begin
    | Answered
    | Failed
    | TimedOut
    | SourceSeen
    | ReceiverSeen
    | TriggerAsked
    | StopAsked
    | AbortAsked
    | ResetAsked
)
