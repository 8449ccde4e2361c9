"""One acquisition of a simulated Lambda: when exposures end, and what waits in the memory of its receivers. Pure.

The clock is an argument, in seconds. Nothing here knows of pixels: a frame that waits says which pixels it carries.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import msgspec

from maxdaq_tango.detectors.simulation.delivery import Damage
from maxdaq_tango.detectors.xspectrum_lambda.words import BitDepth, FrameStatus, XspTrigger


class Exposures:
    """The time line of one acquisition of `count` exposures."""

    def __init__(
        self, mode: XspTrigger, count: int, period_s: float, *, depth: BitDepth, frames_per_trigger: int, now: float
    ) -> None:
        self.count = count
        self.made = 0
        self.missed_edges = 0
        """That came while an exposure they could have started was not over."""
        self._mode, self._period_s, self._frames_per_trigger = mode, period_s, frames_per_trigger
        self._ends_with_edge = mode is XspTrigger.EXT_FRAMES and depth is not BitDepth.DEPTH_24
        self._burst = self._burst_made = 0
        self._burst_began = now
        self._under_way = False
        self._ended_by_edge = 0
        if mode is XspTrigger.SOFTWARE:
            self._begin(count, now)

    @property
    def is_over(self) -> bool:
        """Every exposure has been made."""
        return self.made >= self.count

    def edge(self, now: float) -> None:
        """An electrical edge at the trigger input. All that is due by now has been taken."""
        if self._mode is XspTrigger.EXT_FRAMES and self._ends_with_edge:
            self._ended_by_edge += self._under_way
            self._under_way = True
        elif self._mode is XspTrigger.SOFTWARE or self._burst_made < self._burst:
            self.missed_edges += 1
        elif self._mode is XspTrigger.EXT_FRAMES:
            self._begin(min(self._frames_per_trigger, self.count - self.made), now)
        elif not self._burst:
            self._begin(self.count, now)

    def due(self, now: float) -> Iterator[int]:
        """Numbers, from 0, of the exposures that have ended since the last look."""
        while not self.is_over:
            if self._ended_by_edge:
                self._ended_by_edge -= 1
            elif (end := self.next_due()) is not None and end <= now:
                self._burst_made += 1
            else:
                return
            self.made += 1
            yield self.made - 1

    def next_due(self) -> float | None:
        """When the next exposure ends; None while it waits for an edge, and at the end."""
        if self._burst_made >= self._burst:
            return None
        return self._burst_began + (self._burst_made + 1) * self._period_s

    def _begin(self, frames: int, now: float) -> None:
        self._burst, self._burst_made, self._burst_began = frames, 0, now


class Waiting(msgspec.Struct, frozen=True):
    """One module's share of a frame, in the memory of its receiver."""

    nr: int
    """As libxsp counts: from 1, modulo 2^24."""
    subframe: int
    exposure: int
    """Whose pixels it carries, from 0 in this acquisition."""
    series: int
    """Number of the acquisition."""
    depth: BitDepth
    damage: Damage = Damage.NONE
    ready_at: float = 0.0

    @property
    def status(self) -> FrameStatus:
        """What the receiver says of it: lost packets it knows of, other damage it does not."""
        return FrameStatus.FRAME_INCOMPLETE if self.damage is Damage.TRUNCATED else FrameStatus.FRAME_OK


class ModuleMemory:
    """The memory of one receiver: `room` frames, those that were taken and not released among them."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.lost = 0
        """Frames for which there was no room."""
        self.silent = False
        """Nothing comes from this module."""
        self.taken: dict[int, Waiting] = {}
        """Handed out and not released, by handle."""
        self._queue: deque[Waiting] = deque()
        self._handles = 0

    def put(self, frame: Waiting) -> None:
        """A frame from the detector; it is lost when there is no room."""
        if self.silent:
            return
        if len(self._queue) + len(self.taken) >= self.room:
            self.lost += 1
            return
        self._queue.append(frame)

    def queued(self, now: float) -> int:
        """Frames that could be taken now."""
        return sum(frame.ready_at <= now for frame in self._queue)

    def take(self, now: float) -> tuple[int, Waiting] | None:
        """The oldest frame and the handle that it is released by; None when there is none."""
        if not self._queue or self._queue[0].ready_at > now:
            return None
        self._handles += 1
        frame = self.taken[self._handles] = self._queue.popleft()
        return self._handles, frame

    def release(self, handle: int) -> bool:
        """False: it was not handed out, or was released before."""
        return self.taken.pop(handle, None) is not None

    def next_ready(self) -> float | None:
        """When the oldest frame can be taken."""
        return self._queue[0].ready_at if self._queue else None

    def clear(self) -> None:
        """Forget what nobody has taken; what is out is still out."""
        self._queue.clear()
