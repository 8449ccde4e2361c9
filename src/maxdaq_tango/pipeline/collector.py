"""One run: a thread that receives messages, asks the series what they are, and hands frames to the file.

Requests of the owner are left in a queue of their own and looked at between two messages, so that ledger, series and
file belong to this thread alone.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec
import zmq

from maxdaq_tango.errors import FileError, WireError
from maxdaq_tango.model import (
    AcquisitionState,
    Counters,
    FileNaming,
    Frame,
    Receipt,
    RunRequest,
    SeriesEnd,
    SeriesStart,
    Verdict,
)
from maxdaq_tango.pipeline.budget import deal_out
from maxdaq_tango.pipeline.file_sink import FileSink
from maxdaq_tango.pipeline.ingest import Message
from maxdaq_tango.pipeline.pool import worker_count
from maxdaq_tango.pipeline.series_run import Phase, SeriesRun
from maxdaq_tango.pipeline.sources import SourceSet
from maxdaq_tango.pipeline.storing import Storing, told
from maxdaq_tango.pipeline.writers import Writer
from maxdaq_tango.wire import decoder_for

TICK_S = 0.1
PUBLISH_S = 0.02
"""Requests and counters wait no longer than this for the frames in hand."""
SLOW_S = 0.01
"""A look at the messages in hand that took longer: the file does not keep up, so it is time to receive ahead."""

_STATE_OF = {
    Phase.WAITING: AcquisitionState.ARMED,
    Phase.TAKING: AcquisitionState.ACQUIRING,
    Phase.ENDING: AcquisitionState.DRAINING,
}


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """One change of state."""

    state: AcquisitionState
    run_id: str = ""
    message: str = ""
    receipt: Receipt | None = None
    """With the report that ends a run."""
    decisions: dict[str, str] = {}
    """What was decided by itself so far, and why."""


class Collector:
    """The collector thread of one run and all that it owns."""

    def __init__(
        self,
        request: RunRequest,
        run_number: int,
        *,
        context: zmq.Context[zmq.Socket[bytes]],
        software: str,
        tell: Callable[[RunReport], None],
        publish: Callable[[Counters], None],
        writers: Sequence[Writer] = (),
    ) -> None:
        """`writers` are the processes that write the file; none = it is written here."""
        self._tell = tell
        self._publish = publish
        self._software = software
        self._request = request
        self._run = SeriesRun(request, time.monotonic())
        self._decoder = decoder_for(request.stream_format)
        self._shares = deal_out(request.memory_bytes, len(request.sources), max(1, len(writers)))
        self._sink = FileSink(request, software, self._shares.slabs, writers, self._shares.arenas)
        self._sources = SourceSet(context, request, self._shares)
        self._storing = Storing(
            self._sink,
            self._run,
            workers=worker_count(request.pool_workers),
            limit_bytes=self._shares.pool,
            wake=self._sources.nudge,
            on_wait=self._on_wait,
            name=f"packer {run_number}",
            pool_grows=not request.pool_workers,
        )
        self._requests: deque[Callable[[SeriesRun, float], None]] = deque()
        self._held: list[Frame | SeriesEnd] = []
        self._held_bytes = 0
        self._run_number = run_number
        self._published_at = 0.0
        self._phase = Phase.WAITING
        self._laid_out = False
        self._decided: dict[str, str] = {}  # kept, as the pool is gone before the receipt is written
        self._began_at = datetime.now(UTC)
        self._thread = threading.Thread(target=self._collect, name=f"collector {run_number}", daemon=True)

    def open(self) -> None:
        """File first, then sockets; `undo` takes back both."""
        request = self._request
        if request.naming is FileNaming.PREPARE and request.destination and request.save_raw:
            self._sink.reserve(request.destination)
        self._sources.open()
        if request.connect_timeout_s > 0:
            self._sources.wait_connected(request.connect_timeout_s)
            self._run.out_of_series += self._sources.drop_left_overs()
        # Before anybody hears that this run is prepared: the counts of the last one would pass for its own.
        self._publish(self._counters())

    def undo(self) -> None:
        """Nothing is left: sockets closed, an empty file of ours removed."""
        self._sources.close()
        self._sink.abandon()

    def start(self) -> None:
        """Begin to collect."""
        self._thread.start()

    def ask(self, request: Callable[[SeriesRun, float], None]) -> None:
        """Leave a request for the collector."""
        self._requests.append(request)
        self._sources.nudge()

    def join(self, timeout: float | None) -> bool:
        """Wait for the end of the collector."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # -- the collector thread ----------------------------------------------------------------------------------------

    def _collect(self) -> None:
        run = self._run
        try:
            while not run.is_over:
                more = self._write_ready()
                now = time.monotonic()
                self._answer_requests(now)
                deadline = run.deadline
                wait = TICK_S if deadline is None else min(TICK_S, max(0.0, deadline - now))
                if more:
                    wait = 0.0
                batch = self._sources.get(wait)
                began = time.monotonic()
                if self._storing.pool is None:  # frames that come out of the pool are waited for one by one
                    self._storing.wait_room(self._sources.taken_nbytes)
                self._take(batch)
                self._pass_time(now, idle=not batch)
                now = time.monotonic()
                if (more or now - began >= SLOW_S) and self._sources.reading:
                    self._sources.fill()
                self._sink.checkpoint_if_due(now)
                self._show(now)
        except Exception as error:  # the thread's root: a bug must end as a FAILED run, not as a silent hang
            run.fail(told(error))
        self._finish()

    def _write_ready(self) -> bool:
        """Write what has come out of the pool, for a moment: requests and messages wait. True: there may be more."""
        until = time.monotonic() + PUBLISH_S
        while self._storing.write_next():
            if self._requests or time.monotonic() >= until:
                return True
        return False

    def _pass_time(self, before: float, *, idle: bool) -> None:
        """Inside a series time passes only while no message waits: a slow disk is no silence of the sender.

        When the time for stragglers is over although messages keep coming, the sockets are closed; what has arrived by
        then is still taken. `before` = when the last look for messages began.
        """
        run = self._run
        if idle or run.phase is Phase.WAITING:
            run.on_tick(time.monotonic() if self._sources.reading else math.inf)
        elif run.phase is Phase.ENDING and run.deadline is not None and before >= run.deadline:
            self._sources.stop()

    def _answer_requests(self, now: float) -> None:
        while self._requests:
            self._requests.popleft()(self._run, now)

    def _take(self, batch: list[Message]) -> None:
        run, decode = self._run, self._decoder.decode
        until = time.monotonic() + PUBLISH_S
        for position, message in enumerate(batch):
            now, received_at = time.monotonic(), time.time()
            if run.is_over or now >= until:
                self._sources.put_back(batch[position:])
                return
            try:
                event = decode(message)
            except WireError as error:
                run.on_corrupt(str(error), now)
                continue
            if isinstance(event, Frame):
                if run.phase is not Phase.WAITING or not self._hold(event):
                    self._take_frame(event, now, received_at)
            elif isinstance(event, SeriesStart):
                if run.on_start(event, now):
                    self._sink.on_start(event)
                    self._release(now, received_at)
            elif not (run.phase is Phase.WAITING and self._hold(event)):
                run.on_end(event, now)
            if self._requests:
                self._answer_requests(now)

    def _take_frame(self, frame: Frame, now: float, received_at: float) -> None:
        storing = self._storing
        if storing.pool is not None:
            storing.make_way(frame.frame_number)
        row = self._run.on_frame(frame, now)
        if row is not None:
            storing.store(row, frame, received_at)

    def _on_wait(self) -> bool:
        """What is in hand waits for the pool or the disk. False: it need not any more."""
        self._sources.fill()
        now = time.monotonic()
        self._answer_requests(now)
        self._show(now)
        return self._run.verdict is None

    def _hold(self, event: Frame | SeriesEnd) -> bool:
        """With several sockets frames overtake their header: keep a few until it comes."""
        if len(self._request.sources) < 2:
            return False
        nbytes = sum(len(blob) for blob in event.blobs) if isinstance(event, Frame) else 0
        if self._held_bytes + nbytes > self._shares.held:
            return False
        self._held.append(event)
        self._held_bytes += nbytes
        return True

    def _release(self, now: float, received_at: float) -> None:
        held, self._held = self._held, []
        self._held_bytes = 0
        for event in held:
            if isinstance(event, SeriesEnd):
                self._run.on_end(event, now)
                continue
            self._take_frame(event, now, received_at)

    def _show(self, now: float) -> None:
        laid_out = bool(self._sink.decisions) and not self._laid_out
        if (self._run.phase is not self._phase or laid_out) and not self._run.is_over:
            self._phase, self._laid_out = self._run.phase, self._laid_out or laid_out
            self._say(_STATE_OF[self._phase], f"series {self._name()}: {self._phase.value}")
            self._published_at = 0.0
        if now - self._published_at >= PUBLISH_S:
            self._published_at = now
            self._publish(self._counters())

    def _counters(self) -> Counters:
        run, ledger, sink = self._run, self._run.ledger, self._sink
        return Counters(
            run_number=self._run_number,
            frames_expected=-1 if ledger.expected is None else ledger.expected,
            frames_received=ledger.seen - len(run.corrupt_numbers),
            frames_written=sink.frames_written,
            frames_discarded=sink.frames_discarded,
            frames_missing=ledger.gaps,
            frames_duplicate=ledger.duplicates,
            frames_corrupt=run.corrupt,
            frames_out_of_series=run.out_of_series,
            bytes_received=self._sources.bytes_received,
            bytes_written=sink.bytes_written,
            queue_bytes=self._sources.nbytes + self._storing.nbytes,
            queue_limit_bytes=self._sources.limit_bytes + self._storing.limit_bytes,
            queue_full_count=self._sources.full_count,
            newest_frame_number=ledger.newest,
            write_latency_us=sink.write_latency_us(),
            updated_ns=time.monotonic_ns(),
        )

    def _say(self, state: AcquisitionState, message: str, receipt: Receipt | None = None) -> None:
        run_id, decisions = self._request.run_id, self.decisions
        self._tell(RunReport(state=state, run_id=run_id, message=message, receipt=receipt, decisions=decisions))

    @property
    def decisions(self) -> dict[str, str]:
        """What was decided by itself so far, and why."""
        pool = self._storing.pool
        workers = {"pool": f"{pool.worker_count} workers of {pool.most_workers}"} if pool is not None else {}
        self._decided |= {**self._sources.decisions, **self._sink.decisions, **workers}
        return dict(self._decided)

    def _name(self) -> str:
        start = self._run.start
        return (start.series or f"at message {start.msg_number}") if start else "not begun"

    def _finish(self) -> None:
        """Close the road, then the file, then tell; whatever fails on the way becomes part of the account."""
        self._phase = Phase.OVER
        self._say(AcquisitionState.FINALISING, "closing the file")
        self._sources.stop()
        receipt = self._close_account()
        self._sources.close()
        self._publish(self._counters())
        failed = receipt.verdict is Verdict.FAILED
        reason = "; ".join(receipt.reasons)
        message = f"{receipt.verdict.value}: {reason}" if reason else receipt.verdict.value
        state = AcquisitionState.FAULT if failed else AcquisitionState.IDLE
        self._say(state, message, receipt)

    def _close_account(self) -> Receipt:
        """What is on its way is written, then ledger and file are closed; the receipt of both."""
        run = self._run
        try:
            self._storing.close()
        except Exception as error:  # what was in the pool is counted as lost when the ledger is closed
            run.fail(told(error))
        unread = self._sources.clear()
        if run.verdict is None:
            run.out_of_series += unread  # they came behind a series that had ended by itself
        elif unread:
            run.reasons.append(f"{unread} messages that had arrived by then were thrown away unread")
        run.out_of_series += sum(isinstance(event, Frame) for event in self._held)
        if run.start is None and (silent := self._sources.never_connected):
            run.reasons.append(f"nobody ever accepted a connection at {', '.join(silent)}")
        account, receipt = run.close()
        receipt = msgspec.structs.replace(
            receipt,
            bytes_received=self._sources.bytes_received,
            started_at=self._began_at.isoformat(),
            finished_at=datetime.now(UTC).isoformat(),
            software=self._software,
            settings=msgspec.to_builtins(self._request),
            decisions=self.decisions,
        )
        try:
            receipt = self._sink.finish(account, receipt)
        except Exception as error:  # nobody would hear of the end of the run if this thread died here
            with contextlib.suppress(FileError):  # the first error tells more
                self._sink.abandon()
            reason = told(error)
            receipt = msgspec.structs.replace(
                receipt,
                verdict=Verdict.FAILED,
                reasons=receipt.reasons if reason in receipt.reasons else (*receipt.reasons, reason),
                file=str(self._sink.part_path or ""),
            )
        return receipt
