"""The PUSH socket of a streamer, and the numbering of what leaves through it.

A receiver that is slow or gone must never hold up a stop, so every push waits for a peer with room only until somebody
says that it is enough. What was not sent is counted and never forgotten in silence: the caller gets False.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import zmq

from maxdaq_tango.curve import Doorman, guard
from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.model import Buffer, Frame
from maxdaq_tango.wire import stins

log = logging.getLogger(__name__)

HIGH_WATER = 64
"""Messages inside ZeroMQ, of each peer. What waits there is lost when the process is killed, so it is not many."""
HIGH_WATER_BYTES = 256 << 20
"""And bytes, of all peers together. ZeroMQ counts messages only, before it knows how large they will be, so the bytes
are counted here."""
POLL_MS = 20
END_S = 3.0
"""Of ZeroMQ, when everything is closed."""
NOT_COPIED_FROM = 64 << 10
"""Bytes from which ZeroMQ reads the caller's own memory: below, its book-keeping costs more than a copy."""


class StreamOutlet:
    """One bound PUSH socket on `port` of `host` (0 = a free one, which it keeps).

    One thread pushes; `close` from any other only when that one has ended. With a `key_file` it speaks CURVE.
    """

    def __init__(
        self,
        host: str,
        port: int = 0,
        *,
        key_file: str = "",
        high_water: int = HIGH_WATER,
        high_water_bytes: int = HIGH_WATER_BYTES,
        watch_peers: bool = False,
    ) -> None:
        """`watch_peers`: `lost_peers` tells who went, and trackers are true to the byte, also of small messages."""
        self._closed = False
        self.endpoint = f"tcp://{host}:{port or '*'}"
        self._limit_bytes = high_water_bytes
        self._inside: deque[tuple[zmq.MessageTracker, int]] = deque()
        """Large messages that ZeroMQ still holds, and their bytes."""
        self._inside_bytes = 0
        self._monitor: zmq.Socket[bytes] | None = None
        self._doorman: Doorman | None = None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH)
        self._socket.sndhwm = high_water
        # A part that is copied counts as done before it has left.
        self._socket.copy_threshold = 0 if watch_peers else NOT_COPIED_FROM
        try:
            if watch_peers:
                self._monitor = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
            self._doorman = guard(self._context, self._socket, key_file)
            self._socket.bind(f"tcp://{host}:{port or '*'}")
        except (zmq.ZMQError, ConfigurationError):
            self.close()
            raise
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self.port = int(self.endpoint.rsplit(":", 1)[1])

    def push(
        self, parts: Sequence[Buffer], enough: Callable[[], bool], *, track: bool = False
    ) -> zmq.MessageTracker | bool:
        """Send one message; False when `enough()` said so before there was a peer with room.

        With `track` the parts are not copied, and the tracker that comes back is done when ZeroMQ has let go of them:
        it has given them to the network, or thrown them away because their peer went. Without it the caller may change
        them at once.
        """
        nbytes = sum(memoryview(part).nbytes for part in parts)
        large = nbytes >= NOT_COPIED_FROM
        if large and not track:
            parts = [bytes(part) for part in parts]  # our own, so that it can be seen when they have left
        while not enough():
            if large and not self._has_room(nbytes):
                continue
            if not self._socket.poll(POLL_MS, zmq.POLLOUT):
                continue
            follow = large or track
            try:
                tracker = self._socket.send_multipart(parts, zmq.NOBLOCK, copy=not follow, track=follow)
            except zmq.Again:
                continue  # the peer went between the look and the sending
            if large and tracker is not None:
                self._inside.append((tracker, nbytes))
                self._inside_bytes += nbytes
            return tracker if track and tracker is not None else True
        return False

    def lost_peers(self) -> int:
        """How many have gone since the last call. For the thread that pushes.

        A peer is told of before its messages are thrown away: who looks at trackers first, and then here, knows.
        """
        lost = 0
        while self._monitor is not None and self._monitor.poll(0):
            self._monitor.recv_multipart()
            lost += 1
        if lost:
            self._socket.poll(0, zmq.POLLOUT)  # lets ZeroMQ throw away what was meant for them, and free its memory
        return lost

    def _has_room(self, nbytes: int) -> bool:
        """For one more large message. A single one passes whatever its size. Waits a moment when there is none."""
        while self._inside and self._inside[0][0].done:
            self._inside_bytes -= self._inside.popleft()[1]
        if not self._inside or self._inside_bytes + nbytes <= self._limit_bytes:
            return True
        # What was meant for a peer that has gone is let go of only when the socket is used.
        self._socket.poll(0, zmq.POLLOUT)
        try:
            self._inside[0][0].wait(POLL_MS / 1000)
        except zmq.NotDone:  # perhaps others are: of peers that are not so slow
            self._inside = deque(item for item in self._inside if not item[0].done)
            self._inside_bytes = sum(size for _, size in self._inside)
        return False

    def close(self, linger_ms: int = 0) -> None:
        """Let go of the port; what a peer has not taken after `linger_ms` is thrown away. May be called twice."""
        if self._closed:
            return
        self._closed = True
        if self._monitor is not None:
            self._socket.disable_monitor()
            self._monitor.close(0)
        self._socket.close(linger_ms)
        if self._doorman is not None:
            self._doorman.stop()
        # Seen to hang when a peer with messages inside goes at this very moment: no stop waits for that.
        end = threading.Thread(
            target=self._context.destroy, kwargs={"linger": linger_ms}, name="end of an outlet", daemon=True
        )
        end.start()
        end.join(linger_ms / 1000 + END_S)
        if end.is_alive():
            log.error("%s: ZeroMQ does not let go of its messages, and is left behind", self.endpoint)


class StinsSeries:
    """Series after series out of one outlet: `begin`, `frame` for each, `end`. One thread at a time.

    Message numbers go on over the life of the streamer; a message that could not be sent keeps its number, so that a
    receiver sees the gap.
    """

    def __init__(self, outlet: StreamOutlet) -> None:
        self.outlet = outlet
        self.frames_sent = 0
        """Of this series."""
        self.frames_lost = 0
        """Of this series, given up because nobody took them."""
        self.is_open = False
        self._msg_number = self._header_number = 0
        self._lock = threading.Lock()

    def begin(self, filename: str, metadata: Mapping[str, Any], enough: Callable[[], bool]) -> bool:
        """The header."""
        self.frames_sent = self.frames_lost = 0
        self.is_open = True
        self._header_number = self._msg_number
        return self._push(stins.encode_header(self._next(), filename or None, metadata), enough) is not False

    def frame(
        self, frame: Frame, enough: Callable[[], bool], *, track: bool = False, in_step: bool = False
    ) -> zmq.MessageTracker | bool:
        """One image; see `StreamOutlet.push`.

        `in_step`: for a source whose frames may come out of order, twice or not at all, as files do. The message number
        then follows from the frame number, so that what did not come is a gap in both.
        """
        number = self._number_of(frame.frame_number) if in_step else self._next()
        sent = self._push(stins.encode_image(number, frame), enough, track=track)
        if sent is False:
            self.frames_lost += 1
        else:
            self.frames_sent += 1
        return sent

    def skip(self, count: int) -> None:
        """So many frames were lost before they could become messages. Their numbers stay free, because a receiver knows
        by them which frame is the first.
        """
        with self._lock:
            self._msg_number += count
        self.frames_lost += count

    def end(self, enough: Callable[[], bool]) -> bool:
        """The end message. May be called twice; the second time nothing is sent."""
        if not self.is_open:
            return True
        self.is_open = False
        return self._push(stins.encode_end(self._next()), enough) is not False

    def _next(self) -> int:
        with self._lock:
            number, self._msg_number = self._msg_number, self._msg_number + 1
        return number

    def _number_of(self, frame_number: int) -> int:
        with self._lock:
            number = self._header_number + 1 + frame_number
            self._msg_number = max(self._msg_number, number + 1)
        return number

    def _push(
        self, parts: Sequence[Buffer], enough: Callable[[], bool], *, track: bool = False
    ) -> zmq.MessageTracker | bool:
        return self.outlet.push(parts, enough, track=track)
