"""A picture of frames for people: logarithmic, in colour, masked pixels grey."""

from __future__ import annotations

from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  (registers the read filters)
import numpy as np
import numpy.typing as npt
from PIL import Image

_COLOURS = ((0, 0, 4), (49, 10, 93), (120, 28, 109), (188, 55, 84), (237, 105, 37), (251, 180, 26), (252, 255, 164))
"""Points of the colour map "inferno", which prints in grey as it looks and is readable for the colour-blind."""
_MASKED = (70, 74, 84)
FRAMES_SUMMED = 100


def write_preview(path: Path, dataset: str, picture: Path) -> int:
    """Write the sum of the first frames of `dataset` as a PNG; returns how many were summed.

    `picture` must not exist. A pixel that has the largest value of its unsigned type, a negative one or none (nan) is
    masked. Modules that are stored one by one are shown one below the other.
    """
    with h5py.File(path, "r", locking=False) as file:
        data = file[dataset]
        count: int = min(FRAMES_SUMMED, data.shape[0])
        columns = data.shape[-1]
        total = np.zeros((int(np.prod(data.shape[1:-1])), columns), dtype=np.float64)
        masked = np.zeros(total.shape, dtype=bool)
        for number in range(count):
            frame = data[number].reshape(total.shape)
            masked |= (frame == np.iinfo(frame.dtype).max) if frame.dtype.kind == "u" else ~(frame >= 0)
            total += frame
    with picture.open("xb") as out:
        Image.fromarray(coloured(total, masked)).save(out, format="png")
    return count


def coloured(counts: npt.NDArray[np.float64], masked: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """RGB (rows, columns, 3) of counts from 0; the brightest thousandth of the pixels is white-hot."""
    scaled = np.log1p(np.where(masked, 0, np.maximum(counts, 0)))
    brightest = float(np.quantile(scaled, 0.999)) if scaled.size else 0.0
    levels = np.clip(scaled / (brightest or 1.0), 0, 1)
    points = np.linspace(0, 1, len(_COLOURS))
    rgb = np.stack([np.interp(levels, points, channel) for channel in zip(*_COLOURS, strict=True)], axis=-1)
    rgb[masked] = _MASKED
    return rgb.round().astype(np.uint8)
