"""What is known of the frames of a direct-I/O series, appended to a side file while it runs.

    .<name>.part          the layout, as HDF5 wrote it before the first frame, and behind it nothing but pixels
    .<name>.part.frames   this log: where each frame lies in it and what came with it, block by block

A block is written when the pixels that it speaks of have been, and carries a checksum, so a kill at any instant leaves
whole blocks and perhaps the beginning of one more. Together the two files can be made one ordinary HDF5 file
(`completion.py`), by the writer at the end of the series or by `maxdaq recover` after a kill, as often as one likes:
the log also holds the metadata of the layout as they were, and is never changed by that.
"""

from __future__ import annotations

import contextlib
import math
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import xxhash

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.whereabouts import open_there, read_beside

MAGIC = b"maxdaq frame log 2\n"
_BLOCK = struct.Struct("<QQ")
"""Bytes that follow, their checksum."""
_END = (1 << 64) - 1
"""In the place of the number of frames: what follows is a `LogEnd`."""


class LogHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What a reader must know beforehand."""

    file_id: str
    """Of the HDF5 file that this log belongs to; see `layout.FILE_ID`."""
    file_id_offset: int
    """Where the file has it."""
    dataset: str
    """Path of the pixels in the HDF5 file."""
    object_header: int
    """Offset of its object header."""
    data_start: int
    """Offset of the first pixel."""
    frame: tuple[int, ...]
    """Shape of a frame."""
    chunk: tuple[int, ...]
    """Shape of a chunk of it."""
    columns: tuple[tuple[str, str], ...]
    """(path beside the pixels, numpy type) of each column."""
    layout: tuple[tuple[int, bytes], ...]
    """(offset, bytes) of the metadata before `data_start`."""

    @property
    def grid(self) -> tuple[int, ...]:
        """Chunks along each axis of a frame."""
        return tuple(size // part for size, part in zip(self.frame, self.chunk, strict=True))

    @property
    def chunk_count(self) -> int:
        """Chunks in a frame."""
        return math.prod(self.grid)


class LogBlock(msgspec.Struct, frozen=True):
    """Frames in the order in which they were written; n of them, with c chunks each."""

    rows: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.uint64]
    """(n, c): of the chunks in the file."""
    lengths: npt.NDArray[np.uint32]
    """(n, c): of the chunks as they are stored."""
    columns: list[npt.NDArray[Any]]
    """(n,) each, in the order of the header."""

    def until(self, end: int) -> int:
        """How many of its frames, from the first on, lie before that offset in the file."""
        return int(np.searchsorted(self.offsets[:, -1] + self.lengths[:, -1], end, side="right"))

    def split(self, count: int) -> tuple[LogBlock, LogBlock]:
        """The first `count` frames, and the others."""
        return self._only(slice(count)), self._only(slice(count, None))

    def _only(self, part: slice) -> LogBlock:
        return LogBlock(
            self.rows[part], self.offsets[part], self.lengths[part], [column[part] for column in self.columns]
        )


class LogEnd(msgspec.Struct, frozen=True):
    """How the rows are turned once the last frame is in: new row = (row - rotation) mod modulus."""

    rotation: int
    modulus: int | None
    """None: the series has no known length, and rows before `rotation` hold nothing."""


class Log(NamedTuple):
    """All of a log that is whole."""

    header: LogHeader
    blocks: list[LogBlock]
    end: LogEnd | None
    """None: the writer has not come to its end, or its rows stay as they are."""


def log_path(part: Path) -> Path:
    """Beside the unfinished file."""
    return part.with_name(part.name + ".frames")


class FrameLog:
    """The writing side. Errors are OSError; a block that could not be written whole is none."""

    def __init__(self, part: Path, header: LogHeader | None) -> None:
        """Begins a new log; without `header` it goes on with one that is whole."""
        self.path = log_path(part)
        how = os.O_APPEND if header is None else os.O_CREAT | os.O_EXCL
        self._handle = open_there(self.path, os.O_WRONLY | how, 0o644)
        if header is None:
            return
        try:
            self._append(MAGIC, msgspec.msgpack.encode(header))
        except BaseException:
            self.close()
            raise

    def append(self, block: LogBlock) -> None:
        """One block."""
        arrays: list[npt.NDArray[Any]] = [block.rows, block.offsets, block.lengths, *block.columns]
        self._append(b"", len(block.rows).to_bytes(8, "little") + b"".join(array.tobytes() for array in arrays))

    def append_end(self, end: LogEnd) -> None:
        """The last word; it survives a power cut, because rows that are turned by halves are another series."""
        self._append(b"", _END.to_bytes(8, "little") + msgspec.msgpack.encode(end))
        os.fdatasync(self._handle)

    def close(self) -> None:
        """The file stays. Harmless twice."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def _append(self, before: bytes, payload: bytes) -> None:
        view = memoryview(before + _BLOCK.pack(len(payload), xxhash.xxh3_64_intdigest(payload)) + payload)
        start = os.lseek(self._handle, 0, os.SEEK_END)
        try:
            while len(view):
                view = view[os.write(self._handle, view) :]
        except OSError:
            with contextlib.suppress(OSError):  # half a block would hide all that may follow once there is room again
                os.ftruncate(self._handle, start)
                os.lseek(self._handle, start, os.SEEK_SET)
            raise


def read_log(part: Path) -> Log:
    """The header and the whole blocks; FileError when there is no log beside `part`, or it is damaged at its head."""
    path = log_path(part)
    asked = f"read what was written into {part}"
    try:
        data = read_beside(path)
    except FileNotFoundError:
        raise FileError(
            asked,
            of=str(path),
            answer="there is no such file",
            accepted="a file of backend direct; one of backend swmr is read as it is, with swmr=True",
        ) from None
    payloads = _payloads(data)
    try:
        if not data.startswith(MAGIC):
            raise ValueError("it is no log of ours")
        header = msgspec.msgpack.decode(next(payloads), type=LogHeader)
    except (ValueError, StopIteration, msgspec.DecodeError) as error:
        answer = str(error) or "its beginning is damaged"
        raise FileError(asked, of=str(path), answer=answer, accepted="the log that was written with it") from None
    blocks: list[LogBlock] = []
    end: LogEnd | None = None
    for payload in payloads:
        if int.from_bytes(payload[:8], "little") == _END:
            end = msgspec.msgpack.decode(memoryview(payload)[8:], type=LogEnd)
        else:
            blocks.append(_block(payload, header))
    return Log(header, blocks, end)


def remove_log(part: Path) -> None:
    """When the file itself is whole. Harmless where there is none."""
    with contextlib.suppress(FileNotFoundError):
        log_path(part).unlink()


def _payloads(data: bytes) -> Iterator[bytes]:
    """Until the end, or the first one that is not whole."""
    position = len(MAGIC)
    while position + _BLOCK.size <= len(data):
        nbytes, digest = _BLOCK.unpack_from(data, position)
        position += _BLOCK.size
        payload = data[position : position + nbytes]
        if len(payload) != nbytes or xxhash.xxh3_64_intdigest(payload) != digest:
            return
        yield payload
        position += nbytes


def _block(payload: bytes, header: LogHeader) -> LogBlock:
    count, chunks, position = int.from_bytes(payload[:8], "little"), header.chunk_count, 8

    def taken(dtype: str, items: int) -> npt.NDArray[Any]:
        nonlocal position
        array = np.frombuffer(payload, dtype, items, position)
        position += array.nbytes
        return array

    return LogBlock(
        rows=taken("<i8", count),
        offsets=taken("<u8", count * chunks).reshape(count, chunks),
        lengths=taken("<u4", count * chunks).reshape(count, chunks),
        columns=[taken(dtype, count) for _, dtype in header.columns],
    )
