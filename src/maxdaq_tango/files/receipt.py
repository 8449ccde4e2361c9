"""The account inside the file: `/entry/instrument/<detector>/daq/receipt`, JSON text, and beside it, for those who read
no JSON: `frame_fate` of each row, the attributes of `counters`, and which numbers are not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.layout import ascii_text, make_group
from maxdaq_tango.model import FATE_MEANINGS, Receipt, encoded

FATES = "frame_fate"
COUNTERS = "counters"
LARGEST = (1 << 64) - 1
"""Numbers from a stream may be larger than HDF5 has integers."""
Fates = np.ndarray[tuple[int], np.dtype[np.uint8]]
"""A `Fate` for each row."""


def store_account(group: h5py.Group, receipt: Receipt, fates: Fates | None) -> None:
    """Put the receipt into the `daq` group of a detector, and beside it what became of the frame of each row."""
    if fates is not None:
        _store(group, FATES, fates.astype(np.uint8)).attrs["meanings"] = ascii_text(FATE_MEANINGS)
    if COUNTERS in group:
        del group[COUNTERS]
    counters = make_group(group, COUNTERS, "NXcollection")
    counters.attrs["verdict"] = ascii_text(receipt.verdict.value)
    for name, value in receipt.counts().items():
        counters.attrs[name] = np.uint64(min(value, LARGEST))
    lost = sorted(one for ranges in receipt.frames_lost_at.values() for one in ranges)
    _store(group, "frames_missing_ranges", _pairs(receipt.frames_missing_ranges))
    _store(group, "frames_lost_ranges", _pairs(lost))
    if receipt.modules:
        _store(group, "frames_partial_ranges", _pairs(receipt.frames_partial_ranges))
    _store(group, "frames_late_ranges", _pairs(receipt.frames_late_ranges))
    _store(group, "frames_corrupt_numbers", np.array([min(n, LARGEST) for n in receipt.frames_corrupt_numbers], "u8"))
    _store(group, "receipt", encoded(receipt).decode())


def _store(group: h5py.Group, name: str, data: Any) -> h5py.Dataset:
    if name in group:
        del group[name]
    return group.create_dataset(name, data=data)


def _pairs(ranges: Sequence[tuple[int, int]]) -> np.ndarray[Any, Any]:
    return np.array([[min(low, LARGEST), min(high, LARGEST)] for low, high in ranges], "u8").reshape(-1, 2)


def find_detector(file: h5py.File) -> h5py.Group:
    """The detector group that holds a `daq` group; FileError when the file is not one of ours."""
    instrument = file.get("entry/instrument")
    if isinstance(instrument, h5py.Group):
        for group in instrument.values():
            if isinstance(group, h5py.Group) and "daq" in group:
                return group
    raise FileError(
        "find the account of the run",
        of=str(file.filename),
        answer="no /entry/instrument/<detector>/daq group",
        accepted="a file written by this software",
    )


def read_receipt(path: Path | str) -> Receipt:
    """The receipt of a finished file; FileError when it cannot be opened or holds none."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            return receipt_of(file)
    except OSError as error:
        raise FileError("open the file", of=str(path), answer=str(error), accepted="a finished HDF5 file") from error


def receipt_of(file: h5py.File) -> Receipt:
    """The receipt of an open file."""
    daq = find_detector(file)["daq"]
    if "receipt" not in daq:
        raise FileError(
            "read the receipt", of=str(file.filename), answer="the file has none: it was never finished",
            accepted="a finished file",
        )  # fmt: skip
    try:
        return msgspec.json.decode(daq["receipt"][()], type=Receipt)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise FileError("read the receipt", of=str(file.filename), answer=str(error)) from error
