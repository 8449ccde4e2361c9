"""All sockets of one run, read by one thread, and what has been received and not yet looked at.

As long as the file keeps up, messages are taken from the sockets in small batches and worked on at once. When it does
not, `fill` receives ahead, bounded in bytes: memory stays within its budget however slow the disk is. When that is full
too the sockets are not read, so ZeroMQ and TCP push back on the sender, and nothing is dropped.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import zmq

from maxdaq_tango.model import RunRequest
from maxdaq_tango.pipeline.bell import Bell
from maxdaq_tango.pipeline.budget import AHEAD_BYTES, Shares
from maxdaq_tango.pipeline.ingest import MESSAGE_COST, SPEAKS_OTHERWISE, MarkedSource, Message, Received, Source
from maxdaq_tango.pipeline.pool import usable_cores
from maxdaq_tango.wire.marked import mark

ASSUMED_FRAME_NBYTES = 16 << 20
"""For the sockets' high-water mark when nobody knows the frame size beforehand: larger than most."""
ONE_SOCKET_BYTES_PER_S = 1.5e9
"""More than one connection over TCP carries in comfort: one thread of ZeroMQ copies it out of the kernel."""
MOST_SOCKETS = 4
BATCH = 64
TURN = 4
"""Messages that are taken from the socket of one module before the next one's turn."""
BATCH_BYTES = 1 << 20
"""Large frames are handed over one by one: the file can begin with the first one."""
RECEIVE_BUFFER_BYTES = 4 << 20
"""Of the system. Left to itself it begins small and grows as it likes, and where it ends is chance: the same series of
frames of 200 kB cost ZeroMQ's thread 40 to 87 us a frame, with this 48 to 64 (nine runs each); of 27 kB 15.2 and 12.7.
The median rate of either rises by 3 %, also where frames are packed here."""
LEAST_IN_BUFFER = 4
"""Frames of 2 MB cost 20 % more with it, those of 20 MB as much as without: they are left to the system."""
BUFFER_LIMIT = Path("/proc/sys/net/core/rmem_max")
SMALLEST_LIMIT_NBYTES = 64 << 20
"""Of one message part, with whatever budget: the largest detectors' frames, unpacked."""
MOST_OF_FRAME = 20
"""A v2 start message holds flat fields and masks of two thresholds: 16 bytes for each pixel, which may have one."""
QUIET_S = 0.01
"""Many round trips of a network; what comes later all the same is out of series and counted as that."""
LEFT_OVERS_S = 0.5


class Sockets(NamedTuple):
    """How many connections to each source, and why so."""

    per_source: int
    reason: str


def choose_sockets(request: RunRequest) -> Sockets:
    """One, or as many as the expected data rate needs and cores are there for."""
    if request.stream_format.has_modules:
        return Sockets(1, "each brings one module, or some")
    if request.pinned.sockets:
        return Sockets(request.pinned.sockets, "asked for")
    if not request.frame_nbytes or not request.frame_period_s:
        return Sockets(1, "the data rate is not known")
    rate = request.frame_nbytes / request.frame_period_s / len(request.sources)
    needed, cores = math.ceil(rate / ONE_SOCKET_BYTES_PER_S), usable_cores()
    reason = f"{rate / 1e9:.2g} GB/s a source are expected, on {cores} cores"
    return Sockets(max(1, min(needed, MOST_SOCKETS, cores // 2)), reason)


class ReceiveBuffer(NamedTuple):
    """What the system holds for a connection, and why so much."""

    nbytes: int
    """0 = what the system likes."""
    reason: str


def choose_receive_buffer(request: RunRequest) -> ReceiveBuffer:
    """A large one from the beginning for small frames, where the system grants it.

    Where its limit is lower, asking would leave the connection with less than the system finds by itself.
    """
    if request.pinned.receive_buffer_bytes:
        return ReceiveBuffer(request.pinned.receive_buffer_bytes, "asked for")
    if not request.frame_nbytes:
        return ReceiveBuffer(0, "the frame size is not known")
    if request.frame_nbytes * LEAST_IN_BUFFER > RECEIVE_BUFFER_BYTES:
        return ReceiveBuffer(0, "large frames")
    try:
        limit = int(BUFFER_LIMIT.read_text())
    except (OSError, ValueError):
        return ReceiveBuffer(0, "its limit is not known")
    if limit < RECEIVE_BUFFER_BYTES:
        return ReceiveBuffer(0, f"net.core.rmem_max is {limit}, with {RECEIVE_BUFFER_BYTES} small frames cost less")
    return ReceiveBuffer(RECEIVE_BUFFER_BYTES, "small frames")


def largest_part_nbytes(request: RunRequest) -> int:
    """No part of a message is received that is larger: half of the budget, or what a large frame and header may need.

    Without a limit one message could claim any memory, which ZeroMQ allocates before its first byte has arrived.
    """
    return max(SMALLEST_LIMIT_NBYTES, request.memory_bytes // 2, MOST_OF_FRAME * (request.frame_nbytes or 0))


class SourceSet:
    """One thread at a time, except `nudge`, which is for any."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        request: RunRequest,
        shares: Shares,
        sockets: Sockets | None = None,
    ) -> None:
        """Opens nothing yet."""
        self.limit_bytes = shares.queue
        """Of what is received ahead. One message larger than that passes alone."""
        self.nbytes = 0
        """Received and not yet taken."""
        self.taken_nbytes = 0
        """Of the messages that `get` returned last."""
        self.full_count = 0
        """Times the sockets were left unread because the limit was reached."""
        self.drained = False
        """All that had arrived when `get` was called last had been taken before."""
        self._context = context
        self._format = request.stream_format
        self._has_modules = request.stream_format.has_modules
        self._sockets = sockets or choose_sockets(request)
        self._endpoints = request.sources
        self._pinned = request.pinned
        self._keys = {"server_key": request.curve_server_key, "key_file": request.curve_key_file}
        ahead = min(shares.sockets, AHEAD_BYTES) if request.frame_nbytes else shares.sockets
        self._ahead_bytes = ahead // (len(request.sources) * self._sockets.per_source)
        self._frame_nbytes = request.frame_nbytes or ASSUMED_FRAME_NBYTES
        self._receive_buffer = choose_receive_buffer(request)
        self._most_nbytes = largest_part_nbytes(request)
        self._batch = request.pinned.batch_messages or BATCH
        self._batch_bytes = max(1, min(BATCH_BYTES, shares.queue // 4))
        self._sources: list[Source] = []
        self._held_back: frozenset[int] = frozenset()
        self._kept: deque[Received] = deque()
        self._waiting: deque[Received] = deque()
        self._was_full = False
        self._poller = zmq.Poller()
        self._bell = Bell()
        self._poller.register(self._bell.fileno(), zmq.POLLIN)

    @property
    def decisions(self) -> dict[str, str]:
        """How many messages ZeroMQ may hold, and how much is received ahead."""
        marks = sorted({source.most_ahead for source in self._sources})
        count, reason = self._sockets
        buffer, why = self._receive_buffer
        refused = sum(source.refused for source in self._sources)
        closed = f"{refused} closed for a message larger than that, or for what was no message of ZeroMQ"
        return {
            "sockets": f"{count} for each source ({reason})",
            "messages ahead": ", ".join(map(str, marks)),
            "receive buffer": f"{f'{buffer >> 10} KiB' if buffer else 'left to the system'} ({why})",
            "batch": f"{self._batch} messages, {self._batch_bytes >> 10} KiB",
            "queue": f"{self.limit_bytes >> 20} MiB",
            "largest message": f"{self._most_nbytes >> 20} MiB",
        } | ({"connections": closed} if refused else {})

    @property
    def bytes_received(self) -> int:
        """Of all message parts."""
        return sum(source.bytes_received for source in self._sources)

    @property
    def waiting(self) -> int:
        """Messages received and not yet taken."""
        return len(self._waiting)

    @property
    def never_connected(self) -> tuple[str, ...]:
        """Endpoints at which nobody ever accepted the connection: a wrong address, or a sender that is off."""
        silent = (source for source in self._sources if not source.was_connected)
        texts = (f"{one.endpoint} ({SPEAKS_OTHERWISE})" if one.strangers else one.endpoint for one in silent)
        return tuple(dict.fromkeys(texts))

    def heard(self) -> list[tuple[str, str]]:
        """(endpoint, connected or disconnected), since the last call."""
        return [(source.endpoint, what) for source in self._sources for what in source.listen()]

    @property
    def reading(self) -> bool:
        """False once the sockets are closed; messages may still wait here."""
        return any(source.is_open for source in self._sources)

    def open(self) -> None:
        """Connect."""
        kind = MarkedSource if self._has_modules else Source
        for endpoint in [endpoint for endpoint in self._endpoints for _ in range(self._sockets.per_source)]:
            source = kind(
                self._context,
                endpoint,
                ahead_bytes=self._ahead_bytes,
                frame_nbytes=self._frame_nbytes,
                messages_ahead=self._pinned.messages_ahead,
                receive_buffer_bytes=self._receive_buffer.nbytes,
                most_nbytes=self._most_nbytes,
                number=len(self._sources),
                is_published=self._format.is_published,
                **self._keys,
            )
            self._sources.append(source)
            self._poller.register(source.socket, zmq.POLLIN)

    def wait_connected(self, timeout_s: float) -> None:
        """Until every sender has accepted the connection; PipelineError names the one that has not."""
        deadline = time.monotonic() + timeout_s
        for source in self._sources:
            source.wait_connected(deadline)

    def drop_left_overs(self) -> int:
        """Throw away what a sender had kept for whoever connects next; returns the number of messages.

        Only for a sender that is armed afterwards: then whatever comes before belongs to an earlier series.
        """
        deadline = time.monotonic() + LEFT_OVERS_S
        dropped = 0
        while time.monotonic() < deadline and (batch := self.get(QUIET_S)):
            dropped += len(batch)
        return dropped

    def get(self, wait_s: float) -> list[Message]:
        """The next messages, as many as make a batch; waits for the first one. Empty after that, or after a nudge."""
        self.drained = False
        if not self._waiting:
            self._receive(self._batch, self._batch_bytes)
            self.drained = not self._waiting
            if not self._waiting and wait_s > 0 and self._wait(wait_s):
                self._receive(self._batch, self._batch_bytes)
            if not self._waiting:
                for source in self._sources:
                    source.mend()
        batch: list[Message] = []
        waiting, nbytes = self._waiting, 0
        while waiting and len(batch) < self._batch and nbytes < self._batch_bytes:
            message, cost = waiting.popleft()
            batch.append(message)
            nbytes += cost
        self.nbytes -= nbytes
        self.taken_nbytes = nbytes
        return batch

    def hold_back(self, numbers: frozenset[int]) -> None:
        """Do not read these connections, nor hand out what has come over them, until this is called again."""
        if numbers == self._held_back:
            return
        for source in self._sources:
            if source.is_open and (source.number in numbers) != (source.number in self._held_back):
                if source.number in numbers:
                    self._poller.unregister(source.socket)  # what waits there must not wake us
                else:
                    self._poller.register(source.socket, zmq.POLLIN)
        self._held_back = numbers
        marks = {mark(number) for number in numbers}
        came = [*self._kept, *self._waiting]  # those kept came first: their connections were not read since
        self._kept = deque(one for one in came if one[0][0] in marks)
        self._waiting = deque(one for one in came if one[0][0] not in marks)

    def put_back(self, messages: list[Message]) -> None:
        """Of a batch that was taken too early."""
        for message in reversed(messages):
            cost = sum(len(part) for part in message) + MESSAGE_COST
            self._waiting.appendleft((message, cost))
            self.nbytes += cost

    def fill(self, *, wholly: bool = True) -> None:
        """Receive ahead what has arrived, as far as the limit allows; or only as far as a disk that moves needs."""
        limit = self.limit_bytes if wholly else min(self.limit_bytes, AHEAD_BYTES)
        before = -1
        while self.nbytes < limit and self.nbytes != before:
            before = self.nbytes
            self._receive(BATCH, limit - self.nbytes)
        full = self.nbytes >= self.limit_bytes
        self.full_count += full and not self._was_full
        self._was_full = full

    def nudge(self) -> None:
        """Make `get` return although nothing came: a request waits for its caller."""
        self._bell.ring()

    def stop(self) -> None:
        """Receive what has arrived, as far as there is room, and close the sockets. Harmless twice."""
        if self.reading:
            self.fill()
        for source in self._sources:
            source.close()

    def close(self) -> None:
        """At once, and nobody will wait for a message any more. Harmless twice."""
        for source in self._sources:
            source.close()
        self._bell.close()

    def remains(self) -> Iterator[Message]:
        """What waits here and in ZeroMQ's own queues, one by one, and the sockets are closed.

        A sender that goes on must not keep anybody here: of its queues as much is read as may be received ahead.
        """
        left = self.limit_bytes
        while True:
            while self._waiting:
                message, cost = self._waiting.popleft()
                self.nbytes -= cost
                yield message
            before = self.nbytes
            if left > 0:
                self._receive(BATCH, min(left, self._batch_bytes))
            left -= self.nbytes - before
            if not self._waiting:
                break
        for source in self._sources:
            source.close()

    # ---- inside ----

    def _receive(self, most: int, most_bytes: int) -> None:
        if self._has_modules:
            self._receive_in_turn(most, most_bytes)
            return
        for source in self._sources:
            if source.is_open:
                self.nbytes += source.receive(self._waiting, most, most_bytes)

    def _receive_in_turn(self, most: int, most_bytes: int) -> None:
        """The same from connections whose messages belong together: none gets further ahead than it must."""
        limit = self.nbytes + most_bytes * len(self._sources)
        for _ in range(0, most, TURN):
            before = self.nbytes
            for source in self._sources:
                if source.is_open and source.number not in self._held_back:
                    self.nbytes += source.receive(self._waiting, TURN, most_bytes)
            if self.nbytes == before or self.nbytes >= limit:
                return

    def _wait(self, wait_s: float) -> bool:
        """For a message. False: somebody rang."""
        if not self.reading:
            return False
        if self._bell.listen():
            self._poller.poll(int(wait_s * 1000) + 1)
        return not self._bell.silence()
