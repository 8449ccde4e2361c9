"""What an engine and its owner say to each other: JSON lines over a local socket pair.

The owner asks with `Ask`, the engine answers every one with an `Answer` of the same `id`; in between the engine tells
`Told` whenever its state changes or a receipt is ready. Numbers that change with every frame do not travel here: they
are read from shared memory (`counters.py`), so that asking costs the data path nothing.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from maxdaq_tango.model import AcquisitionState, Counters, ErrorText, Receipt

__all__ = ["Answer", "Ask", "Counters", "ErrorText", "Told", "Verb"]


class Verb(StrEnum):
    """What an engine can be asked."""

    PREPARE = "prepare"
    """Argument: a RunRequest. The file is made, the sockets are connected; the answer means "armed"."""
    EXPECT = "expect"
    """Arguments: series, frames (each may be null). What the armed detector said it will send."""
    STOP = "stop"
    """Argument: finished. Take what is still coming, then close: the source has been told to stop, or, where `finished`
    gives a reason, it ended without being told."""
    ABORT = "abort"
    """Argument: reason. Close now with what is there."""
    LINK = "link"
    """Arguments: master (a ScanMaster), roots. Writes the file that links those of a scan."""
    RESET = "reset"
    """Leave FAULT."""
    SHUTDOWN = "shutdown"


class Ask(msgspec.Struct, kw_only=True):
    """Owner to engine."""

    id: int
    verb: Verb
    arguments: dict[str, Any] = msgspec.field(default_factory=dict)


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
    decisions: dict[str, str] = {}
    """Of the present or last run."""
