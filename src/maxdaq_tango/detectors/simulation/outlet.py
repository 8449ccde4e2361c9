"""The PUSH socket of a simulator, with the faults that only a socket can have: pauses, absences, a thief."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from maxdaq_tango.curve import Doorman, guard, identify, read_keys
from maxdaq_tango.detectors.simulation.delivery import Delivery, Item
from maxdaq_tango.errors import ConfigurationError, WireError
from maxdaq_tango.model import Buffer, Frame, StreamFormat
from maxdaq_tango.wire import decoder_for

HIGH_WATER = 16
"""Messages inside ZeroMQ. Small, so that the simulator's own queue is the one that fills, and counts what it drops."""
POLL_MS = 50
GOODBYE_S = 10.0
"""How long a sender that vanishes waits for what it has sent to be taken: the account shall be true."""
HANDSHAKE_S = 5.0
THIEF_PATIENCE_S = 0.5
"""Silence after the end of the series, in which a thief still takes what was dealt to it."""


class Outlet:
    """One bound PUSH socket on `port` of `host` (0 = a free one, which it keeps). One thread pushes; `close` from any
    other only when that one has ended. With a `key_file` it speaks CURVE, as no detector does.
    """

    def __init__(self, host: str, port: int, stream_format: StreamFormat, key_file: str = "") -> None:
        self._host, self._format, self._key_file = host, stream_format, key_file
        self._doorman: Doorman | None = None
        self._thief: Thief | None = None
        self._closed = False
        self._open(port)
        self.port = int(self._socket.getsockopt_string(zmq.LAST_ENDPOINT).rsplit(":", 1)[1])

    def push(
        self,
        parts: Sequence[Buffer],
        delivery: Delivery,
        stopping: threading.Event,
        stolen: Callable[[int], object],
    ) -> bool:
        """Send one message, and first do what its delivery asks of the socket. Waits for a peer with room; False when
        `stopping` was set before there was one. `stolen` is called from another thread with the number of each frame
        that a thief takes.
        """
        if delivery.away_s:
            self._leave(int(GOODBYE_S * 1000))
            stopping.wait(delivery.away_s)
            self._open(self.port)
        if delivery.delay_s:
            stopping.wait(delivery.delay_s)
        if delivery.thief and self._thief is None:
            self._let_in_a_thief(stolen)
        sent = self._send(parts, stopping)
        if self._thief is not None and delivery.item is Item.END and delivery.number < 0:
            self._thief.leave()
            self._thief = None
        return sent

    def close(self) -> None:
        """Let go of the port. May be called twice."""
        if self._closed:
            return
        self._closed = True
        if self._thief is not None:
            self._thief.leave(at_once=True)
        self._leave(0)

    def _open(self, port: int) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH)
        self._socket.sndhwm = HIGH_WATER
        self._socket.linger = 0
        try:
            self._doorman = guard(self._context, self._socket, self._key_file)
            self._socket.bind(f"tcp://{self._host}:{port or '*'}")
        except (zmq.ZMQError, ConfigurationError):
            self._leave(0)
            raise

    def _leave(self, linger_ms: int) -> None:
        self._socket.close(linger_ms)
        if self._doorman is not None:
            self._doorman.stop()
            self._doorman = None
        self._context.destroy(linger=linger_ms)

    def _let_in_a_thief(self, stolen: Callable[[int], object]) -> None:
        key = read_keys(self._key_file).public if self._key_file else ""
        # Watched from here, not from the thief's side: when this end says so the next message may be dealt to it.
        monitor = self._socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        self._thief = Thief(f"tcp://{self._host}:{self.port}", self._format, stolen, key)
        if monitor.poll(int(HANDSHAKE_S * 1000)):
            recv_monitor_message(monitor)
        self._socket.disable_monitor()
        monitor.close()

    def _send(self, parts: Sequence[Any], stopping: threading.Event) -> bool:
        while not stopping.is_set():
            if self._socket.poll(POLL_MS, zmq.POLLOUT):
                try:
                    self._socket.send_multipart(parts, zmq.NOBLOCK)
                except zmq.Again:
                    continue
                return True
        return False


class Thief:
    """A second client of the same PUSH socket, which deals it every second message."""

    def __init__(
        self, endpoint: str, stream_format: StreamFormat, stolen: Callable[[int], object], server_key: str = ""
    ) -> None:
        self._decoder, self._stolen = decoder_for(stream_format), stolen
        self._leaving, self._at_once = threading.Event(), threading.Event()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.PULL)
        identify(self._socket, server_key)
        self._socket.connect(endpoint)
        self._thread = threading.Thread(target=self._take, name="sim-thief")
        self._thread.start()

    def leave(self, *, at_once: bool = False) -> None:
        """Take what has been dealt to it, and go."""
        if at_once:
            self._at_once.set()
        self._leaving.set()
        self._thread.join()
        self._context.destroy(linger=0)

    def _take(self) -> None:
        silent_ms = 0
        while not self._at_once.is_set() and silent_ms < THIEF_PATIENCE_S * 1000:
            if not self._socket.poll(POLL_MS):
                silent_ms = silent_ms + POLL_MS if self._leaving.is_set() else 0
                continue
            silent_ms = 0
            parts = self._socket.recv_multipart()
            try:
                event = self._decoder.decode(parts)
            except WireError:
                continue
            if isinstance(event, Frame):
                self._stolen(event.frame_number)
