"""The order in which detectors and receivers are armed, supervised, stopped and undone. Pure: events in, instructions
out; no threads, no clock, no Tango.

    IDLE ──Begin──> CONFIGURE ──> PREPARE ──> ARM ──> EXPECT ──> RUN ──Stop──> STOP
     ^                  └────────────┴─────────┴────────┘         └──Abort──┬──┘
     |                       failure, Stop or Abort                       ABORT
     |<── all undone ──────────── UNDO                                      |
     |<── every detector quiet, every receiver closed ──────────────────────┘  (also from RUN and STOP)

Each of the four arming phases waits for all pairs: nothing is armed before every receiver has its file open, so that a
full disk at one receiver cannot cost exposures on the others. From RUN on each pair goes its own way: a pair that
breaks is stopped and closed, the others take their data to the end, and the verdict is the worst of all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

from maxdaq_tango.errors import DetectorTimeout, EngineError, MaxdaqError, StateError
from maxdaq_tango.model import AcquisitionEvent, AcquisitionState, StreamDescription, TriggerMode, Verdict, next_state
from maxdaq_tango.model.hardware import ArmedSeries
from maxdaq_tango.transaction import supervision
from maxdaq_tango.transaction.pair import PairRun
from maxdaq_tango.transaction.phases import ARMING, SUPERVISED, Phase
from maxdaq_tango.transaction.words import (
    DEFAULT_DEADLINES,
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
    Outcome,
    ReceiverSeen,
    ResetAsked,
    SourceSeen,
    Step,
    StopAsked,
    TimedOut,
    TriggerAsked,
    worst,
)

_Kind = TypeVar("_Kind", bound=MaxdaqError)


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
            self._finish_when_closed(at_s)
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
        self._move(AcquisitionEvent.CONFIGURE)
        return self._enter(Phase.CONFIGURE, at_s)

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
        if self.phase is Phase.UNDO:
            # Arm came back although everything was called off: it has to be taken back once more.
            told = [undo for undo in [self._undoing(pair, call.step)] if undo is not None]
            return told + self._finish_when_undone()
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
        self.late[call.number] = call
        kind = EngineError if call.step in RECEIVER_STEPS else DetectorTimeout
        return self._went_wrong(
            call, kind(call.step.value, of=self._side(call), answer=f"no answer within {call.deadline_s:g} s"), at_s
        )

    def _went_wrong(self, call: Instruction, error: MaxdaqError, at_s: float) -> list[Instruction]:
        pair = self.pairs[call.pair]
        named = self._named(call, error)
        if self.phase in ARMING:
            self.errors.append(named)
            return self._undo(None)
        if self.phase is Phase.UNDO:
            if call.step in (Step.ABORT_SOURCE, Step.ABORT_RECEIVER):
                self._unclean = True
            if call.step is not Step.ARM:  # that one was aborted by us
                self.errors.append(named)
            return self._finish_when_undone()
        if self.phase is Phase.IDLE:
            # The undoing of a late answer failed, after the outcome was told: it is added to it.
            self.errors.append(named)
            if self.outcome is not None:
                self.outcome = replace(self.outcome, errors=(*self.outcome.errors, named))
            return []
        return [
            self._tell(pair, step, argument)
            for step, argument in supervision.went_wrong(pair, call.step, named, self.stopping, at_s)
        ]

    def _late_answer(self, call: Instruction | None) -> list[Instruction]:
        # The run is over or being undone, as a time-out ends the arming; a later run waits until `late` is empty.
        if call is None:
            return []
        undo = self._undoing(self.pairs[call.pair], call.step)
        return [undo] if undo is not None else []

    # ---- looks ----

    def _source_seen(self, event: SourceSeen, at_s: float) -> list[Instruction]:
        pair = self.pairs.get(event.pair)
        if pair is None or self.phase not in SUPERVISED or event.tick <= pair.armed_tick:
            return []
        steps = supervision.source_seen(pair, event.report, self, at_s)
        return [self._tell(pair, step, argument) for step, argument in steps]

    def _receiver_seen(self, event: ReceiverSeen, at_s: float) -> list[Instruction]:
        pair = self.pairs.get(event.pair)
        if pair is None or self.phase not in SUPERVISED or event.tick <= pair.prepared_tick:
            return []
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
        if phase is Phase.CONFIGURE:
            return pair.plan.settings
        if phase is Phase.PREPARE:
            return pair.request(self.run_id)
        if phase is Phase.EXPECT and pair.series is not None:
            return ExpectFields(series=pair.series.series, frames=pair.series.frame_count)
        return None

    def _undo(self, ended_by: str | None) -> list[Instruction]:
        self.phase, self._ended_by = Phase.UNDO, ended_by
        waiting = list(self._undoable())
        told = [self._tell(pair, step, self._undo_reason(step)) for pair, step in waiting]
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

    def _undoing(self, pair: PairRun, step: Step) -> Instruction | None:
        undo = {
            Step.CONFIGURE: Step.ABORT_SOURCE,
            Step.ARM: Step.ABORT_SOURCE,
            Step.PREPARE: Step.ABORT_RECEIVER,
        }.get(step)
        return self._tell(pair, undo, self._undo_reason(undo)) if undo is not None else None

    def _undo_reason(self, step: Step) -> str | None:
        if step is not Step.ABORT_RECEIVER:
            return None
        return self._ended_by or (str(self.errors[0]) if self.errors else "arming was undone")

    def _finish_when_undone(self) -> list[Instruction]:
        if self.phase is Phase.UNDO and not self.outstanding:
            verdict = Verdict.ABORTED if self._ended_by else Verdict.FAILED
            errors = self.errors or [StateError("Arm", answer=self._ended_by or "undone")]
            self.outcome = Outcome(run_id=self.run_id, verdict=verdict, armed=False, errors=tuple(errors))
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

    def _finish_when_closed(self, at_s: float) -> None:
        if not all(pair.closed for pair in self.pairs.values()):
            return
        if self.outstanding:
            closed_s = max(max(pair.source_done_s or 0, pair.receiver_done_s or 0) for pair in self.pairs.values())
            only_triggers = all(call.step is Step.TRIGGER for call in self.outstanding.values())
            if not only_triggers or at_s - closed_s < self.deadlines.abort_s:
                return
            self.late.update(self.outstanding)  # a trigger that Stop did not bring back
            self.outstanding.clear()
        errors = [error for pair in self.pairs.values() for error in pair.errors]
        receipts = {name: pair.receipt for name, pair in self.pairs.items() if pair.receipt is not None}
        verdicts = [pair.receipt.verdict if pair.receipt else Verdict.FAILED for pair in self.pairs.values()]
        self.outcome = Outcome(
            run_id=self.run_id, verdict=worst(verdicts), armed=True, errors=tuple(errors), receipts=receipts
        )
        self.errors = errors
        self.phase = Phase.IDLE
        failed = self.outcome.verdict is Verdict.FAILED
        self._move(AcquisitionEvent.FAILED if failed else AcquisitionEvent.CLOSED)

    # ---- small things ----

    def _tell(self, pair: PairRun, step: Step, argument: Argument = None) -> Instruction:
        self._number += 1
        call = Instruction(self._number, pair.name, step, self._deadline_s(pair, step), argument)
        self.outstanding[call.number] = call
        pair.issued.add(step)
        return call

    def _deadline_s(self, pair: PairRun, step: Step) -> float:
        limits = self.deadlines
        return {
            Step.CONFIGURE: limits.configure_s,
            Step.PREPARE: limits.prepare_s,
            Step.ARM: limits.arm_s,
            Step.EXPECT: limits.expect_s,
            Step.TRIGGER: pair.burst_s + limits.trigger_margin_s,
            Step.STOP_SOURCE: pair.plan.settings.frame_period_s + limits.stop_s,
            Step.STOP_RECEIVER: limits.stop_s,
            Step.ABORT_SOURCE: limits.abort_s,
            Step.ABORT_RECEIVER: limits.abort_s,
        }[step]

    def _side(self, call: Instruction) -> str:
        detector, receiver = self.sides[call.pair]
        return receiver if call.step in RECEIVER_STEPS else detector

    def _named(self, call: Instruction, error: _Kind) -> _Kind:
        side = self._side(call)
        asked = f"{call.step.value} {side}"
        if error.asked and error.asked != call.step.value:
            asked += f": {error.asked}"
        of = "" if error.of == side else error.of
        return type(error)(asked, of=of, answer=error.answer, accepted=error.accepted)

    def _move(self, event: AcquisitionEvent) -> None:
        self.state = next_state(self.state, event)
