"""The state table: every state with every event."""

from __future__ import annotations

import itertools

import pytest

from maxdaq_tango.errors import StateError
from maxdaq_tango.model import BUSY_STATES, TRANSITIONS, AcquisitionEvent, AcquisitionState, next_state

ALL = list(itertools.product(AcquisitionState, AcquisitionEvent))


@pytest.mark.parametrize(("state", "event"), ALL)
def test_every_state_with_every_event_moves_or_says_what_is_possible(
    state: AcquisitionState, event: AcquisitionEvent
) -> None:
    if (state, event) in TRANSITIONS:
        assert next_state(state, event) is TRANSITIONS[state, event]
        return
    with pytest.raises(StateError) as caught:
        next_state(state, event)
    assert state.value in str(caught.value)
    assert event.value in str(caught.value)
    for possible, there in TRANSITIONS:
        if possible is state:
            assert there.value in caught.value.accepted


def test_every_busy_state_can_fail_and_only_busy_states_refuse_a_second_arm() -> None:
    for state in AcquisitionState:
        may_configure = (state, AcquisitionEvent.CONFIGURE) in TRANSITIONS
        assert may_configure == (state not in BUSY_STATES)
    for state in BUSY_STATES:
        assert TRANSITIONS[state, AcquisitionEvent.FAILED] is AcquisitionState.FAULT


def test_from_every_state_there_is_a_way_back_to_idle() -> None:
    reaches = {AcquisitionState.IDLE}
    while more := {s for (s, _), t in TRANSITIONS.items() if t in reaches} - reaches:
        reaches |= more
    assert reaches == set(AcquisitionState)


def test_the_whole_life_of_a_good_acquisition() -> None:
    state = AcquisitionState.IDLE
    for event in ("configure", "armed", "started", "source_done", "drained", "closed"):
        state = next_state(state, AcquisitionEvent(event))
    assert state is AcquisitionState.IDLE
