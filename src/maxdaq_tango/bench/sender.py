"""The sender, a process of its own: `python -m maxdaq_tango.bench.sender DESCRIPTION FD`.

It pushes STINS as fast as it is taken. The pixels are handed to ZeroMQ without a copy and only a few numbers of the
JSON part change, so that what it costs is the socket. Every turn gets a fresh socket: nothing is left of the last one.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec
import zmq

from maxdaq_tango.bench.inbox import Inbox
from maxdaq_tango.bench.payload import Payload
from maxdaq_tango.bench.talk import Close, Description, Go, Open, Opened, Ready, Sent
from maxdaq_tango.model import Frame, FrameFormat
from maxdaq_tango.wire import stins

HIGH_WATER_MARK = 1000
"""Messages; ZeroMQ's default. They are references, not copies."""
LOOK_BYTES = 1 << 20
"""Bytes between two looks at the clock."""
_MSG_MARK, _FRAME_MARK = 1_111_111_111, 2_222_222_222
_HEADER_MSG = 1


def image_template(description: Description, columns: int = 0) -> bytes:
    """Part 0 of an image for `template % (msg_number, frame_number)`."""
    format = FrameFormat(description.shape, description.dtype, description.packing)
    extras: dict[str, Any] = {f"column_{n:02d}": n + 0.5 for n in range(columns)}
    frame = Frame(series="", frame_number=_FRAME_MARK, format=format, blobs=(), extras=extras)
    part = bytes(stins.encode_image(_MSG_MARK, frame)[0])
    return part.replace(b"%", b"%%").replace(b"%d" % _MSG_MARK, b"%d").replace(b"%d" % _FRAME_MARK, b"%d")


def send_series(
    socket: zmq.Socket[bytes], payload: Payload, go: Go, tell: Callable[[Sent], None], frames: list[zmq.Frame]
) -> None:
    """One series. `tell` is called when the last frame has been handed over, before the end message."""
    template = image_template(payload.description, go.columns)
    sizes = payload.description.lengths
    distinct = len(sizes)
    stride = max(1, LOOK_BYTES // max(sizes))
    # Waits for the receiver's connection, which no turn has to pay for. Two parts, so that only the end has one.
    socket.send_multipart(stins.encode_header(_HEADER_MSG, "", {}))
    began = time.monotonic_ns()
    deadline = began + int(go.seconds * 1e9)
    number = nbytes = 0
    while nbytes < go.most_bytes and time.monotonic_ns() < deadline:
        for _ in range(stride):
            socket.send(template % (number + 1 + _HEADER_MSG, number), zmq.SNDMORE)
            socket.send(frames[number % distinct], copy=False)
            nbytes += sizes[number % distinct]
            number += 1
    tell(Sent(frames=number, nbytes=nbytes, began_ns=began))
    socket.send_multipart(stins.encode_end(number + 1 + _HEADER_MSG))


def main() -> None:
    """Entry point of the process."""
    inbox = Inbox()
    payload = Payload(msgspec.json.decode(sys.argv[1], type=Description), int(sys.argv[2]))
    frames = [zmq.Frame(blob, copy=False) for blob in payload.frames]
    context = zmq.Context()
    socket: zmq.Socket[bytes] | None = None
    inbox.tell(Ready(os.getpid()))
    while True:
        match inbox.next():
            case Open():
                socket = context.socket(zmq.PUSH)
                socket.sndhwm = HIGH_WATER_MARK
                socket.linger = 0  # at `Close` everything has been received, or the turn has failed
                socket.bind("tcp://127.0.0.1:*")
                inbox.tell(Opened(socket.getsockopt_string(zmq.LAST_ENDPOINT)))
            case Go() as go if socket is not None:
                send_series(socket, payload, go, inbox.tell, frames)
            case Close() if socket is not None:
                socket.close()
                socket = None
            case _:
                pass


if __name__ == "__main__":
    main()
