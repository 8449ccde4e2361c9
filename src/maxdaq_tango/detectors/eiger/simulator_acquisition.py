"""The simulated detector's state machine and exposures: what starts when, on an injected clock.

    na ─initialize─> initialize ─> idle ─arm─> configure ─> ready ─trigger─> acquire ─> ready / idle
                                    ^<──── disarm, cancel, abort, end of series ────────┘      `error` by fault

Nothing here sleeps, renders or locks. The owner asks `step(now)` for the next piece of work, performs it (that may take
long and needs no lock), and hands the result to `deliver`. One piece at a time, so messages keep their order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from maxdaq_tango.detectors.eiger.protocol import (
    SOFTWARE_MODES,
    DetectorCommand,
    State,
    VendorTriggerMode,
    encode_sequence_id,
)
from maxdaq_tango.detectors.eiger.simulator_headers import SeriesPlan
from maxdaq_tango.detectors.eiger.simulator_queue import SendQueues
from maxdaq_tango.detectors.eiger.simulator_settings import DetectorSettings, Refusal
from maxdaq_tango.detectors.eiger.simulator_stream import Product, SeriesStream, Shot
from maxdaq_tango.detectors.eiger.simulator_work import Burst, Work, WorkKind
from maxdaq_tango.detectors.serving.messages import Answer, Reply, refused
from maxdaq_tango.detectors.simulation.faults import Faults

LONGEST_SERIES_S = 7 * 86400.0
MOST_IMAGES = 1 << 48
LATENESS_ALLOWED_S = 0.005
_SERIES_STATES = (State.READY, State.ACQUIRE)


class Acquisition:
    """States, triggers and exposures of one detector. Not thread-safe: the owner holds a lock around every call."""

    def __init__(
        self,
        settings: DetectorSettings,
        queues: SendQueues,
        plan: Callable[[int, float], SeriesPlan],
        *,
        initialise_time_s: float,
        arm_time_s: float,
    ) -> None:
        self.settings, self.queues, self.faults = settings, queues, Faults()
        self.state = State.NA
        self.series_id = 0
        self.frames_made = 0
        """Images of the present or last series."""
        self.frames_late = 0
        """Images that left later than the detector's pace because this machine is too slow; none is ever left out."""
        self.lateness_s = 0.0
        """The worst of it."""
        self.triggers_ignored = 0
        """Edges and gates that came when the detector was not ready for them."""
        self._plan = plan
        self._initialise_time_s, self._arm_time_s = initialise_time_s, arm_time_s
        self._stream: SeriesStream | None = None
        self._pending: tuple[DetectorCommand, float, Answer] | None = None
        self._bursts: deque[Burst] = deque()
        self._triggers = 0
        self._gates: list[tuple[float, float]] = []
        self._ending: DetectorCommand | None = None
        self._completed = False
        self._end_answers: list[Answer] = []
        """arm, disarm, cancel, abort: answered with the series number."""
        self._trigger_answers: list[Answer] = []
        self._working = False

    # --- commands ----------------------------------------------------------------------------------------------------

    @property
    def series(self) -> SeriesPlan | None:
        """The armed series."""
        return self._stream.plan if self._stream else None

    def initialize(self, now: float) -> Answer:
        """Forget everything; allowed in every state, also while something blocks."""
        self._give_up("the detector was initialised")
        self.state = State.INITIALIZE
        answer = Answer()
        self._pending = (
            DetectorCommand.INITIALIZE, now + self._initialise_time_s + self.faults.initialise_delay_s, answer
        )  # fmt: skip
        return answer

    def arm(self, now: float) -> Answer:
        """Freeze the settings and send the header; the answer comes when the detector is ready."""
        if self.state is not State.IDLE:
            raise Refusal(400, f"Command arm is not possible in state {self.state}", "arm in state idle")
        if self.faults.refuse_arm:
            raise Refusal(400, f"Command arm failed: {self.faults.refuse_arm}")
        values = self.settings.values
        images = values["nimages"] * values["ntrigger"]
        if images > MOST_IMAGES or images * values["frame_time"] > LONGEST_SERIES_S:
            raise Refusal(400, f"Command arm failed: {images} images of {values['frame_time']} s", "at most one week")
        self.state = State.CONFIGURE
        self.series_id += 1
        self.queues.reset_dropped()
        answer = Answer()
        self._pending = (DetectorCommand.ARM, now + self._arm_time_s + self.faults.arm_delay_s, answer)
        return answer

    def trigger(self, now: float, count_time_s: float | None) -> Answer:
        """A software trigger; in ints the answer comes when the burst is over, in inte at once (as on the real one)."""
        mode = VendorTriggerMode(self.settings.values["trigger_mode"])
        if self.state not in _SERIES_STATES:
            raise Refusal(400, f"Command trigger is not possible in state {self.state}", "trigger after arm")
        if mode not in SOFTWARE_MODES:
            raise Refusal(400, f"Command trigger is not possible in trigger mode {mode}", "ints or inte")
        if not self._listens() or self._triggers >= self.settings.values["ntrigger"]:
            raise Refusal(400, "Command trigger failed: all triggers of this series are used up", "ntrigger")
        if mode is VendorTriggerMode.INTS and self._bursts:
            raise Refusal(400, "Command trigger failed: the detector is still acquiring", "one trigger at a time")
        answer = Answer()
        if mode is VendorTriggerMode.INTS:
            self._start(now, self.settings.values["nimages"], self.settings.values["count_time"], answer)
            return answer
        exposure = self.settings.values["count_time"] if count_time_s is None else count_time_s
        self._start(now, 1, self.settings.checked("count_time", exposure), None)
        answer.resolve(Reply())
        return answer

    def end_series(self, command: DetectorCommand, now: float) -> Answer:
        """disarm, cancel or abort, from any state and while a trigger blocks elsewhere."""
        answer = Answer()
        if self._pending and self._pending[0] is DetectorCommand.ARM:
            self._pending[2].resolve(refused(400, f"Command arm was ended by {command}"))
            self._pending = None
            self.state = State.IDLE
        if self._stream is None:
            if self.state is State.CONFIGURE:  # the header is being made: the series ends as soon as it is there
                self._ending = command
                self._end_answers.append(answer)
            else:
                answer.resolve(self._sequence_id())
            return answer
        if command is DetectorCommand.ABORT:
            self.queues.purge_images()
        if command is DetectorCommand.CANCEL:
            self._finish_running_exposure(now)
        else:
            self._bursts_over()
        self._ending = command
        self._end_answers.append(answer)
        return answer

    def fail(self, reason: str) -> None:
        """The fault of a broken detector: nothing more leaves, only `initialize` helps."""
        self._give_up(f"the detector is in error state: {reason}")
        self.state = State.ERROR

    def restart(self) -> None:
        """As after boot."""
        self._give_up("the detector was restarted")
        self.state = State.NA

    # --- the electrical inputs ---------------------------------------------------------------------------------------

    def edges(self, now: float, count: int, spacing_s: float | None) -> int:
        """Rising edges on the external input; spacing None = each as soon as it is listened to. Number taken."""
        mode = self.settings.values["trigger_mode"]
        taken = 0
        if mode == VendorTriggerMode.EXTS and self._listens():
            for n in range(count):
                at = now if spacing_s is None else now + n * spacing_s
                busy_until = self._bursts[-1].end_s if self._bursts else now
                if self._triggers >= self.settings.values["ntrigger"] or (spacing_s is not None and at < busy_until):
                    continue
                self._start(at, self.settings.values["nimages"], self.settings.values["count_time"], None)
                taken += 1
        self.triggers_ignored += count - taken
        return taken

    def gates(self, now: float, count: int, width_s: float, spacing_s: float) -> int:
        """Gates on the external input, each `width_s` high, beginning `spacing_s` after one another. Number taken."""
        mode = self.settings.values["trigger_mode"]
        shortest = self.settings.specs["count_time"].minimum or 0.0
        taken = 0
        if mode in (VendorTriggerMode.EXTE, VendorTriggerMode.EXTG) and self._listens() and width_s >= shortest:
            for n in range(count):
                at = now + n * spacing_s
                busy_until = self._bursts[-1].end_s if self._bursts else now
                if at < busy_until:
                    continue
                taken += self._gate(mode, at, width_s)
        self.triggers_ignored += count - taken
        return taken

    def _gate(self, mode: str, at: float, width_s: float) -> bool:
        if mode == VendorTriggerMode.EXTE:
            if self._triggers >= self.settings.values["ntrigger"]:
                return False
            self._start(at, 1, width_s, None)
            return True
        doubled = 2 if self.settings.values["extg_mode"] == "double" else 1
        planned = self.frames_made + sum(doubled * (burst.count - burst.made) for burst in self._bursts)
        if planned >= self.settings.values["nimages"] * doubled:
            return False
        self._gates.append((at, at + width_s))
        if len(self._gates) == self.settings.values["nexpi"]:
            begin, end = self._gates[0][0], self._gates[-1][1]
            self._gates.clear()
            self._start(begin, 1, end - begin, None, images=doubled)
        return True

    def _listens(self) -> bool:
        return self.state in _SERIES_STATES and self._ending is None and not self._completed

    # --- time --------------------------------------------------------------------------------------------------------

    def step(self, now: float) -> Work | None:
        """The next thing to do, if its time has come. Perform it and call `deliver` before the next step."""
        if self._pending and now >= self._pending[1]:
            command, _, answer = self._pending
            self._pending = None
            if command is DetectorCommand.INITIALIZE:
                self._initialised(answer)
                return None
            plan = self._plan(self.series_id, now)
            self._working = True
            self._end_answers.append(answer)
            return Work(WorkKind.ARM, plan)
        stream = self._stream
        if stream is None:
            return None
        if self._bursts:
            burst = self._bursts[0]
            due = self._due(burst)
            if now < due:
                if now >= burst.start_s and self.state is State.READY:
                    self.state = State.ACQUIRE
                return None
            self._note_lateness(now - due, burst.period_s)
            self.state, self._working = State.ACQUIRE, True
            start = burst.start_s + burst.made // burst.images * burst.period_s
            shot = Shot(self.frames_made, start, start + burst.exposure_s)
            return Work(WorkKind.SHOT, stream.plan, stream, shot)
        if self._ending or self._completed:
            self._working = True
            return Work(WorkKind.END, stream.plan, stream)
        return None

    def deliver(self, work: Work, stream: SeriesStream, product: Product) -> bool:
        """Take the result of a piece of work; False when it came too late (abort, initialize) and is thrown away."""
        self._working = False
        if work.kind is WorkKind.ARM:
            return self._ready(work, stream, product)
        if stream is not self._stream:
            return False
        if work.kind is WorkKind.SHOT and self._ending is DetectorCommand.ABORT:
            return False
        if work.kind is WorkKind.SHOT:
            self.queues.accounts.made(work.plan.series_id)
        for message in product.messages:
            self.queues.offer(message)
        if work.kind is WorkKind.END:
            self._ended()
        else:
            self._shot_made(stream)
        return True

    def next_due(self) -> float | None:
        """When `step` should be called at the latest; None = not before the next command."""
        if self._pending:
            return self._pending[1]
        if self._stream is None:
            return None
        if self._bursts:
            burst = self._bursts[0]
            return burst.start_s if self.state is State.READY else self._due(burst)
        return float("-inf") if self._ending or self._completed else None

    # --- inside ------------------------------------------------------------------------------------------------------

    def _due(self, burst: Burst) -> float:
        if self.faults.never_start:
            return float("inf")
        return burst.start_s + burst.made // burst.images * burst.period_s + burst.exposure_s

    def _note_lateness(self, late: float, period: float) -> None:
        if late > period + LATENESS_ALLOWED_S:
            self.frames_late += 1
            self.lateness_s = max(self.lateness_s, late)

    def _start(self, at: float, count: int, exposure: float, answer: Answer | None, *, images: int = 1) -> None:
        values = self.settings.values
        at += values.get("trigger_start_delay", 0.0)
        if self._bursts:
            at = max(at, self._bursts[-1].end_s)
        period = values["frame_time"] if values["trigger_mode"] in ("ints", "exts") else exposure
        self._bursts.append(Burst(at, count, exposure, max(period, exposure), images, answer))
        self._triggers += 1

    def _initialised(self, answer: Answer) -> None:
        self.settings.reset()
        self.series_id = 0
        self.frames_late, self.lateness_s, self.triggers_ignored = 0, 0.0, 0
        if self.faults.error_state:
            self.state = State.ERROR
            answer.resolve(refused(500, f"Command initialize failed: {self.faults.error_state}"))
        else:
            self.state = State.IDLE
            answer.resolve(Reply())

    def _ready(self, work: Work, stream: SeriesStream, product: Product) -> bool:
        if self.state is not State.CONFIGURE or work.plan.series_id != self.series_id:
            return False
        self.queues.accounts.begin(self.series_id, work.plan.unique_id, restarted=work.plan.faults.restart_at)
        for message in product.messages:
            self.queues.offer(message)
        self._stream = stream
        self.frames_made, self._triggers, self._completed = 0, 0, False
        self._gates.clear()
        self.state = State.READY
        if self._ending is None:
            answers, self._end_answers = self._end_answers, []
            for answer in answers:
                answer.resolve(self._sequence_id())
        return True

    def _shot_made(self, stream: SeriesStream) -> None:
        self.frames_made += 1
        if not self._bursts:
            return
        burst = self._bursts[0]
        burst.made += 1
        if burst.made >= burst.count * burst.images:
            self._bursts.popleft()
            if self.frames_made >= stream.plan.frame_total and self.settings.values["trigger_mode"] != "extg":
                self._completed = True
                if burst.answer:
                    self._trigger_answers.append(burst.answer)
            elif burst.answer:
                burst.answer.resolve(Reply())
            if not self._bursts and self._listens():
                self.state = State.READY

    def _finish_running_exposure(self, now: float) -> None:
        """cancel: the image being exposed is finished, all later ones are not begun."""
        if not self._bursts or self.faults.never_start:
            self._bursts_over()
            return
        burst = self._bursts[0]
        while len(self._bursts) > 1:
            self._bursts.pop()
        exposures = burst.made // burst.images
        if now >= burst.start_s + exposures * burst.period_s or self._working:
            burst.count = exposures + 1
        else:
            self._bursts_over()

    def _bursts_over(self) -> None:
        for burst in self._bursts:
            if burst.answer:
                self._trigger_answers.append(burst.answer)
        self._bursts.clear()

    def _ended(self) -> None:
        self._stream, self._ending, self._completed = None, None, False
        self.queues.accounts.finished(self.series_id)
        self._bursts_over()
        self.state = State.IDLE
        for answer in self._end_answers:
            answer.resolve(self._sequence_id())
        for answer in self._trigger_answers:
            answer.resolve(Reply())
        self._end_answers, self._trigger_answers = [], []

    def _give_up(self, reason: str) -> None:
        """End without an end message; whoever waits is told why."""
        self._bursts_over()
        if self._pending:
            self._end_answers.append(self._pending[2])
        for answer in (*self._end_answers, *self._trigger_answers):
            answer.resolve(refused(400, f"Command ended: {reason}"))
        self._end_answers, self._trigger_answers = [], []
        self.queues.accounts.finished(self.series_id)
        self._stream, self._pending, self._ending, self._completed = None, None, None, False
        self._gates.clear()
        self.queues.purge_images()

    def _sequence_id(self) -> Reply:
        return Reply(body=encode_sequence_id(self.series_id))
