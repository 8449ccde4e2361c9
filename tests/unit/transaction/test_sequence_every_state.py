"""Every phase x every event: either it is handled or it is a StateError that changes nothing; and whatever happens in
whatever order, no detector stays armed and no receiver stays prepared."""

from __future__ import annotations

import contextlib
import itertools
import typing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maxdaq_tango.errors import StateError
from maxdaq_tango.model import AcquisitionState, TriggerMode, Verdict
from maxdaq_tango.model.hardware import HardwareState
from maxdaq_tango.transaction.phases import ARMING, Phase
from maxdaq_tango.transaction.words import (
    AbortAsked,
    Answered,
    Event,
    Failed,
    ResetAsked,
    Step,
    StopAsked,
    TimedOut,
    TriggerAsked,
)

BUSY_RECEIVER = AcquisitionState.ACQUIRING
EVENTS = {
    "begin": lambda play: play.begin(),
    "answered unknown": lambda play: play(Answered(9999)),
    "failed unknown": lambda play: play(Failed(9999, ValueError("x"))),
    "timed out unknown": lambda play: play(TimedOut(9999)),
    "answered": lambda play: [play.answer(call.step, call.pair) for call in list(play.open.values())[:1]],
    "failed": lambda play: [play.fail(call.step, call.pair) for call in list(play.open.values())[:1]],
    "timed out": lambda play: [play.time_out(call.step, call.pair) for call in list(play.open.values())[:1]],
    "source idle": lambda play: play.source(HardwareState.IDLE),
    "source acquiring": lambda play: play.source(HardwareState.ACQUIRING),
    "source error": lambda play: play.source(HardwareState.ERROR),
    "source offline": lambda play: play.source(HardwareState.OFFLINE),
    "source of nobody": lambda play: play.source(HardwareState.IDLE, "nobody"),
    "receiver acquiring": lambda play: play.receiver(BUSY_RECEIVER, received=1),
    "receiver complete": lambda play: play.receiver(AcquisitionState.IDLE, received=10, verdict=Verdict.COMPLETE),
    "receiver fault": lambda play: play.receiver(AcquisitionState.FAULT, message="disk full"),
    "receiver lost": lambda play: play.receiver(AcquisitionState.IDLE, reachable=False),
    "receiver of another run": lambda play: play.receiver(AcquisitionState.IDLE, run_id="other"),
    "trigger": lambda play: play(TriggerAsked()),
    "stop": lambda play: play(StopAsked()),
    "abort": lambda play: play(AbortAsked("test")),
    "reset": lambda play: play(ResetAsked()),
}
REFUSED = {
    "begin": set(Phase) - {Phase.IDLE},
    "trigger": set(Phase) - {Phase.RUN},
    "reset": set(Phase) - {Phase.IDLE},
}


def reach(play, phase):
    if phase is Phase.STOP:
        play.to(Phase.RUN)(StopAsked())
    elif phase is Phase.ABORT:
        play.to(Phase.RUN)(AbortAsked("test"))
    elif phase is Phase.LINK:
        play.master = "/data/scan.h5"
        play.to(phase)
    elif phase is Phase.UNDO:
        play.to(Phase.ARM)
        play.fail(Step.ARM)
    else:
        play.to(phase)
    assert play.sequence.phase is phase
    return play


def test_every_kind_of_event_is_among_them(stage):
    tried = set()
    for event in EVENTS.values():
        play = reach(stage(), Phase.ARM)
        handle = play.sequence.handle
        play.sequence.handle = lambda one, at_s, handle=handle: tried.add(type(one)) or handle(one, at_s)
        with contextlib.suppress(StateError):
            event(play)
    assert tried == set(typing.get_args(Event))


@pytest.mark.parametrize(("phase", "event"), list(itertools.product(Phase, EVENTS)))
def test_every_phase_takes_or_refuses_every_event(stage, phase, event):
    play = reach(stage(), phase)
    before = (play.sequence.phase, play.sequence.state, dict(play.sequence.outstanding), play.sequence.outcome)
    if phase in REFUSED.get(event, ()):
        with pytest.raises(StateError):
            EVENTS[event](play)
        assert before == (play.sequence.phase, play.sequence.state, play.sequence.outstanding, play.sequence.outcome)
    else:
        EVENTS[event](play)
    busy = play.sequence.phase is not Phase.IDLE
    assert busy == (play.sequence.state not in (AcquisitionState.IDLE, AcquisitionState.FAULT))
    if play.sequence.phase in ARMING or play.sequence.phase is Phase.UNDO:
        assert play.sequence.state is AcquisitionState.CONFIGURING
        assert play.sequence.outstanding  # somebody is being waited for, or it would hang for ever


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("event", [name for name in EVENTS if name.startswith(("source", "receiver"))])
def test_looks_tell_nothing_to_a_transaction_that_is_not_running(stage, phase, event):
    play = reach(stage(), phase)
    told_before = len(play.told)
    EVENTS[event](play)
    if phase not in (Phase.RUN, Phase.STOP, Phase.ABORT):
        assert len(play.told) == told_before


NAMES = sorted(EVENTS)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    events=st.lists(st.tuples(st.sampled_from(NAMES), st.floats(0, 40)), max_size=60),
    mode=st.sampled_from([TriggerMode.INTERNAL, TriggerMode.SOFTWARE, TriggerMode.EXTERNAL_MULTI]),
)
def test_whatever_happens_nothing_is_left_armed_or_prepared(stage, events, mode):
    play = stage("a", "b", mode=mode)
    for name, seconds in events:
        play.wait(seconds)
        try:
            EVENTS[name](play)
        except StateError:
            continue
    # In the end everybody answers, the hardware is idle and the receivers close: the transaction must come to rest.
    for _ in range(40):
        try:
            play(AbortAsked("end"))
            for call in list(play.open.values()):
                if call.number in play.open:
                    play.answer(call.step, call.pair)
            play.wait(20)
            for name in "ab":
                play.source(HardwareState.IDLE, name)
                play.receiver(AcquisitionState.IDLE, name, received=1, verdict=Verdict.ABORTED)
        except StateError:
            raise AssertionError("an ending was refused") from None
    assert play.sequence.phase is Phase.IDLE
    assert not play.sequence.outstanding
    assert not play.sequence.late
    for name in "ab":
        run = play.sequence.pairs.get(name)
        steps = run.answered if run else set()
        if Step.ARM in steps:
            assert run.source_done or Step.ABORT_SOURCE in run.issued
        if Step.PREPARE in steps:
            assert run.receiver_done or Step.ABORT_RECEIVER in run.issued
