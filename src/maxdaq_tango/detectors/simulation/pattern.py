"""Diffraction frames, a pure function of (seed, frame number, pixel): any file can be checked from the seed alone.

A frame is a sparse background with powder rings, taken from a short cycle of backgrounds; Bragg spots that light up,
move and fade as the frame number grows; gaps between modules and a few dead pixels; and the frame number itself, in
hexadecimal digits, in the first sixteen pixels. Everything is integer arithmetic on SplitMix64 hashes, so the result is
the same on every machine and with every numpy. `pattern_reference.py` says the same thing pixel by pixel.

Only numpy, on purpose: 512 x 512 uint16 takes 0.1 ms a frame and compressing it another 0.1 ms, and compiling kernels
would cost a start-up of seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from maxdaq_tango.errors import ConfigurationError

Array = npt.NDArray[Any]

_MASK64 = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
MIX_1 = 0xBF58476D1CE4E5B9
MIX_2 = 0x94D049BB133111EB

GAP, DEAD = 1, 2
"""Values of DECTRIS' pixel mask: bit 0 = gap between modules, bit 1 = dead pixel."""
TAG_PIXELS = 16
"""Pixels, from the first in C order, that hold the frame number as hexadecimal digits, most significant first."""

MODULE_ROWS, MODULE_COLUMNS, GAP_ROWS, GAP_COLUMNS = 514, 1030, 37, 10
"""Of an Eiger module; detectors of one module get one narrow gap of their own in the middle."""
SPOT_LIFE = 16
"""Frames from the birth of a spot to the next one in the same cell."""
SPOT_RADIUS = 3
STAMP = np.array(
    [
        [0, 1, 3, 5, 3, 1, 0],
        [1, 6, 21, 32, 21, 6, 1],
        [3, 21, 82, 122, 82, 21, 3],
        [5, 32, 122, 255, 122, 32, 5],
        [3, 21, 82, 122, 82, 21, 3],
        [1, 6, 21, 32, 21, 6, 1],
        [0, 1, 3, 5, 3, 1, 0],
    ],
    dtype=np.int64,
)
"""Profile of a spot in 1/256 of its amplitude."""
ROCKING = (8, 20, 44, 84, 136, 190, 232, 255, 255, 232, 190, 136, 84, 44, 20, 8)
"""Brightness over the life of a spot, in 1/256."""
_LEVEL_THRESHOLDS = (
    (4060, 4092, 4096, 4096, 4096, 4096),
    (3900, 4080, 4094, 4096, 4096, 4096),
    (3600, 4020, 4085, 4095, 4096, 4096),
    (3100, 3880, 4050, 4088, 4095, 4096),
    (2500, 3650, 3980, 4065, 4090, 4095),
    (1500, 2900, 3650, 3950, 4050, 4088),
)
"""For each brightness level: a pixel counts as many photons as there are entries not above its 12-bit random number."""
LEVELS = np.array([[sum(u >= t for t in row) for u in range(4096)] for row in _LEVEL_THRESHOLDS], dtype=np.uint8)
RADII = 256
"""Steps of radius from the centre to the far corner."""


def _ring_levels() -> list[int]:
    levels = []
    for radius in range(RADII + 1):
        level = 3 - min(3, radius // 56)
        if any(abs(radius - ring) <= 2 for ring in (48, 79, 92, 131, 158, 183, 211)):
            level += 2
        levels.append(0 if radius < 5 else level)  # the beam stop
    return levels


RING_LEVELS = np.array(_ring_levels(), dtype=np.uint8)
"""Brightness level by radius."""


def mix(value: int) -> int:
    """SplitMix64's output function of one 64-bit number."""
    value = (value + GOLDEN) & _MASK64
    value = ((value ^ (value >> 30)) * MIX_1) & _MASK64
    value = ((value ^ (value >> 27)) * MIX_2) & _MASK64
    return value ^ (value >> 31)


def _mix(values: Array) -> Array:
    """`mix` of an array of uint64, in place."""
    values += np.uint64(GOLDEN)
    values ^= values >> np.uint64(30)
    values *= np.uint64(MIX_1)
    values ^= values >> np.uint64(27)
    values *= np.uint64(MIX_2)
    values ^= values >> np.uint64(31)
    return values


def background_count(pixels: int) -> int:
    """Length of the cycle of backgrounds: fewer for large detectors, whose backgrounds take seconds and memory."""
    return 4 if pixels <= 1 << 21 else 1


def cell_size(shape: tuple[int, int]) -> int:
    """Side in pixels of the square cells that hold one spot each."""
    return 64 if min(shape) >= 256 else 24


def pixel_mask(seed: int, shape: tuple[int, int]) -> Array:
    """uint32 mask in DECTRIS' coding: gaps of whole modules, a narrow one where there is one module, dead pixels."""
    rows, columns = shape
    mask = np.zeros(shape, dtype=np.uint32)
    if rows > MODULE_ROWS + GAP_ROWS:
        for row in range(MODULE_ROWS, rows, MODULE_ROWS + GAP_ROWS):
            mask[row : row + GAP_ROWS] = GAP
    elif rows >= 8:
        mask[rows // 2 : rows // 2 + max(1, rows // 32)] = GAP
    if columns > MODULE_COLUMNS + GAP_COLUMNS:
        for column in range(MODULE_COLUMNS, columns, MODULE_COLUMNS + GAP_COLUMNS):
            mask[:, column : column + GAP_COLUMNS] = GAP
    pixels = rows * columns
    for index in range(pixels // 16384 + 1):
        place = mix(mix(seed) ^ (0xDEAD0000 + index)) % pixels
        if place >= TAG_PIXELS and not mask.flat[place]:
            mask.flat[place] = DEAD
    return mask


@lru_cache(maxsize=8)
def _background(seed: int, shape: tuple[int, int], cycle: int) -> Array:
    """Photon counts of one background, uint8, gaps included; read-only."""
    rows, columns = shape
    key = mix(mix(seed) ^ (cycle + 1))
    x2 = (2 * np.arange(columns, dtype=np.int64) - (columns - 1)) ** 2
    corner2 = (rows - 1) ** 2 + (columns - 1) ** 2 or 1
    scale = np.sqrt(np.arange(RADII * RADII + 1, dtype=np.float64)).astype(np.int64)
    scale -= scale * scale > np.arange(RADII * RADII + 1)  # exact whatever the rounding of sqrt
    levels = RING_LEVELS[scale]
    counts = np.empty(shape, dtype=np.uint8)
    for row in range(rows):
        radius2 = (x2 + (2 * row - (rows - 1)) ** 2) * (RADII * RADII) // corner2
        random = np.arange(row * columns, (row + 1) * columns, dtype=np.uint64)
        random ^= np.uint64(key)
        counts[row] = LEVELS[levels[radius2], _mix(random) >> np.uint64(52)]
    counts.flags.writeable = False
    return counts


class FramePattern:
    """Frames of one detector: `frame(n)` for any n from 0 to 2^48. May be shared by threads.

    `shape` is (rows, columns); `dtype` an unsigned or signed integer type or float32. `mask` marks pixels that read
    `masked_value` (any value but 0 = masked; None = the pattern's own gaps and dead pixels). `masked_value` None = the
    largest value of an unsigned type, -1 of any other. `channel` is `threshold_1` to `threshold_4`, each with half the
    counts of the one before, or `difference` = first minus second.
    """

    def __init__(
        self,
        seed: int,
        shape: tuple[int, int],
        dtype: str = "uint16",
        *,
        channel: str = "threshold_1",
        mask: Array | None = None,
        masked_value: int | None = None,
    ) -> None:
        self.seed, self.shape, self.dtype, self.channel = seed, (shape[0], shape[1]), np.dtype(dtype), channel
        if self.dtype.kind not in "uif" or min(shape) < 1:
            raise ConfigurationError(
                f"a pattern of shape {shape}, type {dtype}", accepted="(rows, columns) of integers or float32"
            )
        if channel != "difference" and channel not in {f"threshold_{n}" for n in range(1, 5)}:
            raise ConfigurationError(f"the channel {channel!r}", accepted="threshold_1 ... threshold_4, difference")
        self._shift = 0 if channel == "difference" else int(channel[-1]) - 1
        if masked_value is None:
            masked_value = int(np.iinfo(self.dtype).max) if self.dtype.kind == "u" else -1
        self.masked_value = masked_value
        self._ceiling = int(np.iinfo(self.dtype).max) - 1 if self.dtype.kind in "ui" else 1 << 24
        self.mask = pixel_mask(seed, self.shape) if mask is None else mask
        if self.mask.shape != self.shape:
            raise ConfigurationError(f"a mask of shape {self.mask.shape}", accepted=f"shape {self.shape}")
        self._masked = (self.mask != 0).ravel()
        pixels = math.prod(self.shape)
        self._cycle = background_count(pixels)
        self._counts = [_background(seed, self.shape, n).ravel() for n in range(self._cycle)]
        self._images = [self._dress(counts) for counts in self._counts]
        size = cell_size(self.shape)
        self._cells_across, cells_down = self.shape[1] // size, self.shape[0] // size
        cells = np.arange(self._cells_across * cells_down, dtype=np.uint64)
        self._corner = (cells // max(1, self._cells_across), cells % max(1, self._cells_across))
        self._phase = _mix(cells ^ np.uint64(mix(mix(seed) ^ 0xCE11))) % np.uint64(SPOT_LIFE)
        self._cells, self._size = cells, size
        window = np.arange(2 * SPOT_RADIUS + 1, dtype=np.int64)
        self._window = (window[:, None] * self.shape[1] + window).ravel()
        self._tag_places = np.arange(min(TAG_PIXELS, pixels))

    def frame(self, number: int) -> Array:
        """A new array with the pixels of frame `number`."""
        out = self._images[number % self._cycle].copy()
        flat = out.reshape(-1)
        places, counts = self._spots(number)
        if places.size:
            values = self._channel_of(self._counts[number % self._cycle][places] + counts)
            open_ = ~self._masked[places]
            flat[places[open_]] = np.minimum(values[open_], self._ceiling)
        tag = np.array([number >> (4 * (TAG_PIXELS - 1 - n)) & 15 for n in self._tag_places])
        open_tag = ~self._masked[self._tag_places]
        flat[self._tag_places[open_tag]] = tag[open_tag]
        return out

    def _dress(self, counts: Array) -> Array:
        image = self._channel_of(counts.astype(self.dtype))
        image[self._masked] = self.masked_value
        return image.reshape(self.shape)

    def _channel_of(self, counts: Array) -> Array:
        if self.channel == "difference":
            return counts - self._halved(counts, 1)
        return self._halved(counts, self._shift)

    @staticmethod
    def _halved(counts: Array, times: int) -> Array:
        return counts // counts.dtype.type(1 << times) if times else counts

    def _spots(self, number: int) -> tuple[Array, Array]:
        """Flat pixel indices under the spots of a frame, each once, and the counts to add there."""
        age = self._phase + np.uint64(number)
        epoch, life = age // np.uint64(SPOT_LIFE), (age % np.uint64(SPOT_LIFE)).astype(np.int64)
        # epoch and cell are hashed one after the other: their sum or xor would repeat along diagonals
        random = _mix(_mix(epoch ^ np.uint64(mix(mix(self.seed) ^ 0x5B07))) ^ self._cells)
        lit = np.flatnonzero(random % np.uint64(8) < 3)
        random, life = random[lit], life[lit]
        room = np.uint64(self._size - 2 * SPOT_RADIUS - SPOT_LIFE // 2)
        drift = life // 2
        downward = (random >> np.uint64(3) & np.uint64(1)).astype(np.int64)
        row = (random >> np.uint64(8)) % room + self._corner[0][lit] * np.uint64(self._size)
        column = (random >> np.uint64(24)) % room + self._corner[1][lit] * np.uint64(self._size)
        top = row.astype(np.int64) + drift * downward
        left = column.astype(np.int64) + drift * (1 - downward)
        amplitude = (np.int64(64) << (random >> np.uint64(40)).astype(np.int64) % 7) * _ROCKING[life] >> 8
        places = (top * self.shape[1] + left)[:, None] + self._window
        counts = amplitude[:, None] * _STAMP_FLAT >> 8
        return places.ravel(), counts.ravel()


_ROCKING = np.array(ROCKING, dtype=np.int64)
_STAMP_FLAT = STAMP.ravel()


def expected_frame(
    seed: int, number: int, shape: tuple[int, int], dtype: str = "uint16", *, channel: str = "threshold_1"
) -> Array:
    """What a simulator with this seed sent as frame `number`; for many frames keep a `FramePattern`."""
    return FramePattern(seed, shape, dtype, channel=channel).frame(number)


def frame_number_in(frame: Array) -> int:
    """The frame number written in the first pixels of an untransformed frame, without knowing the seed."""
    number = 0
    for digit in frame.reshape(-1)[:TAG_PIXELS]:
        number = number << 4 | int(digit) & 15
    return number


def pixels_of(settings: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Callable[[int], Array]:
    """Frame number > the frame as a simulator with these settings sends it, and as it must stand in a file whose frames
    have this shape and type. A family whose simulator does something else has a function like this of its own.
    """
    rows, columns = shape
    return FramePattern(settings.seed, (rows, columns), dtype.name).frame
