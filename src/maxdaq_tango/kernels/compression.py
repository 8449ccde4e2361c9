"""Pixels in and out of their packings.

Sources: kiyo-masui/bitshuffle (`src/bshuf_h5filter.c`, filter 32008), HDF5 LZ4 filter 32004 (`H5Zlz4.c`).

Two traps. The PyPI `bitshuffle` neither writes nor expects the 12 bytes that streams and HDF5 chunks begin with. And
its C code believes every block length in the data, reading past the end of a damaged blob, so the lengths are walked
and must add up before it is called.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import bitshuffle
import lz4.block
import numpy as np
import numpy.typing as npt

from maxdaq_tango.errors import WireError
from maxdaq_tango.model import Buffer, Encoding, FrameFormat

BLOCK_NBYTES = 8192
"""Bytes of one bitshuffle block; what every recorded stream uses."""

HAS_BSZSTD = hasattr(bitshuffle, "compress_zstd")
"""Some wheels of bitshuffle (those for Python 3.13) are built without Zstandard. Files need it not: there HDF5's own
filter packs and unpacks; only turning such frames and encoding them here does.
"""

_LZ4_MAX_NBYTES = 0x7E000000
HEADER_NBYTES = 12
"""Unpacked size (8, big-endian) and block size in bytes (4, big-endian), as HDF5's filter begins its chunks."""
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
    except (RuntimeError, ValueError, TypeError, MemoryError, BufferError) as error:
        raise WireError(f"unpack {format.encoding} pixels", answer=str(error), accepted="undamaged data") from error


def _decode_chunk(format: FrameFormat, blob: Buffer) -> npt.NDArray[Any]:
    data = np.frombuffer(blob, np.uint8)
    match format.encoding:
        case Encoding.NONE:
            _expect(format, len(data), format.chunk_nbytes)
            return data.view(np.dtype(format.dtype).newbyteorder("<"))
        case Encoding.BSLZ4:
            return _decode_bitshuffled(format, data, _LZ4_MOST_GROWTH, bitshuffle.decompress_lz4)
        case Encoding.BSZSTD if HAS_BSZSTD:
            # Zstandard has no useful bound: a block of zeros shrinks to a dozen bytes.
            return _decode_bitshuffled(format, data, BLOCK_NBYTES, bitshuffle.decompress_zstd)
        case Encoding.LZ4_BLOCK:
            return _pixels(format, _decode_lz4_block(data, format.chunk_nbytes))
        case Encoding.LZ4_HDF5:
            return _pixels(format, _decode_lz4_hdf5(data, format.chunk_nbytes))
    raise WireError(
        "unpack a frame",
        answer=f"no decoder for {format.encoding} here",
        accepted="none, bslz4, bszstd, lz4-block, lz4",
    )


def _decode_bitshuffled(
    format: FrameFormat, data: npt.NDArray[np.uint8], most_growth: int, decompress: Any
) -> npt.NDArray[Any]:
    item = np.dtype(format.dtype).itemsize
    nbytes = format.chunk_nbytes
    if len(data) < HEADER_NBYTES:
        raise WireError(
            "unpack bitshuffled pixels", answer=f"{len(data)} bytes", accepted="a 12-byte header and blocks"
        )
    stated, block_nbytes = int.from_bytes(data[:8].tobytes(), "big"), int.from_bytes(data[8:12].tobytes(), "big")
    _expect(format, stated, nbytes)
    if not block_nbytes or block_nbytes % (8 * item):
        raise WireError(
            "unpack bitshuffled pixels", answer=f"block size {block_nbytes}", accepted=f"a multiple of {8 * item}"
        )
    blocks = data[HEADER_NBYTES:]
    _check_blocks(blocks, nbytes, block_nbytes, item, most_growth)
    pixels: npt.NDArray[Any] = decompress(blocks, (nbytes // item,), np.dtype(format.dtype), block_nbytes // item)
    return pixels


def _check_blocks(data: npt.NDArray[np.uint8], nbytes: int, block_nbytes: int, item: int, most_growth: int) -> None:
    """Walk the block lengths: full blocks, one short block of whole eights, then the raw tail; no byte over."""
    tail = nbytes % (8 * item)
    left = nbytes - tail
    position, end = 0, len(data) - tail
    view = data.data
    while left:
        unpacked = block_nbytes if left >= block_nbytes else left
        if position + 4 > end:
            raise WireError(
                "unpack bitshuffled pixels", answer="the blob ends early", accepted=f"{left} bytes more of pixels"
            )
        (length,) = _LENGTH.unpack_from(view, position)
        position += 4 + length
        if not length or length * most_growth < unpacked or position > end:
            raise WireError(
                "unpack bitshuffled pixels",
                answer=f"a block of {length} bytes where {end - position + length} are left",
                accepted=f"a block that can hold {unpacked} bytes of pixels",
            )
        left -= unpacked
    if position != end:
        raise WireError("unpack bitshuffled pixels", answer=f"{end - position} bytes too many", accepted="none")


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


def _decode_lz4_hdf5(data: npt.NDArray[np.uint8], nbytes: int) -> bytes:
    view = data.data
    if len(view) < HEADER_NBYTES or int.from_bytes(view[:8], "big") != nbytes:
        raise WireError(
            "unpack an lz4 chunk", answer=f"{bytes(view[:12])!r}", accepted=f"a chunk that states {nbytes} bytes"
        )
    (block_nbytes,) = _LENGTH.unpack_from(view, 8)
    position, left, pieces = HEADER_NBYTES, nbytes, []
    while left:
        unpacked = min(block_nbytes, left)
        if not unpacked or position + 4 > len(view):
            raise WireError(
                "unpack an lz4 chunk", answer="the blob ends early", accepted=f"{left} bytes more of pixels"
            )
        (length,) = _LENGTH.unpack_from(view, position)
        block = view[position + 4 : position + 4 + length]
        if len(block) != length:
            raise WireError("unpack an lz4 chunk", answer=f"{len(block)} bytes left", accepted=f"a block of {length}")
        # As the filter does it: a block as long as its pixels is stored, not compressed.
        piece = bytes(block) if length == unpacked else _decode_lz4_block(block, unpacked)
        if len(piece) != unpacked:
            raise WireError("unpack an lz4 chunk", answer=f"{len(piece)} bytes", accepted=f"{unpacked}")
        pieces.append(piece)
        position += 4 + length
        left -= unpacked
    if position != len(view):
        raise WireError("unpack an lz4 chunk", answer=f"{len(view) - position} bytes too many", accepted="none")
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
