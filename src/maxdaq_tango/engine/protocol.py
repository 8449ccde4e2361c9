"""What an engine and its owner say to each other: JSON lines over a local socket pair.

The owner asks with `Ask`, the engine answers every one with an `Answer` of the same `id`; in between the engine tells
`Told` whenever its state changes or a receipt is ready. Numbers that change with every frame do not travel here: they
are read from shared memory (`counters.py`), so that asking costs the data path nothing.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from maxdaq_tango.errors import (
    ConfigurationError,
    EngineError,
    FileError,
    MaxdaqError,
    PipelineError,
    StateError,
    WireError,
)
from maxdaq_tango.model import AcquisitionState, Receipt


class Verb(StrEnum):
    """What an engine can be asked."""

    PREPARE = "prepare"
    """Argument: a RunRequest. The file is made, the sockets are connected; the answer means "armed"."""
    EXPECT = "expect"
    """Arguments: series, frames (each may be null). What the armed detector said it will send."""
    STOP = "stop"
    """The source has been told to stop: take what is still coming, then close."""
    ABORT = "abort"
    """Argument: reason. Close now with what is there."""
    RESET = "reset"
    """Leave FAULT."""
    SHUTDOWN = "shutdown"


class Ask(msgspec.Struct, kw_only=True):
    """Owner to engine."""

    id: int
    verb: Verb
    arguments: dict[str, Any] = msgspec.field(default_factory=dict)


class ErrorText(msgspec.Struct, frozen=True):
    """An error on its way between processes; comes out as the same exception type."""

    kind: str
    asked: str
    of: str = ""
    answer: str = ""
    accepted: str = ""

    @classmethod
    def of_error(cls, error: MaxdaqError) -> ErrorText:
        """Pack."""
        return cls(type(error).__name__, error.asked, error.of, error.answer, error.accepted)

    def to_error(self) -> MaxdaqError:
        """Unpack; an unknown kind becomes an EngineError rather than being lost."""
        kinds: dict[str, type[MaxdaqError]] = {
            kind.__name__: kind
            for kind in (ConfigurationError, FileError, PipelineError, StateError, WireError, EngineError)
        }
        kind = kinds.get(self.kind, EngineError)
        return kind(self.asked, of=self.of, answer=self.answer, accepted=self.accepted)


class Answer(msgspec.Struct, kw_only=True, tag="answer"):
    """Engine to owner, one for each Ask."""

    id: int
    error: ErrorText | None = None


class Told(msgspec.Struct, kw_only=True, tag="told"):
    """Engine to owner, unasked: the state has changed."""

    state: AcquisitionState
    run_id: str = ""
    message: str = ""
    """One sentence for Status."""
    receipt: Receipt | None = None
    """Set once a run, together with the state that ends it (IDLE or FAULT)."""


class Counters(msgspec.Struct, frozen=True, kw_only=True):
    """One look at the live account. Frames unless a unit says otherwise; -1 = not known."""

    run_number: int = 0
    """Counts runs of this engine; a change means that every other counter began again."""
    frames_expected: int = -1
    frames_received: int = 0
    frames_written: int = 0
    frames_discarded: int = 0
    frames_missing: int = 0
    """Gaps seen so far: numbers below the newest one that have not come."""
    frames_duplicate: int = 0
    frames_corrupt: int = 0
    frames_out_of_series: int = 0
    bytes_received: int = 0
    bytes_written: int = 0
    queue_bytes: int = 0
    queue_limit_bytes: int = 0
    queue_full_count: int = 0
    """Times the socket was left unread because the budget was full."""
    newest_frame_number: int = -1
    write_latency_us: int = 0
    """Longest single write of the last second."""
    updated_ns: int = 0
    """Monotonic clock of the engine's last update; a stale one means a hanging engine."""
