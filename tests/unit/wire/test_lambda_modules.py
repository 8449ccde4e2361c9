"""STINS of single modules: what is read of it, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from maxdaq_tango.errors import WireError
from maxdaq_tango.kernels.compression import compress_bslz4
from maxdaq_tango.model import Encoding, FrameFormat, ModuleEnd, ModuleFrame, ModuleStart, StreamFormat
from maxdaq_tango.wire import module_decoder_for, stins
from maxdaq_tango.wire.lambda_modules import LambdaModulesDecoder, encode_image
from maxdaq_tango.wire.marked import mark

decode = LambdaModulesDecoder().decode
PIXELS = np.arange(24, dtype=np.uint16).reshape(4, 6)
FORMAT = FrameFormat((4, 6), "uint16", Encoding.BSLZ4)
BLOB = compress_bslz4(PIXELS)
IMAGE: dict[str, Any] = {
    "htype": "image",
    "msg_number": 7,
    "frame": 3,
    "shape": [4, 4, 6],
    "chunks": [1, 4, 6],
    "type": "uint16",
    "compression": "bslz4",
}


def image(blobs: tuple[bytes, ...] = (BLOB,), **changes: Any) -> list[bytes]:
    fields = {key: value for key, value in (IMAGE | changes).items() if value is not ...}
    return [mark(2), json.dumps(fields).encode(), *blobs]


@pytest.mark.parametrize("changes", [{}, {"chunks": ...}, {"shape": [4, 6], "chunks": ...}])
def test_an_image_is_the_share_of_the_module_at_its_connection(changes: dict[str, Any]) -> None:
    got = decode(image(**changes, exposure_time=0.5, temperature=20.5))
    assert isinstance(got, ModuleFrame)
    assert (got.source, got.module, got.module_count) == (2, 2, None)
    assert (got.frame_number, got.msg_number, got.format, got.blob) == (3, 7, FORMAT, BLOB)
    assert (got.exposure_time_s, got.extras, got.trouble) == (0.5, {"temperature": 20.5}, "")


def test_the_header_of_a_module_tells_where_it_lies() -> None:
    metadata = {"x": 10, "y": 20, "rotation": 90, "full_shape": [100, 200]}
    got = decode([mark(1), *stins.encode_header(6, "/data/a.h5", metadata)])
    assert isinstance(got, ModuleStart)
    assert (got.source, got.start.msg_number, got.start.filename, got.start.metadata) == (1, 6, "/data/a.h5", metadata)


def test_the_end_of_a_module_has_its_number() -> None:
    assert decode([mark(3), *stins.encode_end(9)]) == ModuleEnd(3, 9)


@pytest.mark.parametrize("blob", [b"", BLOB[:-1], BLOB + b"\0"])
def test_damaged_pixels_are_told_with_the_module_that_lacks_them(blob: bytes) -> None:
    got = decode(image((blob,)))
    assert isinstance(got, ModuleFrame)
    assert (got.module, got.frame_number, got.blob) == (2, 3, None)
    assert "bslz4" in got.trouble


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"chunks": [2, 4, 6]}, "one module"),
        ({"chunks": [1, 2, 6]}, "one module"),
        ({"shape": [6]}, "shape"),
        ({"shape": [4, 0, 6], "chunks": ...}, "shape"),
        ({"type": "float16"}, "pixel type"),
        ({"compression": "zip"}, "compression"),
        ({"frame": -1}, "frame"),
        ({"frame": ...}, "frame"),
    ],
)
def test_what_makes_no_image_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(WireError, match=said):
        decode(image(**changes))


@pytest.mark.parametrize("blobs", [(), (BLOB, BLOB), (BLOB,) * 4])
def test_a_module_sends_one_blob(blobs: tuple[bytes, ...]) -> None:
    with pytest.raises(WireError, match="2, JSON and pixels"):
        decode(image(blobs))


def test_what_is_encoded_is_what_is_read() -> None:
    got = decode([mark(0), *map(bytes, encode_image(8, 5, 4, FORMAT, BLOB))])
    assert isinstance(got, ModuleFrame)
    assert (got.module, got.frame_number, got.msg_number, got.format, got.blob) == (0, 5, 8, FORMAT, BLOB)
    assert isinstance(module_decoder_for(StreamFormat.LAMBDA_MODULES), LambdaModulesDecoder)
