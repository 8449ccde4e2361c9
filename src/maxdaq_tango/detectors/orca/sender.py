"""Frames on their way from the ring to ZeroMQ: one copy, a bounded number of buffers, a thread that sends.

Why a copy: the camera's driver writes the ring without asking anybody, so a message that ZeroMQ read from the ring
itself could be half overwritten when a receiver is slow. Each frame is therefore copied once, by the thread that reads
the ring, into a buffer of a pool, and ZeroMQ reads that buffer without a further copy; a MessageTracker says when it
may be used again. When the pool is empty nothing is read: the ring overflows, and the ring's account says so. Memory is
bounded.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import zmq

from maxdaq_tango.detectors.streaming.outlet import StinsSeries, StreamOutlet
from maxdaq_tango.model import Frame, FrameFormat

Buffer = npt.NDArray[np.uint8]
LEAST_BUFFERS = 3
MOST_BUFFERS = 256
LAST_WORD_S = 0.5
"""How long the header or end of a series that was given up waits for somebody to take it."""
LOOK_S = 0.02


class FrameSender:
    """The way out of one streamer. One thread takes buffers and puts frames; it and others may begin, end, give up."""

    def __init__(self, outlet: StreamOutlet, *, pool_nbytes: int = 512 << 20) -> None:
        self._series = StinsSeries(outlet)
        self._pool_nbytes = pool_nbytes
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._queue: deque[tuple[int, Callable[[int], None]]] = deque()
        self._working = False
        self._number = 0
        self._given_up = 0
        """Series up to this one are not worth waiting for."""
        self._moved = 0
        self._taken_s: float | None = None
        """When somebody took the last message of this series."""
        self._next_frame = 0
        """Of the series that is being sent."""
        self.sent = self.not_sent = self.waiting = 0
        """Frames of this series."""
        self._free: list[Buffer] = []
        self._lent: deque[tuple[zmq.MessageTracker, Buffer]] = deque()
        self._pool_size = 0
        self._buffer_nbytes = -1
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="orca-send")

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def close(self) -> None:
        """Stop sending; what waits is lost. May be called twice."""
        self._stopping.set()
        with self._lock:
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    # --- buffers -----------------------------------------------------------------------------------------------------

    def prepare(self, nbytes: int) -> None:
        """Buffers of this size, as many as fit into the budget; those of an earlier series are used again."""
        with self._lock:
            if nbytes == self._buffer_nbytes:
                return
            self._buffer_nbytes, self._pool_size = nbytes, 0
            self._free.clear()
            self._lent.clear()  # ZeroMQ holds on to what it still reads

    def take(self, timeout_s: float = LOOK_S) -> Buffer | None:
        """A buffer that nobody reads; None when there is none after a while."""
        with self._lock:
            if (buffer := self._free_one()) is not None or self._stopping.is_set():
                return buffer
            oldest = self._lent[0][0] if self._lent else None
            if oldest is None:
                self._changed.wait(timeout_s)
                return self._free_one()
        with contextlib.suppress(zmq.NotDone):
            oldest.wait(timeout_s)
        with self._lock:
            return self._free_one()

    def _free_one(self) -> Buffer | None:
        while self._lent and self._lent[0][0].done:
            self._free.append(self._lent.popleft()[1])
        if self._free:
            return self._free.pop()
        most = max(LEAST_BUFFERS, min(MOST_BUFFERS, self._pool_nbytes // max(1, self._buffer_nbytes)))
        if self._pool_size < most:
            self._pool_size += 1
            return np.empty(self._buffer_nbytes, np.uint8)
        return None

    def give_back(self, buffer: Buffer) -> None:
        """A buffer that was not put."""
        with self._lock:
            if buffer.size == self._buffer_nbytes:
                self._free.append(buffer)

    # --- a series ----------------------------------------------------------------------------------------------------

    def begin(self, metadata: Mapping[str, Any]) -> int:
        """The header of a new series; its number here."""
        with self._lock:
            self._number += 1
            self.sent = self.not_sent = self.waiting = 0
            self._taken_s = None
            number = self._number

        def header(series: int) -> None:
            self._next_frame = 0
            if self._last_word(lambda enough: self._series.begin("", metadata, enough), series):
                self._take_note(series)

        self._put(number, header)
        return number

    def put(self, frame_number: int, format: FrameFormat, buffer: Buffer, exposure_time_s: float | None) -> None:
        """A frame whose pixels fill `buffer`, which is the sender's from now on."""
        frame = Frame(
            series="", frame_number=frame_number, format=format, blobs=(buffer.data,), exposure_time_s=exposure_time_s
        )
        with self._lock:
            self.waiting += 1
            number = self._number
        self._put(number, lambda series: self._frame(frame, buffer, series))

    def end(self, frames: int = 0) -> None:
        """The end of the series, after all that was put; at least so many frames would have been."""
        with self._lock:
            number = self._number

        def end(series: int) -> None:
            self._reach(frames)
            self._last_word(self._series.end, series)

        self._put(number, end)

    def give_up(self) -> None:
        """Nothing that waits is to be sent any more; header and end get a short last chance."""
        with self._lock:
            self._given_up = self._number
            self._changed.notify_all()

    def was_taken(self, within_s: float) -> bool:
        """A message of this series has found a receiver in so many last seconds."""
        with self._lock:
            return self._taken_s is not None and time.monotonic() - self._taken_s < within_s

    def settle(self, patience_s: float) -> bool:
        """Wait while messages leave. After `patience_s` in which none did, give up; False then."""
        moved, since = -1, time.monotonic()
        given_up = False
        while not self._stopping.is_set():
            with self._lock:
                if not self._queue and not self._working:
                    return not given_up
                if self._moved != moved:
                    moved, since = self._moved, time.monotonic()
                elif time.monotonic() - since > patience_s and not given_up:
                    given_up, self._given_up = True, self._number
                self._changed.wait(LOOK_S)
        return False

    # --- sending -----------------------------------------------------------------------------------------------------

    def _put(self, number: int, work: Callable[[int], None]) -> None:
        with self._lock:
            self._queue.append((number, work))
            self._changed.notify_all()

    def _run(self) -> None:
        while not self._stopping.is_set():
            with self._lock:
                if not self._queue:
                    self._changed.wait(1.0)
                    continue
                number, work = self._queue.popleft()
                self._working = True
            work(number)
            with self._lock:
                self._working = False
                self._moved += 1
                self._changed.notify_all()

    def _frame(self, frame: Frame, buffer: Buffer, series: int) -> None:
        def enough() -> bool:
            return self._stopping.is_set() or series <= self._given_up

        self._reach(frame.frame_number)
        sent = self._series.frame(frame, enough, track=True)
        self._next_frame = frame.frame_number + 1
        with self._lock:
            current = series == self._number
            self.waiting -= current
            if sent is False:
                self.not_sent += current
                if buffer.size == self._buffer_nbytes:
                    self._free.append(buffer)
            else:
                self.sent += current
                if current:
                    self._taken_s = time.monotonic()
                if isinstance(sent, zmq.MessageTracker) and buffer.size == self._buffer_nbytes:
                    self._lent.append((sent, buffer))

    def _reach(self, frame_number: int) -> None:
        """What is absent before this frame was lost; its messages keep their numbers."""
        if frame_number > self._next_frame:
            self._series.skip(frame_number - self._next_frame)
            self._next_frame = frame_number

    def _take_note(self, series: int) -> None:
        with self._lock:
            if series == self._number:
                self._taken_s = time.monotonic()

    def _last_word(self, send: Callable[[Callable[[], bool]], bool], series: int) -> bool:
        until: list[float] = []

        def enough() -> bool:
            if self._stopping.is_set():
                return True
            if series > self._given_up:
                return False
            until.append(time.monotonic() + LAST_WORD_S)
            return time.monotonic() > until[0]

        return send(enough)
