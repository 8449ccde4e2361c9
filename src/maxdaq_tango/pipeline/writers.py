"""The engine's side of one writer process: start it, hand frames over, hear what became of them, bury it.

It serves one series after the other. Methods belong to the collector of the present run; between two runs to whoever
keeps the crew (`writer_crew.py`).
"""

from __future__ import annotations

import logging
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from maxdaq_tango.errors import FileError, MaxdaqError, PipelineError
from maxdaq_tango.files import BlockLayout, FrameTimes
from maxdaq_tango.model import Buffer, Fate
from maxdaq_tango.pipeline.arena import Arena
from maxdaq_tango.pipeline.unkillable import end_within, is_set_aside
from maxdaq_tango.pipeline.writer_protocol import (
    Answer,
    Begin,
    CloseAll,
    Done,
    Failed,
    Frames,
    FromWriter,
    GiveUp,
    Map,
    Settle,
    Splitter,
    StoredFrame,
    ToWriter,
    encode,
)

BATCH_FRAMES = 64
BATCH_BYTES = 1 << 20
"""Large frames are handed over one by one."""
READ_BYTES = 1 << 16
HANG_S = 120.0
"""A writer that has work and gives no sign of life for so long is lost; a disk that is only slow takes something."""
SPILL_HANG_S = 300.0
"""The same where the frames of other blocks go to a spill directory meanwhile: there is less need to give up."""
END_S = 10.0
"""A writer closes its files first."""
KILL_S = 5.0
"""The system buries a process at once, unless that waits for a file system."""

log = logging.getLogger(__name__)


class Settled(NamedTuple):
    """What became of a frame that was handed over."""

    row: int
    number: int
    fate: Fate


class Writer:
    """One process. FileError and PipelineError tell of it by name, process id and path."""

    def __init__(self, number: int) -> None:
        """Start it; PipelineError when that cannot be done."""
        self.name = f"writer {number}"
        self.failure: MaxdaqError | None = None
        """Why it takes no more frames of this series."""
        self.bytes_written = self.frames_safe = self.lost_texts = self.slowest_us = 0
        """Of the series so far; of the writes since somebody set it to 0."""
        self.spilled: tuple[int, ...] = ()
        """Blocks that it has put into the spill folder."""
        self.why_spilled = ""
        """Of the last of them."""
        self.is_spilling = False
        """The last data file that it made is one of them."""
        self._others_spill = False
        self._is_ready = self._is_dead = False
        self._arena = Arena()
        self._under_way: deque[tuple[int, int]] = deque()  # (row, number) of frames in the arena, the oldest first
        self._settled: list[Settled] = []
        self._batch: list[StoredFrame] = []
        self._batch_bytes = 0
        self._out = bytearray()
        self._answers: deque[Answer] = deque()
        self._asked = 0
        self._how = ""
        self._splitter = Splitter(FromWriter)
        self._heard_at = time.monotonic()
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        command = [sys.executable, "-m", "maxdaq_tango.pipeline.writer_process", "--control-fd", str(theirs.fileno())]
        command += ["--arena-fd", str(self._arena.handle), "--name", self.name]
        handles = (theirs.fileno(), self._arena.handle)
        try:
            self._process = subprocess.Popen(command, pass_fds=handles, stdin=subprocess.DEVNULL)
        except OSError as error:
            self._socket.close()
            self._arena.close()
            raise PipelineError(f"start {self.name}", of=" ".join(command), answer=str(error)) from error
        finally:
            theirs.close()
        log.info("%s is process %d", self.name, self._process.pid)

    # -- the process -------------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """It can take a series."""
        return not self._is_dead and self._process.poll() is None

    def wait_ready(self, deadline: float) -> None:
        """Until it is up, or `deadline` (monotonic); PipelineError when it has died instead."""
        while not self._is_ready and not self._is_dead and time.monotonic() < deadline:
            self.pump(max(0.0, deadline - time.monotonic()))
        if self._is_dead:
            assert self.failure is not None
            raise PipelineError(f"start {self.name}", answer=self.failure.answer)

    def hang_up(self) -> None:
        """Tell it to end: it closes its files first. Harmless twice."""
        self._socket.close()

    def end(self) -> None:
        """Wait for that, or kill it. Harmless twice."""
        self.hang_up()
        if not is_set_aside(self._process):
            end_within(self._process, END_S, KILL_S)
        self._is_dead = True
        self._arena.close()

    # -- a series ----------------------------------------------------------------------------------------------------

    def shrink(self) -> None:
        """Give the shared memory back; between two series."""
        self._resize(0)

    def begin(self, layout: BlockLayout, index: int, count: int, arena_nbytes: int, *, spare: bool = False) -> None:
        """Take blocks `index`, `index + count` ... of a new series. Nothing waits for an answer.

        A `spare` one takes those that it gets frames of, and writes them into the spill folder.
        """
        self.failure = self._death() if self._is_dead else None
        self.bytes_written = self.frames_safe = self.lost_texts = self.slowest_us = 0
        self.spilled, self.why_spilled, self.is_spilling = (), "", False
        self._others_spill = bool(layout.spill_folder)
        self._settled = []
        self._heard_at = time.monotonic()
        if not self._is_dead:
            self._resize(arena_nbytes)
            self._send(Begin(layout, index, count, spare))

    @property
    def under_way(self) -> int:
        """Frames that were handed over and not heard of again."""
        return len(self._under_way)

    @property
    def silent_s(self) -> float:
        """How long it has told of nothing although it has frames; as of the last `pump`."""
        return time.monotonic() - self._heard_at if self._under_way else 0.0

    @property
    def bytes_waiting(self) -> int:
        """In the arena."""
        return self._arena.ring.used

    @property
    def room_nbytes(self) -> int:
        """Free in the arena."""
        return self._arena.ring.nbytes - self._arena.ring.used

    @property
    def arena_nbytes(self) -> int:
        """All of the arena."""
        return self._arena.ring.nbytes

    def wait_room(self, nbytes: int, timeout_s: float) -> bool:
        """Whether `put` would take so many bytes at once. True also when it would fail at once."""
        deadline = time.monotonic() + timeout_s
        while self.failure is None and not self._has_room(nbytes):
            left = deadline - time.monotonic()
            if left <= 0 and timeout_s > 0:
                return False
            self.pump(max(0.0, left))
            if timeout_s <= 0:
                return self.failure is not None or self._has_room(nbytes)
        return True

    def put(self, row: int, number: int, blobs: Sequence[Buffer], times: FrameTimes, extras: Mapping[str, Any]) -> bool:
        """Hand a frame over; its blobs are free when this returns. False: there is no room, as `wait_room` tells."""
        nbytes = sum(len(blob) for blob in blobs)
        if not self._has_room(nbytes) and not self.wait_room(nbytes, 0.0):
            return False
        if self.failure is not None:
            raise self.failure
        if nbytes > self._arena.ring.nbytes:  # alone, as it could never pass otherwise
            self._resize(nbytes)
        places = self._arena.put(blobs)
        self._under_way.append((row, number))
        self._batch.append(StoredFrame(row, number, places, times, dict(extras)))
        self._batch_bytes += nbytes
        if len(self._batch) >= BATCH_FRAMES or self._batch_bytes >= BATCH_BYTES:
            self._send_batch()
            self.pump(0.0)
        return True

    def take_settled(self) -> list[Settled]:
        """What became of frames since the last call."""
        settled, self._settled = self._settled, []
        return settled

    def request(self, message: CloseAll | Settle | GiveUp) -> None:
        """`answer` waits for what comes of it."""
        self._send_batch()
        self._send(message)
        self._asked += 1

    def answer(self) -> Answer:
        """To the oldest request; FileError, PipelineError, also when the process died over it."""
        while not self._answers and not self._is_dead:
            self.pump(0.1)
        self._asked -= 1
        if not self._answers:
            raise self.failure or self._death()
        answer = self._answers.popleft()
        self.bytes_written, self.lost_texts = answer.bytes_written, answer.lost_texts
        self.frames_safe, self.spilled = answer.frames_safe, answer.spilled
        if answer.trouble is not None:
            raise self.failure or answer.trouble.to_error()
        return answer

    def pump(self, timeout_s: float) -> None:
        """Send what waits to be sent and hear what there is to hear, for `timeout_s` at most when there is nothing."""
        if self._is_dead:
            return
        self._send_batch()
        poller = select.poll()
        poller.register(self._socket, select.POLLIN | (select.POLLOUT if self._out else 0))
        events = poller.poll(timeout_s * 1000)
        mask = events[0][1] if events else 0
        if mask & (select.POLLIN | select.POLLHUP | select.POLLERR):
            self._receive()
        if mask & select.POLLOUT and not self._is_dead:
            self._flush()
        patience_s = SPILL_HANG_S if self._others_spill else HANG_S
        has_work = bool(self._under_way) or self._asked > 0 or not self._is_ready
        if not has_work:
            self._heard_at = time.monotonic()
        elif time.monotonic() - self._heard_at > patience_s:
            self._process.kill()
            self._bury(f"it gave no sign of life for {patience_s:g} s and was killed")

    # ---- inside ----

    def _has_room(self, nbytes: int) -> bool:
        ring = self._arena.ring
        return ring.find(nbytes) is not None or (nbytes > ring.nbytes and not len(ring))

    def _resize(self, nbytes: int) -> None:
        before = self._arena.ring.nbytes
        try:
            self._arena.resize(nbytes)
        except OSError as error:
            raise PipelineError(
                f"share {nbytes} bytes with {self.name}", answer=str(error), accepted="a smaller MemoryBudget"
            ) from error
        if self._arena.ring.nbytes != before:
            self._send(Map(self._arena.ring.nbytes))

    def _send_batch(self) -> None:
        if self._batch:
            batch, self._batch, self._batch_bytes = self._batch, [], 0
            self._send(Frames(batch))

    def _send(self, message: ToWriter) -> None:
        if not self._is_dead:
            self._out += encode(message)
            self._flush()

    def _flush(self) -> None:
        try:
            while self._out:
                sent = self._socket.send(self._out)
                del self._out[:sent]
        except BlockingIOError:
            pass  # the next pump goes on
        except OSError:
            self._out.clear()  # it is gone; `_receive` finds that out and tells it

    def _receive(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._bury(self._how_it_ended())
            return
        self._heard_at = time.monotonic()
        for message in self._splitter.feed(data):
            self._hear(message)

    def _hear(self, message: FromWriter) -> None:
        if isinstance(message, Done):
            self.bytes_written, self.frames_safe = message.bytes_written, message.frames_safe
            self.spilled, self.why_spilled = message.spilled, message.why_spilled
            self.is_spilling = message.is_spilling
            self.slowest_us = max(self.slowest_us, message.slowest_us)
            self._settle(message.frames, Fate.WRITTEN)
        elif isinstance(message, Failed):
            self.failure = self.failure or message.trouble.to_error()
            self._batch.clear()
            self._settle(len(self._under_way), Fate.LOST_WRITER)
        elif isinstance(message, Answer):
            self._answers.append(message)
        else:
            self._is_ready = True

    def _settle(self, count: int, fate: Fate) -> None:
        for _ in range(count):
            row, number = self._under_way.popleft()
            self._arena.ring.give_back()
            self._settled.append(Settled(row, number, fate))

    def _how_it_ended(self) -> str:
        code = end_within(self._process, END_S, KILL_S)
        if code is None:
            return "it was killed and does not die: a file system may not answer it"
        return f"it was killed by signal {-code}" if code < 0 else f"it ended with status {code}"

    def _bury(self, how: str) -> None:
        self._is_dead, self._how = True, how
        self._out.clear()
        self._batch.clear()
        self.failure = self.failure or self._death()
        log.error("%s", self._death())
        self._settle(len(self._under_way), Fate.LOST_WRITER)

    def _death(self) -> FileError:
        return FileError(
            "write frames",
            of=f"{self.name} (process {self.pid})",
            answer=self._how,
            accepted="maxdaq recover on the .part files that it left: they hold what is older than a second",
        )
