"""STINS messages of single modules, without their mark."""

from __future__ import annotations

import random

import numpy as np

from fuzz.message import module_must_hold, packed
from fuzz.mutation import Plain, json_or_blob, message
from maxdaq_tango.kernels.compression import encode_pixels
from maxdaq_tango.model import Encoding, FrameFormat
from maxdaq_tango.wire import lambda_modules, stins

DECODER = lambda_modules.LambdaModulesDecoder()
PIXELS = (np.arange(600, dtype=np.uint16) % 7).reshape(20, 30)


def one(data: bytes) -> None:
    """What must hold of these bytes."""
    module_must_hold(DECODER, data)


def mutated(data: bytes, most: int, chance: random.Random, plain: Plain) -> bytes:
    """A change that keeps the rest of the message."""
    return message(data, most, chance, plain, json_or_blob)


def seeds() -> dict[str, bytes]:
    """Good messages of every kind."""
    geometry = {"x": 1, "y": 2, "rotation": 90, "full_shape": [50, 60]}
    found = {"header": packed(stins.encode_header(1, "/data/a.h5", geometry)), "end": packed(stins.encode_end(7))}
    for encoding in (Encoding.NONE, Encoding.BSLZ4):
        format = FrameFormat((20, 30), "uint16", encoding)
        parts = lambda_modules.encode_image(2, 0, 4, format, encode_pixels(PIXELS, encoding))
        found[f"image-{encoding.value}"] = packed([bytes(part) for part in parts])
    return found
