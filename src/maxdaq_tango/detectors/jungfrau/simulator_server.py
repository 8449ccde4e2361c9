"""The simulated Jungfrau on the network: a control over HTTP and one ZeroMQ PUB port for each UDP interface.

    python -m maxdaq_tango.detectors.jungfrau.simulator_server --port 0 --stream-port 0 --modules 1 --interfaces 2

prints one line of JSON with the real ports when it is ready, and ends on SIGTERM, SIGINT, or (with --exit-with-parent)
when its standard input is closed. The streams are slsReceiver's, byte by byte of their grammar. The control is not the
detector package's (that is known to its own library alone): `simulated_slsdet` speaks it, in the place of `slsdet`.

    POST /slsdet/get   {"name": ...}                      an attribute: {"value": ...}
    POST /slsdet/set   {"name": ..., "value": ...}
    POST /slsdet/call  {"name": ...}                      start, stop, rx_start, rx_stop
    POST /simulator/api/edge?count=N                      rising edges on the trigger input
    POST /simulator/api/beam?on=0                         the shutter
    GET, POST /simulator/api/faults                       of `Faults` and of `ReceiverFaults` together
    GET  /simulator/api/account?series=N, /simulator/api/status

Threads: one accepts HTTP, one serves each HTTP connection, one makes and sends frames. One lock guards the simulator.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from types import TracebackType
from typing import Any, Self

if __name__ == "__main__":
    # Before bitshuffle is imported: its OpenMP threads spin, and on a busy machine they made it five times slower.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import msgspec

from maxdaq_tango.detectors.jungfrau.protocol import MODULE_SHAPE
from maxdaq_tango.detectors.jungfrau.simulator import NO_FAULTS, DetectorSaysNo, JungfrauSimulator
from maxdaq_tango.detectors.jungfrau.simulator_ports import Ports
from maxdaq_tango.detectors.jungfrau.simulator_stream import (
    NO_RECEIVER_FAULTS,
    OWN,
    JungfrauOptions,
    Outgoing,
    ReceiverFaults,
    check_meaning,
    parse_faults,
)
from maxdaq_tango.detectors.serving.listener import HttpListener
from maxdaq_tango.detectors.serving.messages import Reply, Request, json_reply, refused
from maxdaq_tango.detectors.serving.program import serve
from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.detectors.simulation.program import new_parser
from maxdaq_tango.errors import ConfigurationError

SLSDET, PREFIX = "/slsdet/", "/simulator/api/"
ACCEPTED = f"{SLSDET}get, set, call; {PREFIX}edge, beam, faults, account, status"


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of a request below `/slsdet/`."""

    name: str
    value: Any = None


class JungfrauSimulatorServer:
    """A running simulated detector. `with JungfrauSimulatorServer(options) as server: ... server.http_port ...`

    Port 0 takes a free one. `simulator` may be looked into from outside only while holding `lock`.
    """

    def __init__(
        self,
        options: JungfrauOptions,
        *,
        host: str = "127.0.0.1",
        http_port: int = 0,
        stream_port: int = 0,
        faults: Faults = NO_FAULTS,
        own: ReceiverFaults = NO_RECEIVER_FAULTS,
    ) -> None:
        self.simulator = JungfrauSimulator(options, faults, own)
        self.host, self.http_port, self.stream_port = host, http_port, stream_port
        self.lock = threading.Lock()
        self._changed = threading.Condition(self.lock)
        self._sending = False
        self._stopping = threading.Event()
        self._ports: Ports | None = None
        self._listener: HttpListener | None = None
        self._thread = threading.Thread(target=self._run, name="jungfrau-sim-frames")

    def __enter__(self) -> Self:
        options = self.simulator.options
        try:
            self._ports = Ports(self.host, self.stream_port, options.modules, options.interfaces)
            self.stream_port = self._ports.first_ports[0]
            self.simulator.values["rx_zmqport"] = list(self._ports.first_ports)
            self.simulator.values["rx_hostname"] = self.host
            self._listener = HttpListener(self.host, self.http_port, self._serve)
            self.http_port = self._listener.port
            self._thread.start()
            if self.simulator.faults.offline_s:
                self._listener.take_offline(self.simulator.faults.offline_s, after_s=0)
            self._listener.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop, hang up, join every thread. May be called twice."""
        self._stopping.set()
        with self.lock:
            self._changed.notify_all()
        if self._listener:
            self._listener.close()
        if self._thread.ident is not None:
            self._thread.join()
        if self._ports:
            self._ports.close()

    # --- HTTP --------------------------------------------------------------------------------------------------------

    def _serve(self, request: Request) -> Reply:
        try:
            if request.path.startswith(SLSDET):
                return self._slsdet(request)
            with self.lock:
                reply = self._control(request)
                self._changed.notify_all()
            return reply
        except DetectorSaysNo as no:
            return refused(409, str(no))
        except KeyError as unknown:
            return refused(404, f"{unknown} does not exist")
        except (msgspec.MsgspecError, ConfigurationError, ValueError, TypeError) as error:
            return refused(400, str(error))

    def _slsdet(self, request: Request) -> Reply:
        asked = msgspec.json.decode(request.body, type=Asked)
        simulator = self.simulator
        if asked.name == "rx_start" and request.path == SLSDET + "call":
            self._stopping.wait(simulator.faults.arm_delay_s)
        with self.lock:
            now = time.monotonic()
            simulator.advance(now)
            match request.path.removeprefix(SLSDET):
                case "get":
                    return json_reply({"value": simulator.get(asked.name)})
                case "set":
                    simulator.set(asked.name, asked.value)
                case "call":
                    simulator.call(asked.name, now)
                case _:
                    return refused(404, f"{request.path} does not exist. Accepted: {ACCEPTED}")
            self._changed.notify_all()
            # The receiver program answers rx_stop when everything has left.
            while asked.name == "rx_stop" and (simulator.work or self._sending) and not self._stopping.is_set():
                self._changed.wait(0.5)
        return json_reply({})

    def _control(self, request: Request) -> Reply:
        simulator = self.simulator
        match request.method, request.path.removeprefix(PREFIX):
            case "POST", "edge":
                return json_reply({"taken": simulator.edges(int(request.query.get("count", "1")), time.monotonic())})
            case "POST", "beam":
                simulator.beam = request.query.get("on", "1") not in ("0", "false")
                return json_reply({"beam": simulator.beam})
            case "POST", "faults":
                simulator.faults, simulator.own = faults_of(msgspec.json.decode(request.body or b"{}"))
                if simulator.faults.offline_s and self._listener:
                    self._listener.take_offline(simulator.faults.offline_s)
                return json_reply(_all_faults(simulator))
            case "GET", "faults":
                return json_reply(_all_faults(simulator))
            case "GET", "account":
                series = request.query.get("series", "")
                if series and not series.isdigit():
                    raise ConfigurationError(f"tell the account of series {series!r}", accepted="a number from 1")
                return json_reply(simulator.accounts.read(int(series) if series else simulator.number))
            case "GET", "status":
                return json_reply(
                    {
                        "status": simulator.get("status"),
                        "series": simulator.number,
                        "next_frame_number": simulator.values["nextframenumber"],
                        "options": simulator.options,
                    }
                )
        return refused(404, f"{request.method} {request.path} does not exist. Accepted: {ACCEPTED}")

    # --- frames ------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        simulator = self.simulator
        while not self._stopping.is_set():
            with self.lock:
                simulator.advance(time.monotonic())
                if not simulator.work:
                    due = simulator.next_due()
                    wait_s = 1.0 if due is None else min(due - time.monotonic(), 1.0)
                    if wait_s > 0 and not self._stopping.is_set():
                        self._changed.wait(wait_s)
                    continue
                work = simulator.work.popleft()
                self._sending = True
            number, messages = work()
            self._send(number, messages)
            with self.lock:
                self._sending = False
                if not simulator.work and simulator.acquisition is None:
                    simulator.accounts.finished(number)
                self._changed.notify_all()

    def _send(self, number: int, messages: list[Outgoing]) -> None:
        ports, accounts = self._ports, self.simulator.accounts
        assert ports is not None
        with self.lock:
            for _ in messages:
                accounts.offered(number)
        for message in messages:
            delivery = message.delivery
            if delivery.away_s:
                ports.leave()
                self._stopping.wait(delivery.away_s)
                ports.come_back()
            if delivery.delay_s:
                self._stopping.wait(delivery.delay_s)
            ports.send(message)
            with self.lock:
                accounts.sent(number, delivery)


def faults_of(given: dict[str, Any]) -> tuple[Faults, ReceiverFaults]:
    """From one JSON object with the fields of both."""
    for name in given:
        check_meaning(name)
    common = {name: value for name, value in given.items() if name not in OWN}
    own = {name: value for name, value in given.items() if name in OWN}
    return msgspec.convert(common, Faults), msgspec.convert(own, ReceiverFaults)


def _all_faults(simulator: JungfrauSimulator) -> dict[str, Any]:
    return {**msgspec.structs.asdict(simulator.faults), **msgspec.structs.asdict(simulator.own)}


def main(arguments: list[str] | None = None) -> int:
    """Run one simulated detector until it is told to end."""
    parser = new_parser("simulated-jungfrau", "A simulated Jungfrau and its receiver program.")
    parser.set_defaults(rows=MODULE_SHAPE[0], columns=MODULE_SHAPE[1])
    parser.add_argument("--stream-port", type=int, default=0, help="of the first interface; 0 = any free ones")
    parser.add_argument("--modules", type=int, default=1)
    parser.add_argument("--interfaces", type=int, choices=(1, 2), default=1, help="UDP interfaces of each module")
    parser.add_argument("--server-version", default=JungfrauOptions().server_version, help="of the detector server")
    given = parser.parse_args(arguments)
    try:
        if given.curve_key:
            raise ConfigurationError("use --curve-key", answer="slsReceiver does not encrypt", accepted="no key")
        options = JungfrauOptions(
            modules=given.modules,
            interfaces=given.interfaces,
            rows=given.rows,
            columns=given.columns,
            seed=given.seed,
            server_version=given.server_version,
        )
        faults, own = parse_faults(given.fault)
    except ConfigurationError as error:
        parser.error(str(error))
    return serve(
        parser.prog,
        given,
        lambda: JungfrauSimulatorServer(
            options, host=given.host, http_port=given.port, stream_port=given.stream_port, faults=faults, own=own
        ),
        lambda server: {"http": server.http_port, "stream": server.stream_port},
    )


if __name__ == "__main__":
    sys.exit(main())
