"""An image file becomes a frame: its shape is read from its text, its pixels are left as they are. Pure.

    .cbf           sent whole; the receiver unpacks it, in its pool
    .tif .tiff     camserver's: one strip of signed 32-bit pixels, which are sent without their header

A file whose text is damaged still becomes a frame where the shape is known from others of its series, so that the
receiver counts it as corrupt under its number.
"""

from __future__ import annotations

import math
import re
import struct

from maxdaq_tango.errors import WireError
from maxdaq_tango.kernels.cbf import DTYPE, shape_in
from maxdaq_tango.model import Encoding, Frame, FrameFormat

EXTENSIONS = (".cbf", ".tif", ".tiff")
MOST_TAGS = 200
HEADER_NBYTES = 4096
"""Camserver's text is within that, in both formats."""
_EXPOSURE = re.compile(rb"# Exposure_time\s+([0-9.eE+-]{1,32})\s*s")
_WIDTH, _LENGTH, _BITS, _COMPRESSION, _OFFSET, _NBYTES = 256, 257, 258, 259, 273, 279


def exposure_in(data: bytes) -> float | None:
    """Exposure time that camserver wrote into an image file, s; None where it did not."""
    found = _EXPOSURE.search(data[:HEADER_NBYTES])
    try:
        seconds = float(found[1]) if found else 0.0
    except ValueError:
        return None
    return seconds if 0 < seconds < math.inf else None


def frame_of(
    data: bytes, extension: str, number: int, known: tuple[int, ...], exposure_s: float | None = None
) -> Frame:
    """Frame `number`; `known` is the shape of the series as far as it is known, () when it is not. WireError."""
    shape: tuple[int, ...]
    try:
        if extension == ".cbf":
            shape, blob, encoding = shape_in(data), data, Encoding.CBF
        else:
            shape, start, nbytes = _tiff(data)
            blob, encoding = data[start : start + nbytes], Encoding.NONE
    except WireError:
        if not known:
            raise
        shape, blob, encoding = known, data, Encoding.CBF if extension == ".cbf" else Encoding.NONE
    format = FrameFormat(shape, DTYPE, encoding)
    return Frame(series="", frame_number=number, format=format, blobs=(blob,), exposure_time_s=exposure_s)


def _tiff(data: bytes) -> tuple[tuple[int, int], int, int]:
    """Shape, and where the pixels begin and how many bytes they are."""
    orders = {b"II*\0": "<", b"MM\0*": ">"}
    order = orders.get(data[:4], "")
    tags: dict[int, int] = {}
    try:
        (at,) = struct.unpack_from(order + "I", data, 4) if order else (len(data),)
        (count,) = struct.unpack_from(order + "H", data, at)
        for entry in range(min(count, MOST_TAGS)):
            tag, kind, _ = struct.unpack_from(order + "HHI", data, at + 2 + 12 * entry)
            (tags[tag],) = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, at + 10 + 12 * entry)
    except struct.error:
        raise _refused(f"{len(data)} bytes that begin with {data[:4]!r} and end too early") from None
    wanted = {_BITS: 32, _COMPRESSION: 1}
    if order != "<" or any(tags.get(tag) != value for tag, value in wanted.items()):
        raise _refused(f"byte order {order or '?'}, {tags.get(_BITS)} bits, compression {tags.get(_COMPRESSION)}")
    rows, columns = tags.get(_LENGTH, 0), tags.get(_WIDTH, 0)
    if not 0 < rows <= 1 << 16 or not 0 < columns <= 1 << 16 or _OFFSET not in tags:
        raise _refused(f"{rows} x {columns} pixels")
    return (rows, columns), tags[_OFFSET], tags.get(_NBYTES, 4 * rows * columns)


def _refused(answer: str) -> WireError:
    return WireError(
        "read a TIFF file", answer=answer, accepted="one strip of little-endian 32-bit pixels, not compressed"
    )
