"""Threads that turn and pack frames while the collector does something else.

One thread (the collector) hands frames over and takes them back in the order in which they became ready. Inside, a
frame costs what came in and the memory for what goes out; the sum stays within the pool's share of the budget, and when
the share is used up `put` says so. The memory for what goes out is used again and again, the last used first: as many
pieces are ever touched as are in work or wait to be written, not as many as the share would allow.

The work releases the GIL; nothing else here takes long.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue

import numpy as np

from maxdaq_tango.model import Frame
from maxdaq_tango.pipeline.budget import AHEAD_BYTES
from maxdaq_tango.pipeline.ingest import MESSAGE_COST

MOST_WORKERS = 8
"""More than that the one thread that decodes and writes cannot keep busy."""

JOBS_A_WORKER = 4
"""So many keep all workers busy; more only hold memory."""

Work = Callable[[Frame, memoryview], Frame]
"""Makes the frame that is stored, in memory that is lent for it."""


class Job:
    """A frame inside the pool: what is to be stored where, and after the work what came out."""

    __slots__ = ("error", "frame", "memory", "nbytes", "received_at", "row", "work_s")

    def __init__(self, row: int, frame: Frame, received_at: float) -> None:
        self.row = row
        self.frame = frame
        """Before the work what came, after it what is to be stored. Blobs are good until the job is given back."""
        self.received_at = received_at
        self.error: Exception | None = None
        """Why there is nothing to store; WireError = the frame is damaged, any other = a fault of ours."""
        self.memory: memoryview | None = None
        self.work_s = 0.0
        """How long the work took."""
        # A compressed frame counts as if it were none: all jobs of a series then cost the same, and memory that was
        # made for many small ones cannot come on top of a few large ones.
        self.nbytes = max(sum(map(len, frame.blobs)), frame.format.nbytes) + MESSAGE_COST


class Pool:
    """See the module. Methods belong to one thread; `wake` is called from the workers whenever a job is done."""

    def __init__(
        self,
        work: Work,
        *,
        room: int,
        limit_bytes: int,
        workers: int,
        wake: Callable[[], None],
        name: str = "packer",
        grows: bool = False,
    ) -> None:
        """`room` bytes are lent to each call of `work`. The threads start at once, or, if it grows, one by one when
        there is more to do than those that run have begun.
        """
        self.limit_bytes = limit_bytes
        self.nbytes = 0
        """What is inside, with the memory that is kept for what comes out."""
        self.inside = 0
        """Jobs that were put and not yet given back."""
        self._work = work
        self._room = room
        self._wake = wake
        self._waiting: SimpleQueue[Job | None] = SimpleQueue()
        self._done: SimpleQueue[Job] = SimpleQueue()
        self._memory: list[memoryview] = []  # append and pop are atomic: workers take, the owner gives back
        self.most_workers = workers
        self._enough = JOBS_A_WORKER * workers
        self._name = name
        self._threads: list[threading.Thread] = []
        while len(self._threads) < (1 if grows else workers):
            self._start_worker()

    @property
    def worker_count(self) -> int:
        """Threads that run."""
        return len(self._threads)

    def put(self, job: Job) -> bool:
        """Hand a frame over. False: there is no room, take out something that is done first."""
        cost = job.nbytes + self._room
        after = self.nbytes + cost
        if self.inside and (after > self.limit_bytes or (after > AHEAD_BYTES and self.inside >= self._enough)):
            return False
        self.nbytes += cost
        self.inside += 1
        self._waiting.put(job)
        if len(self._threads) < self.most_workers and self._waiting.qsize() > 1:
            self._start_worker()
        return True

    def next_done(self, *, wait: bool, timeout_s: float | None = None) -> Job | None:
        """A job that is done, to be given back when its blobs are no longer needed; None when there is none (yet).

        With `wait`, None only when nothing is inside, or after the time-out.
        """
        if not self.inside or (not wait and self._done.empty()):
            return None
        with contextlib.suppress(Empty):
            return self._done.get(wait, timeout_s)
        return None

    def give_back(self, job: Job) -> None:
        """What came out has been stored: its memory is free again."""
        self.inside -= 1
        self.nbytes -= job.nbytes + self._room
        if job.memory is not None:
            self._memory.append(job.memory)
            job.memory = None

    def drop(self) -> list[Job]:
        """Take back what no worker has begun; nothing of it will be done."""
        dropped: list[Job] = []
        with contextlib.suppress(Empty):
            while (job := self._waiting.get_nowait()) is not None:
                dropped.append(job)
                self.give_back(job)
        return dropped

    def close(self) -> None:
        """End the threads, after the work that was put. What is done can still be taken. May be called twice."""
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _start_worker(self) -> None:
        name = f"{self._name} {len(self._threads)}"
        self._threads.append(threading.Thread(target=self._run, name=name, daemon=True))
        self._threads[-1].start()

    def _run(self) -> None:
        while (job := self._waiting.get()) is not None:
            began = time.perf_counter()
            try:
                try:
                    memory = self._memory.pop()
                except IndexError:
                    memory = np.empty(self._room, np.uint8).data  # pages that are never used cost nothing
                job.memory = memory
                job.frame = self._work(job.frame, memory)
            except Exception as error:  # it belongs to whoever waits for the frame, not to this thread
                job.error = error
            job.work_s = time.perf_counter() - began
            self._done.put(job)
            self._wake()
            del job  # or the frame would live as long as this thread waits for the next one


def usable_cores() -> int:
    """Cores that this process may use: its affinity, and the quota of its container (cgroup v2) rounded up."""
    cores = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, -(-int(quota) // int(period)))  # "max" is no number
    return max(1, cores)


def worker_count(asked: int) -> int:
    """Threads of a pool; `asked` 0 = as many as cores, within reason."""
    return asked or min(MOST_WORKERS, usable_cores())
