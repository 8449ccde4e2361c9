"""The simulated Eiger on the network: HTTP and two ZeroMQ PUSH ports, as a context manager and as a program.

    python -m maxdaq_tango.detectors.eiger.simulator_server --port 0 --stream-port 0 --cbor-port 0

prints one line of JSON with the real ports when it is ready, and ends on SIGTERM, SIGINT, or (with --exit-with-parent)
when its standard input is closed. Do not give the two stream ports to more than one receiver: PUSH deals messages out.

Threads: one accepts HTTP, one serves each HTTP connection, one makes exposures, two send (one a port, so that a port
nobody reads holds up nothing else). One lock guards the simulator.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Self

if __name__ == "__main__":
    # Before bitshuffle is imported: its OpenMP threads spin, and on a busy machine they made it five times slower.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


from maxdaq_tango.detectors.eiger.parameters import MODELS
from maxdaq_tango.detectors.eiger.protocol import API_VERSIONS
from maxdaq_tango.detectors.eiger.simulator import EigerSimulator, SimulatorOptions
from maxdaq_tango.detectors.eiger.simulator_controls import PREFIX, handle_control
from maxdaq_tango.detectors.serving.listener import HttpListener
from maxdaq_tango.detectors.serving.messages import Reply, Request, refused
from maxdaq_tango.detectors.serving.program import serve
from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.detectors.simulation.outlet import Outlet
from maxdaq_tango.detectors.simulation.program import new_parser
from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.model import StreamFormat

FORMATS = {"legacy": StreamFormat.DECTRIS_V1, "cbor": StreamFormat.DECTRIS_V2}
NO_FAULTS = Faults()


class EigerSimulatorServer:
    """A running simulated detector. `with EigerSimulatorServer(options) as server: ... server.http_port ...`

    Port 0 takes a free one. `simulator` may be looked into from outside only while holding `lock`.
    """

    def __init__(
        self,
        options: SimulatorOptions,
        *,
        host: str = "127.0.0.1",
        http_port: int = 0,
        stream_port: int = 0,
        cbor_port: int = 0,
        faults: Faults = NO_FAULTS,
        curve_key: str = "",
    ) -> None:
        self.simulator = EigerSimulator(options, faults=faults)
        self.host, self._curve_key = host, curve_key
        self.http_port, self.stream_port, self.cbor_port = http_port, stream_port, cbor_port
        self.lock = threading.Lock()
        self._changed = threading.Condition(self.lock)
        self._queued = threading.Condition(self.lock)
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._outlets: dict[str, Outlet] = {}
        self._listener: HttpListener | None = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where HTTP is served."""
        return f"http://{self.host}:{self.http_port}"

    def ports(self) -> dict[str, int]:
        """The real ports: http, stream (v1) and cbor (v2)."""
        return {"http": self.http_port, "stream": self.stream_port, "cbor": self.cbor_port}

    def close(self) -> None:
        """Stop, hang up, join every thread. May be called twice."""
        self._stopping.set()
        with self.lock:
            self._changed.notify_all()
            self._queued.notify_all()
        if self._listener:
            self._listener.close()
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        for outlet in self._outlets.values():
            outlet.close()
        self._outlets.clear()

    def _start(self) -> None:
        for name, port in (("legacy", self.stream_port), ("cbor", self.cbor_port)):
            self._outlets[name] = Outlet(self.host, port, FORMATS[name], self._curve_key)
        self.stream_port, self.cbor_port = self._outlets["legacy"].port, self._outlets["cbor"].port
        self._listener = HttpListener(self.host, self.http_port, self._serve)
        self.http_port = self._listener.port
        for name in self._outlets:
            self._launch(f"eiger-sim-send-{name}", self._send, name)
        self._launch("eiger-sim-exposures", self._expose)
        self._listener.start()

    def _launch(self, name: str, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, name=name, args=arguments)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    # --- HTTP --------------------------------------------------------------------------------------------------------

    def _serve(self, request: Request) -> Reply:
        """One request, in the thread of its connection; blocks for as long as the detector would."""
        resolved = threading.Event()
        with self.lock:
            now = time.monotonic()
            if request.path.startswith(PREFIX):
                answer = handle_control(self.simulator, request, now)
                outage = self.simulator.acquisition.faults.offline_s if request.path == PREFIX + "faults" else 0.0
                if outage and request.method == "POST" and self._listener:
                    self._listener.take_offline(outage)
            else:
                answer = self.simulator.handle(request, now)
            answer.when_resolved(resolved.set)
            if request.method != "GET" or answer.reply is None:
                self._changed.notify_all()
        while not resolved.wait(0.5):
            if self._stopping.is_set():
                return refused(503, "The simulator is shutting down")
        assert answer.reply is not None
        return answer.reply

    # --- exposures ---------------------------------------------------------------------------------------------------

    def _expose(self) -> None:
        while not self._stopping.is_set():
            with self.lock:
                now = time.monotonic()
                work = self.simulator.step(now)
                if work is None:
                    due = self.simulator.next_due()
                    wait_s = 1.0 if due is None else min(due - now, 1.0)
                    if wait_s > 0 and not self._stopping.is_set():
                        self._changed.wait(wait_s)
                    continue
            try:
                result = self.simulator.perform(work, now)
            except Exception as error:  # nobody may wait for ever because a frame could not be made
                traceback.print_exc()
                with self.lock:
                    self.simulator.acquisition.fail(f"the simulator failed: {error!r}")
                continue
            with self.lock:
                self.simulator.deliver(work, result, time.monotonic())
                self._queued.notify_all()

    # --- ZeroMQ ------------------------------------------------------------------------------------------------------

    def _send(self, name: str) -> None:
        outlet, queue = self._outlets[name], self.simulator.queues.by_format[name]
        accounts = self.simulator.accounts
        while not self._stopping.is_set():
            with self.lock:
                message = queue.take()
                if message is None:
                    if not self._stopping.is_set():
                        self._queued.wait(1.0)
                    continue
            # Only the end of the simulator gives up a message.
            if outlet.push(message.parts, message.delivery, self._stopping, self._theft(message.series_id)):
                with self.lock:
                    accounts.sent(message.series_id, message.delivery)

    def _theft(self, series_id: int) -> Callable[[int], None]:
        def note(number: int) -> None:
            with self.lock:
                self.simulator.accounts.stolen(series_id, number)

        return note


def main(arguments: list[str] | None = None) -> int:
    """Run one simulated detector until it is told to end."""
    parser = new_parser("simulated-eiger", "A simulated Eiger that speaks SIMPLON.")
    parser.add_argument("--stream-port", type=int, default=0, help="stream v1; 0 = any free port")
    parser.add_argument("--cbor-port", type=int, default=0, help="stream v2; 0 = any free port")
    parser.add_argument("--model", type=str.lower, choices=sorted(MODELS), default="eiger2")
    parser.add_argument("--api", choices=API_VERSIONS, default="1.8.0")
    parser.add_argument("--bit-depth", type=int, choices=(8, 16, 32), default=None)
    parser.add_argument("--initialise-time", type=float, default=0.2, help="seconds")
    parser.add_argument("--arm-time", type=float, default=0.0, help="seconds")
    parser.add_argument("--queue-mib", type=int, default=512, help="room for messages that nobody reads")
    given = parser.parse_args(arguments)
    try:
        options = SimulatorOptions(
            model=given.model,
            api_version=given.api,
            rows=given.rows,
            columns=given.columns,
            seed=given.seed,
            bit_depth=given.bit_depth,
            initialise_time_s=given.initialise_time,
            arm_time_s=given.arm_time,
            queue_bytes=given.queue_mib << 20,
        )
        faults = Faults.parse(given.fault)
    except ConfigurationError as error:
        parser.error(str(error))
    return serve(
        parser.prog,
        given,
        lambda: EigerSimulatorServer(
            options,
            host=given.host,
            http_port=given.port,
            stream_port=given.stream_port,
            cbor_port=given.cbor_port,
            faults=faults,
            curve_key=given.curve_key,
        ),
        lambda server: {**server.ports(), "api": given.api, "model": given.model},
    )


if __name__ == "__main__":
    sys.exit(main())
