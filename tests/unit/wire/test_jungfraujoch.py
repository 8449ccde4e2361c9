"""Jungfraujoch's stream: Dectris v2 with keys and messages of its own."""

from __future__ import annotations

from typing import Any

import cbor2
import numpy as np
import pytest
from cbor2 import CBORTag

from maxdaq_tango.errors import WireError
from maxdaq_tango.kernels.compression import HAS_BSZSTD, decode_pixels, encode_pixels
from maxdaq_tango.model import Encoding, Frame, SeriesEnd, SeriesNote, SeriesStart
from maxdaq_tango.wire.cbor_arrays import array_tag, packed_array_tag
from maxdaq_tango.wire.dectris_v2 import DectrisV2Decoder

decode = DectrisV2Decoder().decode
IDENTITY = {"series_id": 3, "series_unique_id": "run_0003"}
PIXELS = np.arange(-12, 12, dtype=np.int16).reshape(4, 6)


def message(kind: str, **fields: Any) -> list[bytes]:
    return [cbor2.dumps(CBORTag(55799, {"type": kind, **IDENTITY, **fields}))]


def image(number: int, dtype: str = "int16", encoding: Encoding = Encoding.BSLZ4, **more: Any) -> list[bytes]:
    pixels = PIXELS.astype(dtype)
    if encoding is Encoding.BSZSTD and not HAS_BSZSTD:
        pytest.skip("this build of bitshuffle has no Zstandard")
    data = packed_array_tag(pixels.shape, dtype, encoding, encode_pixels(pixels, encoding))
    spots = [{"x": 10.5, "y": 3.25, "I": 80.0, "maxc": 40, "indexed": False}]
    own = {
        "spots": spots,
        "az_int_profile": array_tag(np.linspace(0, 1, 7, dtype=np.float32)),
        "receiver_aq_dev_delay": 0,
        "data_collection_efficiency": 0.9922,
        "bkg_estimate": 1.5,
    }
    times = {name: [number * 500, 1_000_000] for name in ("start_time", "stop_time", "real_time")}
    return message("image", image_id=number, data={"default": data}, **times, **own, **more)


def test_a_start_with_keys_of_its_own_keeps_them() -> None:
    start = decode(
        message(
            "start",
            magic_number=0x52320000 | 42,
            detector_distance=0.15,
            number_of_images=120,
            frame_time=0.0005,
            image_size_x=6,
            image_size_y=4,
            error_value=-32768,
            bit_depth_image=16,
            images_per_file=50,
            pixel_signed=True,
            unit_cell={"a": 79.0, "b": 79.0, "c": 38.0, "alpha": 90.0, "beta": 90.0, "gamma": 90.0},
            pixel_mask={"default": array_tag(np.zeros((4, 6), np.uint32))},
            channels=["default"],
        )
    )
    assert isinstance(start, SeriesStart)
    assert (start.series, start.frame_count, start.frame_period_s) == ("run_0003", 120, 0.0005)
    assert start.metadata["error_value"] == -32768
    assert start.metadata["unit_cell"]["c"] == 38.0
    assert [array.shape for array in start.arrays.values()] == [(4, 6)]


@pytest.mark.parametrize("dtype", ["int16", "int32", "uint16", "uint32", "int8"])
@pytest.mark.parametrize("encoding", [Encoding.BSLZ4, Encoding.BSZSTD, Encoding.NONE])
def test_images_of_every_type_and_packing_are_read(dtype: str, encoding: Encoding) -> None:
    frame = decode(image(7, dtype, encoding))
    assert isinstance(frame, Frame)
    assert (frame.frame_number, frame.format.dtype, frame.format.encoding) == (7, dtype, encoding)
    np.testing.assert_array_equal(decode_pixels(frame.format, frame.blobs), PIXELS.astype(dtype))
    assert frame.start_time_s == pytest.approx(0.0035)
    assert frame.extras["channels"] == ["default"]
    assert frame.extras["spots"][0]["x"] == 10.5
    assert len(frame.extras["az_int_profile"]) == 7
    assert frame.extras["data_collection_efficiency"] == pytest.approx(0.9922)


@pytest.mark.parametrize("kind", ["calibration", "metadata"])
def test_messages_of_its_own_are_notes_and_no_ends(kind: str) -> None:
    note = decode(message(kind, data={"G0": array_tag(np.zeros((4, 6), np.float32))}))
    assert note == SeriesNote(series="run_0003", kind=kind)
    bare = decode([cbor2.dumps(CBORTag(55799, {"type": kind}))])
    assert bare == SeriesNote(series="", kind=kind)


def test_an_end_with_keys_of_its_own_is_an_end() -> None:
    end = decode(message("end", end_date="2026-01-02T03:04:05Z", max_image_number=120, images_collected=119))
    assert end == SeriesEnd(series="run_0003")


def test_other_types_are_refused_as_before() -> None:
    with pytest.raises(WireError, match="start, image, end"):
        decode(message("spots"))
