"""The invariant of the wire room: any bytes either are a message or raise WireError, and nothing else happens."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import cbor2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from maxdaq_tango.errors import WireError
from maxdaq_tango.kernels.compression import compress_bslz4, decode_pixels
from maxdaq_tango.model import Encoding, Frame, FrameFormat, SeriesEnd, SeriesStart, StreamFormat
from maxdaq_tango.testing.strategies import JSON_VALUES, damaged
from maxdaq_tango.wire import WHOLE_FRAMES, Decoder, decoder_for, dectris_v1, dectris_v2, stins

PIXELS = np.arange(60, dtype=np.uint16).reshape(6, 10)
FORMAT = FrameFormat((6, 10), "uint16", Encoding.BSLZ4)
BLOB = compress_bslz4(PIXELS)
FRAME = Frame(series="", frame_number=3, format=FORMAT, blobs=(BLOB,), exposure_time_s=0.5, extras={"x": 1})
CONFIG = {"nimages": 5, "ntrigger": 2, "frame_time": 0.1}
APPENDIX = '{"filename": "/data/a.h5", "rotate": 1}'

MESSAGES: dict[StreamFormat, list[list[bytes]]] = {
    StreamFormat.STINS: [
        stins.encode_header(1, "/data/a.h5", {"exptime": 0.5, "nested": {"a": [1, None]}}),
        [bytes(part) for part in stins.encode_image(2, FRAME)],
        stins.encode_end(3),
    ],
    StreamFormat.DECTRIS_V1: [
        dectris_v1.encode_header(
            7,
            detail=dectris_v1.HeaderDetail.ALL,
            config=CONFIG,
            flatfield=PIXELS.astype("f4"),
            pixel_mask=PIXELS.astype("u4"),
            appendix=APPENDIX,
        ),
        [
            bytes(part)
            for part in dectris_v1.encode_image(7, 3, FORMAT, BLOB, start_ns=1, stop_ns=2, real_ns=1, appendix=APPENDIX)
        ],
        dectris_v1.encode_end(7),
    ],
    StreamFormat.DECTRIS_V2: [
        dectris_v2.encode_start(
            7, "ULID", CONFIG | {"flatfield": {"threshold_1": PIXELS.astype("f4")}, "user_data": APPENDIX}
        ),
        dectris_v2.encode_image(
            7,
            "ULID",
            3,
            {"threshold_1": (FORMAT, BLOB), "threshold_2": (FORMAT, BLOB)},
            series_date="2024-09-30T12:14:53Z",
            start_time=(1, 50_000_000),
            stop_time=(2, 50_000_000),
            real_time=(1, 50_000_000),
            user_data=APPENDIX,
        ),
        dectris_v2.encode_end(7, "ULID"),
    ],
}
GOOD = [(format, message) for format, messages in MESSAGES.items() for message in messages]
FORMATS = st.sampled_from(WHOLE_FRAMES)


def take(decoder: Decoder, parts: Sequence[bytes]) -> bool:
    """Decode as a receiver does, pixels included; False when the message was refused."""
    try:
        event = decoder.decode(parts)
        assert isinstance(event, SeriesStart | Frame | SeriesEnd)
        if isinstance(event, Frame):
            assert decode_pixels(event.format, event.blobs).shape == event.format.shape
    except WireError:
        return False
    return True


@pytest.mark.parametrize(("format", "message"), GOOD)
def test_the_messages_to_be_damaged_are_good(format: StreamFormat, message: list[bytes]) -> None:
    assert take(decoder_for(format), message)


@given(FORMATS, st.lists(st.binary(max_size=200), max_size=6))
@example(StreamFormat.STINS, [])
@example(StreamFormat.DECTRIS_V2, [b""])
def test_any_bytes(format: StreamFormat, parts: list[bytes]) -> None:
    take(decoder_for(format), parts)


@given(FORMATS, st.lists(JSON_VALUES.map(lambda value: cbor2.dumps(value)), min_size=1, max_size=1))
def test_any_cbor(format: StreamFormat, parts: list[bytes]) -> None:
    take(decoder_for(format), parts)


@given(st.sampled_from(GOOD).flatmap(lambda good: st.tuples(st.just(good[0]), damaged(good[1]))))
def test_damaged_messages(damage: tuple[StreamFormat, list[bytes]]) -> None:
    format, parts = damage
    take(decoder_for(format), parts)


@given(st.sampled_from(GOOD), FORMATS)
def test_messages_of_another_format(good: tuple[StreamFormat, list[bytes]], format: StreamFormat) -> None:
    if format is not good[0]:
        assert not take(decoder_for(format), good[1])


@given(st.sampled_from(GOOD), st.sampled_from([bytearray, memoryview]))
def test_the_kind_of_buffer_does_not_matter(
    good: tuple[StreamFormat, list[bytes]], kind: Callable[[bytes], bytes]
) -> None:
    decoder = decoder_for(good[0])
    expected, other = decoder.decode(good[1]), decoder.decode([kind(part) for part in good[1]])
    assert type(expected) is type(other)
    assert expected.series == other.series
    if isinstance(expected, Frame):
        assert expected == other


@pytest.mark.parametrize(("format", "message"), GOOD)
def test_every_single_byte_flipped(format: StreamFormat, message: list[bytes]) -> None:
    decoder = decoder_for(format)
    flips = random.Random(11)
    for index, part in enumerate(message):
        for at in range(len(part)):
            changed = part[:at] + bytes([part[at] ^ flips.randrange(1, 256)]) + part[at + 1 :]
            take(decoder, [*message[:index], changed, *message[index + 1 :]])
