"""The invariants of the wire room for formats in which modules send their own parts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from maxdaq_tango.errors import WireError
from maxdaq_tango.kernels.compression import decode_pixels, encode_pixels
from maxdaq_tango.model import (
    MOST_MODULES,
    Encoding,
    FrameFormat,
    ModuleEnd,
    ModuleFrame,
    ModuleStart,
    StreamFormat,
    is_deeper,
)
from maxdaq_tango.testing.strategies import JSON_VALUES, chunks, damaged, frame_formats, json_objects
from maxdaq_tango.wire import lambda_modules, module_decoder_for, sls_json, stins
from maxdaq_tango.wire.json_parts import encode_part
from maxdaq_tango.wire.marked import mark, unmarked

FORMAT = FrameFormat((6, 10), "uint16", Encoding.NONE)
PACKED = FrameFormat((6, 10), "uint16", Encoding.BSLZ4)
PIXELS = np.arange(60, dtype=np.uint16).reshape(6, 10)
BLOB = encode_pixels(PIXELS, Encoding.BSLZ4)
LAMBDA, SLS = StreamFormat.LAMBDA_MODULES, StreamFormat.SLS_JSON
GOOD: list[tuple[StreamFormat, list[bytes]]] = [
    (LAMBDA, [mark(1), *stins.encode_header(1, "/data/a.h5", {"x": 1, "y": 2, "rotation": 0, "full_shape": [9, 9]})]),
    (LAMBDA, [mark(1), *map(bytes, lambda_modules.encode_image(2, 0, 4, PACKED, BLOB))]),
    (LAMBDA, [mark(1), *stins.encode_end(3)]),
    (SLS, [mark(0), *map(bytes, sls_json.encode_image(7, FORMAT, PIXELS.tobytes(), place=(1, 0), modules=(2, 1)))]),
    (SLS, [mark(0), *map(bytes, sls_json.encode_end())]),
]
NUMBERS = st.integers(0, 2**62)


def take(format: StreamFormat, parts: Sequence[bytes]) -> bool:
    """Decode as a receiver does, pixels included; False when the message was refused."""
    try:
        event = module_decoder_for(format).decode(parts)
    except WireError:
        return False
    assert isinstance(event, ModuleStart | ModuleFrame | ModuleEnd)
    assert 0 <= event.source < MOST_MODULES
    if isinstance(event, ModuleFrame):
        assert (event.blob is None) is bool(event.trouble)
        assert 0 <= event.module < (event.module_count or MOST_MODULES) <= MOST_MODULES
        assert not is_deeper(event.extras)
        if event.blob is not None:
            try:
                assert decode_pixels(event.format, [event.blob]).shape == event.format.shape
            except WireError:
                assert event.format.encoding is not Encoding.NONE
    return True


@pytest.mark.parametrize(("format", "message"), GOOD)
def test_the_messages_to_be_damaged_are_good(format: StreamFormat, message: list[bytes]) -> None:
    assert take(format, message)


@given(st.sampled_from([LAMBDA, SLS]), st.lists(st.binary(max_size=200), max_size=5))
@example(SLS, [])
@example(LAMBDA, [mark(0), b""])
def test_any_bytes(format: StreamFormat, parts: list[bytes]) -> None:
    take(format, parts)
    take(format, [mark(3), *parts])


@given(st.sampled_from(GOOD).flatmap(lambda good: st.tuples(st.just(good[0]), damaged(good[1]))))
def test_damaged_messages(damage: tuple[StreamFormat, list[bytes]]) -> None:
    take(*damage)


@given(st.sampled_from([2, 3, 4]), st.dictionaries(st.sampled_from(sls_json.SERIES_KEYS), JSON_VALUES), json_objects())
def test_any_values(number: int, known: dict[str, Any], free: dict[str, Any]) -> None:
    head = {
        "data": 1,
        "frameNumber": number,
        "row": 0,
        "column": 0,
        "detshape": [1, 1],
        "shape": [10, 6],
        "bitmode": 16,
    }
    take(SLS, [mark(0), encode_part(free | head | known), PIXELS.tobytes()])


@pytest.mark.parametrize(("format", "message"), GOOD)
def test_every_single_byte_flipped(format: StreamFormat, message: list[bytes]) -> None:
    flips = random.Random(11)
    for index, part in enumerate(message):
        for at in range(len(part)):
            changed = part[:at] + bytes([part[at] ^ flips.randrange(1, 256)]) + part[at + 1 :]
            take(format, [*message[:index], changed, *message[index + 1 :]])


@given(st.integers(0, MOST_MODULES - 1), st.lists(st.binary(max_size=20), min_size=1, max_size=4))
def test_a_mark_is_read_as_it_was_put(source: int, parts: list[bytes]) -> None:
    assert unmarked([mark(source), *parts]) == (source, parts)


@given(st.data(), NUMBERS, st.integers(1, 16), st.integers(1, 16), st.booleans(), st.integers(0, 2**32), NUMBERS)
def test_sls_images(
    data: st.DataObject, number: int, rows: int, columns: int, whole: bool, exposure: int, packets: int
) -> None:
    dtypes = tuple(sls_json.TYPES.values())
    format = data.draw(frame_formats(encodings=(Encoding.NONE,), planes=False, dtypes=dtypes))
    blob = data.draw(chunks(format)).tobytes()
    place = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    first = data.draw(st.integers(0, number))
    parts = sls_json.encode_image(
        number,
        format,
        blob,
        place=place,
        modules=(rows, columns),
        first_number=first,
        is_whole=whole,
        packets=packets,
        exposure_ticks=exposure,
    )
    got = module_decoder_for(SLS).decode([mark(0), *parts])
    assert isinstance(got, ModuleFrame)
    assert (got.frame_number, got.first_number, got.format, got.blob) == (number, first, format, blob)
    assert (got.module, got.module_count) == (place[0] * columns + place[1], rows * columns)
    assert (got.is_whole, got.packets, got.exposure_time_s) == (whole, packets, exposure * sls_json.TICK_S)


@given(st.data(), st.integers(0, 2**40), st.integers(0, 2**40), st.integers(1, 8))
def test_lambda_images(data: st.DataObject, number: int, msg_number: int, modules: int) -> None:
    format = data.draw(frame_formats(planes=False))
    blob = encode_pixels(data.draw(chunks(format)), format.encoding)
    source = data.draw(st.integers(0, modules - 1))
    parts = lambda_modules.encode_image(msg_number, number, modules, format, blob)
    got = module_decoder_for(LAMBDA).decode([mark(source), *parts])
    assert isinstance(got, ModuleFrame)
    assert (got.module, got.frame_number, got.msg_number) == (source, number, msg_number)
    assert (got.format, got.blob) == (format, blob)
