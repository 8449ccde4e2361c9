"""The receiving half of `maxdaq record`."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType

import msgspec
import zmq
from rich.console import Console

from maxdaq_tango.curve import identify
from maxdaq_tango.errors import ConfigurationError, WireError
from maxdaq_tango.model import SeriesEnd
from maxdaq_tango.wire import Decoder, decoder_for
from maxdaq_tango.wire.capture import CaptureWriter
from maxdaq_tango.wire.renumber import format_of

POLL_MS = 100
MESSAGES_AHEAD = 32
"""Packing is slower than a detector: with ZeroMQ's 1000 the messages of 20 MB would fill the memory."""


class Recorded(msgspec.Struct, frozen=True):
    """What was written down."""

    file: str
    messages: int
    bytes: int
    series: int
    """End messages seen."""
    ended_by: str


def record_stream(
    source: str,
    output: Path,
    *,
    series: int,
    messages: int,
    timeout_s: float,
    console: Console,
    server_key: str = "",
    key_file: str = "",
) -> Recorded:
    """Until the wished number of ends or messages, silence, or Ctrl-C; the file is readable in any case.

    Without a single message no file is left.
    """
    stopped: list[str] = []

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.append(signal.Signals(number).name)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.PULL)
    socket.set_hwm(MESSAGES_AHEAD)
    try:
        identify(socket, server_key, key_file)
        with CaptureWriter(output) as writer:
            try:
                socket.connect(source)
            except zmq.ZMQError as error:
                raise ConfigurationError(
                    f"connect to {source!r}", answer=str(error), accepted="tcp://HOST:PORT"
                ) from None
            console.print(f"recording {source}; Ctrl-C ends it", markup=False, soft_wrap=True)
            count = nbytes = ends = silence_ms = 0
            decoder: Decoder | None = None
            while not stopped:
                if not socket.poll(POLL_MS):
                    silence_ms += POLL_MS
                    if timeout_s and silence_ms >= timeout_s * 1000:
                        stopped.append("silence")
                    continue
                silence_ms = 0
                parts = socket.recv_multipart()
                writer.write(parts)
                count += 1
                nbytes += sum(len(part) for part in parts)
                try:
                    decoder = decoder or decoder_for(format_of(parts))
                    ends += isinstance(decoder.decode(parts), SeriesEnd)
                except WireError:
                    pass  # a recorder keeps what it does not understand: that is what it is for
                if series and ends >= series:
                    stopped.append("the end message")
                elif messages and count >= messages:
                    stopped.append("the number of messages")
        if not count:
            output.unlink()  # an empty capture would only be in the way of the next attempt
        return Recorded(str(output), count, nbytes, ends, stopped[0])
    finally:
        context.destroy(0)
        for number, handler in before.items():
            signal.signal(number, handler)
