from __future__ import annotations

import json
from typing import Any

import bitshuffle
import msgspec
import numpy as np
import pytest

from maxdaq_tango.errors import WireError
from maxdaq_tango.kernels.compression import compress_bslz4, decode_pixels
from maxdaq_tango.model import Encoding, Frame, FrameFormat, SeriesEnd, SeriesStart
from maxdaq_tango.wire.stins import StinsDecoder, encode_end, encode_header, encode_image

decode = StinsDecoder().decode
PIXELS = np.arange(4 * 6, dtype=np.uint16).reshape(4, 6)
IMAGE = {"htype": "image", "msg_number": 7, "frame": 3, "shape": [4, 6], "type": "uint16", "compression": "none"}
BLOB = PIXELS.tobytes()
HUGE = int("9" * 400)


def image(blobs: tuple[bytes, ...] = (BLOB,), **changes: Any) -> list[bytes]:
    fields = {key: value for key, value in (IMAGE | changes).items() if value is not ...}
    return [json.dumps(fields).encode(), *blobs]


def header(metadata: Any = ..., **fields: Any) -> list[bytes]:
    parts = [json.dumps({"htype": "header", **fields}).encode()]
    return parts if metadata is ... else [*parts, json.dumps(metadata).encode()]


# Headers


def test_a_header_tells_file_and_metadata() -> None:
    start = decode(header({"energy": 8048, "nested": {"a": [1]}, "exptime": 0.05}, msg_number=5, filename="/data/a.h5"))
    assert start == SeriesStart(
        series="",
        filename="/data/a.h5",
        msg_number=5,
        frame_period_s=0.05,
        metadata={"energy": 8048, "nested": {"a": [1]}, "exptime": 0.05},
    )


@pytest.mark.parametrize(("fields", "expected"), [({}, None), ({"filename": None}, None), ({"filename": ""}, "")])
def test_saying_nothing_is_not_the_same_as_live_only(fields: dict[str, Any], expected: str | None) -> None:
    start = decode(header(**fields))
    assert isinstance(start, SeriesStart)
    assert (start.filename, start.msg_number, start.metadata) == (expected, None, {})


def test_a_count_of_images_in_the_metadata_is_no_promise() -> None:
    start = decode(header({"nimages": 100_000, "ntrigger": 1, "rotate": 1}))
    assert isinstance(start, SeriesStart)
    assert start.frame_count is None
    assert start.rotate == 0  # re-published frames have been turned already
    assert start.metadata["rotate"] == 1


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, None),
        ({"exptime": 0.1}, 0.1),
        ({"count_time": 2}, 2.0),
        ({"exptime": 0.1, "count_time": 2}, 0.1),
        ({"exptime": "fast", "count_time": 2}, 2.0),
        *[({"exptime": odd}, None) for odd in (0, -1, True, None, [], {}, HUGE, float("inf"), float("nan"))],
    ],
)
def test_an_exposure_time_is_taken_when_it_makes_sense(metadata: dict[str, Any], expected: float | None) -> None:
    start = decode(header(metadata))
    assert isinstance(start, SeriesStart)
    assert start.frame_period_s == expected
    assert metadata.keys() == start.metadata.keys()


@pytest.mark.parametrize(
    ("value", "expected"),
    [(False, False), (0, False), (True, True), (1, True), (None, True), ("no", True), (0.0, True)],
)
def test_only_a_clear_no_means_no_saving(value: Any, expected: bool) -> None:
    start = decode(header({"save_raw": value}))
    assert isinstance(start, SeriesStart)
    assert start.save_raw is expected


def test_unknown_keys_of_both_parts_are_kept() -> None:
    start = decode(header({"a": 1}, overwritable=True, a=0))
    assert isinstance(start, SeriesStart)
    assert start.metadata == {"overwritable": True, "a": 1}


@pytest.mark.parametrize("part", [b"", b"null"])
def test_an_empty_metadata_part_is_none(part: bytes) -> None:
    assert decode([*header(filename="x"), part]) == decode(header(filename="x"))


def test_nan_in_the_metadata_does_not_cost_the_series() -> None:
    start = decode(header({"energy": float("nan")}, filename="/a"))
    assert isinstance(start, SeriesStart)
    assert start.metadata["energy"] != start.metadata["energy"]


def test_text_that_nobody_could_write_again_is_refused() -> None:
    with pytest.raises(WireError):
        decode([*header(), b'{"a": "\\ud800"}'])


@pytest.mark.parametrize("fields", [{"filename": 5}, {"filename": ["x"]}, {"msg_number": -1}, {"msg_number": "1"}])
def test_wrong_types_in_a_header_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(WireError, match="STINS header"):
        decode(header(**fields))


@pytest.mark.parametrize("part", [b"[1]", b"5", b'"text"', b"{", b"\xff\xfe", b'{"a": \xff}', b"[" * 100_000])
def test_metadata_that_are_no_object_are_refused(part: bytes) -> None:
    with pytest.raises(WireError):
        decode([*header(), part])


def test_a_third_header_part_is_refused() -> None:
    with pytest.raises(WireError, match="3 parts"):
        decode([*header({}), b"{}"])


# Images


def test_an_image_tells_everything_and_copies_nothing() -> None:
    blob = memoryview(BLOB)
    frame = decode([image(exposure_time=0.5)[0], blob])
    assert isinstance(frame, Frame)
    assert frame.blobs[0] is blob
    assert frame.format == FrameFormat((4, 6), "uint16", Encoding.NONE)
    assert (frame.frame_number, frame.msg_number, frame.exposure_time_s, frame.discard) == (3, 7, 0.5, False)
    np.testing.assert_array_equal(decode_pixels(frame.format, frame.blobs), PIXELS)


def test_parts_in_any_buffer_are_read() -> None:
    for kind in (bytes, bytearray, memoryview):
        assert decode([kind(part) for part in image()]) == decode(image())


@pytest.mark.parametrize(
    ("compression", "encoding", "blob"),
    [
        ("", Encoding.NONE, BLOB),
        ("none", Encoding.NONE, BLOB),
        ("bslz4", Encoding.BSLZ4, compress_bslz4(PIXELS)),
        ("cbf", Encoding.CBF, b"###CBF: VERSION 1.5, 24 pixels"),
    ],
)
def test_compressions(compression: str, encoding: Encoding, blob: bytes) -> None:
    type = "int32" if encoding is Encoding.CBF else "uint16"
    frame = decode(image((blob,), compression=compression, type=type, msg_number=...))
    assert isinstance(frame, Frame)
    assert frame.format.encoding is encoding
    assert frame.msg_number is None  # the Pilatus DCU has none


def test_compression_not_said_is_none() -> None:
    assert decode(image(compression=...)) == decode(image())


def test_a_cbf_file_has_pixels_of_32_bits_and_a_byte_for_each_at_least() -> None:
    for type, size in (("uint16", 40), ("int32", 23)):
        with pytest.raises(WireError):
            decode(image((bytes(size),), compression="cbf", type=type))


@pytest.mark.parametrize("packing", [Encoding.MONO12P, Encoding.MONO12])
def test_packed_pixels_are_uint16_once_unpacked(packing: Encoding) -> None:
    frame = decode(image((bytes(36),), type=packing.value))
    assert isinstance(frame, Frame)
    assert frame.format == FrameFormat((4, 6), "uint16", packing)
    with pytest.raises(WireError):
        decode(image((bytes(35),), type=packing.value))
    with pytest.raises(WireError):
        decode(image((compress_bslz4(PIXELS),), type=packing.value, compression="bslz4"))


def test_several_blobs_are_chunks_when_chunks_are_stated() -> None:
    frame = decode(image((BLOB, BLOB), shape=[2, 4, 6], chunks=[1, 4, 6]))
    assert isinstance(frame, Frame)
    assert frame.format.chunk_shape == (1, 4, 6)
    assert len(frame.blobs) == 2


@pytest.mark.lesson(17)
@pytest.mark.parametrize(
    ("blobs", "changes"),
    [
        ((), {}),
        ((BLOB, BLOB), {}),
        ((BLOB, b""), {}),
        ((BLOB, BLOB), {"shape": [2, 4, 6]}),
        ((BLOB,), {"shape": [2, 4, 6], "chunks": [1, 4, 6]}),
        ((BLOB,) * 3, {"shape": [2, 4, 6], "chunks": [1, 4, 6]}),
        ((BLOB, BLOB[:-1]), {"shape": [2, 4, 6], "chunks": [1, 4, 6]}),
        ((BLOB, BLOB), {"shape": [2, 4, 6], "chunks": [4, 6]}),
    ],
)
@pytest.mark.lesson(17)
def test_any_other_number_of_blobs_is_refused(blobs: tuple[bytes, ...], changes: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        decode(image(blobs, **changes))


def test_a_discarded_frame_says_so() -> None:
    frame = decode(image(discard=True))
    assert isinstance(frame, Frame)
    assert frame.discard


def test_everything_else_is_kept_in_extras() -> None:
    extras = {"x": 1, "y": 2, "rotation": 90, "full_shape": [8, 8], "timestamps": {"a": 1.5}, "encoder_angle": None}
    frame = decode(image(**extras))
    assert isinstance(frame, Frame)
    assert frame.extras == extras


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("frame", [-1, "3", True, 1.0, None, HUGE, 2**63, [], ...]),
        ("msg_number", [-1, "7", False, 7.5, HUGE, []]),
        (
            "shape",
            [[0, 6], [4, 0], [-4, -6], [4], [], [1, 1, 4, 6], ["4", 6], [4.0, 6.0], [True, 24], 24, "4x6", None, ...],
        ),
        ("shape", [[31_623, 31_623], [10**9, 1], [HUGE, 1], [2**31, 2**31]]),
        ("type", ["uint13", "", "object", "U4", "float16", "<u2", 16, None, True, [], ...]),
        ("compression", ["gzip", "BSLZ4", 5, None, True, []]),
        ("chunks", [[0, 6], [4], [3, 6], "all", 5, [True, 6], []]),
        ("discard", [1, "yes", None, []]),
        ("exposure_time", ["0.5", True, [], {}]),
        ("htype", ["Image", "", 5, None, HUGE, [], {}, "x" * 10**6, ...]),
    ],
)
def test_wrong_values_are_refused(key: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(WireError):
            decode(image(**{key: value}))


@pytest.mark.parametrize("size", [0, 1, len(BLOB) - 1, len(BLOB) + 1])
def test_a_blob_of_the_wrong_size_is_refused(size: int) -> None:
    with pytest.raises(WireError, match=f"{size} bytes"):
        decode(image((bytes(size),)))


def test_a_message_cut_anywhere_is_refused() -> None:
    parts = image((compress_bslz4(PIXELS),), compression="bslz4")
    for count in range(len(parts)):
        with pytest.raises(WireError):
            decode(parts[:count])
    for cut in range(len(parts[0])):
        with pytest.raises(WireError):
            decode([parts[0][:cut], parts[1]])
    for cut in range(13):
        with pytest.raises(WireError):
            decode([parts[0], parts[1][:cut]])


@pytest.mark.parametrize(
    "part", [b"", b"\0" * 9, b"\xff\xd8", b"[]", b"null", b"7", b'"image"', b'{"htype":"\xff"}', b"{" * 9999]
)
def test_garbage_is_refused(part: bytes) -> None:
    with pytest.raises(WireError):
        decode([part, BLOB])


def test_memory_with_holes_is_refused() -> None:
    holes = memoryview(bytes(100))[::2]
    with pytest.raises(WireError):
        decode([holes])


# Ends


def test_an_end_is_an_end_whatever_follows() -> None:
    assert decode(encode_end(9)) == SeriesEnd(series="", msg_number=9)
    assert decode([b'{"htype": "series_end"}']) == SeriesEnd(series="")
    assert decode([b'{"htype": "series_end", "why": "stopped"}', b"more"]) == SeriesEnd(series="")
    with pytest.raises(WireError):
        decode([b'{"htype": "series_end", "msg_number": "9"}'])


# Writing


def test_a_header_is_read_as_it_was_written() -> None:
    start = decode(encode_header(4, "/data/a.h5", {"energy": 8048, "save_raw": False}, overwritable=True))
    assert start == SeriesStart(
        series="",
        filename="/data/a.h5",
        save_raw=False,
        msg_number=4,
        metadata={"overwritable": True, "energy": 8048, "save_raw": False},
    )
    assert len(encode_header(4, "", None)) == 1
    assert msgspec.json.decode(encode_header(None, None, None)[0]) == {"htype": "header"}


def test_an_image_is_read_as_it_was_written() -> None:
    frame = Frame(
        series="",
        frame_number=5,
        format=FrameFormat((2, 4, 6), "uint16", Encoding.BSLZ4, (1, 4, 6)),
        blobs=(compress_bslz4(PIXELS), compress_bslz4(PIXELS + 1)),
        msg_number=8,
        discard=True,
        exposure_time_s=0.1,
        start_time_s=4843.25,
        stop_time_s=4844.25,
        real_time_s=1.0,
        extras={"hash": "x", "n": [1, 2]},
    )
    parts = encode_image(8, frame)
    assert decode(parts) == frame
    assert parts[1] is frame.blobs[0]


@pytest.mark.parametrize("encoding", list(Encoding))
def test_the_label_follows_the_data_for_every_encoding(encoding: Encoding) -> None:
    blob = {Encoding.NONE: BLOB, Encoding.MONO12P: bytes(36), Encoding.MONO12: bytes(36)}.get(
        encoding, compress_bslz4(PIXELS)
    )
    type = "int32" if encoding is Encoding.CBF else "uint16"
    frame = Frame(series="", frame_number=0, format=FrameFormat((4, 6), type, encoding), blobs=(blob,))
    assert decode(encode_image(None, frame)) == frame


def test_extras_cannot_overrule_what_the_frame_says() -> None:
    frame = decode(image())
    assert isinstance(frame, Frame)
    lying = msgspec.structs.replace(frame, extras={"shape": [1, 1], "frame": 99, "kept": 1})
    again = decode(encode_image(7, lying))
    assert again == msgspec.structs.replace(frame, extras={"kept": 1})


def test_what_json_cannot_say_is_refused() -> None:
    for value in ({1, object()}, object(), {"a": object()}):
        with pytest.raises(WireError):
            encode_header(1, "", {"value": value})


# Recorded streams


@pytest.mark.parametrize(
    ("name", "first", "shape", "dtype"),
    [
        ("eiger2-4m.stins", 1166, (2162, 2068), "uint32"),
        ("pilatus-831x1475-float32.stins", 66679, (831, 1475), "float32"),
    ],
)
def test_a_recorded_stream_is_understood(capture, name: str, first: int, shape: tuple[int, int], dtype: str) -> None:  # type: ignore[no-untyped-def]
    messages = capture(name)
    start, *frames = [decode(message) for message in messages]
    assert isinstance(start, SeriesStart)
    assert start.msg_number == first
    for index, (frame, message) in enumerate(zip(frames, messages[1:], strict=True)):
        assert isinstance(frame, Frame)
        assert (frame.frame_number, frame.msg_number) == (index, first + 1 + index)
        assert (frame.format.shape, frame.format.dtype) == (shape, dtype)
        assert frame.blobs[0] is message[1]
        assert frame.extras == {}


def test_recorded_pixels_are_what_bitshuffle_makes_of_them(capture) -> None:  # type: ignore[no-untyped-def]
    for message in capture("eiger2-4m.stins")[1:4]:
        frame = decode(message)
        assert isinstance(frame, Frame)
        blocks = np.frombuffer(message[1], np.uint8)[12:]
        expected = bitshuffle.decompress_lz4(blocks, frame.format.shape, np.dtype("u4"), 2048)
        pixels = decode_pixels(frame.format, frame.blobs)
        np.testing.assert_array_equal(pixels, expected)
        assert compress_bslz4(pixels) == message[1]


def test_recorded_float_pixels_have_the_known_values(capture) -> None:  # type: ignore[no-untyped-def]
    frame = decode(capture("pilatus-831x1475-float32.stins")[1])
    assert isinstance(frame, Frame)
    pixels = decode_pixels(frame.format, frame.blobs)
    counts = [int((pixels == value).sum()) for value in (0.0, -1.0, -2.0)]
    assert counts == [1_112_936, 108_324, 117]
    assert float(pixels.max()) == pytest.approx(128.7)


@pytest.mark.parametrize("name", ["eiger2-4m.stins", "pilatus-831x1475-float32.stins"])
def test_what_we_write_has_the_keys_and_types_of_a_recorded_stream(capture, name: str) -> None:  # type: ignore[no-untyped-def]
    recorded = capture(name)
    start, frame = decode(recorded[0]), decode(recorded[1])
    assert isinstance(start, SeriesStart)
    assert isinstance(frame, Frame)
    ours = [encode_header(start.msg_number, start.filename, start.metadata), encode_image(frame.msg_number, frame)]
    for message, real in zip(ours, recorded[:2], strict=True):
        assert len(message) == len(real)
        assert list(json.loads(message[0]).items()) == list(json.loads(real[0]).items())
    assert json.loads(ours[0][1]) == json.loads(recorded[0][1])
    assert ours[1][1] == recorded[1][1]
