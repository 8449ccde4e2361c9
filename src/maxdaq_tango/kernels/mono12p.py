"""Two 12-bit pixels in three bytes: Mono12p of cameras, the lower bits first.

Source: EMVA GenICam Pixel Format Naming Convention 2.1, and DCAM's DCAM_PIXELTYPE_MONO12P.

    byte 0    P0, bits 0-7
    byte 1    P0, bits 8-11 below, P1, bits 0-3 above
    byte 2    P1, bits 4-11

An odd number of pixels ends after its second byte. Compiled by numba when it is first needed, without the GIL;
`unpack_with_numpy` is its twin.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt


def packed_nbytes(count: int) -> int:
    """Bytes of so many pixels."""
    return (3 * count + 1) // 2


def unpack_mono12p(data: npt.NDArray[np.uint8], pixels: npt.NDArray[np.uint16]) -> None:
    """Fill `pixels`, which has one dimension. ValueError when `data` has not just the bytes for them."""
    _expect(data, pixels)
    _compiled()(data, pixels)


def unpack_with_numpy(data: npt.NDArray[np.uint8], pixels: npt.NDArray[np.uint16]) -> None:
    """`unpack_mono12p`, several times slower."""
    _expect(data, pixels)
    padded = np.zeros(3 * ((len(pixels) + 1) // 2), np.uint16)
    padded[: len(data)] = data
    low, middle, high = padded[0::3], padded[1::3], padded[2::3]
    pixels[0::2] = low | (middle & 15) << 8
    pixels[1::2] = (middle >> 4 | high << 4)[: len(pixels) // 2]


def pack_mono12p(pixels: npt.NDArray[np.uint16]) -> bytes:
    """The other way round, for simulators and tests. Bits above the twelfth are lost."""
    flat = pixels.reshape(-1) & 0xFFF
    even = np.zeros(len(flat) + len(flat) % 2, np.uint16)
    even[: len(flat)] = flat
    first, second = even[0::2], even[1::2]
    packed = np.stack([first & 0xFF, first >> 8 | (second & 15) << 4, second >> 4], axis=1).astype(np.uint8)
    return packed.tobytes()[: packed_nbytes(len(flat))]


def _expect(data: npt.NDArray[np.uint8], pixels: npt.NDArray[np.uint16]) -> None:
    if len(data) != packed_nbytes(len(pixels)):
        raise ValueError(f"{len(data)} bytes for {len(pixels)} pixels of 12 bits, not {packed_nbytes(len(pixels))}")


@cache
def _compiled() -> Callable[[npt.NDArray[np.uint8], npt.NDArray[np.uint16]], None]:
    import numba

    arrays = [numba.types.Array(numba.uint8, 1, "C", readonly=readonly) for readonly in (False, True)]
    compiled: Any = numba.njit([numba.void(array, numba.uint16[::1]) for array in arrays], nogil=True)(_unpack)
    return compiled  # type: ignore[no-any-return]


def _unpack(data: Any, pixels: Any) -> None:
    pairs = pixels.size // 2
    for pair in range(pairs):
        low, middle, high = np.uint16(data[3 * pair]), np.uint16(data[3 * pair + 1]), np.uint16(data[3 * pair + 2])
        pixels[2 * pair] = low | (middle & 15) << 8
        pixels[2 * pair + 1] = middle >> 4 | high << 4
    if pixels.size % 2:
        pixels[2 * pairs] = np.uint16(data[3 * pairs]) | (np.uint16(data[3 * pairs + 1]) & 15) << 8
