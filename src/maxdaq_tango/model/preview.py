"""A small picture of the newest frame, for people who look: how large, how it is made, and what came out."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from maxdaq_tango.errors import ConfigurationError

LEAST_PREVIEW_PX = 16
MOST_PREVIEW_PX = 1024
"""Of the largest side: 8 MB as numbers of 8 bytes, ten times a second at most."""


class PreviewMethod(StrEnum):
    """What becomes of a block of pixels; see `kernels/preview.py`."""

    MAX = "max"
    """A hot pixel, or a single photon, is never lost."""
    MEAN = "mean"


class PreviewSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Only what `checked_settings` let pass."""

    size_px: int = 512
    """Of the largest side, at most."""
    method: PreviewMethod = PreviewMethod.MAX


class Preview(NamedTuple):
    """One picture."""

    pixels: npt.NDArray[np.float64]
    """(rows, columns). Every integer of up to 53 bits is exact."""
    frame_number: int
    run_number: int
    """Of the series in its engine, as in `Counters`."""
    factor: int
    """Rows, and columns, of the frame in one pixel."""


def checked_size(size_px: int, of: str = "") -> int:
    """The same; ConfigurationError for a picture that is none, or that is no longer small."""
    if not LEAST_PREVIEW_PX <= size_px <= MOST_PREVIEW_PX:
        raise ConfigurationError(
            f"make a preview with a largest side of {size_px} pixels",
            of=of,
            answer="not a size of a preview",
            accepted=f"{LEAST_PREVIEW_PX} to {MOST_PREVIEW_PX} pixels",
        )
    return size_px


def checked_method(text: str, of: str = "") -> PreviewMethod:
    """The word; ConfigurationError for any other."""
    try:
        return PreviewMethod(text.strip().lower())
    except ValueError:
        raise ConfigurationError(
            f"make a preview by '{text}'", of=of, answer="no such method", accepted=" or ".join(PreviewMethod)
        ) from None
