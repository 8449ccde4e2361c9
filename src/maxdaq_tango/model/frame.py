"""A frame on its way: pixels still packed as they came, and what is known about them."""

from __future__ import annotations

import math
from enum import StrEnum
from functools import cached_property
from typing import Any

import msgspec
import numpy as np

from maxdaq_tango.errors import WireError

Buffer = bytes | bytearray | memoryview
"""Pixel blobs are handed on as they lie in the received message; nobody copies them to change their type."""


class Encoding(StrEnum):
    """How the pixels of a blob are packed. One name per packing, whatever each wire format calls it."""

    NONE = "none"
    """Little-endian pixels in C order."""
    BSLZ4 = "bslz4"
    """Bitshuffle + LZ4 with the 12-byte HDF5 header: exactly a chunk of filter 32008, options (0, 2)."""
    BSZSTD = "bszstd"
    """Bitshuffle + Zstandard with the same 12-byte header: filter 32008, options (0, 3)."""
    LZ4_BLOCK = "lz4-block"
    """One bare LZ4 block without any header (Dectris v1 calls it `lz4<`)."""
    LZ4_HDF5 = "lz4"
    """LZ4 in HDF5 framing: a chunk of filter 32004 (Dectris v2 calls it `lz4`)."""
    CBF = "cbf"
    """A whole CBF file, text header included."""
    MONO12P = "mono12p"
    """Two 12-bit pixels in three bytes, the lower bits first."""
    MONO12 = "mono12"
    """Two 12-bit pixels in three bytes, the upper eight bits of each in a byte of their own."""


class FrameFormat(msgspec.Struct, frozen=True, dict=True):
    """Shape, type and packing: all a file must know before it is created.

    Decoders hand out one object for all frames of a kind, so what follows from it is worked out once.
    """

    shape: tuple[int, ...]
    """(rows, columns), or (channels, rows, columns) where a frame has several threshold channels or modules."""
    dtype: str
    """numpy name in native spelling: uint8, uint16, uint32, int32, float32 ..."""
    encoding: Encoding
    chunk_shape: tuple[int, ...] = ()
    """Shape of one blob; () means the whole frame is one blob."""

    @cached_property
    def chunk(self) -> tuple[int, ...]:
        """Shape of one blob, never empty."""
        return self.chunk_shape or self.shape

    @cached_property
    def item_nbytes(self) -> int:
        """Bytes of a pixel once decoded."""
        return np.dtype(self.dtype).itemsize

    @cached_property
    def chunk_nbytes(self) -> int:
        """Bytes of one blob once decoded."""
        return math.prod(self.chunk) * self.item_nbytes

    @cached_property
    def nbytes(self) -> int:
        """Bytes of the whole frame once decoded."""
        return math.prod(self.shape) * self.item_nbytes

    @cached_property
    def chunk_count(self) -> int:
        """Blobs in one frame."""
        return math.prod(self.shape) // math.prod(self.chunk)


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """One complete exposure. Immutable; the blobs may be views into a received message."""

    series: str
    """Identity of the series as the wire gives it; "" where the format has none (STINS)."""
    frame_number: int
    """Index in the series as the sender counts. Usually from 0, but nothing may rely on it."""
    format: FrameFormat
    blobs: tuple[Buffer, ...]
    """One blob a chunk, in C order of the chunk grid."""
    msg_number: int | None = None
    """STINS transport counter over the life of the sender."""
    discard: bool = False
    """Forward and show, count as received, do not write."""
    exposure_time_s: float | None = None
    start_time_s: float | None = None
    """Detector clock, not UTC and not zero-based."""
    stop_time_s: float | None = None
    real_time_s: float | None = None
    extras: dict[str, Any] = msgspec.field(default_factory=dict)
    """Whatever else the message carried, JSON values only (appendix, unknown keys)."""


class DamagedFrame(WireError):
    """The message of a frame makes sense, its pixels do not: so it is known whose row stays blank."""

    def __init__(self, error: WireError, frame: Frame) -> None:
        """`frame` is as the message says, without blobs; `error` tells what is wrong with those."""
        super().__init__(error.asked, of=error.of, answer=error.answer, accepted=error.accepted)
        self.frame = frame
