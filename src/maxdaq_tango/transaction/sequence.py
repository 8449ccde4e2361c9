"""The order in which detectors and receivers are armed, supervised, stopped and undone. Pure: events in, instructions
out; no threads, no clock, no Tango.

    IDLE ──Begin──> CHECK ──> CONFIGURE ──> PREPARE ──> ARM ──> EXPECT ──> RUN ──Stop──> STOP
     ^                └───────────┴────────────┴─────────┴────────┘         └──Abort──┬──┘
     |                       failure, Stop or Abort                                 ABORT
     |<── all undone ──────────── UNDO                                                |
     |<── (LINK: scan master written) <── every detector quiet, every receiver closed ┘  (also from RUN and STOP)

Each of the five arming phases waits for all pairs: no detector gets a word before every receiver has found its files
free, and nothing is armed before every receiver has its file open, so that a full disk at one receiver cannot cost
exposures on the others. From RUN on each pair goes its own way: a pair that
breaks is stopped and closed, the others take their data to the end, and the verdict is the worst of all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from maxdaq_tango.errors import DetectorTimeout, EngineError, MaxdaqError, StateError
from maxdaq_tango.model import AcquisitionEvent, AcquisitionState, StreamDescription, TriggerMode, Verdict, next_state
from maxdaq_tango.model.hardware import ArmedSeries
from maxdaq_tango.transaction import supervision
from maxdaq_tango.transaction.outcome import Outcome, named, outcome_of, undone
from maxdaq_tango.transaction.pair import PairRun
from maxdaq_tango.transaction.phases import ARMING, SUPERVISED, Phase
from maxdaq_tango.transaction.scan import master_of, writer_of
from maxdaq_tango.transaction.words import (
    DEFAULT_DEADLINES,
    HARMLESS_STEPS,
    RECEIVER_STEPS,
    AbortAsked,
    Answered,
    Argument,
    Begin,
    Deadlines,
    Event,
    ExpectFields,
    Failed,
    Instruction,
    ReceiverSeen,
    ResetAsked,
    ScanPlan,
    SourceSeen,
    Step,
    StopAsked,
    TimedOut,
    TriggerAsked,
)


class Sequence:
    """One transaction after the other. Not thread-safe; `handle` never blocks.

    `handle` raises StateError for a request that does not fit the phase, and then nothing has changed.
    """

    def __init__(self, sides: dict[str, tuple[str, str]], deadlines: Deadlines = DEFAULT_DEADLINES) -> None:
        self.sides = sides
        """Pair > name of its detector, name of its receiver; for messages."""
        self.deadlines = deadlines
        self.phase = Phase.IDLE
        self.state = AcquisitionState.IDLE
        self.run_id = ""
        self.pairs: dict[str, PairRun] = {}
        """Of this run, or of the last one."""
        self.outcome: Outcome | None = None
        """Of the last run; None from Begin to its end, and after Reset."""
        self.errors: list[MaxdaqError] = []
        self.tick = 1
        """Grows with everything that makes an older look at the hardware worthless."""
        self.outstanding: dict[int, Instruction] = {}
        self.late: dict[int, Instruction] = {}
        """Timed out and still not back. No new run before they are: their undoing would hit it."""
        self._number = 0
        self._ended_by: str | None = None
        self._unclean = False
        self._scan: ScanPlan | None = None
        self._closed: Outcome | None = None
        """Of a run that is over but for its scan master."""
        self._handlers: dict[type, Callable[[Any, float], list[Instruction]]] = {
            Begin: self._begin,
            Answered: self._answered,
            Failed: self._failed,
            TimedOut: self._timed_out,
            SourceSeen: self._source_seen,
            ReceiverSeen: self._receiver_seen,
            TriggerAsked: self._trigger_asked,
            StopAsked: self._stop_asked,
            AbortAsked: self._abort_asked,
            ResetAsked: self._reset_asked,
        }

    def handle(self, event: Event, at_s: float) -> list[Instruction]:
        """Take one event in; the instructions are to be started at once, side by side."""
        told = self._handlers[type(event)](event, at_s)
        if not isinstance(event, SourceSeen | ReceiverSeen):
            self.tick += 1
        if self.phase in SUPERVISED:
            for pair in self.pairs.values():
                told += [self._tell(pair, step, argument) for step, argument in supervision.advance(pair, self, at_s)]
            self._follow_pairs()
            told += self._finish_when_closed(at_s)
        return told

    @property
    def stopping(self) -> bool:
        """Somebody ends the run: a receiver is told to close as soon as its detector is quiet."""
        return self.phase in (Phase.STOP, Phase.ABORT)

    def is_outstanding(self, pair: str, *steps: Step) -> bool:
        """An answer of one of these is still awaited."""
        return any(call.pair == pair and call.step in steps for call in self.outstanding.values())

    # ---- requests ----

    def _begin(self, event: Begin, at_s: float) -> list[Instruction]:
        if self.phase is not Phase.IDLE:
            raise StateError(
                "Arm",
                answer=f"an acquisition is under way ({self.state.value})",
                accepted="Arm when State has left RUNNING; Stop or Abort end the acquisition",
            )
        if hanging := [*self.late.values(), *self.outstanding.values()]:
            raise StateError(
                "Arm",
                of=self._side(hanging[0]),
                answer=f"'{hanging[0].step.value}' of the last run has not come back yet",
                accepted="Arm when it has, or a restart of that device",
            )
        if unknown := sorted(event.pairs.keys() - self.sides.keys()) or ([] if event.pairs else ["no detector"]):
            raise StateError("Arm", answer=f"{', '.join(unknown)} named", accepted=", ".join(sorted(self.sides)))
        self.run_id = event.run_id
        self.pairs = {name: PairRun(name, plan) for name, plan in event.pairs.items()}
        self.errors, self.outcome, self._ended_by, self._unclean = [], None, None, False
        self._scan, self._closed = event.scan, None
        self._move(AcquisitionEvent.CONFIGURE)
        return self._enter(Phase.CHECK, at_s)

    def _trigger_asked(self, event: TriggerAsked, at_s: float) -> list[Instruction]:
        if self.phase is not Phase.RUN:
            raise StateError("SoftwareTrigger", answer=f"not armed ({self.state.value})", accepted="Arm first")
        for pair in self.pairs.values():
            if refusal := supervision.trigger_refusal(pair):
                raise StateError(
                    "SoftwareTrigger", of=self.sides[pair.name][0], answer=refusal, accepted="see ReadyForSwTrigger"
                )
        for pair in self.pairs.values():
            pair.want_trigger(event.exposures_s.get(pair.name))
        return []

    def _stop_asked(self, event: StopAsked, at_s: float) -> list[Instruction]:
        if self.phase in ARMING:
            return self._undo("stopped before it was armed")
        if self.phase is Phase.RUN:
            self.phase, self._ended_by = Phase.STOP, "Stop"
            return [self._tell(pair, Step.STOP_SOURCE) for pair in self.pairs.values() if not pair.source_done]
        return []

    def _abort_asked(self, event: AbortAsked, at_s: float) -> list[Instruction]:
        if self.phase in ARMING:
            return self._undo(f"aborted before it was armed ({event.reason})")
        told: list[Instruction] = []
        if self.phase in (Phase.RUN, Phase.STOP):
            self.phase, self._ended_by = Phase.ABORT, event.reason
            for pair in self.pairs.values():
                if not pair.source_done:
                    told.append(self._tell(pair, Step.ABORT_SOURCE))
                if not pair.receiver_done:
                    told.append(self._tell(pair, Step.ABORT_RECEIVER, event.reason))
        return told

    def _reset_asked(self, event: ResetAsked, at_s: float) -> list[Instruction]:
        if self.phase is not Phase.IDLE:
            raise StateError(
                "Reset", answer=f"an acquisition is under way ({self.state.value})", accepted="Abort first"
            )
        self.errors, self.outcome = [], None
        self._move(AcquisitionEvent.RESET)
        return []

    # ---- answers ----

    def _answered(self, event: Answered, at_s: float) -> list[Instruction]:
        call = self.outstanding.pop(event.number, None)
        if call is None:
            return self._late_answer(self.late.pop(event.number, None))
        pair = self.pairs[call.pair]
        pair.answered.add(call.step)
        if self.phase is Phase.LINK:
            return self._linked(None)
        if self.phase is Phase.UNDO:
            # Arm came back although everything was called off: it has to be taken back once more.
            return self._undoing(pair, call.step) + self._finish_when_undone()
        if self.phase in ARMING:
            return self._arming_answered(call, event.value, pair, at_s)
        supervision.answered(pair, call.step, at_s)
        return []

    def _arming_answered(self, call: Instruction, value: object, pair: PairRun, at_s: float) -> list[Instruction]:
        if call.step is Step.CONFIGURE and isinstance(value, StreamDescription):
            pair.description = value
        elif call.step is Step.PREPARE:
            pair.prepared_tick = self.tick
        elif call.step is Step.ARM and isinstance(value, ArmedSeries):
            pair.series, pair.armed_tick = value, self.tick
        step, following = ARMING[self.phase]
        if any(step not in other.answered for other in self.pairs.values()):
            return []
        return self._enter(following, at_s)

    def _failed(self, event: Failed, at_s: float) -> list[Instruction]:
        call = self.outstanding.pop(event.number, None)
        if call is None:
            self.late.pop(event.number, None)  # it has failed in the end: nothing is left to undo
            return []
        return self._went_wrong(call, event.error, at_s)

    def _timed_out(self, event: TimedOut, at_s: float) -> list[Instruction]:
        call = self.outstanding.pop(event.number, None)
        if call is None:
            return []
        if call.step not in HARMLESS_STEPS:
            self.late[call.number] = call
        kind = EngineError if call.step in RECEIVER_STEPS else DetectorTimeout
        return self._went_wrong(
            call, kind(call.step.value, of=self._side(call), answer=f"no answer within {call.deadline_s:g} s"), at_s
        )

    def _went_wrong(self, call: Instruction, error: MaxdaqError, at_s: float) -> list[Instruction]:
        pair = self.pairs[call.pair]
        told_of = named(error, call.step, self._side(call))
        if self.phase is Phase.LINK:
            return self._linked(told_of)
        if self.phase in ARMING:
            self.errors.append(told_of)
            return self._undo(None)
        if self.phase is Phase.UNDO:
            if call.step in (Step.ABORT_SOURCE, Step.ABORT_RECEIVER):
                self._unclean = True
            if call.step is not Step.ARM:  # that one was aborted by us
                self.errors.append(told_of)
            return self._finish_when_undone()
        if self.phase is Phase.IDLE:
            # The undoing of a late answer failed, after the outcome was told: it is added to it.
            self.errors.append(told_of)
            if self.outcome is not None:
                self.outcome = replace(self.outcome, errors=(*self.outcome.errors, told_of))
            return []
        return [
            self._tell(pair, step, argument)
            for step, argument in supervision.went_wrong(pair, call.step, told_of, self.stopping, at_s)
        ]

    def _late_answer(self, call: Instruction | None) -> list[Instruction]:
        # The run is over or being undone, as a time-out ends the arming; a later run waits until `late` is empty.
        return self._undoing(self.pairs[call.pair], call.step) if call is not None else []

    # ---- looks ----

    def _source_seen(self, event: SourceSeen, at_s: float) -> list[Instruction]:
        pair = self.pairs.get(event.pair)
        if pair is None or self.phase not in SUPERVISED or event.tick <= pair.armed_tick:
            return []
        steps = supervision.source_seen(pair, event.report, self, at_s)
        return [self._tell(pair, step, argument) for step, argument in steps]

    def _receiver_seen(self, event: ReceiverSeen, at_s: float) -> list[Instruction]:
        pair = self.pairs.get(event.pair)
        if pair is not None and self.phase in SUPERVISED and event.tick > pair.prepared_tick:
            supervision.receiver_seen(pair, event.view, self, at_s)
        return []

    # ---- phases ----

    def _enter(self, phase: Phase, at_s: float) -> list[Instruction]:
        self.phase = phase
        if phase in ARMING:
            return [self._tell(pair, ARMING[phase][0], self._argument(pair, phase)) for pair in self.pairs.values()]
        self._move(AcquisitionEvent.ARMED)
        for pair in self.pairs.values():
            pair.progress_s = at_s
            if pair.plan.settings.trigger_mode is TriggerMode.INTERNAL:
                pair.triggers_wanted = 1
        return []

    def _argument(self, pair: PairRun, phase: Phase) -> Argument:
        if phase is Phase.CHECK:
            first = next(iter(self.pairs.values()))
            return pair.places(self._scan.master if self._scan is not None and pair is first else "")
        if phase is Phase.CONFIGURE:
            return pair.plan.settings
        if phase is Phase.PREPARE:
            return pair.request(self.run_id)
        if phase is Phase.EXPECT and pair.series is not None:
            return ExpectFields(series=pair.series.series, frames=pair.series.frame_count)
        return None

    def _undo(self, ended_by: str | None) -> list[Instruction]:
        self.phase, self._ended_by = Phase.UNDO, ended_by
        told = [self._tell(pair, step, self._undo_reason(step)) for pair, step in list(self._undoable())]
        return told + self._finish_when_undone()

    def _undoable(self) -> Iterator[tuple[PairRun, Step]]:
        for pair in self.pairs.values():
            late = {call.step for call in self.late.values() if call.pair == pair.name}
            # Settings need no undoing, but a detector device that was configured is held for us until it is aborted.
            # Also when arm failed or still blocks: the hardware may be half-way. A detector that refused to be
            # configured is left alone, as it may be working for somebody else.
            if Step.CONFIGURE in pair.answered | late or Step.ARM in pair.issued:
                yield pair, Step.ABORT_SOURCE
            if Step.PREPARE in pair.answered | late:
                yield pair, Step.ABORT_RECEIVER

    def _undoing(self, pair: PairRun, step: Step) -> list[Instruction]:
        undo = {
            Step.CONFIGURE: Step.ABORT_SOURCE,
            Step.ARM: Step.ABORT_SOURCE,
            Step.PREPARE: Step.ABORT_RECEIVER,
        }.get(step)
        return [self._tell(pair, undo, self._undo_reason(undo))] if undo is not None else []

    def _undo_reason(self, step: Step) -> str | None:
        if step is not Step.ABORT_RECEIVER:
            return None
        return self._ended_by or (str(self.errors[0]) if self.errors else "arming was undone")

    def _finish_when_undone(self) -> list[Instruction]:
        if self.phase is Phase.UNDO and not self.outstanding:
            errors = self.errors or [StateError("Arm", answer=self._ended_by or "undone")]
            verdict = Verdict.ABORTED if self._ended_by else Verdict.FAILED
            self.outcome = undone(self.run_id, list(self.pairs.values()), self._scan, verdict, errors)
            self.phase = Phase.IDLE
            self._move(AcquisitionEvent.FAILED if self._unclean else AcquisitionEvent.UNDONE)
        return []

    def _follow_pairs(self) -> None:
        pairs = self.pairs.values()
        if any(pair.started for pair in pairs) and self.state is AcquisitionState.ARMED:
            self._move(AcquisitionEvent.STARTED)
        if all(pair.source_done for pair in pairs):
            if self.state in (AcquisitionState.ARMED, AcquisitionState.ACQUIRING):
                self._move(AcquisitionEvent.SOURCE_DONE)
            done = all(pair.receiver_done or pair.receiver_state is AcquisitionState.FINALISING for pair in pairs)
            if done and self.state is AcquisitionState.DRAINING:
                self._move(AcquisitionEvent.DRAINED)

    def _finish_when_closed(self, at_s: float) -> list[Instruction]:
        if not all(pair.closed for pair in self.pairs.values()):
            return []
        if self.outstanding:
            closed_s = max(max(pair.source_done_s or 0, pair.receiver_done_s or 0) for pair in self.pairs.values())
            only_triggers = all(call.step is Step.TRIGGER for call in self.outstanding.values())
            if not only_triggers or at_s - closed_s < self.deadlines.abort_s:
                return []
            self.late.update(self.outstanding)  # a trigger that Stop did not bring back
            self.outstanding.clear()
        pairs = list(self.pairs.values())
        self._closed = outcome_of(self.run_id, pairs, self._scan)
        self.phase = Phase.LINK
        if self._scan is None or not self._scan.master:
            return self._linked(None)
        if (writer := writer_of(pairs)) is None:
            answer = "no receiver is left to write it"
            return self._linked(EngineError(f"write the scan master {self._scan.master}", answer=answer))
        return [self._tell(writer, Step.LINK, master_of(self._closed, list(self.pairs)))]

    def _linked(self, error: MaxdaqError | None) -> list[Instruction]:
        """The last word of a run: what goes wrong with its scan master is told, and changes no verdict."""
        closed, self._closed = self._closed, None
        if closed is None:
            raise AssertionError("there is no run to end")
        self.outcome = closed if error is None else replace(closed, errors=(*closed.errors, error))
        self.errors = list(self.outcome.errors)
        self.phase = Phase.IDLE
        failed = self.outcome.verdict is Verdict.FAILED
        self._move(AcquisitionEvent.FAILED if failed else AcquisitionEvent.CLOSED)
        return []

    # ---- small things ----

    def _tell(self, pair: PairRun, step: Step, argument: Argument = None) -> Instruction:
        self._number += 1
        call = Instruction(self._number, pair.name, step, pair.deadline_s(step, self.deadlines), argument)
        self.outstanding[call.number] = call
        pair.issued.add(step)
        return call

    def _side(self, call: Instruction) -> str:
        detector, receiver = self.sides[call.pair]
        return receiver if call.step in RECEIVER_STEPS else detector

    def _move(self, event: AcquisitionEvent) -> None:
        self.state = next_state(self.state, event)
