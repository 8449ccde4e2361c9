"""Moves spilled data files home: `python -m maxdaq_tango.engine.homecoming SPILL ROOT ...`, with an owner at standard
input.

A process of its own, as that of the recovery at start-up is: a file system that hangs takes whoever waits for it along.
It looks at the spill directory at once, at every line from its owner, and every LOOK_S. It says a JSON line about what
is there before and after each look, and each second while it copies, and one about each series. It ends at once,
wherever it stands, when its owner does: what it does may be interrupted, and goes on with the next.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from maxdaq_tango.files import Homecoming, Survey, bring_all_home, survey

LOOK_S = 30.0
"""A destination that had no room, or no answer, may have some."""
NICENESS = 10
"""Whoever receives frames comes first."""


SHOW_S = 1.0
"""Between two words about how much is left."""


def main() -> None:
    """Entry point of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is the owner's business
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    asked = threading.Event()
    threading.Thread(target=_hear, args=(asked,), name="owner watch", daemon=True).start()
    directory, said_at = Path(sys.argv[1]), 0.0

    def show(nbytes: int = 0) -> None:
        nonlocal said_at
        if not nbytes or time.monotonic() - said_at >= SHOW_S:
            said_at = time.monotonic()
            with contextlib.suppress(OSError, ValueError):
                _say(survey(directory))

    while True:
        asked.clear()
        show()
        _look(directory, sys.argv[2:], show)
        show()
        asked.wait(LOOK_S)


def _look(directory: Path, roots: Sequence[str], show: Callable[[int], None]) -> None:
    """Move what can be moved; an error of the spill directory itself is told, and met or not at the next look."""
    try:
        for series in bring_all_home(directory, roots, show):
            _say(series)
    except (OSError, ValueError) as error:
        _say(Homecoming(folder=str(directory), problem=f"the spill directory cannot be looked at: {error}"))


def _hear(asked: threading.Event) -> None:
    while os.read(0, 4096):
        asked.set()
    os._exit(1)


def _say(what: Homecoming | Survey) -> None:
    try:
        sys.stdout.buffer.write(msgspec.json.encode(what) + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os._exit(1)


if __name__ == "__main__":
    main()
