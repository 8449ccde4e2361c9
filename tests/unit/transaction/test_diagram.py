"""The page about the transaction shows what the transaction does."""

from __future__ import annotations

import typing
from pathlib import Path

import pytest

from maxdaq_tango.errors import StateError
from maxdaq_tango.model import Verdict
from maxdaq_tango.transaction.diagram import BEGIN, END, EVENTS, REFUSED, explore, renewed, table
from maxdaq_tango.transaction.phases import ARMING, Phase
from maxdaq_tango.transaction.sequence import Sequence
from maxdaq_tango.transaction.words import AbortAsked, Event

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "transaction.md"


@pytest.fixture(scope="module")
def explored():
    """What was found, the kinds of events that were tried for it, and every situation."""
    tried, situations, handle = set(), [], Sequence.handle

    def spied(self: Sequence, event: Event, at_s: float):
        tried.add(type(event))
        return handle(self, event, at_s)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sequence, "handle", spied)
        return explore(situations.append), tried, situations


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
    found, tried, _ = explored
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


def test_from_every_situation_there_is_a_way_to_an_arm_that_works(explored):
    """Whatever has happened: when it is aborted, and everybody answers in the end, nothing is left behind."""
    *_, situations = explored
    assert len(situations) > 1000
    begin, done, closed = EVENTS["Arm"][0], EVENTS["done"][0], EVENTS["receiver seen"][-1]
    idle = EVENTS["detector seen"][0]
    for situation in situations:
        for turn in range(1, 6):
            situation.handle(AbortAsked(), 100.0 * turn)
            while (answer := done(situation)) is not None:
                situation.handle(answer, 100.0 * turn)
            for look in (idle, closed):
                situation.handle(look(situation), 100.0 * turn)
        assert situation.phase is Phase.IDLE
        assert not situation.outstanding
        assert not situation.late
        assert situation.outcome is None or situation.outcome.verdict in Verdict
        assert situation.handle(begin(situation), 1000.0)
