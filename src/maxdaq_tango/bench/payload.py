"""The frames of one case: made once, put into shared memory, the same bytes for every process.

The pixels are those of the simulated detectors: sparse diffraction, which bslz4 packs about as real data.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from maxdaq_tango.bench.plan import Case
from maxdaq_tango.bench.talk import Description
from maxdaq_tango.detectors.simulation.pattern import FramePattern
from maxdaq_tango.kernels.compression import compress_bslz4
from maxdaq_tango.model import Encoding

DTYPE = "uint16"
ITEM_NBYTES = 2
SET_BYTES = 64_000_000
"""Frames of one set together: more than the caches of a processor, little beside its memory."""
FEWEST, MOST = 3, 64
"""Distinct frames."""
TILE = 1024
"""Larger images repeat the pixels of a pattern of this many rows and columns: its period is far beyond the 8 kB that
bitshuffle packs at a time, so they pack like the pattern."""
IMAGE_BYTES = 300_000_000
"""Unpacked images of one set together: packing them takes time before every case."""
USUAL_RATIO = 11
"""How well the pattern packs, roughly; the first guess for the size of the image behind a packed frame."""
SEED = 7


class Payload:
    """Views of the frames in shared memory; used by the process that maps it."""

    def __init__(self, description: Description, handle: int) -> None:
        """`handle` is a file descriptor of the shared memory; it stays open and belongs to the caller."""
        self.description = description
        self._map = mmap.mmap(handle, sum(description.lengths), prot=mmap.PROT_READ)
        view = memoryview(self._map)
        ends = np.cumsum(description.lengths).tolist()
        self.frames = [view[end - length : end] for end, length in zip(ends, description.lengths, strict=True)]

    def pixels(self, index: int) -> npt.NDArray[np.uint16]:
        """One frame as an array; only for uncompressed ones."""
        return np.frombuffer(self.frames[index], DTYPE).reshape(self.description.shape)


def store_payload(case: Case) -> tuple[Description, int]:
    """Make the frames; returns what they are and a file descriptor of the memory, which the caller closes."""
    shape, blobs = make_frames(case)
    handle = os.memfd_create("maxdaq-bench-frames")
    try:
        for blob in blobs:
            _write_all(handle, blob)
    except OSError:
        os.close(handle)
        raise
    lengths = tuple(len(blob) for blob in blobs)
    return Description(shape=shape, dtype=DTYPE, packing=case.packing, lengths=lengths), handle


def make_frames(case: Case) -> tuple[tuple[int, int], list[bytes]]:
    """Shape in (rows, columns) and the packed frames, all different."""
    shape = shape_of(case.wire_nbytes)
    if case.packing is not Encoding.NONE:
        raw = case.wire_nbytes * USUAL_RATIO
        for _ in range(2):  # how well a frame packs depends a little on its size
            shape = shape_of(raw)
            packed = len(_pack(_Images(shape).image(0), case.packing))
            raw = int(shape[0] * shape[1] * ITEM_NBYTES * case.wire_nbytes / packed)
        shape = shape_of(raw)
    image_nbytes = shape[0] * shape[1] * ITEM_NBYTES
    count = max(FEWEST, min(MOST, SET_BYTES // case.wire_nbytes, IMAGE_BYTES // image_nbytes))
    images = _Images(shape)
    return shape, [_pack(images.image(number), case.packing) for number in range(count)]


def shape_of(nbytes: int) -> tuple[int, int]:
    """(rows, columns) of an almost square image of about so many bytes."""
    pixels = max(1, nbytes // ITEM_NBYTES)
    rows = max(1, round(math.sqrt(pixels)))
    return rows, max(1, round(pixels / rows))


class _Images:
    def __init__(self, shape: tuple[int, int]) -> None:
        self._shape = shape
        self._pattern = FramePattern(SEED, shape if max(shape) <= TILE else (TILE, TILE), DTYPE)

    def image(self, number: int) -> npt.NDArray[np.uint16]:
        pixels: npt.NDArray[np.uint16] = np.resize(self._pattern.frame(number), self._shape)
        return pixels


def _pack(image: npt.NDArray[np.uint16], packing: Encoding) -> bytes:
    return image.tobytes() if packing is Encoding.NONE else compress_bslz4(image)


def _write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def mean_nbytes(lengths: Sequence[int]) -> float:
    """Bytes of a frame on average."""
    return sum(lengths) / len(lengths)
