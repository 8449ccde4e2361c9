"""Modules to their places: what readers do, and the compiled way of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxdaq_tango.kernels.stitching import TILE, place_module, place_with_numpy

TYPES = ("uint8", "uint16", "uint32", "int32", "float32", "int64", "float64")


def as_readers_do(
    module: np.ndarray[Any, Any], canvas: np.ndarray[Any, Any], row: int, column: int, turns: int
) -> None:
    turned = np.rot90(module, -(90 * turns) / 90)
    canvas[row : row + turned.shape[0], column : column + turned.shape[1]] = turned


@pytest.mark.parametrize("place", [place_module, place_with_numpy])
@pytest.mark.parametrize("turns", [0, 1, 2, 3, 4, -1])
@pytest.mark.parametrize("dtype", TYPES)
def test_a_module_is_turned_clockwise_and_lies_where_it_should(place: Any, turns: int, dtype: str) -> None:
    module = np.arange(1, 7).reshape(2, 3).astype(dtype)
    canvas, expected = np.zeros((6, 7), dtype), np.zeros((6, 7), dtype)
    place(module, canvas, 1, 2, turns)
    as_readers_do(module, expected, 1, 2, turns % 4)
    np.testing.assert_array_equal(canvas, expected)


def test_one_by_hand() -> None:
    module = np.array([[1, 2, 3], [4, 5, 6]], np.uint16)
    canvas = np.zeros((3, 2), np.uint16)
    place_module(module, canvas, 0, 0, 1)
    assert canvas.tolist() == [[4, 1], [5, 2], [6, 3]]


@given(
    rows=st.integers(1, 2 * TILE + 3),
    columns=st.integers(1, 2 * TILE + 3),
    margins=st.tuples(*[st.integers(0, 5)] * 4),
    turns=st.integers(0, 3),
    dtype=st.sampled_from(TYPES),
    seed=st.integers(0, 1000),
)
def test_the_compiled_way_is_the_way_of_numpy(
    rows: int, columns: int, margins: tuple[int, ...], turns: int, dtype: str, seed: int
) -> None:
    module = np.random.default_rng(seed).integers(0, 255, (rows, columns)).astype(dtype)
    down, right = (columns, rows) if turns % 2 else (rows, columns)
    above, below, before, behind = margins
    one = np.full((above + down + below, before + right + behind), 7, dtype)
    other, third = one.copy(), one.copy()
    place_module(module, one, above, before, turns)
    place_with_numpy(module, other, above, before, turns)
    as_readers_do(module, third, above, before, turns)
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(one, third)


@pytest.mark.parametrize("place", [place_module, place_with_numpy])
@pytest.mark.parametrize(
    ("row", "column", "turns"), [(-1, 0, 0), (0, -1, 0), (3, 0, 0), (0, 3, 0), (2, 0, 1), (0, 4, 1), (1 << 62, 0, 0)]
)
def test_a_module_that_does_not_fit_is_refused_and_nothing_is_written(
    place: Any, row: int, column: int, turns: int
) -> None:
    canvas = np.zeros((4, 5), np.uint8)
    with pytest.raises(ValueError, match="do not fit"):
        place(np.ones((2, 3), np.uint8), canvas, row, column, turns)
    assert not canvas.any()


@pytest.mark.parametrize("place", [place_module, place_with_numpy])
def test_another_type_is_refused(place: Any) -> None:
    with pytest.raises(ValueError, match="uint16"):
        place(np.ones((2, 3), np.uint16), np.zeros((4, 5), np.uint32), 0, 0, 0)


def test_a_module_that_may_not_be_written_to_is_read_all_the_same() -> None:
    module = np.frombuffer(bytes(range(6)), np.uint8).reshape(2, 3)
    canvas = np.zeros((2, 3), np.uint8)
    place_module(module, canvas, 0, 0, 2)
    assert canvas.tolist() == [[5, 4, 3], [2, 1, 0]]
