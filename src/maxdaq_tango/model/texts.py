"""Numbers as people read them, and text that can be told whatever is in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import msgspec

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


_NOT_LATIN = re.compile("[^\0-\xff]")


def latin_text(text: str) -> str:
    """With what Latin-1 lacks as \\uXXXX, which is the same text where it is JSON: Tango can tell nothing else."""
    return _NOT_LATIN.sub(lambda found: json.dumps(found[0])[1:-1], text)


def encoded(message: Any) -> bytes:
    """JSON, also where text cannot be encoded: what an operating system says of a file may hold any bytes.

    Nobody would hear of the end of a run if its account could not be told for one letter in it.
    """
    try:
        return msgspec.json.encode(message)
    except UnicodeEncodeError:
        return msgspec.json.encode(_clean(msgspec.to_builtins(message)))


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value
