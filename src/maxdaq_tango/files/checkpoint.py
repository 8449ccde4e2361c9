"""The side file that makes a direct-I/O file safe against a kill: its metadata as of one moment, whole or not at all.

    .<name>.part              pixels, and the metadata of before the first frame
    .<name>.part.checkpoint   every byte range that HDF5 has written since, the end of the file, a checksum

It is replaced by renaming, so there is always one that is whole. Laid over the `.part` file it makes that readable with
every frame that was written before it.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterable
from pathlib import Path

import xxhash

from maxdaq_tango.errors import FileError

MAGIC = b"maxdaq checkpoint 1\n"
_NUMBER = struct.Struct("<Q")
_EXTENT = struct.Struct("<QQ")


def checkpoint_path(part: Path) -> Path:
    """Beside the unfinished file."""
    return part.with_name(part.name + ".checkpoint")


def write_checkpoint(part: Path, end: int, extents: Iterable[tuple[int, bytes]]) -> None:
    """Replace the side file of `part`; OSError when the disk refuses, and then the one before is still there."""
    path = checkpoint_path(part)
    fresh = path.with_name(path.name + ".new")
    pieces = [MAGIC, _NUMBER.pack(end)]
    for offset, data in extents:
        pieces += (_EXTENT.pack(offset, len(data)), data)
    whole = b"".join(pieces)
    try:
        with fresh.open("wb") as file:
            file.write(whole)
            file.write(_NUMBER.pack(xxhash.xxh3_64_intdigest(whole)))
        os.replace(fresh, path)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise


def read_checkpoint(path: Path) -> tuple[int, list[tuple[int, bytes]]]:
    """End of the file and byte ranges; FileError when it is damaged."""
    whole = path.read_bytes()
    body, digest = whole[: -_NUMBER.size], whole[-_NUMBER.size :]
    if not body.startswith(MAGIC) or _NUMBER.pack(xxhash.xxh3_64_intdigest(body)) != digest:
        raise FileError("read a checkpoint", of=str(path), answer="it is damaged or no checkpoint of ours")
    position = len(MAGIC)
    (end,) = _NUMBER.unpack_from(body, position)
    position += _NUMBER.size
    extents = []
    while position < len(body):
        offset, nbytes = _EXTENT.unpack_from(body, position)
        position += _EXTENT.size
        extents.append((offset, body[position : position + nbytes]))
        position += nbytes
    return end, extents


def apply_checkpoint(part: Path) -> bool:
    """Lay the side file over `part`; False when there is none. May be repeated; the side file stays."""
    path = checkpoint_path(part)
    if not path.exists():
        return False
    end, extents = read_checkpoint(path)
    handle = os.open(part, os.O_RDWR)
    try:
        lay_over(handle, end, extents)
        os.fdatasync(handle)
    finally:
        os.close(handle)
    return True


def lay_over(handle: int, end: int, extents: Iterable[tuple[int, bytes]]) -> None:
    """Write byte ranges into an open file that is `end` bytes long afterwards, or longer where it was."""
    for offset, data in extents:
        written = 0
        while written < len(data):
            written += os.pwrite(handle, data[written:], offset + written)
    if os.fstat(handle).st_size < end:
        os.ftruncate(handle, end)


def remove_checkpoint(part: Path) -> None:
    """When the file itself is whole. Harmless where there is none."""
    with contextlib.suppress(FileNotFoundError):
        checkpoint_path(part).unlink()
