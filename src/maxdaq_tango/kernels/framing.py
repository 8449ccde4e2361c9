"""Packed chunks seen from outside: do their block lengths lead from the first byte to the last?

Sources: the HDF5 bitshuffle filter (kiyo-masui/bitshuffle, `src/bshuf_h5filter.c`, `src/bitshuffle.c`), the HDF5 LZ4
filter (filter 32004, `H5Zlz4.c`).

    8 bytes  unpacked size     4 bytes  block size     {4 bytes  length     length bytes  block} ...     raw tail

All numbers are big-endian. Bitshuffle packs full blocks, then one of the whole eights of pixels that are left, and
appends the last 0 to 7 pixels as they are; LZ4 packs full blocks and one of the rest, and has no tail.

The C code of both filters believes the lengths, and reads past the end of a chunk that was cut without a word. So a
frame in which something is wrong with them must not get into a file, and must not be unpacked. This is looked at for
every frame by the one thread that takes them. Where a block begins is known only from the one before, so numpy cannot
help: in Python a block costs 0.12 us, which was a fifth of all work for a frame of 32 kB and 5 ms for one of 20 MB;
compiled (`compile_kernels`) it costs 0.01. What is inside the blocks nobody knows before they are unpacked
(`Verification.FULL`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from maxdaq_tango.errors import WireError
from maxdaq_tango.model import Encoding, FrameFormat

HEADER_NBYTES = 12
MOST_BLOCK_NBYTES = (1 << 31) - 1
"""The packages that unpack take the block size for a C int, and say OverflowError."""

_unpack_header = struct.Struct(">QI").unpack_from
_unpack_length = struct.Struct(">I").unpack_from

_MOST_GROWTH = {Encoding.BSLZ4: 255, Encoding.LZ4_HDF5: 255, Encoding.BSZSTD: 8192}
"""No LZ4 block unpacks to more than 255 times its size. Zstandard has no useful bound: 8 kB of zeros shrink to a dozen
bytes. Nothing beyond it is ever unpacked, so nothing is allocated for pixels that a chunk cannot hold."""

FRAMED = frozenset(_MOST_GROWTH)
"""Encodings whose chunks are made of blocks with their lengths before them."""


def check_framing(format: FrameFormat, view: memoryview) -> None:
    """Refuse what cannot be one chunk of `format`: bslz4, bszstd or lz4. `view` holds single bytes. WireError.

    The size it states, its block size and every block length must fit, to the byte.
    """
    expected, size = format.chunk_nbytes, len(view)
    if size <= HEADER_NBYTES:
        raise _refused(format, f"{size} bytes", f"a chunk that states {expected} bytes, and blocks")
    stated, block = _unpack_header(view)
    if stated != expected:
        raise _refused(format, f"{size} bytes", f"a chunk that states {expected} bytes, not {stated}")
    unit = 1 if format.encoding is Encoding.LZ4_HDF5 else 8 * format.item_nbytes
    if not block or block % unit or block > MOST_BLOCK_NBYTES:
        raise _refused(format, f"block size {block}", f"a multiple of {unit} bytes, up to {MOST_BLOCK_NBYTES}")
    if (size - HEADER_NBYTES) * _MOST_GROWTH[format.encoding] < expected:
        raise _refused(format, f"{size} bytes", f"blocks that can hold {expected} bytes of pixels")
    tail = expected % unit
    count = (expected - tail + block - 1) // block
    end = _walk(view, HEADER_NBYTES, count)
    if end < 0 or end + tail != size:  # -1 and a tail could add up to the size of a very short one
        raise _refused(format, _what_is_wrong(end, tail, size), f"{count} blocks of {block} bytes, and no byte over")


def blocks_end(view: memoryview, at: int, count: int) -> int:
    """Where `count` blocks end of which the first one begins at `at`; -1 when one is empty or begins behind the end."""
    return _walk(view, at, count)


def walk_in_python(view: memoryview, at: int, count: int) -> int:
    """`blocks_end`, and what its compiled twin is compared with."""
    unpack = _unpack_length
    try:
        for _ in range(count):
            length = unpack(view, at)[0]
            if not length:
                return -1
            at += 4 + length
    except struct.error:
        return -1
    return at


def _walk_of_bytes(data: Any, at: int, count: int) -> int:
    """The same, to be compiled: outside of numba the sums of bytes would not have room. `data` is an array of them."""
    size = data.size
    for _ in range(count):
        if at + 4 > size:
            return -1
        length = 0
        for place in range(at, at + 4):
            length = length << 8 | data[place]
        if length == 0:
            return -1
        at += 4 + length
    return at


_walk: Callable[[memoryview, int, int], int] = walk_in_python


def compile_kernels() -> None:
    """For a process that takes frames, once: half a second and 80 MB for numba. Until it is done Python walks."""
    global _walk
    import numba

    integer = numba.int64
    arrays = [numba.types.Array(numba.uint8, 1, "C", readonly=readonly) for readonly in (False, True)]
    signatures = [integer(array, integer, integer) for array in arrays]
    walk: Any = numba.njit(signatures)(_walk_of_bytes)

    def walk_compiled(view: memoryview, at: int, count: int) -> int:
        end: int = walk(np.frombuffer(view, np.uint8), at, count)
        return end

    _walk = walk_compiled


def _what_is_wrong(end: int, tail: int, size: int) -> str:
    if end < 0:
        return f"{size} bytes, and block lengths that lead out of them or nowhere"
    return f"{size} bytes, and block lengths that lead to byte {end + tail}"


def _refused(format: FrameFormat, answer: str, accepted: str) -> WireError:
    what = f"look at a {format.encoding} blob for {format.chunk} {format.dtype}"
    return WireError(what, answer=answer, accepted=accepted)
