"""What a run tells, to whom that listens and to the log; neither can stop it, nor its file from being closed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

log = logging.getLogger(__name__)
What = TypeVar("What")


def unfailing(call: Callable[[What], None]) -> Callable[[What], None]:
    """The same call, whose errors go to the log: a few times a run, never for a frame."""

    def tell(what: What) -> None:
        try:
            call(what)
        except Exception:
            log.exception("while telling of a run")

    return tell


def warn(problem: str) -> None:
    """Into the log: what went wrong beside a run and is not of its account."""
    log.warning("%s", problem)
