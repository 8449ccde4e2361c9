"""All of a closed file that is no pixels, kept beside it while HDF5 changes it.

    .<name>.part          whole: HDF5 has closed it, or a killed writer has flushed it
    .<name>.part.state    what to put back when whoever finishes it is killed

For files of backend swmr: one of backend direct has its log. HDF5 changes metadata and columns where they lie, and a
file that is half-changed cannot be read. Pixels are not touched by what is done at the end (`rows.turn_aside`), so the
way back is to put the rest where it was and to cut off what came behind: about 100 bytes a frame. The state appears
under its name when it is whole and on the disk.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import h5py
import msgspec
import xxhash

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.layout import FILE_ID, large_arrays
from maxdaq_tango.files.paths import sync_directory
from maxdaq_tango.files.whereabouts import read_beside

MAGIC = b"maxdaq closed state 1\n"


class ClosedState(msgspec.Struct, frozen=True, kw_only=True):
    """Of one file."""

    file_id: str
    """See `layout.FILE_ID`."""
    file_id_offset: int
    """Where the file has it."""
    nbytes: int
    """Of the file."""
    pieces: tuple[tuple[int, bytes], ...]
    """(offset, bytes) of all that lies between the pixels."""


def state_path(part: Path) -> Path:
    """Beside the unfinished file."""
    return part.with_name(part.name + ".state")


def keep_state(part: Path, dataset: str, *, swmr: bool = False) -> None:
    """Write the state of a file that nobody has open; `swmr`: it bears the marks of a killed writer. OSError."""
    with h5py.File(part, "r", swmr=swmr, locking=False) as file:
        file_id: bytes = file.attrs[FILE_ID]
        unchanging = large_arrays(file) + _pixels(file, dataset)
    pieces: list[tuple[int, bytes]] = []
    handle = os.open(part, os.O_RDONLY)
    try:
        nbytes, position = os.fstat(handle).st_size, 0
        for low, high in [*sorted(unchanging), (nbytes, nbytes)]:
            if low > position:
                pieces.append((position, _read(handle, position, low - position)))
            position = max(position, high)
    finally:
        os.close(handle)
    offset = next(start + piece.index(file_id) for start, piece in pieces if file_id in piece)
    state = ClosedState(file_id=file_id.decode(), file_id_offset=offset, nbytes=nbytes, pieces=tuple(pieces))
    payload = msgspec.msgpack.encode(state)
    path = state_path(part)
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)  # of somebody who was killed; or a link, which must not be followed
    with open(fresh, "xb") as out:
        out.write(MAGIC + xxhash.xxh3_64_digest(payload) + payload)
        out.flush()
        os.fdatasync(out.fileno())
    os.replace(fresh, path)
    sync_directory(path.parent)


def put_back(part: Path) -> bool:
    """The file is again as it was when its state was kept; False: there is none. OSError, FileError."""
    path = state_path(part)
    try:
        data = read_beside(path)
    except FileNotFoundError:
        return False
    state = _decode(data, part)
    handle = os.open(part, os.O_RDWR | os.O_NOFOLLOW)
    try:
        if os.pread(handle, len(state.file_id), state.file_id_offset) != state.file_id.encode():
            raise _refused(part, f"it belongs to another file, of id {state.file_id}")
        if os.fstat(handle).st_size < state.nbytes:
            raise _refused(part, f"the file is shorter than the {state.nbytes} bytes that it had")
        for offset, piece in state.pieces:
            view = memoryview(piece)
            while len(view):
                written = os.pwrite(handle, view, offset)
                view, offset = view[written:], offset + written
        os.ftruncate(handle, state.nbytes)
    finally:
        os.close(handle)
    return True


def remove_state(part: Path) -> None:
    """Harmless where there is none."""
    path = state_path(part)
    for one in (path, path.with_name(path.name + ".new")):
        with contextlib.suppress(FileNotFoundError):
            one.unlink()


def _pixels(file: h5py.File, dataset: str) -> list[tuple[int, int]]:
    """(first, behind the last) offset of each chunk."""
    places: list[tuple[int, int]] = []

    def look(info: Any) -> None:
        places.append((info.byte_offset, info.byte_offset + info.size))

    if dataset in file:
        file[dataset].id.chunk_iter(look)
    return places


def _decode(data: bytes, part: Path) -> ClosedState:
    start = len(MAGIC) + 8
    payload = memoryview(data)[start:]
    if not data.startswith(MAGIC) or data[len(MAGIC) : start] != xxhash.xxh3_64_digest(payload):
        raise _refused(part, "it is damaged, or no state of ours")
    return msgspec.msgpack.decode(payload, type=ClosedState)


def _read(handle: int, offset: int, nbytes: int) -> bytes:
    pieces = []
    while nbytes and (piece := os.pread(handle, nbytes, offset)):
        pieces.append(piece)
        offset, nbytes = offset + len(piece), nbytes - len(piece)
    return b"".join(pieces)


def _refused(part: Path, answer: str) -> FileError:
    return FileError(
        f"put back the metadata of {part}",
        of=str(state_path(part)),
        answer=answer,
        accepted="the state that was kept of this file",
    )
