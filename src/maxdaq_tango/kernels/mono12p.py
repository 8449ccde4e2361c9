"""Two 12-bit pixels in three bytes, in the two orders that cameras have.

Sources: EMVA GenICam Pixel Format Naming Convention 2.1 (Mono12p); DCAM's pixel types MONO12P (5) and MONO12 (3).

              Mono12p                                     Mono12
    byte 0    P0, bits 0-7                                P0, bits 4-11
    byte 1    P0, bits 8-11 below, P1, bits 0-3 above     P0, bits 0-3 below, P1, bits 0-3 above
    byte 2    P1, bits 4-11                               P1, bits 4-11

An odd number of pixels ends after its second byte. Compiled by numba when they are first needed, without the GIL;
`unpack_with_numpy` and `unpack_mono12_with_numpy` are their twins.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from maxdaq_tango.model import Encoding


def packed_nbytes(count: int) -> int:
    """Bytes of so many pixels."""
    return (3 * count + 1) // 2


def unpack_mono12p(data: npt.NDArray[np.uint8], pixels: npt.NDArray[np.uint16]) -> None:
    """Fill `pixels`, which has one dimension. ValueError when `data` has not just the bytes for them."""
    _expect(data, pixels)
    _compiled(Encoding.MONO12P)(data, pixels)


def unpack_mono12(data: npt.NDArray[np.uint8], pixels: npt.NDArray[np.uint16]) -> None:
    """The same for Mono12."""
    _expect(data, pixels)
    _compiled(Encoding.MONO12)(data, pixels)


def unpack_with_numpy(data: npt.NDArray[np.uint8], pixels: npt.NDArray[np.uint16]) -> None:
    """`unpack_mono12p`, several times slower."""
    _expect(data, pixels)
    padded = np.zeros(3 * ((len(pixels) + 1) // 2), np.uint16)
    padded[: len(data)] = data
    low, middle, high = padded[0::3], padded[1::3], padded[2::3]
    pixels[0::2] = low | (middle & 15) << 8
    pixels[1::2] = (middle >> 4 | high << 4)[: len(pixels) // 2]


def unpack_mono12_with_numpy(data: npt.NDArray[np.uint8], pixels: npt.NDArray[np.uint16]) -> None:
    """`unpack_mono12`, several times slower."""
    _expect(data, pixels)
    padded = np.zeros(3 * ((len(pixels) + 1) // 2), np.uint16)
    padded[: len(data)] = data
    first, middle, second = padded[0::3], padded[1::3], padded[2::3]
    pixels[0::2] = first << 4 | middle & 15
    pixels[1::2] = (second << 4 | middle >> 4)[: len(pixels) // 2]


def pack_mono12p(pixels: npt.NDArray[np.uint16]) -> bytes:
    """The other way round, for simulators and tests. Bits above the twelfth are lost."""
    flat = pixels.reshape(-1) & 0xFFF
    even = np.zeros(len(flat) + len(flat) % 2, np.uint16)
    even[: len(flat)] = flat
    first, second = even[0::2], even[1::2]
    packed = np.stack([first & 0xFF, first >> 8 | (second & 15) << 4, second >> 4], axis=1).astype(np.uint8)
    return packed.tobytes()[: packed_nbytes(len(flat))]


def pack_mono12(pixels: npt.NDArray[np.uint16]) -> bytes:
    """The same for Mono12."""
    flat = pixels.reshape(-1) & 0xFFF
    even = np.zeros(len(flat) + len(flat) % 2, np.uint16)
    even[: len(flat)] = flat
    first, second = even[0::2], even[1::2]
    packed = np.stack([first >> 4, first & 15 | (second & 15) << 4, second >> 4], axis=1).astype(np.uint8)
    return packed.tobytes()[: packed_nbytes(len(flat))]


def _expect(data: npt.NDArray[np.uint8], pixels: npt.NDArray[np.uint16]) -> None:
    if len(data) != packed_nbytes(len(pixels)):
        raise ValueError(f"{len(data)} bytes for {len(pixels)} pixels of 12 bits, not {packed_nbytes(len(pixels))}")


@cache
def _compiled(encoding: Encoding) -> Callable[[npt.NDArray[np.uint8], npt.NDArray[np.uint16]], None]:
    import numba

    arrays = [numba.types.Array(numba.uint8, 1, "C", readonly=readonly) for readonly in (False, True)]
    compiled: Any = numba.njit([numba.void(array, numba.uint16[::1]) for array in arrays], nogil=True)(
        _KERNELS[encoding]
    )
    return compiled  # type: ignore[no-any-return]


def _unpack_mono12p(data: Any, pixels: Any) -> None:
    pairs = pixels.size // 2
    for pair in range(pairs):
        low, middle, high = np.uint16(data[3 * pair]), np.uint16(data[3 * pair + 1]), np.uint16(data[3 * pair + 2])
        pixels[2 * pair] = low | (middle & 15) << 8
        pixels[2 * pair + 1] = middle >> 4 | high << 4
    if pixels.size % 2:
        pixels[2 * pairs] = np.uint16(data[3 * pairs]) | (np.uint16(data[3 * pairs + 1]) & 15) << 8


def _unpack_mono12(data: Any, pixels: Any) -> None:
    pairs = pixels.size // 2
    for pair in range(pairs):
        first, middle, second = np.uint16(data[3 * pair]), np.uint16(data[3 * pair + 1]), np.uint16(data[3 * pair + 2])
        pixels[2 * pair] = first << 4 | middle & 15
        pixels[2 * pair + 1] = second << 4 | middle >> 4
    if pixels.size % 2:
        pixels[2 * pairs] = np.uint16(data[3 * pairs]) << 4 | np.uint16(data[3 * pairs + 1]) & 15


_KERNELS = {Encoding.MONO12P: _unpack_mono12p, Encoding.MONO12: _unpack_mono12}
