"""One series while it is taken: messages in, frames to the file, and in the end a receipt.

Everything here belongs to the collector's thread, which owns the sockets and says when to stop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec

from maxdaq_tango.errors import WireError
from maxdaq_tango.model import (
    Counters,
    DamagedFrame,
    Fate,
    FileNaming,
    Frame,
    Receipt,
    RunRequest,
    SeriesEnd,
    SeriesNote,
    SeriesStart,
    Verdict,
    WireEvent,
)
from maxdaq_tango.pipeline.blackbox import BlackBox
from maxdaq_tango.pipeline.budget import Shares, head_cost
from maxdaq_tango.pipeline.file_sink import FileSink
from maxdaq_tango.pipeline.ingest import MESSAGE_COST, Message
from maxdaq_tango.pipeline.ledger import Account
from maxdaq_tango.pipeline.newest import NewestFrame
from maxdaq_tango.pipeline.phase import Phase
from maxdaq_tango.pipeline.pool import worker_count
from maxdaq_tango.pipeline.series_run import SeriesRun
from maxdaq_tango.pipeline.stages import Stages
from maxdaq_tango.pipeline.storing import Storing, told
from maxdaq_tango.pipeline.writers import Writer
from maxdaq_tango.wire import decoder_for


class Taking:
    """Owns decoder, ledger, pool and file of one series."""

    def __init__(
        self,
        request: RunRequest,
        number: int,
        *,
        shares: Shares,
        sockets: int,
        writers: Sequence[Writer],
        software: str,
        wake: Callable[[], None],
        on_wait: Callable[[float], bool],
        blackbox: BlackBox,
        newest: NewestFrame,
    ) -> None:
        """`number` counts the series of a receiver; `sockets` bring this one. `wake` and `on_wait`: see `Storing`."""
        self.number = number
        self._blackbox = blackbox
        self._newest = newest
        self.run = SeriesRun(request, time.monotonic(), sockets)
        self.stages = Stages()
        self.sink = FileSink(request, software, shares.slabs, writers, shares.arenas)
        self.storing = Storing(
            self.sink,
            self.run,
            workers=worker_count(request.pool_workers),
            limit_bytes=shares.pool,
            wake=wake,
            on_wait=on_wait,
            name=f"packer {number}",
            pool_grows=not request.pool_workers,
            show=newest.put,
        )
        self._request = request
        self._software = software
        self.ahead: list[Message] = []
        """Taken too early: they belong to the series that follows."""
        self.leaders: frozenset[int] = frozenset()
        """Connections that are not to be read for now: they are too far ahead of the others."""
        if not request.stream_format.has_modules:
            self._decode = decoder_for(request.stream_format).decode
        self._held: list[Frame | SeriesEnd] = []
        self._held_bytes = 0
        self._held_limit_bytes = shares.held
        self._copies_seen = 0
        self._account: Account | None = None
        self._decided: dict[str, str] = {}  # kept, as the pool is gone before the receipt is written
        self._began_at = datetime.now(UTC)

    def reserve(self) -> None:
        """The file, where the request names it. FileError."""
        request = self._request
        if request.naming is FileNaming.PREPARE and request.destination and request.save_raw:
            self.sink.reserve(request.destination)

    @property
    def name(self) -> str:
        """For people."""
        start = self.run.start
        return (start.series or f"at message {start.msg_number}") if start else "not begun"

    @property
    def is_untouched(self) -> bool:
        """Nothing came that an account would have to be given of."""
        run = self.run
        if self.ahead or any(isinstance(event, Frame) for event in self._held):  # an end may have been said twice
            return False
        return run.start is None and not run.corrupt and not run.out_of_series and run.verdict is not Verdict.FAILED

    def follow(self, earlier: Taking) -> None:
        """The series before this one on the same sockets; formats with fences of their own need not know of it."""

    def take(self, message: Message, now: float, received_at: float) -> None:
        """One message: `now` monotonic, `received_at` UNIX time."""
        run = self.run
        try:
            event = self._decode(message)
        except WireError as error:
            self._blackbox.note_corrupt(message, str(error))
            if isinstance(error, DamagedFrame) and run.phase is not Phase.WAITING:
                self._take_damaged(error, now)
            else:
                run.on_corrupt(str(error), now)
            return
        if isinstance(event, Frame):
            if run.phase is not Phase.WAITING or not self._hold(event, message):
                self._take_frame(event, now, received_at)
        elif isinstance(event, SeriesStart):
            self._blackbox.note_message("header", message, series=event.series, frames=event.frame_count)
            if run.on_start(event, now):
                self.sink.on_start(event)
                self._newest.begin(self.number, self.sink.orientation)
                self._release(now, received_at)
        elif isinstance(event, SeriesNote):
            self._blackbox.note(event.kind, series=event.series)
        else:
            self._blackbox.note("end", series=event.series)
            if not (run.phase is Phase.WAITING and self._hold(event, message)):
                run.on_end(event, now)

    def look_again(self, now: float, *, drained: bool) -> None:
        """At what was doubtful when it came. Between two batches of messages.

        `drained`: all that had arrived at `now` has been taken.
        """
        if not self.run.is_over and (frame := self.run.take_doubtful()) is not None:
            self._take_frame(frame, now, time.time())

    def leave(self, message: Message) -> None:
        """One message that arrived, and that is only told of: the series is over."""
        try:
            event = self._decode(message)
        except DamagedFrame as error:
            self.run.on_left_over(error.frame)
        except WireError:
            self.run.out_of_series += 1
        else:
            if not isinstance(event, SeriesNote):
                self._leave(event)

    def decisions(self) -> dict[str, str]:
        """What was decided by itself so far, and why."""
        pool = self.storing.pool
        workers = {"pool": f"{pool.worker_count} workers of {pool.most_workers}"} if pool is not None else {}
        self._decided |= {**self.sink.decisions, **workers, **self.run.decisions}
        return dict(self._decided)

    def counters(self) -> Counters:
        """The live account, without what the sockets know."""
        run, ledger, sink = self.run, self.run.ledger, self.sink
        missing, gap = ledger.gaps, ledger.first_gap()
        if self._account is not None:  # over: the tail is missing too
            missing, gaps = self._account.missing_count, self._account.missing_ranges
            gap = gaps[0] if gaps else None
        settled = sink.frames_written + sink.frames_discarded + len(run.corrupt_numbers) + run.lost
        return Counters(
            run_number=self.number,
            frames_expected=-1 if ledger.expected is None else ledger.expected,
            frames_received=ledger.seen - len(run.corrupt_numbers),
            frames_written=sink.frames_written,
            frames_safe=sink.frames_safe,
            frames_discarded=sink.frames_discarded,
            frames_queued=max(0, ledger.seen - settled) if self._account is None else 0,
            frames_missing=missing,
            gap_first=gap[0] if gap else -1,
            gap_last=gap[1] if gap else -1,
            frames_duplicate=ledger.duplicates.count,
            frames_corrupt=run.corrupt,
            frames_out_of_series=run.out_of_series,
            frames_lost=run.lost,
            frames_late=run.late,
            frames_unexpected=ledger.unexpected.count,
            bytes_written=sink.bytes_written,
            queue_bytes=self.storing.nbytes,
            queue_limit_bytes=self.storing.limit_bytes,
            newest_frame_number=ledger.newest,
            write_latency_us=sink.write_latency_us(),
            updated_ns=time.monotonic_ns(),
            **self._stage_times(),
        )

    def drain(self) -> None:
        """What is on its way to the file is written."""
        if (frame := self.run.take_doubtful()) is not None:
            self._leave(frame)
        try:
            self.storing.close()
        except Exception as error:  # what was in the pool is counted as lost when the ledger is closed
            self.run.fail(told(error))

    def close(self, bytes_received: int, decisions: dict[str, str]) -> Receipt:
        """After `drain`: ledger and file are closed; the receipt of both. Raises nothing."""
        run = self.run
        self._newest.end()
        run.out_of_series += sum(isinstance(event, Frame) for event in self._held)
        account, receipt = run.close()
        self._account = account
        receipt = self._completed(account, receipt)
        receipt = msgspec.structs.replace(
            receipt,
            bytes_received=bytes_received,
            started_at=self._began_at.isoformat(),
            finished_at=datetime.now(UTC).isoformat(),
            software=self._software,
            settings=msgspec.to_builtins(self._request),
            decisions=decisions,
        )
        try:
            return self.sink.finish(account, receipt)
        except Exception as error:  # nobody would hear of the end of the run if this thread died here
            reason = told(error)
            receipt = msgspec.structs.replace(receipt, verdict=Verdict.FAILED)
            if reason not in receipt.reasons:
                receipt = receipt.with_reason(reason)
        try:
            receipt = self.sink.leave(account, receipt)
            run.lost = receipt.frames_lost_count
            return receipt
        except Exception:  # the first error tells more
            return self.sink.with_places(receipt)

    def look(self, messages: int, idle_s: float, busy_s: float) -> None:
        """One batch was taken: for the times of the stages."""
        self.stages.add(messages, idle_s, busy_s, self.sink.write_s + self.storing.waited_s)

    # ---- inside ----

    def _stage_times(self) -> dict[str, int]:
        stages, storing, sink = self.stages, self.storing, self.sink
        (pooled, pool_s), (checkpoints, checkpoint_s) = storing.pooled, sink.checkpointed
        return {
            "looks": stages.looks,
            "idle_us": int(stages.idle_s * 1e6),
            "messages_taken": stages.messages,
            "queue_us": int(stages.queue_s * 1e6),
            "take_us": int(stages.take_s * 1e6),
            "waits": storing.waits,
            "room_us": int(storing.waited_s * 1e6),
            "frames_pooled": pooled,
            "pool_us": int(pool_s * 1e6),
            "write_us": int(sink.write_s * 1e6),
            "checkpoints": checkpoints,
            "checkpoint_us": int(checkpoint_s * 1e6),
        }

    def _completed(self, account: Account, receipt: Receipt) -> Receipt:
        """With what only this kind of series can tell."""
        return receipt

    def _take_frame(self, frame: Frame, now: float, received_at: float) -> None:
        storing = self.storing
        if storing.pool is not None:
            storing.make_way(frame.frame_number)
        row = self.run.on_frame(frame, now)
        if row is not None:
            storing.store(row, frame, received_at)
        else:
            self._look_at_copy(frame)

    def _leave(self, event: WireEvent) -> None:
        self.run.on_left_over(event)
        if isinstance(event, Frame):
            self._look_at_copy(event)

    def _look_at_copy(self, frame: Frame) -> None:
        """Of a frame that was not to be stored: it may be one that is here already."""
        count = self.run.ledger.duplicates.count
        if count > self._copies_seen:
            self._copies_seen = count
            self.sink.note_copy(frame)

    def _take_damaged(self, error: DamagedFrame, now: float) -> None:
        """Entered like any other, so that it is told from one that never came, and an intact copy can follow."""
        frame = error.frame
        if self.storing.pool is not None:
            self.storing.make_way(frame.frame_number)
        run = self.run
        row = run.on_frame(frame, now)
        if row is not None:
            run.settle(row, frame, Fate.CORRUPT, f"frame {frame.frame_number}: {error}")
        elif run.doubtful is frame:  # it has no pixels that could be taken once its number is believed
            run.doubtful = None
            run.on_corrupt(str(error), now)

    def _hold(self, event: Frame | SeriesEnd, message: Message) -> bool:
        """With several sockets frames overtake their header: keep a few until it comes."""
        nbytes, pixel_nbytes = sum(map(len, message)), sum(map(len, event.blobs)) if isinstance(event, Frame) else 0
        nbytes += MESSAGE_COST + head_cost(nbytes - pixel_nbytes)
        if self._held_bytes + nbytes > self._held_limit_bytes or not self._held_limit_bytes:
            return False
        self._held.append(event)
        self._held_bytes += nbytes
        return True

    def _release(self, now: float, received_at: float) -> None:
        held, self._held = self._held, []
        self._held_bytes = 0
        for event in held:
            if isinstance(event, SeriesEnd):
                self.run.on_end(event, now)
            else:
                self._take_frame(event, now, received_at)
