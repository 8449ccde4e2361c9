"""What an engine and its writer processes say to each other: msgpack messages behind a length, over a socket pair.

Engine to writer: Map, Begin, Frames ..., then CloseAll, Settle or GiveUp, each of which gets an Answer. Writer to
engine: Ready once, Done for frames in the order in which they were handed over, Failed when it can take no more of this
series.
Pixels do not travel here: a frame tells where in the arena its blobs lie.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec

from maxdaq_tango.errors import FileError, PipelineError
from maxdaq_tango.files import BlockLayout
from maxdaq_tango.model import ErrorText
from maxdaq_tango.pipeline.arena import Place

_LENGTH = struct.Struct("<I")
_BIG_INTEGER = 1
"""Extension type: an integer beyond 64 bits, as decimal digits."""
_LOWEST, _HIGHEST = -(2**63), 2**64 - 1


class Map(msgspec.Struct, frozen=True, tag="map"):
    """The arena has this length from now on."""

    nbytes: int


class Begin(msgspec.Struct, frozen=True, tag="begin"):
    """A series: this writer has blocks `index`, `index + count` ..."""

    layout: BlockLayout
    index: int
    count: int
    spare: bool = False
    """It has none but those that it gets frames of, in the spill folder."""


class StoredFrame(msgspec.Struct, frozen=True, array_like=True):
    """One frame as it is to be stored."""

    row: int
    number: int
    places: list[Place]
    times: tuple[float, float, float, float, float]
    extras: dict[str, Any]


class Frames(msgspec.Struct, frozen=True, tag="frames"):
    """To be written in this order."""

    frames: list[StoredFrame]


class CloseAll(msgspec.Struct, frozen=True, tag="close"):
    """See `BlockStore.close_all`."""

    block_count: int
    elsewhere: tuple[int, ...] = ()
    """Blocks that the spare writer has."""


class Settle(msgspec.Struct, frozen=True, tag="settle"):
    """See `BlockStore.settle`; `valid` has a byte a row."""

    valid: bytes
    first: int


class GiveUp(msgspec.Struct, frozen=True, tag="give up"):
    """See `BlockStore.give_up`."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The process is up."""


class Trouble(ErrorText, frozen=True):
    """What a writer could not do."""

    def to_error(self) -> FileError | PipelineError:
        """Unpack; whatever is no FileError is a stage of ours that failed."""
        if self.kind == FileError.__name__:
            return FileError(self.asked, of=self.of, answer=self.answer, accepted=self.accepted)
        return PipelineError(self.asked, of=self.of, answer=self.answer, accepted=self.accepted)


class Done(msgspec.Struct, frozen=True, tag="done"):
    """So many more frames are written; 0 = a sign of life during long work."""

    frames: int
    bytes_written: int
    """Of the series so far."""
    slowest_us: int
    """Longest of these writes."""
    frames_safe: int = 0
    """Of the series so far, those that a kill of the writer would leave readable."""
    spilled: tuple[int, ...] = ()
    """Blocks that it has put into the spill folder so far."""
    why_spilled: str = ""
    """Of the last of them."""
    is_spilling: bool = False
    """The last data file that it made is one of them."""


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """None of the frames that are not done will be written."""

    trouble: Trouble


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """To CloseAll, Settle and GiveUp."""

    trouble: Trouble | None
    bytes_written: int
    lost_texts: int
    frames_safe: int = 0
    spilled: tuple[int, ...] = ()
    """See `Done`."""


ToWriter = Map | Begin | Frames | CloseAll | Settle | GiveUp
FromWriter = Ready | Done | Failed | Answer


def encode(message: ToWriter | FromWriter) -> bytes:
    """With its length before it."""
    try:
        body = msgspec.msgpack.encode(message)
    except OverflowError:  # metadata may hold integers of any length
        body = msgspec.msgpack.encode(_with_big_integers(msgspec.to_builtins(message, builtin_types=(bytes,))))
    return _LENGTH.pack(len(body)) + body


class Splitter:
    """Bytes as they arrive into messages of one direction. Both ends are ours: nothing is expected to be malformed."""

    def __init__(self, kind: Any) -> None:
        self._decoder = msgspec.msgpack.Decoder(kind, ext_hook=_big_integer)
        self._bytes = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """Every message that is complete with `data`."""
        held = self._bytes
        held += data
        messages, start = [], 0
        while len(held) >= start + _LENGTH.size:
            (length,) = _LENGTH.unpack_from(held, start)
            end = start + _LENGTH.size + length
            if len(held) < end:
                break
            messages.append(self._decoder.decode(bytes(held[start + _LENGTH.size : end])))
            start = end
        del held[:start]
        return messages


def _with_big_integers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_big_integers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_big_integers(item) for item in value]
    if isinstance(value, int) and not _LOWEST <= value <= _HIGHEST:
        return msgspec.msgpack.Ext(_BIG_INTEGER, str(value).encode())
    return value


def _big_integer(code: int, data: memoryview) -> Any:
    return int(bytes(data))
