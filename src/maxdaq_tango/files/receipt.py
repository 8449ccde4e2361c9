"""The account inside the file: `/entry/instrument/<detector>/daq/receipt`, JSON text, and `frame_fate` beside it."""

from __future__ import annotations

from pathlib import Path

import h5py
import msgspec
import numpy as np

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.layout import ascii_text
from maxdaq_tango.model import FATE_MEANINGS, Receipt, encoded

FATES = "frame_fate"
Fates = np.ndarray[tuple[int], np.dtype[np.uint8]]
"""A `Fate` for each row."""


def store_account(group: h5py.Group, receipt: Receipt, fates: Fates | None) -> None:
    """Put the receipt into the `daq` group of a detector, and beside it what became of the frame of each row."""
    if fates is not None:
        if FATES in group:
            del group[FATES]
        dataset = group.create_dataset(FATES, data=fates.astype(np.uint8))
        dataset.attrs["meanings"] = ascii_text(FATE_MEANINGS)
    if "receipt" in group:
        del group["receipt"]
    group.create_dataset("receipt", data=encoded(receipt).decode())


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
