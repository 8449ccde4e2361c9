"""Where the bench writes: a folder of its own on a real disk, with enough room, that is gone afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from maxdaq_tango.bench.plan import size_text
from maxdaq_tango.errors import FileError

MARGIN_BYTES = 1_000_000_000
"""Left free for others, and for what a file has beside the frames."""
MEMORY_FILE_SYSTEMS = ("tmpfs", "ramfs")

FreeBytes = Callable[[Path], int]


def free_bytes(folder: Path) -> int:
    """What this user may still write there."""
    there = os.statvfs(folder)
    return there.f_bavail * there.f_frsize


def check_room(folder: Path, most_bytes: int, free: FreeBytes = free_bytes) -> None:
    """FileError unless one turn fits."""
    needed, there = most_bytes + MARGIN_BYTES, free(folder)
    if there < needed:
        raise FileError(
            f"write up to {size_text(most_bytes)} at a time",
            of=str(folder),
            answer=f"{size_text(there)} are free",
            accepted=f"{size_text(needed)} free, or --folder on another disk",
        )


def file_system(folder: Path, mounts: str = "/proc/self/mountinfo") -> str:
    """Type of the file system, for instance 'ext4'; 'unknown' where it cannot be told."""
    device = folder.stat().st_dev
    wanted, real = f"{os.major(device)}:{os.minor(device)}", os.path.realpath(folder)
    best, found = -1, "unknown"
    with contextlib.suppress(OSError):
        for line in Path(mounts).read_text().splitlines():
            words = line.split()
            if "-" not in words[6:]:
                continue
            place = words[4].encode().decode("unicode_escape")  # spaces are written \040
            below = real == place or real.startswith(place.rstrip("/") + "/")
            # Some file systems (btrfs, overlay) give files another device number than their mount has.
            rank = len(place) + (10_000 if words[2] == wanted else 0)
            if below and rank > best:
                best, found = rank, words[words.index("-", 6) + 1]
    return found


@contextlib.contextmanager
def own_folder(parent: Path) -> Iterator[Path]:
    """A new folder in `parent`, removed with all that is in it; FileError when it cannot be made."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="maxdaq-bench-", dir=parent))
    except OSError as error:
        raise FileError(
            "make a folder for the bench", of=str(parent), answer=error.strerror or str(error),
            accepted="--folder with a folder that may be written",
        ) from None  # fmt: skip
    try:
        yield folder.resolve()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
