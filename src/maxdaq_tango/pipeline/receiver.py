"""A receiver: one run at a time, from sockets to published files.

Threads: one `collector` thread a run, which owns sockets, ledger and file; and, where frames are to be turned or
packed, some `packer` threads. Requests (stop, abort, expect) are left for the collector; nobody else touches its state.
Progress is told by two callbacks: `tell` at every change of state, `publish` with the live counters. With several
engines there are writer processes, which live as long as the receiver.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from maxdaq_tango.errors import ConfigurationError, StateError
from maxdaq_tango.files import check_spill_directory
from maxdaq_tango.kernels import compression
from maxdaq_tango.model import (
    BUSY_STATES,
    DEEPEST,
    MOST_ENGINES,
    MOST_FRAMES_PER_FILE,
    AcquisitionState,
    Compression,
    Counters,
    RunRequest,
    is_deeper,
)
from maxdaq_tango.pipeline.blackbox import BlackBox
from maxdaq_tango.pipeline.collector import Collector, RunReport
from maxdaq_tango.pipeline.cores import IoThreads, on_cores
from maxdaq_tango.pipeline.newest import NewestFrame
from maxdaq_tango.pipeline.writer_crew import WriterCrew

MOST_FRAMES = 2**62
"""Above that nothing counts; see `wire.json_parts.Count`."""


class Receiver:
    """See the module. Methods may be called from one control thread; callbacks come from the collector."""

    def __init__(
        self,
        tell: Callable[[RunReport], None],
        publish: Callable[[Counters], None] | None = None,
        *,
        software: str = "maxdaq-tango",
        blackbox: BlackBox | None = None,
        newest: NewestFrame | None = None,
    ) -> None:
        """`blackbox`: the one of the process; None = one of its own. `newest` is told every frame, for a preview."""
        self._tell = tell
        self._publish = publish or (lambda counters: None)
        self._software = software
        self._blackbox = blackbox or BlackBox()
        self._newest = newest or NewestFrame()
        self._io_threads = IoThreads()
        self._cores: tuple[int, ...] = ()
        self._state = AcquisitionState.IDLE
        self._collector: Collector | None = None
        self._numbers = itertools.count(1)
        self._crew = WriterCrew()

    @property
    def state(self) -> AcquisitionState:
        """Where the present run stands."""
        return self._state

    def prepare(self, request: RunRequest) -> None:
        """Make the file and connect the sockets; returning means that a detector may be armed.

        Raises StateError while another run is on, FileError, ConfigurationError or PipelineError; then nothing is left.
        """
        _check_count(request.expected_frames)
        _check_packing(request)
        _check_blocks(request)
        _check_metadata(request)
        check_spill_directory(request.spill_directory)
        if self._state in BUSY_STATES:
            raise StateError(
                "prepare a run", answer=f"another one is {self._state.value}", accepted="Stop or Abort it first"
            )
        self._join()
        if not request.sources:
            raise StateError("prepare a run", answer="it names no source", accepted="at least one tcp://HOST:PORT")
        with on_cores(request.pinned.cores):
            self._begin(request)

    def expect(self, series: str | None, frames: int | None) -> None:
        """What the armed detector said it will send; harmless when no run is on."""
        _check_count(frames)
        if self._collector is not None:
            self._collector.expect(series, frames)

    def stop(self, finished: str = "") -> None:
        """Take what is still coming, then close; no other series follows. See `SeriesRun.stop`."""
        if self._collector is not None:
            self._collector.stop(finished)

    def abort(self, reason: str) -> None:
        """Close at once with what is there."""
        if self._collector is not None:
            self._collector.abort(reason)

    def reset(self) -> None:
        """Leave FAULT."""
        if self._state is AcquisitionState.FAULT:
            self._hear(RunReport(state=AcquisitionState.IDLE))

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the present run is over; False when it is not after `timeout` seconds."""
        collector = self._collector
        return collector is None or collector.join(timeout)

    def close(self) -> None:
        """End everything; a run that is on is aborted and its file closed."""
        self.abort("the receiver was shut down")
        self._join()
        self._crew.close()
        self._io_threads.close()

    def _begin(self, request: RunRequest) -> None:
        if request.pinned.cores != self._cores:
            self._crew.close()  # they are elsewhere
            self._cores = request.pinned.cores
        writers = self._crew.ready(request.engines + bool(request.spill_directory))
        collector = Collector(
            request,
            self._numbers,
            context=self._io_threads.context(request.pinned),
            software=self._software,
            tell=self._hear,
            publish=self._publish,
            writers=writers,
            blackbox=self._blackbox,
            newest=self._newest,
            io_threads=self._io_threads.decision,
        )
        try:
            collector.open()
        except Exception:
            collector.undo()
            raise
        self._collector = collector
        message = f"waiting for {', '.join(request.sources)}"
        armed = AcquisitionState.ARMED
        self._hear(RunReport(state=armed, run_id=request.run_id, message=message, decisions=collector.decisions))
        collector.start()

    def _hear(self, report: RunReport) -> None:
        self._state = report.state
        self._tell(report)

    def _join(self) -> None:
        collector, self._collector = self._collector, None
        if collector is not None:
            collector.join(None)


def _check_count(frames: int | None) -> None:
    if frames is not None and not 0 <= frames <= MOST_FRAMES:
        raise ConfigurationError(f"expect {frames} frames", answer="not a count", accepted="0 to 2**62, or no count")


def _check_metadata(request: RunRequest) -> None:
    if is_deeper(request.metadata):
        raise ConfigurationError(
            "store the metadata of the request", answer=f"nested deeper than {DEEPEST}", accepted=f"{DEEPEST} levels"
        )


def _check_packing(request: RunRequest) -> None:
    if request.pool_workers < 0:
        raise ConfigurationError(
            f"pack frames with {request.pool_workers} workers", answer="not a count", accepted="0 (automatic) or more"
        )
    if request.compression is Compression.BSZSTD and not compression.HAS_BSZSTD:
        raise ConfigurationError(
            "pack frames as bszstd",
            answer="this build of the bitshuffle package has no Zstandard",
            accepted="bslz4 or none; or a bitshuffle built with Zstandard",
        )


def _check_blocks(request: RunRequest) -> None:
    if not 0 <= request.frames_per_file <= MOST_FRAMES_PER_FILE:
        raise ConfigurationError(
            f"store {request.frames_per_file} frames a file",
            accepted=f"0 (all in one file, or with several engines a good number) to {MOST_FRAMES_PER_FILE}",
        )
    if not 1 <= request.engines <= MOST_ENGINES:
        raise ConfigurationError(f"write with {request.engines} engines", accepted=f"1 to {MOST_ENGINES}")
