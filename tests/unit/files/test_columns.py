"""What frames carry besides pixels: a column for each number, text for the rest, nothing lost, in any order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxdaq_tango.files import columns
from maxdaq_tango.files.columns import EXTRAS, FrameColumns, FrameTimes, scatter


def group() -> h5py.Group:
    file = h5py.File("memory", "w", driver="core", backing_store=False)
    file.create_group("daq")
    return file


def write(place: h5py.Group, under_test: FrameColumns) -> None:
    """What was noted goes into the datasets, as a backend does it."""
    rows, values = under_test.take()
    for column, fresh in zip(under_test.columns, values, strict=True):
        scatter(place[column.path], rows, fresh)


def stored(frames: dict[int, dict[str, Any]], rows: int, *, write_every: int = 3, **end: Any) -> h5py.Group:
    """The columns of `frames` (row > extras), written in the order of the mapping."""
    place = group()
    under_test = FrameColumns(next(iter(frames.values())))
    under_test.make(place, rows, grows=False)
    for count, (row, extras) in enumerate(frames.items()):
        under_test.note(row, row + 100, FrameTimes(start=row * 0.5), row * 7, extras)
        if count % write_every == 0:
            write(place, under_test)
    write(place, under_test)
    how = {"rows": rows, "first": 100, "rotation": 0, "modulus": rows, **end}
    if how["rotation"]:
        under_test.turn(place, how["rotation"], how["modulus"])
    under_test.settle(place, **how)
    return place


def test_numbers_of_the_first_frame_become_columns() -> None:
    place = stored({0: {"x": 1.5, "n": 7, "name": "a"}, 2: {"x": 2.5, "n": 8, "name": "a"}}, 3)
    assert place[EXTRAS]["n"][[0, 2]].tolist() == [7, 8]
    assert place[EXTRAS]["x"][[0, 2]].tolist() == [1.5, 2.5]
    assert np.isnan(place[EXTRAS]["x"][1])
    assert sorted(place[EXTRAS]) == ["n", "x"]
    assert json.loads(place["daq/frame_texts"][()]) == {"usual": {"name": "a"}}


def test_nested_values_have_the_path_in_their_name() -> None:
    place = stored({0: {"motors": {"omega": 1.0, "deep": {"er": 2}}}}, 1)
    assert place[EXTRAS]["motors_omega"][0] == 1.0
    assert place[EXTRAS]["motors_deep_er"][0] == 2


@pytest.mark.parametrize(
    ("extras", "text"),
    [
        ({"x": "a word"}, {"x": "a word"}),
        ({"x": 1.0, "new": 5}, {"new": 5}),
        ({"x": 2**60}, {"x": 2**60}),
        ({"x": True}, {"x": True}),
        ({"x": [1, 2]}, {"x": [1, 2]}),
        ({"x": {"y": 1}}, {"x/y": 1}),
    ],
)
def test_what_a_later_frame_has_otherwise_is_kept_as_text(extras: dict[str, Any], text: dict[str, Any]) -> None:
    place = stored({0: {"x": 0.0, "of": "all"}, 1: {**extras, "of": "all"}, 2: {"x": 3, "of": "all"}}, 3)
    assert json.loads(place["daq/frame_texts"][()]) == {"usual": {"of": "all"}, "1": {**text, "of": "all"}}
    assert place[EXTRAS]["x"][2] == 3


def test_a_frame_without_what_the_others_have_has_no_value() -> None:
    place = stored({0: {"x": 1.0}, 1: {}, 2: {"x": 2.0}}, 3)
    assert np.isnan(place[EXTRAS]["x"][1])
    assert "frame_texts" not in place["daq"]


def test_a_series_without_extras_has_no_group_for_them() -> None:
    assert EXTRAS not in stored({0: {}, 1: {}}, 2)


def test_names_that_hdf5_cannot_have_are_made_possible_and_never_collide() -> None:
    place = stored({0: {"a/b": 1, "a_b": 2, "": 3, ".": 4, "a\0b": 5}}, 1)
    assert sorted(place[EXTRAS][name][0] for name in place[EXTRAS]) == [1, 2, 3, 4, 5]


def test_columns_and_texts_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "MOST_EXTRAS", 2)
    place = stored({0: {"a": 1, "b": 2, "c": 3}}, 1)
    assert sorted(place[EXTRAS]) == ["a", "b"]
    assert json.loads(place["daq/frame_texts"][()]) == {"usual": {"c": 3}}
    monkeypatch.setattr(columns, "OTHERS_BYTES", 30)
    under_test = FrameColumns({})
    for row in range(10):
        under_test.note(row, row, FrameTimes(), 0, {"text": "x" * row})
    assert under_test.lost_texts > 0


@given(
    order=st.permutations(range(12)),
    came=st.sets(st.integers(0, 11), min_size=1),
    every=st.integers(1, 5),
    rotation=st.integers(0, 11),
)
def test_any_order_and_rotation_gives_every_value_its_row(
    order: list[int], came: set[int], every: int, rotation: int
) -> None:
    rows = [row for row in order if row in came]
    place = stored({row: {"x": row * 1.5} for row in rows}, 12, write_every=every, rotation=rotation)
    for row in range(12):
        turned = (row - rotation) % 12
        assert place["daq/frame_valid"][turned] == (row in came)
        if row in came:
            assert place[EXTRAS]["x"][turned] == row * 1.5
            assert place["start_time"][turned] == row * 0.5
            assert place["daq/chunk_checksum"][turned] == row * 7
    assert place["sequence_number"][...].tolist() == list(range(100, 112))


def test_a_series_that_grows(tmp_path: Path) -> None:
    place = group()
    under_test = FrameColumns({"x": 1})
    under_test.make(place, 4, grows=True)
    for row in range(4):
        under_test.note(row, row, FrameTimes(), row, {"x": row})
    write(place, under_test)
    for column in under_test.columns:
        place[column.path].resize(8, axis=0)
    under_test.note(6, 6, FrameTimes(), 6, {"x": 6})
    write(place, under_test)
    under_test.settle(place, rows=7, first=0, rotation=0, modulus=None)
    assert place[EXTRAS]["x"][[0, 3, 6]].tolist() == [0, 3, 6]
    assert place["daq/frame_valid"][...].tolist() == [1, 1, 1, 1, 0, 0, 1]
