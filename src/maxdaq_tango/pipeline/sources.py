"""All sockets of one run and the queue that they fill."""

from __future__ import annotations

import time

import zmq

from maxdaq_tango.model import RunRequest
from maxdaq_tango.pipeline.budget import Shares
from maxdaq_tango.pipeline.byte_queue import ByteQueue
from maxdaq_tango.pipeline.ingest import Message, SourceReader

ASSUMED_FRAME_NBYTES = 16 << 20
"""For the sockets' high-water mark when nobody knows the frame size beforehand: larger than most."""
QUIET_S = 0.01
"""Many round trips of a network; what comes later all the same is out of series and counted as that."""
LEFT_OVERS_S = 0.5


class SourceSet:
    """What waits here has two shares of the budget: the queue's, and the sockets' for ZeroMQ's own queues."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], request: RunRequest, shares: Shares) -> None:
        self.queue: ByteQueue[Message] = ByteQueue(shares.queue)
        self.reading = True
        """False once the sockets are closed; messages may still wait in the queue."""
        self._context = context
        self._endpoints = request.sources
        self._ahead_bytes = shares.sockets // len(request.sources)
        self._frame_nbytes = request.frame_nbytes or ASSUMED_FRAME_NBYTES
        self._readers: list[SourceReader] = []

    @property
    def decisions(self) -> dict[str, str]:
        """How many messages ZeroMQ may hold, and how much the queue."""
        marks = ", ".join(str(reader.most_ahead) for reader in self._readers)
        return {"messages ahead": marks, "queue": f"{self.queue.limit_bytes >> 20} MiB"}

    @property
    def bytes_received(self) -> int:
        """Of all message parts."""
        return sum(reader.bytes_received for reader in self._readers)

    @property
    def error(self) -> str:
        """Why a socket can no longer be read; "" when all are well."""
        return next((reader.error for reader in self._readers if reader.error), "")

    @property
    def never_connected(self) -> tuple[str, ...]:
        """Endpoints at which nobody ever accepted the connection: a wrong address, or a sender that is off."""
        return tuple(reader.endpoint for reader in self._readers if not reader.was_connected)

    def open(self) -> None:
        """Connect and begin to read."""
        for endpoint in self._endpoints:
            reader = SourceReader(
                self._context, endpoint, self.queue, ahead_bytes=self._ahead_bytes, frame_nbytes=self._frame_nbytes
            )
            self._readers.append(reader)
            reader.start()

    def wait_connected(self, timeout_s: float) -> None:
        """Until every sender has accepted the connection; PipelineError names the one that has not."""
        deadline = time.monotonic() + timeout_s
        for reader in self._readers:
            reader.wait_connected(deadline)

    def drop_left_overs(self) -> int:
        """Throw away what a sender had kept for whoever connects next; returns the number of messages.

        Only for a sender that is armed afterwards: then whatever comes before belongs to an earlier series.
        """
        deadline = time.monotonic() + LEFT_OVERS_S
        dropped = 0
        while time.monotonic() < deadline and (batch := self.queue.get_many(1024, QUIET_S)):
            dropped += len(batch)
        return dropped

    def stop(self) -> None:
        """Close the sockets; what has arrived stays in the queue. May be called twice."""
        self.reading = False
        self.queue.close()
        for reader in self._readers:
            reader.close()

    def clear(self) -> int:
        """Throw away what waits; returns how many messages arrived and were never taken."""
        return self.queue.clear() + sum(reader.messages_refused for reader in self._readers)
