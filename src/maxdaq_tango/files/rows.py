"""Rows of pixels after the last frame: into their final order, and blanks where none came. Nothing is decoded."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

from maxdaq_tango.files.layout import stored_rows
from maxdaq_tango.model import FrameFormat


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


def turn_rows(data: h5py.Dataset, offsets: list[tuple[int, ...]], rotation: int, modulus: int | None) -> None:
    """New row r = old row (r + rotation) mod modulus, chunk by chunk and without decoding.

    Only for senders that do not count from 0. Each cycle of the permutation needs one chunk of memory.
    """
    total = data.shape[0]
    written = stored_rows(data)
    for offset in offsets:
        if modulus is None:
            for row in range(rotation, total):
                if row in written:
                    data.id.write_direct_chunk((row - rotation, *offset), _read(data, row, offset), 0)
            continue
        for start in range(int(np.gcd(rotation, modulus))):
            held = _read(data, start, offset) if start in written else None
            row = start
            while True:
                source = (row + rotation) % modulus
                chunk = held if source == start else (_read(data, source, offset) if source in written else None)
                if chunk is not None:
                    data.id.write_direct_chunk((row, *offset), chunk, 0)
                if source == start:
                    break
                row = source


def _read(data: h5py.Dataset, row: int, offset: tuple[int, ...]) -> bytes:
    chunk: bytes = data.id.read_direct_chunk((row, *offset))[1]
    return chunk
