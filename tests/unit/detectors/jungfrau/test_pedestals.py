"""Dark series to a calibration file: means, stuck pixels, gains in every form, and what is no dark series."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from maxdaq_tango.detectors.jungfrau.pedestals import main, read_gain, sums_of
from maxdaq_tango.detectors.jungfrau.protocol import GainMode
from maxdaq_tango.detectors.jungfrau.simulator_pixels import JungfrauPixels
from maxdaq_tango.errors import FileError
from maxdaq_tango.files.calibration import read_calibration

SHAPE = (2, 8, 24)
MODES = (GainMode.DYNAMIC, GainMode.FORCE_SWITCH_G1, GainMode.FORCE_SWITCH_G2)
PIXELS = JungfrauPixels(6, (16, 24))


def save(path: Path, frames: np.ndarray[Any, Any]) -> Path:
    with h5py.File(path, "w") as file:
        file["entry/instrument/jungfrau/data"] = frames
    return path


def dark(mode: GainMode, count: int = 14) -> np.ndarray[Any, Any]:
    return np.stack([PIXELS.frame(n, mode, beam=False).reshape(SHAPE) for n in range(count)])


@pytest.fixture
def series(tmp_path: Path) -> list[Path]:
    return [save(tmp_path / f"dark{plane}.h5", dark(mode)) for plane, mode in enumerate(MODES)]


def run(series: list[Path], output: Path, *more: str, gain: str = "40,-1.5,-0.1") -> int:
    words = [word for plane, path in enumerate(series) for word in (f"--g{plane}", str(path))]
    return main([*words, "--gain", gain, "--output", str(output), *more])


def test_three_dark_series_give_the_pedestal_of_every_pixel_and_gain(
    series: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(series, tmp_path / "c.h5") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["frames"], told["bad_pixels"], told["shape"]) == ([14] * 3, 0, list(SHAPE))
    assert told["noise_median_adu"] == pytest.approx([2.0] * 3)
    calibration = read_calibration(tmp_path / "c.h5")
    np.testing.assert_array_equal(calibration.pedestal, PIXELS.pedestal.reshape(3, *SHAPE))
    np.testing.assert_array_equal(calibration.gain[:, 0, 0, 0], np.float32([40, -1.5, -0.1]))
    with h5py.File(tmp_path / "c.h5", "r") as file:
        assert file.attrs["dark_g1"] == str(series[1])


def test_pixels_that_are_seldom_in_their_gain_are_bad_and_blank_frames_do_not_count(
    series: list[Path], tmp_path: Path
) -> None:
    frames = dark(MODES[1])
    frames[:8, 1, 2, 3] &= 0x3FFF  # in G0, for more than half of the time
    frames[:3, 0, 0, 0] &= 0x3FFF  # less
    save(series[1], np.concatenate([frames, np.full((1, *SHAPE), 0xFFFF, np.uint16)]))
    assert run(series, tmp_path / "c.h5") == 0
    calibration = read_calibration(tmp_path / "c.h5")
    assert np.argwhere(calibration.bad).tolist() == [[1, 2, 3]]
    assert calibration.pedestal[1, 0, 0, 0] == pytest.approx(PIXELS.pedestal[1, 0, 0], abs=3)


def test_gains_and_bad_pixels_are_taken_over_from_a_calibration(series: list[Path], tmp_path: Path) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[0, 1, 1] = 7
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file["gain"], file["mask"] = np.full((3, *SHAPE), 0.025), mask
        file["gain"].attrs["unit"] = "keV/ADU"
    assert run(series, tmp_path / "c.h5", gain=str(tmp_path / "old.h5")) == 0
    calibration = read_calibration(tmp_path / "c.h5")
    np.testing.assert_allclose(calibration.gain, 40)
    assert np.argwhere(calibration.bad).tolist() == [[0, 1, 1]]
    np.save(tmp_path / "gain.npy", np.full((3, *SHAPE), 41.0))
    assert read_gain(str(tmp_path / "gain.npy"))[0].mean() == 41


@pytest.mark.parametrize("kind", ["photons", "absent", "another file", "no frames", "other shape", "bad share",
                                  "no gains", "gains of another shape", "there already"])  # fmt: skip
def test_what_cannot_work_is_said_in_one_line_and_leaves_no_file(
    series: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    more, gain = [], "40,-1.5,-0.1"
    output = tmp_path / "c.h5"
    if kind == "photons":
        save(series[2], dark(MODES[2]).astype(np.float32))
    elif kind == "absent":
        series[0] = tmp_path / "no.h5"
    elif kind == "another file":
        with h5py.File(series[0], "w") as file:
            file["x"] = 1
    elif kind == "no frames":
        save(series[0], dark(MODES[0])[:0])
    elif kind == "other shape":
        save(series[1], dark(MODES[1])[:, :1])
    elif kind == "bad share":
        more = ["--least", "2"]
    elif kind == "no gains":
        gain = "40,forty,4"
    elif kind == "gains of another shape":
        np.save(tmp_path / "g.npy", np.ones((3, 2, 8, 25)))
        gain = str(tmp_path / "g.npy")
    else:
        output.write_bytes(b"mine")
    assert run(series, output, *more, gain=gain) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "jungfrau-pedestals:" in error
    assert output.exists() == (kind == "there already")
    if kind == "there already":
        assert output.read_bytes() == b"mine"


def test_saturated_frames_do_not_pull_the_pedestal_down_and_a_pixel_with_nothing_else_is_bad(
    series: list[Path], tmp_path: Path
) -> None:
    frames = dark(MODES[2])
    frames[:7, 0, 0, 0] = 0xC000
    frames[:, 1, 1, 1] = 0xC000
    save(series[2], frames)
    assert run(series, tmp_path / "c.h5", "--least", "0") == 0
    calibration = read_calibration(tmp_path / "c.h5")
    assert calibration.pedestal[2, 0, 0, 0] == pytest.approx(PIXELS.pedestal[2, 0, 0], abs=3)
    assert np.argwhere(calibration.bad).tolist() == [[1, 1, 1]]


@pytest.mark.parametrize("suffix", [".npy", ".h5"])
@pytest.mark.parametrize("gain", [np.ones(1), np.ones(2), np.ones(4), np.ones(3, complex), np.array(["a", "b", "c"])])
def test_gains_that_are_not_three_numbers_are_one_sentence(
    tmp_path: Path, gain: np.ndarray[Any, Any], suffix: str
) -> None:
    path = tmp_path / f"g{suffix}"
    if suffix == ".npy":
        np.save(path, gain)
    else:
        with h5py.File(path, "w") as file:
            file["gain"] = gain if gain.dtype.kind != "U" else gain.astype("S")
            file["gain"].attrs["unit"] = "keV/ADU"
    with pytest.raises(FileError, match=r"read the gains .*of shape \(\d,\)") as refusal:
        read_gain(str(path))
    assert refusal.value.of == str(path)
    assert "three" in refusal.value.accepted


def test_frames_of_one_module_without_that_dimension_are_taken(tmp_path: Path) -> None:
    sums = sums_of(save(tmp_path / "d.h5", dark(MODES[0])[:, 0]), 0)
    assert (sums.shape, sums.frames) == ((1, 8, 24), 14)
    with pytest.raises(FileError, match="uint16"):
        sums.add(np.zeros((1, 8, 25), np.uint16))
