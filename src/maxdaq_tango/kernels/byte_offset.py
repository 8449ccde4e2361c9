"""Pixels as differences: the byte-offset packing of CBF files, which Pilatus detectors write.

Source: the imgCIF dictionary, `x-CBF_BYTE_OFFSET`, and CBFlib's manual, section 3.3.3. Each pixel is the difference to
the one before it, the first to 0, in as few bytes as it takes; all numbers are signed and little-endian:

    1 byte                                  -127 .. 127
    80, then 2 bytes                        -32767 .. 32767
    80 00 80, then 4 bytes                  -2147483647 .. 2147483647
    80 00 80 00 00 00 80, then 8 bytes      any other

Where a pixel begins is known only from the one before, so numpy cannot help. The loop is compiled by numba when it is
first needed (half a second) and releases the GIL; `unpack_in_python` is its twin, and what it is compared with.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

TOO_SHORT, OUT_OF_RANGE = -1, -2
"""Instead of a length: the data end before the last pixel; a pixel is no 32-bit number."""
LOWEST, HIGHEST = -(1 << 31), (1 << 31) - 1


def unpack_byte_offset(data: npt.NDArray[np.uint8], pixels: npt.NDArray[np.int32]) -> int:
    """Fill `pixels`, which has one dimension; the bytes of `data` that they took, or TOO_SHORT or OUT_OF_RANGE."""
    return _compiled()(data, pixels)


def unpack_in_python(data: npt.NDArray[np.uint8], pixels: npt.NDArray[np.int32]) -> int:
    """`unpack_byte_offset`, 200 times slower."""
    view, at, value = data.tobytes(), 0, 0
    for number in range(len(pixels)):
        for nbytes in (1, 2, 4, 8):
            piece = view[at : at + nbytes]
            if len(piece) < nbytes:
                return TOO_SHORT
            at += nbytes
            difference = int.from_bytes(piece, "little", signed=True)
            if nbytes == 8 or difference != -(1 << (8 * nbytes - 1)):
                break
        value += difference
        if not LOWEST <= value <= HIGHEST:
            return OUT_OF_RANGE
        pixels[number] = value
    return at


def pack_byte_offset(pixels: npt.NDArray[np.int32]) -> bytes:
    """The other way round, for simulators and tests: whole arrays at a time."""
    flat = pixels.reshape(-1).astype(np.int64)
    differences = np.diff(flat, prepend=np.int64(0))
    width = np.full(len(flat), 1)
    for nbytes, most in ((3, 0x7F), (7, 0x7FFF), (15, 0x7FFFFFFF)):
        width[np.abs(differences) > most] = nbytes
    ends = np.cumsum(width)
    packed = np.zeros(int(ends[-1]) if len(ends) else 0, np.uint8)
    starts = ends - width
    packed[starts] = differences.astype(np.uint8)  # nearly all take one byte; the others are written over
    for nbytes, escape, size in ((3, b"\x80", 2), (7, b"\x80\x00\x80", 4), (15, _LONGEST, 8)):
        chosen = np.flatnonzero(width == nbytes)
        piece = np.frombuffer(escape, np.uint8)
        numbers = differences[chosen].astype(f"<i{size}").view(np.uint8).reshape(len(chosen), size)
        rows = np.concatenate([np.broadcast_to(piece, (len(chosen), len(piece))), numbers], axis=1)
        packed[starts[chosen][:, None] + np.arange(nbytes)] = rows
    return packed.tobytes()


_LONGEST = b"\x80\x00\x80\x00\x00\x00\x80"


@cache
def _compiled() -> Callable[[npt.NDArray[np.uint8], npt.NDArray[np.int32]], int]:
    import numba

    arrays = [numba.types.Array(numba.uint8, 1, "C", readonly=readonly) for readonly in (False, True)]
    signatures = [numba.int64(array, numba.int32[::1]) for array in arrays]
    compiled: Any = numba.njit(signatures, nogil=True)(_unpack)
    return compiled  # type: ignore[no-any-return]


def _unpack(data: Any, pixels: Any) -> Any:
    """To be compiled: outside of numba the bytes would wrap around. 64 bits hold every sum but those of the last form,
    whose difference alone is out of range already if it does not fit 33.
    """
    size, at = data.size, 0
    value: Any = np.int64(0)
    for number in range(pixels.size):
        if at >= size:
            return TOO_SHORT
        first: Any = np.int64(data[at])
        at += 1
        difference: Any = first - ((first & 0x80) << 1)
        nbytes = 1
        # The lowest number of each length says that a longer one follows.
        while difference == -(np.int64(1) << (8 * nbytes - 1)) and nbytes < 8:
            nbytes *= 2
            if at + nbytes > size:
                return TOO_SHORT
            difference = np.int64(0)
            for place in range(nbytes):
                difference |= np.int64(data[at + place]) << (8 * place)
            if nbytes < 8:
                difference -= (difference >> (8 * nbytes - 1)) << (8 * nbytes)
            at += nbytes
        if difference < 2 * LOWEST or difference > 2 * HIGHEST + 1:
            return OUT_OF_RANGE
        value += difference
        if value < LOWEST or value > HIGHEST:
            return OUT_OF_RANGE
        pixels[number] = value
    return at
