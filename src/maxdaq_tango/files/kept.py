"""Which frames of a series can be read of what a failed run has left, as it is or after `maxdaq recover`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.closed_state import put_back
from maxdaq_tango.files.columns import NUMBER
from maxdaq_tango.files.frame_log import log_path, read_log
from maxdaq_tango.files.hdf5_format import is_marked
from maxdaq_tango.files.receipt import find_detector
from maxdaq_tango.files.recovery import SUPERBLOCK_NBYTES
from maxdaq_tango.files.troubles import LIBRARY_ERRORS

Numbers = npt.NDArray[np.uint64]
_UNREADABLE = (*LIBRARY_ERRORS, FileError, KeyError)


def kept_numbers(parts: Iterable[Path]) -> Numbers:
    """Frame numbers in the unfinished files, which nobody writes any more. Of one that cannot be read: none.

    A file of backend swmr that was half-changed at its end is put back into its state of before.
    """
    found: list[Numbers] = [np.empty(0, np.uint64)]
    for part in parts:
        with contextlib.suppress(*_UNREADABLE):
            found.append(_of_log(part) if log_path(part).exists() else _of_file(part))
    return np.unique(np.concatenate(found))


def _of_log(part: Path) -> Numbers:
    header, blocks, _ = read_log(part)
    place = [path for path, _ in header.columns].index(NUMBER)
    size = part.stat().st_size
    found = [
        block.columns[place][np.all(block.offsets + block.lengths <= size, axis=1)].astype(np.uint64)
        for block in blocks
    ]
    return np.concatenate([np.empty(0, np.uint64), *found])


def _of_file(part: Path) -> Numbers:
    try:
        return _read(part)
    except _UNREADABLE:
        if not put_back(part):
            raise
        return _read(part)


def _read(part: Path) -> Numbers:
    with part.open("rb") as raw:
        marked = is_marked(raw.read(SUPERBLOCK_NBYTES))
    with h5py.File(part, "r", swmr=marked, locking=False) as file:
        group = find_detector(file)
        numbers: Numbers = group[NUMBER][...][group["daq/frame_valid"][...].astype(bool)]
    return numbers
