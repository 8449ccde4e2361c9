"""What the conductor and its child processes say to each other: JSON lines on standard input and output."""

from __future__ import annotations

import msgspec

from maxdaq_tango.model import Encoding


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """Frames that lie behind one another in shared memory (`payload.py`)."""

    shape: tuple[int, int]
    dtype: str
    packing: Encoding
    lengths: tuple[int, ...]
    """Bytes of every distinct frame."""


# -- conductor to child ----------------------------------------------------------------------------------------------


class Open(msgspec.Struct, frozen=True, tag="open"):
    """To the sender: bind a fresh socket."""


class Prepare(msgspec.Struct, frozen=True, kw_only=True, tag="prepare"):
    """To a contestant: connect, and be ready to write. `path` is "" where nothing is to be written."""

    endpoint: str = ""
    path: str = ""


class Go(msgspec.Struct, frozen=True, kw_only=True, tag="go"):
    """The turn begins: send, or do what needs no sender, for `seconds`, up to `most_bytes`."""

    seconds: float
    most_bytes: int
    columns: int = 0
    """Values beside the pixels in each message."""


class Expect(msgspec.Struct, frozen=True, tag="expect"):
    """To a contestant: so many frames were sent."""

    frames: int


class Close(msgspec.Struct, frozen=True, tag="close"):
    """To the sender: close the socket of this turn."""


# -- child to conductor ----------------------------------------------------------------------------------------------


class Opened(msgspec.Struct, frozen=True, tag="opened"):
    """The sender listens."""

    endpoint: str


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The child is: to be asked, and after `Prepare` to take its turn. `pid` is the process to measure."""

    pid: int


class Sent(msgspec.Struct, frozen=True, kw_only=True, tag="sent"):
    """The end of sending is near: only the end message follows. Times are of the monotonic clock, which all share."""

    frames: int
    nbytes: int
    """Of frames, without the JSON parts."""
    began_ns: int


class Done(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """A contestant has everything, and what it wrote is in its place."""

    frames: int
    nbytes: int
    began_ns: int = 0
    """Only of those that need no sender."""
    ended_ns: int
    verdict: str = ""
    """Of our receipt."""
    note: str = ""
    """One sentence for the table's foot, for instance that the file system refused direct writing."""


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """It could not."""

    reason: str


Asked = Open | Prepare | Go | Expect | Close
Told = Opened | Ready | Sent | Done | Failed
