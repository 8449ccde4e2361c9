"""One series of a detector whose modules send their own parts: parts become frames, which are taken as any others.

Formats in which one message is one frame never come here, and pay nothing for it.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec
import numpy as np

from maxdaq_tango.errors import WireError
from maxdaq_tango.model import (
    Counters,
    DamagedFrame,
    Fate,
    Frame,
    ModuleFrame,
    ModuleStart,
    Receipt,
    RunRequest,
    SeriesStart,
    StreamFormat,
)
from maxdaq_tango.pipeline.assembly import Made
from maxdaq_tango.pipeline.budget import Shares
from maxdaq_tango.pipeline.ingest import MESSAGE_COST, Message
from maxdaq_tango.pipeline.ledger import Account, Entry
from maxdaq_tango.pipeline.module_stream import NEXT_SERIES, Given, ModuleStream
from maxdaq_tango.pipeline.numbers import NumberRuns, Ranges, ranges_where
from maxdaq_tango.pipeline.series_run import SOCKET_SLACK
from maxdaq_tango.pipeline.storing import told
from maxdaq_tango.pipeline.taking import Taking
from maxdaq_tango.wire import module_decoder_for


class ModuleTaking(Taking):
    """A `Taking` whose messages are parts of frames, marked with the connection that brought them."""

    def __init__(self, request: RunRequest, number: int, *, shares: Shares, **rest: Any) -> None:
        """As `Taking`. What waits for other modules has the share of frames that overtook their header."""
        super().__init__(request, number, shares=shares, **rest)
        stall_s = self.run.stall_timeout_s
        self._decode_module = module_decoder_for(request.stream_format).decode
        self.stream = ModuleStream(
            len(request.sources),
            headed=request.stream_format is StreamFormat.LAMBDA_MODULES,
            # Before the first frame is out nothing else tells that the stream flows.
            wait_s=min(request.module_wait_s, stall_s / 2) if stall_s else request.module_wait_s,
            limit_bytes=shares.held * 3 // 4,
            most_blank_bytes=request.memory_bytes // 2,
            holds=self.run.ledger.holds,
        )
        self._ahead_bytes = 0
        self._ahead_limit_bytes = shares.held // 4

    @property
    def is_untouched(self) -> bool:
        """As `Taking.is_untouched`."""
        return super().is_untouched and self.stream.is_untouched

    def follow(self, earlier: Taking) -> None:
        """As `Taking.follow`."""
        assert isinstance(earlier, ModuleTaking)
        self.stream.follow(earlier.stream)

    def take(self, message: Message, now: float, received_at: float) -> None:
        """As `Taking.take`."""
        try:
            event = self._decode_module(message)
        except WireError as error:
            self._blackbox.note_corrupt(message, str(error))
            self.run.on_corrupt(str(error), now)
            return
        if self.stream.is_ahead(event, now):
            self._keep_ahead(message, now)
            return
        self._take_all(self.stream.feed(event, now), now, received_at)

    def look_again(self, now: float, *, drained: bool) -> None:
        """As `Taking.look_again`; frames have waited long enough only if all that had arrived was looked at."""
        if drained and not self.run.is_over:
            self._take_all(self.stream.tick(now), now, time.time())
        assembler = self.stream.assembler
        if assembler is not None and not self._request.stream_format.is_published:  # what is not read there is dropped
            self.leaders = assembler.leaders()

    def leave(self, message: Message) -> None:
        """As `Taking.leave`."""
        run, stream = self.run, self.stream
        try:
            event = self._decode_module(message)
        except WireError:
            run.out_of_series += 1
            return
        if not isinstance(event, ModuleFrame):
            run.out_of_series += isinstance(event, ModuleStart) or stream.is_ahead(event, 0.0)
        elif stream.is_ahead(event, 0.0) or stream.is_stranger(event):
            run.out_of_series += 1
        elif not run.ledger.holds(event.frame_number):
            run.on_left_over(Frame(series="", frame_number=event.frame_number, format=event.format, blobs=()))
        elif stream.assembler is not None:
            stream.assembler.note_late(event)

    def decisions(self) -> dict[str, str]:
        """As `Taking.decisions`."""
        assembler = self.stream.assembler
        if assembler is not None:
            self._decided["modules"] = f"{assembler.modules}, each waited for {self.stream.wait_s:g} s"
        return super().decisions()

    def counters(self) -> Counters:
        """As `Taking.counters`."""
        counters, assembler = super().counters(), self.stream.assembler
        waiting = self._ahead_bytes + (assembler.nbytes if assembler is not None else 0)
        return msgspec.structs.replace(
            counters,
            queue_bytes=counters.queue_bytes + waiting,
            queue_limit_bytes=counters.queue_limit_bytes + self._held_limit_bytes,
        )

    def drain(self) -> None:
        """As `Taking.drain`. Frames that wait for modules are stored as they are, unless the run was cut short."""
        run, assembler = self.run, self.stream.assembler
        waited = assembler.parts if assembler is not None else 0
        try:
            left = self.stream.flush()
        except Exception as error:  # nobody would hear of the end of the run if this thread died here
            run.fail(told(error))
            left = []
        self._count_strangers()
        if run.start is None:  # no header came in time
            run.out_of_series += waited
        else:
            for made in left:
                self._end(made)
        super().drain()

    # ---- inside ----

    def _take_all(self, given: list[Given], now: float, received_at: float) -> None:
        run = self.run
        for one in given:
            if run.verdict is not None and isinstance(one, (Frame, WireError)):
                self._end(one)
                continue
            try:
                self._take_one(one, now, received_at)
            except Exception as error:  # of what else has arrived an account is given all the same
                run.fail(told(error))
        self._count_strangers()

    def _take_one(self, one: Given, now: float, received_at: float) -> None:
        run = self.run
        if isinstance(one, Frame):
            self._hint()
            self._take_frame(one, now, received_at)
        elif one is NEXT_SERIES:
            run.end_early("the next header came before the end of this series", now)
        elif isinstance(one, SeriesStart):
            self._blackbox.note("header", modules=one.metadata.get("modules"), msg_number=one.msg_number)
            if run.on_start(one, now):
                self.sink.on_start(one)
                self._newest.begin(self.number, self.sink.orientation)
        elif isinstance(one, DamagedFrame):
            self._take_damaged(one, now)
        elif isinstance(one, WireError):
            self._blackbox.note("corrupt", reason=str(one))
            run.on_corrupt(str(one), now)
        else:
            self._blackbox.note("end", series="")
            run.on_end(one, now)
            run.on_last_end()

    def _end(self, made: Made) -> None:
        """What had arrived when the series was over: it is stored, or lost between modules where that was cut short."""
        run = self.run
        frame = made.frame if isinstance(made, DamagedFrame) else made
        if not isinstance(frame, Frame):
            run.on_corrupt(str(made), time.monotonic())
            return
        self._hint()
        entry, row = run.ledger.enter(frame.frame_number, SOCKET_SLACK)
        if entry is not Entry.NEW:
            return
        if isinstance(made, DamagedFrame):
            run.settle(row, frame, Fate.CORRUPT, f"frame {frame.frame_number}: {made}")
        elif run.verdict is not None:
            run.settle(row, frame, Fate.LOST_ASSEMBLY)
        else:
            try:
                self.storing.store(row, frame, time.time())
            except Exception as error:  # it counts as lost when the ledger is closed
                run.fail(told(error))

    def _hint(self) -> None:
        if self.stream.first_number is not None:
            self.run.ledger.hint_first(self.stream.first_number)

    def _count_strangers(self) -> None:
        self.run.out_of_series += self.stream.out_of_series
        self.stream.out_of_series = 0

    def _keep_ahead(self, message: Message, now: float) -> None:
        """Until this series is over; when all modules are at the next one, or there is no room for more, it is."""
        run = self.run
        self.ahead.append(message)
        self._ahead_bytes += sum(map(len, message)) + MESSAGE_COST
        all_over = self.stream.all_over
        if (all_over or self._ahead_bytes > self._ahead_limit_bytes) and not run.is_over:
            self._take_all(self.stream.cut(), now, time.time())
            if not (all_over or run.ledger.all_seen):
                run.end_early("not all modules had ended it when there was no more room for the next series", now)

    def _completed(self, account: Account, receipt: Receipt) -> Receipt:
        assembler = self.stream.assembler
        if assembler is None:
            return receipt
        conflicting = _flags(assembler.conflicting.ranges(), account) & (account.fates == Fate.WRITTEN)
        if conflicting.any():
            receipt = receipt.with_conflicts(ranges_where(conflicting, account.first))
        stored = np.isin(account.fates, (Fate.WRITTEN, Fate.DISCARDED))

        def counts(of_modules: list[NumberRuns]) -> tuple[int, ...]:
            return tuple([int(np.count_nonzero(_flags(one.ranges(), account) & stored)) for one in of_modules])

        return receipt.with_modules(
            assembler.modules,
            ranges_where(_flags(assembler.partial.ranges(), account) & stored, account.first),
            counts(assembler.missing),
            counts(assembler.incomplete),
            late=assembler.late,
            duplicate=assembler.duplicates,
        )


def _flags(numbers: Ranges, account: Account) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """True where the account has one of the numbers."""
    flags = np.zeros(len(account.fates), bool)
    for low, high in numbers:
        flags[max(0, low - account.first) : max(0, high + 1 - account.first)] = True
    return flags
