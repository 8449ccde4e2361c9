"""The sentence for Status: what a transaction is doing, and what the last one came to. Pure."""

from __future__ import annotations

from maxdaq_tango.model import AcquisitionState, TriggerMode, Verdict
from maxdaq_tango.transaction.outcome import warnings_of
from maxdaq_tango.transaction.pair import PairRun
from maxdaq_tango.transaction.phases import ARMING, Phase
from maxdaq_tango.transaction.sequence import Sequence


def sentence(sequence: Sequence) -> str:
    """One line or a few; the reasons of a failure stay until the next Arm or Reset."""
    if sequence.phase in ARMING:
        step = ARMING[sequence.phase][0]
        waiting = [name for name, pair in sequence.pairs.items() if step not in pair.answered]
        return f"Arming: {step.value} ({', '.join(waiting)})"
    if sequence.phase is Phase.UNDO:
        reason = f": {sequence.errors[0]}" if sequence.errors else ""
        return f"Taking back what was armed{reason}"
    if sequence.phase is Phase.IDLE:
        return _ended(sequence)
    lines = [_running(sequence)]
    lines += [str(error) for pair in sequence.pairs.values() for error in pair.errors]
    lines += [f"Warning: {warning}" for warning in warnings_of(list(sequence.pairs.values()))]
    for pair in sequence.pairs.values():
        detector, receiver = sequence.sides[pair.name]
        if pair.source_lost_s is not None and not pair.source_done:
            lines.append(f"{detector} cannot be reached at the moment")
        if pair.receiver_lost_s is not None and not pair.receiver_done:
            lines.append(f"{receiver} cannot be reached at the moment")
    return "\n".join(lines)


def progress(sequence: Sequence) -> tuple[int, int]:
    """Frames received and frames asked for, over all pairs of the run."""
    pairs = sequence.pairs.values()
    return (
        sum(pair.counters.frames_received for pair in pairs),
        sum(pair.plan.settings.frame_count for pair in pairs),
    )


def _running(sequence: Sequence) -> str:
    received, wanted = progress(sequence)
    frames = f"{received} of {wanted} frames received"
    if sequence.phase is Phase.STOP:
        return f"Stopping, {frames}"
    if sequence.phase is Phase.ABORT:
        return f"Aborting, {frames}"
    if sequence.phase is Phase.LINK:
        return f"Writing the scan master, {frames}"
    if sequence.state is AcquisitionState.ARMED:
        return f"Armed, waiting for {_start(next(iter(sequence.pairs.values())))}"
    if sequence.state in (AcquisitionState.DRAINING, AcquisitionState.FINALISING):
        names = [sequence.sides[name][1] for name, pair in sequence.pairs.items() if not pair.receiver_done]
        return f"Waiting for the receiver to finish ({', '.join(names) or 'closed'}), {frames}"
    return f"Acquiring, {frames}"


def _start(pair: PairRun) -> str:
    return {
        TriggerMode.INTERNAL: "the detector to start",
        TriggerMode.SOFTWARE: "SoftwareTrigger",
        TriggerMode.EXTERNAL_MULTI: "an external trigger",
        TriggerMode.EXTERNAL_MULTI_GATE: "an external gate",
    }[pair.plan.settings.trigger_mode]


def _ended(sequence: Sequence) -> str:
    outcome = sequence.outcome
    if outcome is None:
        return "Ready"
    if not outcome.armed:
        head = "Arming failed, everything was undone" if outcome.verdict is Verdict.FAILED else "Not armed"
        if sequence.state is AcquisitionState.FAULT:
            head = "Arming failed and could not be undone"
        return "\n".join([f"{head}: {outcome.reasons[0]}", *outcome.reasons[1:]])
    # A receiver that died gave no receipt; what it had counted by then is the best there is.
    accounts = [outcome.receipts.get(name, pair.counters) for name, pair in sequence.pairs.items()]
    written = sum(account.frames_written for account in accounts)
    received = sum(account.frames_received for account in accounts)
    head = f"Last acquisition {outcome.verdict.value}: {received} frames received, {written} written"
    return "\n".join([head, *outcome.reasons, *(f"Warning: {warning}" for warning in outcome.warnings)])
