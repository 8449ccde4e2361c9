"""Metadata that are too deep, too long or too many: refused, or kept as text; memory follows the message's size."""

from __future__ import annotations

import gc
import json
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import cbor2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maxdaq_tango.errors import WireError
from maxdaq_tango.model import DEEPEST, Encoding, Frame, FrameFormat, SeriesStart, StreamFormat, is_deeper
from maxdaq_tango.testing.strategies import JSON_VALUES
from maxdaq_tango.wire import WHOLE_FRAMES, decoder_for, dectris_v1, dectris_v2, stins
from maxdaq_tango.wire.cbor_arrays import array_tag
from maxdaq_tango.wire.json_parts import MOST_HEADER_NBYTES, MOST_NBYTES

FORMAT = FrameFormat((4, 5), "uint8", Encoding.NONE)
BLOB = bytes(20)
DECODE = {format: decoder_for(format).decode for format in WHOLE_FRAMES}
IMAGE = b'{"htype":"image","frame":3,"shape":[4,5],"type":"uint8","extra":%s}'
DEPTHS = [DEEPEST, 500, 990, 5000, 200_000]


def nested(levels: int, opening: str = "[") -> str:
    return opening * levels + "1" + {"[": "]", '{"a":': "}"}[opening] * levels


def levels_of(value: Any) -> int:
    count = 0
    while isinstance(value, (dict, list)):
        value, count = (list(value.values()) if isinstance(value, dict) else value)[0], count + 1
    return count


def v1_image(**extra: str) -> list[bytes]:
    parts = [bytes(part) for part in dectris_v1.encode_image(7, 3, FORMAT, BLOB, start_ns=0, stop_ns=0, real_ns=0)]
    for index, text in extra.items():
        at = int(index.removeprefix("part"))
        parts[at] = parts[at][:-1] + b',"extra":' + text.encode() + b"}"
    return parts


def v1_header(config: str, appendix: str | None = None) -> list[bytes]:
    parts = dectris_v1.encode_header(7, detail=dectris_v1.HeaderDetail.BASIC, config={"nimages": 5}, appendix=appendix)
    parts[1] = parts[1][:-1] + b',"extra":' + config.encode() + b"}"
    return parts


def v2_image(**fields: Any) -> list[bytes]:
    image = {"type": "image", "series_unique_id": "A", "image_id": 3, "data": {"t": array_tag(np.zeros((4, 5), "u1"))}}
    return [cbor2.dumps(image | fields)]


def start_of(format: StreamFormat, parts: Sequence[bytes]) -> SeriesStart:
    start = DECODE[format](parts)
    assert isinstance(start, SeriesStart)
    return start


def frame_of(format: StreamFormat, parts: Sequence[bytes]) -> Frame:
    frame = DECODE[format](parts)
    assert isinstance(frame, Frame)
    return frame


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_levels_are_counted_without_recursion(opening: str) -> None:
    value = json.loads(nested(DEEPEST, opening))
    assert not is_deeper(value)
    assert is_deeper([value])
    for _ in range(100_000):
        value = [value]
    assert is_deeper(value)
    assert not is_deeper(3)


# -- an image: the message is refused ------------------------------------------------------------------------------


@pytest.mark.lesson(16)
@pytest.mark.parametrize("levels", DEPTHS)
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_an_image_whose_json_is_nested_too_deep_is_refused(levels: int, opening: str) -> None:
    text = nested(levels, opening)
    for format, parts in [
        (StreamFormat.STINS, [IMAGE % text.encode(), BLOB]),
        *[(StreamFormat.DECTRIS_V1, v1_image(**{f"part{index}": text})) for index in (0, 1, 3)],
    ]:
        with pytest.raises(WireError, match=r"nested deeper than 64|recursion|at most"):
            DECODE[format](parts)


def test_an_image_of_as_many_levels_as_are_allowed_is_taken() -> None:
    text = nested(DEEPEST - 1)
    assert levels_of(frame_of(StreamFormat.STINS, [IMAGE % text.encode(), BLOB]).extras["extra"]) == DEEPEST - 1
    assert levels_of(frame_of(StreamFormat.DECTRIS_V1, v1_image(part1=text)).extras["extra"]) == DEEPEST - 1


def test_many_brackets_beside_one_another_are_not_deep() -> None:
    extra = [[n, {"a": "[[[{{{"}] for n in range(1000)]
    frame = frame_of(StreamFormat.STINS, [IMAGE % json.dumps(extra).encode(), BLOB])
    assert frame.extras["extra"] == extra


@pytest.mark.parametrize("levels", DEPTHS)
def test_an_image_appendix_that_is_nested_too_deep_is_text(levels: int) -> None:
    frame = frame_of(StreamFormat.DECTRIS_V1, [*v1_image(), nested(levels + 1).encode()])
    assert frame.extras["image_appendix"] == nested(levels + 1)
    frame = frame_of(StreamFormat.DECTRIS_V2, v2_image(user_data=nested(levels + 1)))
    assert frame.extras["user_data"] == nested(levels + 1)


# -- a header: the series goes on ----------------------------------------------------------------------------------


@pytest.mark.lesson(16)
@pytest.mark.parametrize("levels", [DEEPEST, 500, 900])
def test_an_entry_of_a_header_that_is_nested_too_deep_is_kept_as_text(levels: int) -> None:
    text = nested(levels)
    for start in (
        start_of(StreamFormat.STINS, [b'{"htype":"header"}', b'{"exptime":0.5,"extra":%s}' % text.encode()]),
        start_of(StreamFormat.DECTRIS_V1, v1_header(text)),
    ):
        assert start.metadata["extra"] == text
        assert start.frame_period_s == 0.5 or start.frame_count == 5
    assert levels_of(start_of(StreamFormat.DECTRIS_V1, v1_header(nested(DEEPEST - 1))).metadata["extra"]) == DEEPEST - 1


@pytest.mark.parametrize("levels", [DEEPEST, 500, 900, 5000])
def test_a_header_appendix_that_is_nested_too_deep_is_text_and_says_nothing(levels: int) -> None:
    appendix = '{"filename":"/data/a.h5","deep":' + nested(levels) + "}"
    start = start_of(StreamFormat.DECTRIS_V1, v1_header("1", appendix))
    assert start.filename is None
    assert start.metadata["header_appendix"] == appendix


def test_a_header_so_deep_that_nobody_can_read_it_is_refused() -> None:
    with pytest.raises(WireError, match=r"recursion|nested deeper"):
        DECODE[StreamFormat.STINS]([b'{"htype":"header"}', b'{"extra":%s}' % nested(200_000).encode()])


# -- lengths -------------------------------------------------------------------------------------------------------


def test_a_part_that_is_too_long_is_refused_before_it_is_read() -> None:
    long = ('"' + "x" * MOST_NBYTES + '"').encode()
    for format, parts in [
        (StreamFormat.STINS, [IMAGE % long, BLOB]),
        (StreamFormat.DECTRIS_V1, v1_image(part3=long.decode())),
        (StreamFormat.STINS, [b'{"htype":"header"}', b" " * MOST_HEADER_NBYTES + b"{}"]),
    ]:
        with pytest.raises(WireError, match=r"bytes. Accepted: at most"):
            DECODE[format](parts)
    start = start_of(StreamFormat.STINS, [b'{"htype":"header"}', b'{"long":%s}' % long])
    assert len(start.metadata["long"]) == MOST_NBYTES


def test_an_appendix_that_is_too_long_is_not_kept() -> None:
    appendix = "x" * (MOST_HEADER_NBYTES + 1)
    start = start_of(StreamFormat.DECTRIS_V1, v1_header("1", appendix))
    assert start.metadata["header_appendix"] == "an appendix of 16777217 bytes; more than 16777216 are not kept"


def test_a_series_id_that_is_too_long_is_refused() -> None:
    assert start_of(StreamFormat.DECTRIS_V2, dectris_v2.encode_start(7, "A" * 256, {})).series == "A" * 256
    for parts in (dectris_v2.encode_start(7, "A" * 257, {}), dectris_v2.encode_end(7, "A" * 1_000_000)):
        with pytest.raises(WireError, match=r"characters. Accepted: at most 256"):
            DECODE[StreamFormat.DECTRIS_V2](parts)


def test_an_array_beside_the_pixels_is_a_list_up_to_4096_elements_and_a_note_beyond() -> None:
    frame = frame_of(
        StreamFormat.DECTRIS_V2,
        v2_image(profile=array_tag(np.arange(4096, dtype="u4")), picture=array_tag(np.zeros((64, 65), "f4"))),
    )
    assert frame.extras["profile"] == list(range(4096))
    assert frame.extras["picture"] == {"not_kept": "too many elements", "shape": [64, 65], "dtype": "float32"}


def test_many_such_arrays_are_lists_up_to_65536_elements_together() -> None:
    arrays = {f"profile_{n:02}": array_tag(np.zeros(4000, "u1")) for n in range(20)}
    extras = frame_of(StreamFormat.DECTRIS_V2, v2_image(**arrays)).extras
    assert [name for name in arrays if isinstance(extras[name], list)] == [f"profile_{n:02}" for n in range(16)]


# -- memory --------------------------------------------------------------------------------------------------------


def cost_of(format: StreamFormat, parts: Sequence[bytes]) -> int:
    """Most bytes that Python and numpy held at a time while the message was decoded, and what came of it."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        try:
            event = DECODE[format](parts)
        except WireError:
            event = None
        _, peak = tracemalloc.get_traced_memory()
        del event
    finally:
        tracemalloc.stop()
    return peak - before


HOSTILE: dict[str, Callable[[], tuple[StreamFormat, list[bytes]]]] = {
    "deep json": lambda: (StreamFormat.STINS, [IMAGE % nested(200_000).encode(), BLOB]),
    "deep appendix": lambda: (StreamFormat.DECTRIS_V1, [*v1_image(), nested(200_000).encode()]),
    "long json of an image": lambda: (StreamFormat.STINS, [IMAGE % (b"[" + b"[]," * (1 << 20) + b"1]"), BLOB]),
    "long json of a header": lambda: (StreamFormat.STINS, [b'{"htype":"header"}', b"[" + b"[]," * (6 << 20) + b"1]"]),
    "long appendix": lambda: (StreamFormat.DECTRIS_V1, v1_header("1", "[" * (MOST_HEADER_NBYTES + 1))),
    "array of bytes": lambda: (StreamFormat.DECTRIS_V2, v2_image(extra=array_tag(np.zeros((4096, 4096), "u1")))),
    "array of numbers": lambda: (StreamFormat.DECTRIS_V2, v2_image(extra=array_tag(np.zeros((2048, 2048), "u4")))),
    "packed array": lambda: (StreamFormat.DECTRIS_V2, v2_image(extra=packed_array(16 << 20))),
    "long series id": lambda: (StreamFormat.DECTRIS_V2, dectris_v2.encode_end(7, "A" * (16 << 20))),
    "a length that is not there": lambda: (
        StreamFormat.DECTRIS_V2,
        [b"\xa1\x61a\x5b\x00\x00\x00\x40\x00\x00\x00\x00x"],
    ),
    "keys within keys": lambda: (
        StreamFormat.DECTRIS_V2,
        [b"\xa2\x64type\x65start\x61x" + b"\xa1" * 40 + b"\x01" * 41],
    ),
    "many pixels in few bytes": lambda: (StreamFormat.STINS, stins_bomb()),
}


def packed_array(nbytes: int) -> cbor2.CBORTag:
    return cbor2.CBORTag(40, [[4096, 4096], cbor2.CBORTag(64, cbor2.CBORTag(56500, ["bslz4", 1, bytes(nbytes)]))])


def stins_bomb() -> list[bytes]:
    head = b'{"htype":"image","frame":0,"shape":[30000,33000],"type":"uint32","compression":"bslz4"}'
    nbytes = 30_000 * 33_000 * 4
    return [head, nbytes.to_bytes(8, "big") + (0x7FFFFF00).to_bytes(4, "big") + (14).to_bytes(4, "big") + bytes(14)]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_message_costs_no_more_than_four_times_its_size(hostile: str) -> None:
    format, parts = HOSTILE[hostile]()
    assert cost_of(format, parts) <= 4 * sum(map(len, parts)) + (1 << 20)


def test_the_worst_that_json_can_make_of_a_part_that_is_short_enough_is_bounded() -> None:
    empty = b"[" + b"[]," * ((MOST_NBYTES - 100) // 3) + b"1]"
    assert cost_of(StreamFormat.STINS, [IMAGE % empty, BLOB]) <= 32 * MOST_NBYTES


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.sampled_from(WHOLE_FRAMES), JSON_VALUES)
def test_any_metadata_cost_little(format: StreamFormat, value: Any) -> None:
    text = json.dumps(value)
    parts = {
        StreamFormat.STINS: lambda: [IMAGE % text.encode(), BLOB],
        StreamFormat.DECTRIS_V1: lambda: v1_header(text, text),
        StreamFormat.DECTRIS_V2: lambda: v2_image(extra=value, user_data=text),
    }[format]()
    assert cost_of(format, parts) <= 4 * sum(map(len, parts)) + (1 << 20)


def test_the_decoders_leave_the_limit_of_recursion_alone() -> None:
    before = sys.getrecursionlimit()
    with pytest.raises(WireError):
        DECODE[StreamFormat.STINS]([IMAGE % nested(200_000).encode(), BLOB])
    assert sys.getrecursionlimit() == before


def test_a_stins_header_that_was_decoded_can_be_encoded_again() -> None:
    start = start_of(StreamFormat.STINS, [b'{"htype":"header"}', b'{"extra":%s}' % nested(500).encode()])
    assert start_of(StreamFormat.STINS, stins.encode_header(1, None, start.metadata)).metadata == start.metadata
