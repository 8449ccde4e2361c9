"""The child's end of the conversation with the conductor."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading

import msgspec

from maxdaq_tango.bench.talk import Asked, Told


class Inbox:
    """What the conductor asks, read by a thread of its own: a child may be stuck in a socket when its owner dies.

    The end of standard input ends the process at once, so that a killed bench leaves nothing running.
    """

    def __init__(self) -> None:
        # Ctrl-C is the conductor's affair; it may reach the whole terminal.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._asked: queue.SimpleQueue[Asked] = queue.SimpleQueue()
        self._lock = threading.Lock()  # more than one thread may tell
        self._reader = threading.Thread(target=self._read, name="inbox", daemon=True)
        self._reader.start()

    def next(self) -> Asked:
        """The next thing asked; waits for it."""
        return self._asked.get()

    def tell(self, told: Told) -> None:
        """Answer."""
        line = msgspec.json.encode(told) + b"\n"
        with self._lock:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()

    def _read(self) -> None:
        decoder = msgspec.json.Decoder(Asked)
        for line in sys.stdin.buffer:
            self._asked.put(decoder.decode(line))
        os._exit(0)
