"""Where the modules of a Lambda lie in the picture. Pure.

Sources: maxiv-science/DanMAX_jupyter_scripts, `offlineAzint/pipeline.py` (what readers do with these numbers), and
X-Spectrum's libxsp 2.1.0, `lambda::Receiver::position` and `rotation` (where they come from).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from maxdaq_tango.errors import ConfigurationError

TURNS = (0, 90, 180, 270)


class ModulePlace(msgspec.Struct, frozen=True):
    """Of one module: its upper left corner once it is turned, and how far it is turned, clockwise."""

    x: int
    """Column, px."""
    y: int
    """Row, px."""
    rotation: int = 0
    """Degrees, a quarter turn or several."""

    def __post_init__(self) -> None:
        if self.rotation not in TURNS:
            raise ConfigurationError(f"place a module turned by {self.rotation} degrees", accepted="0, 90, 180 or 270")
        if self.x < 0 or self.y < 0:
            raise ConfigurationError(
                f"place a module at column {self.x}, row {self.y}", accepted="columns and rows from 0"
            )

    def covers(self, shape: tuple[int, int]) -> tuple[int, int]:
        """(rows, columns) of a module of `shape` in the picture."""
        return (shape[1], shape[0]) if self.rotation % 180 else shape


def full_shape(places: Sequence[ModulePlace], shape: tuple[int, int]) -> tuple[int, int]:
    """(rows, columns) of the smallest picture that holds all modules of `shape`."""
    corners = [(place.y + rows, place.x + columns) for place in places for rows, columns in (place.covers(shape),)]
    return max(rows for rows, _ in corners), max(columns for _, columns in corners)


def parse_place(text: str) -> ModulePlace:
    """`X,Y` or `X,Y,ROTATION` as people type it."""
    words = text.split(",")
    try:
        if not 2 <= len(words) <= 3:
            raise ValueError
        numbers = [int(word) for word in words]
    except ValueError:
        raise ConfigurationError(
            f"place a module at {text!r}", accepted="X,Y or X,Y,ROTATION in whole pixels and degrees"
        ) from None
    return ModulePlace(*numbers)


def parse_shape(text: str) -> tuple[int, int]:
    """`ROWS,COLUMNS` as people type it."""
    rows, comma, columns = text.partition(",")
    if not comma or not rows.strip().isdigit() or not columns.strip().isdigit():
        raise ConfigurationError(f"make a picture of {text!r}", accepted="ROWS,COLUMNS in whole pixels")
    return int(rows), int(columns)


def nearest_turn(degrees: float) -> int:
    """A measured angle as quarter turns: a module is stored on the grid of its own pixels."""
    if not math.isfinite(degrees):
        raise ConfigurationError(f"turn a module by {degrees} degrees", accepted="a number")
    return round(degrees / 90) * 90 % 360


def windmill(modules: int, shape: tuple[int, int], gap_px: int = 4) -> tuple[ModulePlace, ...]:
    """Four modules around a hole, each turned by a quarter more than the one before; any other number in a column."""
    rows, columns = shape
    if modules != 4:
        return tuple(ModulePlace(0, number * (rows + gap_px)) for number in range(modules))
    return (
        ModulePlace(0, 0, 0),
        ModulePlace(columns + gap_px, 0, 90),
        ModulePlace(rows + gap_px, columns + gap_px, 180),
        ModulePlace(0, rows + gap_px, 270),
    )
