"""What every detector family offers to the rest: the driver's contract.

A driver turns our words into the vendor's. It knows no Tango. Its methods block and may take as long as the hardware
does; whoever calls them owns a worker thread. Each raises `DetectorRefused`, `DetectorTimeout` or `DetectorOffline`.
"""

from __future__ import annotations

from typing import Protocol

from maxdaq_tango.model import AcquisitionSettings, StreamDescription
from maxdaq_tango.model.hardware import ArmedSeries, DetectorIdentity, DetectorReport, HardwareState, Range

__all__ = ["ArmedSeries", "DetectorDriver", "DetectorIdentity", "DetectorReport", "HardwareState", "Range"]


class DetectorDriver(Protocol):
    """One detector at one address."""

    def connect(self) -> DetectorIdentity:
        """Reach the hardware, initialise it if it wants that, find out what it can do. May be called again."""
        ...

    def limits(self) -> dict[str, Range]:
        """Limits by common name: exposure_time_s, frame_period_s, trigger_count, frames_per_trigger, energy_ev ..."""
        ...

    def readout_time_s(self) -> float:
        """Dead time between two frames of a burst."""
        ...

    def configure(self, settings: AcquisitionSettings) -> StreamDescription:
        """Apply everything in the order the vendor wants, read it back, check it, and say what will be sent.

        A value that the hardware rounds is accepted within its resolution; one it refuses or changes is an error.
        """
        ...

    def arm(self) -> ArmedSeries:
        """Make ready. The receiver's sockets must be connected before: the header leaves now."""
        ...

    def trigger(self) -> None:
        """One software trigger. Returns when the hardware has finished with it, which may be the whole burst.

        A driver whose detector can change the exposure between triggers (`takes_exposures` True) has a parameter
        `exposure_time_s`, None as the present one, for series configured with `exposure_per_trigger`.
        """
        ...

    def stop(self) -> None:
        """End the series in order: the running frame is finished, the end message is sent. Harmless when idle."""
        ...

    def abort(self) -> None:
        """End the series at once. Harmless when idle; allowed while `trigger` or `arm` blocks in another thread."""
        ...

    def report(self) -> DetectorReport:
        """Look at the hardware; never raises, an unreachable one is OFFLINE with the reason as message."""
        ...

    def close(self) -> None:
        """Let go of connections. Afterwards only `connect` may be called."""
        ...
