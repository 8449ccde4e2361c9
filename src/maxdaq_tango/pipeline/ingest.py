"""One PULL socket (SUB where the sender publishes): connect, receive without copying, count.

No more: it is the first place where data can be lost.

The socket is connected before the detector is armed: a header leaves at that moment and is lost otherwise. It is read
by the thread that also decodes and writes. A thread of its own for each socket made small frames three times slower:
both threads share Python's lock, and pass it on with every message. What has to happen meanwhile, ZeroMQ's own threads
do: they take bytes from the network until `most_ahead` messages wait.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Sequence

import zmq
import zmq.utils.monitor

from maxdaq_tango.curve import identify
from maxdaq_tango.errors import ConfigurationError, PipelineError
from maxdaq_tango.model import Buffer
from maxdaq_tango.wire.marked import mark

_HEARD: dict[int, str] = {zmq.EVENT_HANDSHAKE_SUCCEEDED: "connected", zmq.EVENT_DISCONNECTED: "disconnected"}

Message = Sequence[Buffer]
Received = tuple[Message, int]
"""A message, and the bytes that it counts for while it waits."""

MOST_AHEAD = 1000
"""Messages in ZeroMQ's own queue, where their size allows it: they ride out a write that takes long."""
FEWEST_AHEAD = 2
MEND_S = 0.2
"""A connection of which nothing was heard for so long after its end: libzmq tells at once that it tries again."""
MESSAGE_COST = 512
"""Bytes that a waiting message costs beyond its pixels (measured: list, frames and views of two to four parts); without
it very many very small messages would pass any budget."""


STRANGERS = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
SPEAKS_OTHERWISE = "somebody listens there, with other keys (CURVE) than ours, or with none"


class Source:
    """One endpoint. One thread at a time."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        *,
        ahead_bytes: int,
        frame_nbytes: int,
        messages_ahead: int = 0,
        receive_buffer_bytes: int = 0,
        most_nbytes: int = -1,
        server_key: str = "",
        key_file: str = "",
        number: int = 0,
        is_published: bool = False,
    ) -> None:
        """`ahead_bytes` may wait in ZeroMQ, which counts messages: of `frame_nbytes` at most, as far as is known.

        `messages_ahead` says how many, whatever that makes; 0 = as many as fit. `receive_buffer_bytes` are asked of the
        system, which has a limit of its own; 0 = what it likes. A message part of more than `most_nbytes` is never
        received: ZeroMQ closes the connection before it takes memory for it, and `mend` makes a new one; what was on
        its way is gone. -1 = any. `server_key` and `key_file` as `curve.identify` takes them. `number` counts the
        connections of a run. What `is_published` is subscribed to, all of it: its sender drops what we do not take in
        time.
        """
        self.endpoint = endpoint
        self.bytes_received = 0
        """Of all parts. Written by one thread; any may look."""
        self.refused = 0
        """Connections that were closed for what came over them: a message that was too large, or no ZMTP."""
        self.strangers = 0
        """Connections that were answered by somebody who speaks with other keys, or with none."""
        self._was_connected = False
        self.heard: list[str] = []
        """What became of the connection since somebody asked last: connected, disconnected."""
        self._ended_at: float | None = None
        self.is_open = True
        self.number = number
        self.socket = context.socket(zmq.SUB if is_published else zmq.PULL)
        """For a poller."""
        # Once and for all: libzmq (4.3.5) takes a new mark on an open connection, but its reader then acknowledges in
        # other strides than its writer waits for: a stream stopped for ever in the middle when the mark was lowered.
        fitting = min(MOST_AHEAD, ahead_bytes // max(1, frame_nbytes))
        self.most_ahead = max(FEWEST_AHEAD, messages_ahead or fitting)
        """Messages in ZeroMQ's own queue."""
        self.socket.set(zmq.RCVHWM, self.most_ahead)
        self.socket.set(zmq.MAXMSGSIZE, most_nbytes)
        if receive_buffer_bytes:
            self.socket.set(zmq.RCVBUF, receive_buffer_bytes)
        self.socket.linger = 0
        self.socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
        self.socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 60)
        self.socket.setsockopt(zmq.RECONNECT_IVL, 20)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
        self._monitor = self.socket.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED | STRANGERS
        )
        try:
            identify(self.socket, server_key, key_file)
            if is_published:
                self.socket.subscribe(b"")
            self.socket.connect(endpoint)
        except ConfigurationError:
            self.close()
            raise
        except zmq.ZMQError as error:
            self.close()
            raise ConfigurationError(
                f"connect to the stream {endpoint!r}", answer=str(error), accepted="tcp://HOST:PORT"
            ) from None

    def receive(self, into: deque[Received], most: int, most_bytes: int) -> int:
        """Append up to `most` messages of `most_bytes` together that have arrived; returns what they count for.

        Never waits. It stops behind the message that passes `most_bytes`.
        """
        recv, no_wait, cost = self.socket.recv, zmq.NOBLOCK, 0
        try:
            for _ in range(most):
                part = recv(no_wait, False, False)
                parts: list[Buffer] = [part.bytes]  # parsed at once; pixels stay where ZeroMQ received them
                nbytes = len(parts[0])
                while part.more:
                    part = recv(no_wait, False, False)
                    view = part.buffer
                    parts.append(view)
                    nbytes += len(view)
                self.bytes_received += nbytes
                into.append((parts, nbytes + MESSAGE_COST))
                cost += nbytes + MESSAGE_COST
                if cost >= most_bytes:
                    break
        except zmq.Again:
            pass
        return cost

    def wait_connected(self, deadline: float) -> None:
        """Until the sender has accepted the connection; PipelineError when it has not by `deadline` (monotonic)."""
        while not self.was_connected and self._monitor.poll(max(0, int((deadline - time.monotonic()) * 1000))):
            pass
        if not self._was_connected:
            raise PipelineError(
                f"connect to the stream {self.endpoint}",
                answer=SPEAKS_OTHERWISE if self.strangers else "nobody accepted the connection",
                accepted="a sender that listens there before the detector is armed",
            )

    @property
    def was_connected(self) -> bool:
        """The sender has accepted the connection at least once."""
        if self.is_open and not self._was_connected:
            self._look()
        return self._was_connected

    def mend(self) -> None:
        """Connect again after a connection was closed for what came over it; libzmq (4.3.5) does not, ever.

        To be called now and then while nothing comes. Of other ends it takes care itself, and says so.
        """
        if not self.is_open:
            return
        self._look()
        if self._ended_at is None or time.monotonic() - self._ended_at < MEND_S:
            return
        self._ended_at = None
        self.refused += 1
        with contextlib.suppress(zmq.ZMQError):  # it may have forgotten the dead one
            self.socket.disconnect(self.endpoint)
        self.socket.connect(self.endpoint)

    def listen(self) -> list[str]:
        """What became of the connection since the last call."""
        if self.is_open:
            self._look()
        heard, self.heard = self.heard, []
        return heard

    def close(self) -> None:
        """What ZeroMQ still holds is lost. Harmless twice."""
        if self.is_open:
            self.was_connected  # noqa: B018  (the last moment to know)
            self.is_open = False
            self.socket.disable_monitor()
            self._monitor.close(0)
            self.socket.close(0)

    def _look(self) -> None:
        """Hear what became of the connection."""
        while self._monitor.poll(0):
            event = zmq.utils.monitor.recv_monitor_message(self._monitor)["event"]
            if event & STRANGERS:
                self.strangers += 1
                continue
            if event in _HEARD:
                self.heard.append(_HEARD[event])
            self._was_connected = self._was_connected or event == zmq.EVENT_HANDSHAKE_SUCCEEDED
            self._ended_at = time.monotonic() if event == zmq.EVENT_DISCONNECTED else None


class MarkedSource(Source):
    """One module among others: its messages begin with a part that says over which connection they came."""

    def receive(self, into: deque[Received], most: int, most_bytes: int) -> int:
        """As `Source.receive`."""
        came: deque[Received] = deque()
        cost = super().receive(came, most, most_bytes)
        first = mark(self.number)
        into.extend(([first, *parts], nbytes) for parts, nbytes in came)
        return cost
