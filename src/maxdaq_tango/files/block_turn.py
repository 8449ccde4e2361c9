"""Rows of a series in blocks into their final order, across its data files; nothing is decoded.

Only for senders that do not count from 0 (see ADR 2), after the last frame, when every file is closed. Chunks are moved
in place, so no more room is needed on the disk than there was. A kill meanwhile costs the frames that had been moved
already: `maxdaq recover` leaves out, by their checksums, all that are not in their place, and never shows a wrong one.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from maxdaq_tango.files.closed_state import keep_state
from maxdaq_tango.files.columns import OTHERS_BYTES, FrameColumns
from maxdaq_tango.files.frame_log import remove_log
from maxdaq_tango.files.frame_texts import Part, joined, read_texts, share, store_texts, turned
from maxdaq_tango.files.layout import stored_rows
from maxdaq_tango.files.rows import chunk_offsets, turn_rows
from maxdaq_tango.files.troubles import LIBRARY_ERRORS, close_anyhow
from maxdaq_tango.files.whereabouts import hdf5_there
from maxdaq_tango.model import FrameFormat

MOST_OPEN = 32
"""Neighbouring rows of a turn lie in two files, or far apart in all of them."""


class BlockFiles:
    """All data files of a series, opened as they are needed. `close` them."""

    def __init__(self, parts: list[Path], detector: str, block_rows: int, mode: str = "r") -> None:
        self.parts, self.block_rows = parts, block_rows
        self._detector, self._mode = detector, mode
        self._open: dict[int, h5py.File] = {}

    def group(self, block: int) -> h5py.Group:
        """The detector group of a block, good until some others were asked for."""
        file = self._open.pop(block, None)
        if file is None:
            if len(self._open) >= MOST_OPEN:
                _close([self._open.pop(next(iter(self._open)))])
            file = self._opened(self.parts[block])
        self._open[block] = file
        return file[f"/entry/instrument/{self._detector}"]

    def _opened(self, part: Path) -> h5py.File:
        libver = ("v108", "v110")  # whatever format a file has, it keeps; never 'latest' for what is new in it
        if self._mode == "r":
            return h5py.File(part, "r", libver=libver, locking=False)
        return hdf5_there(part, self._mode, libver=libver)

    def groups(self) -> Iterator[tuple[int, h5py.Group]]:
        """(first row, group) of each block in turn."""
        for block in range(len(self.parts)):
            yield block * self.block_rows, self.group(block)

    def close(self) -> None:
        """All of them, and then the first error is raised. Harmless twice."""
        files, self._open = self._open, {}
        _close(list(files.values()))

    def text_parts(self) -> Iterator[Part]:
        """What frames carried besides numbers, block by block."""
        for first, group in self.groups():
            yield Part(first, group["daq/frame_valid"][...].astype(bool), read_texts(group))


def _close(files: list[h5py.File]) -> None:
    error: Exception | None = None
    for file in files:
        broken = False
        try:
            if file.mode != "r":
                file.flush()
        except LIBRARY_ERRORS as raised:
            error, broken = error or raised, True
        close_anyhow(file, broken=broken)  # which closes it also where an ordinary close would crash
    if error is not None:
        raise error


class _Rows:
    """`ChunkRows` over files."""

    def __init__(self, files: BlockFiles) -> None:
        self._files = files
        self.count = 0
        stored: set[int] = set()
        for first, group in files.groups():
            self.count = first + group["data"].shape[0]
            stored |= {first + row for row in stored_rows(group["data"])}
        self.stored: Container[int] = stored

    def read(self, row: int, offset: tuple[int, ...]) -> bytes:
        block, inside = divmod(row, self._files.block_rows)
        chunk: bytes = self._files.group(block)["data"].id.read_direct_chunk((inside, *offset))[1]
        return chunk

    def write(self, row: int, offset: tuple[int, ...], chunk: bytes) -> None:
        block, inside = divmod(row, self._files.block_rows)
        self._files.group(block)["data"].id.write_direct_chunk((inside, *offset), chunk, 0)


def turn_blocks(
    files: BlockFiles, format: FrameFormat, columns: FrameColumns, rotation: int, modulus: int | None
) -> None:
    """New row r = old row (r + rotation) mod modulus, pixels, columns and texts. OSError and what else h5py raises."""
    rows = _Rows(files)
    turn_rows(rows, chunk_offsets(format), rotation, modulus)
    texts = turned(joined(files.text_parts(), OTHERS_BYTES)[0], rotation, modulus, rows.count)
    for column in columns.columns:
        values = np.concatenate([group[column.path][...] for _, group in files.groups()])
        _put_back(files, column.path, _turned(values, rotation, modulus, column.empty))
    for first, group in files.groups():
        store_texts(group, share(texts, first, group["data"].shape[0]))
    files.close()


def go_on_from_here(parts: list[Path], dataset: str) -> None:
    """After a turn: what a recovery would go back to is of before it, and its pixels are no longer there. OSError."""
    for part in parts:
        keep_state(part, dataset)
        remove_log(part)


def _turned(
    values: np.ndarray[Any, Any], rotation: int, modulus: int | None, empty: float | int
) -> np.ndarray[Any, Any]:
    if modulus is not None:
        return np.concatenate([np.roll(values[:modulus], -rotation), values[modulus:]])
    return np.concatenate([values[rotation:], np.full(min(rotation, len(values)), empty, values.dtype)])


def _put_back(files: BlockFiles, path: str, values: np.ndarray[Any, Any]) -> None:
    for first, group in files.groups():
        dataset = group[path]
        dataset[...] = values[first : first + len(dataset)]
