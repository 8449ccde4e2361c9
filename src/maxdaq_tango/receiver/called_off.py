"""An Abort that comes while Prepare still waits for its engine: the engine would have nothing to abort yet."""

from __future__ import annotations

from collections.abc import Callable

from maxdaq_tango.engine.client import EngineClient
from maxdaq_tango.errors import EngineError
from maxdaq_tango.model import RunRequest

ANSWER_S = 2.5
"""Shorter than Tango's own time-out of commands."""


class CalledOff:
    """Remembers why the run that is being prepared was called off, and aborts it as soon as there is one.

    `abort` may be called from any thread at any time; one Prepare at a time.
    """

    def __init__(self) -> None:
        self._reason = ""

    def begin(self) -> None:
        """A Prepare was asked for; what was aborted before is no matter of this run."""
        self._reason = ""

    def prepare(self, engine: EngineClient, request: RunRequest) -> None:
        """Make the run, and abort it where that was asked meanwhile."""
        engine.prepare(request)
        if self._reason:
            engine.abort(self._reason, ANSWER_S)

    def abort(self, engine: EngineClient, reason: str, is_preparing: Callable[[], bool]) -> None:
        """Now, or when the run is there: an engine that is starting does not answer, and knows of no run."""
        self._reason = reason  # first: a Prepare that ends meanwhile sees it, or the engine has the run already
        try:
            engine.abort(reason, ANSWER_S)
        except EngineError:
            if not is_preparing():
                raise
