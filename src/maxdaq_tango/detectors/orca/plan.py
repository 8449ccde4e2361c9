"""Our settings into DCAM's: trigger source, mode and activity, how captures follow each other. Pure.

| TriggerMode | frames of a trigger | source | mode | captures |
|---|---|---|---|---|
| INTERNAL | - | INTERNAL | NORMAL | one, begun by `trigger` |
| SOFTWARE | 1 | SOFTWARE | NORMAL | one; each trigger makes a frame |
| SOFTWARE | several | SOFTWARE | START | one for each trigger, which starts free running; stopped after its frames |
| EXTERNAL_MULTI | 1 | EXTERNAL, edge | NORMAL | one |
| EXTERNAL_MULTI | several | EXTERNAL, edge | START | one for each edge |
| EXTERNAL_MULTI_GATE | 1 | EXTERNAL, level | NORMAL | one; the gate is the exposure |

A pause between frames of a burst (LatencyTime) needs a camera whose frame interval can be written, as the Quest's. On
others (Lightning) bursts that our software starts are paced by software triggers, one a frame.
"""

from __future__ import annotations

from dataclasses import dataclass

from maxdaq_tango.detectors.orca.properties import Property, TriggerActive, TriggerSource, VendorTriggerMode
from maxdaq_tango.errors import DetectorRefused
from maxdaq_tango.model import AcquisitionSettings, TriggerMode

NEGLIGIBLE = 1e-3
"""Of a frame's time: a pause that short is none."""


@dataclass(frozen=True)
class CapturePlan:
    """How a series is made."""

    source: TriggerSource
    mode: VendorTriggerMode
    active: TriggerActive
    captures: int
    capture_frames: int
    """Of each capture."""
    trigger_frames: int
    """That one trigger makes."""
    starts_at_trigger: bool = False
    """The capture begins when `trigger` is called, and not when the series is armed."""
    fires: bool = False
    """`trigger` fires the camera's software trigger."""
    paced: bool = False
    """... once a frame."""

    @property
    def frame_count(self) -> int:
        """Of the series."""
        return self.captures * self.capture_frames

    @property
    def is_software(self) -> bool:
        """`trigger` may be called."""
        return self.starts_at_trigger or self.fires


def plan_series(settings: AcquisitionSettings, *, shortest_period_s: float, interval_is_writable: bool) -> CapturePlan:
    """A plan; DetectorRefused with what the camera can do where it cannot do this.

    `shortest_period_s` is from frame to frame in free running with this exposure.
    """
    count, frames, triggers = settings.frame_count, settings.frames_per_trigger, settings.trigger_count
    pauses = settings.latency_time_s > 0 and settings.frame_period_s > shortest_period_s * (1 + NEGLIGIBLE)
    burst = count if settings.trigger_mode is TriggerMode.INTERNAL else frames
    must_pace = pauses and burst > 1 and not interval_is_writable
    edge, normal, start = TriggerActive.EDGE, VendorTriggerMode.NORMAL, VendorTriggerMode.START
    match settings.trigger_mode:
        case TriggerMode.INTERNAL | TriggerMode.SOFTWARE if must_pace:
            return CapturePlan(TriggerSource.SOFTWARE, normal, edge, 1, count, burst, fires=True, paced=True)
        case TriggerMode.INTERNAL:
            return CapturePlan(TriggerSource.INTERNAL, normal, edge, 1, count, count, starts_at_trigger=True)
        case TriggerMode.SOFTWARE if frames == 1:
            return CapturePlan(TriggerSource.SOFTWARE, normal, edge, 1, count, 1, fires=True)
        case TriggerMode.SOFTWARE:
            return CapturePlan(TriggerSource.SOFTWARE, start, edge, triggers, frames, frames, fires=True)
        case TriggerMode.EXTERNAL_MULTI if must_pace:
            raise DetectorRefused(
                f"set LatencyTime to {settings.latency_time_s:g} s",
                answer=f"this camera's {Property.INTERNAL_FRAME_INTERVAL.name} cannot be written",
                accepted="LatencyTime 0 for bursts that an edge starts, or nFramesPerTrigger 1",
            )
        case TriggerMode.EXTERNAL_MULTI if frames == 1:
            return CapturePlan(TriggerSource.EXTERNAL, normal, edge, 1, count, 1)
        case TriggerMode.EXTERNAL_MULTI:
            return CapturePlan(TriggerSource.EXTERNAL, start, edge, triggers, frames, frames)
        case TriggerMode.EXTERNAL_MULTI_GATE:
            return CapturePlan(TriggerSource.EXTERNAL, normal, TriggerActive.LEVEL, 1, count, 1)
