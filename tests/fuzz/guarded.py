"""Bytes with nothing behind them: C code that reads one byte too far dies of it, instead of reading what lies there."""

from __future__ import annotations

import ctypes
import mmap

PAGE = mmap.PAGESIZE
ROOM = 1 << 20
PLACES = 8
_NOBODY = 0

_regions: list[mmap.mmap] = []


def guarded(blob: bytes | bytearray | memoryview, place: int = 0) -> memoryview:
    """A copy that ends where memory ends; valid until the next one of that place. Large and further ones stay as they
    are."""
    nbytes = memoryview(blob).nbytes
    if nbytes > ROOM or place >= PLACES:
        return memoryview(blob)
    while len(_regions) <= place:
        _regions.append(_region())
    view = memoryview(_regions[place])[ROOM - nbytes : ROOM]
    view[:] = memoryview(blob).cast("B")
    return view.toreadonly()


def _region() -> mmap.mmap:
    region = mmap.mmap(-1, ROOM + PAGE)
    behind = ctypes.addressof(ctypes.c_char.from_buffer(region, ROOM))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(behind), ctypes.c_size_t(PAGE), _NOBODY):
        raise OSError(ctypes.get_errno(), "mprotect")
    return region
