"""Counts in a region of an image. Pure."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

from maxdaq_tango.errors import ConfigurationError

Region = tuple[slice, slice]
"""Rows and columns."""

_REGION = re.compile(r"\s*(\d*)\s*:\s*(\d*)\s*,\s*(\d*)\s*:\s*(\d*)\s*")
EXAMPLE = "first row:row behind the last, the same for columns, such as 100:200, 300:400"


def region(text: str) -> Region:
    """Of "rows, columns" in Python's words for parts; "" = all. ConfigurationError."""
    if not text.strip():
        return slice(None), slice(None)
    found = _REGION.fullmatch(text)
    if found is None:
        raise ConfigurationError(f"count in region '{text}'", answer="no such region", accepted=EXAMPLE)
    first_row, behind_row, first_column, behind_column = (int(part) if part else None for part in found.groups())
    for first, behind in ((first_row, behind_row), (first_column, behind_column)):
        if behind is not None and behind <= (first or 0):
            raise ConfigurationError(f"count in region '{text}'", answer="it has no pixels", accepted=EXAMPLE)
    return slice(first_row, behind_row), slice(first_column, behind_column)


def counts(image: npt.NDArray[Any], where: Region) -> float:
    """Sum of the pixels there but for those without a measurement: highest value of unsigned types, below 0, NaN.

    ConfigurationError where the region is not in the image.
    """
    rows, columns = where
    for part, size, name in ((rows, image.shape[0], "rows"), (columns, image.shape[1], "columns")):
        if max(part.start or 0, (part.stop or 1) - 1) >= size:
            raise ConfigurationError(
                f"count in {name} {part.start or 0}:{part.stop or ''}", answer=f"the image has {size} {name}"
            )
    pixels = image[where]
    if pixels.dtype.kind == "u":
        return float(pixels[pixels != np.iinfo(pixels.dtype).max].sum(dtype=np.uint64))
    return float(pixels[pixels >= 0].sum(dtype=np.float64))
