"""Packings that no HDF5 filter knows: their pixels are unpacked into memory that the caller owns, without the GIL."""

from __future__ import annotations

import math

import numpy as np

from maxdaq_tango.errors import WireError
from maxdaq_tango.kernels import cbf
from maxdaq_tango.kernels.mono12p import packed_nbytes, unpack_mono12, unpack_mono12p
from maxdaq_tango.model import Buffer, Encoding, FrameFormat

UNPACKED_HERE = frozenset({Encoding.CBF, Encoding.MONO12P, Encoding.MONO12})
DTYPE_OF = {Encoding.CBF: cbf.DTYPE, Encoding.MONO12P: "uint16", Encoding.MONO12: "uint16"}
"""The only pixel type that such a packing has."""


def unpack_into(format: FrameFormat, blob: Buffer, into: memoryview) -> None:
    """One chunk of `format`, of an encoding in UNPACKED_HERE, into `format.chunk_nbytes` bytes. WireError."""
    data, count = np.frombuffer(blob, np.uint8), math.prod(format.chunk)
    if format.dtype != DTYPE_OF[format.encoding]:
        raise _refused(format, f"pixels of {format.dtype}", DTYPE_OF[format.encoding])
    pixels = np.frombuffer(into, format.dtype, count)
    if format.encoding is Encoding.CBF:
        cbf.unpack_cbf(data, format.chunk, pixels)
    elif len(data) != packed_nbytes(count):
        raise _refused(format, f"{len(data)} bytes", f"{packed_nbytes(count)} for {format.chunk}")
    elif format.encoding is Encoding.MONO12P:
        unpack_mono12p(data, pixels)
    else:
        unpack_mono12(data, pixels)


def least_nbytes(format: FrameFormat) -> int:
    """Of a blob that can hold one chunk of `format`, which is one of UNPACKED_HERE."""
    count = math.prod(format.chunk)
    return count if format.encoding is Encoding.CBF else packed_nbytes(count)


def _refused(format: FrameFormat, answer: str, accepted: str) -> WireError:
    return WireError(f"unpack {format.encoding} pixels", answer=answer, accepted=accepted)
