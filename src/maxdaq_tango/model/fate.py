"""What became of a frame number: every one of a series ends in exactly one of these.

The numbers are stored with the pixels (`daq/frame_fate`), so they keep their meaning for ever.
"""

from __future__ import annotations

from enum import IntEnum


class Fate(IntEnum):
    """The end of one frame number."""

    MISSING = 0
    """Never came."""
    WRITTEN = 1
    DISCARDED = 2
    """Arrived; not written because the sender or the run asked for that."""
    CORRUPT = 3
    """Arrived; its pixels did not fit the series."""
    LATE = 4
    """Arrived when the series was over."""
    LOST_SOCKET = 5
    """Arrived in a run that was cut short, and was not taken any more."""
    LOST_ASSEMBLY = 6
    """Taken, and lost while a whole frame was made of its parts."""
    LOST_POOL = 7
    """Taken, and lost before it was turned or packed."""
    LOST_WRITER = 8
    """Taken, and lost on its way to the disk."""
    TAKEN = 9
    """On its way; no frame may still be here when the account is closed."""


PLACES: dict[Fate, str] = {
    Fate.LOST_SOCKET: "socket",
    Fate.LOST_ASSEMBLY: "assembly",
    Fate.LOST_POOL: "pool",
    Fate.LOST_WRITER: "writer",
}
"""Where a frame that arrived can be lost, as the receipt calls it."""

FATE_MEANINGS = ", ".join(f"{fate.value} = {fate.name.lower()}" for fate in Fate if fate is not Fate.TAKEN)
"""For whoever finds the numbers in a file."""
