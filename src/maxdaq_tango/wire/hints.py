"""Optional values in headers: taken when they make sense, left in the metadata when they do not.

A header is refused only for what makes the series impossible. A strange exposure time or file name in a beamline's
free-form appendix must not cost the whole series, so such a value counts as "not said" and stays readable.
"""

from __future__ import annotations

from typing import Any

import msgspec

from maxdaq_tango.errors import WireError
from maxdaq_tango.model import Buffer
from maxdaq_tango.wire.json_parts import MOST_HEADER_NBYTES, lenient_value

_LONGEST_S = 1e9
"""Thirty years: nobody exposes that long."""

_MOST = 2**53
"""Larger counts would not survive JSON readers that know only doubles."""


class AppendixHints(msgspec.Struct, frozen=True):
    """What MAX IV writes into header_appendix (Dectris v1) and user_data (v2)."""

    filename: str | None = None
    """None = not said, "" = live only."""
    save_raw: bool = True
    rotate: int = 0
    """Quarter turns, 0 to 3."""


def positive_seconds(value: Any) -> float | None:
    """A time above zero, or None for anything else."""
    if type(value) in (int, float) and 0 < value < _LONGEST_S:
        return float(value)
    return None


def whole_number(value: Any) -> int | None:
    """An integer above zero, or None for anything else; booleans are not numbers."""
    return value if type(value) is int and 0 < value <= _MOST else None


def wants_saving(metadata: dict[str, Any]) -> bool:
    """False only for a clear `save_raw: false`: a file too many can be deleted."""
    value = metadata.get("save_raw", True)
    return not (value is False or (type(value) is int and value == 0))


def appendix_hints(appendix: Any) -> AppendixHints:
    """Read the hints of a parsed appendix; anything but an object holds none."""
    if not isinstance(appendix, dict):
        return AppendixHints()
    filename = appendix.get("filename")
    rotate = appendix.get("rotate")
    return AppendixHints(
        filename=filename if isinstance(filename, str) else None,
        save_raw=wants_saving(appendix),
        rotate=rotate if type(rotate) is int and 0 <= rotate <= 3 else 0,
    )


def appendix_value(part: Buffer | str) -> Any:
    """An appendix as JSON where it is JSON, else as text: people put anything into it.

    Text is also what is nested too deep. One that is too long is not kept.
    """
    if len(part) > MOST_HEADER_NBYTES:
        return f"an appendix of {len(part)} bytes; more than {MOST_HEADER_NBYTES} are not kept"
    data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
    try:
        return lenient_value(data, "an appendix")
    except WireError:
        return part if isinstance(part, str) else bytes(part).decode("utf-8", "replace")
