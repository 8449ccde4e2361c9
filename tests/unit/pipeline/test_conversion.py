"""Series of a Jungfrau that are converted on their way to the file, pixel by pixel; calibrations that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from maxdaq_tango.errors import FileError, MaxdaqError, PipelineError
from maxdaq_tango.files.calibration import Calibration, write_calibration
from maxdaq_tango.files.check import check_file
from maxdaq_tango.kernels.jungfrau import BAD_COUNT, SATURATED_COUNT, convert_with_numpy
from maxdaq_tango.model import Encoding, FrameFormat, Orientation, StreamFormat, Verdict
from maxdaq_tango.model.conversion import Conversion, ConvertTo
from maxdaq_tango.pipeline.conversion import Convert, converter
from module_parts import SHAPE
from module_senders import Jungfrau
from receiving import Harness, stored

MODULES = 2
ENERGY_EV = 8000.0


def raw(number: int, module: int) -> np.ndarray[Any, Any]:
    """All gains, a pixel that never came, one that is saturated and one in a gain that there is not."""
    values = np.random.default_rng([number, module]).integers(0, 1 << 14, SHAPE).astype(np.uint16)
    values[1] |= 0x4000
    values[2] |= 0xC000
    values[0, :3] = 0xFFFF, 0xC000, 0x8123
    return values


def make(path: Path, modules: int = MODULES, shape: tuple[int, int] = SHAPE) -> Calibration:
    rng = np.random.default_rng(7)
    size = (3, modules, *shape)
    pedestal = np.array([3000, 15000, 15500])[:, None, None, None] + rng.normal(0, 20, size)
    gain = np.array([40, -1.5, -0.1])[:, None, None, None] * rng.normal(1, 0.01, size)
    bad = np.zeros(size[1:], bool)
    bad[-1, -1, -1] = True
    calibration = Calibration(pedestal.astype(np.float32), gain.astype(np.float32), bad)
    write_calibration(path, calibration, {})
    return calibration


def wanted(calibration: Calibration, number: int, to: ConvertTo) -> np.ndarray[Any, Any]:
    unit = 1.0 if to is ConvertTo.ENERGY else ENERGY_EV / 1000
    pixels = np.stack([raw(number, module) for module in range(MODULES)])
    out = np.zeros(pixels.size, to.dtype)
    planes = [array.reshape(3, -1) for array in (calibration.pedestal, calibration.scale(unit))]
    convert_with_numpy(pixels.reshape(-1), *planes, out)
    return out.reshape(pixels.shape)


@pytest.fixture
def detector(harness: Harness) -> Jungfrau:
    return Jungfrau(harness.context)


def prepare(harness: Harness, detector: Jungfrau, conversion: Conversion, **changes: Any) -> None:
    settings = {"sources": detector.endpoints, "stream_format": StreamFormat.SLS_JSON, "detector": "jungfrau"}
    harness.prepare(**{**settings, "module_wait_s": 0.3, "conversion": conversion, **changes})
    detector.wait_subscribed()


def send(detector: Jungfrau, count: int) -> None:
    for number in range(count):
        for module in range(MODULES):
            detector.image(number, module, blob=raw(number, module).tobytes())
    detector.end()


@pytest.mark.parametrize(
    ("to", "orientation", "engines"),
    [
        (ConvertTo.ENERGY, Orientation(), 1),
        (ConvertTo.PHOTONS, Orientation(), 1),
        (ConvertTo.COUNTS, Orientation(), 1),
        (ConvertTo.COUNTS, Orientation(1, True, False), 1),
        (ConvertTo.COUNTS, Orientation(), 2),
    ],
)
def test_the_file_holds_what_the_twin_makes_of_every_pixel(
    harness: Harness, detector: Jungfrau, tmp_path: Path, to: ConvertTo, orientation: Orientation, engines: int
) -> None:
    calibration = make(tmp_path / "c.h5")
    conversion = Conversion(to=to, calibration=str(tmp_path / "c.h5"), photon_energy_ev=ENERGY_EV)
    prepare(harness, detector, conversion, expected_frames=6, orientation=orientation, engines=engines)
    send(detector, 6)
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.reasons, receipt.dtype) == (Verdict.COMPLETE, (), to.dtype)
    expected = np.stack([wanted(calibration, number, to) for number in range(6)])
    if not orientation.is_identity:
        expected = np.rot90(expected, 1, axes=(-2, -1))[..., ::-1]
    np.testing.assert_array_equal(stored(receipt), expected)
    assert receipt.decisions["conversion"] == f"{to.dtype} {to.unit}, by {tmp_path / 'c.h5'}"
    assert receipt.settings["conversion"]["to"] == to.value
    with h5py.File(receipt.file, "r") as file:
        assert file["entry/instrument/jungfrau/conversion"][()].decode() == receipt.decisions["conversion"]
    assert check_file(Path(receipt.file)).problems == []


def test_raw_frames_are_stored_as_they_come(harness: Harness, detector: Jungfrau) -> None:
    prepare(harness, detector, Conversion(), expected_frames=3)
    send(detector, 3)
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.dtype) == (Verdict.COMPLETE, "uint16")
    assert "conversion" not in receipt.decisions
    np.testing.assert_array_equal(stored(receipt), [[raw(n, m) for m in range(MODULES)] for n in range(3)])


def test_a_module_that_never_came_is_no_number(harness: Harness, detector: Jungfrau, tmp_path: Path) -> None:
    make(tmp_path / "c.h5")
    conversion = Conversion(to=ConvertTo.COUNTS, calibration=str(tmp_path / "c.h5"), photon_energy_ev=ENERGY_EV)
    prepare(harness, detector, conversion, expected_frames=1)
    detector.image(0, 0, blob=raw(0, 0).tobytes())
    detector.end()
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_partial_ranges) == (Verdict.INCOMPLETE, ((101, 101),))
    (frame,) = stored(receipt)
    assert (frame[1] == BAD_COUNT).all()
    assert frame[0, 0, :2].tolist() == [BAD_COUNT, SATURATED_COUNT]


def test_a_calibration_of_another_shape_fails_the_run_and_says_both_shapes(
    harness: Harness, detector: Jungfrau, tmp_path: Path
) -> None:
    make(tmp_path / "c.h5", modules=3)
    prepare(harness, detector, Conversion(to=ConvertTo.ENERGY, calibration=str(tmp_path / "c.h5")), expected_frames=2)
    send(detector, 2)
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_written) == (Verdict.FAILED, 0)
    assert receipt.frames_lost_count + len(receipt.frames_missing) == 2  # whether the second had come by then
    assert receipt.frames_lost_count
    assert "(3, 3, 5)" in receipt.reasons[0]
    assert f"(3, 2, {SHAPE[0]}, {SHAPE[1]})" in receipt.reasons[0]


@pytest.mark.parametrize("calibration", ["/no/such/file.h5", "relative.h5", ""])
def test_a_calibration_that_is_not_there_fails_prepare(harness: Harness, detector: Jungfrau, calibration: str) -> None:
    with pytest.raises(MaxdaqError):
        prepare(harness, detector, Conversion(to=ConvertTo.ENERGY, calibration=calibration))
    assert list(harness.folder.glob("*.part")) == []


def test_photons_without_an_energy_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="photon energy"):
        converter(Conversion(to=ConvertTo.PHOTONS, calibration=str(tmp_path / "c.h5")))


def test_a_changed_calibration_is_read_again_and_an_unchanged_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "c.h5"
    make(path)
    conversion = Conversion(to=ConvertTo.ENERGY, calibration=str(path))
    first = converter(conversion)
    assert converter(conversion) is first
    path.unlink()
    make(path, modules=3)
    second = converter(conversion)
    assert second is not None
    assert second.describe(FrameFormat((3, *SHAPE), "uint16", Encoding.NONE, (1, *SHAPE))).dtype == "float32"


@pytest.mark.parametrize(
    "format",
    [
        FrameFormat((MODULES, *SHAPE), "uint32", Encoding.NONE, (1, *SHAPE)),
        FrameFormat((MODULES, *SHAPE), "uint16", Encoding.BSLZ4, (1, *SHAPE)),
        FrameFormat((SHAPE[0], SHAPE[1]), "uint16", Encoding.NONE),
    ],
)
def test_frames_that_are_none_of_a_jungfrau_are_refused_before_the_file_is_made(
    tmp_path: Path, format: FrameFormat
) -> None:
    convert = Convert(Conversion(to=ConvertTo.ENERGY, calibration="/c.h5"), make(tmp_path / "c.h5"))
    with pytest.raises(PipelineError) as refusal:
        convert.describe(format)
    assert refusal.value.accepted
