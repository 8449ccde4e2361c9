"""One capture of a series, out of the ring: each frame copied once, numbered, and handed to the sender. One thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from maxdaq_tango.detectors.orca.camera import OrcaCamera
from maxdaq_tango.detectors.orca.dcam import FRAME_READY, STOPPED
from maxdaq_tango.detectors.orca.plan import CapturePlan
from maxdaq_tango.detectors.orca.properties import TriggerActive
from maxdaq_tango.detectors.orca.protocol import CameraFormat
from maxdaq_tango.detectors.orca.ring import FrameNumbers, RingAccount
from maxdaq_tango.detectors.orca.sender import FrameSender

MOST_AT_ONCE = 4
"""Frames between two looks whether all are exposed: a camera that nobody stops writes over those that are wanted."""

ONCE_MORE_MS = 1


class Series(msgspec.Struct, kw_only=True):
    """What is known of a series when it begins, and of its exposures on the way."""

    plan: CapturePlan
    format: CameraFormat
    slots: int
    exposure_time_s: float
    period_s: float
    metadata: dict[str, Any]
    exposures_s: list[float] = msgspec.field(default_factory=list)
    """Of each software trigger so far; grows before it is fired."""

    def told_exposure_s(self, number: int) -> float | None:
        """Of an image; None where a gate makes it, whose length nobody measures."""
        trigger = number // self.plan.trigger_frames
        if trigger < len(self.exposures_s):
            return self.exposures_s[trigger]
        return None if self.plan.active is TriggerActive.LEVEL else self.exposure_time_s


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """Of all captures of a series so far."""

    acquired: int = 0
    lost_in_ring: int = 0
    lost_in_camera: int = 0
    given_up: int = 0
    """Left in the ring by an abort."""
    odd_stamps: int = 0


class CaptureReader:
    """Reads the capture that begins with frame `first` of the series. `before` are the counts of those before it."""

    def __init__(
        self,
        camera: OrcaCamera,
        sender: FrameSender,
        series: Series,
        before: Tally,
        first: int,
        *,
        on_loss: Callable[[], None],
    ) -> None:
        """`on_loss`: the driver says that frames were lost."""
        self._on_loss = on_loss
        self._camera, self._sender, self._series, self._before = camera, sender, series, before
        self._ring = RingAccount(series.slots)
        self._numbers = FrameNumbers(series.plan.capture_frames, first)
        self._most = max(1, min(MOST_AT_ONCE, series.slots // 4))
        self._transferred = self._position = 0

    def wait(self, timeout_ms: int) -> None:
        """Until a frame comes, the driver says that some were lost, or somebody ends the wait."""
        if self._camera.wait(FRAME_READY | STOPPED, timeout_ms):
            self._numbers.loss_was_told = True
            self._on_loss()

    def look(self) -> int:
        """How many exposures of this capture are over, as the newest frame tells."""
        self.refresh()
        if self._transferred:
            newest, index = self._camera.newest(), self._transferred - 1
            self._position = self._numbers.exposed(index, newest.frame_stamp if newest else index)
        return self._position

    def refresh(self) -> None:
        """Frames that came meanwhile can be read."""
        self._transferred = self._camera.transferred()

    def read(self, enough: Callable[[], bool]) -> bool:
        """Read a few frames, until `enough()`; True when some are left, for want of a buffer as well."""
        for _ in range(self._most):
            if (index := self._ring.look(self._transferred)) is None:
                return False
            if enough() or not self._read_one(index):
                break
        return self._ring.look(self._transferred) is not None

    def _read_one(self, index: int) -> bool:
        """False when there is no buffer."""
        ring, numbers, series = self._ring, self._numbers, self._series
        buffer = self._sender.take()
        if buffer is None:
            return False
        self.refresh()
        if ring.look(self._transferred) != index:
            self._sender.give_back(buffer)
            return True
        slot = index % series.slots
        pixels = self._camera.view(slot, series.format)
        np.copyto(buffer.reshape(pixels.shape), pixels)
        stamp = self._camera.stamp(slot)
        self.refresh()
        if not ring.done(self._transferred):
            self._sender.give_back(buffer)
            return True
        frame_stamp = stamp.frame_stamp if stamp else index
        if numbers.wants_to_know_of_losses(index, frame_stamp):
            self.wait(ONCE_MORE_MS)  # the driver may have said it since the last wait
        if numbers.position(index, frame_stamp) >= numbers.count:
            self._sender.give_back(buffer)  # exposed after the last one that was asked for, before the stop
            ring.unwanted += 1
            return True
        number = numbers.take(index, frame_stamp)
        self._sender.put(number, series.format.frame_format, buffer, series.told_exposure_s(number))
        return True

    def give_up(self) -> None:
        """What is left in the ring is lost there: the next capture needs it."""
        self.refresh()
        self._ring.give_up(self._transferred)

    def abandon(self) -> None:
        """What is left in the ring is not wanted any more."""
        self.refresh()
        self._ring.abandon(self._transferred)

    def tally(self, *, complete: bool) -> Tally:
        """Where the frames are that are absent between those that were read; `complete`: or after them."""
        ring, numbers, before = self._ring, self._numbers, self._before
        wanted = ring.read - ring.unwanted
        given_up = min(ring.abandoned, numbers.count - wanted)
        absent = max(0, numbers.count - wanted - given_up if complete else numbers.reached - wanted)
        unsent = max(self._position, self._transferred) - self._transferred
        in_ring = min(ring.lost, absent - min(absent, unsent))
        came = wanted + in_ring + given_up if complete else min(self._transferred - ring.unwanted, numbers.count)
        return Tally(
            acquired=before.acquired + came,
            lost_in_ring=before.lost_in_ring + in_ring,
            lost_in_camera=before.lost_in_camera + absent - in_ring,
            given_up=before.given_up + given_up,
            odd_stamps=before.odd_stamps + numbers.odd_stamps,
        )
