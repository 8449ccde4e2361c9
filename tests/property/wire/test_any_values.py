"""Any values where a message may have values, any bytes where it may have bytes: an event or a WireError, at a price
that follows the length of the message.
"""

from __future__ import annotations

import contextlib
import io
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import cbor2
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maxdaq_tango.errors import FileError, WireError
from maxdaq_tango.kernels.compression import decode_pixels, encode_pixels
from maxdaq_tango.model import Encoding, Frame, FrameFormat, SeriesEnd, SeriesStart, StreamFormat
from maxdaq_tango.testing.strategies import JSON_VALUES, PACKABLE
from maxdaq_tango.wire import decoder_for, dectris_v1, stins
from maxdaq_tango.wire.blobs import ITEM_NBYTES, accept_blob, frame_format
from maxdaq_tango.wire.capture import read_capture

MOST_COST = 8
"""Times the length of the message, for decoding and unpacking ..."""
AT_LEAST = 2 << 20
"""... and this, for a table that is made once, or the text of an error."""

NUMBERS = st.sampled_from([0, 1, -1, 2**31, 2**32, 2**53, 2**62, 2**63, 2**64, -(2**63), 10**30]) | st.integers(0, 40)
VALUES = JSON_VALUES | NUMBERS | st.lists(NUMBERS, max_size=4) | st.sampled_from(["uint16", "bslz4", "image", "all"])
BLOBS = st.binary(max_size=300)
PIXELS = np.arange(60, dtype=np.uint16).reshape(6, 10)
BLOB = encode_pixels(PIXELS, Encoding.BSLZ4)
FORMAT = FrameFormat((6, 10), "uint16", Encoding.BSLZ4)


def costs_little(nbytes: int, work: Callable[[], object]) -> None:
    tracemalloc.start()
    try:
        work()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= MOST_COST * nbytes + AT_LEAST


def take(format: StreamFormat, parts: list[bytes]) -> None:
    def work() -> None:
        try:
            event = decoder_for(format).decode(parts)
            assert isinstance(event, SeriesStart | Frame | SeriesEnd)
            if isinstance(event, Frame):
                assert decode_pixels(event.format, event.blobs).shape == event.format.shape
        except WireError as error:
            text = str(error)
            assert len(text) < 20_000

    costs_little(sum(map(len, parts)), work)


def changed(good: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """A JSON object with some of its values replaced, some keys gone and some new ones."""
    replaced = st.dictionaries(st.sampled_from(sorted(good)), VALUES, max_size=3)
    gone = st.sets(st.sampled_from(sorted(good)), max_size=1)
    new = st.dictionaries(st.text(max_size=4), VALUES, max_size=2)
    return st.builds(
        lambda r, g, n: json.dumps({k: v for k, v in (good | r | n).items() if k not in g}).encode(),
        replaced,
        gone,
        new,
    )


def json_of(part: Any) -> dict[str, Any]:
    value = json.loads(bytes(part))
    assert isinstance(value, dict)
    return value


STINS_IMAGE = json_of(stins.encode_image(2, Frame(series="", frame_number=3, format=FORMAT, blobs=(BLOB,)))[0])
V1_IMAGE = dectris_v1.encode_image(7, 3, FORMAT, BLOB, start_ns=1, stop_ns=2, real_ns=1)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(changed(STINS_IMAGE), st.lists(st.just(BLOB) | BLOBS, max_size=3))
def test_stins_images_of_any_values(head: bytes, blobs: list[bytes]) -> None:
    take(StreamFormat.STINS, [head, *blobs])


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(changed({"htype": "header", "msg_number": 1, "filename": "a.h5"}), st.lists(changed({"exptime": 0.5}) | BLOBS))
def test_stins_headers_of_any_values(head: bytes, rest: list[bytes]) -> None:
    take(StreamFormat.STINS, [head, *rest])


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(*(changed(json_of(V1_IMAGE[n])) for n in (0, 1, 3)), st.just(BLOB) | BLOBS, st.lists(BLOBS, max_size=2))
def test_v1_images_of_any_values(image: bytes, data: bytes, times: bytes, blob: bytes, more: list[bytes]) -> None:
    take(StreamFormat.DECTRIS_V1, [image, data, blob, times, *more])


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    changed({"htype": "dheader-1.0", "series": 7, "header_detail": "all"}),
    changed({"nimages": 5, "ntrigger": 2, "frame_time": 0.1}),
    st.lists(changed({"htype": "dflatfield-1.0", "shape": [2, 2], "type": "float32"}) | BLOBS, max_size=7),
)
def test_v1_headers_of_any_values(head: bytes, config: bytes, rest: list[bytes]) -> None:
    take(StreamFormat.DECTRIS_V1, [head, config, *rest])


ANY_TAG = st.sampled_from([0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 40, 64, 65, 69, 70, 81, 85, 256, 1040, 56500, 55799])
CBOR_VALUES = st.recursive(
    VALUES | BLOBS | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=4) | NUMBERS, inner, max_size=3)
        | st.builds(cbor2.CBORTag, ANY_TAG, inner)
    ),
    max_leaves=10,
)
V2_KEYS = st.sampled_from(
    ["series_unique_id", "series_id", "image_id", "data", "start_time", "user_data", "frame_time"]
)
V2_GOOD: dict[str, Any] = {"series_id": 7, "image_id": 3, "start_time": [1, 50], "user_data": '{"rotate": 1}'}


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.sampled_from(["start", "image", "end"]), st.dictionaries(V2_KEYS | st.text(max_size=4), CBOR_VALUES))
def test_v2_messages_of_any_values(kind: str, values: dict[str, Any]) -> None:
    array = cbor2.CBORTag(40, [[6, 10], cbor2.CBORTag(69, cbor2.CBORTag(56500, ["bslz4", 2, BLOB]))])
    try:
        part = cbor2.dumps({"type": kind} | V2_GOOD | {"data": {"threshold_1": array}} | values)
    except (cbor2.CBOREncodeError, UnicodeEncodeError, OverflowError):
        return  # half of a pair of surrogates, which CBOR cannot say
    take(StreamFormat.DECTRIS_V2, [part])


@st.composite
def spoilt_blobs(draw: st.DrawFn) -> tuple[FrameFormat, bytes]:
    """A good blob with some bytes changed; or any bytes."""
    encoding = draw(st.sampled_from(PACKABLE))
    format = frame_format(
        (draw(st.integers(1, 99)), draw(st.integers(1, 99))), draw(st.sampled_from(list(ITEM_NBYTES))), encoding
    )
    if draw(st.booleans()):
        return format, draw(BLOBS)
    blob = bytearray(encode_pixels(np.zeros(format.shape, format.dtype), encoding))
    for at in draw(st.lists(st.integers(0, len(blob) - 1), max_size=4)):
        blob[at] = draw(st.integers(0, 255))
    return format, bytes(blob[: draw(st.just(len(blob)) | st.integers(0, len(blob)))])


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(spoilt_blobs())
def test_packed_pixels_of_any_bytes(spoilt: tuple[FrameFormat, bytes]) -> None:
    format, blob = spoilt

    def work() -> None:
        with contextlib.suppress(WireError):
            assert decode_pixels(format, [accept_blob(format, blob)]).shape == format.shape

    costs_little(len(blob) + format.nbytes, work)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.binary(max_size=200)
    | st.lists(st.lists(BLOBS, max_size=3), max_size=3).map(lambda m: b"".join(map(cbor2.dumps, m)))
)
def test_captures_of_any_bytes(data: bytes) -> None:
    def work() -> None:
        with contextlib.suppress(WireError, FileError):
            assert sum(len(part) for parts in read_capture(io.BytesIO(data)) for part in parts) <= len(data) * 1032

    costs_little(len(data), work)
