"""Dark series to pedestals: three files of raw frames and the gains of the pixels become one calibration file.

    python -m maxdaq_tango.detectors.jungfrau.pedestals --g0 dark_g0.h5 --g1 dark_g1.h5 --g2 dark_g2.h5 \\
        --gain gains.h5 --output calibration.h5

A pedestal run is three series without light, saved raw: with GainMode DYNAMIC, FORCE_SWITCH_G1 and FORCE_SWITCH_G2, at
the exposure time, temperature and settings of the measurement, and not turned: frames are converted before they are.
The pedestal of a pixel is the mean of its ADC value over all frames in which it was in the gain of its series and not
saturated. A pixel for which that is less than `--least` of the frames, or none, is bad: it is stuck in another gain,
its packets were lost, or light fell on it.

`--gain` is a file with a dataset /gain, a .npy array of (3, modules, rows, columns) or of three numbers, or three
numbers for all pixels such as 40,-1.5,-0.1; in ADU/keV where the file says nothing else. Pixels that are bad already
are taken from /mask.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the filters
import numpy as np
import numpy.typing as npt

from maxdaq_tango.errors import ConfigurationError, FileError, MaxdaqError
from maxdaq_tango.files.calibration import UNITS, Calibration, checked_calibration, write_calibration
from maxdaq_tango.kernels.jungfrau import GAINS, accumulate

LEAST = 0.5
"""Share of the frames in which a pixel must have been in its gain."""


class DarkSums:
    """Sums over one dark series. `plane` is the gain that its pixels are in: 0, 1, 2."""

    def __init__(self, shape: tuple[int, ...], plane: int) -> None:
        self.shape, self.plane = shape, plane
        self.frames = 0
        pixels = int(np.prod(shape))
        self._count, self._total, self._squares = (np.zeros(pixels, np.int64) for _ in range(3))

    def add(self, frame: npt.NDArray[np.uint16]) -> None:
        """One raw frame; FileError for one of another shape or type."""
        if frame.shape != self.shape or frame.dtype != np.uint16:
            raise FileError(
                "add a dark frame",
                answer=f"it is {frame.dtype} of shape {frame.shape}",
                accepted=f"uint16 of {self.shape}, saved raw",
            )
        accumulate(np.ascontiguousarray(frame).reshape(-1), self.plane, self._count, self._total, self._squares)
        self.frames += 1

    def mean(self) -> npt.NDArray[np.float64]:
        """ADU; NaN for a pixel that was never in this gain."""
        with np.errstate(invalid="ignore"):
            mean: npt.NDArray[np.float64] = (self._total / self._count).reshape(self.shape)
        return mean

    def noise(self) -> npt.NDArray[np.float64]:
        """Standard deviation, ADU; NaN where there is no mean."""
        with np.errstate(invalid="ignore"):
            variance = self._squares / self._count - (self._total / self._count) ** 2
            noise: npt.NDArray[np.float64] = np.sqrt(np.maximum(variance, 0)).reshape(self.shape)
        return noise

    def seldom(self, least: float) -> npt.NDArray[np.bool_]:
        """Pixels that were in this gain in less than that share of the frames."""
        return (self._count < max(1.0, least * self.frames)).reshape(self.shape)


def dark_frames(path: Path) -> Iterator[npt.NDArray[np.uint16]]:
    """Raw frames of a series, one at a time, as (modules, rows, columns). FileError.

    Frames that are missing are blank, and blank pixels do not count.
    """
    try:
        with h5py.File(path, "r") as file:
            instrument = file.get("entry/instrument")
            found = [group["data"] for group in (instrument or {}).values() if "data" in group]
            if len(found) != 1:
                raise FileError(
                    "read dark frames",
                    of=str(path),
                    answer=f"{len(found)} datasets /entry/instrument/*/data",
                    accepted="a series that a receiver has saved",
                )
            data = found[0]
            if data.dtype != np.uint16 or data.ndim not in (3, 4):
                raise FileError(
                    "read dark frames",
                    of=str(path),
                    answer=f"they are {data.dtype} of shape {data.shape}",
                    accepted="uint16: series that were saved with Conversion raw",
                )
            for row in range(len(data)):
                frame = data[row]
                yield frame if frame.ndim == 3 else frame[None]
    except OSError as error:
        raise FileError("read dark frames", of=str(path), answer=str(error), accepted="an HDF5 file") from None


def sums_of(path: Path, plane: int) -> DarkSums:
    """Of a whole series; FileError, also for one without frames."""
    sums: DarkSums | None = None
    for frame in dark_frames(path):
        if sums is None:
            sums = DarkSums(frame.shape, plane)
        sums.add(frame)
    if sums is None:
        raise FileError("read dark frames", of=str(path), answer="there are none", accepted="some hundred")
    return sums


def calibrate(
    series: list[DarkSums], gain: npt.NDArray[Any], mask: npt.NDArray[Any] | None, least: float
) -> Calibration:
    """From one dark series for each gain, in their order, and gains in ADU/keV of one, three or all values."""
    shapes = {sums.shape for sums in series}
    if len(series) != GAINS or len(shapes) != 1:
        raise FileError(
            "calibrate", answer=f"dark series of shapes {sorted(shapes)}", accepted="one for each gain, alike"
        )
    (shape,) = shapes
    if gain.ndim == 1:
        gain = np.broadcast_to(gain[:, None, None, None], (GAINS, *shape))
    elif gain.ndim == 3 and shape[0] == 1:
        gain = gain[:, None]
    pedestal = np.stack([sums.mean() for sums in series])
    bad = np.any([sums.seldom(least) for sums in series], axis=0)
    if mask is not None:
        if mask.reshape(-1).shape != bad.reshape(-1).shape:
            raise FileError("calibrate", answer=f"a mask of shape {mask.shape}", accepted=f"{shape}")
        bad |= mask.reshape(shape) != 0
    return checked_calibration(pedestal, np.asarray(gain), bad, "dark series and gains")


def read_gain(text: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
    """ADU/keV, and the mask that lies beside; see the module for `text`. FileError, ConfigurationError."""
    words = text.split(",")
    if len(words) == GAINS:
        try:
            return np.array([float(word) for word in words]), None
        except ValueError:
            pass
    path = Path(text)
    try:
        if path.suffix == ".npy":
            return _checked_gain(np.load(path, allow_pickle=False), text), None
        with h5py.File(path, "r") as file:
            gain, unit = file["gain"][()], str(file["gain"].attrs.get("unit", UNITS[0]))
            mask = file["mask"][()] if "mask" in file else None
    except (OSError, KeyError, ValueError) as error:
        raise FileError(
            "read the gains", of=text, answer=str(error), accepted="a file with /gain, a .npy, or three numbers"
        ) from None
    if unit not in UNITS:
        raise FileError("read the gains", of=text, answer=f"they are in {unit!r}", accepted=" or ".join(UNITS))
    gain = _checked_gain(gain, text)
    with np.errstate(divide="ignore"):
        return (1.0 / np.asarray(gain, np.float64) if unit == UNITS[1] else gain), mask


def _checked_gain(gain: Any, of: str) -> npt.NDArray[Any]:
    """Numbers, and three of them where they are for all pixels; what else must fit is known with the dark series."""
    array = np.asarray(gain)
    if array.dtype.kind not in "iuf" or array.ndim == 0 or (array.ndim == 1 and array.shape != (GAINS,)):
        raise FileError(
            "read the gains",
            of=of,
            answer=f"they are {array.dtype} of shape {array.shape}",
            accepted="three numbers, or numbers of (3, modules, rows, columns)",
        )
    return array


def main(arguments: list[str] | None = None) -> int:
    """Make one calibration file; prints one line of JSON about it."""
    parser = argparse.ArgumentParser(prog="jungfrau-pedestals", description="Dark series to a calibration file.")
    for plane in range(GAINS):
        parser.add_argument(f"--g{plane}", type=Path, required=True, metavar="FILE", help=f"dark series in G{plane}")
    parser.add_argument("--gain", required=True, help="a file, or three numbers in ADU/keV such as 40,-1.5,-0.1")
    parser.add_argument("--output", type=Path, required=True, help="the calibration file, which must not exist")
    parser.add_argument("--least", type=float, default=LEAST, help="share of frames in which a pixel is in its gain")
    given = parser.parse_args(arguments)
    paths: list[Path] = [given.g0, given.g1, given.g2]
    try:
        if not 0 <= given.least <= 1:
            raise ConfigurationError(f"use --least {given.least}", accepted="0 to 1")
        gain, mask = read_gain(given.gain)
        series = [sums_of(path, plane) for plane, path in enumerate(paths)]
        calibration = calibrate(series, gain, mask, given.least)
        about = {f"dark_g{plane}": str(path) for plane, path in enumerate(paths)}
        about |= {"gains": given.gain, "made_at": datetime.now(UTC).isoformat()}
        write_calibration(given.output, calibration, about)
    except MaxdaqError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    told = {
        "file": str(given.output),
        "shape": list(calibration.shape),
        "frames": [sums.frames for sums in series],
        "bad_pixels": int(calibration.bad.sum()),
        "pedestal_median_adu": [float(np.nanmedian(plane)) for plane in calibration.pedestal],
        "noise_median_adu": [float(np.nanmedian(sums.noise())) for sums in series],
    }
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
