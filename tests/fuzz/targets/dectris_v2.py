"""Messages of the Dectris stream v2: one CBOR map each."""

from __future__ import annotations

import random

import numpy as np

from fuzz.cbor_items import cbor_part
from fuzz.message import must_hold, packed
from fuzz.mutation import Plain, message
from maxdaq_tango.kernels.compression import encode_pixels
from maxdaq_tango.model import Encoding, FrameFormat
from maxdaq_tango.wire import dectris_v2

DECODER = dectris_v2.DectrisV2Decoder()
PIXELS = (np.arange(600, dtype=np.uint16) % 7).reshape(20, 30)
APPENDIX = '{"filename": "/data/a.h5", "rotate": 1}'
TIME = (1, 50_000_000)


def one(data: bytes) -> None:
    """What must hold of these bytes."""
    must_hold(DECODER, data)


def mutated(data: bytes, most: int, chance: random.Random, plain: Plain) -> bytes:
    """A change that keeps the rest of the message."""
    return message(data, most, chance, plain, cbor_part)


def seeds() -> dict[str, bytes]:
    """Good messages of every kind."""
    table = {"threshold_1": PIXELS[:6, :8].astype("f4")}
    start = {
        "number_of_images": 5,
        "frame_time": 0.1,
        "flatfield": table,
        "pixel_mask": {"threshold_1": PIXELS[:6, :8].astype("u4")},
        "channels": ["threshold_1"],
        "countrate_correction_lookup_table": np.arange(80, dtype="u4"),
        "detector_translation": [0.0, 0.0, -0.1],
        "user_data": APPENDIX,
    }
    found = {
        "start": packed(dectris_v2.encode_start(7, "01J9ULID", start)),
        "start-plain": packed(dectris_v2.encode_start(7, "", {"user_data": {"filename": "", "n": [1, 2.5, None]}})),
        "end": packed(dectris_v2.encode_end(7, "01J9ULID")),
    }
    for encoding in (Encoding.NONE, Encoding.BSLZ4, Encoding.LZ4_HDF5):
        channel = (FrameFormat((20, 30), "uint16", encoding), encode_pixels(PIXELS, encoding))
        for count in (1, 2) if encoding is Encoding.BSLZ4 else (1,):
            parts = dectris_v2.encode_image(
                7,
                "01J9ULID",
                3,
                {f"threshold_{n + 1}": channel for n in range(count)},
                series_date="2024-09-30T12:14:53Z",
                start_time=TIME,
                stop_time=TIME,
                real_time=TIME,
                user_data=APPENDIX if count == 1 else None,
            )
            found[f"image-{encoding.value}-{count}"] = packed(parts)
    return found
