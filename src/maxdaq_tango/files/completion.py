"""A laid-out file, pixels behind it, and the log of both become one ordinary HDF5 file.

The same for the end of a series and for what a killed writer left: whatever has happened to the file since, the layout
is put back, what lies behind the last frame of the log is cut off, and the index of the chunks and the columns are
written anew. So it can be interrupted anywhere, and repeated.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from maxdaq_tango.files.frame_log import LogBlock, LogHeader, read_log
from maxdaq_tango.files.hdf5_format import chunk_index, end_superblock, find_layout, point_to_index
from maxdaq_tango.files.slabs import ALIGNMENT

LIBVER = ("v108", "v108")
"""The most portable format with a checksum on what we change. Never 'latest': HDF5 2 then makes files that neggia and
HDF5 1.10 refuse."""
LARGE_ARRAY = 1 << 16
"""Flat fields and masks from this size on are left out of the layout that is kept: nothing changes them."""


def describe(part: Path, dataset: str, columns: tuple[tuple[str, str], ...]) -> LogHeader:
    """What the log of a laid-out file begins with. OSError; FileError: this layout cannot be completed."""
    nbytes = part.stat().st_size
    with h5py.File(part, "r", locking=False) as file:
        data = file[dataset]
        address, frame, chunk = int(h5py.h5o.get_info(data.id).addr), data.shape[1:], data.chunks[1:]
        holes = _unchanging(file)
    layout = part.read_bytes()
    find_layout(layout, address)  # now, and not when the pixels are there already
    end_superblock(layout, nbytes)
    kept, position = [], 0
    for low, high in [*sorted(holes), (nbytes, nbytes)]:
        kept.append((position, layout[position:low]))
        position = high
    return LogHeader(
        dataset=dataset,
        object_header=address,
        data_start=-(-nbytes // ALIGNMENT) * ALIGNMENT,
        frame=frame,
        chunk=chunk,
        columns=columns,
        layout=tuple((offset, piece) for offset, piece in kept if piece),
    )


def _unchanging(file: h5py.File) -> list[tuple[int, int]]:
    """(first, behind the last) offset of the large arrays."""
    holes: list[tuple[int, int]] = []

    def look(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.chunks is None and item.nbytes >= LARGE_ARRAY:
            offset = item.id.get_offset()
            if offset is not None:
                holes.append((offset, offset + item.nbytes))

    file.visititems(look)
    return holes


def complete(part: Path) -> int:
    """Make `part` whole as far as its log goes; returns the number of frames. OSError, FileError."""
    header, logged = read_log(part)
    blocks = list(logged)
    handle = os.open(part, os.O_RDWR)
    try:
        _put_back(handle, header)
        rows = _join([block.rows for block in blocks], np.dtype(np.int64))
        # Of a row that was written twice the later one counts; and an index is in the order of rows.
        last = len(rows) - 1 - np.unique(rows[::-1], return_index=True)[1]
        if len(rows):
            _add_index(handle, header, blocks, last)
    finally:
        os.close(handle)
    with h5py.File(part, "r+", libver=LIBVER, locking=False) as file:
        data = file[header.dataset]
        highest = int(rows.max()) + 1 if len(rows) else 0
        if highest > data.shape[0]:
            data.resize(highest, axis=0)
        for number, (path, _) in enumerate(header.columns):
            column = data.parent[path]
            if highest > column.shape[0]:
                column.resize(highest, axis=0)
            if len(rows):
                values = column[:highest]
                values[rows[last]] = _join([block.columns[number] for block in blocks], column.dtype)[last]
                column[:highest] = values
    return len(last)


def _put_back(handle: int, header: LogHeader) -> None:
    for offset, data in header.layout:
        _write(handle, offset, data)


def _add_index(handle: int, header: LogHeader, blocks: list[LogBlock], last: npt.NDArray[np.int64]) -> None:
    """Index behind the last chunk, its address into the object header, then the new end into the superblock."""
    rows = _join([block.rows for block in blocks], np.dtype(np.int64))[last]
    offsets = np.concatenate([block.offsets for block in blocks])[last]
    lengths = np.concatenate([block.lengths for block in blocks])[last]
    layout = os.pread(handle, header.data_start, 0)
    place = find_layout(layout, header.object_header)
    rank = 1 + len(header.frame)
    corners = np.array(list(np.ndindex(*header.grid)), np.uint64) * np.array(header.chunk, np.uint64)
    whole = np.empty((len(rows), len(corners), rank), np.uint64)
    whole[:, :, 0] = rows[:, None]
    whole[:, :, 1:] = corners[None]
    end = -(-int((offsets + lengths).max()) // 8) * 8
    os.ftruncate(handle, end)
    root, index = chunk_index(whole.reshape(-1, rank), offsets.ravel(), lengths.ravel(), place.dimensions, end)
    _write(handle, end, index)
    _write(handle, place.block, point_to_index(layout, place, root))
    _write(handle, 0, end_superblock(layout, end + len(index)))


def _join(arrays: Iterable[npt.NDArray[Any]], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    return np.concatenate([np.empty(0, dtype), *arrays]).astype(dtype, copy=False)


def _write(handle: int, offset: int, data: bytes) -> None:
    view = memoryview(data)
    while len(view):
        written = os.pwrite(handle, view, offset)
        view, offset = view[written:], offset + written
