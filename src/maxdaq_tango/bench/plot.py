"""A picture of the table: frames/s over frame size, both logarithmic, as SVG without any library."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from maxdaq_tango.bench.plan import Contestant, size_text
from maxdaq_tango.bench.results import Row
from maxdaq_tango.model import Encoding

WIDTH, PANEL_HEIGHT = 860, 420
LEFT, RIGHT, TOP, BOTTOM = 80, 190, 46, 52
COLOURS = {
    Contestant.PULL: "#0072b2",
    Contestant.WRITE: "#009e73",
    Contestant.PULL_WRITE: "#56b4e9",
    Contestant.PLAIN: "#e69f00",
    Contestant.OURS: "#d55e00",
    Contestant.OURS_LIVE: "#cc79a7",
}
"""Okabe and Ito's colours, which the colour-blind can tell apart."""
DASHED = (Contestant.PULL, Contestant.WRITE, Contestant.PULL_WRITE)


def draw(rows: Sequence[Row]) -> str:
    """An SVG document, one panel a packing; the bars are the spread."""
    shown = [row for row in rows if row.case.extra is None and row.contestant in COLOURS]
    packings = list(dict.fromkeys(row.case.packing for row in shown))
    panels = [
        _panel([row for row in shown if row.case.packing == packing], packing, index * PANEL_HEIGHT)
        for index, packing in enumerate(packings)
    ]
    height = PANEL_HEIGHT * max(1, len(panels))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="sans-serif" font-size="13">\n<rect width="{WIDTH}" height="{height}" fill="white"/>\n'
        + "\n".join(panels)
        + "\n</svg>\n"
    )


class _Axis:
    """A logarithmic axis from `low` to `high` (values) on pixels `start` to `end`."""

    def __init__(self, values: Iterable[float], start: float, end: float) -> None:
        numbers = list(values)
        self.low = math.floor(math.log10(min(numbers)) - 0.05)
        self.high = max(self.low + 1, math.ceil(math.log10(max(numbers)) + 0.05))
        self._start, self._end = start, end

    def at(self, value: float) -> float:
        """Its pixel."""
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return self._start + share * (self._end - self._start)

    def decades(self) -> list[float]:
        """1, 10, 100 ... within the axis."""
        return [10.0**exponent for exponent in range(self.low, self.high + 1)]


def _panel(rows: Sequence[Row], packing: Encoding, offset: float) -> str:
    bottom, top = offset + PANEL_HEIGHT - BOTTOM, offset + TOP
    x = _Axis((row.case.wire_nbytes for row in rows), LEFT, WIDTH - RIGHT)
    spreads = [row.frames_per_s for row in rows]
    y = _Axis((value for spread in spreads for value in (spread.lowest, spread.highest)), bottom, top)
    title = "uncompressed" if packing is Encoding.NONE else packing.value
    parts = [f'<text x="{LEFT}" y="{top - 18}" font-size="16">frames/s, {escape(title)}</text>']
    for value in y.decades():
        parts.append(_line(LEFT, y.at(value), WIDTH - RIGHT, y.at(value), "#dddddd"))
        parts.append(f'<text x="{LEFT - 8}" y="{y.at(value) + 4:.1f}" text-anchor="end">{value:,.0f}</text>')
    for value in x.decades():
        parts.append(_line(x.at(value), top, x.at(value), bottom, "#dddddd"))
        parts.append(
            f'<text x="{x.at(value):.1f}" y="{bottom + 18}" text-anchor="middle">{size_text(int(value))}</text>'
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{bottom + 40}" text-anchor="middle">bytes of a frame on the wire</text>')
    for index, contestant in enumerate(dict.fromkeys(row.contestant for row in rows)):
        curve = sorted((row for row in rows if row.contestant is contestant), key=lambda row: row.case.wire_nbytes)
        parts.append(_curve(curve, contestant, x, y))
        height = top + 14 + 22 * index
        parts.append(_line(WIDTH - RIGHT + 14, height - 4, WIDTH - RIGHT + 40, height - 4, COLOURS[contestant], 3))
        parts.append(f'<text x="{WIDTH - RIGHT + 46}" y="{height}">{escape(contestant.value)}</text>')
    return "\n".join(parts)


def _curve(rows: Sequence[Row], contestant: Contestant, x: _Axis, y: _Axis) -> str:
    colour = COLOURS[contestant]
    places = [(x.at(row.case.wire_nbytes), y.at(row.frames_per_s.median)) for row in rows]
    points = " ".join(f"{across:.1f},{up:.1f}" for across, up in places)
    dash = ' stroke-dasharray="6 4"' if contestant in DASHED else ""
    parts = [f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>']
    for row, (across, up) in zip(rows, places, strict=True):
        spread = row.frames_per_s
        parts.append(_line(across, y.at(spread.lowest), across, y.at(spread.highest), colour, 2))
        parts.append(f'<circle cx="{across:.1f}" cy="{up:.1f}" r="4" fill="{colour}"/>')
    return "\n".join(parts)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width:g}"/>'
