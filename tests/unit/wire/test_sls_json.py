"""The stream of slsReceiver: what is read of it, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from maxdaq_tango.errors import WireError
from maxdaq_tango.model import Encoding, FrameFormat, ModuleEnd, ModuleFrame, StreamFormat
from maxdaq_tango.wire import decoder_for, module_decoder_for
from maxdaq_tango.wire.marked import mark
from maxdaq_tango.wire.sls_json import SERIES_KEYS, SlsJsonDecoder, encode_end, encode_image

decode = SlsJsonDecoder().decode
FORMAT = FrameFormat((4, 6), "uint16", Encoding.NONE)
BLOB = np.arange(24, dtype="<u2").tobytes()
IMAGE = {
    "jsonversion": 5,
    "bitmode": 16,
    "fileIndex": 3,
    "detshape": [1, 2],
    "shape": [6, 4],
    "size": 48,
    "acqIndex": 12,
    "frameIndex": 2,
    "progress": 30.0,
    "fname": "/data/run",
    "data": 1,
    "completeImage": 1,
    "frameNumber": 12,
    "expLength": 50,
    "packetNumber": 64,
    "detSpec1": 77,
    "timestamp": 20_000_000,
    "modId": 9,
    "row": 1,
    "column": 0,
    "detSpec2": 0,
    "detSpec3": 0,
    "detSpec4": 0,
    "detType": 3,
    "version": 2,
    "flipRows": 0,
    "quad": 0,
    "addJsonHeader": {"sample": "x"},
    "rx_roi": [-1, -1, -1, -1],
}
"""An image as package 9.2 sends it, of the second interface of a Jungfrau."""


def image(blobs: tuple[bytes, ...] = (BLOB,), end: bytes = b"\n\0", **changes: Any) -> list[bytes]:
    fields = {key: value for key, value in (IMAGE | changes).items() if value is not ...}
    return [mark(1), json.dumps(fields).encode() + end, *blobs]


def frame(*args: Any, **changes: Any) -> ModuleFrame:
    event = decode(image(*args, **changes))
    assert isinstance(event, ModuleFrame)
    return event


def test_an_image_tells_which_module_of_which_frame_it_is() -> None:
    got = frame()
    assert (got.source, got.module, got.module_count, got.frame_number) == (1, 1, 2, 12)
    assert (got.format, got.blob, got.trouble, got.is_whole, got.packets) == (FORMAT, BLOB, "", True, 64)
    assert (got.exposure_time_s, got.start_time_s) == (pytest.approx(5e-6), pytest.approx(2.0))
    assert got.first_number == 10


@pytest.mark.parametrize("end", [b"", b"\n", b"\n\0", b"\0\0"])
def test_the_end_of_a_c_string_is_no_part_of_the_json(end: bytes) -> None:
    assert frame(end=end).frame_number == 12


@pytest.mark.parametrize(("bits", "name", "nbytes"), [(8, "uint8", 24), (16, "uint16", 48), (32, "uint32", 96)])
def test_the_type_of_pixels_comes_from_the_stream(bits: int, name: str, nbytes: int) -> None:
    got = frame((bytes(nbytes),), bitmode=bits)
    assert (got.format.dtype, got.format.shape, got.trouble) == (name, (4, 6), "")


def test_the_message_without_pixels_is_an_end_whatever_it_tells_besides() -> None:
    assert decode([mark(2), *map(bytes, encode_end())]) == ModuleEnd(2)
    assert decode([mark(0), b'{"data":0}']) == ModuleEnd(0)
    assert decode([mark(0), b'{"data":0,"bitmode":"none","frameNumber":-1}', b""]) == ModuleEnd(0)


def test_values_of_the_frame_and_of_the_series_are_kept_apart() -> None:
    got = frame(mystery=[1])
    assert got.about == {key: IMAGE[key] for key in SERIES_KEYS}
    assert got.extras == {
        **{key: IMAGE[key] for key in ("acqIndex", "frameIndex", "detSpec1", "detSpec2", "detSpec3", "detSpec4")},
        "addJsonHeader": {"sample": "x"},
        "mystery": [1],
    }


def test_lost_packets_are_told() -> None:
    got = frame(completeImage=0, packetNumber=60)
    assert (got.is_whole, got.packets, got.blob, got.trouble) == (False, 60, BLOB, "")


@pytest.mark.parametrize(("columns", "rows"), [(1, 8), (2, 4), (4, 1)])
def test_modules_are_counted_row_by_row(columns: int, rows: int) -> None:
    places = [
        frame(detshape=[columns, rows], row=row, column=column).module
        for row in range(rows)
        for column in range(columns)
    ]
    assert places == list(range(columns * rows))


@pytest.mark.parametrize("blob", [b"", BLOB[:-1], BLOB + b"\0"])
def test_pixels_of_another_size_are_told_with_the_module_that_lacks_them(blob: bytes) -> None:
    got = frame((blob,))
    assert got.blob is None
    assert f"{len(blob)} bytes" in got.trouble
    assert "48 bytes" in got.trouble
    assert (got.module, got.frame_number) == (1, 12)


def test_an_index_that_cannot_be_is_not_believed() -> None:
    assert frame(frameIndex=13).first_number is None
    assert frame(frameIndex=...).first_number is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"jsonversion": 3}, "jsonversion 3"),
        ({"bitmode": 4}, "bitmode 4"),
        ({"bitmode": 12}, "bitmode 12"),
        ({"row": 2}, "row 2"),
        ({"column": 1}, "column 1"),
        ({"detshape": [257, 1]}, "257 modules"),
        ({"detshape": [0, 1]}, "detshape"),
        ({"detshape": [1]}, "detshape"),
        ({"shape": [1 << 16, 1 << 16]}, "less than 4 GiB"),
        ({"detshape": [16, 16], "shape": [1 << 13, 1 << 12]}, "less than 4 GiB"),
        ({"frameNumber": -1}, "frameNumber"),
        ({"frameNumber": 2**63}, "frameNumber"),
        ({"frameNumber": "12"}, "frameNumber"),
        ({"frameNumber": ...}, "frameNumber"),
        ({"completeImage": 2}, "completeImage"),
        ({"data": ...}, "data"),
        ({"data": 7}, "data"),
    ],
)
def test_what_makes_no_image_is_refused_with_what_is_wrong(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(WireError, match=said.replace("[", "\\[")):
        decode(image(**changes))


@pytest.mark.parametrize("parts", [[], [b""], [mark(0)], [b"\0", b'{"data":0}'], [b"\xff\xff", b'{"data":0}']])
def test_a_message_without_its_connection_is_refused(parts: list[bytes]) -> None:
    with pytest.raises(WireError, match="message of one module"):
        decode(parts)


@pytest.mark.parametrize("blobs", [(), (BLOB, BLOB)])
def test_an_image_has_two_parts(blobs: tuple[bytes, ...]) -> None:
    with pytest.raises(WireError, match="2, JSON and pixels"):
        decode(image(blobs))


@pytest.mark.parametrize("head", [b"", b"\0", b"[]", b"null", b"{", b'{"data":1}', b"[" * 5000, b"\xff"])
def test_what_is_no_header_is_refused(head: bytes) -> None:
    with pytest.raises(WireError, match="slsReceiver"):
        decode([mark(0), head, BLOB])


def test_the_encoder_writes_the_keys_of_the_package() -> None:
    parts = encode_image(12, FORMAT, BLOB, place=(1, 0), modules=(2, 1), first_number=10, timestamp_ticks=5)
    assert bytes(parts[0]).endswith(b"}\n\0")
    assert set(json.loads(bytes(parts[0]).rstrip(b"\0"))) == set(IMAGE) - {"addJsonHeader"}


def test_a_decoder_of_whole_frames_is_refused() -> None:
    assert isinstance(module_decoder_for(StreamFormat.SLS_JSON), SlsJsonDecoder)
    with pytest.raises(WireError, match="one for each module"):
        decoder_for(StreamFormat.SLS_JSON)
