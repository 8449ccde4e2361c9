"""A frame made small, so that nothing a person looks for is lost. Pure; numpy releases the GIL in all of it.

The factor is the smallest whole number with which the largest side fits. A pixel of the result stands for a block of
factor x factor pixels; blocks are counted from the first row and column, those at the far edges hold what is left.
The frames of several modules or thresholds (rank 3) are stacked, the first on top, before blocks are counted.

    max     the largest pixel of the block; NaN when one of them is NaN
    mean    the mean of the block's pixels; but the largest value of the type when one of them has it, NaN when one is

The largest value of an integer type means no counts: saturated, masked, a gap between modules. Averaged it would be a
number that looks real; so it is kept as it is, and such a block stays visible by either method.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from maxdaq_tango.errors import WireError
from maxdaq_tango.model import PreviewMethod


def preview_factor(shape: tuple[int, ...], size_px: int) -> int:
    """Of a frame of rank 2, or 3 once it is stacked."""
    rows, columns = stacked_shape(shape)
    return max(1, -(-max(rows, columns) // size_px))


def stacked_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """(rows, columns) of the picture before it is reduced. WireError for what is no picture."""
    if len(shape) not in (2, 3) or not all(shape):
        raise WireError("show a frame", answer=f"its shape is {shape}", accepted="rows and columns, of one or several")
    return shape[-2] * (shape[0] if len(shape) == 3 else 1), shape[-1]


def reduced(pixels: npt.NDArray[Any], factor: int, method: PreviewMethod) -> npt.NDArray[np.float64]:
    """See the module. `pixels` of rank 2 or 3, integers or floats. The result is a fresh array of rank 2."""
    picture = pixels.reshape(stacked_shape(pixels.shape))
    if factor == 1:
        return picture.astype(np.float64)
    largest: npt.NDArray[Any] = _by_blocks(picture, factor, np.maximum)
    if method is PreviewMethod.MAX:
        return largest.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):  # infinities of either sign have no mean: NaN
        sums = _by_blocks(picture, factor, np.add, np.float64)
    rows, columns = (_block_sizes(size, factor) for size in picture.shape)
    means: npt.NDArray[np.float64] = sums / (rows[:, None] * columns[None, :])
    if picture.dtype.kind in "ui":
        top = np.iinfo(picture.dtype).max
        means[largest == top] = top
    return means


def _by_blocks(
    picture: npt.NDArray[Any], factor: int, how: np.ufunc, dtype: type[np.float64] | None = None
) -> npt.NDArray[Any]:
    # Rows first: they lie one behind the other in memory, and what is left for the columns is `factor` times less.
    return _rows_by_blocks(_rows_by_blocks(picture, factor, how, dtype).T, factor, how, dtype).T


def _rows_by_blocks(
    picture: npt.NDArray[Any], factor: int, how: np.ufunc, dtype: type[np.float64] | None
) -> npt.NDArray[Any]:
    whole = len(picture) // factor * factor
    parts = []
    if whole:
        blocks = picture[:whole].reshape(whole // factor, factor, picture.shape[1])
        parts.append(how.reduce(blocks, axis=1, dtype=dtype))
    if whole < len(picture):
        parts.append(how.reduce(picture[whole:], axis=0, dtype=dtype, keepdims=True))
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _block_sizes(size: int, factor: int) -> npt.NDArray[np.float64]:
    sizes = np.full(-(-size // factor), float(factor))
    if size % factor:
        sizes[-1] = size % factor
    return sizes
