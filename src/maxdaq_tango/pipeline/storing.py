"""From the frame that has its row to the file: straight, or through the pool when something is to be done to it first.

Frames are written in the order in which they become ready: the dataset is indexed by row, so any order gives the same
file. Every frame that comes in here is settled in the series exactly once, whatever happens.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from maxdaq_tango.errors import FileError, MaxdaqError, PipelineError, WireError
from maxdaq_tango.model import Fate, Frame, Verdict
from maxdaq_tango.pipeline.file_sink import FileSink
from maxdaq_tango.pipeline.pool import Job, Pool
from maxdaq_tango.pipeline.series_run import SeriesRun
from maxdaq_tango.pipeline.transforms import Chain

_forget = deque[Frame](maxlen=0).append
WAIT_S = 0.02
"""Who makes a frame wait longer than this does not keep up; an ordinary block of 16 MiB takes the disk half of it."""


class Storing:
    """Owns the pool of a run, if one is needed. Belongs to the collector thread."""

    def __init__(
        self,
        sink: FileSink,
        run: SeriesRun,
        *,
        workers: int,
        limit_bytes: int,
        wake: Callable[[], None],
        on_wait: Callable[[float], bool],
        name: str = "packer",
        pool_grows: bool = False,
        show: Callable[[Frame], None] = _forget,
    ) -> None:
        """`limit_bytes` may be inside the pool; `wake` is called from its threads when `write_next` has work.

        `on_wait` is called again and again, with the seconds so far, while frames wait for the pool or the disk; False
        gives them up. `show` is called with every frame that belongs to the series; by itself it is shown to nobody.
        """
        self._sink = sink
        self._run = run
        self._workers = workers
        self._limit_bytes = limit_bytes
        self._wake = wake
        self._on_wait = on_wait
        self._name = name
        self._pool_grows = pool_grows
        self._show = show
        self.pool: Pool | None = None
        """None until the first frame that needs it."""
        self.waits = 0
        self.waited_s = 0.0
        """For the pool and for the disk."""
        self.pooled = (0, 0.0)
        """Frames that went through the pool, and the seconds that its threads spent on them."""

    @property
    def nbytes(self) -> int:
        """Bytes inside the pool, and on their way to the disk."""
        return (self.pool.nbytes if self.pool is not None else 0) + self._sink.bytes_waiting

    @property
    def limit_bytes(self) -> int:
        """Of `nbytes`, as far as the series needs either."""
        return (self.pool.limit_bytes if self.pool is not None else 0) + self._sink.waiting_limit_bytes

    def wait_room(self, nbytes: int) -> bool:
        """Wait until frames of so many bytes can be written without waiting for the disk. False: it was given up."""
        if self._sink.wait_room(nbytes):
            return True
        began = time.monotonic()
        self.waits += 1
        try:
            while not self._sink.wait_room(nbytes, WAIT_S):
                if not self._on_wait(time.monotonic() - began):
                    return False
            return True
        finally:
            self.waited_s += time.monotonic() - began

    def store(self, row: int, frame: Frame, received_at: float) -> None:
        """Take a frame. Waits while the pool is full, writing what comes out of it."""
        run = self._run
        try:
            ended = self._sink.admit(frame, run.ledger.modulus)
        except (FileError, PipelineError) as error:
            self._fail(row, frame, str(error), Fate.LOST_WRITER)
            return
        if ended is not None:
            run.settle(row, frame, *ended)
            if ended[0] is Fate.CORRUPT:
                return
        elif self._sink.chain is None:
            self._write(row, frame, received_at)
        else:
            self._hand_over(self._sink.chain, Job(row, frame, received_at))
        self._show(frame)

    def make_way(self, number: int) -> None:
        """To be called before a frame of that number is entered in the ledger, once there is a pool.

        A second copy of a frame is welcome if the first one turns out to be damaged, so that is found out first.
        """
        if self._run.ledger.is_on_its_way(number):
            self.write_all()
        self.write_next()

    def write_next(self) -> bool:
        """Write one frame that the pool has ready; False when there is none (yet). Hears of those that others write."""
        self._hear()
        pool = self.pool
        job = pool.next_done(wait=False) if pool is not None else None
        if pool is None or job is None:
            return False
        self._write_done(pool, job)
        return True

    def write_all(self) -> None:
        """Write everything that is in the pool, waiting for it."""
        pool = self.pool
        while pool is not None and (job := pool.next_done(wait=True)) is not None:
            self._write_done(pool, job)

    def close(self) -> None:
        """Write what is in the pool and end it; of a run that was aborted or has failed only what is begun already.

        What was handed on is waited for.
        """
        pool, self.pool = self.pool, None
        try:
            if pool is not None:
                self._empty(pool)
        finally:
            self._hear(wait=True)

    def _empty(self, pool: Pool) -> None:
        try:
            if self._run.verdict is not None:
                for job in pool.drop():
                    self._run.settle(job.row, job.frame, Fate.LOST_POOL)
            while (job_done := pool.next_done(wait=True)) is not None:
                self._write_done(pool, job_done)
        finally:
            pool.close()

    def _hand_over(self, chain: Chain, job: Job) -> None:
        pool = self.pool
        if pool is None:
            pool = self.pool = Pool(
                chain.apply,
                room=chain.room,
                limit_bytes=self._limit_bytes,
                workers=self._workers,
                wake=self._wake,
                name=self._name,
                grows=self._pool_grows,
            )
        began = time.monotonic()
        while not pool.put(job):
            before = time.monotonic()
            done = pool.next_done(wait=True, timeout_s=WAIT_S)
            self.waits += 1
            self.waited_s += time.monotonic() - before
            if done is not None:
                self._write_done(pool, done)
            elif not self._on_wait(time.monotonic() - began):
                self._run.settle(job.row, job.frame, Fate.LOST_POOL)
                return

    def _write_done(self, pool: Pool, job: Job) -> None:
        run, frame = self._run, job.frame
        try:
            if isinstance(job.error, WireError):
                run.settle(job.row, frame, Fate.CORRUPT, f"frame {frame.frame_number}: {job.error}")
            elif job.error is not None:
                self._fail(job.row, frame, told(job.error), Fate.LOST_POOL)
            elif self.wait_room(sum(map(len, frame.blobs))):
                self._write(job.row, frame, job.received_at)
            else:
                run.settle(job.row, frame, Fate.LOST_WRITER)
        finally:
            pool.give_back(job)
            self.pooled = (self.pooled[0] + 1, self.pooled[1] + job.work_s)

    def _write(self, row: int, frame: Frame, received_at: float) -> None:
        run, sink = self._run, self._sink
        if run.verdict is Verdict.FAILED:  # whatever failed, the file must not be asked again
            run.settle(row, frame, Fate.LOST_WRITER)
            return
        try:
            while (fate := sink.write(row, frame, received_at)) is None:  # whoever is to write it has no room
                if not self.wait_room(0):
                    run.settle(row, frame, Fate.LOST_WRITER)
                    return
            run.settle(row, frame, fate)
        except (FileError, PipelineError) as error:
            self._fail(row, frame, str(error), Fate.LOST_WRITER)

    def _hear(self, *, wait: bool = False) -> None:
        """Frames that other processes write end here."""
        if not self._sink.is_dealt:
            return
        for settled in self._sink.hear(wait=wait):
            self._run.settle_number(*settled)
        failure = self._sink.failure
        if failure and failure not in self._run.reasons:
            self._run.fail(failure)

    def _fail(self, row: int, frame: Frame, reason: str, fate: Fate) -> None:
        self._run.settle(row, frame, fate)
        if reason not in self._run.reasons or self._run.verdict is not Verdict.FAILED:
            self._run.fail(reason)


def told(error: Exception) -> str:
    """For the receipt: what went wrong, or that it is our own fault."""
    if isinstance(error, MaxdaqError):
        return str(error)
    return f"internal error, please report it: {type(error).__name__}: {error}"
