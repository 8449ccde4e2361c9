"""A frame made small, compared with the plainest loop over its blocks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxdaq_tango.errors import WireError
from maxdaq_tango.kernels.preview import preview_factor, reduced
from maxdaq_tango.model import PreviewMethod

MAX, MEAN = PreviewMethod.MAX, PreviewMethod.MEAN
TYPES = ("uint8", "uint16", "uint32", "int16", "int32", "float32", "float64")


def block_by_block(picture: np.ndarray[Any, Any], factor: int, method: PreviewMethod) -> np.ndarray[Any, Any]:
    rows, columns = (math.ceil(size / factor) for size in picture.shape)
    result = np.empty((rows, columns))
    top = np.iinfo(picture.dtype).max if picture.dtype.kind in "ui" else None
    for row in range(rows):
        for column in range(columns):
            values = [
                pixel.item()
                for line in picture[row * factor : (row + 1) * factor]
                for pixel in line[column * factor : (column + 1) * factor]
            ]
            if any(value != value for value in values):
                result[row, column] = math.nan
            elif method is MAX or top in values:
                result[row, column] = max(values)
            else:
                result[row, column] = sum(values) / len(values)
    return result


@given(
    st.sampled_from(TYPES),
    st.integers(1, 13),
    st.integers(1, 13),
    st.integers(1, 14),
    st.sampled_from(list(PreviewMethod)),
    st.integers(0, 2**32 - 1),
)
def test_every_size_type_and_factor(
    dtype: str, rows: int, columns: int, factor: int, method: PreviewMethod, seed: int
) -> None:
    random = np.random.default_rng(seed)
    picture = random.integers(0, 100, (rows, columns)).astype(dtype)
    special = np.iinfo(dtype).max if picture.dtype.kind in "ui" else np.nan
    picture[random.random((rows, columns)) < 0.1] = special
    result = reduced(picture, factor, method)
    assert result.dtype == np.float64
    np.testing.assert_array_equal(result, block_by_block(picture, factor, method))


@pytest.mark.parametrize("method", list(PreviewMethod))
@pytest.mark.parametrize("turns", range(4))
def test_a_picture_that_was_turned_is_read_as_it_is(method: PreviewMethod, turns: int) -> None:
    picture = np.rot90(np.arange(70, dtype="uint16").reshape(7, 10), turns)[:, ::-1]
    np.testing.assert_array_equal(reduced(picture, 3, method), block_by_block(picture, 3, method))


@pytest.mark.lesson(37)
def test_one_hot_pixel_among_millions_is_seen_with_its_value() -> None:
    picture = np.zeros((4148, 4362), np.uint32)
    picture[4147, 4361] = 4_000_000_001
    factor = preview_factor(picture.shape, 512)
    result = reduced(picture, factor, MAX)
    assert factor == 9
    assert result.shape == (461, 485)
    assert result[-1, -1] == 4_000_000_001
    assert np.count_nonzero(result) == 1


@pytest.mark.parametrize("method", list(PreviewMethod))
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int16", "int32"])
def test_pixels_without_counts_stay_what_they_are(dtype: str, method: PreviewMethod) -> None:
    top = np.iinfo(dtype).max
    picture = np.full((4, 4), 3, dtype)
    picture[3, 0] = top
    assert reduced(picture, 2, method).tolist() == [[3, 3], [top, 3]]


@pytest.mark.parametrize("method", list(PreviewMethod))
def test_floats_that_are_no_numbers_stay_visible(method: PreviewMethod) -> None:
    picture = np.ones((2, 8), np.float32)
    picture[0, 0], picture[1, 2], picture[0, 4], picture[1, 4] = np.nan, np.inf, np.inf, -np.inf
    result = reduced(picture, 2, method)[0].tolist()
    assert math.isnan(result[0])
    assert result[1] == math.inf
    assert result[2] == math.inf if method is MAX else math.isnan(result[2])
    assert result[3] == 1


def test_frames_of_several_modules_are_stacked() -> None:
    frame = np.arange(2 * 3 * 4, dtype="uint16").reshape(2, 3, 4)
    assert preview_factor(frame.shape, 3) == 2
    np.testing.assert_array_equal(reduced(frame, 2, MAX), block_by_block(frame.reshape(6, 4), 2, MAX))


def test_what_fits_is_shown_pixel_by_pixel_and_is_a_copy() -> None:
    picture = np.arange(6, dtype="uint32").reshape(2, 3)
    result = reduced(picture, 1, MEAN)
    picture[:] = 0
    assert result.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("size", [16, 512, 1024])
@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (17, 16), (1065, 1030), (1, 99_999), (4, 512, 1024), (2000, 1, 3)])
def test_no_side_is_larger_than_was_asked_for(shape: tuple[int, ...], size: int) -> None:
    factor = preview_factor(shape, size)
    sides = (math.prod(shape[:-1]), shape[-1])
    assert math.ceil(max(sides) / factor) <= size
    assert factor == 1 or math.ceil(max(sides) / (factor - 1)) > size


@pytest.mark.parametrize("shape", [(), (5,), (0, 5), (5, 0), (2, 0, 3), (1, 1, 2, 2)])
def test_what_is_no_picture_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(WireError, match="its shape is"):
        preview_factor(shape, 512)
    with pytest.raises(WireError, match="its shape is"):
        reduced(np.zeros(shape, np.uint16), 1, MAX)
