"""Wakes a thread that waits in a poller for sockets."""

from __future__ import annotations

import os
import threading


class Bell:
    """`ring` from any thread; all else belongs to the thread that waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # a descriptor that was closed may be somebody else's already
        self._handle = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """Readable after a ring, until `silence`."""
        return self._handle

    def ring(self) -> None:
        """Harmless when nobody waits, and after `close`."""
        with self._lock:
            if self._handle >= 0:
                os.eventfd_write(self._handle, 1)

    def silence(self) -> None:
        """It was heard."""
        os.eventfd_read(self._handle)

    def close(self) -> None:
        """Harmless twice."""
        with self._lock:
            handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)
