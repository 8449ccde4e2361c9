"""The sockets of a run: everything that is sent arrives, whatever its size, and no more is held than is allowed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import zmq
from zmq.utils.monitor import recv_monitor_message

from maxdaq_tango.model import RunRequest, StreamFormat
from maxdaq_tango.pipeline.budget import Shares
from maxdaq_tango.pipeline.ingest import MESSAGE_COST
from maxdaq_tango.pipeline.sources import BATCH, SourceSet, largest_part_nbytes

WAIT_S = 10.0


class Wire:
    """Senders on free ports, and the sockets that read them."""

    def __init__(self) -> None:
        self.context: zmq.Context[Any] = zmq.Context()
        self.sources: SourceSet | None = None
        self.senders: list[Any] = []

    def connect(
        self, count: int = 1, *, queue: int = 1 << 26, sockets: int = 1 << 24, frame: int = 6144, memory: int = 1 << 30
    ) -> SourceSet:
        endpoints = []
        for _ in range(count):
            sender = self.context.socket(zmq.PUSH)
            sender.sndtimeo = int(WAIT_S * 1000)
            endpoints.append(f"tcp://127.0.0.1:{sender.bind_to_random_port('tcp://127.0.0.1')}")
            self.senders.append(sender)
        request = RunRequest(
            sources=tuple(endpoints), stream_format=StreamFormat.STINS, frame_nbytes=frame, memory_bytes=memory
        )
        shares = Shares(sockets=sockets, queue=queue, held=0, pool=0, slabs=0)
        self.sources = SourceSet(self.context, request, shares)
        self.sources.open()
        self.sources.wait_connected(WAIT_S)
        return self.sources

    def received(self, count: int) -> list[int]:
        """Lengths of the first parts of the next `count` messages."""
        assert self.sources is not None
        lengths: list[int] = []
        deadline = time.monotonic() + WAIT_S
        while len(lengths) < count and time.monotonic() < deadline:
            lengths += [len(message[0]) for message in self.sources.get(0.1)]
        return lengths


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    if wire.sources is not None:
        wire.sources.close()
    wire.context.destroy(0)


@pytest.mark.parametrize("small", [1, 132, 133, 313, 400, 900])
def test_a_message_larger_than_was_known_of_does_not_stop_the_stream(wire: Wire, small: int) -> None:
    wire.connect()
    (sender,) = wire.senders
    for _ in range(small):
        sender.send(b"x" * 900)
    assert wire.received(small) == [900] * small
    sender.send(b"x" * 125_000)  # a header with its mask: what is known of is the size of a frame
    assert wire.received(1) == [125_000]
    time.sleep(0.05)  # there is nothing to read: whatever would be changed about the connection is changed
    for _ in range(1200):
        sender.send(b"x" * 900)
    assert wire.received(1200) == [900] * 1200


def test_parts_of_a_message_stay_together_and_in_order(wire: Wire) -> None:
    sources = wire.connect()
    wire.senders[0].send_multipart([b"head", b"", b"x" * 100_000])
    (message,) = sources.get(WAIT_S)
    assert [bytes(part) for part in message] == [b"head", b"", b"x" * 100_000]
    assert sources.bytes_received == 100_004


def test_a_message_part_beyond_the_limit_is_not_received_and_the_stream_goes_on_behind_it(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maxdaq_tango.pipeline.sources.SMALLEST_LIMIT_NBYTES", 100_000)
    sources = wire.connect(frame=10, memory=1000)
    (sender,) = wire.senders
    sender.send(b"x" * 100_000)
    assert wire.received(1) == [100_000]
    with sender.get_monitor_socket(zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED) as monitor:
        sender.send_multipart([b"head", b"x" * 100_001])
        assert monitor.poll(WAIT_S * 1000)
        assert recv_monitor_message(monitor)["event"] == zmq.EVENT_DISCONNECTED
        until = time.monotonic() + WAIT_S
        while not monitor.poll(0) and time.monotonic() < until:
            assert sources.get(0.05) == []  # nobody else would connect again
        assert recv_monitor_message(monitor)["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED
        sender.disable_monitor()
    sender.send(b"next")
    assert wire.received(1) == [4]
    assert sources.bytes_received == 100_004
    assert sources.decisions["connections"].startswith("1 closed for a message larger than that")


def test_a_sender_that_vanishes_and_returns_is_no_connection_that_was_closed_for_something(wire: Wire) -> None:
    sources = wire.connect()
    (sender,) = wire.senders
    endpoint = sender.getsockopt_string(zmq.LAST_ENDPOINT)
    sender.send(b"1")
    assert wire.received(1) == [1]
    sender.close(0)
    for _ in range(10):
        assert sources.get(0.05) == []
    again = wire.context.socket(zmq.PUSH)
    wire.senders.append(again)
    again.bind(endpoint)
    again.sndtimeo = int(WAIT_S * 1000)
    again.send(b"22")
    assert wire.received(1) == [2]
    assert "connections" not in sources.decisions


@pytest.mark.parametrize(
    ("memory", "frame", "limit"),
    [(1 << 30, None, 1 << 29), (16 << 20, None, 64 << 20), (1 << 30, 100 << 20, 2000 << 20), (1 << 30, 1000, 1 << 29)],
)
def test_the_limit_of_a_message_follows_from_the_memory_and_the_frame(
    memory: int, frame: int | None, limit: int
) -> None:
    request = RunRequest(
        sources=("tcp://h:1",), stream_format=StreamFormat.STINS, memory_bytes=memory, frame_nbytes=frame
    )
    assert largest_part_nbytes(request) == limit


def test_every_socket_has_its_turn(wire: Wire) -> None:
    sources = wire.connect(3)
    for number, sender in enumerate(wire.senders):
        for _ in range(500):
            sender.send(b"%d" % number)
    counts = {b"0": 0, b"1": 0, b"2": 0}
    deadline = time.monotonic() + WAIT_S
    while sum(counts.values()) < 1500 and time.monotonic() < deadline:
        for message in sources.get(0.1):
            counts[bytes(message[0])] += 1
    assert counts == {b"0": 500, b"1": 500, b"2": 500}


@pytest.mark.lesson(20)
def test_what_is_received_ahead_has_a_limit_and_the_sender_feels_it(wire: Wire) -> None:
    cost = 10_000 + MESSAGE_COST
    sources = wire.connect(queue=50 * cost, sockets=20_000, frame=10_000)
    (sender,) = wire.senders
    sent = 0
    while sent < 100_000 and sender.poll(200, zmq.POLLOUT):
        sender.send(b"x" * 10_000)
        sent += 1
        sources.fill()
    assert 50 * cost <= sources.nbytes < 51 * cost
    assert sources.full_count == 1
    assert len(sources.get(0.0)) == 13  # a quarter of the limit at a time
    assert len(wire.received(sent - 13)) == sent - 13


def test_a_message_larger_than_the_limit_passes_alone(wire: Wire) -> None:
    sources = wire.connect(queue=1000)
    wire.senders[0].send(b"x" * 100_000)
    wire.senders[0].send(b"y" * 100_000)
    assert [len(message[0]) for message in sources.get(WAIT_S)] == [100_000]
    assert [len(message[0]) for message in sources.get(WAIT_S)] == [100_000]


def test_what_is_put_back_comes_first(wire: Wire) -> None:
    sources = wire.connect()
    for number in range(5):
        wire.senders[0].send(b"%d" % number)
    taken: list[Any] = []
    while len(taken) < 5:
        taken += sources.get(WAIT_S)
    sources.put_back(taken[2:])
    assert sources.nbytes == 3 * (1 + MESSAGE_COST)
    assert [bytes(message[0]) for message in sources.get(0.0)] == [b"2", b"3", b"4"]
    assert sources.nbytes == 0


def test_stop_keeps_what_has_arrived_and_takes_no_more(wire: Wire) -> None:
    sources = wire.connect()
    for _ in range(300):
        wire.senders[0].send(b"x")
    first = len(sources.get(WAIT_S))
    time.sleep(0.2)  # loopback: the rest is in ZeroMQ by now
    sources.stop()
    assert not sources.reading
    assert first <= BATCH
    assert len(wire.received(300 - first)) == 300 - first
    assert sources.get(0.0) == []
    sources.stop()
    assert list(sources.remains()) == []


def test_a_nudge_wakes_who_waits(wire: Wire) -> None:
    sources = wire.connect()
    threading.Timer(0.1, sources.nudge).start()
    began = time.monotonic()
    assert sources.get(WAIT_S) == []
    assert time.monotonic() - began < WAIT_S / 2
    sources.close()
    sources.nudge()
    sources.close()


def test_who_was_never_connected_is_named(wire: Wire) -> None:
    sources = wire.connect()
    assert sources.never_connected == ()
    sources.close()
    assert sources.never_connected == ()
    request = RunRequest(sources=("tcp://127.0.0.1:1",), stream_format=StreamFormat.STINS)
    nobody = SourceSet(wire.context, request, Shares(sockets=1, queue=1, held=0, pool=0, slabs=0))
    nobody.open()
    nobody.close()
    assert nobody.never_connected == ("tcp://127.0.0.1:1",)
