"""What a detector says of itself, in our words: identity, limits, state, and the answer to arm."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class HardwareState(StrEnum):
    """What the hardware says of itself, in our words."""

    OFFLINE = "OFFLINE"
    """Cannot be reached."""
    NOT_INITIALISED = "NOT_INITIALISED"
    """Reachable, but wants `initialise` first."""
    IDLE = "IDLE"
    CONFIGURING = "CONFIGURING"
    ARMED = "ARMED"
    ACQUIRING = "ACQUIRING"
    ERROR = "ERROR"


class DetectorIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Who answered at the address."""

    model: str
    serial_number: str
    firmware: str = ""
    api_version: str = ""


class Range(msgspec.Struct, frozen=True):
    """Limits of a value as the hardware states them; None = it states none."""

    minimum: float | None = None
    maximum: float | None = None


class DetectorReport(msgspec.Struct, frozen=True, kw_only=True):
    """One look at the hardware."""

    state: HardwareState
    message: str = ""
    """The vendor's own state or error text."""
    ready_for_trigger: bool = False
    """A software trigger given now would start an exposure."""
    frames_acquired: int | None = None
    """Since arm; None when the hardware does not count (the receiver's count is used then)."""


class ArmedSeries(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to arm."""

    series: str | None
    """Identity that the stream's messages will carry; None when it cannot be known (believe the first start)."""
    frame_count: int
