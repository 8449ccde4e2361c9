"""Start Diamond's simulated Eiger (tickit-devices, SIMPLON 1.8.0) on free ports, or on those of the JSON that is its
argument; runs in its own environment.

Prints one JSON line, `{"http": port, "legacy": port, "cbor": port}`, once all three answer, and ends when its standard
input is closed, so that it cannot outlive whoever started it.

Two defects of its transport are cured from outside; everything else is as published:

- tickit 0.4.3 opens its PUSH socket with connect *and* bind on the same address, so that half of the messages go to
  itself. Here the socket binds only.
- tickit-devices 0.4.1 sends everything that was buffered since its last update as one multipart message, so that a
  trigger or abort at once after arm puts start and image, or start and end, into one message, which no detector does.
  Here each message goes by itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from urllib.parse import urlsplit

import aiozmq
import zmq
from tickit.adapters.io.http_io import HttpIo
from tickit.adapters.io.zeromq_push_io import ZeroMqPushIo
from tickit.core.simulation import build_simulation
from tickit_devices.eiger.data.schema import AcquisitionSeriesFooter, AcquisitionSeriesHeader, ImageHeader
from tickit_devices.eiger.eiger_adapters import EigerZMQAdapter

CONFIG = """
- type: tickit_devices.eiger.Eiger
  inputs: {{}}
  name: eiger
  host: 127.0.0.1
  port: {http}
  stream_host: 127.0.0.1
  stream_legacy_port: {legacy}
  stream_cbor_port: {cbor}
"""
STREAM_NAMES = ("legacy", "cbor")
"""In the order in which tickit_devices.eiger.Eiger makes its stream adapters."""

FIRST_PARTS = (AcquisitionSeriesHeader, ImageHeader, AcquisitionSeriesFooter)
"""What a message of stream v1 begins with; a message of v2 is one part of bytes."""

ports: dict[str, int] = {}
streams: list[ZeroMqPushIo] = []


def announce(name: str, port: int) -> None:
    """Tell the ports when all are known."""
    ports[name] = port
    if len(ports) == 3:
        print(json.dumps(ports), flush=True)


async def bind_only(host: str, port: int) -> aiozmq.ZmqStream:
    """The PUSH socket as it should have been."""
    return await aiozmq.create_zmq_stream(zmq.PUSH, bind=f"tcp://{host}:{port}")


def cure_push_socket() -> None:
    """Bind without connecting, and tell the port."""
    make, ensure = ZeroMqPushIo.__init__, ZeroMqPushIo._ensure_socket

    def __init__(self: ZeroMqPushIo, host: str = "127.0.0.1", port: int = 0) -> None:  # noqa: N807
        make(self, host, port, bind_only)
        streams.append(self)

    async def ensure_socket(self: ZeroMqPushIo) -> aiozmq.ZmqStream:
        known = self._socket is not None
        stream = await ensure(self)
        if not known:
            (endpoint,) = stream.transport.bindings()
            announce(STREAM_NAMES[streams.index(self)], urlsplit(endpoint).port)
        return stream

    ZeroMqPushIo.__init__, ZeroMqPushIo._ensure_socket = __init__, ensure_socket


def cure_message_boundaries() -> None:
    """One multipart message for each message of the stream."""

    def after_update(self: EigerZMQAdapter) -> None:
        messages: list[list[object]] = []
        is_cbor = self.stream.__class__.__name__ == "EigerStream2"
        for part in self.stream.consume_data():
            if is_cbor or isinstance(part, FIRST_PARTS):
                messages.append([])
            messages[-1].append(part)
        for message in messages:
            self.add_message_to_stream(message)

    EigerZMQAdapter.after_update = after_update


def tell_http_port() -> None:
    """Tell the port that the system gave the HTTP server."""
    start = HttpIo._start_server

    async def start_server(self: HttpIo, *arguments: object) -> None:
        await start(self, *arguments)
        announce("http", self.site._server.sockets[0].getsockname()[1])

    HttpIo._start_server = start_server


def end_with_parent() -> None:
    """Leave when standard input is closed."""
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=end_with_parent, name="parent-watch", daemon=True).start()
    cure_push_socket()
    cure_message_boundaries()
    tell_http_port()
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "w") as config:
        wanted = json.loads(sys.argv[1]) if sys.argv[1:] else {}
        config.write(CONFIG.format(**{"http": 0, "legacy": 0, "cbor": 0, **wanted}))
    asyncio.run(build_simulation(f"/dev/fd/{read_end}", "internal").run())
