"""A ZeroMQ message as one input of a fuzzer, and what must hold of every message that a decoder is given.

An input is: the number of parts (1 byte), the length of each part but the last (3 bytes, little-endian), the parts. Any
bytes are an input: lengths that are not there are 0, what is too long ends with the input.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fuzz.guarded import guarded
from maxdaq_tango.errors import WireError
from maxdaq_tango.kernels.compression import decode_pixels
from maxdaq_tango.model import DEEPEST, MOST_MODULES, Frame, ModuleFrame, ModuleStart, SeriesEnd, SeriesStart, is_deeper
from maxdaq_tango.wire import Decoder, ModuleDecoder
from maxdaq_tango.wire.marked import mark

MOST_PARTS = 12
LONGEST_ERROR = 20_000
"""Characters: it is told in Status, in a receipt and on a terminal."""
MOST_LEVELS = DEEPEST + 2
"""Of metadata as a decoder gives them: what the message may have, and what `user_data` and a tag put around it."""
KEPT_TEXT = 64 << 20


def packed(parts: Sequence[bytes]) -> bytes:
    """The input that stands for this message."""
    parts = list(parts)[:MOST_PARTS]
    heads = b"".join(len(part).to_bytes(3, "little") for part in parts[:-1])
    return bytes([len(parts)]) + heads + b"".join(parts)


def unpacked(data: bytes) -> list[bytes]:
    """The message that these bytes stand for."""
    count = min(data[0], MOST_PARTS) if data else 0
    if not count:
        return []
    at = 1 + 3 * (count - 1)
    lengths = [int.from_bytes(data[1 + 3 * n : 4 + 3 * n], "little") for n in range(count - 1)]
    parts = []
    for length in lengths:
        parts.append(data[at : at + length])
        at += length
    return [*parts, data[at:]]


def must_hold(decoder: Decoder, data: bytes) -> bool:
    """Decode as a receiver does, pixels included; False: the message was refused. Anything else is a finding."""
    try:
        event = decoder.decode(unpacked(data))
        if isinstance(event, Frame):
            must_be_storable(event.extras)
            blobs = [guarded(blob, place) for place, blob in enumerate(event.blobs)]
            assert decode_pixels(event.format, blobs).shape == event.format.shape
        elif isinstance(event, SeriesStart):
            must_be_storable(event.metadata)
            for array in event.arrays.values():
                assert array.nbytes <= len(data)
        else:
            assert isinstance(event, SeriesEnd)
        assert isinstance(event.series, str)
    except WireError as error:
        must_be_readable(error)
        return False
    return True


def module_must_hold(decoder: ModuleDecoder, data: bytes) -> bool:
    """The same of a message of one module."""
    try:
        event = decoder.decode([mark(1), *unpacked(data)])
        assert event.source == 1
        if isinstance(event, ModuleFrame):
            must_be_storable(event.extras)
            must_be_storable(event.about)
            assert 0 <= event.module < (event.module_count or MOST_MODULES) <= MOST_MODULES
            assert (event.blob is None) is bool(event.trouble)
            assert len(event.trouble) <= LONGEST_ERROR
            if event.blob is not None:
                blob = guarded(event.blob, 0)
                assert decode_pixels(event.format, [blob]).shape == event.format.shape
        elif isinstance(event, ModuleStart):
            must_be_storable(event.start.metadata)
    except WireError as error:
        must_be_readable(error)
        return False
    return True


def must_be_storable(metadata: dict[str, object]) -> None:
    """JSON values that whoever goes through them by recursion can go through."""
    assert len(msgspec.json.encode(metadata)) < KEPT_TEXT
    assert not is_deeper(metadata, MOST_LEVELS)


def must_be_readable(error: WireError) -> None:
    """Of a length that can be told, by a decoder that did not come to it for want of memory."""
    assert len(str(error)) <= LONGEST_ERROR, f"an error of {len(str(error))} characters"
    cause: BaseException | None = error
    while cause is not None:
        assert not isinstance(cause, MemoryError), "more memory was asked for than there is"
        cause = cause.__cause__
