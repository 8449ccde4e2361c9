"""The recovery at start-up: `python -m maxdaq_tango.engine.recovery ROOT ...`, with an owner at standard input.

A process of its own, because a file system that hangs takes whoever waits for it along, and because it must not share
an interpreter with anything that has to answer. It says one JSON line for each unfinished file, and one at the end. It
ends at once, wherever it stands, when its owner does: a recovery may be interrupted and repeated.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time

import msgspec

from maxdaq_tango.files import Recovered, Search, recover_found

NICENESS = 10
"""Whoever receives frames comes first."""


class Searched(msgspec.Struct, frozen=True, kw_only=True, tag="searched"):
    """Said at the end."""

    folders: int
    """That were looked at."""
    seconds: float
    unreadable: tuple[tuple[str, str], ...] = ()
    """(folder, why)."""
    left_out: int = 0
    """Folders that were not looked at."""


class Treated(msgspec.Struct, frozen=True, kw_only=True, tag="treated"):
    """Said of each unfinished file."""

    file: Recovered


def main() -> None:
    """Entry point of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is the owner's business
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    threading.Thread(target=_end_with_owner, name="owner watch", daemon=True).start()
    began = time.monotonic()
    search = Search(sys.argv[1:])
    for file in recover_found(search):
        _say(Treated(file=file))
    seconds = time.monotonic() - began
    unreadable = tuple(search.unreadable)
    _say(Searched(folders=search.folders, seconds=seconds, unreadable=unreadable, left_out=search.left_out))


def _end_with_owner() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


def _say(what: Treated | Searched) -> None:
    try:
        sys.stdout.buffer.write(msgspec.json.encode(what) + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os._exit(1)


if __name__ == "__main__":
    main()
