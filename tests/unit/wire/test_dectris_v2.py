from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import cbor2
import numpy as np
import pytest
from cbor2 import CBORTag

from maxdaq_tango.errors import WireError
from maxdaq_tango.kernels.compression import compress_bslz4, decode_pixels, encode_pixels
from maxdaq_tango.model import DamagedFrame, Encoding, Frame, FrameFormat, SeriesEnd, SeriesStart
from maxdaq_tango.wire.dectris_v2 import DectrisV2Decoder, encode_end, encode_image, encode_start

decode = DectrisV2Decoder().decode
PIXELS = np.arange(4 * 6, dtype=np.uint16).reshape(4, 6)
FORMAT = FrameFormat((4, 6), "uint16", Encoding.BSLZ4)
BLOB = compress_bslz4(PIXELS)
ULID = "01HBV3JPF9T4ZDPADX1EMK6XMZ"


def array(data: Any = None, shape: Any = (4, 6), tag: int = 69) -> CBORTag:
    return CBORTag(40, [list(shape), CBORTag(tag, PIXELS.tobytes() if data is None else data)])


def packed(algorithm: Any = "bslz4", item: Any = 2, blob: Any = BLOB) -> CBORTag:
    return CBORTag(56500, [algorithm, item, blob])


IMAGE: dict[str, Any] = {
    "type": "image",
    "series_id": 14,
    "series_unique_id": ULID,
    "image_id": 3,
    "series_date": CBORTag(0, "2024-09-30T12:14:53.853+02:00"),
    "start_time": [50_000_000, 50_000_000],
    "stop_time": [75_000_000, 50_000_000],
    "real_time": [25_000_000, 50_000_000],
    "data": {"threshold_1": array()},
}


def message(fields: Any) -> list[bytes]:
    return [cbor2.dumps(CBORTag(55799, fields))]


def image(**changes: Any) -> list[bytes]:
    return message({key: value for key, value in (IMAGE | changes).items() if value is not ...})


def frame_of(parts: list[Any]) -> Frame:
    frame = decode(parts)
    assert isinstance(frame, Frame)
    return frame


def start_of(**fields: Any) -> SeriesStart:
    start = decode(encode_start(14, ULID, fields))
    assert isinstance(start, SeriesStart)
    return start


# Starts


def test_a_start_tells_count_period_metadata_and_arrays() -> None:
    mask = np.arange(24, dtype=np.uint32).reshape(4, 6)
    start = start_of(
        number_of_images=10,
        frame_time=0.5,
        arm_date=CBORTag(0, "2024-09-30T12:14:53.853+02:00"),
        channels=["threshold_1", "threshold_2"],
        goniometer={"chi": {"increment": 0.0, "start": 1.5}},
        pixel_mask={"threshold_1": mask, "threshold_2": mask + 1},
        countrate_correction_lookup_table=np.arange(100, dtype=np.uint32),
        detector_translation=[0.0, 0.0, 0.1],
    )
    assert (start.series, start.frame_count, start.frame_period_s) == (ULID, 10, 0.5)
    assert (start.filename, start.rotate, start.save_raw) == (None, 0, True)
    assert start.metadata == {
        "series_id": 14,
        "number_of_images": 10,
        "frame_time": 0.5,
        "arm_date": "2024-09-30T12:14:53.853+02:00",
        "channels": ["threshold_1", "threshold_2"],
        "goniometer": {"chi": {"increment": 0.0, "start": 1.5}},
        "detector_translation": [0.0, 0.0, 0.1],
    }
    assert list(start.arrays) == [
        "pixel_mask/threshold_1",
        "pixel_mask/threshold_2",
        "countrate_correction_lookup_table",
    ]
    np.testing.assert_array_equal(start.arrays["pixel_mask/threshold_2"], mask + 1)


def test_short_rows_of_numbers_stay_in_the_metadata() -> None:
    start = start_of(axis=np.arange(3, dtype=np.float32))
    assert start.metadata["axis"] == [0.0, 1.0, 2.0]
    bare = decode(message({"type": "start", "series_id": 1, "axis": CBORTag(69, b"\1\0\2\0")}))
    assert isinstance(bare, SeriesStart)
    assert bare.metadata["axis"] == [1, 2]


def test_a_compressed_array_is_kept_packed_with_a_note() -> None:
    start = decode(message({"type": "start", "series_id": 1, "flatfield": {"a": array(packed())}}))
    assert isinstance(start, SeriesStart)
    note = start.metadata["flatfield"]["a"]
    assert note == {"packed_in": "flatfield/a.bslz4", "encoding": "bslz4", "shape": [4, 6], "dtype": "uint16"}
    blob = start.arrays["flatfield/a.bslz4"].tobytes()
    np.testing.assert_array_equal(decode_pixels(FORMAT, [blob]), PIXELS)


@pytest.mark.parametrize(
    ("unique", "number", "expected"), [(ULID, 5, ULID), ("", 5, "5"), (None, 5, "5"), (7, 5, "5"), (ULID, None, ULID)]
)
def test_the_series_is_its_unique_id_or_else_its_number(unique: Any, number: Any, expected: str) -> None:
    for kind in ({"type": "start"}, {"type": "end"}, {}):
        event = decode(message(IMAGE | kind | {"series_unique_id": unique, "series_id": number}))
        assert event.series == expected


@pytest.mark.parametrize("number", [-1, "5", True, 1.5, None, 2**64, [], {}])
def test_a_message_of_no_series_is_refused(number: Any) -> None:
    for kind in ({"type": "start"}, {"type": "end"}, {}):
        with pytest.raises(WireError):
            decode(message(IMAGE | kind | {"series_unique_id": "", "series_id": number}))


@pytest.mark.parametrize(
    ("user_data", "filename", "rotate", "kept"),
    [
        ('{"filename": "/data/a.h5", "rotate": 2}', "/data/a.h5", 2, {"filename": "/data/a.h5", "rotate": 2}),
        ({"filename": "/data/a.h5"}, "/data/a.h5", 0, {"filename": "/data/a.h5"}),
        ('{"filename": ""}', "", 0, {"filename": ""}),
        ("{}", None, 0, {}),
        ("free text", None, 0, "free text"),
        ("", None, 0, ""),
        (5, None, 0, 5),
        ({"filename": 5, "rotate": "x"}, None, 0, {"filename": 5, "rotate": "x"}),
        ([1, b"\xff"], None, 0, [1, "ff"]),
    ],
)
def test_user_data_may_hold_the_file_name(user_data: Any, filename: str | None, rotate: int, kept: Any) -> None:
    start = start_of(user_data=user_data)
    assert (start.filename, start.rotate) == (filename, rotate)
    assert start.metadata["user_data"] == kept


def test_user_data_may_forbid_saving() -> None:
    assert not start_of(user_data='{"save_raw": false}').save_raw


@pytest.mark.parametrize("odd", [0, -1, True, "10", None, 1.5, 2**70, []])
def test_a_count_that_makes_no_sense_is_not_known(odd: Any) -> None:
    start = start_of(number_of_images=odd, frame_time=odd if odd != 1.5 else "x")
    assert start.frame_count is None


def test_metadata_are_json_values_whatever_cbor_says() -> None:
    start = decode(
        message(
            {
                "type": "start",
                "series_id": 1,
                5: "number as key",
                (1, 2): "list as key",
                "bytes": b"\x00\xff",
                "big": 2**80,
                "small": -(2**70),
                "simple": cbor2.CBORSimpleValue(99),
                "undefined": cbor2.undefined,
                "rational": CBORTag(30, [1, 3]),
                "decimal": CBORTag(4, [-2, 314]),
                "pattern": CBORTag(35, "((("),
                "unknown": CBORTag(123456, {"a": 1}),
                "epoch": CBORTag(1, 1e300),
                "infinite": math.inf,
                "none": None,
                "empty": {},
            }
        )
    )
    assert isinstance(start, SeriesStart)
    assert start.metadata == {
        "series_id": 1,
        "5": "number as key",
        "[1, 2]": "list as key",
        "bytes": "00ff",
        "big": hex(2**80),
        "small": hex(-(2**70)),
        "simple": start.metadata["simple"],
        "undefined": "undefined",
        "rational": [1, 3],
        "decimal": {"tag": 4, "value": [-2, 314]},
        "pattern": {"tag": 35, "value": "((("},
        "unknown": {"tag": 123456, "value": {"a": 1}},
        "epoch": 1e300,
        "infinite": math.inf,
        "none": None,
        "empty": {},
    }


# Images


def test_an_image_tells_everything() -> None:
    frame = frame_of(image(user_data='{"a": 1}'))
    assert (frame.series, frame.frame_number) == (ULID, 3)
    assert frame.format == FrameFormat((4, 6), "uint16", Encoding.NONE)
    assert (frame.start_time_s, frame.stop_time_s, frame.real_time_s) == (1.0, 1.5, 0.5)
    assert frame.extras == {
        "series_id": 14,
        "series_date": "2024-09-30T12:14:53.853+02:00",
        "channels": ["threshold_1"],
        "user_data": {"a": 1},
    }
    np.testing.assert_array_equal(decode_pixels(frame.format, frame.blobs), PIXELS)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_part_in_any_buffer_is_read(kind: type) -> None:
    assert decode([kind(image()[0])]) == decode(image())


def test_the_self_describe_tag_is_not_needed() -> None:
    assert decode([cbor2.dumps(IMAGE)]) == decode(image())


@pytest.mark.parametrize(
    ("algorithm", "encoding"),
    [("bslz4", Encoding.BSLZ4), ("lz4", Encoding.LZ4_HDF5)],
)
def test_compressed_channels(algorithm: str, encoding: Encoding) -> None:
    blob = encode_pixels(PIXELS, encoding)
    frame = frame_of(image(data={"threshold_1": array(packed(algorithm, 2, blob))}))
    assert frame.format == FrameFormat((4, 6), "uint16", encoding)
    assert frame.blobs == (blob,)


TAGS = {
    64: "u1", 65: ">u2", 66: ">u4", 67: ">u8", 68: "u1", 69: "<u2", 70: "<u4", 71: "<u8",
    72: "i1", 73: ">i2", 74: ">i4", 75: ">i8", 77: "<i2", 78: "<i4", 79: "<i8", 81: ">f4", 82: ">f8",
    85: "<f4", 86: "<f8",
}  # fmt: skip


@pytest.mark.parametrize(("tag", "dtype"), TAGS.items())
def test_every_pixel_type_comes_out_native(tag: int, dtype: str) -> None:
    frame = frame_of(image(data={"x": array(PIXELS.astype(dtype).tobytes(), tag=tag)}))
    assert frame.format.dtype == np.dtype(dtype).name
    np.testing.assert_array_equal(decode_pixels(frame.format, frame.blobs), PIXELS)


@pytest.mark.parametrize("tag", [80, 84])
def test_half_floats_are_read_in_a_start_and_refused_as_pixels(tag: int) -> None:
    data = np.arange(100).astype(">f2" if tag == 80 else "<f2").tobytes()
    start = decode(message({"type": "start", "series_id": 1, "table": CBORTag(tag, data)}))
    assert isinstance(start, SeriesStart)
    assert start.arrays["table"].tolist() == list(range(100))
    with pytest.raises(WireError, match="float16"):
        decode(image(data={"x": array(data, (10, 10), tag)}))


@pytest.mark.parametrize("tag", [76, 83, 87, 63, 88])
def test_tags_that_are_no_typed_array_are_refused_as_pixels(tag: int) -> None:
    with pytest.raises(WireError):
        decode(image(data={"x": array(bytes(24 * 16), tag=tag)}))


def test_column_major_arrays_are_turned() -> None:
    data = CBORTag(1040, [[4, 6], CBORTag(69, PIXELS.tobytes(order="F"))])
    frame = frame_of(image(data={"x": data}))
    np.testing.assert_array_equal(decode_pixels(frame.format, frame.blobs), PIXELS)


@pytest.mark.parametrize("tag", [65, 1040])
def test_compressed_pixels_in_another_order_are_refused(tag: int) -> None:
    data = array(packed(), tag=65) if tag == 65 else CBORTag(1040, [[4, 6], CBORTag(69, packed())])
    with pytest.raises(WireError, match="little-endian, row-major"):
        decode(image(data={"x": data}))


def test_several_thresholds_are_one_frame_in_the_order_of_their_names() -> None:
    channels = {"threshold_2": array(packed(blob=compress_bslz4(PIXELS + 1))), "threshold_1": array(packed())}
    frame = frame_of(image(data=channels))
    assert frame.format == FrameFormat((2, 4, 6), "uint16", Encoding.BSLZ4, (1, 4, 6))
    assert frame.extras["channels"] == ["threshold_1", "threshold_2"]
    np.testing.assert_array_equal(decode_pixels(frame.format, frame.blobs), [PIXELS, PIXELS + 1])


@pytest.mark.parametrize("name", ["threshold_2", "difference", "default", ""])
def test_a_single_channel_may_have_any_name(name: str) -> None:
    frame = frame_of(image(data={name: array()}))
    assert frame.format.shape == (4, 6)
    assert frame.extras["channels"] == [name]


@pytest.mark.parametrize(
    "other",
    [array(PIXELS.tobytes(), (6, 4)), array(tag=77), array(packed()), array(PIXELS.tobytes()[:24], (2, 6))],
)
def test_channels_that_differ_are_refused(other: CBORTag) -> None:
    with pytest.raises(WireError, match="one shape, type and compression"):
        decode(image(data={"threshold_1": array(), "threshold_2": other}))


@pytest.mark.parametrize(
    "data",
    [
        {},
        [],
        None,
        ...,
        5,
        "data",
        {"a": 5},
        {"a": PIXELS.tobytes()},
        {5: array()},
        {"a": array(), "b": None},
        {f"channel_{n}": array() for n in range(65)},
        {"a": CBORTag(69, PIXELS.tobytes())},
        {"a": array(shape=(1, 4, 6))},
        {"a": array(shape=(24,))},
        {"a": array(shape=())},
        {"a": array(shape=[1] * 100_000 + [4, 6])},
        {"a": array(shape=(4, 7))},
        {"a": array(shape=(0, 6), data=b"")},
        {"a": array(shape=(-4, -6))},
        {"a": array(shape=(4.0, 6.0))},
        {"a": array(shape=(True, 24))},
        {"a": array(shape=(2**31, 2**31))},
        {"a": array(shape=(2**80, 2**80))},
        {"a": array(packed(), shape=(31_623, 31_623))},
        {"a": array(packed(), shape=(2**40, 2**40))},
        {"a": array(PIXELS.tobytes()[:-1])},
        {"a": array("text")},
        {"a": array([1, 2])},
        {"a": CBORTag(40, "text")},
        {"a": CBORTag(40, [[4, 6]])},
        {"a": CBORTag(40, [[4, 6], [1, 2]])},
        {"a": CBORTag(40, [4, CBORTag(69, PIXELS.tobytes())])},
        {"a": array(packed("gzip"))},
        {"a": array(packed(5))},
        {"a": array(packed(item=4))},
        {"a": array(packed(item=True))},
        {"a": array(packed(item="2"))},
        {"a": array(packed(blob="text"))},
        {"a": array(packed(blob=b""))},
        {"a": array(packed(blob=BLOB[:12]))},
        {"a": array(packed("lz4", 2, BLOB[:8]))},
        {"a": array(CBORTag(56500, []))},
        {"a": array(CBORTag(56500, 5))},
        {"a": packed()},
    ],
)
def test_data_that_are_no_channels_are_refused(data: Any) -> None:
    with pytest.raises(WireError):
        decode(image(data=data))


@pytest.mark.parametrize("value", [-1, "3", True, 1.5, None, 2**63, 2**70, [], b"", ...])
def test_an_image_id_that_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(WireError, match="image_id"):
        decode(image(image_id=value))


@pytest.mark.parametrize("key", ["start_time", "stop_time", "real_time"])
def test_times_are_rationals_or_absent(key: str) -> None:
    for value, expected in ((..., None), (None, None), (CBORTag(30, [1, 4]), 0.25), ([0, 1], 0.0)):
        assert getattr(frame_of(image(**{key: value})), f"{key}_s") == expected
    for wrong in ([1], [1, 0], [1, -1], [-1, 1], [1, 2, 3], ["1", 2], [True, 2], [1.5, 2], [2**70, 1], 5, "now", {}):
        with pytest.raises(WireError, match=key):
            decode(image(**{key: wrong}))


def test_unknown_keys_are_kept() -> None:
    profile = np.arange(100, dtype=np.float32)
    frame = frame_of(image(spots=[{"x": 1.5}], magic_number=0x12345678, profile=CBORTag(85, profile.tobytes())))
    assert frame.extras["spots"] == [{"x": 1.5}]
    assert frame.extras["magic_number"] == 0x12345678
    assert frame.extras["profile"] == profile.tolist()


# Anything else


@pytest.mark.parametrize("kind", ["images", "", None, 5, [], {}, b"image", ...])
def test_other_types_are_refused(kind: Any) -> None:
    with pytest.raises(WireError, match="start, image, end"):
        decode(image(type=kind))


@pytest.mark.parametrize("value", [[], [1], "image", 5, None, b"image", CBORTag(40, [[1], CBORTag(64, b"a")])])
def test_what_is_no_map_is_refused(value: Any) -> None:
    with pytest.raises(WireError):
        decode(message(value))


def test_any_number_of_parts_but_one_is_refused() -> None:
    for parts in ([], image() * 2):
        with pytest.raises(WireError, match="parts"):
            decode(parts)


def test_a_message_cut_anywhere_is_refused() -> None:
    whole = image(data={"threshold_1": array(packed())}, user_data="{}")[0]
    for cut in range(len(whole)):
        with pytest.raises(WireError):
            decode([whole[:cut]])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"{}",
        b"\x1c",
        b"\xa1" * 9999,
        b"\x81" * 9999,
        b"\x9f" * 9999,
        b"\xd9\xd9\xf7" * 9999,
        b"\xbb" + b"\xff" * 8,
        b"\x9b" + b"\x7f" * 8,
        b"\xa1\x64type\x5b" + b"\x7f" * 8,
        b"\xa1\x64type\x5b\x00\x00\x00\xff\xff\xff\xff\xff",
        b"\xa1\x64type\x62\xff\xff",
        b"\xa1\x9f\x01\xff\x00",
        b"\xa1\xa0\x00",
    ],
)
def test_garbage_and_false_lengths_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode([data])


@pytest.mark.parametrize("tag", [25, 28, 29, 256])
def test_references_are_refused_because_they_can_unfold_without_end(tag: int) -> None:
    with pytest.raises(WireError, match="reference"):
        decode(message({"type": "start", "series_id": 1, "a": CBORTag(tag, 0)}))


def test_a_number_of_a_million_digits_is_kept_or_refused_quickly() -> None:
    for wire in (b"\xff" * 500_000, b"\xff" * 16):
        start = decode(message({"type": "start", "series_id": 1, "n": CBORTag(2, wire)}))
        assert isinstance(start, SeriesStart)
        with pytest.raises(WireError):
            decode(image(image_id=CBORTag(2, wire)))


def test_memory_with_holes_is_read() -> None:
    part = image()[0]
    spread = bytearray(2 * len(part))
    spread[::2] = part
    assert decode([memoryview(spread)[::2]]) == decode([part])


# Writing


@pytest.mark.parametrize("encoding", [Encoding.NONE, Encoding.BSLZ4, Encoding.LZ4_HDF5])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int32", "float32"])
def test_an_image_is_read_as_it_was_written(encoding: Encoding, dtype: str) -> None:
    format = FrameFormat((4, 6), dtype, encoding)
    blob = encode_pixels(PIXELS.astype(dtype), encoding)
    parts = encode_image(
        14,
        ULID,
        3,
        {"threshold_1": (format, blob), "threshold_2": (format, memoryview(blob))},
        series_date="2024-09-30T12:14:53.853+02:00",
        start_time=(1, 4),
        stop_time=(2, 4),
        real_time=(1, 4),
        user_data={"a": 1},
    )
    assert parts[0][:3] == b"\xd9\xd9\xf7"
    assert frame_of(parts) == Frame(
        series=ULID,
        frame_number=3,
        format=FrameFormat((2, 4, 6), dtype, encoding, (1, 4, 6)),
        blobs=(blob, blob),
        start_time_s=0.25,
        stop_time_s=0.5,
        real_time_s=0.25,
        extras={
            "series_id": 14,
            "series_date": "2024-09-30T12:14:53.853+02:00",
            "channels": ["threshold_1", "threshold_2"],
            "user_data": {"a": 1},
        },
    )


def test_an_end_is_read_as_it_was_written() -> None:
    assert decode(encode_end(14, ULID)) == SeriesEnd(series=ULID)
    assert decode(encode_end(14, "")) == SeriesEnd(series="14")


def test_arrays_are_written_as_the_documentation_has_them() -> None:
    raw = cbor2.loads(encode_start(1, ULID, {"flatfield": {"a": PIXELS.astype("f4")}, "n": np.int64(5)})[0])
    tag = raw["flatfield"]["a"]
    assert isinstance(tag, CBORTag)
    assert (tag.tag, list(tag.value[0]), tag.value[1].tag) == (40, [4, 6], 85)
    assert raw["n"] == 5


@pytest.mark.parametrize("encoding", [Encoding.CBF, Encoding.LZ4_BLOCK, Encoding.MONO12P, Encoding.MONO12])
def test_packings_that_v2_does_not_have_are_not_written(encoding: Encoding) -> None:
    format = FrameFormat((4, 6), "uint16", encoding)
    with pytest.raises(WireError, match=str(encoding)):
        encode_image(
            1, ULID, 0, {"a": (format, BLOB)}, series_date="", start_time=(0, 1), stop_time=(0, 1), real_time=(0, 1)
        )


def test_what_cbor_cannot_say_is_refused() -> None:
    for value in (object(), np.zeros(3, "c8"), np.zeros(3, "U2"), Fraction):
        with pytest.raises(WireError):
            encode_start(1, ULID, {"value": value})


@pytest.mark.parametrize("data", [PIXELS.tobytes() + b"\0\0", PIXELS.tobytes()[:-2], PIXELS.tobytes()[:-1], b""])
def test_an_unpacked_frame_of_another_size_is_damaged_and_its_number_is_known(data: bytes) -> None:
    with pytest.raises(DamagedFrame) as caught:
        decode(image(data={"threshold_1": array(data)}))
    assert (caught.value.frame.frame_number, caught.value.frame.series) == (3, ULID)
    assert caught.value.accepted == "48 bytes"


def test_an_array_beside_the_pixels_of_another_size_is_refused() -> None:
    with pytest.raises(WireError) as caught:
        decode(image(user_data={"profile": array(PIXELS.tobytes()[:-1])}))
    assert "48 bytes" in caught.value.accepted
