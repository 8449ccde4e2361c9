"""From the frame that has its row to the file: straight, or through the pool when something is to be done to it first.

Frames are written in the order in which they become ready: the dataset is indexed by row, so any order gives the same
file. Every frame that comes in here is settled in the series exactly once, whatever happens.
"""

from __future__ import annotations

from collections.abc import Callable

from maxdaq_tango.errors import FileError, MaxdaqError, PipelineError, WireError
from maxdaq_tango.model import Frame, Verdict
from maxdaq_tango.pipeline.file_sink import FileSink
from maxdaq_tango.pipeline.ledger import Fate
from maxdaq_tango.pipeline.pool import Job, Pool
from maxdaq_tango.pipeline.series_run import SeriesRun


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
        name: str = "packer",
    ) -> None:
        """`limit_bytes` may be inside the pool; `wake` is called from its threads when `write_next` has work."""
        self._sink = sink
        self._run = run
        self._workers = workers
        self._limit_bytes = limit_bytes
        self._wake = wake
        self._name = name
        self.pool: Pool | None = None
        """None until the first frame that needs it."""

    def store(self, row: int, frame: Frame, received_at: float) -> None:
        """Take a frame. Waits while the pool is full, writing what comes out of it."""
        run = self._run
        try:
            ended = self._sink.store(row, frame, run.ledger.modulus, received_at)
            if ended is None:
                self._hand_over(Job(row, frame, received_at))
            else:
                run.settle(row, frame, *ended)
        except (FileError, PipelineError) as error:
            run.settle(row, frame, Fate.LOST)
            run.fail(str(error))

    def make_way(self, number: int) -> None:
        """To be called before a frame of that number is entered in the ledger, once there is a pool.

        A second copy of a frame is welcome if the first one turns out to be damaged, so that is found out first.
        """
        if self._run.ledger.is_on_its_way(number):
            self.write_all()
        self.write_next()

    def write_next(self) -> bool:
        """Write one frame that the pool has ready; False when there is none (yet)."""
        pool = self.pool
        job = pool.next_done(wait=False) if pool is not None else None
        if pool is None or job is None:
            return False
        self._write(pool, job)
        return True

    def write_all(self) -> None:
        """Write everything that is in the pool, waiting for it."""
        pool = self.pool
        while pool is not None and (job := pool.next_done(wait=True)) is not None:
            self._write(pool, job)

    def close(self) -> None:
        """Write what is in the pool and end it; of a run that was aborted or has failed only what is begun already."""
        pool, self.pool = self.pool, None
        if pool is None:
            return
        try:
            if self._run.verdict is not None and (dropped := pool.drop()):
                for job in dropped:
                    self._run.settle(job.row, job.frame, Fate.LOST)
                self._run.reasons.append(f"{len(dropped)} frames that waited to be packed or turned were thrown away")
            while (job_done := pool.next_done(wait=True)) is not None:
                self._write(pool, job_done)
        finally:
            pool.close()

    def _hand_over(self, job: Job) -> None:
        pool = self.pool
        if pool is None:
            chain = self._sink.chain
            assert chain is not None
            pool = self.pool = Pool(
                chain.apply,
                room=chain.room,
                limit_bytes=self._limit_bytes,
                workers=self._workers,
                wake=self._wake,
                name=self._name,
            )
        while not pool.put(job):
            done = pool.next_done(wait=True)
            if done is not None:
                self._write(pool, done)

    def _write(self, pool: Pool, job: Job) -> None:
        run, frame = self._run, job.frame
        try:
            if isinstance(job.error, WireError):
                run.settle(job.row, frame, Fate.CORRUPT, f"frame {frame.frame_number}: {job.error}")
            elif job.error is not None:
                run.settle(job.row, frame, Fate.LOST)
                run.fail(told(job.error))
            elif run.verdict is Verdict.FAILED:  # whatever failed, the file must not be asked again
                run.settle(job.row, frame, Fate.LOST)
            else:
                self._sink.write(job.row, frame, job.received_at)
                run.settle(job.row, frame, Fate.WRITTEN)
        except (FileError, PipelineError) as error:
            run.settle(job.row, frame, Fate.LOST)
            run.fail(str(error))
        finally:
            pool.give_back(job)


def told(error: Exception) -> str:
    """For the receipt: what went wrong, or that it is our own fault."""
    if isinstance(error, MaxdaqError):
        return str(error)
    return f"internal error, please report it: {type(error).__name__}: {error}"
