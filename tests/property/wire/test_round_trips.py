"""What is written is what is read, for every format and for every frame and header it can carry."""

from __future__ import annotations

import io
import math
from typing import Any

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from maxdaq_tango.kernels.compression import decode_pixels, encode_pixels
from maxdaq_tango.kernels.orientation import orient
from maxdaq_tango.model import Encoding, Frame, FrameFormat, Orientation, SeriesStart
from maxdaq_tango.testing.strategies import chunks, frame_formats, frames, json_objects, series_starts
from maxdaq_tango.wire import dectris_v1, dectris_v2, stins
from maxdaq_tango.wire.blobs import check_blob, lz4_block_to_hdf5
from maxdaq_tango.wire.capture import CaptureWriter, read_capture

STINS, V1, V2 = stins.StinsDecoder(), dectris_v1.DectrisV1Decoder(), dectris_v2.DectrisV2Decoder()
IMAGE_KEYS = frozenset({"htype", "msg_number", "frame", "shape", "type", "compression", "chunks", "discard"})
IMAGE_KEYS |= {"exposure_time", "start_time_s", "stop_time_s", "real_time_s"}
ONE_PLANE = (Encoding.NONE, Encoding.LZ4_BLOCK, Encoding.BSLZ4)
NS = st.integers(0, 2**53)


@given(frames(), json_objects(without=IMAGE_KEYS))
def test_stins_images(frame: Frame, extras: dict[str, Any]) -> None:
    frame = msgspec.structs.replace(frame, extras=extras)
    assert STINS.decode(stins.encode_image(frame.msg_number, frame)) == frame


@given(series_starts())
def test_stins_headers(start: SeriesStart) -> None:
    again = STINS.decode(stins.encode_header(start.msg_number, start.filename, start.metadata))
    assert isinstance(again, SeriesStart)
    assert (again.msg_number, again.filename, again.metadata) == (start.msg_number, start.filename, start.metadata)


@given(st.data(), st.integers(0, 2**40), st.integers(0, 2**40), NS, NS, NS)
def test_v1_images(data: st.DataObject, series: int, number: int, start: int, stop: int, real: int) -> None:
    frame = data.draw(frames(formats=frame_formats(encodings=ONE_PLANE, planes=False)))
    parts = dectris_v1.encode_image(
        series, number, frame.format, frame.blobs[0], start_ns=start, stop_ns=stop, real_ns=real
    )
    again = V1.decode(parts)
    assert isinstance(again, Frame)
    assert (again.series, again.frame_number) == (str(series), number)
    assert (again.format, again.blobs) == (frame.format, frame.blobs)
    assert [again.start_time_s, again.stop_time_s, again.real_time_s] == [start / 1e9, stop / 1e9, real / 1e9]


@given(st.sampled_from(dectris_v1.HeaderDetail), json_objects(), json_objects() | st.none())
def test_v1_headers(detail: dectris_v1.HeaderDetail, config: dict[str, Any], appendix: dict[str, Any] | None) -> None:
    text = None if appendix is None else msgspec.json.encode(appendix).decode()
    again = V1.decode(dectris_v1.encode_header(5, detail=detail, config=config, appendix=text))
    assert isinstance(again, SeriesStart)
    told = {} if detail is dectris_v1.HeaderDetail.NONE else config
    assert again.metadata.items() >= {k: v for k, v in told.items() if k != "header_appendix"}.items()
    if appendix is not None:
        assert again.metadata["header_appendix"] == appendix


@given(st.data(), st.lists(st.text(max_size=9), min_size=1, max_size=4, unique=True))
def test_v2_images(data: st.DataObject, names: list[str]) -> None:
    encodings = (Encoding.NONE, Encoding.BSLZ4, Encoding.LZ4_HDF5)
    format = data.draw(frame_formats(encodings=encodings, planes=False))
    pixels = {name: data.draw(chunks(format)) for name in names}
    channels = {name: (format, encode_pixels(array, format.encoding)) for name, array in pixels.items()}
    parts = dectris_v2.encode_image(
        1, "", 2, channels, series_date="2024-09-30", start_time=(1, 3), stop_time=(2, 3), real_time=(1, 3)
    )
    again = V2.decode(parts)
    assert isinstance(again, Frame)
    assert again.extras["channels"] == sorted(names)
    expected = np.stack([pixels[name] for name in sorted(names)])
    np.testing.assert_array_equal(decode_pixels(again.format, again.blobs).reshape(expected.shape), expected)


@given(json_objects(without=frozenset({"type", "series_id", "series_unique_id", "user_data"})), json_objects())
def test_v2_starts(fields: dict[str, Any], user_data: dict[str, Any]) -> None:
    again = V2.decode(dectris_v2.encode_start(9, "ULID", fields | {"user_data": user_data}))
    assert isinstance(again, SeriesStart)
    assert again.metadata == {"series_id": 9, **fields, "user_data": user_data}


@given(st.data())
def test_pixels_in_every_packing(data: st.DataObject) -> None:
    format = data.draw(frame_formats(planes=False))
    pixels = data.draw(chunks(format))
    blob = encode_pixels(pixels, format.encoding)
    check_blob(format, blob)
    np.testing.assert_array_equal(decode_pixels(format, [blob]), pixels)
    if format.encoding is Encoding.LZ4_BLOCK:
        as_chunk = FrameFormat(format.shape, format.dtype, Encoding.LZ4_HDF5)
        reframed = lz4_block_to_hdf5(blob, pixels.nbytes)
        check_blob(as_chunk, reframed)
        np.testing.assert_array_equal(decode_pixels(as_chunk, [reframed]), pixels)


@given(st.lists(st.lists(st.binary(max_size=400), max_size=5), max_size=6))
def test_captures(messages: list[list[bytes]]) -> None:
    file = io.BytesIO()
    with CaptureWriter(file) as writer:
        for message in messages:
            writer.write(message)
    file.seek(0)
    assert list(read_capture(file)) == messages


@given(st.data(), st.integers(-5, 9), st.booleans(), st.booleans())
def test_turning_keeps_pixels_and_can_be_taken_back(data: st.DataObject, turns: int, lr: bool, ud: bool) -> None:
    format = data.draw(frame_formats(planes=False))
    pixels = data.draw(chunks(format))
    turned = orient(pixels, Orientation(turns, lr, ud))
    assert math.prod(turned.shape) == pixels.size
    back = orient(orient(turned, Orientation(0, lr, ud)), Orientation(-turns))
    np.testing.assert_array_equal(back, pixels)
