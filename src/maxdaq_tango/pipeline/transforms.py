"""Frame in, frame out: what happens to pixels between the wire and the file.

A transform says what its output looks like before any data flow (`describe`), so the file is made with the final shape,
type and packing. Transforms are chosen once per series, by the format of its first frame.

What a transform makes goes into memory that is lent to it for one frame (`room` bytes of it) and is used again for the
next: nothing large is allocated per frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import msgspec
import numpy as np

from maxdaq_tango.errors import PipelineError, WireError
from maxdaq_tango.kernels.compression import HAS_BSZSTD, decode_pixels
from maxdaq_tango.kernels.orientation import turned
from maxdaq_tango.kernels.packing import pack_into, packed_room
from maxdaq_tango.kernels.time_over_threshold import convert, load_table
from maxdaq_tango.kernels.unpacking import UNPACKED_HERE, unpack_into
from maxdaq_tango.model import (
    Buffer,
    Compression,
    Encoding,
    Frame,
    FrameFormat,
    Orientation,
    PixelSteps,
    Verification,
)
from maxdaq_tango.model.run import NO_STEPS
from maxdaq_tango.wire.blobs import lz4_block_to_hdf5

USUAL_PACKING = 20
"""Diffraction patterns shrink 8 to 20 times."""


class Transform(Protocol):
    """One step. Has no state: several threads call one and the same."""

    def describe(self, format: FrameFormat) -> FrameFormat:
        """The format of what `apply` returns."""
        ...

    def room(self, format: FrameFormat) -> int:
        """Most bytes that one call of `apply` needs beside its frame."""
        ...

    def apply(self, frame: Frame, into: memoryview) -> Frame:
        """The frame, changed; WireError when its blobs are damaged.

        `into` has `room` bytes. The blobs returned may lie in it, and are good until it is lent again.
        """
        ...


class Lz4BlockAsChunk:
    """A bare LZ4 block gets the 16 bytes that make it a chunk of HDF5's LZ4 filter; the pixels stay as they are."""

    def describe(self, format: FrameFormat) -> FrameFormat:
        """Only the packing changes."""
        return msgspec.structs.replace(format, encoding=Encoding.LZ4_HDF5)

    def room(self, format: FrameFormat) -> int:
        """Of copies that this step allocates itself: they are small, and `into` stays unused."""
        return format.chunk_count * (16 + _lz4_bound(format.chunk_nbytes))

    def apply(self, frame: Frame, into: memoryview) -> Frame:
        """Re-frame each blob."""
        nbytes = frame.format.chunk_nbytes
        if any(len(blob) > _lz4_bound(nbytes) for blob in frame.blobs):
            raise WireError("re-frame LZ4 blocks", answer="a block longer than any of its pixels can be")
        blobs = tuple(lz4_block_to_hdf5(blob, nbytes) for blob in frame.blobs)
        return msgspec.structs.replace(frame, blobs=blobs, format=self.describe(frame.format))


class Unpack:
    """Packings that no file holds as they are become pixels."""

    def describe(self, format: FrameFormat) -> FrameFormat:
        """Only the packing changes."""
        return _packed_as(format, Encoding.NONE)

    def room(self, format: FrameFormat) -> int:
        """The pixels."""
        return format.nbytes

    def apply(self, frame: Frame, into: memoryview) -> Frame:
        """Chunk by chunk, one right behind the other."""
        format, nbytes = frame.format, frame.format.chunk_nbytes
        blobs = [into[at * nbytes : (at + 1) * nbytes] for at in range(len(frame.blobs))]
        for blob, place in zip(frame.blobs, blobs, strict=True):
            unpack_into(format, blob, place)
        return msgspec.structs.replace(frame, blobs=tuple(blobs), format=self.describe(format))


class Verify:
    """Unpack and throw the pixels away: a frame that cannot be unpacked is damaged. It passes as it came."""

    def describe(self, format: FrameFormat) -> FrameFormat:
        """Nothing changes."""
        return format

    def room(self, format: FrameFormat) -> int:
        """Of pixels for which the decoder finds memory by itself, blob by blob; `into` stays unused."""
        return format.chunk_nbytes

    def apply(self, frame: Frame, into: memoryview) -> Frame:
        """Look at each blob."""
        one = _one_chunk(frame.format)
        for blob in frame.blobs:
            decode_pixels(one, (blob,))
        return frame


class Orient:
    """Turn and flip, for detectors mounted sideways. What comes out is unpacked, whatever went in."""

    def __init__(self, orientation: Orientation) -> None:
        self._orientation = orientation

    def describe(self, format: FrameFormat) -> FrameFormat:
        """Odd quarter turns swap rows and columns."""
        if self._orientation.rotation % 2 == 0:
            return msgspec.structs.replace(format, encoding=Encoding.NONE)
        return FrameFormat(_swapped(format.shape), format.dtype, Encoding.NONE, _swapped(format.chunk_shape))

    def room(self, format: FrameFormat) -> int:
        """The turned pixels; and the unpacked ones before, for which the decoder finds memory by itself."""
        return format.nbytes if format.encoding is Encoding.NONE and format.chunk_count == 1 else 2 * format.nbytes

    def apply(self, frame: Frame, into: memoryview) -> Frame:
        """Unpack and turn, chunk by chunk."""
        target = self.describe(frame.format)
        pixels = turned(decode_pixels(frame.format, frame.blobs), self._orientation)
        blobs: list[Buffer] = []
        dtype, nbytes = np.dtype(target.dtype).newbyteorder("<"), target.chunk_nbytes
        for place in np.ndindex(*(size // part for size, part in zip(target.shape, target.chunk, strict=True))):
            where = tuple(slice(i * part, (i + 1) * part) for i, part in zip(place, target.chunk, strict=True))
            blob = into[len(blobs) * nbytes : (len(blobs) + 1) * nbytes]
            np.frombuffer(blob, dtype).reshape(target.chunk)[...] = pixels[where]
            blobs.append(blob)
        return msgspec.structs.replace(frame, blobs=tuple(blobs), format=target)


class ConvertTimeOverThreshold:
    """Counts become energies, by a table for each pixel. What comes out is unpacked float32."""

    def __init__(self, path: str) -> None:
        """FileError when the table cannot be read."""
        self._path = path
        self._shape, self._table = load_table(path)

    def describe(self, format: FrameFormat) -> FrameFormat:
        """PipelineError when the table is for frames of another shape."""
        if format.dtype != "int32" or format.chunk_count != 1 or _plane(format.shape) != self._shape:
            raise PipelineError(
                "convert time over threshold",
                answer=f"frames of {format.shape} {format.dtype}",
                accepted=f"{self._shape} int32, for which {self._path} is",
            )
        return FrameFormat(format.shape, "float32", Encoding.NONE, format.chunk_shape)

    def room(self, format: FrameFormat) -> int:
        """The energies; and the unpacked counts, for which the decoder finds memory by itself."""
        return format.nbytes if format.encoding is Encoding.NONE else 2 * format.nbytes

    def apply(self, frame: Frame, into: memoryview) -> Frame:
        """Convert."""
        counts = decode_pixels(frame.format, frame.blobs).reshape(-1)
        blob = into[: frame.format.nbytes]
        convert(counts, self._table, np.frombuffer(blob, np.float32))
        return msgspec.structs.replace(frame, blobs=(blob,), format=self.describe(frame.format))


class MaskRectangle:
    """A part of each frame is none: a module that is missing, the shadow of a beam pipe. What comes out is unpacked."""

    def __init__(self, mask: tuple[int, ...]) -> None:
        self._first_row, self._last_row, self._first_column, self._last_column = mask

    def describe(self, format: FrameFormat) -> FrameFormat:
        """PipelineError when the rectangle does not lie in the frame."""
        rows, columns = _plane(format.shape)
        if format.chunk_count != 1 or self._last_row > rows or self._last_column > columns:
            raise PipelineError(
                f"mask rows {self._first_row} to {self._last_row}, columns {self._first_column} to {self._last_column}",
                answer=f"frames of {format.shape}, in {format.chunk_count} chunks",
                accepted="a rectangle inside frames of one chunk",
            )
        return _packed_as(format, Encoding.NONE)

    def room(self, format: FrameFormat) -> int:
        """The pixels; and the unpacked ones before, for which the decoder finds memory by itself."""
        return format.nbytes if format.encoding is Encoding.NONE else 2 * format.nbytes

    def apply(self, frame: Frame, into: memoryview) -> Frame:
        """Copy and fill."""
        format = frame.format
        blob = into[: format.nbytes]
        pixels = np.frombuffer(blob, np.dtype(format.dtype).newbyteorder("<")).reshape(format.shape)
        pixels[...] = decode_pixels(format, frame.blobs)
        rectangle = np.s_[..., self._first_row : self._last_row, self._first_column : self._last_column]
        pixels[rectangle] = masked_value(format.dtype)
        return msgspec.structs.replace(frame, blobs=(blob,), format=self.describe(format))


class Pack:
    """Uncompressed pixels become chunks of HDF5's bitshuffle filter, ready to be stored."""

    def __init__(self, encoding: Encoding) -> None:
        """`encoding` is bslz4 or bszstd."""
        self._encoding = encoding

    def describe(self, format: FrameFormat) -> FrameFormat:
        """Only the packing changes."""
        return _packed_as(format, self._encoding)

    def room(self, format: FrameFormat) -> int:
        """Noise grows a little when it is packed."""
        return format.chunk_count * packed_room(format.chunk_nbytes, format.item_nbytes, self._encoding)

    def apply(self, frame: Frame, into: memoryview) -> Frame:
        """Pack each blob, one right behind the other."""
        format = frame.format
        item, nbytes = format.item_nbytes, format.chunk_nbytes
        blobs: list[Buffer] = []
        for blob in frame.blobs:
            if len(blob) != nbytes:
                raise WireError("pack pixels", answer=f"{len(blob)} bytes", accepted=f"{nbytes}")
            length = pack_into(blob, item, self._encoding, into)
            blobs.append(into[:length])
            into = into[length:]
        return msgspec.structs.replace(frame, blobs=tuple(blobs), format=self.describe(format))


class Chain:
    """The transforms of one series, one after the other, and how much memory they are to be lent."""

    def __init__(self, format: FrameFormat, transforms: Sequence[Transform]) -> None:
        """`format` is that of every frame that will come."""
        self._steps: list[tuple[Transform, int, int]] = []
        self.room = 0
        """Bytes that `apply` must be lent."""
        for transform in transforms:
            end = self.room + transform.room(format)
            self._steps.append((transform, self.room, end))
            self.room, format = end, transform.describe(format)
        self.stored = format
        """The format of what comes out at the end."""

    @property
    def stored_as(self) -> str:
        """For people: the steps and the packing that comes out."""
        steps = ", ".join(type(transform).__name__ for transform, _, _ in self._steps)
        return f"{self.stored.encoding.value} ({steps})"

    def __bool__(self) -> bool:
        """False: frames can be stored as they come."""
        return bool(self._steps)

    def apply(self, frame: Frame, into: memoryview) -> Frame:
        """The frame as it is stored; its blobs are good until `into` is lent again. WireError: it is damaged."""
        for transform, begin, end in self._steps:
            frame = transform.apply(frame, into[begin:end])
        return frame

    def usual_nbytes(self, first: Frame) -> int:
        """Of a stored frame, as far as the first one tells: it may be blank, so its pixels count beside its size."""
        stored = self.stored
        unpacked = stored.chunk_nbytes * stored.chunk_count
        if stored.encoding is Encoding.NONE:
            return unpacked
        if self:
            try:
                first = self.apply(first, np.empty(self.room, np.uint8).data)
            except Exception:  # this is a look ahead; the pool meets the same and tells it
                return unpacked // USUAL_PACKING
        return max(sum(len(blob) for blob in first.blobs), unpacked // USUAL_PACKING)


def choose_transforms(
    format: FrameFormat,
    orientation: Orientation,
    compression: Compression,
    verify: Verification = Verification.FRAMING,
    steps: PixelSteps = NO_STEPS,
) -> list[Transform]:
    """The steps that turn a frame of `format` as asked and make it storable.

    `compression` is for frames that come uncompressed, or in a packing that no file holds (cbf, mono12p). Compressed
    ones that are turned are packed again as bslz4; they are unpacked for that, so there is nothing left to verify.
    Raises what the steps raise that do not fit the format: FileError, PipelineError.
    """
    here = format.encoding in UNPACKED_HERE
    packed = Encoding(compression.value) if here or format.encoding is Encoding.NONE else Encoding.BSLZ4
    packing: list[Transform] = [] if packed is Encoding.NONE else [Pack(packed)]
    turning: list[Transform] = [] if orientation.is_identity else [Orient(orientation)]
    before: list[Transform] = [Unpack()] if here else []
    before += [ConvertTimeOverThreshold(steps.tot_table)] if steps.tot_table else []
    behind: list[Transform] = [MaskRectangle(steps.mask)] if steps.mask else []
    if before or turning or behind:
        return [*before, *turning, *behind, *packing]
    if format.encoding is Encoding.NONE:
        return packing
    verifying: list[Transform] = [Verify()] if verify is Verification.FULL and _is_unpackable(format) else []
    if format.encoding is Encoding.LZ4_BLOCK:
        return [*verifying, Lz4BlockAsChunk()]
    return verifying  # a chunk of HDF5 as it is


def verified(format: FrameFormat) -> str:
    """For people, where every frame is to be unpacked once: whether it is."""
    if format.encoding is Encoding.NONE:
        return "uncompressed frames: nothing but their size can be looked at"
    if _is_unpackable(format):
        return "every frame is unpacked before it is stored"
    return f"block lengths only: no decoder for {format.encoding.value} here"


def fill_value(dtype_name: str) -> float | int:
    """The value of every pixel of a frame that never came: never a number that looks like counts."""
    dtype = np.dtype(dtype_name)
    if dtype.kind == "u":
        return int(np.iinfo(dtype).max)
    return -1 if dtype.kind == "i" else float("nan")


def masked_value(dtype_name: str) -> int:
    """The value of a pixel that is none: -1 as camserver has it, the highest of unsigned types as Dectris has it."""
    dtype = np.dtype(dtype_name)
    return int(np.iinfo(dtype).max) if dtype.kind == "u" else -1


@lru_cache(maxsize=64)
def _packed_as(format: FrameFormat, encoding: Encoding) -> FrameFormat:
    """One object for all frames of a series."""
    return msgspec.structs.replace(format, encoding=encoding)


def _is_unpackable(format: FrameFormat) -> bool:
    """Frames that nobody here can unpack are better stored unseen than refused."""
    return format.encoding is not Encoding.BSZSTD or HAS_BSZSTD


@lru_cache(maxsize=64)
def _one_chunk(format: FrameFormat) -> FrameFormat:
    """What one blob of a frame is."""
    return FrameFormat(format.chunk, format.dtype, format.encoding)


def _plane(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(rows, columns)."""
    return tuple(shape[-2:])


def _lz4_bound(nbytes: int) -> int:
    """LZ4_compressBound: no block of that many bytes is longer."""
    return nbytes + nbytes // 255 + 16


def _swapped(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:-2], shape[-1], shape[-2]) if shape else ()
