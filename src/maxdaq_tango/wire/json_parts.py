"""JSON message parts, decoded with every failure turned into a WireError.

Each part is read in two steps: first into a plain dict, so that keys nobody has heard of are kept, then into a typed
Struct, so that no wrong type gets past the door. The second step costs about a microsecond and copies nothing large.

What a part may cost is bounded before and after: by its length, because JSON grows up to thirtyfold in memory
(`[[],[],...]`), and by how deep its values lie in one another, because everybody after us goes through them by
recursion.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec

from maxdaq_tango.errors import WireError
from maxdaq_tango.model import DEEPEST, Buffer, is_deeper

_T = TypeVar("_T")

Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
"""A number that counts from 0; above 2**62 nothing counts."""

Size = Annotated[int, msgspec.Meta(ge=1, le=2**31)]
"""One side of a shape."""

MOST_NBYTES = 1 << 20
"""Of a part that comes with every message; they have some hundred bytes."""

MOST_HEADER_NBYTES = 16 << 20
"""Of a part that comes once in a series: a detector's configuration has some kilobytes."""

_decoder = msgspec.json.Decoder()
# Strict: `true` is not 1 and "5" is not 5. What comes from outside is either right or refused.


def json_value(part: Buffer, what: str) -> Any:
    """The JSON value in `part`; `what` names the part in the error."""
    value = _decoded(part, what, MOST_NBYTES)
    if _is_deep(value, part):
        raise _too_deep(what)
    return value


def json_object(part: Buffer, what: str) -> dict[str, Any]:
    """The JSON object in `part`; any other JSON value is refused."""
    return _object(json_value(part, what), what)


def lenient_value(part: Buffer, what: str) -> Any:
    """The JSON value in `part`, with the NaN and Infinity that Python's json module emits.

    For headers and appendices only: a beamline value that is NaN must not cost the whole series.
    """
    value = _lenient(part, what)
    if _is_deep(value, part):
        raise _too_deep(what)
    return value


def lenient_object(part: Buffer, what: str) -> dict[str, Any]:
    """The JSON object in `part`, read like `lenient_value`; any other JSON value is refused.

    An entry that is nested too deep is kept as JSON text: it must not cost the series either.
    """
    value = _object(_lenient(part, what), what)
    if _is_deep(value, part):
        # The object is a level of its own.
        return {key: _as_text(item, what) if is_deeper(item, DEEPEST - 1) else item for key, item in value.items()}
    return value


def _decoded(part: Buffer, what: str, most_nbytes: int) -> Any:
    try:
        if len(part) > most_nbytes:
            raise WireError(f"read {what}", answer=f"{len(part)} bytes", accepted=f"at most {most_nbytes}")
        return _decoder.decode(part)
    except (msgspec.DecodeError, UnicodeError, BufferError, RecursionError, TypeError) as error:
        raise _not_json(what, part, error) from error


def _lenient(part: Buffer, what: str) -> Any:
    try:
        return _decoded(part, what, MOST_HEADER_NBYTES)
    except WireError:
        if memoryview(part).nbytes > MOST_HEADER_NBYTES:
            raise
        try:
            value = json.loads(bytes(part))
            msgspec.json.encode(value)  # json takes lone surrogates, which nobody after us could write
        except (ValueError, RecursionError, BufferError):
            value = None
        if value is None:
            raise
        return value


def _is_deep(value: Any, part: Buffer) -> bool:
    """Exact, and for ordinary parts in a fifth of a microsecond: so few brackets cannot lie that deep."""
    if len(part) <= 2 * DEEPEST:
        return False
    text = part if type(part) is bytes else bytes(part)
    return text.count(b"[") + text.count(b"{") > DEEPEST and is_deeper(value)


def _too_deep(what: str) -> WireError:
    return WireError(
        f"read {what}", answer=f"values nested deeper than {DEEPEST}", accepted=f"{DEEPEST} levels at most"
    )


def _as_text(value: Any, what: str) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except RecursionError:
        raise _too_deep(what) from None


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


def encode_part(value: Mapping[str, Any]) -> bytes:
    """A part of an outgoing message; what JSON cannot say is a WireError, as on the way in."""
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise WireError("write a JSON part", answer=str(error), accepted="JSON values") from error


def shown(value: Any) -> str:
    """A value from outside for an error message: never long, never failing."""
    if isinstance(value, (str, bytes)):
        return repr(value[:60])
    if value is None or isinstance(value, (bool, float)) or (isinstance(value, int) and value.bit_length() < 128):
        return repr(value)
    return type(value).__name__


def _object(value: Any, what: str) -> dict[str, Any]:
    if type(value) is not dict:
        raise WireError(f"read {what}", answer=f"JSON {type(value).__name__}", accepted="a JSON object")
    return value


def _fields_text(kind: Any) -> str:
    fields = msgspec.structs.fields(kind)
    return "keys " + ", ".join(f.encode_name + ("" if f.required else " (optional)") for f in fields)


def _not_json(what: str, part: Buffer, error: Exception) -> WireError:
    try:
        start = bytes(memoryview(part)[:40])
    except (TypeError, ValueError, BufferError, NotImplementedError):
        start = b""
    return WireError(f"read {what}", answer=f"{error}; it begins {start!r}", accepted="UTF-8 JSON")
