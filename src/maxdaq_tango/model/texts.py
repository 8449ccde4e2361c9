"""Numbers as people read them."""

from __future__ import annotations

from collections.abc import Iterable

LONGEST_TEXT = 1000
"""Characters; a Tango attribute and a line of Status are to be looked at."""


def ranges_text(ranges: Iterable[tuple[int, int]], longest: int = LONGEST_TEXT) -> str:
    """`3, 7-9, 12`; what has no room is "..."."""
    text = ""
    for first, last in ranges:
        one = f"{first}" if first == last else f"{first}-{last}"
        longer = f"{text}, {one}" if text else one
        if len(longer) > longest - len(", ..."):
            return f"{text}, ..." if text else "..."
        text = longer
    return text
