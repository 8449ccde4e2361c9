"""Blocks of one series, dealt to writer processes in turn: block b goes to process b mod n.

A `BlockStore` whose `write` returns when the frame lies in shared memory; `hear` tells what became of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from maxdaq_tango.errors import MaxdaqError
from maxdaq_tango.files import BlockLayout, FrameTimes
from maxdaq_tango.files.backend_choice import choose_backend
from maxdaq_tango.files.block_names import count_blocks
from maxdaq_tango.model import Buffer
from maxdaq_tango.pipeline.spilling import Spilling
from maxdaq_tango.pipeline.writer_protocol import CloseAll, GiveUp, Settle
from maxdaq_tango.pipeline.writers import Settled, Writer

PATIENCE_S = 0.05


class DealtBlocks:
    """See `BlockStore`. Belongs to the collector of a run."""

    def __init__(self, writers: Sequence[Writer], arena_nbytes: int, layout: BlockLayout) -> None:
        """`arena_nbytes` and the slabs of the layout are for all writers together.

        Where the layout has a spill folder, the last of the writers is the spare one.
        """
        self._writers = writers
        self._block_rows = layout.block_rows
        self._refused: tuple[Writer, int] | None = None
        self._refused_block = 0
        count = len(writers)
        own = msgspec.structs.replace(layout, slab_memory_bytes=layout.slab_memory_bytes // count)
        self._homes = writers[:-1] if layout.spill_folder else writers
        self._spilling = Spilling(self._homes, writers[-1], layout) if layout.spill_folder else None
        for index, writer in enumerate(self._homes):
            writer.begin(own, index, len(self._homes), arena_nbytes // count)
        for spare in writers[len(self._homes) :]:
            spare.begin(own, 0, 1, arena_nbytes // count, spare=True)
        stored = layout.stored_nbytes or layout.format.nbytes
        chunk = stored // layout.format.chunk_count
        choice = choose_backend(layout.backend, chunk, stored, layout.period_s, grows=False)
        self.way = f"{choice.backend.value} ({choice.reason}), by {len(self._homes)} processes"
        if self._spilling is not None:
            self.way += " and one for the spill directory"

    @property
    def bytes_written(self) -> int:
        """That writers have told of."""
        return sum(writer.bytes_written for writer in self._writers)

    @property
    def lost_texts(self) -> int:
        """See `BlockStore`; known after `settle`."""
        return sum(writer.lost_texts for writer in self._writers)

    @property
    def frames_safe(self) -> int:
        """That writers have told of."""
        return sum(writer.frames_safe for writer in self._writers)

    @property
    def checkpointed(self) -> tuple[int, float]:
        """Writers do not tell."""
        return 0, 0.0

    @property
    def bytes_waiting(self) -> int:
        """In shared memory."""
        return sum(writer.bytes_waiting for writer in self._writers)

    @property
    def waiting_limit_bytes(self) -> int:
        """Of the shared memory."""
        return sum(writer.arena_nbytes for writer in self._writers)

    @property
    def failure(self) -> MaxdaqError | None:
        """Why a writer takes no more; None when all are well."""
        return next((writer.failure for writer in self._writers if writer.failure is not None), None)

    def wait_room(self, nbytes: int, timeout_s: float) -> bool:
        """For the frame that was refused; which writer the next one is for, nobody can say."""
        if self._refused is None:
            return True
        writer, refused = self._refused
        for other in self._writers:
            other.pump(0.0)  # they go on meanwhile
        if self._spilling is not None and (chosen := self._spilling.choose(self._refused_block)) is not writer:
            if chosen is None and self.failure is None:
                writer.pump(timeout_s)
                chosen = self._spilling.choose(self._refused_block)
            if chosen is None and self.failure is None:
                return False
            self._refused = None  # it has room, or is for another one by now
            return True
        if self.failure is None and not writer.wait_room(refused, timeout_s):
            return False
        self._refused = None
        return True

    def write(
        self, row: int, number: int, blobs: Sequence[Buffer], times: FrameTimes, extras: Mapping[str, Any]
    ) -> bool:
        """Into shared memory; FileError or PipelineError of the writer when it takes no more."""
        block = row // self._block_rows
        spilling = self._spilling
        home = self._homes[block % len(self._homes)]
        writer = home if spilling is None else spilling.choose(block)
        taken = writer is not None and writer.put(row, number, blobs, times, extras)
        if not taken:
            if (failure := self.failure) is not None:
                raise failure
            self._refused, self._refused_block = (writer or home, sum(len(blob) for blob in blobs)), block
        elif spilling is not None and writer is not None:
            spilling.note(block, writer)
        return taken

    @property
    def spilled(self) -> Collection[int]:
        """See `BlockStore`."""
        return self._spilling.blocks if self._spilling is not None else ()

    @property
    def spilling(self) -> str:
        """Why data files go to the spill directory at present; "" = they do not."""
        return self._spilling.present if self._spilling is not None else ""

    @property
    def spill_decision(self) -> str:
        """Which data files are there; "" = none."""
        return self._spilling.decision if self._spilling is not None else ""

    def hear(self) -> list[Settled]:
        """What became of frames since the last call. Never waits."""
        settled: list[Settled] = []
        for writer in self._writers:
            writer.pump(0.0)
            settled += writer.take_settled()
        return settled

    def drain(self) -> list[Settled]:
        """The same, of every frame that was handed over: waits for the writers."""
        settled = self.hear()
        while busy := [writer for writer in self._writers if writer.under_way]:
            busy[0].pump(PATIENCE_S)
            settled += self.hear()
        return settled

    def slowest_us(self) -> int:
        """Longest single write of a writer since the last call."""
        slowest = max(writer.slowest_us for writer in self._writers)
        for writer in self._writers:
            writer.slowest_us = 0
        return slowest

    def checkpoint_if_due(self, now: float) -> None:
        """Writers look at the clock themselves; here, what was kept back for a batch goes to them."""
        for writer in self._writers:
            writer.pump(0.0)

    def close_all(self, block_count: int) -> None:
        """See `BlockStore`; all writers at the same time."""
        if not all(writer.is_alive for writer in self._writers):
            block_count = 0  # the series cannot be finished: no blank files for it
        elsewhere = self._spilling.handed_over if self._spilling is not None else ()
        self._ask_all(lambda writer: writer.request(CloseAll(block_count, elsewhere)))

    def settle(self, valid: np.ndarray[Any, Any], first: int) -> None:
        """See `BlockStore`; all writers at the same time."""
        message = Settle(valid.astype(np.bool_).tobytes(), first)
        self._ask_all(lambda writer: writer.request(message))
        if self._spilling is not None:
            self._spilling.settled(count_blocks(len(valid), self._block_rows))

    def give_up(self) -> None:
        """See `BlockStore`. What a process that died has left is left alone: it may hold frames."""
        self._ask_all(lambda writer: writer.request(GiveUp()))

    # ---- inside ----

    def _ask_all(self, ask: Callable[[Writer], None]) -> None:
        for writer in self._writers:
            ask(writer)
        error: MaxdaqError | None = None
        for writer in self._writers:
            try:
                writer.answer()
            except MaxdaqError as raised:  # the others must be heard all the same
                error = error or raised
        if error is not None:
            raise error
