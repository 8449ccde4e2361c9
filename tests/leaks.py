"""After each test: no thread and no child process may be left that was not there before.

Fixtures of a wider scope are set up before the first look, so what they own is not counted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SETTLE_S = 3.0
FOREIGN = ("Dummy-", "asyncio_", "ThreadPoolExecutor", "pytest_timeout")
"""Threads of libraries that live as long as the process (Dummy = made by omniORB)."""
FOREIGN_KINDS = ("GarbageCollectorThread",)
"""The same, by class: the one of pyzmq that frees messages which were not copied."""


def _threads() -> set[str]:
    return {
        f"thread {thread.name}"
        for thread in threading.enumerate()
        if thread.is_alive() and not thread.name.startswith(FOREIGN) and type(thread).__name__ not in FOREIGN_KINDS
    }


def _children() -> set[str]:
    found = set()
    for path in Path("/proc/self/task").glob("*/children"):
        try:
            pids = path.read_text().split()
        except OSError:
            continue  # the thread has just ended
        for pid in pids:
            try:
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
                name = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if state != "Z":
                found.add(f"process {pid} {name[:120]}")
    return found


@pytest.fixture(autouse=True)
def nothing_is_left_behind(request: pytest.FixtureRequest, fresh_tickit_after_a_failure: None) -> Iterator[None]:
    """Fails the test that leaves a thread or a process.

    Marker `processes_live_on`: what the test starts belongs to a fixture of its module, which ends it.
    """
    owned = request.node.get_closest_marker("processes_live_on") is not None

    def look() -> set[str]:
        return set() if owned else _threads() | _children()

    before = look()
    yield
    deadline, pause = time.monotonic() + SETTLE_S, threading.Event()
    while (left := look() - before) and time.monotonic() < deadline:
        pause.wait(0.02)
    if left:
        pytest.fail("left behind: " + "; ".join(sorted(left)))
