"""Pixel by pixel: does a file hold what the simulator sent?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  (registers the read filters)
import msgspec
import numpy as np
import numpy.typing as npt

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


Pixels = Callable[[int], npt.NDArray[Any]]
"""Frame number > the frame as it was sent."""


def compare_with_pattern(
    path: Path,
    dataset: str,
    pixels: Callable[[tuple[int, ...], str], Pixels],
    frames: int,
    look: Callable[[int], None] = lambda done: None,
) -> Comparison:
    """Compare every pixel of `frames` frames with what was sent; `look(done)` is called after each frame.

    `pixels(shape, dtype)` tells what a frame of that shape and type must be. The dataset must have exactly that many
    frames, of two dimensions or, where each module keeps its own, three. FileError when it cannot be read at all; a
    difference is a result, not an error.
    """
    try:
        with h5py.File(path, "r", locking=False) as file:
            data = file[dataset]
            if data.ndim not in (3, 4) or data.shape[0] != frames:
                raise FileError(
                    f"compare {frames} frames", of=f"{path}:{dataset}", answer=f"the dataset has shape {data.shape}"
                )
            return _compare(data, pixels(tuple(data.shape[1:]), data.dtype.name), look)
    except (OSError, KeyError) as error:
        raise FileError("read the frames", of=f"{path}:{dataset}", answer=str(error)) from None


def _compare(data: h5py.Dataset, pixels: Pixels, look: Callable[[int], None]) -> Comparison:
    different, first = 0, ""
    for number in range(data.shape[0]):
        found, sent = data[number], pixels(number)
        if not np.array_equal(found, sent):
            wrong = np.argwhere(found != sent)
            different += len(wrong)
            if not first:
                *module, row, column = at = tuple(map(int, wrong[0]))
                place = "".join(f"module {index}, " for index in module) + f"row {row}, column {column}"
                first = f"frame {number}, {place}: {found[at]}, not {sent[at]}"
        look(number + 1)
    return Comparison(
        frames=data.shape[0],
        pixels=int(np.prod(data.shape)),
        pixels_different=different,
        first_difference=first,
        shape=tuple(data.shape),
        dtype=data.dtype.name,
    )
