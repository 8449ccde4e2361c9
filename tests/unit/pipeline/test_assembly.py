"""Frames of parts: in any order, with a bounded wait, and never without saying what is not there."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from maxdaq_tango.errors import WireError
from maxdaq_tango.model import DamagedFrame, Encoding, Frame, FrameFormat
from maxdaq_tango.pipeline.assembly import PART_COST, Assembler, Made, modules_told
from module_parts import SHAPE, part, seen, whole

WAIT_S = 1.0


class Bench:
    """An assembler, and all that came out of it."""

    def __init__(self, modules: int, **how: Any) -> None:
        self.frames: list[Frame] = []
        self.problems: list[WireError] = []
        settings = {"wait_s": WAIT_S, "limit_bytes": 1 << 20, "holds": lambda number: number in self.numbers}
        self.assembler = Assembler(modules, **(settings | how))

    @property
    def numbers(self) -> list[int]:
        return [frame.frame_number for frame in self.frames]

    @property
    def missing(self) -> list[int]:
        return [one.count for one in self.assembler.missing]

    @property
    def incomplete(self) -> list[int]:
        return [one.count for one in self.assembler.incomplete]

    def put(self, *parts: Any, now: float = 0.0) -> None:
        for one in parts:
            self.hear(self.assembler.put(one, now))

    def hear(self, made: list[Made]) -> None:
        self.frames += [one for one in made if isinstance(one, Frame)]
        self.problems += [one for one in made if isinstance(one, WireError)]


def test_two_frames_of_three_modules_are_the_same_in_all_720_orders() -> None:
    for order in itertools.permutations([(number, module) for number in range(2) for module in range(3)]):
        made = Bench(3)
        made.put(*(part(number, module) for number, module in order))
        assert sorted(made.numbers) == [0, 1]
        for frame in made.frames:
            np.testing.assert_array_equal(seen(frame), whole(frame.frame_number, 3))
            assert frame.extras == {"modules_valid": 3, "modules_mask": 7}
        assert (len(made.assembler), made.assembler.nbytes, made.assembler.partial.count) == (0, 0, 0)


def test_blobs_are_handed_on_and_not_copied() -> None:
    made = Bench(2)
    parts = [part(0, 1), part(0, 0)]
    made.put(*parts)
    assert made.frames[0].blobs[0] is parts[1].blob
    assert made.frames[0].blobs[1] is parts[0].blob
    assert made.frames[0].format == FrameFormat((2, *SHAPE), "uint16", Encoding.NONE, (1, *SHAPE))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int16", "int32"])
@pytest.mark.parametrize("encoding", [Encoding.NONE, Encoding.BSLZ4, Encoding.LZ4_HDF5])
@pytest.mark.parametrize("without", [(0,), (2,), (0, 1), (1, 2)])
def test_a_module_that_never_comes_is_blank_and_told(encoding: Encoding, dtype: str, without: tuple[int, ...]) -> None:
    made = Bench(3)
    made.put(*(part(5, m, encoding, dtype) for m in range(3) if m not in without))
    made.hear(made.assembler.due(WAIT_S - 0.01))
    assert made.frames == []
    made.hear(made.assembler.due(WAIT_S))
    (frame,) = made.frames
    np.testing.assert_array_equal(seen(frame), whole(5, 3, without, dtype))
    mask = sum(1 << m for m in range(3) if m not in without)
    assert frame.extras == {"modules_valid": 3 - len(without), "modules_mask": mask}
    assert made.assembler.partial.ranges() == ((5, 5),)
    assert made.missing == [int(m in without) for m in range(3)]


def test_floats_of_a_missing_module_are_no_numbers() -> None:
    made = Bench(2)
    made.put(part(0, 1, dtype="float32"))
    made.hear(made.assembler.flush())
    assert np.isnan(seen(made.frames[0])[0]).all()


def test_a_part_that_comes_twice_is_counted_and_the_first_is_kept() -> None:
    made = Bench(2)
    other = part(0, 0, blob=part(9, 0).blob)
    made.put(part(0, 0), other, part(0, 1))
    np.testing.assert_array_equal(seen(made.frames[0]), whole(0, 2))
    assert (made.assembler.duplicates, made.assembler.late) == (1, 0)


def test_a_part_whose_frame_has_gone_out_is_counted_and_makes_no_other_frame() -> None:
    made = Bench(2)
    made.put(part(0, 0))
    made.hear(made.assembler.due(WAIT_S))
    made.put(part(0, 1), part(0, 0), now=WAIT_S)
    made.hear(made.assembler.flush())
    assert (made.numbers, made.assembler.late, len(made.assembler)) == ([0], 2, 0)


def test_a_dead_module_costs_one_wait_and_its_own_pixels() -> None:
    made = Bench(3)
    for number in range(5):
        made.put(part(number, 0), part(number, 2), now=number / 100)
    assert made.frames == []
    made.hear(made.assembler.due(WAIT_S))
    assert made.numbers == [0, 1, 2, 3, 4]
    for number in range(5, 50):  # nobody waits for it any more
        made.put(part(number, 2), part(number, 0), now=2 + number / 100)
        assert made.numbers[-1] == number
    for frame in made.frames:
        np.testing.assert_array_equal(seen(frame), whole(frame.frame_number, 3, (1,)))
    assert made.missing == [0, 50, 0]
    assert made.assembler.partial.ranges() == ((0, 49),)


def test_a_module_that_comes_back_is_waited_for_again() -> None:
    made = Bench(2)
    made.put(part(0, 0))
    made.hear(made.assembler.due(WAIT_S))
    made.put(part(1, 0), now=2.0)
    assert made.numbers == [0, 1]
    made.put(part(2, 1), now=3.0)
    made.put(part(3, 0), now=3.1)
    assert made.numbers == [0, 1]
    made.put(part(3, 1), part(2, 0), now=3.2)
    assert made.numbers == [0, 1, 3, 2]
    assert made.assembler.partial.ranges() == ((0, 1),)


def test_one_lost_part_makes_no_module_silent() -> None:
    made = Bench(2)
    made.put(part(0, 0), now=0.0)
    made.put(part(1, 1), part(1, 0), now=0.5)
    made.put(part(2, 0), now=0.99)
    made.hear(made.assembler.due(WAIT_S))
    assert made.numbers == [1, 0]
    made.put(part(2, 1), now=1.01)
    assert made.numbers == [1, 0, 2]
    assert made.assembler.partial.ranges() == ((0, 0),)


def test_frames_that_wait_are_bounded_in_number() -> None:
    made = Bench(2, most_frames=3)
    made.put(*(part(number, 0) for number in range(4)))
    assert made.numbers[0] == 0
    assert len(made.assembler) <= 3


def test_frames_that_wait_are_bounded_in_bytes_and_one_too_large_passes_alone() -> None:
    size = PART_COST + 30
    made = Bench(4, limit_bytes=3 * size)
    for number in range(6):
        made.put(*(part(number, module) for module in (0, 1)))
        assert made.assembler.nbytes <= max(3 * size, 4 * size)
    small = Bench(4, limit_bytes=1)
    small.put(*(part(0, module) for module in range(4)))
    np.testing.assert_array_equal(seen(small.frames[0]), whole(0, 4))


def test_a_damaged_part_is_told_and_its_module_is_blank() -> None:
    made = Bench(2)
    made.put(part(0, 0, blob=None, trouble="3 bytes"), part(0, 1))
    np.testing.assert_array_equal(seen(made.frames[0]), whole(0, 2, (0,)))
    assert ["module 0 of frame 0" in str(problem) and "3 bytes" in str(problem) for problem in made.problems] == [True]
    assert made.missing == [1, 0]


def test_an_intact_copy_of_a_damaged_part_is_welcome() -> None:
    made = Bench(2)
    made.put(part(0, 0, blob=None, trouble="cut"), part(0, 0), part(0, 1))
    np.testing.assert_array_equal(seen(made.frames[0]), whole(0, 2))
    assert made.assembler.partial.count == 0


def test_a_frame_without_any_intact_module_is_damaged() -> None:
    made = Bench(2)
    made.put(part(4, 0, blob=None, trouble="cut"), part(4, 1, blob=None, trouble="cut"))
    assert made.frames == []
    assert len(made.problems) == 2  # as many as messages
    damaged = made.problems[-1]
    assert isinstance(damaged, DamagedFrame)
    assert (damaged.frame.frame_number, "cut" in str(damaged)) == (4, True)


def test_copies_of_a_damaged_part_are_told_each_and_at_once() -> None:
    made = Bench(2)
    damaged = part(0, 0, blob=None, trouble="cut")
    made.put(damaged, damaged, damaged)
    assert len(made.problems) == 2  # the first waits for its frame
    made.hear(made.assembler.flush())
    assert (len(made.problems), isinstance(made.problems[-1], DamagedFrame)) == (3, True)


@pytest.mark.parametrize("changes", [{"dtype": "uint32"}, {"encoding": Encoding.BSLZ4}])
def test_a_part_of_another_format_is_told_and_not_used(changes: dict[str, Any]) -> None:
    made = Bench(2)
    made.put(part(0, 0), part(0, 1, **changes))
    np.testing.assert_array_equal(seen(made.frames[0]), whole(0, 2, (1,)))
    assert "(3, 5) uint16 none" in str(made.problems[0])


@pytest.mark.parametrize("wrong", [part(0, 2), part(0, 200), part(0, 1, module_count=3)])
def test_a_module_that_the_detector_does_not_have_is_told(wrong: Any) -> None:
    made = Bench(2)
    made.put(wrong)
    assert (len(made.problems), len(made.assembler)) == (1, 0)


def test_lost_packets_leave_the_pixels_and_take_the_module_off_the_list() -> None:
    made = Bench(2)
    made.put(part(0, 0, is_whole=False, packets=60), part(0, 1, packets=64))
    np.testing.assert_array_equal(seen(made.frames[0]), whole(0, 2))
    assert made.frames[0].extras == {"packets_caught": 124, "modules_valid": 1, "modules_mask": 2}
    assert (made.missing, made.incomplete) == ([0, 0], [1, 0])
    assert made.assembler.partial.ranges() == ((0, 0),)


def test_a_packing_in_which_no_blank_can_be_made_costs_the_frame_and_says_so() -> None:
    made = Bench(2)
    made.put(part(0, 0, format=FrameFormat(SHAPE, "uint16", Encoding.CBF), blob=b"x"))
    made.hear(made.assembler.flush())
    assert made.frames == []
    assert "no encoder for cbf" in str(made.problems[0])


def test_what_the_parts_say_is_in_the_frame() -> None:
    made = Bench(2)
    made.put(part(0, 1, extras={"a": 2.0}, discard=True), part(0, 0, extras={"a": 1.0}, exposure_time_s=0.5))
    (frame,) = made.frames
    assert (frame.extras["a"], frame.exposure_time_s, frame.discard) == (1.0, 0.5, True)


def test_of_many_modules_each_column_is_exact_in_a_float64() -> None:
    told = modules_told((1 << 100) - 1 - (1 << 50), 100)
    assert told == {
        "modules_valid": 99,
        "modules_mask": 2**48 - 1,
        "modules_mask_48": 2**48 - 1 - 4,
        "modules_mask_96": 15,
    }
    assert all(int(float(value)) == value for value in told.values())


def test_connections_that_are_too_far_ahead_are_named_until_the_others_have_come_as_far() -> None:
    size = PART_COST + 30
    made = Bench(2, limit_bytes=10 * size)
    made.put(*(part(number, 0) for number in range(5)))
    assert made.assembler.leaders() == frozenset()
    made.put(part(5, 0))
    assert made.assembler.leaders() == {0}
    made.put(*(part(number, 1) for number in range(6)))
    assert (made.assembler.leaders(), made.assembler.partial.count) == (frozenset(), 0)


def test_while_one_connection_is_not_read_no_frame_is_given_up_that_may_wait_for_it() -> None:
    size = PART_COST + 30
    made = Bench(2, limit_bytes=6 * size)
    made.put(*(part(number, 0) for number in range(3)), part(7, 1))
    assert made.assembler.leaders() == {0}
    made.hear(made.assembler.due(WAIT_S))
    assert made.numbers == [0]
