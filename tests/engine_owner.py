"""An engine under test as a process, a sender of STINS messages, and everything that its owner was told."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import zmq

from maxdaq_tango.engine.client import EngineClient
from maxdaq_tango.engine.protocol import Told
from maxdaq_tango.model import Encoding, Frame, FrameFormat, RunRequest, StreamFormat
from maxdaq_tango.wire import stins

WAIT_S = 20.0
FORMAT = FrameFormat((8, 8), "uint16", Encoding.NONE)


class Owner:
    """An engine, a sender and what was told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: list[Told] = []
        self.changed = threading.Condition()
        self.engine = EngineClient("test engine", self._hear)
        self.context: zmq.Context[Any] = zmq.Context()
        self.number = 0
        self.bind()

    def bind(self) -> None:
        """A fresh socket: what is connected to the last one takes no message of it."""
        self.socket = self.context.socket(zmq.PUSH)
        self.socket.linger = 0
        self.socket.bind("tcp://127.0.0.1:*")
        self.endpoint: str = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def _hear(self, told: Told) -> None:
        with self.changed:
            self.told.append(told)
            self.changed.notify_all()

    def request(self, name: str = "a.h5", **changes: Any) -> RunRequest:
        settings: dict[str, Any] = {
            "sources": (self.endpoint,),
            "stream_format": StreamFormat.STINS,
            "destination": str(self.folder / name),
            "roots": (str(self.folder),),
            "connect_timeout_s": WAIT_S,
            "grace_s": 0.2,
            "run_id": name,
        }
        return RunRequest(**{**settings, **changes})

    def send(self, first: int = 0, count: int = 3, *, header: bool = True, end: bool = True) -> None:
        if header:
            self.socket.send_multipart(stins.encode_header(self._next(), "", {}))
        for number in range(first, first + count):
            frame = Frame(series="", frame_number=number, format=FORMAT, blobs=(bytes([number % 256]) * 128,))
            self.socket.send_multipart(stins.encode_image(self._next(), frame))
        if end:
            self.socket.send_multipart(stins.encode_end(self._next()))

    def _next(self) -> int:
        self.number += 1
        return self.number - 1

    def wait(self, met: Any) -> None:
        with self.changed:
            assert self.changed.wait_for(met, WAIT_S), self.told

    def wait_written(self, count: int) -> None:
        pause = threading.Event()
        for _ in range(1000):
            if self.engine.counters().frames_written >= count:
                return
            pause.wait(0.01)
        raise AssertionError(self.engine.counters())

    def close(self) -> None:
        self.engine.close()
        self.context.destroy(0)
