"""The page about the transaction shows what the transaction does."""

from __future__ import annotations

import typing
from pathlib import Path

import pytest

from maxdaq_tango.errors import StateError
from maxdaq_tango.transaction.diagram import BEGIN, END, EVENTS, REFUSED, explore, renewed, table
from maxdaq_tango.transaction.phases import ARMING, Phase
from maxdaq_tango.transaction.sequence import Sequence
from maxdaq_tango.transaction.words import Event

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "transaction.md"


@pytest.fixture(scope="module")
def explored():
    """What was found, and the kinds of events that were tried for it."""
    tried, handle = set(), Sequence.handle

    def spied(self: Sequence, event: Event, at_s: float):
        tried.add(type(event))
        return handle(self, event, at_s)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sequence, "handle", spied)
        return explore(), tried


@pytest.fixture
def found(explored):
    return explored[0]


def test_the_page_is_what_the_transaction_does(monkeypatch, found):
    monkeypatch.setattr("maxdaq_tango.transaction.diagram.explore", lambda: found)
    page = PAGE.read_text()
    assert renewed(page) == page, f"run python -m maxdaq_tango.transaction.diagram {PAGE}"


def test_a_page_without_the_marks_is_refused(monkeypatch, found):
    monkeypatch.setattr("maxdaq_tango.transaction.diagram.explore", lambda: found)
    for page in ("", BEGIN, f"{END} {BEGIN}"):
        with pytest.raises(ValueError, match="there is no"):
            renewed(page)


def test_every_kind_of_event_is_tried_and_every_phase_is_reached(explored):
    found, tried = explored
    assert tried == set(typing.get_args(Event))
    assert {phase for phase, _ in found} == set(Phase)
    for phase in Phase:
        for label in set(EVENTS) - {"done", "failed", "timed out"}:
            assert found[phase, label], (phase, label)


def test_what_must_be_so_is_so(found):
    for phase in Phase:
        arm = found[phase, "Arm"]
        assert REFUSED in arm if phase is Phase.IDLE else arm == {REFUSED}  # there: a call of the last run is still out
        assert (REFUSED in found[phase, "Reset"]) == (phase is not Phase.IDLE)
        if phase in ARMING:
            assert found[phase, "Stop"] == found[phase, "Abort"] == {Phase.UNDO}
            assert found[phase, "failed"] <= {Phase.UNDO, Phase.IDLE}
    assert found[Phase.RUN, "Abort"] == found[Phase.STOP, "Abort"] == {Phase.ABORT}


def test_a_transition_that_is_changed_changes_the_page(monkeypatch, found):
    def stop(self: Sequence, event: Event, at_s: float):
        raise StateError("Stop", answer="no")

    monkeypatch.setattr(Sequence, "_stop_asked", stop)
    assert table(explore()) != table(found)
