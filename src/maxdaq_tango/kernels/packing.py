"""Bitshuffle into memory that the caller owns: no allocation, no copy, no GIL.

Source: bitshuffle 0.5, `src/bitshuffle.h`. The package's own Python functions make a fresh array at every call, which
then has to be copied behind the 12 bytes of an HDF5 chunk. The C functions beneath them write where they are told, and
ctypes lets go of the GIL around them. A build that does not show them is used through Python, at the price of the copy.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from maxdaq_tango.errors import WireError
from maxdaq_tango.kernels.codec import bitshuffle
from maxdaq_tango.kernels.compression import BLOCK_NBYTES, HAS_BSZSTD
from maxdaq_tango.kernels.framing import HEADER_NBYTES
from maxdaq_tango.model import Buffer, Encoding

ITEM_SIZES = (1, 2, 4, 8)
"""Bytes of the pixel types that are packed; each divides a block into whole eights."""

ZSTD_LEVEL = 1
"""bitshuffle's own default."""

_MOST_GROWTH_OF_BLOCK = 128
"""Of 8192 bytes, with the length before them: LZ4 52, Zstandard 96. Only where the library cannot be asked."""


@lru_cache(maxsize=64)
def packed_room(nbytes: int, item: int, encoding: Encoding) -> int:
    """Most bytes that `pack_into` makes of `nbytes` bytes of pixels with `item` bytes each."""
    if item not in ITEM_SIZES or nbytes < 1 or nbytes % item:
        raise WireError("pack pixels", answer=f"{nbytes} bytes of {item}", accepted="whole pixels, at least one")
    if encoding is not Encoding.BSLZ4 and not (encoding is Encoding.BSZSTD and HAS_BSZSTD):
        raise WireError("pack pixels", answer=f"no encoder for {encoding} here", accepted="bslz4, bszstd")
    if _LIBRARY is None:
        return HEADER_NBYTES + nbytes + (nbytes // BLOCK_NBYTES + 2) * _MOST_GROWTH_OF_BLOCK
    bound = _LIBRARY.bshuf_compress_lz4_bound if encoding is Encoding.BSLZ4 else _LIBRARY.bshuf_compress_zstd_bound
    return HEADER_NBYTES + int(bound(nbytes // item, item, BLOCK_NBYTES // item))


def pack_into(pixels: Buffer, item: int, encoding: Encoding, into: memoryview) -> int:
    """Write little-endian pixels of `item` bytes as one chunk of filter 32008 (bslz4, bszstd); returns its length.

    `into` has `packed_room` bytes at least and does not overlap the pixels.
    """
    source = np.frombuffer(pixels, np.uint8)
    nbytes = len(source)
    if len(into) < packed_room(nbytes, item, encoding):
        raise ValueError(f"{len(into)} bytes are too few to pack {nbytes}")
    into[:8] = nbytes.to_bytes(8, "big")
    into[8:HEADER_NBYTES] = BLOCK_NBYTES.to_bytes(4, "big")
    return HEADER_NBYTES + _pack(source, item, encoding, into)


def _pack_in_library(source: npt.NDArray[np.uint8], item: int, encoding: Encoding, into: memoryview) -> int:
    target = np.frombuffer(into, np.uint8)
    where = (_address(source), _address(target) + HEADER_NBYTES)
    size = (len(source) // item, item, BLOCK_NBYTES // item)
    assert _LIBRARY is not None
    if encoding is Encoding.BSLZ4:
        length = int(_LIBRARY.bshuf_compress_lz4(*where, *size))
    else:
        length = int(_LIBRARY.bshuf_compress_zstd(*where, *size, ZSTD_LEVEL))
    if length < 0:
        raise RuntimeError(f"bitshuffle answered {length}")  # -1: no memory for one block; others cannot be
    return length


def _pack_in_python(source: npt.NDArray[np.uint8], item: int, encoding: Encoding, into: memoryview) -> int:
    compress = bitshuffle.compress_lz4 if encoding is Encoding.BSLZ4 else bitshuffle.compress_zstd
    blocks: npt.NDArray[np.uint8] = compress(source.view(f"<u{item}"), BLOCK_NBYTES // item)
    into[HEADER_NBYTES : HEADER_NBYTES + len(blocks)] = blocks.data
    return len(blocks)


def _address(array: npt.NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


def _library() -> ctypes.CDLL | None:
    """bitshuffle's C functions with their types, or None where this build hides them."""
    try:
        library = ctypes.CDLL(bitshuffle.ext.__file__)
        size = ctypes.c_size_t
        for name, more in (("lz4", []), ("zstd", [ctypes.c_int])) if HAS_BSZSTD else (("lz4", []),):
            bound, compress = library[f"bshuf_compress_{name}_bound"], library[f"bshuf_compress_{name}"]
            bound.restype, bound.argtypes = size, [size] * 3
            compress.restype = ctypes.c_int64
            compress.argtypes = [ctypes.c_void_p, ctypes.c_void_p, size, size, size, *more]
            setattr(library, f"bshuf_compress_{name}_bound", bound)
            setattr(library, f"bshuf_compress_{name}", compress)
    except (OSError, AttributeError):
        return None
    return library


_LIBRARY = _library()
_pack: Callable[[npt.NDArray[np.uint8], int, Encoding, memoryview], int] = (
    _pack_in_library if _LIBRARY is not None else _pack_in_python
)
