"""The reader of one socket: everything that is sent arrives, whatever its size."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import zmq

from maxdaq_tango.pipeline.byte_queue import ByteQueue
from maxdaq_tango.pipeline.ingest import Message, SourceReader


@pytest.fixture
def context() -> Iterator[zmq.Context[Any]]:
    context: zmq.Context[Any] = zmq.Context()
    yield context
    context.destroy(0)


def received(queue: ByteQueue[Message], count: int) -> list[int]:
    """Lengths of the next `count` messages."""
    lengths: list[int] = []
    deadline = time.monotonic() + 10.0
    while len(lengths) < count and time.monotonic() < deadline:
        lengths += [len(message[0]) for message in queue.get_many(1024, 0.1)]
    return lengths


@pytest.mark.parametrize("small", [1, 132, 133, 313, 400, 900])
def test_a_message_larger_than_was_known_of_does_not_stop_the_stream(context: zmq.Context[Any], small: int) -> None:
    sender = context.socket(zmq.PUSH)
    sender.sndtimeo = 10_000
    port = sender.bind_to_random_port("tcp://127.0.0.1")
    queue: ByteQueue[Message] = ByteQueue(1 << 26)
    reader = SourceReader(context, f"tcp://127.0.0.1:{port}", queue, ahead_bytes=1 << 24, frame_nbytes=6144)
    reader.start()
    try:
        for _ in range(small):
            sender.send(b"x" * 900)
        assert received(queue, small) == [900] * small
        sender.send(b"x" * 125_000)  # a header with its mask: what is known of is the size of a frame
        assert received(queue, 1) == [125_000]
        time.sleep(0.05)  # the reader has nothing to read: whatever it wanted to change about the connection is changed
        for _ in range(1200):
            sender.send(b"x" * 900)
        assert received(queue, 1200) == [900] * 1200
    finally:
        queue.close()
        reader.close()
        sender.close(0)
