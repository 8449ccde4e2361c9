"""Pixel by pixel: does a file hold what the simulator sent?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  (registers the read filters)
import msgspec
import numpy as np

from maxdaq_tango.detectors.simulation.pattern import FramePattern
from maxdaq_tango.errors import FileError


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What was compared and what differs."""

    frames: int
    pixels: int
    pixels_different: int
    first_difference: str = ""
    """Place and values; "" when nothing differs."""
    shape: tuple[int, ...]
    dtype: str


def compare_with_pattern(
    path: Path, dataset: str, seed: int, frames: int, look: Callable[[int], None] = lambda done: None
) -> Comparison:
    """Compare every pixel of `frames` frames with the simulator's pattern; `look(done)` is called after each frame.

    The dataset must have exactly that many frames, of two dimensions. FileError when it cannot be read at all; a
    difference is a result, not an error.
    """
    try:
        with h5py.File(path, "r", locking=False) as file:
            data = file[dataset]
            if data.ndim != 3 or data.shape[0] != frames:
                raise FileError(
                    f"compare {frames} frames", of=f"{path}:{dataset}", answer=f"the dataset has shape {data.shape}"
                )
            return _compare(data, seed, look)
    except (OSError, KeyError) as error:
        raise FileError("read the frames", of=f"{path}:{dataset}", answer=str(error)) from None


def _compare(data: h5py.Dataset, seed: int, look: Callable[[int], None]) -> Comparison:
    frames, rows, columns = data.shape
    pattern = FramePattern(seed, (rows, columns), data.dtype.name)
    different, first = 0, ""
    for number in range(frames):
        found, sent = data[number], pattern.frame(number)
        if not np.array_equal(found, sent):
            wrong = np.argwhere(found != sent)
            different += len(wrong)
            if not first:
                row, column = wrong[0]
                first = f"frame {number}, row {row}, column {column}: {found[row, column]}, not {sent[row, column]}"
        look(number + 1)
    return Comparison(
        frames=frames,
        pixels=frames * rows * columns,
        pixels_different=different,
        first_difference=first,
        shape=tuple(data.shape),
        dtype=data.dtype.name,
    )
