"""Recorded streams: gzip around a CBOR sequence of lists of byte strings."""

from __future__ import annotations

import gzip
import io
import random
import zlib

from fuzz.cbor_items import cbor_part
from fuzz.message import must_be_readable
from fuzz.mutation import Plain
from maxdaq_tango.errors import FileError, WireError
from maxdaq_tango.wire.capture import CaptureWriter, read_capture

MOST_GROWTH = 1032
"""Of a deflated byte."""


def one(data: bytes) -> None:
    """Messages, and then perhaps an error; never more bytes than can be in it."""
    nbytes = 0
    try:
        for parts in read_capture(io.BytesIO(data)):
            assert all(type(part) is bytes for part in parts)
            nbytes += sum(map(len, parts))
    except (WireError, FileError) as error:
        if isinstance(error, WireError):
            must_be_readable(error)
    assert nbytes <= MOST_GROWTH * len(data)


def mutated(data: bytes, most: int, chance: random.Random, plain: Plain) -> bytes:
    """Inside the gzip stream, which would hardly ever be whole again else; now and then the stream itself."""
    if chance.random() < 0.2:
        return plain(data, most)
    try:
        inside = gzip.decompress(data[:most])
    except (OSError, EOFError, zlib.error):
        return cbor_part(data, most, chance, plain)
    changed = cbor_part(inside[: 4 * most], most, chance, plain)
    return changed if chance.random() < 0.3 else gzip.compress(changed, 1, mtime=0)


def seeds() -> dict[str, bytes]:
    """Small recordings, packed and plain."""
    found = {}
    for name, messages in {
        "empty": [],
        "one": [[b"{}"]],
        "series": [[b'{"htype":"header"}', b"null"], [b'{"htype":"image"}', bytes(300)], [b'{"htype":"series_end"}']],
        "no-parts": [[], [b""]],
    }.items():
        file = io.BytesIO()
        with CaptureWriter(file) as writer:
            for message in messages:
                writer.write(message)
        found[name] = file.getvalue()
        found[f"{name}-plain"] = gzip.decompress(file.getvalue())
    return found
