"""Connections of modules as one stream: when a series begins and ends, and what belongs to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxdaq_tango.model import Frame, ModuleEnd, ModuleEvent, ModuleFrame, ModuleStart, SeriesEnd, SeriesStart
from maxdaq_tango.pipeline.module_stream import NEXT_SERIES, Given, ModuleStream
from module_parts import part, seen, whole

WAIT_S = 1.0


class Bench:
    """A stream, and all that came out of it."""

    def __init__(self, sources: int, *, headed: bool, limit_bytes: int = 1 << 20) -> None:
        self.given: list[Given] = []
        self.ahead: list[ModuleEvent] = []
        self.stream = ModuleStream(
            sources, headed=headed, wait_s=WAIT_S, limit_bytes=limit_bytes, holds=lambda n: n in self.frames
        )

    @property
    def frames(self) -> dict[int, Frame]:
        return {one.frame_number: one for one in self.given if isinstance(one, Frame)}

    @property
    def kinds(self) -> str:
        """S for a start, f for a frame, E for an end, N where the next series ends this one, ! for trouble."""
        letters = {Frame: "f", SeriesStart: "S", SeriesEnd: "E"}
        return "".join("N" if one is NEXT_SERIES else letters.get(type(one), "!") for one in self.given)

    def feed(self, *events: ModuleEvent, now: float = 0.0) -> None:
        for event in events:
            if self.stream.is_ahead(event, now):
                self.ahead.append(event)
            else:
                self.given += self.stream.feed(event, now)

    def tick(self, now: float) -> None:
        self.given += self.stream.tick(now)


def header(source: int, number: int = 0, filename: str | None = "", **metadata: Any) -> ModuleStart:
    return ModuleStart(source, SeriesStart(series="", msg_number=number, filename=filename, metadata=metadata))


def image(frame: int, source: int, number: int | None = None) -> ModuleFrame:
    return part(frame, source, msg_number=frame + 1 if number is None else number)


def shot(frame: int, source: int, first: int = 0, modules: int = 2) -> ModuleFrame:
    about = {"fname": "run", "detshape": [1, modules]}
    return part(frame, source, module_count=modules, first_number=first, about=about)


class TestHeaders:
    def test_a_series_begins_when_all_headers_are_here(self) -> None:
        bench = Bench(2, headed=True)
        bench.feed(header(1, x=7, gain="high"), image(0, 1))
        assert bench.given == []
        bench.feed(header(0, filename="/data/a.h5", x=5, y=6, gain="low", exptime=0.5), image(0, 0))
        assert bench.kinds == "Sf"
        start = bench.given[0]
        assert isinstance(start, SeriesStart)
        assert start.metadata == {
            "x": [5, 7],
            "y": [6, None],
            "gain": "low",
            "gain_of_modules": ["low", "high"],
            "exptime": 0.5,
            "modules": 2,
        }
        assert (start.filename, start.msg_number) == ("/data/a.h5", 0)

    def test_a_header_that_does_not_come_is_waited_for_and_no_longer(self) -> None:
        bench = Bench(3, headed=True)
        bench.feed(header(2, filename=None), header(0, filename=None), image(0, 0), image(0, 2))
        bench.tick(WAIT_S - 0.01)
        assert bench.given == []
        bench.tick(WAIT_S)
        bench.tick(WAIT_S)
        assert bench.kinds == "Sf"
        np.testing.assert_array_equal(seen(bench.frames[0]), whole(0, 3, (1,)))

    def test_what_waits_for_headers_is_bounded(self) -> None:
        bench = Bench(2, headed=True, limit_bytes=10_000)
        bench.feed(header(0), *(image(frame, 0) for frame in range(50)))
        assert bench.kinds.startswith("Sf")
        assert bench.stream.assembler is not None
        assert bench.stream.assembler.nbytes <= 10_000

    @pytest.mark.parametrize(
        "wrong",
        [part(0, 0, msg_number=1, blob=None, trouble="cut"), part(0, 7, msg_number=1, source=0)],
        ids=["damaged", "no place"],
    )
    def test_a_part_with_which_something_is_wrong_begins_nothing_before_all_headers_are_here(
        self, wrong: ModuleFrame
    ) -> None:
        bench = Bench(2, headed=True)
        bench.feed(header(0, x=5), wrong)
        assert "S" not in bench.kinds
        bench.feed(header(1, x=7), image(1, 0), image(1, 1))
        assert (bench.kinds.replace("!", ""), bench.stream.out_of_series) == ("Sf", 0)
        (start,) = [one for one in bench.given if isinstance(one, SeriesStart)]
        assert start.metadata["x"] == [5, 7]

    def test_a_header_that_is_said_twice_is_one(self) -> None:
        bench = Bench(2, headed=True)
        bench.feed(header(0), header(0), header(1), header(1))
        assert (bench.kinds, bench.ahead) == ("S", [])

    def test_a_module_may_join_late_with_a_header_of_the_same_number(self) -> None:
        bench = Bench(2, headed=True)
        bench.feed(header(0, 5), image(0, 0, 6))
        bench.tick(WAIT_S)
        bench.feed(header(1, 5), image(1, 1, 7), image(1, 0, 7), now=2.0)
        assert (bench.kinds, bench.ahead) == ("Sf", [])
        np.testing.assert_array_equal(seen(bench.frames[1]), whole(1, 2))

    def test_a_late_header_with_another_number_is_of_the_next_series(self) -> None:
        bench = Bench(2, headed=True)
        bench.feed(header(0, 5), image(0, 0, 6))
        bench.tick(WAIT_S)
        bench.feed(header(1, 0), image(0, 1, 1), now=2.0)
        assert bench.ahead == [header(1, 0), image(0, 1, 1)]

    def test_parts_from_before_the_header_of_their_module_are_out_of_series(self) -> None:
        bench = Bench(2, headed=True)
        bench.feed(image(7, 0, 3), header(0, 5), header(1, 5), image(8, 1, 4), ModuleEnd(1, 5), ModuleEnd(0, 2))
        assert (bench.kinds, bench.stream.out_of_series) == ("S", 4)

    def test_a_part_that_is_not_in_step_is_kept_aside_and_out_of_series_in_the_end(self) -> None:
        bench = Bench(1, headed=True)
        bench.feed(header(0), image(0, 0), image(1, 0, 900), image(1, 0), image(2, 0))
        assert sorted(bench.frames) == [0, 1, 2]
        assert bench.stream.flush() == []
        assert bench.stream.out_of_series == 1

    def test_a_sender_that_never_numbers_in_step_loses_nothing(self) -> None:
        bench = Bench(1, headed=True)
        bench.feed(header(0), *(image(frame, 0, number) for frame, number in ((0, 1), (1, 12), (2, 33), (3, 54))))
        assert sorted(bench.frames) == [0, 1, 2, 3]


class TestNoHeaders:
    def test_a_series_begins_with_its_first_part(self) -> None:
        bench = Bench(2, headed=False)
        bench.feed(shot(101, 1, 100))
        assert bench.kinds == "S"
        start = bench.given[0]
        assert isinstance(start, SeriesStart)
        assert start.metadata == {"fname": "run", "detshape": [1, 2], "modules": 2}
        assert bench.stream.first_number == 100

    def test_the_number_of_modules_is_that_of_the_detector_and_not_of_the_connections(self) -> None:
        bench = Bench(1, headed=False)
        bench.feed(*(part(0, module, source=0, module_count=4, first_number=0) for module in range(4)))
        assert bench.kinds == "Sf"
        np.testing.assert_array_equal(seen(bench.frames[0]), whole(0, 4))

    def test_an_end_before_the_first_part_ends_nothing(self) -> None:
        bench = Bench(2, headed=False)
        bench.feed(ModuleEnd(0), shot(0, 0), ModuleEnd(1), shot(0, 1), ModuleEnd(0), ModuleEnd(1))
        assert (bench.kinds, bench.stream.out_of_series) == ("SfE", 2)

    @pytest.mark.parametrize("first", [101, 103])
    def test_a_port_that_lost_its_first_frames_is_of_the_same_series(self, first: int) -> None:
        bench = Bench(2, headed=False)
        bench.feed(shot(101, 0, 101), shot(first, 1, first))
        assert bench.ahead == []
        assert bench.stream.first_number == 101

    @pytest.mark.parametrize("first", [1, 20], ids=["lower", "higher"])
    def test_another_first_number_is_of_the_next_series_and_so_is_all_that_follows(self, first: int) -> None:
        bench = Bench(2, headed=False)
        late = [shot(first, 0, first), ModuleEnd(0), shot(first + 9, 0, first + 9)]
        bench.feed(shot(10, 0, 10), shot(10, 1, 10), *late, shot(11, 1, 10))
        assert bench.ahead == late
        assert bench.stream.assembler is not None
        assert len(bench.stream.assembler) == 1

    def test_a_port_that_was_dead_and_comes_back_with_the_next_series_is_ahead(self) -> None:
        bench = Bench(2, headed=False)
        bench.feed(shot(0, 0), shot(1, 0), ModuleEnd(0), shot(2, 1, 2))
        assert bench.ahead == [shot(2, 1, 2)]


class TestEnds:
    @pytest.mark.parametrize("headed", [True, False])
    def test_a_series_ends_when_all_connections_have(self, headed: bool) -> None:
        bench = Bench(2, headed=headed)
        if headed:
            bench.feed(header(0), header(1), image(0, 0), image(0, 1), image(1, 0))
        else:
            bench.feed(shot(0, 0), shot(0, 1), shot(1, 0))
        bench.feed(ModuleEnd(1, 3))
        assert bench.kinds == "Sf"
        bench.feed(ModuleEnd(0, 3))
        assert bench.kinds == "SffE"  # the second frame waits for nobody any more
        np.testing.assert_array_equal(seen(bench.frames[1]), whole(1, 2, (1,)))

    def test_the_end_says_how_many_frames_were_sent(self) -> None:
        bench = Bench(2, headed=True)
        bench.feed(header(0, 10), header(1, 10), ModuleEnd(0, 14), ModuleEnd(1, 16))
        end = bench.given[-1]
        assert isinstance(end, SeriesEnd)
        assert end.msg_number == 16

    def test_a_connection_that_does_not_end_is_waited_for_as_long_as_it_sends(self) -> None:
        bench = Bench(2, headed=False)
        bench.feed(shot(0, 0), shot(0, 1), ModuleEnd(0))
        bench.feed(shot(1, 1), now=0.75)
        bench.tick(1.5)
        assert "E" not in bench.kinds
        bench.tick(1.75)
        assert bench.kinds == "SffE"
        bench.tick(9.0)
        assert bench.kinds == "SffE"

    def test_connections_that_are_not_read_for_want_of_room_are_not_silent(self) -> None:
        bench = Bench(2, headed=True, limit_bytes=4 * 1024)
        bench.feed(header(0), header(1), ModuleEnd(1, 1), *(image(number, 0) for number in range(3)), now=0.0)
        assert bench.stream.assembler is not None
        assert bench.stream.assembler.leaders() == {0}
        bench.tick(WAIT_S)  # the frames go out without module 1; connection 0 can be read again
        assert bench.kinds == "Sfff"
        bench.feed(image(3, 0), now=1.5 * WAIT_S)
        bench.tick(2 * WAIT_S)
        assert bench.kinds == "Sffff"
        bench.feed(ModuleEnd(0, 5), now=2 * WAIT_S)
        assert bench.kinds == "SffffE"

    def test_two_series_in_a_row_of_which_no_end_comes_are_told_apart(self) -> None:
        bench = Bench(2, headed=True)
        bench.feed(header(0), header(1), image(0, 0), image(0, 1), header(0, 9), header(1, 9))
        bench.tick(WAIT_S)
        assert (bench.kinds, len(bench.ahead)) == ("SfN", 2)

    def test_a_series_of_which_nothing_but_headers_came_ends_all_the_same(self) -> None:
        bench = Bench(2, headed=True)
        bench.feed(header(0), header(1), header(0, 9), header(1, 9))
        bench.tick(WAIT_S)
        assert bench.kinds == "SE"

    def test_after_the_end_a_connection_that_was_silent_is_ahead(self) -> None:
        bench = Bench(2, headed=True)
        bench.feed(header(0, 0), image(0, 0), ModuleEnd(0, 2))
        bench.tick(WAIT_S)
        bench.tick(WAIT_S)
        assert bench.kinds == "SfE"
        bench.feed(header(1, 0), now=5.0)
        assert bench.ahead == [header(1, 0)]


@st.composite
def interleavings(draw: st.DrawFn) -> tuple[int, bool, list[ModuleEvent]]:
    """All that each connection brings of one series, in its order; the connections in any."""
    sources, headed = draw(st.integers(1, 4)), draw(st.booleans())
    frames = draw(st.integers(1, 5))
    queues: list[list[ModuleEvent]] = []
    for source in range(sources):
        parts: list[ModuleEvent] = [
            image(frame, source) if headed else shot(frame, source, 0, sources) for frame in range(frames)
        ]
        queues.append([*([header(source)] if headed else []), *parts, ModuleEnd(source, frames + 1)])
    order = draw(st.permutations([source for source, queue in enumerate(queues) for _ in queue]))
    return sources, headed, [queues[source].pop(0) for source in order]


@given(interleavings())
def test_whatever_the_order_of_the_connections_it_is_the_same_series(came: tuple[int, bool, list[ModuleEvent]]) -> None:
    sources, headed, events = came
    bench = Bench(sources, headed=headed)
    bench.feed(*events)
    assert (bench.ahead, bench.stream.out_of_series) == ([], 0)
    frames = len(bench.frames)
    assert bench.kinds == "S" + "f" * frames + "E"
    assert frames == max(event.frame_number for event in events if isinstance(event, ModuleFrame)) + 1
    for number, frame in bench.frames.items():
        np.testing.assert_array_equal(seen(frame), whole(number, sources))


class TestAfterAnotherSeries:
    def bench(self) -> Bench:
        """A bench whose second connection had brought frames 10 and 11 of a series that the first one ended."""
        one, two = Bench(2, headed=False), Bench(2, headed=False)
        one.feed(shot(10, 0, 10), shot(10, 1, 10), shot(11, 1, 10), ModuleEnd(0))
        two.stream.follow(one.stream)
        return two

    def test_what_is_left_of_it_begins_nothing(self) -> None:
        bench = self.bench()
        bench.feed(shot(12, 1, 10), shot(13, 1, 10), ModuleEnd(1))
        assert (bench.kinds, bench.ahead, bench.stream.out_of_series) == ("", [], 3)
        bench.feed(shot(20, 1, 20), shot(20, 0, 20))
        assert (bench.kinds, bench.stream.first_number) == ("Sf", 20)

    def test_the_connection_that_had_ended_may_count_from_the_same_number_again(self) -> None:
        bench = self.bench()
        bench.feed(shot(12, 0, 10), shot(10, 1, 10), shot(12, 1, 10))
        assert (bench.kinds, bench.stream.out_of_series) == ("Sf", 0)

    def test_it_is_known_of_a_connection_that_is_silent_for_a_series(self) -> None:
        silent = self.bench()
        silent.feed(shot(20, 0, 20), ModuleEnd(0))
        third = Bench(2, headed=False)
        third.stream.follow(silent.stream)
        third.feed(shot(12, 1, 10), shot(30, 1, 30))
        assert (third.stream.out_of_series, third.stream.first_number) == (1, 30)
