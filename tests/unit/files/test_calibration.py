"""Files with pedestal and gain of every pixel: what is read, and what is refused with the reason."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from maxdaq_tango.detectors.jungfrau.pedestals import read_gain
from maxdaq_tango.errors import FileError
from maxdaq_tango.files.calibration import Calibration, checked_calibration, read_calibration, write_calibration
from maxdaq_tango.kernels.jungfrau import ADC_BITS, BAD_COUNT, BITS_OF_PLANE, convert_with_numpy

SHAPE = (3, 2, 4, 5)


def calibration() -> Calibration:
    rng = np.random.default_rng(3)
    pedestal = rng.normal(3000, 10, SHAPE).astype(np.float32)
    gain = rng.normal(40, 1, SHAPE).astype(np.float32)
    bad = np.zeros(SHAPE[1:], bool)
    bad[1, 2, 3] = True
    return Calibration(pedestal, gain, bad)


def test_what_is_written_is_read_and_nothing_is_overwritten(tmp_path: Path) -> None:
    path, written = tmp_path / "c.h5", calibration()
    write_calibration(path, written, {"made_of": "three dark series"})
    read = read_calibration(path)
    assert read.shape == SHAPE[1:]
    for name in ("pedestal", "gain", "bad"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    with h5py.File(path, "r") as file:
        assert file.attrs["made_of"] == "three dark series"
    with pytest.raises(FileError, match="new path"):
        write_calibration(path, written, {})


def test_gains_may_be_given_the_other_way_round_if_they_say_so(tmp_path: Path) -> None:
    path = tmp_path / "c.h5"
    with h5py.File(path, "w") as file:
        file["pedestal"] = np.zeros(SHAPE)
        file["gain"] = np.full(SHAPE, 0.025)
        file["gain"].attrs["unit"] = "keV/ADU"
    np.testing.assert_allclose(read_calibration(path).gain, 40)


def test_a_numpy_file_and_a_single_module(tmp_path: Path) -> None:
    path = tmp_path / "c.npy"
    np.save(path, np.stack([np.full((3, 4, 5), 3000.0), np.full((3, 4, 5), 40.0)]))
    read = read_calibration(path)
    assert read.shape == (1, 4, 5)
    assert (read.pedestal[0, 0, 0, 0], read.gain[0, 0, 0, 0], read.bad.any()) == (3000, 40, False)


def test_an_adu_is_worth_its_gain_and_bad_pixels_nothing() -> None:
    given = calibration()
    given.gain[1, 0, 0, 0] = 0
    given.gain[2, 0, 0, 1] = np.nan
    given.pedestal[0, 0, 0, 2] = np.inf
    scale = given.scale(12.4)
    assert np.isnan(scale[:, 1, 2, 3]).all()
    assert np.isnan([scale[1, 0, 0, 0], scale[2, 0, 0, 1], scale[0, 0, 0, 2]]).all()
    assert np.count_nonzero(np.isnan(scale)) == 6
    assert scale[0, 0, 3, 3] == pytest.approx(1 / (given.gain[0, 0, 3, 3] * 12.4))


@pytest.mark.parametrize("unit", ["keV/ADU", "ADU/keV"])
@pytest.mark.parametrize("without", [0.0, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("plane", range(3))
def test_a_pixel_without_a_gain_is_bad_in_that_gain_whatever_is_stored(
    tmp_path: Path, unit: str, without: float, plane: int
) -> None:
    path = tmp_path / "c.h5"
    pedestal, gain = np.full((3, 1, 1, 2), 3000.0), np.full((3, 1, 1, 2), 0.025 if unit == "keV/ADU" else 40.0)
    gain[plane, 0, 0, 0] = without
    with h5py.File(path, "w") as file:
        file["pedestal"], file["gain"] = pedestal, gain
        file["gain"].attrs["unit"] = unit
    read = read_calibration(path)
    raw = np.full(2, BITS_OF_PLANE[plane] << ADC_BITS | 3400, np.uint16)
    for dtype, bad in (("float32", np.nan), ("int32", BAD_COUNT)):
        out = np.zeros(2, dtype)
        convert_with_numpy(raw, read.pedestal.reshape(3, 2), read.scale(1.0).reshape(3, 2), out)
        np.testing.assert_equal(out, np.array([bad, 10], dtype))
    # And where gains are taken over into a calibration of new dark series.
    taken, _ = read_gain(str(path))
    assert np.isnan(checked_calibration(pedestal, taken, None, "test").scale(1.0)).sum() == 1


def broken(path: Path, kind: str) -> Path:
    if kind == "nothing there":
        return path.with_name("absent.h5")
    if kind == "no HDF5":
        path.write_bytes(b"GIF89a" * 100)
        return path
    if kind == "a pickle":
        path = path.with_suffix(".npy")
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": (1,)})
            file.write(b"\x80\x04N.")
        return path
    if kind == "an odd array":
        path = path.with_suffix(".npy")
        np.save(path, np.zeros((3, 4, 5)))
        return path
    with h5py.File(path, "w") as file:
        if kind != "no pedestal":
            file["pedestal"] = np.zeros(SHAPE if kind != "two gains" else (2, *SHAPE[1:]))
        file["gain"] = np.full((3, 2, 4, 6) if kind == "gains of another shape" else SHAPE, 1.0)
        if kind == "complex gains":
            del file["gain"]
            file["gain"] = np.ones(SHAPE, np.complex64)
        if kind == "unknown unit":
            file["gain"].attrs["unit"] = "furlong"
        if kind == "mask of another shape":
            file["mask"] = np.zeros((2, 4, 4))
    return path


@pytest.mark.parametrize(
    "kind",
    ["nothing there", "no HDF5", "a pickle", "an odd array", "no pedestal", "complex gains", "two gains",
     "gains of another shape", "unknown unit", "mask of another shape"],
)  # fmt: skip
def test_what_is_no_calibration_is_refused_with_its_path(tmp_path: Path, kind: str) -> None:
    path = broken(tmp_path / "c.h5", kind)
    with pytest.raises(FileError) as refusal:
        read_calibration(path)
    assert refusal.value.of == str(path)
    assert refusal.value.answer
    assert refusal.value.accepted
