"""The last resort: a tiny process that outlives a killed launcher and stops what that had started.

Run as a script of its own (`python -I -S guard.py MARK`), without any import beyond the standard library. It reads
process ids from standard input, one a line in the order of starting; the end of input means that the launcher is gone,
however it died. Then it ends them in reverse order, and afterwards everything else that carries the mark in its
environment: engines and other grandchildren, and whatever was started in the instant before the kill.

A parent-watch process was taken instead of PR_SET_PDEATHSIG because that signal is tied to the *thread* that forked,
keeps no order, cannot insist, and does not reach grandchildren.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time

MARK = "MAXDAQ_LAUNCH"
"""Environment variable that every process of a launch inherits; its value is unique to the launch."""

PATIENCE_S = 5.0
"""How long a process may take to end in order before it is killed. A receiver closes its file in that time."""


def marked_processes(mark: str) -> list[int]:
    """Ids of living processes of this launch, oldest first; [] where there is no /proc. Never the caller itself."""
    wanted = f"{MARK}={mark}".encode()
    found: list[tuple[int, int]] = []
    try:
        entries = os.listdir("/proc")
    except FileNotFoundError:
        return []
    for entry in entries:
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        # A process may end between the listing and the reading, and other people's are not ours to read.
        with contextlib.suppress(OSError):
            with open(f"/proc/{entry}/environ", "rb") as file:
                if wanted not in file.read().split(b"\0"):
                    continue
            with open(f"/proc/{entry}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            if fields[0] not in (b"Z", b"X"):
                found.append((int(fields[19]), int(entry)))
    return [pid for _, pid in sorted(found)]


def end_process(pid: int, patience_s: float, mark: str) -> None:
    """SIGTERM, then SIGKILL after `patience_s`. A pid that has meanwhile gone to somebody else is left alone."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        # The handle is fixed to one process; only now is it safe to ask whose process that is.
        if pid not in marked_processes(mark):
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGTERM)
            if not select.select([handle], [], [], patience_s)[0]:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                select.select([handle], [], [], patience_s)
    finally:
        os.close(handle)


def sweep(mark: str, patience_s: float = PATIENCE_S) -> list[int]:
    """End everything that still carries the mark, newest first; returns the ids that were found."""
    found: list[int] = []
    end = time.monotonic() + 4 * patience_s
    looks_without_any = 0
    while looks_without_any < 2 and time.monotonic() < end:
        left = marked_processes(mark)
        if not left:
            # Once more: for an instant inside exec a process has no environment at all.
            looks_without_any += 1
            select.select([], [], [], 0.02)
            continue
        looks_without_any = 0
        found += [pid for pid in left if pid not in found]
        end_process(left[-1], patience_s, mark)
    return found


def main() -> None:
    """Wait for the end of input, then tidy up."""
    mark = sys.argv[1]
    # Ctrl-C reaches the whole terminal; the guard leaves when its launcher does, not before.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    started: list[int] = []
    for line in sys.stdin:
        if line.strip() == "done":
            return
        started.append(int(line))
    for pid in reversed(started):
        end_process(pid, PATIENCE_S, mark)
    sweep(mark)


if __name__ == "__main__":
    main()
