"""Wakes a thread that waits in a poller for sockets."""

from __future__ import annotations

import contextlib
import os
import threading


class Bell:
    """`ring` from any thread; all else belongs to the thread that waits.

    A ring while nobody listens costs no system call, which would give Python's lock away: it is only remembered.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # a descriptor that was closed may be somebody else's already
        self._handle = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._rung = False
        self._listening = False

    def fileno(self) -> int:
        """Readable after a ring, while somebody listens."""
        return self._handle

    def ring(self) -> None:
        """Harmless after `close`."""
        self._rung = True  # before the look at who listens, and the listener does it the other way round: one sees it
        if self._listening:
            with self._lock:
                if self._handle >= 0:
                    os.eventfd_write(self._handle, 1)

    def listen(self) -> bool:
        """To be called before waiting. False: it has been rung since the last time, so there is no need to."""
        self._listening = True
        return not self._rung

    def silence(self) -> bool:
        """To be called after waiting, or instead of it. Whether it was rung."""
        self._listening, rung, self._rung = False, self._rung, False
        if rung:
            with self._lock, contextlib.suppress(BlockingIOError):  # it was rung while nobody listened
                os.eventfd_read(self._handle)
        return rung

    def close(self) -> None:
        """Harmless twice."""
        with self._lock:
            handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)
