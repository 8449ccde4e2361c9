"""What a series of a Lambda is to its streamer: acquisitions to be started, and numbers of frames. Pure.

The library knows acquisitions, of at most 2^24 - 1 frames each, which count from 1 again. A series is several of them
where software triggers its bursts, or where time is to pass between two exposures: the detector has no such setting, so
then each exposure is an acquisition of its own, begun when it is due.
"""

from __future__ import annotations

import msgspec

from maxdaq_tango.detectors.xspectrum_lambda.protocol import DetectorSettings, SeriesSettings
from maxdaq_tango.detectors.xspectrum_lambda.words import (
    MOST_FRAMES,
    NUMBER_MODULUS,
    BitDepth,
    CounterMode,
    XspTrigger,
    pixel_type,
)
from maxdaq_tango.errors import DetectorRefused
from maxdaq_tango.model import TriggerMode

SHORTEST_S = {BitDepth.DEPTH_1: 43e-6, BitDepth.DEPTH_6: 0.25e-3, BitDepth.DEPTH_12: 0.5e-3, BitDepth.DEPTH_24: 1e-3}
"""Exposures, from published frame rates (23, 4, 2 and 1 kHz). The library tells no limits and has the last word."""
LONGEST_S = 3600.0
"""Ours, for the same reason."""
READOUT_S = {BitDepth.DEPTH_24: 1e-3}
"""During which nothing is counted; at other depths one counter counts while the other is read."""


class SeriesPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How a series is made of acquisitions."""

    trigger: XspTrigger
    bursts: int
    """Begun one by one; 1 where edges begin what follows."""
    shots: int
    """Acquisitions of one burst."""
    exposures: int
    """Of one acquisition."""
    frames_per_trigger: int
    """For the library."""
    subframes: int
    """Frames that come of one exposure."""
    exposure_time_s: float
    shot_period_s: float
    """From the beginning of one acquisition to the next within a burst."""
    frame_period_s: float
    dtype: str
    notes: tuple[str, ...] = ()

    @property
    def frame_count(self) -> int:
        """Messages of one module."""
        return self.bursts * self.shots * self.exposures * self.subframes

    @property
    def waits_for_software(self) -> bool:
        """Bursts are begun by `trigger`."""
        return self.trigger is XspTrigger.SOFTWARE

    @property
    def burst_s(self) -> float:
        """How long a burst takes that nothing holds up."""
        return self.shots * self.exposures * self.frame_period_s


def plan_series(settings: SeriesSettings, detector: DetectorSettings, of: str = "the detector") -> SeriesPlan:
    """DetectorRefused with what would be accepted when the hardware cannot do it."""
    depth = detector.bit_depth
    shortest = SHORTEST_S[depth]
    if not shortest <= settings.exposure_time_s <= LONGEST_S:
        raise DetectorRefused(
            f"expose for {settings.exposure_time_s:g} s",
            of=of,
            answer=f"out of range at {depth.value} bit",
            accepted=f"{shortest:g} to {LONGEST_S:g} s",
        )
    if not detector.thresholds_ev:
        raise DetectorRefused(
            "configure a series",
            of=of,
            answer="no thresholds are set: the detector forgets them when it is switched off",
            accepted="set Threshold (or property InitialThresholds) first",
        )
    external = settings.trigger_mode is TriggerMode.EXTERNAL_MULTI
    if not external and settings.trigger_mode not in (TriggerMode.INTERNAL, TriggerMode.SOFTWARE):
        raise DetectorRefused(
            f"trigger with {settings.trigger_mode}",
            of=of,
            answer="no exposure of a Lambda lasts as long as a gate; attribute Gating makes it count only during gates",
            accepted="INTERNAL, SOFTWARE, EXTERNAL_MULTI",
        )
    per_trigger, triggers = settings.frames_per_trigger, settings.trigger_count
    if settings.trigger_mode is TriggerMode.INTERNAL:
        per_trigger, triggers = per_trigger * triggers, 1
    readout_s = READOUT_S.get(depth, 0.0)
    rests = settings.latency_time_s > readout_s
    if external and rests and per_trigger > 1:
        raise DetectorRefused(
            f"rest for {settings.latency_time_s:g} s between exposures",
            of=of,
            answer="edges decide when exposures begin",
            accepted="LatencyTime 0",
        )
    frame_period_s = settings.exposure_time_s + max(settings.latency_time_s, readout_s)
    notes: list[str] = []
    trigger, frames_per_trigger = XspTrigger.SOFTWARE, 1
    if external:
        trigger = XspTrigger.EXT_SEQUENCE if triggers == 1 else XspTrigger.EXT_FRAMES
        frames_per_trigger = 1 if triggers == 1 else settings.frames_per_trigger
        bursts, shots, exposures = 1, 1, per_trigger * triggers
        if trigger is XspTrigger.EXT_FRAMES and depth is not BitDepth.DEPTH_24:
            notes.append(
                f"at {depth.value} bit an edge ends one frame and starts the next: exposures last from edge to edge, "
                "and one edge more is needed than there are frames"
            )
    elif rests:
        bursts, shots, exposures = triggers, per_trigger, 1
        notes.append("the streamer begins every exposure by itself, so their distance is not exact")
    else:
        bursts, shots, exposures = triggers, 1, per_trigger
    if exposures > MOST_FRAMES:
        raise DetectorRefused(
            f"take {exposures} frames in one go",
            of=of,
            answer="the detector counts to 24 bits",
            accepted=f"at most {MOST_FRAMES}",
        )
    return SeriesPlan(
        trigger=trigger,
        bursts=bursts,
        shots=shots,
        exposures=exposures,
        frames_per_trigger=frames_per_trigger,
        subframes=2 if detector.counter_mode is CounterMode.DUAL else 1,
        exposure_time_s=settings.exposure_time_s,
        shot_period_s=frame_period_s,
        frame_period_s=frame_period_s,
        dtype=pixel_type(depth),
        notes=tuple(notes),
    )


class ModuleNumbers:
    """Numbers of one module's frames in the series, from the library's numbers, which are modulo 2^24.

    `begin` each acquisition. The library says that they begin with 1. One that counts on from where the acquisition
    before ended is understood as well, over the roll-over too, once it has shown that it does; and any other beginning
    is where the first frame is.
    """

    def __init__(self, subframes: int = 1) -> None:
        self.strays = 0
        """Frames with a number that the acquisition cannot have, or that has come already."""
        self.taken = 0
        self.shot_taken = 0
        """Of the present acquisition."""
        self.next_frame = 0
        """One more than the highest frame number so far."""
        self._subframes = subframes
        self._base = self._count = 0
        self._origin: int | None = None
        self._expected = 1
        self._runs_on = False
        self._seen = bytearray()  # one bit a frame of the acquisition: 4 MiB at most

    def begin(self, base: int, count: int) -> None:
        """An acquisition of `count` exposures, of which the first is number `base` of the series."""
        if self._origin is not None:
            self._expected = (self._origin + self._count) % NUMBER_MODULUS
        self._base, self._count, self._origin = base, count, None
        self._seen.clear()
        self.shot_taken = 0

    def frame_number(self, nr: int, subframe: int = 0) -> int | None:
        """In the series, from 0; None = it does not belong there."""
        origin = self._origin
        if origin is None:
            origin = self._origin_of(nr)
        exposure = (nr - origin) % NUMBER_MODULUS
        index = exposure * self._subframes + subframe
        if exposure >= self._count or not 0 <= subframe < self._subframes or self._has(index):
            self.strays += 1
            return None
        if self._origin is None:
            self._origin, self._runs_on = origin, origin != 1
        self._note(index)
        self.taken += 1
        self.shot_taken += 1
        number = self._base * self._subframes + index
        self.next_frame = max(self.next_frame, number + 1)
        return number

    def _origin_of(self, nr: int) -> int:
        """What the first exposure of this acquisition is called, from the first of its frames that came."""
        expected = self._expected
        if nr == expected != 1:
            return expected
        likely = (expected, 1) if self._runs_on else (1, expected)
        return next((first for first in likely if (nr - first) % NUMBER_MODULUS < self._count), nr)

    def _has(self, index: int) -> bool:
        at, bit = divmod(index, 8)
        return at < len(self._seen) and bool(self._seen[at] >> bit & 1)

    def _note(self, index: int) -> None:
        at, bit = divmod(index, 8)
        if at >= len(self._seen):
            self._seen += bytes(at + 1 - len(self._seen))
        self._seen[at] |= 1 << bit
