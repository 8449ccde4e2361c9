"""A simulated camserver on a clock that tests turn by hand: no sockets, no threads, no files, no waiting."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from maxdaq_tango.detectors.pilatus.protocol import ReplyReader
from maxdaq_tango.detectors.pilatus.simulator import PilatusSimulator, Placing, SimulatorOptions
from maxdaq_tango.detectors.simulation.faults import Faults

ROWS, COLUMNS = 40, 56
CLIENT = 1


class Bench:
    """The simulator with a hand on its clock, one client in control, and its replies as text."""

    def __init__(self, faults: Faults | None = None, unmakeable: str = "", **options: Any) -> None:
        self.now = 1000.0
        options = {"rows": ROWS, "columns": COLUMNS, "trim_time_s": 30.0, "image_path": "/images"} | options
        start = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        self.simulator = PilatusSimulator(
            SimulatorOptions(**options),
            make_folder=lambda path: "no" if unmakeable and path.startswith(unmakeable) else "",
            utc_now=lambda: start + timedelta(seconds=self.now - 1000.0),
            faults=faults or Faults(),
        )
        self.files: list[Placing] = []
        self._readers = {}
        self.connect(CLIENT)

    def connect(self, connection: int) -> None:
        self._readers[connection] = ReplyReader()
        self.simulator.connected(connection)

    def send(self, data: bytes, connection: int = CLIENT) -> list[str]:
        self.simulator.received(connection, data, self.now)
        return self.heard(connection)

    def ask(self, line: str, connection: int = CLIENT) -> str:
        """One request, one answer."""
        (answer,) = self.send(line.encode() + b"\0", connection)
        return answer

    def heard(self, connection: int = CLIENT) -> list[str]:
        """Replies since the last look, as `15 OK text`."""
        self.files += self.simulator.run_due(self.now)
        kept, heard = [], []
        while self.simulator.outbox:
            to, data = self.simulator.outbox.popleft()
            if to != connection:
                kept.append((to, data))
                continue
            for reply in self._readers[connection].feed(data):
                heard.append(f"{reply.code} {'OK' if reply.ok else 'ERR'} {reply.text}".strip())
        self.simulator.outbox.extend(kept)
        return heard

    def advance(self, seconds: float) -> list[str]:
        """Let time pass, stopping at every moment at which something is due."""
        until, heard = self.now + seconds, []
        while (due := self.simulator.next_due()) is not None and due <= until:
            self.now = max(self.now, due)
            heard += self.heard()
        self.now = until
        return heard + self.heard()

    @property
    def names(self) -> list[str]:
        return [placing.path.rpartition("/")[2] for placing in self.files]


@pytest.fixture
def make_bench():
    return Bench


@pytest.fixture
def bench():
    return Bench()
