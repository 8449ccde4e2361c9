from __future__ import annotations

import numpy as np
import pytest

from maxdaq_tango.kernels.orientation import orient
from maxdaq_tango.model import Orientation

FRAME = np.array([[1, 2, 3], [4, 5, 6]])


def test_nothing_to_turn_gives_the_same_object() -> None:
    assert orient(FRAME, Orientation()) is FRAME
    assert orient(FRAME, Orientation(rotation=4)) is FRAME


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (Orientation(rotation=1), [[3, 6], [2, 5], [1, 4]]),
        (Orientation(rotation=2), [[6, 5, 4], [3, 2, 1]]),
        (Orientation(rotation=3), [[4, 1], [5, 2], [6, 3]]),
        (Orientation(rotation=-1), [[4, 1], [5, 2], [6, 3]]),
        (Orientation(fliplr=True), [[3, 2, 1], [6, 5, 4]]),
        (Orientation(flipud=True), [[4, 5, 6], [1, 2, 3]]),
        (Orientation(rotation=1, fliplr=True), [[6, 3], [5, 2], [4, 1]]),
        (Orientation(rotation=1, flipud=True), [[1, 4], [2, 5], [3, 6]]),
    ],
)
def test_quarter_turns_come_before_flips(orientation: Orientation, expected: list[list[int]]) -> None:
    turned = orient(FRAME, orientation)
    assert turned.tolist() == expected
    assert turned.flags.c_contiguous


def test_every_plane_of_a_stack_is_turned_by_itself() -> None:
    stack = np.stack([FRAME, FRAME + 10])
    orientation = Orientation(rotation=3, fliplr=True)
    expected = np.stack([orient(FRAME, orientation), orient(FRAME + 10, orientation)])
    np.testing.assert_array_equal(orient(stack, orientation), expected)
