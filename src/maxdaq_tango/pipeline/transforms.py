"""Frame in, frame out: what happens to pixels between the wire and the file.

A transform says what its output looks like before any data flow (`describe`), so the file is made with the final shape,
type and packing. Transforms are chosen once per series, by the format of its first frame.
"""

from __future__ import annotations

from typing import Protocol

import msgspec
import numpy as np

from maxdaq_tango.errors import PipelineError
from maxdaq_tango.kernels.compression import decode_pixels, encode_pixels
from maxdaq_tango.kernels.orientation import orient
from maxdaq_tango.model import Encoding, Frame, FrameFormat, Orientation
from maxdaq_tango.wire.blobs import lz4_block_to_hdf5

STORABLE = frozenset({Encoding.NONE, Encoding.BSLZ4, Encoding.BSZSTD, Encoding.LZ4_HDF5})
"""Packings that are HDF5 chunks as they are."""


class Transform(Protocol):
    """One step. `apply` is called for every frame and must not keep it."""

    def describe(self, format: FrameFormat) -> FrameFormat:
        """The format of what `apply` returns."""
        ...

    def apply(self, frame: Frame) -> Frame:
        """The frame, changed."""
        ...


class Lz4BlockAsChunk:
    """A bare LZ4 block gets the 16 bytes that make it a chunk of HDF5's LZ4 filter; the pixels stay as they are."""

    def describe(self, format: FrameFormat) -> FrameFormat:
        """Only the packing changes."""
        return msgspec.structs.replace(format, encoding=Encoding.LZ4_HDF5)

    def apply(self, frame: Frame) -> Frame:
        """Re-frame each blob."""
        nbytes = frame.format.chunk_nbytes
        blobs = tuple(lz4_block_to_hdf5(blob, nbytes) for blob in frame.blobs)
        return msgspec.structs.replace(frame, blobs=blobs, format=self.describe(frame.format))


class Orient:
    """Turn and flip, for detectors mounted sideways. Compressed frames are unpacked and packed again."""

    def __init__(self, orientation: Orientation) -> None:
        self._orientation = orientation

    def describe(self, format: FrameFormat) -> FrameFormat:
        """Odd quarter turns swap rows and columns."""
        encoding = Encoding.NONE if format.encoding is Encoding.NONE else Encoding.BSLZ4
        if self._orientation.rotation % 2 == 0:
            return msgspec.structs.replace(format, encoding=encoding)
        return FrameFormat(_swapped(format.shape), format.dtype, encoding, _swapped(format.chunk_shape))

    def apply(self, frame: Frame) -> Frame:
        """Unpack, turn, pack."""
        target = self.describe(frame.format)
        turned = orient(decode_pixels(frame.format, frame.blobs), self._orientation)
        chunks = turned.reshape(-1, *target.chunk) if target.chunk_count > 1 else turned[np.newaxis]
        blobs = tuple(encode_pixels(np.ascontiguousarray(chunk), target.encoding) for chunk in chunks)
        return msgspec.structs.replace(frame, blobs=blobs, format=target)


def choose_transforms(format: FrameFormat, orientation: Orientation) -> list[Transform]:
    """The steps that make a frame of `format` storable and turn it as asked; PipelineError when there is no way."""
    if not orientation.is_identity:
        return [Orient(orientation)]
    if format.encoding is Encoding.LZ4_BLOCK:
        return [Lz4BlockAsChunk()]
    if format.encoding in STORABLE:
        return []
    raise PipelineError(
        "store the frames of this stream",
        answer=f"their packing is {format.encoding.value!r}",
        accepted=", ".join(sorted(e.value for e in STORABLE | {Encoding.LZ4_BLOCK})),
    )


def fill_value(dtype_name: str) -> float | int:
    """The value of every pixel of a frame that never came: never a number that looks like counts."""
    dtype = np.dtype(dtype_name)
    if dtype.kind == "u":
        return int(np.iinfo(dtype).max)
    return -1 if dtype.kind == "i" else float("nan")


def _swapped(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:-2], shape[-1], shape[-2]) if shape else ()
