"""Rows of a recovered file as those of any other: in order, numbered, blank where no frame is, with a receipt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import hdf5plugin  # noqa: F401  (registers the filter that packs blank rows)
import numpy as np
import numpy.typing as npt

from maxdaq_tango.files.block_file import HIGH, LOW, PIXELS
from maxdaq_tango.files.columns import EXTRAS, FIXED
from maxdaq_tango.files.completion import Completed
from maxdaq_tango.files.enclosed import enclosed
from maxdaq_tango.files.layout import EXPECTED
from maxdaq_tango.files.receipt import Fates, find_detector, store_account
from maxdaq_tango.files.rows import blank_rows, drop_unturned, turn_aside
from maxdaq_tango.files.troubles import in_order
from maxdaq_tango.model import Fate, Receipt


class Settled(NamedTuple):
    """What the file holds in the end."""

    dataset: str
    frames: int
    blank: int
    """Rows without a frame."""
    first: int | None
    """Frame number of row 0; None: the numbers do not count up with the rows."""
    expected: int | None
    missing: tuple[tuple[int, int], ...]
    missing_count: int
    wrong: tuple[int, ...]
    """Numbers of rows that were left out by the recovery."""
    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    """Of pixel chunks."""
    software: str


def settle(part: Path, completed: Completed, receipt: Callable[[Settled], Receipt]) -> Settled:
    """After `recover_part`, whose repetition undoes all of this. OSError and what else h5py raises."""
    with in_order(enclosed(part, libver=("v108", "v110"))) as file:
        group = find_detector(file)
        data = group["data"]
        left_out = np.array(sorted({*completed.cut_off, *completed.wrong}), np.int64)
        valid: npt.NDArray[np.bool_] = group["daq/frame_valid"][...].astype(bool)
        rotation, modulus = _turn(valid, left_out, group["sequence_number"][...], data)
        if rotation:
            turn_aside(group, rotation, modulus)
            data = group["data"]
            _lead_to(file, data)
            left_out = (left_out - rotation) % len(valid)
            for column in columns_of(group):  # of a growing series nothing but empty rows comes round to the end
                column[...] = np.roll(column[...], -rotation)
            valid = np.roll(valid, -rotation)
        rows = int(np.flatnonzero(valid)[-1]) + 1
        valid = valid[:rows]
        numbers = group["sequence_number"][:rows]
        first = _first(valid, numbers)
        if first is not None:
            numbers[:] = np.arange(first, first + rows, dtype=numbers.dtype)
        give_shape(group, valid, numbers)
        expected = _expected(group)
        wrong = tuple(int(row) + first for row in left_out) if first is not None else ()
        missing = missing_numbers(valid, first, expected, wrong)
        settled = Settled(
            dataset=data.name,
            frames=int(valid.sum()),
            blank=int((~valid).sum()),
            first=first,
            expected=expected,
            missing=missing,
            missing_count=sum(high - low + 1 for low, high in missing),
            wrong=wrong,
            shape=data.shape,
            dtype=str(data.dtype),
            nbytes=data.id.get_storage_size(),
            software=file.attrs["creator"].decode(),
        )
        store_account(group["daq"], receipt(settled), fates_of(valid, left_out))
        file.flush()
        drop_unturned(group)
    return settled


def _lead_to(file: h5py.File, data: h5py.Dataset) -> None:
    """In a data file of a series in blocks the pixels have two names, and both must be those of the turned ones."""
    if isinstance(file.get(PIXELS, getlink=True), h5py.HardLink):
        for name, value in file[PIXELS].attrs.items():
            data.attrs[name] = value
        del file[PIXELS]
        file[PIXELS] = data


def give_shape(group: h5py.Group, valid: npt.NDArray[np.bool_], numbers: npt.NDArray[np.uint64]) -> None:
    """As many rows as there are flags, with these numbers, blank where no frame is."""
    rows, data = len(valid), group["data"]
    data.resize(rows, axis=0)
    if LOW in data.attrs:
        data.attrs[HIGH] = int(data.attrs[LOW]) + rows - 1
    blank_rows(data, corners_of(data), np.flatnonzero(~valid), data.fillvalue)
    for column in columns_of(group):
        values = np.full(rows, column.fillvalue, column.dtype)
        known = column[:rows]
        values[: len(known)] = known
        values[~valid] = column.fillvalue
        column.resize(rows, axis=0)
        column[...] = values
    group["sequence_number"][...] = numbers


def corners_of(data: h5py.Dataset) -> list[tuple[int, ...]]:
    """Of the chunks inside a frame, in C order of the chunk grid."""
    return [
        tuple(int(i) * c for i, c in zip(index, data.chunks[1:], strict=True))
        for index in np.ndindex(*(s // c for s, c in zip(data.shape[1:], data.chunks[1:], strict=True)))
    ]


def fates_of(valid: npt.NDArray[np.bool_], left_out: npt.NDArray[np.int64]) -> Fates:
    """Of each row; `left_out` are those whose pixels were not what had been written."""
    fates = np.where(valid, np.uint8(Fate.WRITTEN), np.uint8(Fate.MISSING))
    fates[left_out[left_out < len(valid)]] = Fate.LOST_WRITER
    return fates


def columns_of(group: h5py.Group) -> list[h5py.Dataset]:
    """All of them, those that frames brought with them last."""
    return [group[column.path] for column in FIXED] + list(group.get(EXTRAS, {}).values())


def _turn(
    valid: npt.NDArray[np.bool_], left_out: npt.NDArray[np.int64], numbers: npt.NDArray[np.uint64], data: h5py.Dataset
) -> tuple[int, int | None]:
    """(rotation, modulus) of rows that the kill has left as they came; by the rules of `pipeline.ledger`."""
    rows = np.flatnonzero(valid)
    if data.maxshape[0] is None:
        return int(min(rows[0], *left_out, rows[0])), None
    if bool((np.diff(numbers[rows].astype(np.int64)) > 0).all()):
        return 0, len(valid)
    return int(rows[np.argmin(numbers[rows])]), len(valid)


def _first(valid: npt.NDArray[np.bool_], numbers: npt.NDArray[np.uint64]) -> int | None:
    rows = np.flatnonzero(valid)
    firsts = np.unique(numbers[rows].astype(np.int64) - rows)
    return int(firsts[0]) if len(firsts) == 1 and firsts[0] >= 0 else None


def _expected(group: h5py.Group) -> int | None:
    count = int(group["daq"].attrs.get(EXPECTED, 0))
    return count or None


def missing_numbers(
    valid: npt.NDArray[np.bool_], first: int | None, expected: int | None, wrong: tuple[int, ...]
) -> tuple[tuple[int, int], ...]:
    """Inclusive ranges of numbers, of the tail too where it is known how many should have come."""
    if first is None:
        return ()
    away = ~valid
    here = [number - first for number in wrong if number - first < len(away)]
    away[here] = False
    edges = np.flatnonzero(np.diff(np.concatenate([[False], away, [False]]).astype(np.int8)))
    ranges = [(int(low) + first, int(high) - 1 + first) for low, high in edges.reshape(-1, 2)]
    low = first + len(valid)
    for number in sorted(number for number in wrong if number >= low):
        if number > low:
            ranges.append((low, number - 1))
        low = number + 1
    if expected is not None and low < first + expected:
        ranges.append((low, first + expected - 1))
    return tuple(ranges)
