"""A receiver's sockets on the streams of a Lambda's modules, for tests: one PULL a module."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
import zmq

from maxdaq_tango.curve import identify
from maxdaq_tango.kernels.compression import decode_pixels
from maxdaq_tango.model import ModuleEnd, ModuleEvent, ModuleFrame, ModuleStart
from maxdaq_tango.wire.lambda_modules import LambdaModulesDecoder
from maxdaq_tango.wire.marked import mark

WAIT_MS = 10_000


class ModuleSeries(msgspec.Struct):
    """What one module sent of one series."""

    start: ModuleStart
    frames: list[ModuleFrame]
    end: ModuleEnd

    @property
    def numbers(self) -> list[int]:
        return [frame.frame_number for frame in self.frames]

    def pixels(self) -> dict[int, np.ndarray[Any, Any]]:
        made = {}
        for frame in self.frames:
            assert frame.blob is not None
            made[frame.frame_number] = decode_pixels(frame.format, (frame.blob,))
        return made


class ModuleProbes:
    """`with ModuleProbes(ports) as probes: ... probes.series(0) ...`"""

    def __init__(self, ports: Sequence[int], *, server_key: str = "") -> None:
        self._ports, self._server_key = tuple(ports), server_key

    def __enter__(self) -> ModuleProbes:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._sockets = []
        for port in self._ports:
            socket = self._context.socket(zmq.PULL)
            socket.linger = 0
            identify(socket, self._server_key)
            socket.connect(f"tcp://127.0.0.1:{port}")
            self._sockets.append(socket)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.destroy(linger=0)

    def event(self, module: int) -> ModuleEvent:
        assert self._sockets[module].poll(WAIT_MS), f"module {module} sent nothing"
        return LambdaModulesDecoder().decode([mark(module), *self._sockets[module].recv_multipart()])

    def series(self, module: int) -> ModuleSeries:
        start = self.event(module)
        assert isinstance(start, ModuleStart), start
        frames = []
        while isinstance(event := self.event(module), ModuleFrame):
            frames.append(event)
        assert isinstance(event, ModuleEnd), event
        return ModuleSeries(start, frames, event)

    def is_silent(self, module: int, ms: int = 100) -> bool:
        return not self._sockets[module].poll(ms)
