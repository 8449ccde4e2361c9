"""A receiver for tests: takes a detector's stream as it comes and hands out decoded events.

Connect before arming, as any receiver must: the start message leaves then, and PUSH gives it to nobody else.
"""

from __future__ import annotations

import time
from types import TracebackType

import zmq
from zmq.utils.monitor import recv_monitor_message

from maxdaq_tango.model import Frame, SeriesEnd, SeriesStart, StreamDescription, WireEvent
from maxdaq_tango.wire import decoder_for


class StreamProbe:
    """One PULL socket on the stream that `description` announces. A context manager; for one thread."""

    def __init__(self, description: StreamDescription, *, timeout_s: float = 10.0) -> None:
        """`timeout_s` is the longest silence that any method puts up with."""
        self._source = description.sources[0]
        self._decode = decoder_for(description.stream_format).decode
        self._timeout_s = timeout_s

    def __enter__(self) -> StreamProbe:
        """Returns once the sender has accepted the connection."""
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PULL)
        self._socket.linger = 0
        try:
            self._connect()
        except BaseException:
            self._close()
            raise
        return self

    def _connect(self) -> None:
        monitor = self._socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        try:
            self._socket.connect(self._source)
            if not monitor.poll(int(self._timeout_s * 1000)):
                raise TimeoutError(f"{self._source} accepted no connection within {self._timeout_s:g} s")
            recv_monitor_message(monitor)
        finally:
            self._socket.disable_monitor()
            monitor.close(0)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        self._socket.close(0)
        self._context.term()

    def message(self) -> list[bytes]:
        """Parts of the next message; `TimeoutError` when none comes."""
        if not self._socket.poll(int(self._timeout_s * 1000)):
            raise TimeoutError(f"{self._source} sent nothing for {self._timeout_s:g} s")
        return self._socket.recv_multipart()

    def event(self) -> WireEvent:
        """The next message decoded."""
        return self._decode(self.message())

    def series(self) -> tuple[SeriesStart, list[Frame], SeriesEnd]:
        """A whole series from start to (first) end message. Left-overs of an earlier one before the start are skipped.

        Frames come as they arrived; nothing is said about completeness, that is the test's business.
        """
        event = self.event()
        while not isinstance(event, SeriesStart):
            event = self.event()
        start, frames = event, []
        while not isinstance(event := self.event(), SeriesEnd):
            if isinstance(event, Frame):
                frames.append(event)
        return start, frames, event

    def drain(self, quiet_s: float = 0.1) -> int:
        """Throw away what an earlier series left in the sender's queue; returns how many messages it was."""
        count = 0
        while self._socket.poll(int(quiet_s * 1000)):
            self._socket.recv_multipart()
            count += 1
        return count

    def rest(self, quiet_s: float = 0.3) -> list[WireEvent]:
        """Whatever else comes until nothing has come for `quiet_s`."""
        events = []
        deadline = time.monotonic() + self._timeout_s
        while time.monotonic() < deadline and self._socket.poll(int(quiet_s * 1000)):
            events.append(self._decode(self._socket.recv_multipart()))
        return events
