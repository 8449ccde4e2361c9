"""The simulated Lambda as a process of its own: what `simulated_pyxsp` talks to, and the knobs that no detector has.

    python -m maxdaq_tango.detectors.xspectrum_lambda.simulator_server --port 0

prints one line of JSON with the real port when it is ready, and ends on SIGTERM, SIGINT, or (with --exit-with-parent)
when its standard input is closed. What libxsp and a detector say to each other is not public; between this process and
`simulated_pyxsp` it is HTTP, one route a kind of call:

    POST /xsp/call      {"name": "start", ...}          a command, or a value read or set
    POST /xsp/frame     {"module": 0, "timeout_ms": 5}  a frame as bytes, or 204 after the time-out
    POST /xsp/release   {"module": 0, "handle": 17}

Threads: one accepts HTTP, one serves each connection. One lock guards the simulator.
"""

from __future__ import annotations

import struct
import sys
import threading
import time
from types import TracebackType
from typing import Any, Self

import msgspec

from maxdaq_tango.detectors.serving.listener import HttpListener
from maxdaq_tango.detectors.serving.messages import Reply, Request, json_reply, refused
from maxdaq_tango.detectors.serving.program import serve
from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.detectors.simulation.program import new_parser
from maxdaq_tango.detectors.xspectrum_lambda.simulator import LambdaSimulator, SimulatorOptions, pixels_of
from maxdaq_tango.detectors.xspectrum_lambda.simulator_acquisition import Waiting
from maxdaq_tango.detectors.xspectrum_lambda.simulator_settings import Refusal
from maxdaq_tango.detectors.xspectrum_lambda.words import FrameStatus
from maxdaq_tango.errors import ConfigurationError

CONTROL, LIBRARY = "/simulator/api/", "/xsp/"
ACCEPTED = "POST faults, edge, silence, power_cycle; GET faults, account, status"
FRAME_HEAD = struct.Struct("<QQQii8s")
"""handle, nr, seq, subframe, status, numpy type; then the pixels."""
STATUSES = tuple(FrameStatus)
MOST_WAIT_S = 5.0
"""A receiver that waits longer asks again; so nothing blocks the end of this process."""
NO_FAULTS = Faults()


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call of the library that brings no frame."""

    name: str
    """connect, disconnect, initialize, start, stop, get, set, describe, receiver."""
    of: str = ""
    """The value's name, for get and set."""
    arguments: list[Any] = []
    value: Any = None


class FrameCall(msgspec.Struct, frozen=True, kw_only=True):
    """One wait for a frame, or its release."""

    module: int
    timeout_ms: float = 0.0
    handle: int = 0


class LambdaSimulatorServer:
    """A running simulated detector. `with LambdaSimulatorServer(options) as server: ... server.url ...`

    Port 0 takes a free one. `simulator` may be looked into from outside only while holding `lock`.
    """

    def __init__(
        self, options: SimulatorOptions, *, host: str = "127.0.0.1", http_port: int = 0, faults: Faults = NO_FAULTS
    ) -> None:
        self.simulator = LambdaSimulator(options, faults)
        self.host, self.http_port = host, http_port
        self.lock = threading.Lock()
        self._changed = threading.Condition(self.lock)
        self._stopping = False
        self._seq = 0
        self._listener: HttpListener | None = None

    def __enter__(self) -> Self:
        self._listener = HttpListener(self.host, self.http_port, self._serve)
        self.http_port = self._listener.port
        self._listener.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """What `simulated_pyxsp.System` takes in place of the path of a system."""
        return f"http://{self.host}:{self.http_port}"

    def close(self) -> None:
        """Hang up, join every thread. May be called twice."""
        with self.lock:
            self._stopping = True
            self._changed.notify_all()
        if self._listener:
            self._listener.close()

    # ---- HTTP ----

    def _serve(self, request: Request) -> Reply:
        try:
            if request.method == "POST" and request.path == LIBRARY + "frame":
                return self._frame(msgspec.json.decode(request.body, type=FrameCall))
            with self.lock:
                reply = self._handle(request, time.monotonic())
                self._changed.notify_all()
                return reply
        except Refusal as refusal:
            return Reply(409, msgspec.json.encode({"code": int(refusal.code), "message": str(refusal)}))
        except (msgspec.MsgspecError, ConfigurationError, ValueError) as error:
            return refused(400, str(error))

    def _handle(self, request: Request, now: float) -> Reply:
        simulator = self.simulator
        match request.method, request.path:
            case "POST", "/xsp/call":
                return json_reply({"value": self._call(msgspec.json.decode(request.body, type=Call), now)})
            case "POST", "/xsp/release":
                call = msgspec.json.decode(request.body, type=FrameCall)
                simulator.release(self._module(call.module), call.handle)
                return json_reply({})
            case "POST", "/simulator/api/faults":
                faults = msgspec.json.decode(request.body or b"{}", type=Faults)
                simulator.faults = faults
                if faults.offline_s and self._listener:
                    self._listener.take_offline(faults.offline_s)
                return json_reply(faults)
            case "POST", "/simulator/api/edge":
                simulator.edge(now)
                return json_reply({})
            case "POST", "/simulator/api/silence":
                silent = msgspec.json.decode(request.body, type=list[int])
                for number, memory in enumerate(simulator.memories):
                    memory.silent = number in silent
                return json_reply(silent)
            case "POST", "/simulator/api/power_cycle":
                simulator.power_cycle()
                return json_reply({})
            case "GET", "/simulator/api/faults":
                return json_reply(simulator.faults)
            case "GET", "/simulator/api/account":
                simulator.step(now)
                series = request.query.get("series", "")
                return json_reply(simulator.accounts.read(int(series) if series else simulator.series))
            case "GET", "/simulator/api/status":
                return json_reply(self._status(now))
        return refused(404, f"{request.method} {request.path} does not exist. Accepted: {ACCEPTED}")

    def _call(self, call: Call, now: float) -> Any:
        simulator, faults = self.simulator, self.simulator.faults
        match call.name:
            case "connect":
                return simulator.connect()
            case "disconnect":
                return simulator.disconnect()
            case "initialize":
                self._pause(faults.initialise_delay_s)
                return simulator.initialize(time.monotonic())
            case "start":
                self._pause(faults.arm_delay_s)
                return simulator.start(time.monotonic())
            case "stop":
                return simulator.stop(now)
            case "get":
                return simulator.get(call.of, call.arguments, now)
            case "set":
                return simulator.set(call.of, call.arguments, call.value, now)
            case "describe":
                return {"modules": simulator.options.modules}
            case "receiver":
                return self._receiver(self._module(call.arguments[0]), now)
        raise ConfigurationError(f"call {call.name!r} of the simulated library")

    def _receiver(self, module: int, now: float) -> dict[str, Any]:
        simulator, options = self.simulator, self.simulator.options
        place = options.places[module]
        return {
            "frame_width": options.columns,
            "frame_height": options.rows,
            "frame_depth": {1: 8, 6: 8, 12: 16, 24: 32}[simulator.settings.bit_depth],
            "position": [place.x, place.y, 0.0],
            "rotation": [0.0, 0.0, float(place.rotation)],
            "ram_allocated": simulator.ram_allocated(now),
            "frames_queued": simulator.memories[module].queued(now),
        }

    def _pause(self, seconds: float) -> None:
        """Let go of the lock for so long: other calls go on, as with a slow detector."""
        deadline = time.monotonic() + seconds
        while not self._stopping and (left := deadline - time.monotonic()) > 0:
            self._changed.wait(left)

    def _frame(self, call: FrameCall) -> Reply:
        deadline = time.monotonic() + min(call.timeout_ms / 1000, MOST_WAIT_S)
        module, simulator = self._module(call.module), self.simulator
        with self.lock:
            while (taken := simulator.take(module, time.monotonic())) is None:
                now = time.monotonic()
                if now >= deadline or self._stopping:
                    return Reply(204, b"")
                due = simulator.next_due(module, now)
                self._changed.wait(max(0.0005, min(deadline, deadline if due is None else due) - now))
            self._seq += 1
            seq = self._seq
        return Reply(body=packed(taken, seq, simulator.options, module), content_type="application/octet-stream")

    def _module(self, number: int) -> int:
        if not 0 <= number < self.simulator.options.modules:
            raise ConfigurationError(
                f"take module {number}", of="a simulated Lambda", accepted=f"0 to {self.simulator.options.modules - 1}"
            )
        return number

    def _status(self, now: float) -> dict[str, Any]:
        simulator = self.simulator
        return {
            "series": simulator.series,
            "busy": simulator.is_busy(now),
            "connected": simulator.connected,
            "unreleased": [len(memory.taken) for memory in simulator.memories],
            "lost": [memory.lost for memory in simulator.memories],
            "queued": [memory.queued(now) for memory in simulator.memories],
            "options": simulator.options,
        }


def packed(taken: tuple[int, Waiting], seq: int, options: SimulatorOptions, module: int) -> bytes:
    """A frame as it travels to `simulated_pyxsp`."""
    handle, frame = taken
    pixels = pixels_of(options, module, frame)
    status = STATUSES.index(frame.status)
    head = FRAME_HEAD.pack(handle, frame.nr, seq, frame.subframe, status, pixels.dtype.name.encode())
    return head + pixels.tobytes()


def main(arguments: list[str] | None = None) -> int:
    """Run one simulated detector until it is told to end."""
    parser = new_parser("simulated-lambda", "A simulated Lambda, for the simulated pyxsp of the streamer.")
    parser.set_defaults(rows=516, columns=1556)
    parser.add_argument("--modules", type=int, default=4)
    parser.add_argument("--room-frames", type=int, default=512, help="that each receiver's memory holds")
    parser.add_argument("--first-number", type=int, default=1, help="of the first frame; the real library says 1")
    parser.add_argument("--numbers-run-on", action="store_true", help="not from 1 in every acquisition")
    given = parser.parse_args(arguments)
    try:
        options = SimulatorOptions(
            modules=given.modules,
            rows=given.rows,
            columns=given.columns,
            seed=given.seed,
            room_frames=given.room_frames,
            first_number=given.first_number,
            numbers_run_on=given.numbers_run_on,
        )
        faults = Faults.parse(given.fault)
    except ConfigurationError as error:
        parser.error(str(error))
    if given.curve_key:
        parser.error("--curve-key: a simulated Lambda has no stream of its own; give it to the streamer")
    return serve(
        parser.prog,
        given,
        lambda: LambdaSimulatorServer(options, host=given.host, http_port=given.port, faults=faults),
        lambda server: {"http": server.http_port, "modules": options.modules},
    )


if __name__ == "__main__":
    sys.exit(main())
