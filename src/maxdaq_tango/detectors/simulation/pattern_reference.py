"""The same frames as `pattern.py`, pixel by pixel in plain Python: slow, short, and what the tests compare with."""

from __future__ import annotations

import math

from maxdaq_tango.detectors.simulation.pattern import (
    LEVELS,
    RADII,
    RING_LEVELS,
    ROCKING,
    SPOT_LIFE,
    SPOT_RADIUS,
    STAMP,
    TAG_PIXELS,
    background_count,
    cell_size,
    mix,
)


def reference_counts(seed: int, number: int, shape: tuple[int, int], row: int, column: int) -> int:
    """Photons in one pixel of one frame, before masks, channels, the limits of a type and the frame number's digits."""
    rows, columns = shape
    cycle = number % background_count(rows * columns)
    random = mix((row * columns + column) ^ mix(mix(seed) ^ (cycle + 1))) >> 52
    radius2 = (2 * column - (columns - 1)) ** 2 + (2 * row - (rows - 1)) ** 2
    radius = math.isqrt(radius2 * RADII * RADII // ((rows - 1) ** 2 + (columns - 1) ** 2 or 1))
    counts = int(LEVELS[RING_LEVELS[radius], random])

    size = cell_size(shape)
    down, across = row // size, column // size
    if down >= rows // size or across >= columns // size:
        return counts  # the rim that holds no whole cell
    cell = down * (columns // size) + across
    age = number + mix(cell ^ mix(mix(seed) ^ 0xCE11)) % SPOT_LIFE
    random = mix(mix((age // SPOT_LIFE) ^ mix(mix(seed) ^ 0x5B07)) ^ cell)
    if random % 8 >= 3:
        return counts
    life = age % SPOT_LIFE
    room = size - 2 * SPOT_RADIUS - SPOT_LIFE // 2
    downward = random >> 3 & 1
    y = row - down * size - (random >> 8) % room - life // 2 * downward
    x = column - across * size - (random >> 24) % room - life // 2 * (1 - downward)
    width = 2 * SPOT_RADIUS + 1
    if 0 <= y < width and 0 <= x < width:
        amplitude = (64 << (random >> 40) % 7) * ROCKING[life] >> 8
        counts += amplitude * int(STAMP[y, x]) >> 8
    return counts


def reference_pixel(
    seed: int, number: int, shape: tuple[int, int], row: int, column: int, *, ceiling: int, channel: str = "threshold_1"
) -> int:
    """One unmasked pixel of one frame; `ceiling` is the largest value that is not the mask's."""
    index = row * shape[1] + column
    if index < TAG_PIXELS:
        return number >> (4 * (TAG_PIXELS - 1 - index)) & 15
    counts = reference_counts(seed, number, shape, row, column)
    if channel == "difference":
        counts -= counts // 2
    else:
        counts >>= int(channel[-1]) - 1
    return min(counts, ceiling)
