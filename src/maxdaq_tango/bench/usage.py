"""What processes have used, read from /proc: the same way for every contestant."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

PROC = Path("/proc")
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Usage(msgspec.Struct, frozen=True):
    """Of a process and everything below it, since they began (children that ended included)."""

    cpu_s: float = 0.0
    minor_faults: int = 0

    def since(self, before: Usage) -> Usage:
        """The difference."""
        return Usage(self.cpu_s - before.cpu_s, self.minor_faults - before.minor_faults)


def family(pid: int, proc: Path = PROC) -> list[int]:
    """The process and all its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in proc.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name), proc)) is not None:
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for member in found:  # grows while it is walked
        found.extend(children.get(member, ()))
    return found


def usage_of(pids: list[int], proc: Path = PROC) -> Usage:
    """Processor time (of kernel and program) and minor page faults; a process that is gone counts nothing."""
    ticks = faults = 0
    for pid in pids:
        if (fields := _stat(pid, proc)) is not None:
            faults += int(fields[7]) + int(fields[8])
            ticks += sum(int(field) for field in fields[11:15])
    return Usage(ticks * TICK_S, faults)


def forget_peak(pids: list[int], proc: Path = PROC) -> None:
    """Let the peak of resident memory begin again at the present value, where the kernel allows it.

    Where it does not, the peak is that of the process' whole life, which is never too little.
    """
    for pid in pids:
        with contextlib.suppress(OSError):
            (proc / str(pid) / "clear_refs").write_text("5")


def peak_rss_bytes(pids: list[int], proc: Path = PROC) -> int:
    """Sum of every process' own peak, which may be more than the peak of the sum and is never less.

    Pages that several of them share are counted for each.
    """
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in (proc / str(pid) / "status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    total += int(line.split()[1]) * 1024
    return total


def _stat(pid: int, proc: Path) -> list[str] | None:
    """Fields of /proc/PID/stat behind the name (which may contain anything): state, parent ..."""
    try:
        return (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
