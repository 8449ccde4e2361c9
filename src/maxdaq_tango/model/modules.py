"""Detectors whose modules each send their own part of every frame, over a connection of their own."""

from __future__ import annotations

from typing import Any

import msgspec

from maxdaq_tango.model.frame import Buffer, FrameFormat
from maxdaq_tango.model.series import SeriesStart

MOST_MODULES = 256
"""The largest detectors have a tenth of that; without a limit one message could claim any number of them."""


class ModuleStart(msgspec.Struct, frozen=True):
    """The header that one connection has brought."""

    source: int
    """Which connection, from 0 in the order of the request."""
    start: SeriesStart
    """As far as this module knows it."""


class ModuleFrame(msgspec.Struct, frozen=True, kw_only=True):
    """One module's share of a frame."""

    source: int
    """Which connection brought it, from 0 in the order of the request."""
    module: int
    """Its place in the frame, from 0."""
    module_count: int | None
    """Modules of the whole detector as the sender says; None = as many as there are connections."""
    frame_number: int
    format: FrameFormat
    """Of this module alone: (rows, columns)."""
    blob: Buffer | None
    """None: the message makes sense, its pixels do not; `trouble` says why."""
    trouble: str = ""
    is_whole: bool = True
    """False: packets were lost between module and sender, who has filled their place with something."""
    first_number: int | None = None
    """Number of the first frame of the acquisition as this sender saw it; None = the format does not tell."""
    msg_number: int | None = None
    """STINS transport counter over the life of this module's sender."""
    packets: int | None = None
    """That the sender caught of this frame."""
    discard: bool = False
    exposure_time_s: float | None = None
    start_time_s: float | None = None
    """Detector clock, not UTC and not zero-based."""
    head_nbytes: int = 0
    """Of the message, beside its pixels: `extras` and `about` take memory as it is long."""
    extras: dict[str, Any] = msgspec.field(default_factory=dict)
    """Whatever else the message tells of this frame, JSON values only."""
    about: dict[str, Any] = msgspec.field(default_factory=dict)
    """Whatever else it tells of the whole series, where the format has no header for that."""


class ModuleEnd(msgspec.Struct, frozen=True):
    """One connection has nothing more to bring for this series."""

    source: int
    msg_number: int | None = None


ModuleEvent = ModuleStart | ModuleFrame | ModuleEnd
"""What a decoder makes of one message of one module."""
