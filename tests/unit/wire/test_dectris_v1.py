from __future__ import annotations

import hashlib
import json
from typing import Any

import bitshuffle
import numpy as np
import pytest

from maxdaq_tango.errors import WireError
from maxdaq_tango.kernels.compression import compress_bslz4, decode_pixels, encode_pixels
from maxdaq_tango.model import Encoding, Frame, FrameFormat, SeriesEnd, SeriesStart
from maxdaq_tango.wire.dectris_v1 import DectrisV1Decoder, HeaderDetail, encode_end, encode_header, encode_image

decode = DectrisV1Decoder().decode
PIXELS = np.arange(4 * 6, dtype=np.uint16).reshape(4, 6)
FORMAT = FrameFormat((4, 6), "uint16", Encoding.BSLZ4)
BLOB = compress_bslz4(PIXELS)
CONFIG = {"nimages": 10, "ntrigger": 3, "frame_time": 0.5, "count_time": 0.4, "description": "Dectris EIGER1 Si 1M"}
FLATFIELD = np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 6)
MASK = np.arange(24, dtype=np.uint32).reshape(4, 6)
TABLE = np.arange(10, dtype=np.float32).reshape(5, 2)
ARRAYS = {"flatfield": FLATFIELD, "pixel_mask": MASK, "countrate_table": TABLE}
HUGE = int("9" * 400)


def header(detail: HeaderDetail = HeaderDetail.ALL, appendix: str | None = None, **config: Any) -> list[bytes]:
    fields = {key: value for key, value in (CONFIG | config).items() if value is not ...}
    return encode_header(
        14,
        detail=detail,
        config=fields,
        flatfield=FLATFIELD,
        pixel_mask=MASK,
        countrate_table=TABLE,
        appendix=appendix,
    )


def start_of(parts: list[bytes]) -> SeriesStart:
    start = decode(parts)
    assert isinstance(start, SeriesStart)
    return start


def image(appendix: str | None = None, blob: bytes = BLOB, **changes: dict[str, Any]) -> list[Any]:
    """A good image, then `part0`, `part1` or `part3` changed by key; `...` removes a key."""
    parts = encode_image(14, 3, FORMAT, blob, start_ns=10**12, stop_ns=2 * 10**12, real_ns=999, appendix=appendix)
    for name, keys in changes.items():
        index = int(name.removeprefix("part"))
        fields = json.loads(bytes(parts[index])) | keys
        parts[index] = json.dumps({key: value for key, value in fields.items() if value is not ...}).encode()
    return parts


# Headers


@pytest.mark.parametrize(("detail", "count"), [(HeaderDetail.ALL, 8), (HeaderDetail.BASIC, 2), (HeaderDetail.NONE, 1)])
@pytest.mark.parametrize("appendix", [None, '{"filename": "/data/a.h5", "rotate": 3}'])
@pytest.mark.lesson(25)
def test_every_detail_is_read_with_and_without_appendix(detail: HeaderDetail, count: int, appendix: str | None) -> None:
    parts = header(detail, appendix)
    assert len(parts) == count + (appendix is not None)
    start = start_of(parts)
    assert start.series == "14"
    assert (start.filename, start.rotate) == (("/data/a.h5", 3) if appendix else (None, 0))
    known = detail is not HeaderDetail.NONE
    assert start.frame_count == (30 if known else None)
    assert start.frame_period_s == (0.5 if known else None)
    assert known == (start.metadata.keys() >= CONFIG.keys())
    assert start.metadata["header_detail"] == detail
    assert start.arrays.keys() == (ARRAYS.keys() if detail is HeaderDetail.ALL else set())


def test_arrays_come_back_as_rows_and_columns() -> None:
    parts = header()
    assert json.loads(parts[2])["shape"] == [6, 4]
    for name, array in start_of(parts).arrays.items():
        np.testing.assert_array_equal(array, ARRAYS[name])
        assert array.dtype == ARRAYS[name].dtype


def test_htypes_without_the_leading_d_are_accepted() -> None:
    parts = [part.replace(b'"dflatfield', b'"flatfield').replace(b'"dpixelmask', b'"pixelmask') for part in header()]
    assert start_of(parts).arrays.keys() == ARRAYS.keys()


def test_an_array_that_a_detector_does_not_have_may_be_absent() -> None:
    parts = encode_header(1, detail=HeaderDetail.ALL, config={}, pixel_mask=MASK, appendix="{}")
    assert list(start_of(parts).arrays) == ["pixel_mask"]


@pytest.mark.parametrize(
    ("appendix", "kept"),
    [
        ("free text", "free text"),
        ("", ""),
        ("5", 5),
        ("[1]", [1]),
        ('{"filename": 5, "rotate": "left"}', {"filename": 5, "rotate": "left"}),
        ('{"rotate": 90}', {"rotate": 90}),
        ('{"rotate": true}', {"rotate": True}),
        ('{"rotate": -1, "user": {"a": 1}}', {"rotate": -1, "user": {"a": 1}}),
    ],
)
def test_an_appendix_that_says_nothing_to_us_is_kept(appendix: str, kept: Any) -> None:
    start = start_of(header(HeaderDetail.BASIC, appendix))
    assert (start.filename, start.rotate, start.save_raw) == (None, 0, True)
    assert start.metadata["header_appendix"] == kept


def test_an_appendix_that_is_no_text_is_kept_as_far_as_it_can_be_read() -> None:
    start = start_of([*header(HeaderDetail.BASIC), b"ab\xff"])
    assert start.metadata["header_appendix"] == "ab\ufffd"


def test_nan_in_the_appendix_does_not_cost_the_file_name() -> None:
    start = start_of(header(appendix='{"filename": "/a.h5", "energy": NaN}'))
    assert start.filename == "/a.h5"


def test_the_appendix_may_forbid_saving() -> None:
    assert not start_of(header(appendix='{"filename": "/a.h5", "save_raw": false}')).save_raw


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, 30),
        ({"ntrigger": ...}, 10),
        ({"nimages": ...}, None),
        ({"nimages": 0}, None),
        ({"nimages": -5}, None),
        ({"nimages": True}, None),
        ({"nimages": "10"}, None),
        ({"nimages": HUGE}, None),
        ({"nimages": 2**52, "ntrigger": 2**52}, None),
        ({"ntrigger": None}, None),
    ],
)
def test_the_frame_count_is_images_times_triggers_or_not_known(config: dict[str, Any], expected: int | None) -> None:
    parts = header(HeaderDetail.BASIC)
    parts[1] = json.dumps({k: v for k, v in (CONFIG | config).items() if v is not ...}).encode()
    assert start_of(parts).frame_count == expected


def test_too_many_or_too_few_parts_are_refused() -> None:
    for detail in HeaderDetail:
        with pytest.raises(WireError):
            decode([*header(detail), b"{}", b"{}"])
    for detail in (HeaderDetail.ALL, HeaderDetail.BASIC):
        with pytest.raises(WireError):
            decode(header(detail)[:1])


@pytest.mark.parametrize("index", [2, 4, 6])
@pytest.mark.parametrize(
    "head",
    [
        {"htype": "dflatfield-1.0"},
        {"htype": "dunknown-1.0", "shape": [6, 4], "type": "float32"},
        {"htype": "dflatfield-1.0", "shape": [6, 5], "type": "float32"},
        {"htype": "dflatfield-1.0", "shape": [0, 4], "type": "float32"},
        {"htype": "dflatfield-1.0", "shape": [24], "type": "float32"},
        {"htype": "dflatfield-1.0", "shape": [10**9, 10**9], "type": "float32"},
        {"htype": "dflatfield-1.0", "shape": [6, 4], "type": "object"},
        {"htype": "dflatfield-1.0", "shape": [6, 4], "type": "float13"},
        {"htype": 5, "shape": [6, 4], "type": "float32"},
        [],
    ],
)
def test_a_table_that_cannot_be_read_is_told_and_does_not_cost_the_series(index: int, head: Any) -> None:
    parts = header()
    parts[index] = json.dumps(head).encode()
    start = decode(parts)
    assert isinstance(start, SeriesStart)
    assert len(start.arrays) == 2
    assert len(start.metadata["unreadable_tables"]) == 1


@pytest.mark.parametrize("value", ["none", 3, None, ["a"]])
def test_a_configuration_may_hold_our_word_for_unreadable_tables(value: Any) -> None:
    """Found by the fuzzer: the sender's value was taken for our list."""
    parts = header()
    parts[1] = json.dumps(json.loads(parts[1]) | {"unreadable_tables": value}).encode()
    start = decode(parts)
    assert isinstance(start, SeriesStart)
    assert start.metadata["unreadable_tables"] == value
    parts[3] = b""
    start = decode(parts)
    assert isinstance(start, SeriesStart)
    (told,) = start.metadata["unreadable_tables"]
    assert "0 bytes" in told


def test_an_array_of_the_wrong_size_is_told_with_both_sizes() -> None:
    for index in (3, 5, 7):
        for blob in (b"", header()[index][:-1], header()[index] + b"x"):
            parts = header()
            parts[index] = blob
            start = decode(parts)
            assert isinstance(start, SeriesStart)
            assert f"{len(blob)} bytes" in start.metadata["unreadable_tables"][0]


@pytest.mark.parametrize(
    "part0",
    [
        {"htype": "dheader-1.0"},
        {"htype": "dheader-1.0", "series": "14", "header_detail": "none"},
        {"htype": "dheader-1.0", "series": -1, "header_detail": "none"},
        {"htype": "dheader-1.0", "series": True, "header_detail": "none"},
        {"htype": "dheader-1.0", "series": HUGE, "header_detail": "none"},
        {"htype": "dheader-1.0", "series": 14, "header_detail": "some"},
        {"htype": "dheader-1.0", "series": 14},
        {"htype": "dheader-2.0", "series": 14, "header_detail": "none"},
        {"series": 14, "header_detail": "none"},
    ],
)
def test_a_wrong_header_is_refused(part0: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        decode([json.dumps(part0).encode()])


# Images


def test_an_image_tells_everything_and_copies_nothing() -> None:
    parts = image()
    frame = decode(parts)
    assert isinstance(frame, Frame)
    assert frame.blobs[0] is parts[2]
    assert (frame.series, frame.frame_number, frame.format) == ("14", 3, FORMAT)
    assert (frame.start_time_s, frame.stop_time_s, frame.real_time_s) == (1000.0, 2000.0, 9.99e-7)
    assert frame.extras == {"hash": hashlib.md5(parts[1]).hexdigest()}
    np.testing.assert_array_equal(decode_pixels(frame.format, frame.blobs), PIXELS)


@pytest.mark.parametrize("encoding", [Encoding.NONE, Encoding.LZ4_BLOCK, Encoding.BSLZ4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
def test_an_image_is_read_as_it_was_written(encoding: Encoding, dtype: str) -> None:
    format = FrameFormat((4, 6), dtype, encoding)
    blob = encode_pixels(PIXELS.astype(dtype), encoding)
    parts = encode_image(2, 0, format, blob, start_ns=1, stop_ns=2, real_ns=3)
    assert json.loads(bytes(parts[1]))["shape"] == [6, 4]
    frame = decode(parts)
    assert isinstance(frame, Frame)
    assert frame.format == format
    np.testing.assert_array_equal(decode_pixels(frame.format, frame.blobs), PIXELS.astype(dtype))


@pytest.mark.parametrize(("appendix", "kept"), [("{}", {}), ('{"a": [1]}', {"a": [1]}), ("free", "free"), ("", "")])
def test_an_image_appendix_is_kept(appendix: str, kept: Any) -> None:
    frame = decode(image(appendix))
    assert isinstance(frame, Frame)
    assert frame.extras["image_appendix"] == kept


def test_unknown_keys_of_all_three_parts_are_kept() -> None:
    frame = decode(image(part0={"a": 1}, part1={"b": [2]}, part3={"c": {"d": None}}))
    assert isinstance(frame, Frame)
    assert {key: frame.extras[key] for key in "abc"} == {"a": 1, "b": [2], "c": {"d": None}}


def test_what_an_image_may_leave_out() -> None:
    frame = decode(image(part0={"hash": ...}, part1={"size": ...}, part3={"start_time": ..., "real_time": None}))
    assert isinstance(frame, Frame)
    assert (frame.start_time_s, frame.stop_time_s, frame.real_time_s) == (None, 2000.0, None)


@pytest.mark.parametrize(
    ("part", "key", "values"),
    [
        (0, "series", [-1, "14", True, 1.5, None, HUGE, ...]),
        (0, "frame", [-1, "3", False, 1.5, None, HUGE, 2**63, ...]),
        (0, "hash", [5, []]),
        (0, "htype", ["dimage-2.0", "", None, 5, ...]),
        (1, "htype", ["dimage-1.0", None, ...]),
        (
            1,
            "shape",
            [[4, 6, 1, 1], [6], [], [0, 24], [-6, -4], [4, 6.0], [True, 24], "64", [HUGE, 1], [31_623, 31_623], ...],
        ),
        (1, "type", ["uint12", "object", 16, None, "float32", ...]),
        (1, "encoding", ["bs32-lz4<", "bs16-lz4>", "bs16-lz4", ">", "", "gzip", 5, None, ...]),
        (1, "size", [len(BLOB) - 1, len(BLOB) + 1, 0, -1, "5", True, HUGE]),
        (3, "htype", ["dconfig-2.0", None, ...]),
        (3, "start_time", [-1, "now", 1.5, True, HUGE, []]),
        (3, "stop_time", [-1, "now"]),
        (3, "real_time", [-1, "now"]),
    ],
)
def test_wrong_values_are_refused(part: int, key: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(WireError):
            decode(image(**{f"part{part}": {key: value}}))


def test_a_message_cut_anywhere_is_refused() -> None:
    parts = image()
    for count in range(len(parts)):
        with pytest.raises(WireError):
            decode(parts[:count])
    for index in (0, 1, 2, 3):
        for cut in range(len(parts[index])):
            with pytest.raises(WireError):
                decode([*parts[:index], parts[index][:cut], *parts[index + 1 :]])


@pytest.mark.lesson(17)
def test_too_many_parts_are_refused() -> None:
    with pytest.raises(WireError, match="6 parts"):
        decode([*image("{}"), b"{}"])


@pytest.mark.parametrize("part", [b"", b"\0" * 9, b"\xff\xd8", b"[]", b"null", b'{"htype":"\xff"}', b"[" * 100_000])
def test_garbage_is_refused(part: bytes) -> None:
    for index in (0, 1, 3):
        parts = image()
        parts[index] = part
        with pytest.raises(WireError):
            decode(parts)


# Ends


def test_ends() -> None:
    assert decode(encode_end(14)) == SeriesEnd(series="14")
    assert decode([*encode_end(14), b"more"]) == SeriesEnd(series="14")
    for wrong in (b'{"htype":"dseries_end-1.0"}', b'{"htype":"dseries_end-1.0","series":"x"}'):
        with pytest.raises(WireError):
            decode([wrong])


# Writing


@pytest.mark.parametrize(
    "encoding", [Encoding.CBF, Encoding.BSZSTD, Encoding.LZ4_HDF5, Encoding.MONO12P, Encoding.MONO12]
)
def test_packings_that_v1_does_not_have_are_not_written(encoding: Encoding) -> None:
    with pytest.raises(WireError, match=str(encoding)):
        encode_image(1, 0, FrameFormat((4, 6), "uint16", encoding), BLOB, start_ns=0, stop_ns=0, real_ns=0)


def test_several_chunks_are_not_written() -> None:
    format = FrameFormat((2, 4, 6), "uint16", Encoding.BSLZ4, (1, 4, 6))
    with pytest.raises(WireError, match="2 chunks"):
        encode_image(1, 0, format, BLOB, start_ns=0, stop_ns=0, real_ns=0)


# The recorded stream


def test_the_recorded_stream_is_understood(capture) -> None:  # type: ignore[no-untyped-def]
    messages = capture("eiger1-1m.dectris-v1")
    start = start_of(messages[0])
    assert (start.series, start.filename, start.rotate, start.frame_count) == ("14", "", 0, 100_000)
    assert start.frame_period_s == pytest.approx(1.0000029)
    assert start.metadata["detector_number"] == "E-02-0153"
    assert {name: array.shape for name, array in start.arrays.items()} == {
        "flatfield": (1065, 1030),
        "pixel_mask": (1065, 1030),
        "countrate_table": (4000, 2),
    }
    for index, message in enumerate(messages[1:]):
        frame = decode(message)
        assert isinstance(frame, Frame)
        assert (frame.series, frame.frame_number) == ("14", index)
        assert frame.format == FrameFormat((1065, 1030), "uint32", Encoding.BSLZ4)
        assert frame.blobs[0] is message[2]


def test_recorded_pixels_are_what_bitshuffle_makes_of_them(capture) -> None:  # type: ignore[no-untyped-def]
    for message in capture("eiger1-1m.dectris-v1")[1:]:
        frame = decode(message)
        assert isinstance(frame, Frame)
        expected = bitshuffle.decompress_lz4(
            np.frombuffer(message[2], np.uint8)[12:], (1065, 1030), np.dtype("u4"), 2048
        )
        pixels = decode_pixels(frame.format, frame.blobs)
        np.testing.assert_array_equal(pixels, expected)
        assert compress_bslz4(pixels) == message[2]


def test_what_we_write_is_what_was_recorded(capture) -> None:  # type: ignore[no-untyped-def]
    messages = capture("eiger1-1m.dectris-v1")
    start = start_of(messages[0])
    ours = encode_header(
        14,
        detail=HeaderDetail.ALL,
        config=json.loads(messages[0][1]),
        **start.arrays,
        appendix=messages[0][8].decode(),
    )
    assert ours[:1] + ours[2:] == messages[0][:1] + messages[0][2:]
    assert json.loads(ours[1]) == json.loads(messages[0][1])
    for message in messages[1:]:
        times = json.loads(message[3])
        frame = decode(message)
        assert isinstance(frame, Frame)
        parts = encode_image(
            14,
            frame.frame_number,
            frame.format,
            message[2],
            start_ns=times["start_time"],
            stop_ns=times["stop_time"],
            real_ns=times["real_time"],
        )
        assert parts == message  # to the byte, hash included
