"""How much room there is under each folder of Roots, looked at by threads that nobody waits for.

A file system may not answer: an attribute that asked it would hang the device. So each folder has a thread of its own,
which looks every few seconds; what it saw last can be read at any time, and that it has not come back can be told.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence

import msgspec

LOOK_S = 5.0
SILENT_S = 5.0
"""A look that takes longer is told: an ordinary one takes microseconds."""
LEAST_BYTES = 256 << 20
"""With less, a run may well not fit: the reserve for the end of its files alone is some of it."""
END_S = 0.5


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """One folder."""

    path: str
    free_bytes: int | None = None
    """For this user; null before the first look, and where it failed."""
    problem: str = ""
    """Why no file can be made there, as far as can be seen without making one; "" when all is well."""


def look_at(path: str) -> Room:
    """Ask the file system; it may not answer."""
    try:
        found = os.statvfs(path)
        writable = os.access(path, os.W_OK | os.X_OK)
    except OSError as error:
        return Room(path=path, problem=f"it cannot be looked at: {error.strerror}")
    free = found.f_bavail * found.f_frsize
    if found.f_flag & os.ST_RDONLY:
        problem = "the file system is read-only"
    elif not writable:
        problem = "this server may not write there"
    elif free < LEAST_BYTES:
        problem = f"only {free >> 20} MiB are free"
    else:
        problem = ""
    return Room(path=path, free_bytes=free, problem=problem)


class DiskRoom:
    """The folders of one receiver. Thread-safe."""

    def __init__(self, look: Callable[[str], Room] = look_at) -> None:
        self._look = look
        self._closing = threading.Event()
        self._rooms: dict[str, Room] = {}
        self._since: dict[str, float] = {}
        self._threads: list[threading.Thread] = []

    def start(self, roots: Sequence[str]) -> None:
        """Begin to look, once."""
        for path in dict.fromkeys(roots):
            self._rooms[path] = Room(path=path)
            thread = threading.Thread(target=self._watch, args=(path,), name=f"disk room {path}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def rooms(self) -> tuple[Room, ...]:
        """As seen last. A folder whose file system does not answer says so, whatever it was before."""
        now = time.monotonic()
        return tuple(self._told(path, now) for path in list(self._rooms))

    def close(self) -> None:
        """End the threads; one that waits for its file system is left to it."""
        self._closing.set()
        for thread in self._threads:
            thread.join(END_S)

    def _told(self, path: str, now: float) -> Room:
        since = self._since.get(path)
        if since is not None and now - since >= SILENT_S:
            return Room(path=path, problem=f"its file system has not answered for over {SILENT_S:g} s")
        return self._rooms[path]

    def _watch(self, path: str) -> None:
        while True:
            self._since[path] = time.monotonic()
            self._rooms[path] = self._look(path)
            del self._since[path]
            if self._closing.wait(LOOK_S):
                return
