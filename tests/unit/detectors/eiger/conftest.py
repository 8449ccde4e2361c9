"""A simulated Eiger on a clock that tests turn by hand: no sockets, no threads, no waiting."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from maxdaq_tango.detectors.eiger.simulator import EigerSimulator, SimulatorOptions
from maxdaq_tango.detectors.eiger.simulator_controls import PREFIX, handle_control
from maxdaq_tango.detectors.serving.messages import Answer, Request
from maxdaq_tango.wire.dectris_v1 import DectrisV1Decoder
from maxdaq_tango.wire.dectris_v2 import DectrisV2Decoder

ROWS, COLUMNS = 64, 48


class Bench:
    """The simulator with a hand on its clock and its requests in short."""

    def __init__(self, **options: Any) -> None:
        self.now = 1000.0
        options = {"rows": ROWS, "columns": COLUMNS, "initialise_time_s": 1.0} | options
        self.options = SimulatorOptions(**options)
        start = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        self.simulator = EigerSimulator(self.options, utc_now=lambda: start + timedelta(seconds=self.now - 1000.0))
        self.api = self.options.api_version

    def ask(self, method: str, path: str, body: Any = None, **query: str) -> Answer:
        """One request; `body` is sent as JSON unless it is bytes. Everything due is done."""
        accept = query.pop("accept", "")
        raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        request = Request(method, path, raw, query, accept)
        if path.startswith(PREFIX):
            answer = handle_control(self.simulator, request, self.now)
        else:
            answer = self.simulator.handle(request, self.now)
        self.simulator.run_due(self.now)
        return answer

    def url(self, task: str, key: str, module: str = "detector") -> str:
        return f"/{module}/api/{self.api}/{task}/{key}"

    def get(self, key: str, module: str = "detector", task: str = "config") -> Any:
        """Value of a parameter; fails when it is refused."""
        return self.envelope(key, module, task)["value"]

    def envelope(self, key: str, module: str = "detector", task: str = "config") -> dict[str, Any]:
        reply = self.ask("GET", self.url(task, key, module)).reply
        assert reply is not None
        assert reply.status == 200, reply
        return json.loads(reply.body)

    def put(self, key: str, value: Any, module: str = "detector") -> Any:
        """Set a parameter; the changed keys. Fails when it is refused."""
        status, text = self.try_put(key, value, module)
        assert status == 200, text
        return json.loads(text)

    def try_put(self, key: str, value: Any, module: str = "detector") -> tuple[int, str]:
        reply = self.ask("PUT", self.url("config", key, module), {"value": value}).reply
        assert reply is not None
        return reply.status, reply.body.decode()

    def command(self, name: str, value: Any = None, module: str = "detector") -> Answer:
        return self.ask("PUT", self.url("command", name, module), None if value is None else {"value": value})

    def state(self) -> str:
        return self.get("state", task="status")

    def advance(self, seconds: float) -> None:
        """Let time pass, stopping at every moment at which something is due."""
        until = self.now + seconds
        while (due := self.simulator.next_due()) is not None and due <= until:
            self.now = max(self.now, due)
            self.simulator.run_due(self.now)
        self.now = until
        self.simulator.run_due(self.now)

    def initialised(self) -> Bench:
        answer = self.command("initialize")
        self.advance(2.0)
        assert answer.reply is not None
        assert answer.reply.status == 200
        return self

    def streaming(self, stream_format: str = "legacy", **settings: Any) -> Bench:
        """Initialised, stream on, settings made."""
        self.initialised()
        self.put("mode", "enabled", "stream")
        if self.api != "1.6.0":
            self.put("format", stream_format, "stream")
        for key, value in settings.items():
            self.put(key, value)
        return self

    def armed(self, stream_format: str = "legacy", **settings: Any) -> Bench:
        self.streaming(stream_format, **settings)
        answer = self.command("arm")
        assert answer.reply is not None
        assert answer.reply.status == 200, answer.reply
        return self

    def faults(self, **faults: Any) -> None:
        reply = self.ask("POST", PREFIX + "faults", faults).reply
        assert reply is not None
        assert reply.status == 200, reply.body

    def account(self, series: int) -> dict[str, Any]:
        reply = self.ask("GET", PREFIX + "account", series=str(series)).reply
        assert reply is not None
        assert reply.status == 200, reply.body
        return json.loads(reply.body)

    def messages(self, stream_format: str = "legacy") -> list[list[bytes]]:
        """Parts of all messages that have left since the last look."""
        queue = self.simulator.queues.by_format[stream_format]
        taken = []
        while (message := queue.take()) is not None:
            self.simulator.accounts.sent(message.series_id, message.delivery)
            taken.append([bytes(part) for part in message.parts])
        return taken

    def events(self, stream_format: str = "legacy") -> list[Any]:
        """The same, decoded by the package's own decoder."""
        decoder = DectrisV1Decoder() if stream_format == "legacy" else DectrisV2Decoder()
        return [decoder.decode(parts) for parts in self.messages(stream_format)]


@pytest.fixture
def make_bench():
    return Bench


@pytest.fixture
def bench():
    return Bench()
