"""What the transaction asks of a detector and of a receiver, wherever they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from maxdaq_tango.model import (
    AcquisitionSettings,
    AcquisitionState,
    Counters,
    Receipt,
    RunRequest,
    ScanMaster,
    StreamDescription,
)
from maxdaq_tango.model.hardware import ArmedSeries, DetectorReport

if TYPE_CHECKING:
    from maxdaq_tango.transaction.words import PlaceFields


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """What a receiver has estimated for its run."""

    nbytes: int
    free_nbytes: int
    """Where its file lies, and in its spill directory, when it looked."""


class ReceiverView(msgspec.Struct, frozen=True, kw_only=True):
    """One look at a receiver."""

    state: AcquisitionState = AcquisitionState.IDLE
    run_id: str = ""
    """The run that it was last prepared for; every other field speaks of that run."""
    receipt: Receipt | None = None
    """Of `run_id`, once it is closed."""
    message: str = ""
    warnings: tuple[str, ...] = ()
    """What it said against the run before it took it, such as that the disk may be too small."""
    need: Need | None = None
    """None: nothing is written, or nobody knows how much, or nobody wants to."""
    counters: Counters = Counters()
    reachable: bool = True
    """False: nothing else is known; `message` says why."""


class DetectorPort(Protocol):
    """One detector. Every method but `report` may block and raises a MaxdaqError; each runs on a thread of its own."""

    @property
    def name(self) -> str:
        """What errors call it."""
        ...

    def configure(self, settings: AcquisitionSettings) -> StreamDescription:
        """Apply, read back, check. A detector that others use too is held from now until `abort` or the series' end."""
        ...

    def arm(self) -> ArmedSeries:
        """Make ready; undone by `abort`."""
        ...

    def trigger(self, exposure_time_s: float | None = None) -> None:
        """Start one burst; returns when the hardware has finished with it. With an exposure in a series that was
        configured with `exposure_per_trigger`."""
        ...

    def stop(self) -> None:
        """End the series in order. Returns when the hardware is idle; harmless when it is."""
        ...

    def abort(self) -> None:
        """End it at once, also while `arm` or `trigger` blocks elsewhere. Returns when idle; harmless when it is."""
        ...

    def report(self) -> DetectorReport:
        """Look at the hardware now: never a look from before the call of a method that has returned. Never raises."""
        ...


class ReceiverPort(Protocol):
    """One receiver. Same rules as `DetectorPort`."""

    @property
    def name(self) -> str:
        """What errors call it."""
        ...

    def check(self, places: PlaceFields) -> None:
        """Whether these files may be made: raises what is in their way. Makes nothing, so there is nothing to undo."""
        ...

    def prepare(self, request: RunRequest) -> None:
        """Returning means: the file is open and the sockets are connected. Undone by `abort`.

        A receiver that raises has undone its own part: it is not aborted, as the run it refuses for may be another's.
        """
        ...

    def expect(self, series: str | None, frames: int | None) -> None:
        """What the armed detector said it will send."""
        ...

    def stop(self, finished: str = "") -> None:
        """Take what still comes, then close: the source has been told to stop, or, where `finished` says why, it ended
        without that, and frames that are missing then make the run INCOMPLETE and not ABORTED. Returns at once."""
        ...

    def abort(self, reason: str) -> None:
        """Close now. Returns when the receiver is free for the next run; a run of somebody else is left alone."""
        ...

    def link(self, master: ScanMaster) -> None:
        """Write the scan master. One that could not link all files is written all the same, and raises."""
        ...

    def poll(self) -> ReceiverView:
        """Look at it. Never raises; one that cannot be reached is `reachable=False`."""
        ...
