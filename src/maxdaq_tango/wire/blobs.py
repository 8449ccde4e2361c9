"""Pixel blobs: what a packing looks like from outside, and whether a blob can be what its message says.

Sources: the HDF5 bitshuffle filter (kiyo-masui/bitshuffle, `src/bshuf_h5filter.c`), the HDF5 LZ4 filter
(HDF5Plugin-zlib/registered filter 32004, `H5Zlz4.c`), EMVA GenICam PFNC 2.x for Mono12p.

Nothing here unpacks pixels to look at them. The check costs a microsecond, and a tenth of one for each block of a
packed frame (`model/framing.py`), and is worth it: a chunk of the wrong size, or one that was cut, can be put into an
HDF5 file without any error and reads back as uninitialised memory.
"""

from __future__ import annotations

import math
from functools import lru_cache

import lz4.block

from maxdaq_tango.errors import WireError
from maxdaq_tango.kernels.framing import FRAMED, blocks_end, check_framing
from maxdaq_tango.kernels.unpacking import DTYPE_OF, least_nbytes
from maxdaq_tango.model import Buffer, Encoding, FrameFormat

BSLZ4_BLOCK_NBYTES = 8192
"""Block size in all recorded streams, and bitshuffle's own default."""

LZ4_MAX_NBYTES = 0x7E000000
"""LZ4_MAX_INPUT_SIZE: no LZ4 block can hold more."""

CHUNK_LIMIT_NBYTES = 1 << 32
"""An HDF5 chunk is smaller than 4 GiB; a blob that claims more can be neither a frame nor stored."""

ITEM_NBYTES = {
    "uint8": 1,
    "uint16": 2,
    "uint32": 4,
    "uint64": 8,
    "int8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
    "float32": 4,
    "float64": 8,
}
"""Pixel types that streams may carry, with their size."""


@lru_cache(maxsize=256)
def frame_format(
    shape: tuple[int, ...], dtype: str, encoding: Encoding, chunk_shape: tuple[int, ...] = ()
) -> FrameFormat:
    """A FrameFormat as a message states it, refused when no frame can look like that.

    Cached, because every frame of a series says the same; the same object comes back.
    """
    if dtype not in ITEM_NBYTES:
        raise WireError("read a pixel type", answer=repr(dtype[:60]), accepted=", ".join(ITEM_NBYTES))
    if not 2 <= len(shape) <= 3 or min(shape) < 1:
        raise WireError(
            "read a frame shape", answer=str(shape), accepted="(rows, columns) or (n, rows, columns), all >= 1"
        )
    if chunk_shape:
        fits = len(chunk_shape) == len(shape) and min(chunk_shape) >= 1
        if not fits or any(size % part for size, part in zip(shape, chunk_shape, strict=True)):
            raise WireError(
                "read a chunk shape",
                answer=f"{chunk_shape} in a frame of {shape}",
                accepted="a divisor along every axis",
            )
    nbytes = math.prod(shape) * ITEM_NBYTES[dtype]
    if nbytes >= CHUNK_LIMIT_NBYTES:
        raise WireError("read a frame shape", answer=f"{shape} of {dtype}, {nbytes} bytes", accepted="less than 4 GiB")
    if encoding in DTYPE_OF and dtype != DTYPE_OF[encoding]:
        raise WireError(f"read a {encoding} frame", answer=f"pixel type {dtype}", accepted=DTYPE_OF[encoding])
    return FrameFormat(shape, dtype, encoding, chunk_shape)


def bslz4_header(nbytes: int, block_nbytes: int = BSLZ4_BLOCK_NBYTES) -> bytes:
    """The 12 bytes before the blocks: unpacked size (8, big-endian) and block size in bytes (4, big-endian)."""
    return nbytes.to_bytes(8, "big") + block_nbytes.to_bytes(4, "big")


def check_blob(format: FrameFormat, blob: Buffer) -> None:
    """Refuse a blob that cannot hold one chunk of `format`.

    `none`, `mono12p` and `mono12` are measured; of `bslz4`, `bszstd` and `lz4` the size that they state, their block
    size and all block lengths must fit to the byte, so that none that was cut gets through. The compressed data
    themselves are not looked at. A bare LZ4 block and a CBF file state no size of their own: only a blob that could not
    possibly hold the pixels is refused.
    """
    try:
        view = memoryview(blob)
        size = view.nbytes
        encoding = format.encoding
        if encoding in FRAMED:
            check_framing(format, view if view.format == "B" else view.cast("B"))
            return
        expected = format.chunk_nbytes
        if encoding is Encoding.NONE:
            if size != expected:
                raise _wrong_size(format, size, f"{expected} bytes")
        elif encoding in (Encoding.MONO12P, Encoding.MONO12):
            packed = least_nbytes(format)
            if size != packed:
                raise _wrong_size(format, size, f"{packed} bytes, two pixels in three")
        elif encoding is Encoding.LZ4_BLOCK:
            # A match of LZ4 grows by 255 for every byte of its length code: no block unpacks to more than that.
            if not size or expected > 255 * size:
                raise _wrong_size(format, size, f"an LZ4 block of at least {expected // 255 + 1} bytes")
        elif size < least_nbytes(format):
            raise _wrong_size(format, size, f"a whole {encoding} file, a byte a pixel at least")
    except (TypeError, ValueError, BufferError, NotImplementedError) as error:
        raise WireError("look at a pixel blob", answer=str(error), accepted="contiguous bytes") from error


def accept_blob(format: FrameFormat, blob: Buffer) -> Buffer:
    """The blob, if it can hold one chunk of `format`; else the error of `check_blob`.

    One mistake of senders is mended: `bslz4` without its 12-byte header, as the bitshuffle package of PyPI makes it
    (ALBA's eiger-simulator sends it so). Nothing is guessed: the block lengths must lead from first byte to last.
    """
    try:
        check_blob(format, blob)
    except WireError:
        if format.encoding is Encoding.BSLZ4 and _is_headerless_bslz4(format, memoryview(blob).cast("B")):
            return b"".join((bslz4_header(format.chunk_nbytes), blob))
        raise
    return blob


def _is_headerless_bslz4(format: FrameFormat, view: memoryview) -> bool:
    """Do the lengths of 8192-byte blocks, the rest rounded to 8 pixels and a raw tail fill the blob exactly?"""
    expected = format.chunk_nbytes
    tail = expected % (8 * format.item_nbytes)
    count = (expected - tail + BSLZ4_BLOCK_NBYTES - 1) // BSLZ4_BLOCK_NBYTES
    end = blocks_end(view, 0, count)
    return end >= 0 and end + tail == len(view)


def lz4_block_to_hdf5(blob: Buffer, nbytes: int) -> bytes:
    """A bare LZ4 block as a chunk of HDF5 filter 32004, so that an ordinary reader can open it.

    `nbytes` is the unpacked size. 16 bytes are put before the block: total size (8), block size (4), compressed size
    (4), all big-endian. The filter takes a block whose compressed size equals its size for stored, not compressed, so
    the one incompressible frame of exactly that length is unpacked and stored as it is.
    """
    size = memoryview(blob).nbytes
    if not 0 < nbytes <= LZ4_MAX_NBYTES or not size:
        raise WireError("re-frame an LZ4 block", answer=f"{size} bytes for {nbytes}", accepted=f"1 to {LZ4_MAX_NBYTES}")
    if size == nbytes:
        blob = _unpack_lz4(blob, nbytes)
    head = nbytes.to_bytes(8, "big") + nbytes.to_bytes(4, "big") + size.to_bytes(4, "big")
    return b"".join((head, blob))


def _unpack_lz4(blob: Buffer, nbytes: int) -> bytes:
    try:
        pixels: bytes = lz4.block.decompress(blob, uncompressed_size=nbytes)
    except (lz4.block.LZ4BlockError, MemoryError, ValueError) as error:
        raise WireError("unpack an LZ4 block", answer=str(error), accepted=f"a block of {nbytes} bytes") from error
    if len(pixels) != nbytes:
        raise WireError("unpack an LZ4 block", answer=f"{len(pixels)} bytes", accepted=f"{nbytes} bytes")
    return pixels


def _wrong_size(format: FrameFormat, size: int, accepted: str) -> WireError:
    return WireError(
        f"look at a {format.encoding} blob for {format.chunk} {format.dtype}", answer=f"{size} bytes", accepted=accepted
    )
