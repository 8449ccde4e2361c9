"""Our errors as Tango's DevFailed and back, so that a reason is the same word on both sides.

A DevFailed of ours has reason `MAXDAQ_<class>` (MAXDAQ_DetectorRefused), the whole sentence as desc, and device/command
as origin. Panels show the desc; programs compare the reason.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import tango

from maxdaq_tango import errors
from maxdaq_tango.engine.protocol import ErrorText
from maxdaq_tango.errors import MaxdaqError
from maxdaq_tango.model import latin_text

PREFIX = "MAXDAQ_"
KINDS: dict[str, type[MaxdaqError]] = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, MaxdaqError)
}

_Method = TypeVar("_Method", bound=Callable[..., Any])


def throw(error: MaxdaqError, origin: str) -> None:
    """Raise `error` as DevFailed."""
    tango.Except.throw_exception(PREFIX + type(error).__name__, latin_text(str(error)), origin)


def tells_failures(method: _Method) -> _Method:
    """Wrap a device's command or attribute write: a MaxdaqError leaves it as a DevFailed."""

    @functools.wraps(method)
    def wrapped(self: Any, *arguments: Any) -> Any:
        try:
            return method(self, *arguments)
        except MaxdaqError as error:
            throw(error, f"{self.get_name()}/{method.__name__}")

    return wrapped  # type: ignore[return-value]


def error_of(failed: tango.DevFailed, *, asked: str, of: str, otherwise: type[MaxdaqError]) -> MaxdaqError:
    """What another device raised, as the exception that it was there; `otherwise` is for what Tango itself raised."""
    for told in failed.args:
        kind = KINDS.get(told.reason.removeprefix(PREFIX)) if told.reason.startswith(PREFIX) else None
        if kind is not None:
            return kind(told.desc, of=of)
    first = failed.args[0]
    return otherwise(asked, of=of, answer=f"{_one_line(first.desc)} [{first.reason}]")


def unpack(text: ErrorText) -> MaxdaqError:
    """An error that travelled as JSON, of any kind."""
    kind = KINDS.get(text.kind, errors.EngineError)
    return kind(text.asked, of=text.of, answer=text.answer, accepted=text.accepted)


def _one_line(text: str) -> str:
    return " ".join(text.split())
