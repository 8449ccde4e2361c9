"""What a DAQController is told by its properties, checked once at Init. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from maxdaq_tango.errors import ConfigurationError


def detector_names(values: Iterable[str]) -> tuple[str, ...]:
    """Of property Detectors, in small letters, as Tango does not tell case apart."""
    names = tuple(name.strip().lower() for name in values if name.strip())
    if not names:
        raise ConfigurationError("read property Detectors", answer="it is empty", accepted="names of detector devices")
    for name in names:
        if name.count("/") != 2:
            raise ConfigurationError(
                f"use detector '{name}'",
                of="property Detectors",
                answer="no device name",
                accepted="domain/family/member",
            )
    if len(set(names)) < len(names):
        raise ConfigurationError(
            "read property Detectors", answer="a detector is named twice", accepted="each name once"
        )
    return names
