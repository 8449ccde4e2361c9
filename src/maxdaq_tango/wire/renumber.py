"""A recorded message with other numbers in it: what a replay needs to play a series longer, or once more.

Everything but the numbers stays as it was recorded; a message that needs no change is handed back as it is, byte for
byte. Where frame number, series and `msg_number` stand is told by the reference pages of the three formats.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import cbor2
import msgspec

from maxdaq_tango.errors import WireError
from maxdaq_tango.model import Buffer, Frame, SeriesStart, StreamFormat, WireEvent
from maxdaq_tango.wire import WHOLE_FRAMES, decoder_for, dectris_v1, dectris_v2, stins


def format_of(parts: Sequence[Buffer]) -> StreamFormat:
    """Which format a recorded message is in; WireError when it is none of ours."""
    for format in WHOLE_FRAMES:
        try:
            decoder_for(format).decode(parts)
        except WireError:
            continue
        return format
    first = bytes(parts[0][:60]) if parts else b""
    raise WireError("recognise the stream", answer=f"a message begins with {first!r}", accepted=", ".join(WHOLE_FRAMES))


class Renumberer:
    """Plays messages of one recorded series as the n-th series of a sender that numbers them in its own life."""

    def __init__(self, format: StreamFormat) -> None:
        self._format = format
        self._decoder = decoder_for(format)
        self._msg_number: int | None = None

    def next(self, parts: Sequence[Buffer], *, series_shift: int, frame_number: int | None) -> list[Buffer]:
        """The message with its series moved on by `series_shift` and, for a frame, this frame number."""
        event = self._decoder.decode(parts)
        new_frame = frame_number if isinstance(event, Frame) and frame_number is not None else None
        if self._format is StreamFormat.STINS:
            return self._next_stins(parts, event, new_frame)
        if series_shift == 0 and (new_frame is None or (isinstance(event, Frame) and event.frame_number == new_frame)):
            return list(parts)
        if self._format is StreamFormat.DECTRIS_V1:
            return _changed_json(parts, series=int(event.series) + series_shift, frame=new_frame)
        return _changed_cbor(parts, series_shift, new_frame)

    def end(self, start: SeriesStart, series_shift: int) -> list[Buffer]:
        """The end message that belongs to a recorded start message."""
        if self._format is StreamFormat.STINS:
            return list(stins.encode_end(self._take_number(0)))
        if self._format is StreamFormat.DECTRIS_V1:
            return list(dectris_v1.encode_end(int(start.series) + series_shift))
        series_id = int(start.metadata.get("series_id", 0)) + series_shift
        return list(dectris_v2.encode_end(series_id, _shifted_identity(start.series, series_shift)))

    def _next_stins(self, parts: Sequence[Buffer], event: WireEvent, new_frame: int | None) -> list[Buffer]:
        if event.msg_number is None:  # the Pilatus DCU numbers no messages
            return list(parts) if new_frame is None else _changed_json(parts, frame=new_frame)
        number = self._take_number(event.msg_number)
        same_frame = new_frame is None or (isinstance(event, Frame) and event.frame_number == new_frame)
        if number == event.msg_number and same_frame:
            return list(parts)
        return _changed_json(parts, msg_number=number, frame=new_frame)

    def _take_number(self, recorded: int) -> int:
        self._msg_number = recorded if self._msg_number is None else self._msg_number + 1
        return self._msg_number


def _changed_json(parts: Sequence[Buffer], **numbers: int | None) -> list[Buffer]:
    head: dict[str, Any] = msgspec.json.decode(bytes(parts[0]))
    head.update({key: value for key, value in numbers.items() if value is not None})
    return [msgspec.json.encode(head), *parts[1:]]


def _changed_cbor(parts: Sequence[Buffer], series_shift: int, new_frame: int | None) -> list[Buffer]:
    """Numbers are changed in place, not by decoding and encoding: all other bytes stay the recorded ones.

    In DECTRIS' messages these keys come before the pixels, so the first match is the key and no accident of the data.
    """
    message = bytes(parts[0])
    if series_shift:
        message = _changed_item(message, "series_id", lambda old: old + series_shift)
        message = _changed_item(message, "series_unique_id", lambda old: _shifted_identity(old, series_shift))
    if new_frame is not None:
        message = _changed_item(message, "image_id", lambda old: new_frame)
    return [message]


def _changed_item(message: bytes, key: str, change: Callable[[Any], Any]) -> bytes:
    """The CBOR map with another value at `key`, or the same map where it has no such key."""
    mark = cbor2.dumps(key)
    at = message.find(mark)
    if at < 0:
        return message
    stream = io.BytesIO(message)
    stream.seek(at + len(mark))
    old = cbor2.CBORDecoder(stream, read_size=1).decode()
    return message[: at + len(mark)] + cbor2.dumps(change(old)) + message[stream.tell() :]


def _shifted_identity(identity: str, series_shift: int) -> str:
    return f"{identity}+{series_shift}" if series_shift else identity
