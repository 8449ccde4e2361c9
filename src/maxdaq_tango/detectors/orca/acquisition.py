"""A series of an ORCA: the camera armed, triggered, read and ended. What the commands of the streamer do.

Threads: commands come from threads of the control's connections; one thread for each series reads the ring. The
camera's part of a series is over when its last frame is exposed or somebody ended it; frames may then still wait for
the receiver.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import msgspec
import numpy as np

from maxdaq_tango.detectors.orca.camera import OrcaCamera
from maxdaq_tango.detectors.orca.dcam import FRAME_READY, STOPPED
from maxdaq_tango.detectors.orca.plan import CapturePlan
from maxdaq_tango.detectors.orca.protocol import CameraFormat, Counts
from maxdaq_tango.detectors.orca.ring import FrameNumbers, RingAccount
from maxdaq_tango.detectors.orca.sender import FrameSender
from maxdaq_tango.errors import DetectorError, DetectorRefused, DetectorTimeout

log = logging.getLogger(__name__)

WAIT_MS = 100
"""Longest sleep of the reading thread: an abort that comes between two waits is seen after it at the latest."""
LAST_FRAME_S = 2.0
"""How long `stop` waits for the frame that is being exposed."""
DRAIN_S = 1.0
"""How long the next burst waits for the last one's frames to leave the ring."""
ENDING_S = 10.0
LOST_QUIET_S = 0.5
"""After LOSTFRAME: a triggered frame that has not come so long after its time will not come."""


class Series(msgspec.Struct, kw_only=True):
    """What does not change in a series."""

    plan: CapturePlan
    format: CameraFormat
    slots: int
    exposure_time_s: float
    period_s: float
    metadata: dict[str, Any]


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """Of all captures of a series so far."""

    acquired: int = 0
    lost_in_ring: int = 0
    lost_in_camera: int = 0
    odd_stamps: int = 0


class Acquisition:
    """One series. `arm`, then `trigger` as often as the plan says; `stop` and `abort` from any thread at any time."""

    def __init__(self, camera: OrcaCamera, sender: FrameSender, series: Series) -> None:
        self.series = series
        self.failure: Exception | None = None
        """Why it ended, when something went wrong."""
        self.hardware_done = False
        """The camera makes nothing more of it."""
        self.aborted = False
        self._camera, self._sender = camera, sender
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._exposed = 0
        """Frames of the series that the camera has made, lost ones as well."""
        self._tally = Tally()
        self._triggered = 0
        self._in_trigger = False
        self._ready = False
        """A trigger would be listened to."""
        self._capturing = False
        self._stop_at: tuple[int, float] | None = None
        """Frames and the moment at which an orderly end is due, whichever comes first."""
        self._lost_events = 0
        self._thread = threading.Thread(target=self._run, name="orca-read")

    # --- commands ----------------------------------------------------------------------------------------------------

    def arm(self) -> None:
        """Begin; buffers are attached. Whatever goes wrong is raised, and nothing is left running."""
        if not self.series.plan.starts_at_trigger:
            self._camera.start()
            self._capturing = True
        with self._lock:
            self._ready = True
        self._sender.begin(self.series.metadata)
        self._thread.start()

    def trigger(self) -> None:
        """One burst; returns when it is exposed, or quietly when the series is ended."""
        plan = self.series.plan
        with self._lock:
            why = self._why_no_trigger()
            if why:
                raise DetectorRefused(
                    "trigger", of="the camera", answer=why, accepted="a series that waits for a trigger"
                )
            self._in_trigger, self._ready = True, False
            self._triggered += 1
            target, lost_before = self._triggered * plan.trigger_frames, self._lost_events
        try:
            if plan.starts_at_trigger:
                self._camera.start()
                with self._lock:
                    self._capturing = True
                    self._changed.notify_all()
            elif plan.paced:
                self._fire_paced(plan.trigger_frames)
            else:
                self._camera.fire_trigger()
            self._await_burst(target, lost_before)
        except DetectorError:
            if not self._is_ended():
                raise
        finally:
            with self._lock:
                self._in_trigger = False

    def _why_no_trigger(self) -> str:
        plan = self.series.plan
        if not plan.is_software:
            return f"the trigger source is {plan.source.name}"
        if self.hardware_done or self._stop_at is not None or self.aborted:
            return "the series is over"
        if self._in_trigger:
            return "an earlier trigger still runs"
        return "" if self._ready else "the camera is not ready for it yet"

    def _fire_paced(self, frames: int) -> None:
        began = time.monotonic()
        for index in range(frames):
            due = began + index * self.series.period_s
            with self._lock:
                while (rest := due - time.monotonic()) > 0 and not self._ended():
                    self._changed.wait(rest)
                if self._ended():
                    return
            self._camera.fire_trigger()

    def _await_burst(self, target: int, lost_before: int) -> None:
        one_frame_s = self.series.exposure_time_s + self.series.period_s
        seen, since = -1, time.monotonic()
        with self._lock:
            while not self.hardware_done and not self._burst_is_over(target):
                if self._exposed != seen:
                    seen, since = self._exposed, time.monotonic()
                quiet = time.monotonic() - since > one_frame_s + LOST_QUIET_S
                if self._lost_events > lost_before and quiet and self._exposed < target:
                    self._expose(target)  # what is missing was lost on the way, as the driver said
                self._changed.wait(WAIT_MS / 1000)
            self._ready = self._ready or not self.hardware_done  # where one capture serves all triggers

    def _burst_is_over(self, target: int) -> bool:
        """With the lock held; the last burst is over when the camera is free."""
        plan = self.series.plan
        return self._exposed >= target < plan.frame_count and (plan.captures == 1 or self._ready)

    def stop(self) -> None:
        """End after the running frame; what was read is still sent. Returns when the camera is free."""
        with self._lock:
            if self.hardware_done:
                return
            if self._stop_at is None:
                running = self._capturing and (self._in_trigger or not self.series.plan.is_software)
                frame_s = self.series.exposure_time_s + self.series.period_s
                patience_s = min(frame_s, LAST_FRAME_S) + LOST_QUIET_S if running else 0.0
                self._stop_at = (self._exposed + 1, time.monotonic() + patience_s)
            self._changed.notify_all()
        self._camera.abort_wait()
        self._await_end("stop")

    def abort(self) -> None:
        """End at once; what waits is not sent. Returns when the camera is free."""
        with self._lock:
            if not self.aborted:
                self.aborted = True
                self._changed.notify_all()
        self._sender.give_up()
        self._camera.abort_wait()
        self._await_end("abort")

    def _await_end(self, asked: str) -> None:
        with self._lock:
            if not self._changed.wait_for(lambda: self.hardware_done, ENDING_S):
                raise DetectorTimeout(asked, of="the camera", answer=f"the capture did not end in {ENDING_S:g} s")

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until every frame has left the ring; False when that takes longer."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # --- looks -------------------------------------------------------------------------------------------------------

    @property
    def is_acquiring(self) -> bool:
        """Frames are being made."""
        with self._lock:
            return not self.hardware_done and (self._in_trigger or self._exposed > 0) and not self._between_triggers()

    def _between_triggers(self) -> bool:
        return self.series.plan.is_software and not self._in_trigger

    @property
    def ready_for_trigger(self) -> bool:
        """A software trigger given now would start an exposure."""
        with self._lock:
            return not self._why_no_trigger()

    def counts(self) -> Counts:
        """Of this series so far."""
        with self._lock:
            sender = self._sender
            return Counts(
                acquired=self._tally.acquired,
                sent=sender.sent,
                waiting=sender.waiting,
                not_sent=sender.not_sent,
                lost_in_camera=self._tally.lost_in_camera,
                lost_in_ring=self._tally.lost_in_ring,
                lost_frame_events=self._lost_events,
                odd_stamps=self._tally.odd_stamps,
            )

    # --- the reading thread ------------------------------------------------------------------------------------------

    def _ended(self) -> bool:
        """With the lock held: somebody has ended it."""
        if self.aborted or self.hardware_done:
            return True
        return self._stop_at is not None and (self._exposed >= self._stop_at[0] or time.monotonic() >= self._stop_at[1])

    def _is_ended(self) -> bool:
        with self._lock:
            return self._ended() or self._stop_at is not None

    def _run(self) -> None:
        plan = self.series.plan
        try:
            for capture in range(plan.captures):
                if not self._await_capture():
                    break
                self._read_capture(capture)
                if self._is_ended() or capture + 1 == plan.captures:
                    break
                self._camera.start()
                with self._lock:
                    self._capturing = self._ready = True
                    self._changed.notify_all()
        except Exception as error:  # whatever it is, the series must end and somebody must hear of it
            self.failure = error
            log.log(logging.WARNING if isinstance(error, DetectorError) else logging.ERROR, "series ended: %s", error)
        finally:
            self._finish()

    def _await_capture(self) -> bool:
        with self._lock:
            while not self._capturing and not self._ended():
                rest_s = self._stop_at[1] - time.monotonic() if self._stop_at else 1.0
                self._changed.wait(max(0.001, min(1.0, rest_s)))
            return self._capturing

    def _finish(self) -> None:
        for step in (self._end_hardware, self._camera.release):
            try:
                step()
            except DetectorError as error:
                self.failure = self.failure or error
        with self._lock:
            self.hardware_done = True
            self._changed.notify_all()
        self._sender.end(self._exposed if self._stop_at is None and not self.aborted and not self.failure else 0)

    def _end_hardware(self, *, last: bool = True) -> None:
        """Stop the capture, and say so."""
        try:
            if self._capturing:
                self._camera.stop()
        finally:
            with self._lock:
                self._capturing = False
                self.hardware_done = self.hardware_done or last
                self._changed.notify_all()

    def _read_capture(self, capture: int) -> None:
        plan, camera = self.series.plan, self._camera
        first = capture * plan.capture_frames
        ring, numbers = RingAccount(self.series.slots), FrameNumbers(plan.capture_frames, first)
        before, position, complete = self._tally, 0, False
        over, drain_until = False, 0.0
        while True:
            if not over and camera.wait(FRAME_READY | STOPPED, WAIT_MS):
                with self._lock:
                    self._lost_events += 1
            transferred = camera.transferred()
            if not over:
                position = self._newest_position(numbers, transferred)
                with self._lock:
                    self._expose(first + min(position, plan.capture_frames))
                    ended = self._ended()
                if ended or position >= plan.capture_frames or self._is_exposed(first + plan.capture_frames):
                    over, complete = True, not ended
                    last = ended or capture + 1 == plan.captures
                    self._end_hardware(last=last)
                    transferred = camera.transferred()
                    drain_until = float("inf") if last else time.monotonic() + DRAIN_S
            left = self._read_ring(ring, numbers, transferred)
            self._count(before, ring, numbers, max(position, transferred), transferred, complete=complete and not left)
            if over and (not left or self.aborted):
                break
            if over and time.monotonic() > drain_until:
                ring.give_up(transferred)
                self._count(before, ring, numbers, max(position, transferred), transferred, complete=complete)
                break

    def _newest_position(self, numbers: FrameNumbers, transferred: int) -> int:
        """How many exposures of this capture are over, as the newest frame tells."""
        if not transferred:
            return 0
        newest = self._camera.newest()
        index = transferred - 1
        return numbers.exposed(index, newest.frame_stamp if newest else index)

    def _expose(self, frames: int) -> None:
        """With the lock held: so many are exposed."""
        if frames > self._exposed:
            self._exposed = frames
            self._changed.notify_all()

    def _is_exposed(self, frames: int) -> bool:
        with self._lock:
            return self._exposed >= frames

    def _read_ring(self, ring: RingAccount, numbers: FrameNumbers, transferred: int) -> bool:
        """Read what can be read; True when something is left for want of a buffer."""
        while (index := ring.look(transferred)) is not None and not self.aborted:
            buffer = self._sender.take()
            if buffer is None:
                return True
            if ring.look(transferred := self._camera.transferred()) != index:
                self._sender.give_back(buffer)
                continue
            slot = index % self.series.slots
            pixels = self._camera.view(slot, self.series.format)
            np.copyto(buffer.reshape(pixels.shape), pixels)
            stamp = self._camera.stamp(slot)
            transferred = self._camera.transferred()
            if not ring.done(transferred):
                self._sender.give_back(buffer)
                continue
            frame_stamp = stamp.frame_stamp if stamp else index
            if numbers.position(index, frame_stamp) >= numbers.count:
                self._sender.give_back(buffer)  # exposed after the last one that was asked for, before the stop
                ring.unwanted += 1
                continue
            number = numbers.take(index, frame_stamp)
            self._sender.put(number, self.series.format.frame_format, buffer, self.series.exposure_time_s)
        return False

    def _count(
        self,
        before: Tally,
        ring: RingAccount,
        numbers: FrameNumbers,
        exposed: int,
        transferred: int,
        *,
        complete: bool,
    ) -> None:
        """Where the frames are that are absent between those that were read."""
        wanted = ring.read - ring.unwanted
        absent = max(0, (numbers.count if complete else numbers.reached) - wanted)
        in_ring = min(ring.lost, absent - min(absent, exposed - transferred))
        with self._lock:
            self._tally = Tally(
                acquired=before.acquired
                + (wanted + in_ring if complete else min(transferred - ring.unwanted, numbers.count)),
                lost_in_ring=before.lost_in_ring + in_ring,
                lost_in_camera=before.lost_in_camera + absent - in_ring,
                odd_stamps=before.odd_stamps + numbers.odd_stamps,
            )
