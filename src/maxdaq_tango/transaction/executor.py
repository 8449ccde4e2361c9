"""Runs the transaction: gives each instruction a thread and a deadline, looks at both sides, tells who waits.

One lock guards the sequence, which never blocks. A call to a detector or receiver has a thread of its own, because a
trigger may block for a whole burst while Stop must get through; a hung call costs one thread and nobody waits for it.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from msgspec.structs import replace

from maxdaq_tango.errors import DetectorError, EngineError, MaxdaqError, StateError
from maxdaq_tango.model import AcquisitionSettings, AcquisitionState, RunRequest, ScanMaster, StreamDescription
from maxdaq_tango.model.hardware import ArmedSeries, DetectorReport, HardwareState
from maxdaq_tango.transaction import status
from maxdaq_tango.transaction.outcome import Outcome
from maxdaq_tango.transaction.phases import ARMING, Phase
from maxdaq_tango.transaction.ports import DetectorPort, ReceiverPort, ReceiverView
from maxdaq_tango.transaction.sequence import Sequence
from maxdaq_tango.transaction.words import (
    DEFAULT_DEADLINES,
    RECEIVER_STEPS,
    AbortAsked,
    Answered,
    Begin,
    Deadlines,
    Event,
    ExpectFields,
    Failed,
    Instruction,
    PairPlan,
    PlaceFields,
    ReceiverSeen,
    ResetAsked,
    ScanPlan,
    SourceSeen,
    Step,
    StopAsked,
    TimedOut,
    TriggerAsked,
)

log = logging.getLogger(__name__)

BUSY_LOOK_S = 0.05
IDLE_LOOK_S = 1.0
HISTORY = 20
"""Runs that are remembered."""
CLOSE_S = 5.0
"""Longest wait for each thread at close; one that hangs in a dead connection is left to end with the process."""

ThreadMaker = Callable[..., threading.Thread]


@dataclass(frozen=True)
class Pair:
    """A detector and the receiver of its stream."""

    detector: DetectorPort
    receiver: ReceiverPort


@dataclass(frozen=True)
class PairSight:
    """What is known of one pair at the moment; counts are of the present or last run."""

    report: DetectorReport | None
    view: ReceiverView | None
    frames_received: int
    ready_for_trigger: bool


class Executor:
    """One transaction at a time over a fixed set of pairs. `start` it, `close` it. Every method may be called from any
    thread and none waits for hardware, except `wait_armed` and `wait_idle` as long as they are told to."""

    def __init__(
        self,
        pairs: dict[str, Pair],
        *,
        deadlines: Deadlines = DEFAULT_DEADLINES,
        thread: ThreadMaker = threading.Thread,
        idle_look_s: float = IDLE_LOOK_S,
    ) -> None:
        self._pairs = pairs
        self._thread = thread
        self._idle_look_s = idle_look_s
        sides = {name: (pair.detector.name, pair.receiver.name) for name, pair in pairs.items()}
        self._sequence = Sequence(sides, deadlines)
        # Guards the sequence, the deadlines, the looks and the calls under way; waited on by everyone.
        self._changed = threading.Condition()
        self._deadlines: dict[int, float] = {}
        self._reports: dict[str, DetectorReport] = {}
        self._views: dict[str, ReceiverView] = {}
        self._threads: list[threading.Thread] = []
        self._calls: dict[int, threading.Thread] = {}
        self._closing = False
        self._closely = False
        self._history: deque[Outcome] = deque(maxlen=HISTORY)

    # ---- life ----

    def start(self) -> None:
        """Begin to look at the pairs."""
        self._begin_thread("clock", self._watch_deadlines)
        for name in self._pairs:
            self._begin_thread(f"detector of {name}", partial(self._watch, name, self._look_at_source))
            self._begin_thread(f"receiver of {name}", partial(self._watch, name, self._look_at_receiver))

    def close(self) -> None:
        """Abort what is running, wait for it a moment, join every thread."""
        with self._changed:
            if self._sequence.phase is not Phase.IDLE:
                self._handle(AbortAsked("the device is being shut down"))
        self.wait_idle(CLOSE_S)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            threads = [*self._threads, *self._calls.values()]
        for thread in threads:
            thread.join(CLOSE_S)
            if thread.is_alive():
                log.error("%s hangs and is left behind", thread.name)

    # ---- requests ----

    def arm(self, plans: dict[str, PairPlan], scan: ScanPlan | None = None) -> str:
        """Begin. Returns the id of the run at once; `wait_armed` tells how it went."""
        run_id = uuid.uuid4().hex
        with self._changed:
            self._handle(Begin(run_id, plans, scan))
            self._reports = {name: _without_count(report) for name, report in self._reports.items()}
        return run_id

    def wait_armed(self, timeout_s: float) -> bool:
        """True once armed, False when still at it after `timeout_s`; raises the reason when arming failed."""
        with self._changed:
            arming = (*ARMING, Phase.UNDO)
            self._changed.wait_for(lambda: self._sequence.phase not in arming, timeout_s)
            outcome = self._sequence.outcome
            if outcome is not None and not outcome.armed:
                raise outcome.errors[0]
            return self._sequence.phase not in arming

    def wait_idle(self, timeout_s: float) -> bool:
        """True once nothing is under way."""
        with self._changed:
            return self._changed.wait_for(lambda: self._sequence.phase is Phase.IDLE, timeout_s)

    def trigger(self, exposures_s: dict[str, float] | None = None) -> None:
        """One software trigger on every pair; StateError when one is not ready. `exposures_s` counts for those that
        were armed with an exposure for each trigger."""
        self._ask(TriggerAsked(exposures_s or {}))

    def must_allow_exposures(self, exposures_s: dict[str, float]) -> None:
        """StateError when an exposure cannot become another one in the series that is under way."""
        with self._changed:
            for name, run in self._sequence.pairs.items() if self.busy else ():
                now = run.plan.settings
                if now.exposure_per_trigger or exposures_s.get(name, now.exposure_time_s) == now.exposure_time_s:
                    continue
                raise StateError(
                    f"set ExposureTime to {exposures_s[name]:g} s",
                    of=name,
                    answer=f"the series under way was armed with {now.exposure_time_s:g} s",
                    accepted="when State has left RUNNING; ExposurePerTrigger before Arm, in TriggerMode SOFTWARE",
                )

    def stop(self) -> None:
        """End in order. Harmless when nothing is under way."""
        self._ask(StopAsked())

    def abort(self, reason: str) -> None:
        """End at once. Harmless when nothing is under way."""
        self._ask(AbortAsked(reason))

    def reset(self) -> None:
        """Forget what went wrong."""
        self._ask(ResetAsked())

    # ---- looks ----

    def look_closely(self, closely: bool) -> None:
        """While somebody else drives these pairs: looks are as frequent as in a run of our own."""
        with self._changed:
            if self._closely is not closely:
                self._closely = closely
                self._changed.notify_all()

    @property
    def state(self) -> AcquisitionState:
        """Of all pairs together."""
        return self._sequence.state

    @property
    def busy(self) -> bool:
        """An acquisition is under way."""
        return self._sequence.phase is not Phase.IDLE

    @property
    def outcome(self) -> Outcome | None:
        """Of the last run; None while one is under way and after reset."""
        return self._sequence.outcome

    @property
    def history(self) -> tuple[Outcome, ...]:
        """Of the last runs, the newest last; a reset forgets none."""
        with self._changed:
            return tuple(self._history)

    @property
    def run_id(self) -> str:
        """Of the present or last run."""
        return self._sequence.run_id

    @property
    def message(self) -> str:
        """For Status."""
        with self._changed:
            return status.sentence(self._sequence)

    def progress(self) -> tuple[int, int]:
        """Frames received and asked for, of the present or last run."""
        with self._changed:
            return status.progress(self._sequence)

    def sight(self, name: str) -> PairSight:
        """What is known of one pair."""
        with self._changed:
            run = self._sequence.pairs.get(name)
            return PairSight(
                report=self._reports.get(name),
                view=self._views.get(name),
                frames_received=run.counters.frames_received if run else 0,
                ready_for_trigger=bool(run and self._sequence.phase is Phase.RUN and run.ready_for_trigger),
            )

    # ---- inside ----

    def _begin_thread(self, role: str, target: Callable[[], None]) -> None:
        thread = self._thread(target=target, name=f"transaction: {role}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _ask(self, event: Event) -> None:
        with self._changed:
            self._handle(event)

    def _handle(self, event: Event) -> None:
        """With the lock held."""
        phase = self._sequence.phase
        told = self._sequence.handle(event, time.monotonic())
        for call in told:
            self._deadlines[call.number] = time.monotonic() + call.deadline_s
            name = f"{call.pair}: {call.step.value}"
            thread = self._thread(target=self._call, args=(call,), name=name, daemon=True)
            self._calls[call.number] = thread
            thread.start()
        self._remember(self._sequence.outcome)
        if told or self._sequence.phase is not phase:
            self._changed.notify_all()

    def _remember(self, outcome: Outcome | None) -> None:
        """With the lock held. What is noticed of a run after its end takes the place of what was told before."""
        if outcome is None or (self._history and self._history[-1] is outcome):
            return
        if self._history and self._history[-1].run_id == outcome.run_id:
            self._history.pop()
        self._history.append(outcome)

    def _call(self, call: Instruction) -> None:
        event: Answered | Failed
        began_s = time.monotonic()
        try:
            event = Answered(call.number, self._perform(call))
        except MaxdaqError as error:
            event = Failed(call.number, error)
        except Exception as error:  # the root of a thread: anything else would leave the transaction waiting
            log.exception("%s of %s", call.step.value, call.pair)
            kind = EngineError if call.step in RECEIVER_STEPS else DetectorError
            event = Failed(call.number, kind(call.step.value, answer=f"{type(error).__name__}: {error}"))
        log.info("%s of %s took %.0f ms", call.step.value, call.pair, (time.monotonic() - began_s) * 1e3)
        with self._changed:
            self._deadlines.pop(call.number, None)
            self._handle(event)
            self._calls.pop(call.number, None)
            self._changed.notify_all()

    def _perform(self, call: Instruction) -> StreamDescription | ArmedSeries | None:
        detector, receiver = self._pairs[call.pair].detector, self._pairs[call.pair].receiver
        match call.step, call.argument:
            case Step.CHECK, PlaceFields() as places:
                receiver.check(places)
            case Step.CONFIGURE, AcquisitionSettings() as settings:
                return detector.configure(settings)
            case Step.ARM, _:
                return detector.arm()
            case Step.PREPARE, RunRequest() as request:
                receiver.prepare(request)
            case Step.EXPECT, ExpectFields(series=series, frames=frames):
                receiver.expect(series, frames)
            case Step.TRIGGER, float(exposure_s):
                detector.trigger(exposure_s)
            case Step.TRIGGER, _:
                detector.trigger()
            case Step.STOP_SOURCE, _:
                detector.stop()
            case Step.STOP_RECEIVER, finished:
                receiver.stop(str(finished or ""))
            case Step.ABORT_SOURCE, _:
                detector.abort()
            case Step.LINK, ScanMaster() as master:
                receiver.link(master)
            case Step.ABORT_RECEIVER, reason:
                receiver.abort(str(reason))
            case _:
                raise AssertionError(f"{call.step.value} with {call.argument!r}")
        return None

    def _watch_deadlines(self) -> None:
        with self._changed:
            while not self._closing:
                now_s = time.monotonic()
                due = [number for number, at_s in self._deadlines.items() if at_s <= now_s]
                for number in due:
                    del self._deadlines[number]
                    self._handle(TimedOut(number))
                if not due:
                    nearest_s = min(self._deadlines.values(), default=now_s + 3600.0)
                    self._changed.wait(nearest_s - now_s)

    def _watch(self, name: str, look: Callable[[str, int], SourceSeen | ReceiverSeen]) -> None:
        while True:
            with self._changed:
                tick, run_id = self._sequence.tick, self._sequence.run_id
                arming = self._sequence.state is AcquisitionState.CONFIGURING
            seen = look(name, tick)
            with self._changed:
                if isinstance(seen, SourceSeen):
                    # A detector keeps the count of its last series until it is armed for this one.
                    old = arming or run_id != self._sequence.run_id
                    self._reports[name] = _without_count(seen.report) if old else seen.report
                else:
                    self._views[name] = seen.view
                self._handle(seen)
                # The next round, or at once when the phase changes: a new run wants fresh looks.
                phase, closely = self._sequence.phase, self._closely
                pause_s = BUSY_LOOK_S if self.busy or self._closely else self._idle_look_s
                self._changed.wait_for(partial(self._is_over, phase, closely), pause_s)
                if self._closing:
                    return

    def _is_over(self, phase: Phase, closely: bool) -> bool:
        return self._closing or self._sequence.phase is not phase or self._closely is not closely

    def _look_at_source(self, name: str, tick: int) -> SourceSeen:
        try:
            report = self._pairs[name].detector.report()
        except Exception as error:  # the root of a thread: without its looks a run would never end
            log.exception("look at the detector of %s", name)
            report = DetectorReport(state=HardwareState.OFFLINE, message=f"{type(error).__name__}: {error}")
        return SourceSeen(name, report, tick)

    def _look_at_receiver(self, name: str, tick: int) -> ReceiverSeen:
        try:
            view = self._pairs[name].receiver.poll()
        except Exception as error:  # as above
            log.exception("look at the receiver of %s", name)
            view = ReceiverView(reachable=False, message=f"{type(error).__name__}: {error}")
        return ReceiverSeen(name, view, tick)


def _without_count(report: DetectorReport) -> DetectorReport:
    return replace(report, frames_acquired=None)
