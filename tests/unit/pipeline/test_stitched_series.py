"""Frames of modules stored as one picture, from the sockets to the pixels in the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from maxdaq_tango.errors import ConfigurationError, WireError
from maxdaq_tango.files.check import check_file
from maxdaq_tango.kernels.compression import encode_pixels
from maxdaq_tango.model import (
    Compression,
    Encoding,
    FileBackend,
    Frame,
    FrameFormat,
    Orientation,
    StreamFormat,
    Verdict,
)
from maxdaq_tango.pipeline.stitching import NOWHERE, Stitch, read_places
from module_parts import SHAPE, pixels
from module_senders import Lambda
from receiving import Harness, stored

MODULES = 4
WINDMILL = {"x": [0, 6, 4, 0], "y": [0, 0, 6, 4], "rotation": [0, 90, 180, 270]}
FULL = (10, 10)


def picture(number: int, blank: tuple[int, ...] = (), dtype: str = "uint16") -> np.ndarray[Any, Any]:
    """As MAX IV's readers make it."""
    canvas = np.full(FULL, np.iinfo(dtype).max, dtype)
    for module in range(MODULES):
        if module in blank:
            continue
        x, y, rotation = (WINDMILL[key][module] for key in ("x", "y", "rotation"))
        turned = np.rot90(pixels(number, module, dtype), -rotation / 90)
        canvas[y : y + turned.shape[0], x : x + turned.shape[1]] = turned
    return canvas


class WindmillLambda(Lambda):
    """Its modules lie around a hole."""

    def header(self, *modules: int, filename: str = "", **more: Any) -> None:
        for module in modules or range(self.modules):
            geometry = {key: values[module] for key, values in WINDMILL.items()}
            super().header(module, filename=filename, **{**geometry, "full_shape": FULL, **more})


@pytest.fixture
def detector(harness: Harness) -> WindmillLambda:
    return WindmillLambda(harness.context, MODULES)


def prepare(harness: Harness, detector: Lambda, **changes: Any) -> None:
    settings = {"sources": detector.endpoints, "stream_format": StreamFormat.LAMBDA_MODULES, "detector": "lambda"}
    harness.prepare(**{**settings, "module_wait_s": 0.3, "stitch": True, **changes})


@pytest.mark.parametrize("backend", [FileBackend.SWMR, FileBackend.DIRECT])
@pytest.mark.parametrize("encoding", [Encoding.NONE, Encoding.BSLZ4])
def test_modules_become_one_picture_with_its_geometry_beside_it(
    harness: Harness, detector: Lambda, encoding: Encoding, backend: FileBackend
) -> None:
    prepare(harness, detector, backend=backend)
    detector.header()
    for number in range(5):
        detector.image(number, encoding=encoding)
    detector.end()
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.reasons) == (Verdict.COMPLETE, ())
    assert (receipt.shape, receipt.encoding, receipt.dtype) == ((5, *FULL), "bslz4", "uint16")
    assert receipt.decisions["stitch"] == "modules are stored as one picture"
    np.testing.assert_array_equal(stored(receipt), [picture(number) for number in range(5)])
    with h5py.File(receipt.file) as file:
        group = file["entry/instrument/lambda"]
        assert group["data"].chunks == (1, *FULL)
        assert group["full_shape"][()].tolist() == list(FULL)
        assert group["rotation"][()].tolist() == WINDMILL["rotation"]
    assert check_file(Path(receipt.file)).problems == []


@pytest.mark.parametrize("compression", list(Compression))
def test_the_picture_is_packed_as_asked_where_modules_came_unpacked(
    harness: Harness, detector: Lambda, compression: Compression
) -> None:
    prepare(harness, detector, compression=compression)
    detector.header()
    detector.image(0)
    detector.end()
    receipt = harness.receipt()
    assert receipt.encoding == compression.value
    np.testing.assert_array_equal(stored(receipt), [picture(0)])


def test_a_module_that_does_not_come_is_blank_in_the_picture_and_told(harness: Harness, detector: Lambda) -> None:
    prepare(harness, detector)
    detector.header()
    detector.image(0)
    detector.image(1, 0, 1, 3)
    detector.lose(2)
    detector.image(2)
    detector.end()
    receipt = harness.receipt()
    assert receipt.verdict is Verdict.INCOMPLETE
    assert receipt.modules_missing == (0, 0, 1, 0)
    np.testing.assert_array_equal(stored(receipt), [picture(0), picture(1, (2,)), picture(2)])


def test_a_module_that_never_says_where_it_lies_is_blank_in_the_picture(harness: Harness, detector: Lambda) -> None:
    prepare(harness, detector, expected_frames=3)
    detector.header(0, 1, 3)
    for number in range(3):
        detector.image(number, 0, 1, 3)
    detector.end(0, 1, 3)
    receipt = harness.receipt()
    assert receipt.modules_missing == (0, 0, 3, 0)
    np.testing.assert_array_equal(stored(receipt), [picture(number, (2,)) for number in range(3)])


def test_the_picture_is_turned_as_a_whole(harness: Harness, detector: Lambda) -> None:
    prepare(harness, detector, orientation=Orientation(rotation=1, flipud=True))
    detector.header()
    detector.image(0)
    detector.end()
    receipt = harness.receipt()
    np.testing.assert_array_equal(stored(receipt), [np.flipud(np.rot90(picture(0)))])


def test_without_geometry_modules_are_stored_one_by_one_and_the_reason_is_told(
    harness: Harness, detector: Lambda
) -> None:
    prepare(harness, detector)
    detector.header(full_shape=[4, 4])
    detector.image(0)
    detector.end()
    receipt = harness.receipt()
    assert receipt.verdict is Verdict.COMPLETE
    assert receipt.shape == (1, MODULES, *SHAPE)
    assert receipt.decisions["stitch"].startswith("no: put the modules into one picture: module 0 at x 0")


def test_pictures_are_stored_in_blocks_as_well(harness: Harness, detector: Lambda) -> None:
    prepare(harness, detector, frames_per_file=2)
    detector.header()
    for number in range(5):
        detector.image(number)
    detector.end()
    receipt = harness.receipt()
    assert len(receipt.data_files) == 3
    np.testing.assert_array_equal(stored(receipt), [picture(number) for number in range(5)])


# --- the transform ----------------------------------------------------------------------------------------------------

FORMAT = FrameFormat((MODULES, *SHAPE), "uint16", Encoding.BSLZ4, chunk_shape=(1, *SHAPE))
GEOMETRY = {**WINDMILL, "full_shape": list(FULL)}


def frame(*blobs: bytes) -> Frame:
    return Frame(series="", frame_number=0, format=FORMAT, blobs=blobs)


def test_it_declares_what_it_makes_before_any_data_flow() -> None:
    stitch = Stitch(read_places(GEOMETRY, FORMAT))
    described = stitch.describe(FORMAT)
    assert described == FrameFormat(FULL, "uint16", Encoding.NONE)
    room = memoryview(bytearray(stitch.room(FORMAT)))
    made = stitch.apply(frame(*(encode_pixels(pixels(3, m), Encoding.BSLZ4) for m in range(MODULES))), room)
    assert made.format == described
    np.testing.assert_array_equal(np.frombuffer(made.blobs[0], np.uint16).reshape(FULL), picture(3))


def test_a_damaged_module_damages_the_picture() -> None:
    stitch = Stitch(read_places(GEOMETRY, FORMAT))
    blobs = [encode_pixels(pixels(3, m), Encoding.BSLZ4) for m in range(MODULES)]
    blobs[1] = blobs[1][:14] + b"\xff\xff"
    with pytest.raises(WireError):
        stitch.apply(frame(*blobs), memoryview(bytearray(stitch.room(FORMAT))))
    with pytest.raises(WireError, match="3 modules"):
        stitch.apply(frame(*blobs[:3]), memoryview(bytearray(stitch.room(FORMAT))))


def test_a_module_without_a_header_has_no_place() -> None:
    told = {key: [*values[:3], None] for key, values in WINDMILL.items()}
    assert read_places({**told, "full_shape": FULL}, FORMAT).places[3] == NOWHERE


@pytest.mark.parametrize(
    "change",
    [
        {"full_shape": None}, {"full_shape": [10]}, {"full_shape": [0, 10]}, {"full_shape": "10,10"},
        {"full_shape": [1 << 20, 1 << 20]}, {"full_shape": [10.0, 10.0]}, {"full_shape": [True, 10]},
        {"x": None}, {"x": [0, 6, 4]}, {"x": 0}, {"x": [0, 6, 4, 0.5]}, {"x": [0, 8, 4, 0]}, {"x": [-1, 6, 4, 0]},
        {"y": [0, 0, 6, "4"]}, {"y": [0, 0, 8, 4]}, {"y": [0, None, 6, 4]}, {"rotation": [0, 90, 180, 45]},
        {"rotation": [0, 90, 180, "270"]}, {"rotation": [0, None, 180, 270]}, {"rotation": [0, 0, 180, 270]},
        {"rotation": [0, float("nan"), 180, 270]}, {"x": [0, 1 << 70, 4, 0]},
    ],
)  # fmt: skip
def test_geometry_from_outside_that_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="put the modules into one picture"):
        read_places({**GEOMETRY, **change}, FORMAT)


def test_frames_that_are_no_modules_are_refused() -> None:
    with pytest.raises(ConfigurationError):
        read_places(GEOMETRY, FrameFormat((3, 5), "uint16", Encoding.NONE))
    with pytest.raises(ConfigurationError):
        read_places(GEOMETRY, FrameFormat((MODULES, *SHAPE), "uint16", Encoding.NONE))
