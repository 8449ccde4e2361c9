"""One thread a socket: receive, count, hand over. Nothing else: this is the first place where data can be lost.

The PULL socket is connected before the detector is armed: a header leaves at that moment and is lost otherwise.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import zmq
import zmq.utils.monitor

from maxdaq_tango.errors import ConfigurationError, PipelineError
from maxdaq_tango.model import Buffer
from maxdaq_tango.pipeline.byte_queue import ByteQueue

Message = Sequence[Buffer]

COPY_BELOW = 32_768
"""Parts smaller than this are cheaper copied than wrapped (a zero-copy zmq.Frame costs about 5 us of Python)."""
BATCH = 64
BATCH_BYTES = 1 << 20
"""Large frames are handed over one by one: no use in making the collector wait, and a batch counts as a whole."""
MOST_AHEAD = 64
"""Messages in ZeroMQ's own queue; more made nothing faster, from 2 kB to 200 kB (16 cost half at 200 kB)."""
POLL_MS = 100
MESSAGE_COST = 512
"""Bytes that a waiting message costs beyond its pixels (measured: list, frames and views of two to four parts); without
it very many very small messages would pass any budget."""


class SourceReader:
    """Reads one endpoint into the queue until it is closed."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        queue: ByteQueue[Message],
        *,
        ahead_bytes: int,
        frame_nbytes: int,
    ) -> None:
        """`ahead_bytes` may wait in ZeroMQ, which counts messages of `frame_nbytes` at most, as far as is known."""
        self.endpoint = endpoint
        self.bytes_received = 0
        """Of all parts. Written by the reader's thread only; any thread may look."""
        self.messages_refused = 0
        """Received, and turned away by the queue because the run is over."""
        self.error = ""
        self._queue = queue
        self._closing = threading.Event()
        self._connected = threading.Event()
        self._socket = context.socket(zmq.PULL)
        # Once and for all: libzmq (4.3.5) takes a new mark on an open connection, but its reader then acknowledges in
        # other strides than its writer waits for: a stream stopped for ever in the middle when the mark was lowered.
        self.most_ahead = max(2, min(MOST_AHEAD, ahead_bytes // max(1, frame_nbytes)))
        """Messages in ZeroMQ's own queue."""
        self._socket.set(zmq.RCVHWM, self.most_ahead)
        self._socket.linger = 0
        self._socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
        self._socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 60)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 20)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            self._close_sockets()
            raise ConfigurationError(
                f"connect to the stream {endpoint!r}", answer=str(error), accepted="tcp://HOST:PORT"
            ) from None
        self._thread = threading.Thread(target=self._run, name=f"ingest {endpoint}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def wait_connected(self, deadline: float) -> None:
        """Until the sender has accepted the connection; PipelineError when it has not by `deadline` (monotonic)."""
        if not self._connected.wait(max(0.0, deadline - time.monotonic())):
            raise PipelineError(
                f"connect to the stream {self.endpoint}",
                answer="nobody accepted the connection",
                accepted="a sender that listens there before the detector is armed",
            )

    @property
    def was_connected(self) -> bool:
        """The sender has accepted the connection at least once."""
        return self._connected.is_set()

    def close(self) -> None:
        """Stop and join; the queue must have been closed or emptied, or this waits for room in it. Harmless twice."""
        self._closing.set()
        if self._thread.ident is None:  # never started: its sockets are still ours
            self._close_sockets()
        else:
            self._thread.join()

    def _run(self) -> None:
        batch_bytes = max(1, min(BATCH_BYTES, self._queue.limit_bytes // 4))
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._monitor, zmq.POLLIN)
        copy = False
        try:
            while not self._closing.is_set():
                ready = dict(poller.poll(POLL_MS))
                if self._monitor in ready:
                    self._watch()
                if self._socket not in ready:
                    continue
                batch: list[tuple[Message, int]] = []
                in_batch = 0
                while len(batch) < BATCH and in_batch < batch_bytes:
                    try:
                        message, nbytes = _receive(self._socket, copy)
                    except zmq.Again:
                        break
                    batch.append((message, nbytes + MESSAGE_COST))
                    copy = nbytes < COPY_BELOW
                    in_batch += nbytes
                self.bytes_received += in_batch
                if not self._queue.put_many(batch):
                    self.messages_refused += len(batch)
                    break
        except Exception as error:  # the thread's root: nothing may die without a word
            self.error = f"reading {self.endpoint}: {type(error).__name__}: {error}"
            self._queue.nudge()
        finally:
            self._close_sockets()

    def _watch(self) -> None:
        event = zmq.utils.monitor.recv_monitor_message(self._monitor)["event"]
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._connected.set()

    def _close_sockets(self) -> None:
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close(0)


def _receive(socket: zmq.Socket[bytes], copy: bool) -> tuple[Message, int]:
    """One message without waiting; zmq.Again when there is none."""
    parts: list[Buffer] = []
    total = 0
    if copy:
        for part in socket.recv_multipart(zmq.NOBLOCK):
            parts.append(part)
            total += len(part)
        return parts, total
    for frame in socket.recv_multipart(zmq.NOBLOCK, copy=False):
        # the JSON parts are small and parsed at once: bytes; pixels stay where ZeroMQ received them
        size = len(frame)
        parts.append(frame.buffer if size >= COPY_BELOW else frame.bytes)
        total += size
    return parts, total
