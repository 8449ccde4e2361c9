"""Where a series stands; `series_run.py` says what leads from one to the next."""

from __future__ import annotations

from enum import Enum


class Phase(Enum):
    """The order in which they come."""

    WAITING = "waiting for the start message"
    TAKING = "taking frames"
    ENDING = "waiting for stragglers"
    OVER = "over"
