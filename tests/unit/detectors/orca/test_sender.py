"""The way from the ring to ZeroMQ: bounded memory that is never changed while somebody reads it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import zmq

from maxdaq_tango.detectors.orca.sender import LEAST_BUFFERS, FrameSender
from maxdaq_tango.detectors.streaming.outlet import StreamOutlet
from maxdaq_tango.model import Encoding, FrameFormat
from maxdaq_tango.testing.driver_contract import wait_for

FORMAT = FrameFormat((256, 512), "uint8", Encoding.NONE)
NBYTES = 256 * 512
"""Above the size from which ZeroMQ reads our own memory."""


@pytest.fixture
def outlet() -> Iterator[StreamOutlet]:
    outlet = StreamOutlet("127.0.0.1")
    yield outlet
    outlet.close()


@pytest.fixture
def sender(outlet: StreamOutlet) -> Iterator[FrameSender]:
    sender = FrameSender(outlet, pool_nbytes=0)
    sender.start()
    sender.prepare(NBYTES)
    yield sender
    sender.close()


@pytest.fixture
def pull(outlet: StreamOutlet) -> Iterator[zmq.Socket[bytes]]:
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.rcvtimeo = 10_000
        socket.connect(outlet.endpoint)
        yield socket
        socket.close(0)


def put(sender: FrameSender, number: int) -> None:
    buffer = None
    while buffer is None:
        buffer = sender.take()
    buffer[:] = number
    sender.put(number, FORMAT, buffer, 0.1)


def test_the_pool_is_bounded_and_used_again(sender: FrameSender) -> None:
    buffers = [sender.take() for _ in range(LEAST_BUFFERS)]
    assert all(buffer is not None for buffer in buffers)
    assert sender.take(0.01) is None
    sender.give_back(buffers[0])
    assert sender.take(0.01) is buffers[0]


def test_what_waits_holds_its_buffer_until_somebody_takes_it(sender: FrameSender, outlet: StreamOutlet) -> None:
    sender.begin({})
    for number in range(LEAST_BUFFERS):
        put(sender, number)
    assert sender.take(0.05) is None
    assert sender.waiting == LEAST_BUFFERS
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.connect(outlet.endpoint)
        wait_for("a free buffer", lambda: sender.take(0.05) is not None)
        socket.close(0)


def test_frames_arrive_whole_although_buffers_are_used_again(sender: FrameSender, pull: zmq.Socket[bytes]) -> None:
    sender.begin({"nimages": 40})
    for number in range(40):
        put(sender, number)
    sender.end(40)
    pull.recv_multipart()
    for number in range(40):
        _, blob = pull.recv_multipart()
        assert np.all(np.frombuffer(blob, np.uint8) == number)
    assert b"series_end" in pull.recv_multipart()[0]
    assert sender.settle(1.0)
    assert (sender.sent, sender.not_sent, sender.waiting) == (40, 0, 0)


def test_giving_up_counts_what_was_not_sent_and_lets_the_next_series_begin(
    sender: FrameSender, outlet: StreamOutlet
) -> None:
    sender.begin({"series": 1})
    for number in range(LEAST_BUFFERS):
        put(sender, number)
    sender.end(LEAST_BUFFERS)
    assert not sender.settle(0.1)
    assert (sender.sent, sender.not_sent, sender.waiting) == (0, LEAST_BUFFERS, 0)
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.rcvtimeo = 10_000
        socket.connect(outlet.endpoint)
        sender.begin({"series": 2})
        put(sender, 0)
        assert b'"series":2' in socket.recv_multipart()[1]
        assert b'"frame":0' in socket.recv_multipart()[0]
        socket.close(0)


def test_another_size_of_frames_makes_other_buffers(sender: FrameSender) -> None:
    old = sender.take()
    assert old is not None
    sender.prepare(NBYTES // 2)
    sender.give_back(old)
    new = sender.take()
    assert new is not None
    assert new.size == NBYTES // 2


def test_it_closes_while_frames_wait_and_twice(sender: FrameSender) -> None:
    sender.begin({})
    put(sender, 0)
    sender.close()
    sender.close()
