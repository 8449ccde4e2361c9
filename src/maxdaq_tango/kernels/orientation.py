"""Turning frames: quarter turns first, then the flips."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from maxdaq_tango.model import Orientation


def orient(array: npt.NDArray[Any], orientation: Orientation) -> npt.NDArray[Any]:
    """`array` turned in its last two axes, in C order; the same object when there is nothing to turn."""
    if orientation.is_identity:
        return array
    return np.ascontiguousarray(turned(array, orientation))


def turned(array: npt.NDArray[Any], orientation: Orientation) -> npt.NDArray[Any]:
    """`array` turned in its last two axes, as a view: nothing is copied until somebody does."""
    view: npt.NDArray[Any] = np.rot90(array, orientation.rotation % 4, axes=(-2, -1))
    if orientation.fliplr:
        view = view[..., :, ::-1]
    if orientation.flipud:
        view = view[..., ::-1, :]
    return view
