"""Over which connection a message came, as a part of its own before all others.

Modules of a detector are told apart by the connection that brings them where their messages do not say which one they
are. A ROUTER socket of ZeroMQ puts an identity in front of a message in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence

from maxdaq_tango.errors import WireError
from maxdaq_tango.model import MOST_MODULES, Buffer

MARK_NBYTES = 2


def mark(source: int) -> bytes:
    """The part that stands for connection `source`, counted from 0."""
    return source.to_bytes(MARK_NBYTES, "little")


def unmarked(parts: Sequence[Buffer]) -> tuple[int, Sequence[Buffer]]:
    """The connection, and the message as it came over it."""
    if len(parts) < 2 or len(parts[0]) != MARK_NBYTES:
        raise WireError(
            "read a message of one module",
            answer=f"{len(parts)} parts, no connection before them" if parts else "no parts",
            accepted=f"the connection in {MARK_NBYTES} bytes, and what came over it",
        )
    source = int.from_bytes(bytes(parts[0]), "little")
    if source >= MOST_MODULES:
        raise WireError(
            "read a message of one module", answer=f"connection {source}", accepted=f"0 to {MOST_MODULES - 1}"
        )
    return source, parts[1:]
