"""What a scan does with a DAQ device: one series for all its points, or one for each start where images are read.

                    references                              images
    prepare         configure; arm (software triggers)      configure; arm (software triggers)
                    ArmEarly: arm, whatever triggers        the same
    start           arm (hardware, first start); trigger    arm (all but the first); trigger
    a start is over frames safe in the file                 file closed, COMPLETE, and read
    the last one    file closed, COMPLETE                   the same

**References** leave the frames where they are: the detector is armed once, and a frame is named when a kill of the
receiver could no longer take it away. **Images** are taken from closed files, one a start, which are then deleted: a
growing file can be read only with one of the two ways to the disk, and the preview is no measurement. That costs an Arm
for each point, so references are for scans, images for a look.

Sardana has no word for "the scan is over". Our recorder and macro maxdaq_scan_end bring it (`end_scan`), and what was
left armed all the same is ended by the next `prepare`. Plain Python; `link` and `open_image` are given, so tests need
neither Tango nor files.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from maxdaq_tango.errors import ConfigurationError, DetectorTimeout, FileError, MaxdaqError, StateError
from maxdaq_tango.integrations.sardana.link import Report, Settings
from maxdaq_tango.integrations.sardana.naming import Files, free_files, reference
from maxdaq_tango.integrations.sardana.plan import IDLE, Link, Plan, Progress

PREPARE_S = 2.5
"""Sardana's own calls give up after 3 s: a leftover must be gone, and an Arm must be under way, before that."""
ARM_S = 150.0
"""In a start by software, which nobody times: some detectors compute for two minutes after a new energy."""
PATIENCE_S = 10.0
"""Longest silence beyond the exposures: after a software trigger, and between two hardware triggers of one start.
Sardana itself gives up 15 s after the end of the motion, and can say no more than that."""
END_S = 10.0
"""Longest wait for the end of what was stopped."""
PAUSE_S = 0.01


class Acquisition:
    """One scan after the other on one device. Called by one thread at a time, but for `stop` and `abort`."""

    def __init__(
        self,
        link: Link,
        *,
        open_image: Callable[[str, str], Any],
        patience_s: float = PATIENCE_S,
        exists: Callable[[str], bool] = os.path.exists,
        remove: Callable[[str], None] = os.remove,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`open_image(path, dataset)`: all frames of a closed file, frames first."""
        self._link, self._open_image, self._exists, self._remove, self._clock = link, open_image, exists, remove, clock
        self._patience_s = patience_s
        self._plan: Plan | None = None
        self._files: Files | None = None
        self._start = -1
        self._armed = False
        self._begun = False
        """There was an Arm: what is counted and reported is of this series, and not of one before it."""
        self._started = False
        self._ended = False
        self._stopping_since: float | None = None
        self._trouble = ""
        self._deadline, self._seen = 0.0, 0
        self._safe: tuple[int, ...] = ()
        self._report = Report("")
        self._told: dict[str, int] = {}
        self._images: dict[str, list[Any]] = {}

    # ---- the scan ----

    def prepare(self, plan: Plan) -> None:
        """End what was left over, write the set-points, arm if triggers come from here. Raises MaxdaqError."""
        ours = self._armed or self._stopping_since is not None
        self._plan, self._start, self._armed, self._started, self._ended = plan, -1, False, False, False
        self._stopping_since, self._trouble = None, ""
        self._told, self._images = {}, {}
        self._forget_series()
        until = self._clock() + PREPARE_S
        self._end_leftover(ours)
        self._configure()
        if plan.mode == "SOFTWARE" or plan.arm_early:
            self._arm(max(0.0, until - self._clock()))  # `start` goes on waiting

    def start(self) -> None:
        """One start. Sardana shows nothing of what is raised here, so it is kept for `progress`."""
        plan = self._planned()
        self._start += 1
        self._started, self._stopping_since, self._ended, self._images = True, None, False, {}
        until = self._clock() + PREPARE_S
        try:
            if not self._armed:
                if self._start and not plan.references:
                    self._configure()
                self._arm(PREPARE_S)
            if plan.mode == "SOFTWARE":
                self._wait(self._is_ready, ARM_S, "become ready for a software trigger")
                if self._stopping_since is None:
                    self._link.trigger()
            elif not self._link.wait_until_armed(until - self._clock()):
                answer = f"not done in {PREPARE_S:g} s, and Sardana waits no longer: {self._link.trouble()}"
                raise DetectorTimeout("arm", of=self._link.name, answer=answer, accepted="property ArmEarly")
            self._seen, self._deadline = 0, 0.0
        except MaxdaqError as error:
            self._trouble = str(error)

    def stop(self) -> None:
        """In order; `progress` is moving until the file is closed."""
        self._end(self._link.stop)

    def abort(self) -> None:
        """At once."""
        self._end(self._link.abort)

    def begin_scan(self) -> None:
        """What is told from now on is of the scan that begins, also where it never comes to `prepare`."""
        self._trouble, self._started = "", False

    def end_scan(self) -> None:
        """The scan is over, whatever it came to: a series that still waits for triggers is ended in order."""
        if self._armed and self._stopping_since is None:
            self._end(self._link.stop)
        self._started = False  # a fault of this scan is not the state of the next one; `trouble` keeps it

    # ---- looks ----

    @property
    def armed(self) -> bool:
        """A series is under way, as far as is known here."""
        return self._armed

    @property
    def trouble(self) -> str:
        """What went wrong since the scan began; "" when all is well, or somebody has stopped it before."""
        return self._trouble

    def progress(self) -> Progress:
        """Of the present start. Raises nothing: what goes wrong is the text of a fault."""
        if self._plan is None or not self._started:
            return IDLE
        try:
            return self._progress(self._plan)
        except MaxdaqError as error:
            self._trouble = str(error)
            return Progress("fault", self._trouble)

    def reference(self, detector: str) -> str:
        """Of the last frame of the present start; MaxdaqError when it is not safe in the file."""
        row = (self._start + 1) * self._planned().repetitions - 1
        found = self._references(detector, row, row + 1)
        if not found or not found[0]:
            raise StateError(
                f"name frame {row}", of=detector, answer=self._trouble or "it is not in the file", accepted="a new scan"
            )
        return found[0]

    def new_references(self, detector: str) -> list[str]:
        """Since the last call, in their order; "" for a frame that never came."""
        first = self._told.get(detector, 0)
        found = self._references(detector, first, (self._start + 1) * self._planned().repetitions)
        self._told[detector] = first + len(found)
        return found

    def image(self, detector: str) -> Any:
        """The last one of the present start, (rows, columns); MaxdaqError when there is none."""
        images = self._images.get(detector)
        if not images:
            stays = self._planned().references
            answer = "frames stay in their file (ValueRefEnabled)" if stays else "its file is not closed yet"
            raise StateError("read an image", of=detector, answer=self._trouble or answer)
        return images[-1]

    def new_images(self, detector: str) -> list[Any]:
        """Of the present start, in their order; empty before its file is closed, and when they were taken."""
        return self._images.pop(detector, [])

    # ---- inside ----

    def _planned(self) -> Plan:
        if self._plan is None:
            raise StateError("start", of=self._link.name, answer="nothing is prepared", accepted="prepare first")
        return self._plan

    def _end_leftover(self, ours: bool) -> None:
        if not self._link.look(counts=False).running:
            return
        if not ours:
            raise StateError(
                "prepare a scan",
                of=self._link.name,
                answer=f"it runs an acquisition that Sardana has not begun: {self._link.trouble()}",
                accepted="when that is over; Stop or Abort of the device end it",
            )
        self._link.stop()
        if not self._link.wait_until_idle(PREPARE_S):
            raise StateError(
                "prepare a scan",
                of=self._link.name,
                answer=f"what ran before has not ended within {PREPARE_S:g} s of Stop: {self._link.trouble()}",
                accepted="the same again a little later, or Abort",
            )

    def _configure(self) -> None:
        plan = self._planned()
        starts = plan.starts if plan.references else 1
        self._files = free_files(plan.files, plan.detectors, self._exists)
        triggers, frames = (starts, plan.repetitions) if plan.burst else (starts * plan.repetitions, 1)
        settings = Settings(
            mode=plan.mode,
            exposure_s=plan.exposure_s,
            # Between triggers from outside the detector has to be ready as soon as it can.
            latency_s=plan.latency_s if plan.burst else 0.0,
            triggers=triggers,
            frames_per_trigger=frames,
            detectors=plan.detectors,
            files=self._files,
        )
        self._link.configure(settings)

    def _arm(self, wait_s: float) -> None:
        self._forget_series()
        self._link.arm(wait_s)
        self._armed = self._begun = True

    def _forget_series(self) -> None:
        self._begun, self._safe, self._report = False, (), Report("")

    def _is_ready(self) -> bool:
        look = self._link.look(counts=False)
        if not look.running:
            raise StateError("trigger", of=self._link.name, answer=f"it is not armed any more: {self._link.trouble()}")
        return look.ready

    def _wait(self, condition: Callable[[], bool], limit_s: float, asked: str) -> None:
        deadline = self._clock() + limit_s
        while self._stopping_since is None and not condition():
            if self._clock() > deadline:
                answer = f"not done in {limit_s:g} s: {self._link.trouble()}"
                raise DetectorTimeout(asked, of=self._link.name, answer=answer)
            time.sleep(PAUSE_S)

    def _end(self, command: Callable[[], None]) -> None:
        self._stopping_since = self._clock()
        self._armed = False
        with contextlib.suppress(MaxdaqError):  # what cannot be reached cannot be stopped; `progress` says so
            command()

    def _progress(self, plan: Plan) -> Progress:
        if self._stopping_since is not None:
            return self._winding_up(self._stopping_since)
        if self._trouble:
            return Progress("fault", self._trouble)
        if self._ended:
            return IDLE
        wanted = (self._start + 1 if plan.references else 1) * plan.repetitions
        is_last = not plan.references or self._start + 1 >= plan.starts
        look = self._link.look(safe=plan.references)
        self._safe = look.safe
        if not look.running:
            return self._over(wanted, is_last)
        if not is_last and min(look.received, default=0) >= wanted and min(look.safe, default=0) >= wanted:
            self._ended = True
            return Progress("idle", f"{wanted} frames are safe")
        self._must_go_on(plan, look.received, wanted)
        return Progress("moving", f"{look.state}, {min(look.received, default=0)} of {wanted} frames received")

    def _must_go_on(self, plan: Plan, counted: Sequence[int], wanted: int) -> None:
        received = min(counted, default=0)
        if received != self._seen or not self._deadline:
            wait_s = plan.repetitions * (plan.exposure_s + plan.latency_s) + self._patience_s
            self._seen, self._deadline = received, self._clock() + wait_s
        by_software = plan.mode == "SOFTWARE"
        waits_for_motion = not by_software and received <= wanted - plan.repetitions
        if self._clock() <= self._deadline or waits_for_motion:
            return
        counts = ", ".join(f"{name} {count}" for name, count in zip(plan.detectors, counted, strict=False))
        status = self._link.trouble()
        error = DetectorTimeout(
            f"take start {self._start + 1} of {plan.starts}",
            of=self._link.name,
            answer=f"of {wanted} frames were received: {counts}; no more in {self._patience_s:g} s. {status}",
            accepted="" if by_software else "a trigger for each frame, none before the detector is ready again",
        )
        with contextlib.suppress(MaxdaqError):
            self._link.stop()
        raise error

    def _over(self, wanted: int, is_last: bool) -> Progress:
        self._armed = False
        self._report = self._link.report()
        if self._report.verdict != "COMPLETE" or not is_last:
            why = "; ".join(self._report.reasons) or self._link.trouble()
            asked = f"take {wanted} frames" if is_last else "take the frames of the whole scan"
            answer = f"{self._report.verdict or 'it ended'}: {why}"
            self._trouble = str(StateError(asked, of=self._link.name, answer=answer, accepted="COMPLETE"))
            return Progress("fault", self._trouble)
        if not self._planned().references:
            self._read_images()
        self._ended = True
        return Progress("idle", f"{wanted} frames are in a closed file")

    def _winding_up(self, since: float) -> Progress:
        with contextlib.suppress(MaxdaqError):
            if self._clock() - since < END_S and self._link.look(counts=False).running:
                return Progress("moving", "Stopped; the file is being closed")
            if self._begun and not self._report.verdict:
                self._report = self._link.report()
        return IDLE

    def _references(self, detector: str, first: int, last: int) -> list[str]:
        """Of the rows that are known to be there, or known not to come."""
        plan = self._planned()
        if self._files is None:
            return []
        receipt = self._report.receipts.get(detector)
        if receipt is None:
            safe = dict(zip(plan.detectors, self._safe, strict=False)).get(detector, 0)
            path = self._files.path(detector)
            return [reference(path, row) for row in range(first, min(last, safe))]
        path, rows = str(receipt.get("file", "")), (receipt.get("shape") or [0])[0]
        absent = [*receipt.get("frames_missing_ranges", ()), *receipt.get("frames_late_ranges", ())]
        for ranges in receipt.get("frames_lost_at", {}).values():
            absent += ranges
        absent += [(number, number) for number in receipt.get("frames_corrupt_numbers", ())]
        there = [not any(low <= row <= high for low, high in absent) for row in range(first, min(last, rows))]
        return [reference(path, row) if path and good else "" for row, good in enumerate(there, first)]

    def _read_images(self) -> None:
        for detector in self._planned().detectors:
            receipt = self._report.receipts.get(detector, {})
            path, dataset = str(receipt.get("file", "")), str(receipt.get("dataset", ""))
            asked = f"read the images of {detector}"
            try:
                frames: Sequence[Any] = self._open_image(path, dataset)
            except (OSError, KeyError) as error:
                raise FileError(
                    asked,
                    of=path,
                    answer=str(error),
                    accepted="ImageFolder on a file system that receiver and Pool share, or ValueRefEnabled",
                ) from None
            if any(getattr(frame, "ndim", 2) != 2 for frame in frames):
                raise ConfigurationError(
                    asked, of=path, answer="each frame has several images", accepted="value references"
                )
            self._images[detector] = list(frames)
            for made in (path, path.removesuffix(".h5") + ".manifest.json"):
                with contextlib.suppress(OSError):  # a file too many harms nobody
                    self._remove(made)
