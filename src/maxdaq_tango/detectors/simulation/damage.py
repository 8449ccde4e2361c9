"""Pixels packed for a message, and packed wrongly where that is asked for. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from maxdaq_tango.detectors.simulation.delivery import Damage
from maxdaq_tango.kernels.compression import encode_pixels
from maxdaq_tango.model import Buffer, Encoding, FrameFormat

_STATES_ITS_SIZE = (Encoding.BSLZ4, Encoding.BSZSTD, Encoding.LZ4_HDF5)
_FIRST_LENGTH = 12
"""Bytes before the length of the first block, in bitshuffle's and in HDF5's LZ4 framing."""
_HUGE_SIZE = (1 << 62).to_bytes(8, "big")
_HUGE_LENGTH = 0x7FFFFFFF.to_bytes(4, "big")
_NEST_KEY = b"bomb"


def packed(pixels: npt.NDArray[Any], encoding: Encoding, damage: Damage = Damage.NONE) -> tuple[FrameFormat, bytes]:
    """The blob of a frame, and the format that its message states."""
    if damage is Damage.DTYPE:
        pixels = pixels.astype(np.uint16 if pixels.dtype == np.uint32 else np.uint32)
    if damage is Damage.SHAPE:
        pixels = pixels[: max(1, len(pixels) // 2)] if len(pixels) > 1 else np.repeat(pixels, 2, axis=0)
    format = FrameFormat(pixels.shape, pixels.dtype.name, encoding)
    blob = encode_pixels(np.ascontiguousarray(pixels), encoding)
    if damage is Damage.TRUNCATED:
        return format, blob[: len(blob) // 2]
    if damage is Damage.SIZE:
        if encoding in _STATES_ITS_SIZE:
            return format, _HUGE_SIZE + blob[8:]
        # A bare LZ4 block states no size: one that is too short for its pixels is all that can be seen.
        return format, blob[:1] if encoding is Encoding.LZ4_BLOCK else blob + bytes(pixels.itemsize)
    if damage is Damage.BLOCK_LENGTH and encoding in _STATES_ITS_SIZE:
        return format, blob[:_FIRST_LENGTH] + _HUGE_LENGTH + blob[_FIRST_LENGTH + 4 :]
    if damage in (Damage.BITS, Damage.BLOCK_LENGTH):
        middle = (_FIRST_LENGTH + 4 + len(blob)) // 2 if len(blob) > 32 else len(blob) - 1
        return format, blob[:middle] + bytes([blob[middle] ^ 0x10]) + blob[middle + 1 :]
    return format, blob


def json_bomb(part: Buffer, depth: int) -> bytes:
    """A part that is a JSON object, with a value of `depth` lists inside each other before its first key."""
    return b'{"' + _NEST_KEY + b'":' + b"[" * depth + b"]" * depth + b"," + bytes(part)[1:]


def cbor_bomb(message: Buffer, depth: int) -> bytes:
    """A self-described CBOR map of fewer than 23 keys, with one more key whose value is nested `depth` deep.

    By hand, because a CBOR library refuses to write what its own reader would refuse.
    """
    data = bytearray(message)
    if not 0xA0 <= data[3] < 0xB6:
        raise ValueError("no self-described map of fewer than 23 keys")
    data[3] += 1
    return bytes(data) + bytes([0x60 | len(_NEST_KEY)]) + _NEST_KEY + b"\x81" * depth + b"\x00"
