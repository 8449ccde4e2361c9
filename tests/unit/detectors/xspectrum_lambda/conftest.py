"""A simulated Lambda with its streamer, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from maxdaq_tango.detectors.xspectrum_lambda.client import LambdaClient
from maxdaq_tango.detectors.xspectrum_lambda.protocol import Change, Configured, SeriesSettings, Status
from maxdaq_tango.detectors.xspectrum_lambda.simulator import SimulatorOptions
from maxdaq_tango.detectors.xspectrum_lambda.simulator_server import LambdaSimulatorServer
from maxdaq_tango.detectors.xspectrum_lambda.streamer import LambdaStreamer
from maxdaq_tango.model import TriggerMode

LIBRARY = "maxdaq_tango.detectors.xspectrum_lambda.simulated_pyxsp"
SMALL = {"modules": 3, "rows": 8, "columns": 24, "allocate_s": 0.02, "settle_s": 0.02}


class Stand:
    """Simulator, streamer and a client of it."""

    def __init__(self, server: LambdaSimulatorServer, streamer: LambdaStreamer) -> None:
        self.server, self.streamer = server, streamer
        self.client = LambdaClient("127.0.0.1", streamer.port)
        self.options = server.simulator.options

    def ready(self, **change: Any) -> Stand:
        """Connected, with a threshold."""
        self.client.connect()
        self.client.set(Change(**{"thresholds_ev": (7000.0,), **change}))
        return self

    def configured(self, **series: Any) -> Configured:
        """1 ms exposures begun by software."""
        given = {"exposure_time_s": 0.001, "trigger_mode": TriggerMode.SOFTWARE, **series}
        return self.client.configure(SeriesSettings(**given))

    def status(self) -> Status:
        return self.client.status()

    def unreleased(self) -> int:
        with self.server.lock:
            return sum(len(memory.taken) for memory in self.server.simulator.memories)

    def edge(self) -> None:
        import time

        with self.server.lock:
            self.server.simulator.edge(time.monotonic())
            self.server._changed.notify_all()


@pytest.fixture
def make_stand() -> Iterator[Callable[..., Stand]]:
    """`make_stand(streamer={...}, **simulator options)`"""
    with ExitStack() as stack:

        def make(*, streamer: dict[str, Any] | None = None, **options: Any) -> Stand:
            server = stack.enter_context(LambdaSimulatorServer(SimulatorOptions(**(SMALL | options))))
            settings = {"library": LIBRARY, "system": server.url, **(streamer or {})}
            stand = Stand(server, stack.enter_context(LambdaStreamer(**settings)))
            stack.callback(stand.client.close)
            return stand

        yield make


@pytest.fixture
def stand(make_stand: Callable[..., Stand]) -> Stand:
    return make_stand().ready()
