"""An error on its way between processes."""

from __future__ import annotations

from typing import Self

import msgspec

from maxdaq_tango.errors import (
    ConfigurationError,
    DetectorError,
    DetectorOffline,
    DetectorRefused,
    DetectorTimeout,
    EngineError,
    FileError,
    MaxdaqError,
    PipelineError,
    StateError,
    WireError,
)

_KINDS: dict[str, type[MaxdaqError]] = {
    kind.__name__: kind
    for kind in (
        ConfigurationError,
        FileError,
        PipelineError,
        StateError,
        WireError,
        EngineError,
        DetectorError,
        DetectorOffline,
        DetectorRefused,
        DetectorTimeout,
    )
}


class ErrorText(msgspec.Struct, frozen=True):
    """Comes out as the same exception type."""

    kind: str
    asked: str
    of: str = ""
    answer: str = ""
    accepted: str = ""

    @classmethod
    def of_error(cls, error: MaxdaqError) -> Self:
        """Pack."""
        return cls(type(error).__name__, error.asked, error.of, error.answer, error.accepted)

    def to_error(self) -> MaxdaqError:
        """Unpack; an unknown kind becomes an EngineError rather than being lost."""
        kind = _KINDS.get(self.kind, EngineError)
        return kind(self.asked, of=self.of, answer=self.answer, accepted=self.accepted)
