"""What a client wants to have in every file of an acquisition, checked when it is set. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.model import DEEPEST, is_deeper

MOST_BYTES = 256 << 10
"""It is in every file and every report, and each look at a report would carry it."""
MOST_VALUES = 1000
"""Each becomes a dataset of its own, at 0.3 ms, while the first frame waits."""


def read_metadata(text: str, of: str) -> dict[str, Any]:
    """From JSON; "" = nothing. ConfigurationError: no object (NaN is no JSON either), too large or too deep."""
    asked, accepted = "set Metadata", 'a JSON object, such as {"sample": "A1"}'
    if (size := len(text.encode("utf-8", "replace"))) > MOST_BYTES:
        raise ConfigurationError(asked, of=of, answer=f"it has {size} bytes", accepted=f"{MOST_BYTES} bytes")
    try:
        values: dict[str, Any] = msgspec.json.decode(text.strip() or "{}", type=dict[str, Any])
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise ConfigurationError(asked, of=of, answer=str(error), accepted=accepted) from None
    if is_deeper(values):
        raise ConfigurationError(asked, of=of, answer=f"nested deeper than {DEEPEST}", accepted=f"{DEEPEST} levels")
    if (count := _count(values)) > MOST_VALUES:
        accepted = f"{MOST_VALUES} values; a list is one"
        raise ConfigurationError(asked, of=of, answer=f"it has {count} values", accepted=accepted)
    return values


def _count(values: dict[str, Any]) -> int:
    return sum(1 + (_count(value) if isinstance(value, dict) else 0) for value in values.values())
