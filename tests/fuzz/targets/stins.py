"""Messages of the MAX IV generic stream."""

from __future__ import annotations

import random

import numpy as np

from fuzz.message import must_hold, packed
from fuzz.mutation import Plain, json_or_blob, message
from maxdaq_tango.kernels.compression import encode_pixels
from maxdaq_tango.model import Encoding, Frame, FrameFormat
from maxdaq_tango.wire import stins

DECODER = stins.StinsDecoder()
PIXELS = (np.arange(600, dtype=np.uint16) % 7).reshape(20, 30)


def one(data: bytes) -> None:
    """What must hold of these bytes."""
    must_hold(DECODER, data)


def mutated(data: bytes, most: int, chance: random.Random, plain: Plain) -> bytes:
    """A change that keeps the rest of the message."""
    return message(data, most, chance, plain, json_or_blob)


def seeds() -> dict[str, bytes]:
    """Good messages of every kind."""
    found = {
        "header": packed(stins.encode_header(1, "/data/a.h5", {"exptime": 0.5, "save_raw": True, "a": {"b": [1]}})),
        "header-alone": packed(stins.encode_header(None, None, None)),
        "end": packed(stins.encode_end(7)),
    }
    for encoding in (Encoding.NONE, Encoding.BSLZ4, Encoding.LZ4_HDF5, Encoding.LZ4_BLOCK):
        frame = Frame(
            series="",
            frame_number=3,
            format=FrameFormat((20, 30), "uint16", encoding),
            blobs=(encode_pixels(PIXELS, encoding),),
            msg_number=4,
            exposure_time_s=0.5,
            start_time_s=1.0,
            extras={"motor": 3.5},
        )
        found[f"image-{encoding.value}"] = packed([bytes(part) for part in stins.encode_image(4, frame)])
    planes = FrameFormat((2, 20, 30), "uint16", Encoding.BSLZ4, (1, 20, 30))
    blobs = tuple(encode_pixels(PIXELS, Encoding.BSLZ4) for _ in range(2))
    two = Frame(series="", frame_number=0, format=planes, blobs=blobs, discard=True)
    found["image-of-two-chunks"] = packed([bytes(part) for part in stins.encode_image(None, two)])
    head = b'{"htype":"image","frame":1,"shape":[2,4],"type":"mono12p","compression":"none"}'
    found["image-mono12p"] = packed([head, bytes(12)])
    return found
