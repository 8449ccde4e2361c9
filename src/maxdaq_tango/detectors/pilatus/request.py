"""One request to camserver on its way through the client, and what the line is doing meanwhile."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum

from maxdaq_tango.detectors.pilatus.protocol import Reply
from maxdaq_tango.errors import DetectorError


class Stage(Enum):
    """What camserver is doing, as far as this connection knows."""

    OFFLINE = "not connected"
    IDLE = "idle"
    STARTING = "starting an exposure"
    EXPOSING = "exposing"


class Request:
    """What is asked, and what came of it."""

    def __init__(self, line: str, expect: Collection[int], timeout_s: float, *, starts: bool, skips: bool) -> None:
        self.line, self.expect, self.timeout_s = line, expect, timeout_s
        self.starts = starts
        self.skips = skips
        """Other answers are left-overs of a kill."""
        self.kills_before = 0
        """A start that comes with an older count than the client's was ended before it was sent."""
        self.deadline_s = 0.0
        self.is_sent = False
        self.reply: Reply | None = None
        self.error: DetectorError | None = None

    @property
    def is_done(self) -> bool:
        """Answered, well or not."""
        return self.reply is not None or self.error is not None
