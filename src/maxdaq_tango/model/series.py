"""The two messages that fence a series."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from maxdaq_tango.model.frame import Frame


class SeriesStart(msgspec.Struct, frozen=True, kw_only=True):
    """The header: a series begins. Everything the sender told is kept."""

    series: str
    """Identity of the series; "" for STINS, whose fence is `msg_number`."""
    filename: str | None = None
    """Where the sender wants the file: None = it says nothing, "" = live only (MAX IV convention)."""
    save_raw: bool = True
    frame_count: int | None = None
    """Frames the sender means to send, None when the format does not tell."""
    frame_period_s: float | None = None
    rotate: int = 0
    """Quarter turns asked for by the sender (numpy rot90 units, MAX IV's `rotate`)."""
    msg_number: int | None = None
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    """Every other value of the header, nested JSON values under the sender's own names."""
    arrays: dict[str, np.ndarray[Any, Any]] = msgspec.field(default_factory=dict)
    """Flat field, pixel mask, count-rate table ...; axes already (rows, columns)."""

    def repeats(self, other: SeriesStart) -> bool:
        """It is the same message again, and no new series."""
        if self.series or other.series:
            return self.series == other.series
        return self.msg_number is not None and self.msg_number == other.msg_number


class SeriesEnd(msgspec.Struct, frozen=True, kw_only=True):
    """The sender has nothing more to send for this series. Never a proof of completeness."""

    series: str
    msg_number: int | None = None


class SeriesNote(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a sender tells beside its frames, and that no frame depends on: it is not stored."""

    series: str
    """"" where the message does not say."""
    kind: str
    """The sender's own word."""
    msg_number: int | None = None


WireEvent = SeriesStart | Frame | SeriesEnd | SeriesNote
"""What a decoder makes of one message."""
