"""Frames and masks as baseline TIFF, the picture format of SIMPLON's monitor and of its array parameters.

Own code because imaging libraries turn unsigned 32-bit pixels into signed ones, and 2^32 - 1 marks a masked pixel.
Source: TIFF revision 6.0, sections 2 and 19 (SampleFormat).
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from maxdaq_tango.errors import WireError

_SHORT, _LONG = 3, 4
_SAMPLE_FORMAT = {"u": 1, "i": 2, "f": 3}


def encode_tiff(array: npt.NDArray[Any]) -> bytes:
    """One greyscale picture, (rows, columns), little-endian, uncompressed, one strip."""
    if array.ndim != 2 or array.dtype.kind not in _SAMPLE_FORMAT:
        raise WireError("write a TIFF", answer=f"{array.shape} {array.dtype}", accepted="(rows, columns) of numbers")
    rows, columns = array.shape
    pixels = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    entries = (
        (256, _LONG, columns),
        (257, _LONG, rows),
        (258, _SHORT, 8 * array.dtype.itemsize),
        (259, _SHORT, 1),  # no compression
        (262, _SHORT, 1),  # black is zero
        (273, _LONG, 8),  # the strip follows the 8-byte header
        (277, _SHORT, 1),
        (278, _LONG, rows),
        (279, _LONG, pixels.nbytes),
        (339, _SHORT, _SAMPLE_FORMAT[array.dtype.kind]),
    )
    padding = pixels.nbytes % 2  # a directory begins on a word boundary
    directory = struct.pack("<H", len(entries))
    for tag, kind, value in entries:
        directory += struct.pack("<HHII", tag, kind, 1, value)
    header = struct.pack("<2sHI", b"II", 42, 8 + pixels.nbytes + padding)
    return header + pixels.tobytes() + b"\0" * padding + directory + struct.pack("<I", 0)
