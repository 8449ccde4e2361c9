"""JSON message parts, decoded with every failure turned into a WireError.

Each part is read in two steps: first into a plain dict, so that keys nobody has heard of are kept, then into a typed
Struct, so that no wrong type gets past the door. The second step costs about a microsecond and copies nothing large.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

import msgspec

from maxdaq_tango.errors import WireError
from maxdaq_tango.model import Buffer

_T = TypeVar("_T")

_decoder = msgspec.json.Decoder()
# Strict: `true` is not 1 and "5" is not 5. What comes from outside is either right or refused.


def json_value(part: Buffer, what: str) -> Any:
    """The JSON value in `part`; `what` names the part in the error."""
    try:
        return _decoder.decode(part)
    except (msgspec.DecodeError, UnicodeError, BufferError, RecursionError, TypeError) as error:
        raise _not_json(what, part, error) from error


def json_object(part: Buffer, what: str) -> dict[str, Any]:
    """The JSON object in `part`; any other JSON value is refused."""
    value = json_value(part, what)
    if type(value) is not dict:
        raise WireError(f"read {what}", answer=f"JSON {type(value).__name__}", accepted="a JSON object")
    return value


def lenient_object(part: Buffer, what: str) -> dict[str, Any]:
    """The JSON object in `part`, with the NaN and Infinity that Python's json module emits.

    For headers only: a beamline value that is NaN must not cost the whole series.
    """
    try:
        return json_object(part, what)
    except WireError:
        try:
            value = json.loads(bytes(part))
        except (ValueError, RecursionError, BufferError):
            value = None
        if type(value) is not dict:
            raise
        return value


def typed(kind: type[_T], raw: dict[str, Any], what: str) -> _T:
    """`raw` as the Struct `kind`; a missing key or a wrong type is named in the error."""
    try:
        return msgspec.convert(raw, kind)
    except (msgspec.ValidationError, OverflowError) as error:
        raise WireError(f"read {what}", answer=str(error), accepted=_fields_text(kind)) from error


def unknown_keys(raw: dict[str, Any], known: frozenset[str]) -> dict[str, Any]:
    """The entries of `raw` whose keys are not in `known`: kept, never dropped."""
    return {key: value for key, value in raw.items() if key not in known}


def field_names(kind: type[msgspec.Struct]) -> frozenset[str]:
    """The wire names of a Struct's fields."""
    return frozenset(kind.__struct_encode_fields__)


def _fields_text(kind: Any) -> str:
    fields = msgspec.structs.fields(kind)
    return "keys " + ", ".join(f.encode_name + ("" if f.required else " (optional)") for f in fields)


def _not_json(what: str, part: Buffer, error: Exception) -> WireError:
    try:
        start = bytes(memoryview(part)[:40])
    except (TypeError, ValueError, BufferError, NotImplementedError):
        start = b""
    return WireError(f"read {what}", answer=f"{error}; it begins {start!r}", accepted="UTF-8 JSON")
