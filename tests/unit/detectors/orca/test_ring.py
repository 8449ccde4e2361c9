"""The account of a ring that is written without asking, and the numbers of frames in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxdaq_tango.detectors.orca.ring import FrameNumbers, RingAccount


@given(
    slots=st.integers(2, 8),
    steps=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 5), st.integers(0, 4)), max_size=60),
    abandoned=st.booleans(),
)
def test_every_frame_is_read_whole_or_counted_as_lost(
    slots: int, steps: list[tuple[int, int, int]], abandoned: bool
) -> None:
    """Against a ring that really is overwritten: at each step some frames come, then some are read, and while each is
    being read some more come."""
    ring, memory, transferred, taken = RingAccount(slots), [-1] * slots, 0, []

    def come(count: int) -> None:
        nonlocal transferred
        for _ in range(count):
            memory[transferred % slots] = transferred
            transferred += 1
            memory[transferred % slots] = -2  # the next one is being written from now on

    for count, reads, meanwhile in steps:
        come(count)
        for _ in range(reads):
            index = ring.look(transferred)
            if index is None:
                break
            before = memory[index % slots]
            come(meanwhile)
            after = memory[index % slots]
            if ring.done(transferred):
                assert before == after == index
                taken.append(index)
    if abandoned:
        ring.abandon(transferred)
    ring.give_up(transferred)
    assert taken == sorted(set(taken))
    assert ring.read == len(taken)
    assert ring.read + ring.lost + ring.abandoned == transferred
    assert ring.look(transferred) is None


@given(st.sets(st.integers(0, 40)), st.integers(1, 50), st.integers(0, 1000))
def test_gaps_in_the_stamps_are_gaps_in_the_numbers(lost: set[int], count: int, first: int) -> None:
    numbers, found = FrameNumbers(count, first), []
    numbers.loss_was_told = 0 in lost
    came = [stamp for stamp in range(count) if stamp not in lost]
    for index, stamp in enumerate(came):
        assert numbers.exposed(index, stamp) == stamp + 1
        assert numbers.position(index, stamp) == stamp
        found.append(numbers.take(index, stamp))
        assert numbers.exposed(index, stamp) == numbers.reached == stamp + 1
    assert found == [first + stamp for stamp in came]
    assert numbers.odd_stamps == 0


def test_a_camera_whose_count_does_not_begin_at_zero_is_counted_from_its_first() -> None:
    numbers = FrameNumbers(10)
    assert [numbers.take(index, 5000 + stamp) for index, stamp in enumerate([0, 1, 4])] == [0, 1, 4]
    assert numbers.odd_stamps == 1


@pytest.mark.parametrize("first", [1, 7])
def test_a_first_stamp_within_the_series_is_its_beginning_unless_a_loss_was_told(first: int) -> None:
    """A camera that counts from 1, or goes on from the last series: nothing is missing, and the last frame comes."""
    numbers = FrameNumbers(10)
    assert numbers.exposed(0, first) == 1
    assert [numbers.take(index, first + index) for index in range(10)] == list(range(10))
    assert numbers.odd_stamps == 1
    told = FrameNumbers(10)
    told.loss_was_told = True
    assert [told.take(index, first + index) for index in range(10 - first)] == list(range(first, 10))
    assert told.odd_stamps == 0


def test_a_stamp_that_falls_is_not_believed() -> None:
    numbers = FrameNumbers(10)
    assert [numbers.take(index, stamp) for index, stamp in enumerate([0, 1, 2, 0, 1, 2])] == [0, 1, 2, 3, 4, 5]
    assert numbers.odd_stamps == 1


@given(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=30))
def test_numbers_rise_whatever_the_camera_says(stamps: list[int]) -> None:
    numbers = FrameNumbers(30)
    found = [numbers.take(index, stamp) for index, stamp in enumerate(stamps)]
    assert found == sorted(set(found))
