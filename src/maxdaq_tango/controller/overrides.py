"""What single detectors of a controller do otherwise than the rest. Pure.

    {"pilatus": {"ExposureTime": 0.095}, "lambda": {"nFramesPerTrigger": 4, "ExposureTime": 0.02}}

Trigger mode and number of triggers are those of all: a trigger is for every detector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from maxdaq_tango.controller.destinations import short_name
from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.transaction.set_points import SetPoints

EXAMPLE = '{"eiger": {"ExposureTime": 0.05, "nFramesPerTrigger": 2}}'


class Override(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of one detector; None = as set for all. Times in seconds."""

    exposure_time_s: float | None = msgspec.field(default=None, name="ExposureTime")
    latency_time_s: float | None = msgspec.field(default=None, name="LatencyTime")
    frame_time_s: float | None = msgspec.field(default=None, name="FrameTime")
    frames_per_trigger: int | None = msgspec.field(default=None, name="nFramesPerTrigger")

    def applied(self, points: SetPoints) -> SetPoints:
        """The set-points of this detector; its LatencyTime replaces a FrameTime that all have."""
        changes: dict[str, Any] = {
            name: value for name, value in msgspec.structs.asdict(self).items() if value is not None
        }
        if "latency_time_s" in changes and "frame_time_s" not in changes:
            changes["frame_time_s"] = None
        return replace(points, **changes)


NONE = Override()


def read_overrides(text: str, detectors: Sequence[str]) -> dict[str, Override]:
    """By detector device, from JSON with device names or their last parts; "" = none. ConfigurationError."""
    try:
        given = msgspec.json.decode(text, type=dict[str, Override]) if text.strip() else {}
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise ConfigurationError("set Overrides", answer=str(error), accepted=f"JSON such as {EXAMPLE}") from None
    by_name = {short_name(name): name for name in detectors} | {name: name for name in detectors}
    found: dict[str, Override] = {}
    for name, override in given.items():
        full = by_name.get(name.strip().lower())
        if full is None:
            raise ConfigurationError(f"override '{name}'", answer="no such detector", accepted=", ".join(detectors))
        if full in found:
            raise ConfigurationError(f"override '{name}'", answer=f"{full} is there twice", accepted="each once")
        _check(name, override)
        found[full] = override
    return found


def _check(name: str, override: Override) -> None:
    least: dict[str, float] = {
        "exposure_time_s": 1e-9, "latency_time_s": 0.0, "frame_time_s": 1e-9, "frames_per_trigger": 1
    }  # fmt: skip
    words = {field.name: field.encode_name for field in msgspec.structs.fields(Override)}
    for field, lowest in least.items():
        value = getattr(override, field)
        if value is not None and not value >= lowest:
            raise ConfigurationError(
                f"set {words[field]} of '{name}' to {value:g}", answer="out of range", accepted=f"{lowest:g} or more"
            )
    if override.latency_time_s is not None and override.frame_time_s is not None:
        raise ConfigurationError(
            f"override '{name}'", answer="LatencyTime and FrameTime say the same in two ways", accepted="one of them"
        )
