"""A laid-out file, pixels behind it, and the log of both become one ordinary HDF5 file.

The same for the end of a series and for what a killed writer left: whatever has happened to the file since, the layout
is put back, what lies behind the last frame of the log is cut off, and the index of the chunks and the columns are
written anew. So it can be interrupted anywhere, and repeated.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt
import xxhash

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.columns import CHECKSUM, NUMBER
from maxdaq_tango.files.enclosed import enclosed
from maxdaq_tango.files.frame_log import LogBlock, LogEnd, LogHeader, log_path, read_log
from maxdaq_tango.files.hdf5_format import chunk_index, end_superblock, find_layout, point_to_index
from maxdaq_tango.files.layout import FILE_ID, large_arrays
from maxdaq_tango.files.slabs import ALIGNMENT
from maxdaq_tango.files.troubles import in_order
from maxdaq_tango.files.whereabouts import hdf5_there

LIBVER = ("v108", "v108")
"""The most portable format with a checksum on what we change. Never 'latest': HDF5 2 then makes files that neggia and
HDF5 1.10 refuse."""


def describe(part: Path, dataset: str, columns: tuple[tuple[str, str], ...]) -> LogHeader:
    """What the log of a laid-out file begins with. OSError; FileError: this layout cannot be completed."""
    nbytes = part.stat().st_size
    with h5py.File(part, "r", locking=False) as file:
        data = file[dataset]
        address, frame, chunk = int(h5py.h5o.get_info(data.id).addr), data.shape[1:], data.chunks[1:]
        holes = large_arrays(file)
        file_id: bytes = file.attrs[FILE_ID]
    layout = part.read_bytes()
    find_layout(layout, address)  # now, and not when the pixels are there already
    end_superblock(layout, nbytes)
    kept, position = [], 0
    for low, high in [*sorted(holes), (nbytes, nbytes)]:
        kept.append((position, layout[position:low]))
        position = high
    return LogHeader(
        file_id=file_id.decode(),
        file_id_offset=layout.index(file_id),
        dataset=dataset,
        object_header=address,
        data_start=-(-nbytes // ALIGNMENT) * ALIGNMENT,
        frame=frame,
        chunk=chunk,
        columns=columns,
        layout=tuple((offset, piece) for offset, piece in kept if piece),
    )


class Completed(NamedTuple):
    """What came of it. Rows are those of the finished file."""

    frames: int
    """That can be read."""
    cut_off: tuple[int, ...] = ()
    """Rows whose pixels lie behind the end of the file, and are left out."""
    wrong: tuple[int, ...] = ()
    """Rows whose pixels are not those of their checksum, and are left out; empty where nobody looked."""
    numbers: tuple[tuple[int, int], ...] = ()
    """(row, frame number) of all that are left out."""


class _Frames(NamedTuple):
    """One entry a row, in the order of rows."""

    rows: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.uint64]
    lengths: npt.NDArray[np.uint32]
    columns: list[npt.NDArray[Any]]

    def only(self, kept: npt.NDArray[Any]) -> _Frames:
        """Those of them."""
        return _Frames(
            self.rows[kept], self.offsets[kept], self.lengths[kept], [column[kept] for column in self.columns]
        )


def complete(part: Path, *, verify: bool = False) -> Completed:
    """Make `part` whole as far as its log goes, with its rows in their final order. OSError, FileError.

    `verify`: read all pixels and leave out those that are not what was written.
    """
    header, blocks, end = read_log(part)
    handle = os.open(part, os.O_RDWR | os.O_NOFOLLOW)
    try:
        _refuse_another(handle, part, header)
        size = os.fstat(handle).st_size
        frames = _latest(header, blocks, end)
        inside = np.all(frames.offsets + frames.lengths <= size, axis=1)
        cut_off, away, frames = frames.rows[~inside], frames.only(~inside), frames.only(inside)
        right = _compare(handle, header, frames) if verify else np.ones(len(frames.rows), np.bool_)
        wrong, bad, frames = frames.rows[~right], frames.only(~right), frames.only(right)
        _put_back(handle, header)
        if len(frames.rows):
            _add_index(handle, header, frames)
    finally:
        os.close(handle)
    with in_order((enclosed if verify else hdf5_there)(part, "r+", libver=LIBVER)) as file:
        data = file[header.dataset]
        highest = int(frames.rows[-1]) + 1 if len(frames.rows) else 0
        if highest > data.shape[0]:
            data.resize(highest, axis=0)
        for (path, _), fresh in zip(header.columns, frames.columns, strict=True):
            column = data.parent[path]
            if highest > column.shape[0]:
                column.resize(highest, axis=0)
            if highest:
                values = column[:highest]
                values[frames.rows] = fresh
                column[:highest] = values
    numbers = (*_numbers(header, away), *_numbers(header, bad))
    return Completed(len(frames.rows), tuple(map(int, cut_off)), tuple(map(int, wrong)), numbers)


def _refuse_another(handle: int, part: Path, header: LogHeader) -> None:
    """FileError when the log is not that of this file: then nothing has been changed."""
    found = os.pread(handle, len(header.file_id), header.file_id_offset)
    if found != header.file_id.encode():
        raise FileError(
            f"put together {part} and what was written into it",
            of=str(log_path(part)),
            answer=f"it belongs to another file, of id {header.file_id}",
            accepted="the log that was written with it",
        )


def _latest(header: LogHeader, blocks: list[LogBlock], end: LogEnd | None) -> _Frames:
    """Of a row that was written twice the later frame counts; then the rows are turned, as an index can be."""
    rows = _join([block.rows for block in blocks], np.dtype(np.int64))
    last = len(rows) - 1 - np.unique(rows[::-1], return_index=True)[1]
    rows = rows[last]
    if end is not None:
        rows = rows - end.rotation
        if end.modulus:
            rows %= end.modulus
        last, rows = last[rows >= 0], rows[rows >= 0]
        order = np.argsort(rows, kind="stable")
        last, rows = last[order], rows[order]
    none = (0, header.chunk_count)
    return _Frames(
        rows,
        np.concatenate([np.empty(none, "u8"), *(block.offsets for block in blocks)])[last],
        np.concatenate([np.empty(none, "u4"), *(block.lengths for block in blocks)])[last],
        [
            _join([block.columns[number] for block in blocks], np.dtype(dtype))[last]
            for number, (_, dtype) in enumerate(header.columns)
        ],
    )


def _numbers(header: LogHeader, frames: _Frames) -> Iterator[tuple[int, int]]:
    paths = [path for path, _ in header.columns]
    if NUMBER in paths:
        yield from zip(frames.rows.tolist(), frames.columns[paths.index(NUMBER)].tolist(), strict=True)


def _compare(handle: int, header: LogHeader, frames: _Frames) -> npt.NDArray[np.bool_]:
    """Which frames have the pixels that they were written with."""
    paths = [path for path, _ in header.columns]
    right = np.ones(len(frames.rows), np.bool_)
    if CHECKSUM not in paths:
        return right
    checksums = frames.columns[paths.index(CHECKSUM)]
    for number, (offsets, lengths) in enumerate(zip(frames.offsets, frames.lengths, strict=True)):
        hasher = xxhash.xxh3_64()
        for offset, length in zip(offsets.tolist(), lengths.tolist(), strict=True):
            hasher.update(os.pread(handle, length, offset))
        right[number] = hasher.intdigest() == int(checksums[number])
    return right


def _put_back(handle: int, header: LogHeader) -> None:
    for offset, data in header.layout:
        _write(handle, offset, data)


def _add_index(handle: int, header: LogHeader, frames: _Frames) -> None:
    """Index behind the last chunk, its address into the object header, then the new end into the superblock."""
    rows, offsets, lengths = frames.rows, frames.offsets, frames.lengths
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
