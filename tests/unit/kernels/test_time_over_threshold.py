"""Time over threshold to energy: the compiled loop, its twin, and the file with the table."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maxdaq_tango.errors import FileError
from maxdaq_tango.kernels.time_over_threshold import ARRAY, convert, convert_with_numpy, load_table

INT32 = st.one_of(st.integers(-3, 9), st.integers(-(2**31), 2**31 - 1))


def converted(counts: np.ndarray, table: np.ndarray, how=convert) -> np.ndarray:
    energies = np.full(len(counts), 77, np.float32)
    how(counts, table, energies)
    return energies


def test_each_pixel_has_its_own_row_and_what_it_does_not_hold_has_a_number_of_its_own() -> None:
    table = np.array([[0.5, 1.5], [10, 20], [0, 0], [7, 8], [1, 2]], np.float32)
    counts = np.array([1, 0, -1, 2, -(2**31)], np.int32)
    assert converted(counts, table).tolist() == [1.5, 10, -1, -2, -1]


@settings(deadline=None)  # the first example compiles
@given(st.data())
def test_the_compiled_loop_equals_its_twin(data) -> None:
    pixels, known = data.draw(st.integers(0, 40)), data.draw(st.integers(1, 6))
    floats = st.floats(width=32, allow_nan=True)
    table = data.draw(hnp.arrays(np.float32, (pixels, known), elements=floats))
    counts = data.draw(hnp.arrays(np.int32, pixels, elements=INT32))
    counts.flags.writeable = data.draw(st.booleans())
    np.testing.assert_array_equal(converted(counts, table), converted(counts, table, convert_with_numpy))


@pytest.mark.parametrize("how", [convert, convert_with_numpy])
def test_another_number_of_pixels_is_refused(how) -> None:
    with pytest.raises(ValueError, match="3 counts"):
        converted(np.zeros(3, np.int32), np.zeros((4, 2), np.float32), how)


def test_a_file_is_read_once_and_again_when_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    tensor = np.random.default_rng(1).random((3, 4, 5))
    np.savez(path, **{ARRAY: tensor})
    shape, table = load_table(str(path))
    assert (shape, table.shape, table.dtype) == ((3, 4), (12, 5), np.float32)
    np.testing.assert_array_equal(table, tensor.reshape(12, 5).astype(np.float32))
    assert load_table(str(path))[1] is table
    np.savez(path, **{ARRAY: tensor[:2]})
    assert load_table(str(path))[0] == (2, 4)


@pytest.mark.parametrize(
    "arrays", [{"other": np.zeros((2, 2, 2))}, {ARRAY: np.zeros((2, 2))}, {ARRAY: np.zeros((0, 2, 2))}]
)
def test_a_file_that_holds_something_else_is_refused(tmp_path: Path, arrays) -> None:
    np.savez(tmp_path / "table.npz", **arrays)
    with pytest.raises(FileError, match=ARRAY):
        load_table(str(tmp_path / "table.npz"))


@pytest.mark.parametrize("data", [b"", b"no zip", None])
def test_no_file_and_a_file_that_is_none_are_refused(tmp_path: Path, data) -> None:
    path = tmp_path / "table.npz"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(FileError, match="table of time over threshold"):
        load_table(str(path))


def test_pickled_objects_are_not_unpacked(tmp_path: Path) -> None:
    np.savez(tmp_path / "table.npz", **{ARRAY: np.array([threading.Event], object)})
    with pytest.raises(FileError):
        load_table(str(tmp_path / "table.npz"))
