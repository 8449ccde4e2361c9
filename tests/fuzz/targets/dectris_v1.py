"""Messages of the Dectris stream v1: JSON parts and blobs."""

from __future__ import annotations

import random

import numpy as np

from fuzz.message import must_hold, packed
from fuzz.mutation import Plain, json_or_blob, message
from maxdaq_tango.kernels.compression import encode_pixels
from maxdaq_tango.model import Encoding, FrameFormat
from maxdaq_tango.wire import dectris_v1

DECODER = dectris_v1.DectrisV1Decoder()
PIXELS = (np.arange(600, dtype=np.uint32) % 7).reshape(20, 30)
CONFIG = {"nimages": 5, "ntrigger": 2, "frame_time": 0.1, "description": "simulated", "a": {"b": [1, None]}}
APPENDIX = '{"filename": "/data/a.h5", "rotate": 1, "save_raw": true}'


def one(data: bytes) -> None:
    """What must hold of these bytes."""
    must_hold(DECODER, data)


def mutated(data: bytes, most: int, chance: random.Random, plain: Plain) -> bytes:
    """A change that keeps the rest of the message."""
    return message(data, most, chance, plain, json_or_blob)


def seeds() -> dict[str, bytes]:
    """Good messages of every kind."""
    found = {"end": packed(dectris_v1.encode_end(7))}
    small = PIXELS[:6, :8]
    for detail in dectris_v1.HeaderDetail:
        parts = dectris_v1.encode_header(
            7,
            detail=detail,
            config=CONFIG,
            flatfield=small.astype("f4"),
            pixel_mask=small,
            countrate_table=np.arange(8, dtype="f4").reshape(2, 4),
            appendix=APPENDIX,
        )
        found[f"header-{detail.value}"] = packed(parts)
    for encoding in (Encoding.NONE, Encoding.BSLZ4, Encoding.LZ4_BLOCK):
        format = FrameFormat((20, 30), "uint32", encoding)
        blob = encode_pixels(PIXELS, encoding)
        image = dectris_v1.encode_image(
            7, 3, format, blob, start_ns=1, stop_ns=2, real_ns=1, appendix=APPENDIX if encoding else None
        )
        found[f"image-{encoding.value}"] = packed([bytes(part) for part in image])
    return found
