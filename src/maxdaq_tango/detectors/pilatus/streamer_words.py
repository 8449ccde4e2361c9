"""What a driver and the Pilatus streamer say to each other. JSON over HTTP, see `detectors.streaming`."""

from __future__ import annotations

from typing import Any

import msgspec

BEGIN, FINISH, ABORT, STATUS = "begin", "finish", "abort", "status"
MOST_FRAMES = 1 << 40


class SeriesWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A series to expect: files `<base>_<number>.<extension>`, numbers from 0."""

    base: str
    extension: str = ".cbf"
    frames: int
    gated: bool = False
    """Gates make the exposures: what an image says of its own is only a setting."""
    filename: str = ""
    """For the header: where the receiver shall write, where it lets streams decide."""
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)


class StreamerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the streamer has to say of itself and of its newest series."""

    folder: str
    stream_port: int
    trouble: str = ""
    """Why the folder cannot be watched; "" while it is."""
    series: int = 0
    """Since it was started."""
    base: str = ""
    is_open: bool = False
    """The end message has not been sent."""
    files_seen: int = 0
    """Different numbers of the series."""
    frames_sent: int = 0
    """Messages that ZeroMQ took, copies included."""
    frames_lost: int = 0
    """Given up because nobody took them, or unreadable."""
    files_waiting: int = 0
    files_deleted: int = 0
    files_kept: int = 0
    """Were to be deleted, and a receiver went that may not have got them."""
    strangers: int = 0
    """Files that belong to no series, since it was started."""
    last_trouble: str = ""
    """The newest file that could not be read, sent or deleted, and why."""
