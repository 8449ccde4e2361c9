"""Requests and answers as values: what the HTTP listener hands in and sends back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec


class Request(msgspec.Struct, frozen=True):
    """One HTTP request."""

    method: str
    path: str
    body: bytes = b""
    query: Mapping[str, str] = {}
    accept: str = ""


class Reply(msgspec.Struct, frozen=True):
    """One HTTP answer."""

    status: int = 200
    body: bytes = b"{}"
    content_type: str = "application/json"


def json_reply(value: Any) -> Reply:
    """200 with a JSON body."""
    return Reply(body=msgspec.json.encode(value))


def refused(status: int, text: str) -> Reply:
    """A refusal that says why, as plain text like the real server's."""
    return Reply(status, text.encode(), "text/plain; charset=utf-8")


class Answer:
    """An answer that may come later: `trigger` answers when its burst is over. The first `resolve` wins."""

    def __init__(self, reply: Reply | None = None) -> None:
        self.reply = reply
        self._listener: Callable[[], object] | None = None

    def resolve(self, reply: Reply) -> None:
        """Answer now."""
        if self.reply is None:
            self.reply = reply
            if self._listener:
                self._listener()

    def when_resolved(self, listener: Callable[[], object]) -> None:
        """Call `listener` once: at `resolve`, or at once when that has been."""
        self._listener = listener
        if self.reply is not None:
            listener()
