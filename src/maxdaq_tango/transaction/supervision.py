"""How one armed pair is followed to its end: who is finished, who must be stopped, who has to be given up. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maxdaq_tango.errors import DetectorError, DetectorOffline, EngineError, MaxdaqError
from maxdaq_tango.model import AcquisitionState, TriggerMode, Verdict
from maxdaq_tango.model.hardware import DetectorReport, HardwareState
from maxdaq_tango.transaction.pair import PairRun
from maxdaq_tango.transaction.ports import ReceiverView
from maxdaq_tango.transaction.words import Argument, Step

if TYPE_CHECKING:
    from maxdaq_tango.transaction.sequence import Sequence

Told = list[tuple[Step, Argument]]

LOST_RUN_S = 2.0
"""A receiver that speaks of another run, or of none, for this long has been restarted under our feet."""


def source_seen(pair: PairRun, report: DetectorReport, sequence: Sequence, at_s: float) -> Told:
    """A look at an armed detector."""
    pair.report = report
    if pair.source_done:
        return []
    if report.state is HardwareState.OFFLINE:
        pair.source_lost_s = at_s if pair.source_lost_s is None else pair.source_lost_s
        if at_s - pair.source_lost_s > sequence.deadlines.unreachable_s:
            _broken(pair, DetectorOffline("watch the detector", of=sequence.sides[pair.name][0], answer=report.message))
            pair.source_done_s = at_s
        return []
    pair.source_lost_s = None
    if report.state is HardwareState.ERROR and not pair.broken:
        _broken(
            pair,
            DetectorError(
                "take data", of=sequence.sides[pair.name][0], answer=report.message or "the detector reports an error"
            ),
        )
        return [(Step.ABORT_SOURCE, None)]
    if report.state is HardwareState.ACQUIRING:
        pair.started = True
    # While a trigger is on its way the hardware may still, or again, look idle; its answer tells.
    idle = report.state in (HardwareState.IDLE, HardwareState.NOT_INITIALISED)
    if idle and not pair.triggering and pair.triggers_sent == pair.triggers_wanted:
        pair.source_done_s = at_s
    return []


def receiver_seen(pair: PairRun, view: ReceiverView, sequence: Sequence, at_s: float) -> None:
    """A look at a prepared receiver."""
    if pair.receiver_done:
        return
    ended = view.state in (AcquisitionState.IDLE, AcquisitionState.FAULT)
    ours = view.reachable and view.run_id == sequence.run_id
    receipt = view.receipt if view.receipt is not None and view.receipt.run_id == sequence.run_id else None
    if not ours or (view.state is AcquisitionState.IDLE and receipt is None):
        pair.receiver_lost_s = at_s if pair.receiver_lost_s is None else pair.receiver_lost_s
        limit_s = LOST_RUN_S if view.reachable else sequence.deadlines.unreachable_s
        if at_s - pair.receiver_lost_s > limit_s:
            answer = view.message if not view.reachable else "it no longer knows this run"
            _broken(pair, EngineError("watch the receiver", of=sequence.sides[pair.name][1], answer=answer))
            pair.receiver_done_s = at_s
        return
    pair.receiver_lost_s = None
    pair.receiver_state, pair.receiver_message = view.state, view.message
    pair.warnings, pair.need = view.warnings, view.need
    if view.counters.updated_ns != pair.counters.updated_ns or not view.counters.updated_ns:
        pair.looked_s = at_s
    if view.counters != pair.counters:
        moved = view.counters.frames_received, view.counters.frames_written, view.counters.bytes_written
        before = pair.counters.frames_received, pair.counters.frames_written, pair.counters.bytes_written
        if moved != before:
            pair.progress_s = at_s
        pair.counters = view.counters
    if view.counters.frames_received > 0:  # a header alone is no frame: many detectors send it when they are armed
        pair.started = True
    if ended:
        pair.receipt, pair.receiver_done_s = receipt, at_s
        if view.state is AcquisitionState.FAULT:
            _broken(
                pair,
                EngineError(
                    "receive", of=sequence.sides[pair.name][1], answer=view.message or "the receiver is in FAULT"
                ),
            )


def answered(pair: PairRun, step: Step, at_s: float) -> None:
    """A call to an armed pair succeeded."""
    if step is Step.TRIGGER:
        pair.issued.discard(Step.TRIGGER)
        pair.report = None
        pair.started = True
    elif step in (Step.STOP_SOURCE, Step.ABORT_SOURCE):
        pair.source_done_s = at_s if pair.source_done_s is None else pair.source_done_s
    elif step is Step.STOP_RECEIVER:
        pair.receiver_stopped_s = at_s
    elif step is Step.ABORT_RECEIVER:
        pair.receiver_aborted_s = at_s


def went_wrong(pair: PairRun, step: Step, error: MaxdaqError, stopping: bool, at_s: float) -> Told:
    """A call to an armed pair failed or timed out."""
    if step is Step.TRIGGER:
        pair.issued.discard(Step.TRIGGER)
        pair.triggers_wanted = pair.triggers_sent
        if stopping or pair.source_done or pair.broken:
            return []  # a trigger that is cut short by Stop or Abort is no failure
        _broken(pair, error)
        return [(Step.ABORT_SOURCE, None)]
    _broken(pair, error)
    if step is Step.STOP_SOURCE:
        return [(Step.ABORT_SOURCE, None)]
    if step is Step.ABORT_SOURCE:
        pair.source_done_s = at_s if pair.source_done_s is None else pair.source_done_s
    elif step is Step.STOP_RECEIVER and not pair.receiver_done:
        return [(Step.ABORT_RECEIVER, str(error))]
    elif step is Step.ABORT_RECEIVER and not pair.receiver_done:
        pair.receiver_done_s = at_s
    return []


def advance(pair: PairRun, sequence: Sequence, at_s: float) -> Told:
    """What a pair needs now: its next trigger, or an end of the side that does not end by itself."""
    told: Told = []
    if (
        pair.triggers_wanted > pair.triggers_sent
        and not pair.triggering
        and not pair.source_done
        and not sequence.stopping
    ):
        pair.triggers_sent += 1
        settings = pair.plan.settings
        told.append((Step.TRIGGER, settings.exposure_time_s if settings.exposure_per_trigger else None))
    if pair.receiver_done and not pair.source_done:
        told += _end_source(pair, sequence, at_s)
    if pair.source_done and not pair.receiver_done:
        told += _end_receiver(pair, sequence, at_s)
    return told


def trigger_refusal(pair: PairRun) -> str:
    """Why a software trigger makes no sense now; "" when it does."""
    settings = pair.plan.settings
    if settings.trigger_mode is not TriggerMode.SOFTWARE:
        return f"TriggerMode is {settings.trigger_mode.value}, not SOFTWARE"
    if pair.source_done or pair.receiver_done:
        return "the acquisition has finished"
    if pair.triggers_wanted >= settings.trigger_count:
        return f"all {settings.trigger_count} triggers have been given"
    if pair.triggers_wanted > pair.triggers_sent or (pair.triggering and not pair.burst_arrived):
        return f"trigger {pair.triggers_sent} of {settings.trigger_count} is still being worked on"
    if not pair.triggering and not pair.ready_for_trigger:
        state = pair.report.state.value if pair.report else "unknown"
        return f"the detector is not ready for a trigger ({state})"
    return ""


def _end_source(pair: PairRun, sequence: Sequence, at_s: float) -> Told:
    if {Step.STOP_SOURCE, Step.ABORT_SOURCE} & pair.issued:
        return []
    whole = pair.receipt is not None and pair.receipt.verdict is Verdict.COMPLETE
    if whole and at_s - (pair.receiver_done_s or at_s) <= sequence.deadlines.settle_s:
        return []
    return [(Step.STOP_SOURCE, None)]


def _end_receiver(pair: PairRun, sequence: Sequence, at_s: float) -> Told:
    limits = sequence.deadlines
    if sequence.is_outstanding(pair.name, Step.STOP_RECEIVER, Step.ABORT_RECEIVER):
        return []
    if pair.receiver_aborted_s is not None:
        if at_s - pair.receiver_aborted_s > limits.abort_s:
            _broken(
                pair,
                EngineError("abort the receiver", of=sequence.sides[pair.name][1], answer="it does not close the run"),
            )
            pair.receiver_done_s = at_s
        return []
    if pair.receiver_stopped_s is not None:
        if at_s - max(pair.progress_s, pair.receiver_stopped_s) > limits.close_s:
            _broken(
                pair,
                EngineError(
                    "close the run", of=sequence.sides[pair.name][1], answer=f"no progress for {limits.close_s:g} s"
                ),
            )
            return [(Step.ABORT_RECEIVER, "the receiver made no progress")]
        return []
    if sequence.stopping:
        return [(Step.STOP_RECEIVER, None)]
    if pair.broken:
        return [(Step.STOP_RECEIVER, str(pair.errors[-1]))]
    since_s = max(pair.progress_s, pair.source_done_s or 0.0)
    if at_s - max(since_s, pair.looked_s) > limits.close_s:
        return [(Step.STOP_RECEIVER, f"the receiver has not looked for messages for {limits.close_s:g} s")]
    quiet_s = pair.looked_s - since_s
    if quiet_s > limits.drain_s + 3 * pair.plan.settings.frame_period_s:
        return [(Step.STOP_RECEIVER, f"the detector has finished, and nothing more arrived for {quiet_s:.1f} s")]
    return []


def _broken(pair: PairRun, error: MaxdaqError) -> None:
    pair.broken = True
    pair.errors.append(error)
