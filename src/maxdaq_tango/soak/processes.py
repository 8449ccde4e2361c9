"""What a process holds at a moment, read from /proc: memory of its own, open files, threads."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

PROC = Path("/proc")


class Holding(msgspec.Struct, frozen=True):
    """Of one process."""

    memory_bytes: int
    """Resident, without pages of files: what it has allocated, and shared memory."""
    peak_bytes: int
    """The most that was ever resident, all kinds together."""
    files: int
    """Open file descriptors."""
    threads: int


def holding(pid: int, proc: Path = PROC) -> Holding | None:
    """None when it is gone, or not ours to look at."""
    try:
        fields = dict(line.split(":", 1) for line in (proc / str(pid) / "status").read_text().splitlines())
        files = len(list((proc / str(pid) / "fd").iterdir()))
    except OSError:
        return None
    with contextlib.suppress(KeyError):  # of a zombie the kernel tells no memory
        return Holding(
            memory_bytes=_kib(fields["RssAnon"]) + _kib(fields["RssShmem"]),
            peak_bytes=_kib(fields["VmHWM"]),
            files=files,
            threads=int(fields["Threads"]),
        )
    return None


def _kib(text: str) -> int:
    return int(text.split()[0]) * 1024
