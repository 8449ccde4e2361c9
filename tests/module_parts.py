"""Parts of frames of several modules, for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from maxdaq_tango.kernels.compression import decode_pixels, encode_pixels
from maxdaq_tango.model import Encoding, Frame, FrameFormat, ModuleFrame

SHAPE = (3, 5)


def pixels(number: int, module: int, dtype: str = "uint16") -> np.ndarray[Any, Any]:
    """Never the fill value, and another in each module of each frame."""
    values: np.ndarray[Any, Any] = (np.arange(15).reshape(SHAPE) + 100 * number + 1000 * module).astype(dtype)
    return values


def part(
    number: int, module: int, encoding: Encoding = Encoding.NONE, dtype: str = "uint16", **how: Any
) -> ModuleFrame:
    fields: dict[str, Any] = {
        "source": module,
        "module": module,
        "module_count": None,
        "frame_number": number,
        "format": FrameFormat(SHAPE, dtype, encoding),
        "blob": encode_pixels(pixels(number, module, dtype), encoding),
    }
    return ModuleFrame(**(fields | how))


def whole(number: int, modules: int, without: tuple[int, ...] = (), dtype: str = "uint16") -> np.ndarray[Any, Any]:
    """What is to be stored; 65535 (or -1) where a module is not there."""
    blank = np.full(SHAPE, -1 if dtype.startswith("int") else np.iinfo(dtype).max, dtype)
    return np.stack([blank if m in without else pixels(number, m, dtype) for m in range(modules)])


def seen(frame: Frame) -> np.ndarray[Any, Any]:
    return decode_pixels(frame.format, frame.blobs)
