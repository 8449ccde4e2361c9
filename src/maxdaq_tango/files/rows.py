"""Rows of pixels after the last frame: into their final order, and blanks where none came. Nothing is decoded."""

from __future__ import annotations

from collections.abc import Container
from typing import Any, Protocol

import h5py
import numpy as np

from maxdaq_tango.files.filters import made_like
from maxdaq_tango.model import FrameFormat

UNTURNED = "daq/unturned"
"""The pixels of a series that was turned, until its file is finished."""


def chunk_offsets(format: FrameFormat) -> list[tuple[int, ...]]:
    """Corner of each chunk inside a frame, in C order of the chunk grid."""
    counts = [size // chunk for size, chunk in zip(format.shape, format.chunk, strict=True)]
    return [tuple(i * c for i, c in zip(index, format.chunk, strict=True)) for index in np.ndindex(*counts)]


def blank_rows(
    data: h5py.Dataset, offsets: list[tuple[int, ...]], rows: np.ndarray[Any, Any], fill: float | int
) -> int:
    """Fill rows that have no frame; returns the bytes that took.

    The first one goes through HDF5's own filter, which packs it like every other chunk; the others copy it.
    """
    if not len(rows):
        return 0
    first = int(rows[0])
    data[first] = fill
    data.flush()
    chunks = [_read(data, first, offset) for offset in offsets]
    for row in rows[1:]:
        for offset, chunk in zip(offsets, chunks, strict=True):
            data.id.write_direct_chunk((int(row), *offset), chunk, 0)
    return len(rows) * sum(len(chunk) for chunk in chunks)


class ChunkRows(Protocol):
    """Rows of packed pixels, wherever they lie. `offset` is the corner of a chunk inside a frame."""

    count: int
    """Rows that there are."""
    stored: Container[int]
    """Those of them that hold something."""

    def read(self, row: int, offset: tuple[int, ...]) -> bytes:
        """The chunk of a stored row, packed."""
        ...

    def write(self, row: int, offset: tuple[int, ...], chunk: bytes) -> None:
        """Put a chunk in the place of what is there."""
        ...


def turn_aside(group: h5py.Group, rotation: int, modulus: int | None) -> None:
    """Put a copy of `data`, its rows turned as by `turn_rows`, in its place; what was there is kept as UNTURNED.

    No chunk is overwritten, and none is given free that something else could be written over: whoever knows the old
    metadata of the file can go back.
    """
    group.move("data", UNTURNED)
    old = group[UNTURNED]
    new = h5py.h5d.create(group.id, b"data", old.id.get_type(), old.id.get_space(), dcpl=made_like(old))
    corners: list[tuple[int, ...]] = []
    old.id.chunk_iter(lambda info: corners.append(info.chunk_offset))
    for row, *corner in corners:
        turned = (row - rotation) % modulus if modulus else row - rotation
        if turned >= 0:
            new.write_direct_chunk((turned, *corner), _read(old, row, tuple(corner)), 0)


def drop_unturned(group: h5py.Group) -> None:
    """The last that is done to a file: nothing must be written into the room that this gives free."""
    if UNTURNED in group:
        del group[UNTURNED]


def turn_rows(rows: ChunkRows, offsets: list[tuple[int, ...]], rotation: int, modulus: int | None) -> None:
    """New row r = old row (r + rotation) mod modulus, chunk by chunk and without decoding.

    In place, for the data files of a series in blocks whose sender does not count from 0. Each cycle of the permutation
    needs one chunk of memory. A kill in the midst of it costs frames: a recovery finds by their checksums which.
    """
    stored = rows.stored
    for offset in offsets:
        if modulus is None:
            for row in range(rotation, rows.count):
                if row in stored:
                    rows.write(row - rotation, offset, rows.read(row, offset))
            continue
        for start in range(int(np.gcd(rotation, modulus))):
            held = rows.read(start, offset) if start in stored else None
            row = start
            while True:
                source = (row + rotation) % modulus
                chunk = held if source == start else (rows.read(source, offset) if source in stored else None)
                if chunk is not None:
                    rows.write(row, offset, chunk)
                if source == start:
                    break
                row = source


def _read(data: h5py.Dataset, row: int, offset: tuple[int, ...]) -> bytes:
    chunk: bytes = data.id.read_direct_chunk((row, *offset))[1]
    return chunk
