"""One run: a thread that receives messages and has them taken, series after series, on the same sockets.

Requests of the owner are left in a queue of their own and looked at between two messages, so that ledger, series and
file belong to this thread alone.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import zmq

from maxdaq_tango.errors import FileError, MaxdaqError
from maxdaq_tango.files.block_names import BlockNames
from maxdaq_tango.model import AcquisitionState, Counters, Receipt, RunRequest, Verdict
from maxdaq_tango.pipeline.blackbox import BlackBox
from maxdaq_tango.pipeline.budget import deal_out
from maxdaq_tango.pipeline.ingest import Message
from maxdaq_tango.pipeline.listeners import unfailing, warn
from maxdaq_tango.pipeline.module_taking import ModuleTaking
from maxdaq_tango.pipeline.newest import NewestFrame
from maxdaq_tango.pipeline.noting import Notes
from maxdaq_tango.pipeline.phase import Phase
from maxdaq_tango.pipeline.series_run import SeriesRun
from maxdaq_tango.pipeline.sources import SourceSet, choose_sockets
from maxdaq_tango.pipeline.storing import told
from maxdaq_tango.pipeline.taking import Taking
from maxdaq_tango.pipeline.writers import Writer

TICK_S = 0.1
PUBLISH_S = 0.02
"""Requests and counters wait no longer than this for the frames in hand."""
LOOK_MESSAGES = 8
"""Between two looks at the clock: two of them for each message cost a hundredth of what a small frame costs."""
SLOW_S = 0.01
"""A look at the messages in hand that took longer: the file does not keep up, so it is time to receive ahead."""

STOPPED_S = 0.25
"""A disk that takes nothing for so long has stopped: all memory there is goes to what the sender cannot keep."""
OVER = Phase.OVER

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
    """With the report that ends a series."""
    decisions: dict[str, str] = {}
    """What was decided by itself so far, and why."""


class Collector:
    """The collector thread of one run and all that it owns."""

    def __init__(
        self,
        request: RunRequest,
        numbers: Iterator[int],
        *,
        context: zmq.Context[zmq.Socket[bytes]],
        software: str,
        tell: Callable[[RunReport], None],
        publish: Callable[[Counters], None],
        writers: Sequence[Writer] = (),
        blackbox: BlackBox,
        newest: NewestFrame,
        io_threads: str = "",
    ) -> None:
        """Each series takes one of the `numbers`. `writers` are the processes that write files; none = this thread.

        `io_threads` says how many ZeroMQ has, for people.
        """
        self._tell = unfailing(tell)
        self._publish = unfailing(publish)
        self._software = software
        self._request = request
        self._numbers = numbers
        self._writers = writers
        self._io_threads = io_threads
        sockets = choose_sockets(request)
        self._socket_count = sockets.per_source * len(request.sources)
        self._shares = deal_out(request.memory_bytes, self._socket_count, max(1, len(writers)))
        self._sources = SourceSet(context, request, self._shares, sockets)
        self._newest = newest
        self._notes = Notes(blackbox, self._sources.heard)
        self._series_taken = 0
        self._last = False
        """No series follows the present one: somebody has said so."""
        self._requests: deque[Callable[[SeriesRun, float], None]] = deque()
        self._taking = self._next_taking()
        self._bytes_before = self._full_before = 0
        self._published_at = self._busy_until = 0.0
        self._phase = Phase.WAITING
        self._laid_out, self._spilling = False, ""
        self._thread = threading.Thread(target=self._collect, name=f"collector {self._taking.number}", daemon=True)

    def open(self) -> None:
        """File first, then sockets; `undo` takes back both."""
        request = self._request
        self._notes.begin(request)
        self._taking.reserve()
        self._sources.open()
        if request.connect_timeout_s > 0:
            self._sources.wait_connected(request.connect_timeout_s)
            self._taking.run.out_of_series += self._sources.drop_left_overs()
        # Before anybody hears that this run is prepared: the counts of the last one would pass for its own.
        self._publish(self._counters())

    def undo(self) -> None:
        """Nothing is left: sockets closed, an empty file of ours removed."""
        self._sources.close()
        self._taking.sink.abandon()

    def start(self) -> None:
        """Begin to collect."""
        self._thread.start()

    def expect(self, series: str | None, frames: int | None) -> None:
        """See `SeriesRun.expect`; of the present series."""

        def expect(run: SeriesRun, now: float) -> None:
            self._notes.asked("expect", series=series, frames=frames)
            run.expect(series, frames, now)

        self._ask(expect)

    def stop(self, finished: str) -> None:
        """See `SeriesRun.stop`; no other series follows."""

        def stop(run: SeriesRun, now: float) -> None:
            self._last = True
            self._notes.asked("stop", finished=finished)
            run.stop(now, finished)

        self._ask(stop)

    def abort(self, reason: str) -> None:
        """Over at once."""

        def abort(run: SeriesRun, now: float) -> None:
            self._notes.asked("abort", reason=reason)
            run.abort(reason)

        self._ask(abort)

    def join(self, timeout: float | None) -> bool:
        """Wait for the end of the collector."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def decisions(self) -> dict[str, str]:
        """What was decided by itself so far, and why."""
        return {"io threads": self._io_threads, **self._sources.decisions, **self._taking.decisions()}

    def _ask(self, request: Callable[[SeriesRun, float], None]) -> None:
        self._requests.append(request)
        self._sources.nudge()

    # -- the collector thread ----------------------------------------------------------------------------------------

    def _collect(self) -> None:
        while True:
            run = self._taking.run
            try:
                while not run.is_over:
                    self._look(run)
            except Exception as error:  # the thread's root: a bug must end as a FAILED run, not as a silent hang
                run.fail(told(error))
            if not self._finish():
                return

    def _look(self, run: SeriesRun) -> None:
        """Write what is ready, take what has come, let time pass."""
        sources, storing = self._sources, self._taking.storing
        began = time.monotonic()
        more = self._write_ready()
        now = time.monotonic()
        self._answer_requests(now)
        deadline = run.deadline
        wait = TICK_S if deadline is None else min(TICK_S, max(0.0, deadline - now))
        sources.hold_back(self._taking.leaders)
        batch = sources.get(0.0 if more else wait)
        idle_s = time.monotonic() - now
        began += idle_s  # waiting for messages is no work
        if storing.pool is None:  # frames that come out of the pool are waited for one by one
            storing.wait_room(sources.taken_nbytes)
        self._take(batch)
        self._taking.look_again(now, drained=sources.drained)
        self._pass_time(now, idle=not batch)
        now = time.monotonic()
        self._taking.look(len(batch), idle_s, now - began)
        if batch:
            self._busy_until = now
        if (more or now - began >= SLOW_S) and sources.reading:
            sources.fill(wholly=False)
        self._taking.sink.checkpoint_if_due(now)
        self._show(now)

    def _write_ready(self) -> bool:
        """Write what has come out of the pool, for a moment: requests and messages wait. True: there may be more."""
        until = time.monotonic() + PUBLISH_S
        while self._taking.storing.write_next():
            if self._requests or time.monotonic() >= until:
                return True
        return False

    def _take(self, batch: list[Message]) -> None:
        taking, run = self._taking, self._taking.run
        now, received_at = time.monotonic(), time.time()
        until = now + PUBLISH_S
        for position, message in enumerate(batch):
            if position % LOOK_MESSAGES == LOOK_MESSAGES - 1:
                now = time.monotonic()
            if run.phase is OVER or now >= until:
                self._sources.put_back(batch[position:])
                return
            taking.take(message, now, received_at)
            if run.interrupted and self._series_follows():
                self._sources.put_back(batch[position:])  # the header of the next series belongs to that
                run.out_of_series -= 1
                return
            if self._requests:
                self._answer_requests(time.monotonic())  # a frame may have taken long: a stop begins now, not before it

    def _pass_time(self, before: float, *, idle: bool) -> None:
        """Inside a series time passes only while no message waits: a slow disk is no silence of the sender.

        When the time for stragglers is over although messages keep coming, the sockets are closed; what has arrived by
        then is still taken. `before` = when the last look for messages began.
        """
        run = self._taking.run
        if idle or run.phase is Phase.WAITING:
            run.on_tick(time.monotonic() if self._sources.reading else math.inf)
        elif run.phase is Phase.ENDING and run.deadline is not None and before >= run.deadline:
            self._last = True
            self._sources.stop()

    def _answer_requests(self, now: float) -> None:
        while self._requests:
            self._requests.popleft()(self._taking.run, now)

    def _on_wait(self, waited_s: float) -> bool:
        """What is in hand waits for the pool or the disk. False: it need not any more."""
        self._sources.fill(wholly=waited_s >= STOPPED_S)
        now = time.monotonic()
        try:
            self._taking.sink.checkpoint_if_due(now)  # what the disk has taken until now is safe all the same
        except FileError as error:
            self._taking.run.fail(str(error))
        self._answer_requests(now)
        self._show(now)
        return self._taking.run.verdict is None

    def _show(self, now: float) -> None:
        taking, phase = self._taking, self._taking.run.phase
        laid_out = bool(taking.sink.decisions) and not self._laid_out
        spilling = taking.sink.spilling
        if (phase is not self._phase or laid_out or spilling != self._spilling) and phase is not Phase.OVER:
            self._phase, self._laid_out, self._spilling = phase, self._laid_out or laid_out, spilling
            spills = f". Data files go to the spill directory: {spilling}" if spilling else ""
            self._say(_STATE_OF[phase], f"series {taking.name}: {phase.value}{spills}")
            self._published_at = 0.0
        if now - self._published_at >= PUBLISH_S:
            self._published_at = now
            taking.stages.see_queue(self._sources.waiting, now)
            counters = self._counters()
            self._publish(counters)
            self._notes.look(counters, now)

    def _counters(self) -> Counters:
        counters, sources = self._taking.counters(), self._sources
        return msgspec.structs.replace(
            counters,
            bytes_received=sources.bytes_received - self._bytes_before,
            messages_queued=sources.waiting,
            queue_bytes=sources.nbytes + counters.queue_bytes,
            queue_limit_bytes=sources.limit_bytes + counters.queue_limit_bytes,
            queue_full_count=sources.full_count - self._full_before,
            stalled_ms=self._stalled_ms(),
        )

    def _stalled_ms(self) -> int:
        """Messages that wait for a slow disk are no silence of the sender."""
        if self._sources.nbytes or not self._sources.reading:
            return 0
        return int(self._taking.run.silent_s(time.monotonic(), self._busy_until) * 1000)

    def _say(self, state: AcquisitionState, message: str, receipt: Receipt | None = None) -> None:
        run_id, decisions = self._request.run_id, self.decisions
        self._notes.box.note("state", state=state, message=message)
        self._tell(RunReport(state=state, run_id=run_id, message=message, receipt=receipt, decisions=decisions))

    # -- the end of a series -----------------------------------------------------------------------------------------

    def _series_follows(self) -> bool:
        wanted = self._request.series_count
        return not self._last and (wanted == 0 or self._series_taken + 1 < wanted)

    def _finish(self) -> bool:
        """Close the road, unless a series follows, and the file; then tell. Whether a series follows.

        Whatever fails on the way becomes part of the account.
        """
        taking, run = self._taking, self._taking.run
        self._phase = Phase.OVER
        if self._series_taken and taking.is_untouched:
            self._sources.close()
            taking.drain()
            taking.sink.abandon()
            self._say(AcquisitionState.IDLE, f"{self._series_taken} series were taken")
            return False
        self._say(AcquisitionState.FINALISING, "closing the file")
        taking.drain()
        self._sources.hold_back(frozenset())
        self._sources.put_back(taking.ahead)
        follows = run.verdict is None and self._series_follows()
        if not follows:
            self._close_road()
        received = self._sources.bytes_received - self._bytes_before
        receipt = taking.close(received, self.decisions)
        self._publish(self._counters())
        if problem := self._notes.end(receipt):
            warn(problem)
        reason = "; ".join(receipt.reasons)
        message = f"{receipt.verdict.value}: {reason}" if reason else receipt.verdict.value
        if follows and receipt.verdict is not Verdict.FAILED:
            self._go_on(message, receipt)
            return True
        self._sources.close()
        failed = receipt.verdict is Verdict.FAILED
        self._say(AcquisitionState.FAULT if failed else AcquisitionState.IDLE, message, receipt)
        return False

    def _close_road(self) -> None:
        taking, run = self._taking, self._taking.run
        self._notes.connections()
        for message in self._sources.remains():
            taking.leave(message)
        matters = run.start is None or self._request.stream_format.has_modules
        if matters and (silent := self._sources.never_connected):
            run.reasons.append(f"nobody ever accepted a connection at {', '.join(silent)}")

    def _go_on(self, message: str, receipt: Receipt) -> None:
        """The next series, on the same sockets."""
        self._series_taken += 1
        self._bytes_before, self._full_before = self._sources.bytes_received, self._sources.full_count
        earlier, self._taking = self._taking, self._next_taking()
        self._taking.follow(earlier)
        self._phase, self._laid_out, self._spilling = Phase.WAITING, False, ""
        try:
            self._taking.reserve()
        except MaxdaqError as error:
            self._taking.run.fail(str(error))
        self._publish(self._counters())
        self._say(AcquisitionState.ARMED, f"{message}. Waiting for series {self._series_taken + 1}", receipt)

    def _next_taking(self) -> Taking:
        request = self._request
        if self._series_taken:
            # Which series the detector is armed for is known of the first one only, and how long it may take to begin.
            destination = numbered(request.destination, self._series_taken + 1)
            request = msgspec.structs.replace(request, destination=destination, series=None, start_timeout_s=0.0)
        kind = ModuleTaking if request.stream_format.has_modules else Taking
        return kind(
            request,
            next(self._numbers),
            shares=self._shares,
            sockets=self._socket_count,
            writers=self._writers,
            software=self._software,
            wake=self._sources.nudge,
            on_wait=self._on_wait,
            blackbox=self._notes.box,
            newest=self._newest,
        )


def numbered(destination: str, number: int) -> str:
    """The file of the series of that number, from 2 on: /data/scan.h5 becomes /data/scan_2.h5, a master stays one."""
    return str(BlockNames.of(Path(destination)).other(number).master) if destination else ""
