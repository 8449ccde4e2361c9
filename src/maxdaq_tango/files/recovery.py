"""After a kill: the unfinished file becomes one that can be read, with every frame that was safe, and no wrong one.

One of backend direct is put together from its log (`completion.py`). One of backend swmr is whole already, but for the
marks of a writer that never closed it; or HDF5 was just changing it, and its state of before is put back
(`closed_state.py`). What lies beside the file stays there, so that all of it may be interrupted and repeated.
"""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import xxhash

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.closed_state import keep_state, put_back
from maxdaq_tango.files.columns import CHECKSUM, NUMBER
from maxdaq_tango.files.completion import Completed, complete
from maxdaq_tango.files.enclosed import enclosed, refuse_led_elsewhere
from maxdaq_tango.files.frame_log import log_path
from maxdaq_tango.files.hdf5_format import closed_superblock, is_marked, was_never_laid_out
from maxdaq_tango.files.receipt import find_detector
from maxdaq_tango.files.stored_chunks import StoredChunks
from maxdaq_tango.files.troubles import in_order

SUPERBLOCK_NBYTES = 48


def recover_part(part: Path) -> Completed:
    """Make `part` a whole HDF5 file of all frames whose pixels are what was written. May be repeated.

    Nothing is deleted or renamed. Nobody must be writing it: `recovered.recover_file` sees to that. FileError when
    there is nothing to do it with, or the result cannot be read.
    """
    asked = f"recover {part}"
    if not part.is_file():
        raise FileError(asked, answer="there is no such file", accepted="the .part file of a run that was killed")
    with_log = False
    try:
        with_log = log_path(part).exists()
        if with_log:
            return complete(part, verify=True)
        return _recover_closed(part)
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise FileError(
            asked,
            of=str(part),
            answer=str(error) if with_log else f"{error}; and there is no {log_path(part).name} beside it",
            accepted="an unfinished file of ours, with all that lies beside it",
        ) from error


def _recover_closed(part: Path) -> Completed:
    """Without a log: HDF5 itself has written it."""
    kept = put_back(part)
    with part.open("rb") as raw:
        beginning = raw.read(SUPERBLOCK_NBYTES)
    if not kept and was_never_laid_out(beginning, part.stat().st_size):
        return Completed(0)
    marked = is_marked(beginning)
    with h5py.File(part, "r", swmr=marked, locking=False) as file:
        if not len(file):
            return Completed(0)
        refuse_led_elsewhere(file, part, joined=True)
        group = find_detector(file)
        dataset = f"{group.name}/data"
        if "data" not in group or group["data"].is_virtual:
            return Completed(0)
    if not kept:
        keep_state(part, dataset, swmr=marked)
    if marked:
        _take_marks_off(part)
    with in_order(enclosed(part, libver=("v108", "v110"))) as file:
        return _leave_out_wrong(file[dataset])


def _take_marks_off(part: Path) -> None:
    """SWMR's order of writes makes what is on the disk a file at any time; only its first bytes say otherwise."""
    handle = os.open(part, os.O_RDWR | os.O_NOFOLLOW)
    try:
        superblock = closed_superblock(os.pread(handle, SUPERBLOCK_NBYTES, 0), os.fstat(handle).st_size)
        os.pwrite(handle, superblock, 0)
        os.fdatasync(handle)
    finally:
        os.close(handle)


def _leave_out_wrong(data: h5py.Dataset) -> Completed:
    """A row without its pixels is one without a frame, whatever its flag says."""
    flags = data.parent["daq/frame_valid"]
    valid = flags[...].astype(bool)
    checksums = data.parent[CHECKSUM][...]
    lost: list[int] = []
    wrong: list[int] = []
    with StoredChunks(data) as chunks:
        for row in map(int, np.flatnonzero(valid)):
            if not chunks.has(row):
                lost.append(row)
                continue
            hasher = xxhash.xxh3_64()
            try:
                for chunk in chunks.read(row):
                    hasher.update(chunk)
            except OSError:  # one chunk of several, or it lies behind the end of the file
                lost.append(row)
                continue
            if hasher.intdigest() != int(checksums[row]):
                wrong.append(row)
    if lost or wrong:
        valid[lost + wrong] = False
        flags[...] = valid
    numbers = data.parent[NUMBER][...]
    left_out = tuple((row, int(numbers[row])) for row in lost + wrong)
    return Completed(int(valid.sum()), tuple(lost), tuple(wrong), left_out)
