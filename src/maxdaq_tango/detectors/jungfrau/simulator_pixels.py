"""What the pixels of a simulated Jungfrau read, and the calibration that says so: functions of a seed alone. Pure.

Light is the diffraction pattern of all simulators, in photons of one energy. Each pixel has pedestals and gains of its
own near the usual ones, and switches its gain as a real one does:

    up to MOST_G0 photons G0, up to MOST_G1 G1, else G2; forced and fixed gains switch as they are told

In the dark (no beam) every frame has noise of its own, at most NOISE_ADU to either side, with mean 0 over every seven
frames in a row: so the mean of a dark series of 7 n frames is the pedestal exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from maxdaq_tango.detectors.jungfrau.protocol import GainMode
from maxdaq_tango.detectors.simulation.pattern import FramePattern, background_count
from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.kernels.jungfrau import BITS_OF_PLANE, NOT_RECEIVED

Array = npt.NDArray[Any]
PHOTON_EV = 8000.0
MOST_G0, MOST_G1 = 30, 900
"""Photons of PHOTON_EV."""
PEDESTAL_ADU = (3000, 15000, 15500)
GAIN_ADU_PER_KEV = (40.0, -1.5, -0.1)
NOISE_ADU = 3
NOISES = 2 * NOISE_ADU + 1
_PLANE_OF_MODE = {
    GainMode.FORCE_SWITCH_G1: 1,
    GainMode.FORCE_SWITCH_G2: 2,
    GainMode.FIX_G1: 1,
    GainMode.FIX_G2: 2,
    GainMode.FIX_G0: 0,
}


class JungfrauPixels:
    """Of a detector of `shape` (rows, columns). One thread."""

    def __init__(self, seed: int, shape: tuple[int, int]) -> None:
        self.shape = shape
        self._light = FramePattern(seed, shape, mask=np.zeros(shape, np.uint32))
        index = np.arange(math.prod(shape)).reshape(shape)
        spread = np.stack([(index * step + seed) % 61 - 30 for step in (7, 11, 13)])
        self.pedestal: Array = (np.array(PEDESTAL_ADU)[:, None, None] + spread).astype(np.float32)
        """(3, rows, columns), ADU."""
        self.gain: Array = (np.array(GAIN_ADU_PER_KEV)[:, None, None] * (1 + spread / 1000)).astype(np.float32)
        """(3, rows, columns), ADU/keV."""
        self._all = index.reshape(-1)
        self._lit: dict[tuple[GainMode, int], tuple[Array, Array]] = {}
        self._dark: dict[tuple[GainMode, int], Array] = {}

    def photons(self, number: int) -> Array:
        """What has fallen on each pixel in frame `number`."""
        return self._light.frame(number)

    def frame(self, number: int, mode: GainMode = GainMode.DYNAMIC, *, beam: bool = True) -> npt.NDArray[np.uint16]:
        """What the detector reads, (rows, columns): a new array."""
        return self._lit_frame(number, mode) if beam else self._dark_frame(number % NOISES, mode)

    def _lit_frame(self, number: int, mode: GainMode) -> Array:
        """Most pixels are as in another frame with the same background: only the others are worked out."""
        key = (mode, number % background_count(len(self._all)))
        if key not in self._lit:
            photons = self.photons(key[1]).reshape(-1)
            self._lit[key] = photons, self._read(self._all, photons, mode)
        before, raw = self._lit[key]
        photons, raw = self.photons(number).reshape(-1), raw.copy()
        changed = np.flatnonzero(photons != before)
        raw[changed] = self._read(changed, photons[changed], mode)
        return raw.reshape(self.shape)

    def _dark_frame(self, number: int, mode: GainMode) -> Array:
        key = (mode, number)
        if key not in self._dark:
            noise = (self._all + number) % NOISES - NOISE_ADU
            self._dark[key] = self._read(self._all, np.zeros(len(self._all), np.uint16), mode, noise)
        return self._dark[key].reshape(self.shape).copy()

    def _read(self, at: Array, photons: Array, mode: GainMode, noise: Array | int = 0) -> Array:
        """The pixels with these numbers."""
        plane = np.where(photons <= MOST_G0, 0, np.where(photons <= MOST_G1, 1, 2))
        if mode in _PLANE_OF_MODE:
            plane = np.full(len(at), _PLANE_OF_MODE[mode])
        pedestal, gain = (of.reshape(3, -1)[plane, at].astype(np.float64) for of in (self.pedestal, self.gain))
        adc = np.rint(pedestal + photons * (PHOTON_EV / 1000) * gain) + noise
        bits = np.array(BITS_OF_PLANE, np.uint16)[plane] << np.uint16(14)
        raw: Array = np.clip(adc, 0, 16383).astype(np.uint16) | bits
        raw[raw == NOT_RECEIVED] -= np.uint16(1)  # a value that no measurement may have
        return raw


def pixels_of(settings: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Callable[[int], Array]:
    """See the function of that name in `simulation.pattern`: raw frames, (ports, rows, columns)."""
    if dtype != np.uint16:
        raise ConfigurationError(
            f"know pixels of {dtype}", of="a simulated Jungfrau", accepted="uint16: Conversion raw"
        )
    pixels = JungfrauPixels(settings.seed, (settings.rows * settings.modules, settings.columns))
    return lambda number: pixels.frame(number).reshape(shape)
