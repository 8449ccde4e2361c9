"""Pedestal and gain of every pixel of a charge-integrating detector, as a file.

HDF5, as `write_calibration` makes it:

    /pedestal    float (3, modules, rows, columns)   ADU: dark level in G0, G1, G2
    /gain        float (3, modules, rows, columns)   attribute `unit`: ADU/keV (also when there is none), or keV/ADU
    /mask        integer (modules, rows, columns)    optional; anything but 0 is a bad pixel

or one NumPy array `.npy` of (2, 3, modules, rows, columns): pedestals in ADU, then gains in ADU/keV. Of one module the
`modules` may be left out. Modules are in the order in which frames hold them: that of the connections.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.troubles import in_order
from maxdaq_tango.kernels.jungfrau import GAINS

Array = npt.NDArray[Any]
UNITS = ("ADU/keV", "keV/ADU")
LAYOUT = "pedestal and gain of (3, modules, rows, columns), or a .npy of (2, 3, modules, rows, columns)"


@dataclass(frozen=True)
class Calibration:
    """In our order: (gain, module, row, column)."""

    pedestal: npt.NDArray[np.float32]
    """ADU."""
    gain: npt.NDArray[np.float32]
    """ADU/keV; negative in G1 and G2, NaN where there is none."""
    bad: npt.NDArray[np.bool_]
    """(modules, rows, columns)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(modules, rows, columns) of the frames that it is for."""
        return self.bad.shape

    def scale(self, unit_kev: float) -> npt.NDArray[np.float32]:
        """What one ADU is worth in units of so many keV; NaN, in all gains, of a bad pixel.

        In one gain alone where there is no gain or pedestal.
        """
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            scale = (1.0 / (self.gain.astype(np.float64) * unit_kev)).astype(np.float32)
        # Of an infinite gain an ADU would be worth nothing: 0 keV for ever, where nothing is known.
        scale[~np.isfinite(scale) | ~np.isfinite(self.gain) | ~np.isfinite(self.pedestal)] = np.nan
        scale[:, self.bad] = np.nan
        return scale


def read_calibration(path: Path) -> Calibration:
    """Read and check; FileError says what is wrong with it."""
    try:
        pedestal, gain, mask = _read_npy(path) if path.suffix == ".npy" else _read_hdf5(path)
    except FileError:
        raise
    except (OSError, KeyError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise FileError("read the calibration", of=str(path), answer=reason, accepted=LAYOUT) from None
    return checked_calibration(pedestal, gain, mask, str(path))


def checked_calibration(pedestal: Array, gain: Array, mask: Array | None, of: str) -> Calibration:
    """From arrays of 3 or 4 dimensions; FileError where they do not fit each other. `of` is where they come from."""
    if pedestal.ndim == 3:
        pedestal, gain = pedestal[:, None], gain[:, None] if gain.ndim == 3 else gain
        mask = mask[None] if mask is not None and mask.ndim == 2 else mask
    if pedestal.ndim != 4 or pedestal.shape[0] != GAINS or 0 in pedestal.shape:
        raise FileError("read the calibration", of=of, answer=f"pedestals of shape {pedestal.shape}", accepted=LAYOUT)
    if gain.shape != pedestal.shape:
        answer = f"gains of shape {gain.shape} with pedestals of {pedestal.shape}"
        raise FileError("read the calibration", of=of, answer=answer, accepted="one shape")
    if mask is None:
        mask = np.zeros(pedestal.shape[1:], np.bool_)
    elif mask.shape != pedestal.shape[1:]:
        answer = f"a mask of shape {mask.shape} with pedestals of {pedestal.shape}"
        raise FileError("read the calibration", of=of, answer=answer, accepted=f"{pedestal.shape[1:]}")
    if any(array.dtype.kind not in "iuf" for array in (pedestal, gain)):
        raise FileError("read the calibration", of=of, answer=f"{pedestal.dtype}, {gain.dtype}", accepted="numbers")
    with np.errstate(over="ignore"):
        planes = [np.ascontiguousarray(array, np.float32) for array in (pedestal, gain)]
    # No gain is 0, or infinite where it was turned round from 0 keV/ADU.
    none = ~np.isfinite(planes[1]) | (planes[1] == 0)
    return Calibration(planes[0], np.where(none, np.float32(np.nan), planes[1]), np.asarray(mask) != 0)


def write_calibration(path: Path, calibration: Calibration, attributes: dict[str, Any]) -> None:
    """A new HDF5 file; FileError where there is one, or none can be made. `attributes` say where it comes from."""
    try:
        with in_order(h5py.File(path, "x")) as file:
            file.create_dataset("pedestal", data=calibration.pedestal).attrs["unit"] = "ADU"
            file.create_dataset("gain", data=calibration.gain).attrs["unit"] = UNITS[0]
            file.create_dataset("mask", data=calibration.bad.astype(np.uint8))
            file.attrs.update(attributes)
    except (OSError, ValueError) as error:
        raise FileError("write the calibration", of=str(path), answer=str(error), accepted="a new path") from None


def _read_npy(path: Path) -> tuple[Array, Array, None]:
    both = np.load(path, allow_pickle=False)
    if both.ndim not in (4, 5) or both.shape[0] != 2:
        raise FileError("read the calibration", of=str(path), answer=f"an array of {both.shape}", accepted=LAYOUT)
    return both[0], both[1], None


def _read_hdf5(path: Path) -> tuple[Array, Array, Array | None]:
    with h5py.File(path, "r") as file:
        for name in ("pedestal", "gain"):
            if not isinstance(file.get(name), h5py.Dataset):
                raise FileError("read the calibration", of=str(path), answer=f"no dataset /{name}", accepted=LAYOUT)
        unit = file["gain"].attrs.get("unit", UNITS[0])
        unit = unit.decode() if isinstance(unit, bytes) else str(unit)
        if unit not in UNITS:
            raise FileError(
                "read the calibration", of=str(path), answer=f"gains in {unit!r}", accepted=" or ".join(UNITS)
            )
        gain = file["gain"][()]
        if unit == UNITS[1]:
            with np.errstate(divide="ignore"):
                gain = 1.0 / np.asarray(gain, np.float64)
        return file["pedestal"][()], gain, file["mask"][()] if "mask" in file else None
