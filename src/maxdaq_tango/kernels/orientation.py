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
    turned = np.rot90(array, orientation.rotation % 4, axes=(-2, -1))
    if orientation.fliplr:
        turned = turned[..., :, ::-1]
    if orientation.flipud:
        turned = turned[..., ::-1, :]
    return np.ascontiguousarray(turned)
