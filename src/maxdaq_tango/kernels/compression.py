"""Pixels in and out of their packings.

Sources: kiyo-masui/bitshuffle (`src/bshuf_h5filter.c`, filter 32008), HDF5 LZ4 filter 32004 (`H5Zlz4.c`).

Two traps. The PyPI `bitshuffle` neither writes nor expects the 12 bytes that streams and HDF5 chunks begin with. And
its C code believes every block length in the data, reading past the end of a damaged blob, so the lengths are walked
and must add up (`framing.py`) before it is called.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import lz4.block
import numpy as np
import numpy.typing as npt

from maxdaq_tango.errors import WireError
from maxdaq_tango.kernels.codec import bitshuffle
from maxdaq_tango.kernels.framing import HEADER_NBYTES, check_framing
from maxdaq_tango.kernels.unpacking import least_nbytes, unpack_into
from maxdaq_tango.model import Buffer, Encoding, FrameFormat

BLOCK_NBYTES = 8192
"""Bytes of one bitshuffle block; what every recorded stream uses."""

HAS_BSZSTD = hasattr(bitshuffle, "compress_zstd")
"""Some wheels of bitshuffle (those for Python 3.13) are built without Zstandard. Files need it not: there HDF5's own
filter packs and unpacks; only turning such frames and encoding them here does.
"""

_LZ4_MAX_NBYTES = 0x7E000000
_LENGTH = struct.Struct(">I")
_LZ4_MOST_GROWTH = 255
"""No LZ4 block unpacks to more than 255 times its size."""


def compress_bslz4(array: npt.NDArray[Any]) -> bytes:
    """An array as a chunk of HDF5 filter 32008, options (0, 2): header and blocks. Releases the GIL."""
    _check_packable(array)
    return _bitshuffled(array, bitshuffle.compress_lz4)


def _bitshuffled(array: npt.NDArray[Any], compress: Callable[[npt.NDArray[Any], int], npt.NDArray[np.uint8]]) -> bytes:
    blocks: Any = compress(_little_endian(array), BLOCK_NBYTES // array.dtype.itemsize)
    header = array.nbytes.to_bytes(8, "big") + BLOCK_NBYTES.to_bytes(4, "big")
    return b"".join((header, blocks))


def encode_pixels(array: npt.NDArray[Any], encoding: Encoding) -> bytes:
    """An array packed as one blob: none, bslz4, bszstd, lz4-block or lz4."""
    _check_packable(array)
    if encoding is Encoding.NONE:
        return _little_endian(array).tobytes()
    if encoding is Encoding.BSLZ4:
        return compress_bslz4(array)
    if encoding is Encoding.BSZSTD and HAS_BSZSTD:
        return _bitshuffled(array, bitshuffle.compress_zstd)
    if encoding not in (Encoding.LZ4_BLOCK, Encoding.LZ4_HDF5):
        accepted = "none, bslz4, bszstd, lz4-block, lz4"
        raise WireError("pack pixels", answer=f"no encoder for {encoding} here", accepted=accepted)
    pixels = _little_endian(array).reshape(-1).view(np.uint8)
    if pixels.nbytes > _LZ4_MAX_NBYTES:
        raise WireError(
            "pack pixels", answer=f"{pixels.nbytes} bytes", accepted=f"at most {_LZ4_MAX_NBYTES} in one block"
        )
    block: bytes = lz4.block.compress(pixels, store_size=False)
    if encoding is Encoding.LZ4_BLOCK:
        return block
    if len(block) >= pixels.nbytes:
        # The filter takes a block as long as its pixels for stored; this is how incompressible data are kept.
        block = pixels.tobytes()
    return pixels.nbytes.to_bytes(8, "big") + _LENGTH.pack(pixels.nbytes) + _LENGTH.pack(len(block)) + block


def decode_pixels(format: FrameFormat, blobs: Sequence[Buffer]) -> npt.NDArray[Any]:
    """The pixels of one frame, of `format.shape`.

    For encoding `none` in one blob the result is a read-only view of the blob. Damaged data are a WireError, always:
    nothing is read past a blob's end, and nothing is allocated for pixels that a blob cannot hold.
    """
    if len(blobs) != format.chunk_count:
        raise WireError(
            "unpack a frame", answer=f"{len(blobs)} blobs", accepted=f"{format.chunk_count} for {format.shape}"
        )
    try:
        if len(blobs) == 1:
            return _decode_chunk(format, blobs[0]).reshape(format.shape)
        return _join([_decode_chunk(format, blob) for blob in blobs], format)
    except (RuntimeError, ValueError, TypeError, MemoryError, BufferError, OverflowError) as error:
        raise WireError(f"unpack {format.encoding} pixels", answer=str(error), accepted="undamaged data") from error


def _decode_chunk(format: FrameFormat, blob: Buffer) -> npt.NDArray[Any]:
    data = np.frombuffer(blob, np.uint8)
    match format.encoding:
        case Encoding.NONE:
            _expect(format, len(data), format.chunk_nbytes)
            return data.view(np.dtype(format.dtype).newbyteorder("<"))
        case Encoding.BSLZ4:
            return _decode_bitshuffled(format, data, bitshuffle.decompress_lz4)
        case Encoding.BSZSTD if HAS_BSZSTD:
            return _decode_bitshuffled(format, data, bitshuffle.decompress_zstd)
        case Encoding.LZ4_BLOCK:
            return _pixels(format, _decode_lz4_block(data, format.chunk_nbytes))
        case Encoding.LZ4_HDF5:
            return _pixels(format, _decode_lz4_hdf5(format, data))
        case Encoding.CBF | Encoding.MONO12P | Encoding.MONO12:
            if len(data) < least_nbytes(format):
                raise WireError(
                    "unpack a frame", answer=f"{len(data)} bytes", accepted=f"{least_nbytes(format)} or more"
                )
            unpacked = np.empty(format.chunk_nbytes, np.uint8)
            unpack_into(format, blob, unpacked.data)
            return unpacked.view(format.dtype)
    raise WireError(
        "unpack a frame",
        answer=f"no decoder for {format.encoding} here",
        accepted="none, bslz4, bszstd, lz4-block, lz4, cbf, mono12p, mono12",
    )


def _decode_bitshuffled(format: FrameFormat, data: npt.NDArray[np.uint8], decompress: Any) -> npt.NDArray[Any]:
    check_framing(format, data.data)
    dtype, nbytes = np.dtype(format.dtype), format.chunk_nbytes
    (block_nbytes,) = _LENGTH.unpack_from(data.data, 8)
    pixels: npt.NDArray[Any] = decompress(
        data[HEADER_NBYTES:], (nbytes // dtype.itemsize,), dtype, block_nbytes // dtype.itemsize
    )
    return pixels


def _decode_lz4_block(data: Any, nbytes: int) -> bytes:
    if len(data) * _LZ4_MOST_GROWTH < nbytes or nbytes > _LZ4_MAX_NBYTES:
        raise WireError(
            "unpack an LZ4 block", answer=f"{len(data)} bytes for {nbytes}", accepted="a block that can hold them"
        )
    try:
        pixels: bytes = lz4.block.decompress(data, uncompressed_size=nbytes)
    except lz4.block.LZ4BlockError as error:
        raise WireError("unpack an LZ4 block", answer=str(error), accepted="undamaged data") from error
    return pixels


def _decode_lz4_hdf5(format: FrameFormat, data: npt.NDArray[np.uint8]) -> bytes:
    view, left, position, pieces = data.data, format.chunk_nbytes, HEADER_NBYTES, []
    check_framing(format, view)
    (block_nbytes,) = _LENGTH.unpack_from(view, 8)
    while left:
        unpacked = min(block_nbytes, left)
        (length,) = _LENGTH.unpack_from(view, position)
        block = view[position + 4 : position + 4 + length]
        # As the filter does it: a block as long as its pixels is stored, not compressed.
        piece = bytes(block) if length == unpacked else _decode_lz4_block(block, unpacked)
        if len(piece) != unpacked:
            raise WireError("unpack an lz4 chunk", answer=f"{len(piece)} bytes", accepted=f"{unpacked}")
        pieces.append(piece)
        position += 4 + length
        left -= unpacked
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _join(chunks: list[npt.NDArray[Any]], format: FrameFormat) -> npt.NDArray[Any]:
    """Chunks in C order of the chunk grid as one frame."""
    shape, chunk = format.shape, format.chunk
    frame = np.empty(shape, format.dtype)
    grid = np.ndindex(*(size // part for size, part in zip(shape, chunk, strict=True)))
    for place, pixels in zip(grid, chunks, strict=True):
        where = tuple(slice(i * part, (i + 1) * part) for i, part in zip(place, chunk, strict=True))
        frame[where] = pixels.reshape(chunk)
    return frame


def _pixels(format: FrameFormat, data: bytes) -> npt.NDArray[Any]:
    _expect(format, len(data), format.chunk_nbytes)
    return np.frombuffer(data, np.dtype(format.dtype).newbyteorder("<"))


def _expect(format: FrameFormat, nbytes: int, expected: int) -> None:
    if nbytes != expected:
        raise WireError(
            f"unpack {format.encoding} pixels",
            answer=f"{nbytes} bytes",
            accepted=f"{expected} for {format.chunk} {format.dtype}",
        )


def _little_endian(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


def _check_packable(array: npt.NDArray[Any]) -> None:
    if not array.size or array.dtype.kind not in "uif":
        raise WireError("pack pixels", answer=f"{array.shape} of {array.dtype}", accepted="numbers, at least one")
