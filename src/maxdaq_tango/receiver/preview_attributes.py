"""The live view of a StreamReceiver, as one table: the newest frame, made small by the engine.

What is shown lies in shared memory: nothing here asks the engine, and no viewer costs it anything.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from maxdaq_tango.engine.preview_memory import Previews
from maxdaq_tango.kernels.preview import preview_factor, reduced
from maxdaq_tango.model import (
    LEAST_PREVIEW_PX,
    MOST_PREVIEW_PX,
    Preview,
    PreviewMethod,
    checked_method,
    checked_size,
)
from maxdaq_tango.tango_support.attributes import told


def _of_newest(what: str) -> Any:
    def read(self: Any) -> Any:
        preview: Preview | None = self.previews.newest()
        return None if preview is None else getattr(preview, what)

    return read


def smaller(previews: Previews, size_px: int, of: str) -> npt.NDArray[np.float64]:
    """Frame number, rows, columns, and the pixels of the preview made smaller once more, by max: for one viewer.

    Empty before the first frame. ConfigurationError.
    """
    checked_size(size_px, of)
    preview = previews.newest()
    if preview is None:
        return np.empty(0)
    pixels = reduced(preview.pixels, preview_factor(preview.pixels.shape, size_px), PreviewMethod.MAX)
    return np.concatenate([(preview.frame_number, *pixels.shape), pixels.reshape(-1)])


class PreviewAttributes:
    """Attributes of `StreamReceiver`; the functions get the device."""

    Preview = told(
        _of_newest("pixels"),
        dtype=((float,),),
        label="Preview",
        unit="count",
        format="%g",
        max_dim_x=MOST_PREVIEW_PX,
        max_dim_y=MOST_PREVIEW_PX,
        doc="The newest frame as it is stored, down-sampled by PreviewMethod to PreviewSize; at most 10 a second. "
        "Invalid before the first frame.",
    )
    PreviewFrame = told(
        _of_newest("frame_number"),
        dtype=int,
        label="Preview frame",
        format="%d",
        doc="Number of the frame in Preview, as the sender counts; invalid before the first frame.",
    )
    PreviewFactor = told(
        _of_newest("factor"),
        dtype=int,
        label="Preview factor",
        format="%d",
        doc="Rows, and columns, of the frame in one pixel of Preview; invalid before the first frame.",
    )
    PreviewSize = told(
        lambda self: self.previews.settings.size_px,
        lambda self, value: self.set_preview(size_px=checked_size(int(value), f"{self.get_name()}/PreviewSize")),
        dtype=int,
        label="Preview size",
        unit="pixel",
        format="%d",
        memorized=True,
        doc=f"Largest side of Preview, {LEAST_PREVIEW_PX} to {MOST_PREVIEW_PX}; from the next frame on. It is that of "
        "all viewers: one that wants less calls PreviewOf.",
    )
    PreviewMethod = told(
        lambda self: self.previews.settings.method.value,
        lambda self, value: self.set_preview(method=checked_method(value, f"{self.get_name()}/PreviewMethod")),
        dtype=str,
        label="Preview method",
        memorized=True,
        doc="What a pixel of Preview shows of its block: max, which loses no hot pixel, or mean.",
    )
