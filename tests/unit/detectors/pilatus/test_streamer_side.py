"""What a driver makes of the words of its streamer, after a series."""

from __future__ import annotations

from typing import Any

import pytest

from maxdaq_tango.detectors.pilatus import streamer_side, streamer_words
from maxdaq_tango.detectors.pilatus.streamer_side import TAKEN_S, StreamerSide
from maxdaq_tango.detectors.pilatus.streamer_words import StreamerStatus


class Link:
    """A streamer that says what it is told to."""

    def __init__(self) -> None:
        self.status = StreamerStatus(folder="/images", stream_port=1)

    def call(self, word: str, kind: object, wish: object, *, timeout_s: float) -> StreamerStatus:
        return self.status

    def say(self, sent: int, *, is_open: bool = True) -> None:
        self.status = StreamerStatus(folder="/images", stream_port=1, frames_sent=sent, is_open=is_open)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(streamer_side.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def link() -> Link:
    return Link()


@pytest.fixture
def side(link: Any) -> StreamerSide:
    return StreamerSide(link)


def test_while_images_leave_a_finished_series_lasts_and_not_longer(
    side: StreamerSide, link: Link, clock: list[float]
) -> None:
    link.say(3)
    side.tell(streamer_words.FINISH)
    assert side.is_being_taken()
    for sent in range(4, 9):
        clock[0] += TAKEN_S - 0.1
        link.say(sent)
        assert side.is_being_taken()
    link.say(9, is_open=False)
    assert not side.is_being_taken()


def test_a_receiver_that_takes_none_is_waited_for_a_moment(side: StreamerSide, link: Link, clock: list[float]) -> None:
    link.say(3)
    side.tell(streamer_words.FINISH)
    clock[0] += TAKEN_S - 0.1
    assert side.is_being_taken()
    clock[0] += 0.2
    assert not side.is_being_taken()
    link.say(4)
    assert not side.is_being_taken()  # what was told once stays so


def test_where_nobody_has_taken_any_nobody_is_waited_for(side: StreamerSide, link: Link, clock: list[float]) -> None:
    link.say(0)
    side.tell(streamer_words.FINISH)
    assert not side.is_being_taken()


@pytest.mark.parametrize("word", [streamer_words.BEGIN, streamer_words.ABORT])
def test_what_is_under_way_or_was_aborted_is_no_finished_series(
    side: StreamerSide, link: Link, clock: list[float], word: str
) -> None:
    link.say(3)
    side.tell(streamer_words.FINISH)
    side.tell(word)
    assert not side.is_being_taken()
