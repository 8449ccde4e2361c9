"""Room on the disk that a series holds back for its own end.

A disk that is full of pixels has no room for what says where they are. So a file `.<name>.part.reserve` holds room for
log, index, columns and account, from the layout on; it is given back when the end begins, in order or not.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

LEAST_BYTES, MOST_BYTES = 1 << 20, 16 << 20
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})
UNKNOWN_ROWS = 10_000
"""Of a series whose length nobody knows: what comes between two checkpoints of a fast one."""


def reserve_path(part: Path) -> Path:
    """Beside the unfinished file."""
    return part.with_name(part.name + ".reserve")


def room_for(rows: int | None, columns: int, chunks: int) -> int:
    """Bytes for the metadata of so many rows, of so many columns and chunks each; MOST_BYTES at most.

    A row is in the log, and again in index and columns: 8 bytes a column, about 60 and 12 a chunk.
    """
    return min(MOST_BYTES, LEAST_BYTES + (rows or UNKNOWN_ROWS) * (16 * columns + 72 * chunks))


class Reserve:
    """Of one file. One thread."""

    def __init__(self, part: Path) -> None:
        self._path = reserve_path(part)
        self._held = False

    def take(self, nbytes: int) -> None:
        """OSError when there is not even that much room; a file system that holds none back is none the worse."""
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self._held = True
        try:
            os.posix_fallocate(handle, 0, nbytes)
        except OSError as error:
            self.give_back()
            if error.errno in NO_ROOM:
                raise
        finally:
            os.close(handle)

    def give_back(self) -> None:
        """Harmless twice, and where none was taken. Raises nothing."""
        if self._held:
            self._held = False
            with contextlib.suppress(OSError):
                self._path.unlink()


def remove_reserve(part: Path) -> None:
    """What a killed writer has left of it. Harmless where there is none."""
    with contextlib.suppress(FileNotFoundError):
        reserve_path(part).unlink()
