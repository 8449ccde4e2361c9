"""Detectors of several modules as they look from outside: one real ZeroMQ socket for each."""

from __future__ import annotations

from typing import Any

import zmq

from maxdaq_tango.kernels.compression import encode_pixels
from maxdaq_tango.model import Encoding, FrameFormat
from maxdaq_tango.wire import lambda_modules, sls_json, stins
from module_parts import SHAPE, pixels

WAIT_MS = 10_000


class ModuleSenders:
    """Sockets on free ports, in the order of the modules."""

    def __init__(self, context: zmq.Context[Any], kind: int, modules: int) -> None:
        self.sockets = []
        self.nbytes = 0
        """Sent so far, over all sockets."""
        for _ in range(modules):
            socket = context.socket(kind)
            socket.linger = 0
            socket.sndtimeo = socket.rcvtimeo = WAIT_MS
            if kind == zmq.XPUB:
                socket.sndhwm = 0  # a test that publishes as fast as it can loses nothing
            socket.bind("tcp://127.0.0.1:*")
            self.sockets.append(socket)
        self.endpoints = tuple(socket.getsockopt_string(zmq.LAST_ENDPOINT) for socket in self.sockets)

    def send(self, module: int, parts: list[Any]) -> None:
        self.sockets[module].send_multipart(parts)
        self.nbytes += sum(map(len, parts))


class Lambda(ModuleSenders):
    """PUSH; each module numbers its messages alike."""

    def __init__(self, context: zmq.Context[Any], modules: int = 4) -> None:
        super().__init__(context, zmq.PUSH, modules)
        self.modules = modules
        self.numbers = [0] * modules

    def number(self, module: int) -> int:
        self.numbers[module] += 1
        return self.numbers[module] - 1

    def header(self, *modules: int, filename: str = "", **more: Any) -> None:
        for module in modules or range(self.modules):
            geometry = {"x": 10 * module, "y": 20 * module, "rotation": 90 * module, "full_shape": [30, 40]}
            self.send(module, stins.encode_header(self.number(module), filename, geometry | more))

    def image(
        self,
        frame: int,
        *modules: int,
        encoding: Encoding = Encoding.NONE,
        dtype: str = "uint16",
        blob: bytes | None = None,
    ) -> None:
        format = FrameFormat(SHAPE, dtype, encoding)
        for module in modules or range(self.modules):
            content = encode_pixels(pixels(frame, module, dtype), encoding) if blob is None else blob
            self.send(module, lambda_modules.encode_image(self.number(module), frame, self.modules, format, content))

    def lose(self, *modules: int) -> None:
        """A message that was sent, and got lost on the way."""
        for module in modules:
            self.number(module)

    def end(self, *modules: int) -> None:
        for module in modules or range(self.modules):
            self.send(module, stins.encode_end(self.number(module)))


class Jungfrau(ModuleSenders):
    """XPUB, which is a PUB that tells its owner who has subscribed; ports are rows of the detector."""

    def __init__(self, context: zmq.Context[Any], modules: int = 2, first: int = 101) -> None:
        super().__init__(context, zmq.XPUB, modules)
        self.modules = modules
        self.first = first
        """Number of the first frame: a Jungfrau counts on over all series."""
        self.firsts = [first] * modules

    def wait_subscribed(self) -> None:
        """What is published before is lost."""
        for socket in self.sockets:
            assert socket.recv() == b"\1"

    def begin(self, first: int) -> None:
        """Another acquisition."""
        self.first = first
        self.firsts = [first] * self.modules

    def miss_first(self, module: int, frames: int) -> None:
        """Of this port slsReceiver has caught nothing before: its indices count from there."""
        self.firsts[module] = self.first + frames

    def image(self, frame: int, *modules: int, dtype: str = "uint16", blob: bytes | None = None, **more: Any) -> None:
        """`frame` counts from 0 in the series."""
        format = FrameFormat(SHAPE, dtype, Encoding.NONE)
        for module in modules or range(self.modules):
            content = pixels(frame, module, dtype).tobytes() if blob is None else blob
            parts = sls_json.encode_image(
                self.first + frame,
                format,
                content,
                place=(module, 0),
                modules=(self.modules, 1),
                first_number=self.firsts[module],
                **{"packets": 64} | more,
            )
            self.send(module, parts)

    def end(self, *modules: int) -> None:
        for module in modules or range(self.modules):
            self.send(module, sls_json.encode_end())
