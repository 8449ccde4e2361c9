"""Where words for people go, and where answers for programs."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
from rich.console import Console


def people(json: bool) -> Console:
    """A console for people: standard output, or standard error when standard output belongs to a program."""
    return Console(stderr=json, highlight=False)


def program(answer: Any) -> None:
    """One JSON object on standard output."""
    sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
    sys.stdout.flush()
