"""Messages of slsReceiver, without their mark."""

from __future__ import annotations

import random

import numpy as np

from fuzz.message import module_must_hold, packed
from fuzz.mutation import Plain, json_or_blob, message
from maxdaq_tango.model import Encoding, FrameFormat
from maxdaq_tango.wire import sls_json

DECODER = sls_json.SlsJsonDecoder()


def one(data: bytes) -> None:
    """What must hold of these bytes."""
    module_must_hold(DECODER, data)


def mutated(data: bytes, most: int, chance: random.Random, plain: Plain) -> bytes:
    """A change that keeps the rest of the message."""
    return message(data, most, chance, plain, json_or_blob)


def seeds() -> dict[str, bytes]:
    """Good messages of every kind."""
    found = {"end": packed([bytes(part) for part in sls_json.encode_end()])}
    for dtype in sls_json.TYPES.values():
        pixels = (np.arange(600) % 7).astype(dtype).reshape(20, 30)
        format = FrameFormat((20, 30), dtype, Encoding.NONE)
        parts = sls_json.encode_image(7, format, pixels.tobytes(), place=(1, 2), modules=(2, 3), first_number=3)
        found[f"image-{dtype}"] = packed([bytes(part) for part in parts])
    more = {"addJsonHeader": {"sample": "x"}, "frameIndex": None, "completeImage": True}
    format = FrameFormat((2, 2), "uint8", Encoding.NONE)
    found["image-more"] = packed([bytes(part) for part in sls_json.encode_image(1, format, bytes(4), **more)])
    return found
