"""A series of an ORCA: the camera armed, triggered, read and ended. What the commands of the streamer do.

Threads: commands come from threads of the control's connections; one thread for each series reads the ring. The
camera's part of a series is over when its last frame is exposed or somebody ended it; frames may then still wait for
the receiver.
"""

from __future__ import annotations

import logging
import threading
import time

from maxdaq_tango.detectors.orca.camera import OrcaCamera
from maxdaq_tango.detectors.orca.capture_reader import CaptureReader, Series, Tally
from maxdaq_tango.detectors.orca.configuration import expose
from maxdaq_tango.detectors.orca.protocol import Counts
from maxdaq_tango.detectors.orca.sender import FrameSender
from maxdaq_tango.errors import DetectorError, DetectorRefused, DetectorTimeout

log = logging.getLogger(__name__)

WAIT_MS = 100
"""Longest sleep of the reading thread: an abort that comes between two waits is seen after it at the latest."""
LAST_FRAME_S = 2.0
"""How long `stop` waits for the frame that is being exposed."""
LEFT_WAIT_MS = 1
"""The same while frames wait in the ring: LOSTFRAME and the end of the series are looked for between them."""
DRAIN_S = 1.0
"""How long a burst that is asked for waits for the last one's frames to leave the ring; edges ask at once."""
ENDING_S = 10.0
LOOK_S = 0.05
LOST_QUIET_S = 0.5
"""After LOSTFRAME: a triggered frame that has not come so long after its time will not come."""


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
        self._start_by: float | None = None
        """A trigger waits for the next capture: the ring has so long to become empty."""
        self._holds = False
        """Frames wait in the ring."""
        self._dismissed = False
        """Stopped after the camera was done: what is left is nobody's series any more."""
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

    def trigger(self, exposure_time_s: float | None = None) -> None:
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
            now_s, asked_s = self._exposure_s, exposure_time_s
            self.series.exposures_s.append(now_s if asked_s is None else expose(self._camera, asked_s, "the camera"))
            if plan.starts_at_trigger:
                self._camera.start()
                with self._lock:
                    self._capturing = True
                    self._changed.notify_all()
            elif plan.paced:
                self._fire_paced(plan.trigger_frames)
            elif self._await_capturing():
                self._camera.fire_trigger()
            self._await_burst(target, lost_before)
        except DetectorError:
            if not self._is_ended():
                raise
        finally:
            with self._lock:
                self._in_trigger = False

    @property
    def _exposure_s(self) -> float:
        return self.series.exposures_s[-1] if self.series.exposures_s else self.series.exposure_time_s

    def _why_no_trigger(self) -> str:
        plan = self.series.plan
        if not plan.is_software:
            return f"the trigger source is {plan.source.name}"
        if self.hardware_done or self._stop_at is not None or self.aborted:
            return "the series is over"
        if self._in_trigger:
            return "an earlier trigger still runs"
        return "" if self._ready else "the camera is not ready for it yet"

    def _await_capturing(self) -> bool:
        """Where each burst is a capture of its own, the next one may not have begun. False when none will."""
        with self._lock:
            if not self._capturing:
                self._start_by = time.monotonic() + DRAIN_S
            self._changed.wait_for(lambda: self._capturing or self._ended() or self._stop_at is not None)
            return self._capturing

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
        one_frame_s = self._exposure_s + self.series.period_s
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
                self._dismissed = True
                return
            if self._stop_at is None:
                running = self._capturing and (self._in_trigger or not self.series.plan.is_software)
                frame_s = self._exposure_s + self.series.period_s
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
        if not self.hardware_done:
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

    def let_out(self, patience_s: float) -> bool:
        """Once the camera is done: wait while a receiver takes what is left. False when it took nothing for so long,
        and the rest was given up.
        """
        began = time.monotonic()
        taken = self._sender.settle(patience_s)
        # Nothing waits to be sent and yet the ring is full, where ZeroMQ holds every buffer of the pool for a receiver
        # that is connected and takes nothing.
        while not self.join(LOOK_S):
            taken = taken and (time.monotonic() - began < patience_s or self._sender.was_taken(patience_s))
            if not taken:
                self.abort()
                self.join()
        return self._sender.settle(patience_s) and taken

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

    def is_being_taken(self, within_s: float) -> bool:
        """The camera is done as planned, frames still wait, and somebody took one or the header in this time."""
        with self._lock:
            ended = self._stop_at is not None or self.aborted or self._dismissed or self.failure is not None
            if ended or not self.hardware_done or not (self._holds or self._sender.waiting):
                return False
        return self._sender.was_taken(within_s)

    def counts(self) -> Counts:
        """Of this series so far."""
        with self._lock:
            sender = self._sender
            return Counts(
                acquired=self._tally.acquired,
                sent=sender.sent,
                waiting=sender.waiting,
                not_sent=sender.not_sent + self._tally.given_up,
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
                    self._capturing, self._start_by = True, None
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
            self.hardware_done, self._holds = True, False
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
                self._ready = self._ready or not last  # the next capture begins by itself
                self._changed.notify_all()

    def _read_capture(self, capture: int) -> None:
        plan = self.series.plan
        first, last = capture * plan.capture_frames, capture + 1 == plan.captures
        reader = CaptureReader(self._camera, self._sender, self.series, self._tally, first, on_loss=self._hear_of_loss)
        ended = self._read_while_exposed(reader, first + plan.capture_frames)
        with self._lock:
            self._holds = True
        self._end_hardware(last=ended or last)
        reader.refresh()
        until = time.monotonic() + DRAIN_S
        while (left := reader.read(self._is_aborted)) and not self.aborted and self._may_drain(until):
            self._count(reader, complete=False)
        if left and self.aborted:
            reader.abandon()
        elif left:
            reader.give_up()
        self._count(reader, complete=not ended)

    def _read_while_exposed(self, reader: CaptureReader, target: int) -> bool:
        """Until so many frames of the series are exposed; True when somebody ended it before."""
        left = False
        while True:
            reader.wait(LEFT_WAIT_MS if left else WAIT_MS)
            exposed = target - self.series.plan.capture_frames + reader.look()
            with self._lock:
                self._expose(min(exposed, target))
                ended = self._ended()
                if ended or self._exposed >= target:
                    return ended
            left = reader.read(self._is_aborted)
            self._count(reader, complete=False)

    def _may_drain(self, until: float) -> bool:
        """Between two captures: the ring may go on to become empty. With the camera done it always may."""
        with self._lock:
            if self._stop_at is not None and not self.hardware_done:
                self.hardware_done = True
                self._changed.notify_all()
            if self.series.plan.is_software:
                until = float("inf") if self._start_by is None else self._start_by
            return self.hardware_done or time.monotonic() <= until

    def _hear_of_loss(self) -> None:
        with self._lock:
            self._lost_events += 1

    def _is_aborted(self) -> bool:
        return self.aborted

    def _expose(self, frames: int) -> None:
        """With the lock held: so many are exposed."""
        if frames > self._exposed:
            self._exposed = frames
            self._changed.notify_all()

    def _count(self, reader: CaptureReader, *, complete: bool) -> None:
        tally = reader.tally(complete=complete)
        with self._lock:
            self._tally = tally
