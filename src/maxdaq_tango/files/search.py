"""A bounded search for unfinished files: an allowed root may be the storage of a whole beamline.

Folders that were changed last are looked at first, because whoever leaves an unfinished file changes its folder; so it
is the oldest part of a tree that a search which runs out of time leaves out, and it says how much that is.
"""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from maxdaq_tango.files.paths import SUFFIXES

SEARCH_S = 120.0
MOST_DEPTH = 16
"""Folders below a root."""
MOST_WAITING = 100_000
"""Folders that are known and not looked at yet: some 20 MB."""
LOOK_ENTRIES = 1000
"""Between two looks at the clock."""


def is_part(name: str) -> bool:
    """Of an unfinished file of ours."""
    return name.startswith(".") and name.endswith(".part") and Path(name[1:-5]).suffix in SUFFIXES


class Search:
    """Iterate once: the unfinished files under `roots`. What could not be looked at is told afterwards.

    Links are not followed. Folders whose name begins with a dot are left out: snapshots of a file system show an
    unfinished file of some moment for ever. The time counts in here alone, not what is done with the files.
    """

    def __init__(
        self,
        roots: Sequence[str],
        *,
        search_s: float = SEARCH_S,
        depth: int = MOST_DEPTH,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folders = 0
        """That were looked at."""
        self.unreadable: list[tuple[str, str]] = []
        """(folder, why) of those that could not."""
        self.left_out = 0
        """Folders that are known and were not looked at: too deep, too many or too late."""
        self._search_s, self._depth, self._clock = search_s, depth, clock
        self._waiting: list[tuple[float, str, int]] = [(0.0, root, 0) for root in _apart(roots)]
        self._spent_s = 0.0

    def __iter__(self) -> Iterator[Path]:
        """The newest folders first, and what they hold in the order of names."""
        while self._waiting:
            _, folder, depth = heapq.heappop(self._waiting)
            began = self._clock()
            parts, whole = self._look(folder, depth, began)
            self._spent_s += self._clock() - began
            yield from sorted(parts)
            if not whole or self._spent_s > self._search_s:
                self.left_out += len(self._waiting) + (not whole)
                self._waiting = []

    def _look(self, folder: str, depth: int, began: float) -> tuple[list[Path], bool]:
        """The unfinished files; whether the whole folder was looked at."""
        parts: list[Path] = []
        try:
            with os.scandir(folder) as entries:
                self.folders += 1
                for number, entry in enumerate(entries, 1):
                    if entry.name.startswith("."):
                        if is_part(entry.name) and entry.is_file(follow_symlinks=False):
                            parts.append(Path(entry.path))
                    elif entry.is_dir(follow_symlinks=False):
                        self._note(entry, depth + 1)
                    if number % LOOK_ENTRIES == 0 and self._spent_s + self._clock() - began > self._search_s:
                        return parts, False
        except OSError as error:
            self.unreadable.append((folder, error.strerror or str(error)))
        return parts, True

    def _note(self, entry: os.DirEntry[str], depth: int) -> None:
        if depth > self._depth or len(self._waiting) >= MOST_WAITING:
            self.left_out += 1
            return
        try:
            changed = entry.stat(follow_symlinks=False).st_mtime
        except FileNotFoundError:
            return  # it has gone meanwhile
        heapq.heappush(self._waiting, (-changed, entry.path, depth))


def _apart(roots: Sequence[str]) -> list[str]:
    """None of them within another: nothing is looked at twice."""
    real = sorted({os.path.realpath(root) for root in roots})
    return [root for root in real if not any(Path(root).is_relative_to(other) for other in real if other != root)]
