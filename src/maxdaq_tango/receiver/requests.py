"""What clients ask of a StreamReceiver, checked at the door. Pure; every refusal is a ConfigurationError."""

from __future__ import annotations

import time
from typing import TypeVar

import msgspec

from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.model import StreamFormat
from maxdaq_tango.transaction.words import PrepareFields

_Fields = TypeVar("_Fields", bound=msgspec.Struct)


def decoded(asked: str, text: str, kind: type[_Fields], of: str) -> _Fields:
    """The argument of a command, from JSON."""
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        accepted = ", ".join(kind.__struct_fields__)
        raise ConfigurationError(asked, of=of, answer=str(error), accepted=accepted) from None


def stream_format(text: str, of: str) -> StreamFormat:
    """Of attribute Format, in any case of letters."""
    try:
        return StreamFormat(text.strip().lower())
    except ValueError:
        raise ConfigurationError(
            f"set Format to '{text}'", of=of, answer="no such format", accepted=", ".join(StreamFormat)
        ) from None


def by_attributes(source: str, format: str, destination: str, expected_frames: int, of: str) -> PrepareFields:
    """Prepare without an argument."""
    sources = tuple(part.strip() for part in source.split(",") if part.strip())
    if not sources:
        raise ConfigurationError("Prepare", of=of, answer="Source is empty", accepted="set Source first")
    return PrepareFields(
        sources=sources,
        stream_format=StreamFormat(format),
        destination=destination,
        expected_frames=expected_frames or None,
        run_id=f"prepared-{time.time_ns()}",
    )
