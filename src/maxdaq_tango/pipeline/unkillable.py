"""Processes that were killed and have not died.

Whoever waits in a system call for a file system that does not answer (state D: a frozen disk, a server of GPFS or NFS
that is gone) dies when it answers again, and not before. Nobody may wait for that: such a process is set aside here,
and reaped when it has died. Thread-safe.
"""

from __future__ import annotations

import logging
import subprocess
import threading

log = logging.getLogger(__name__)

_lock = threading.Lock()
_set_aside: list[subprocess.Popen[bytes]] = []


def end_within(process: subprocess.Popen[bytes], patience_s: float, kill_s: float) -> int | None:
    """Its status, after it was killed where it did not end in `patience_s`; None: that did not help in `kill_s` either.

    It is set aside then. Negative = the signal that ended it.
    """
    try:
        return process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
    try:
        return process.wait(kill_s)
    except subprocess.TimeoutExpired:
        set_aside(process)
        return None


def set_aside(process: subprocess.Popen[bytes]) -> None:
    """It was killed; from now on nobody waits for it. Harmless twice."""
    with _lock:
        if process in _set_aside:
            return
        _set_aside.append(process)
    log.error("process %d was killed and does not die: a file system may not answer it", process.pid)


def is_set_aside(process: subprocess.Popen[bytes]) -> bool:
    """Nobody waits for it any more."""
    with _lock:
        return process in _set_aside


def reap() -> list[int]:
    """Bury those that have died since; process ids of the others."""
    with _lock:
        _set_aside[:] = [process for process in _set_aside if process.poll() is None]
        return [process.pid for process in _set_aside]
