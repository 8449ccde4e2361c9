"""The stack of a soak and the ways to it: Tango devices as any client has them, and the simulator's own paths."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import msgspec
import tango

from maxdaq_tango.deployment.interruption import Interruption
from maxdaq_tango.deployment.launcher import Deployment
from maxdaq_tango.deployment.supervisor import ServiceState
from maxdaq_tango.deployment.topology import EmbeddedDatabase, Topology, built_in_topology, parse_topology
from maxdaq_tango.detectors.simulation.account import SeriesAccount
from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.errors import LaunchError, StateError
from maxdaq_tango.soak.recipe import SHAPE, Setup

LOOK_EVERY_S = 0.05
READY_S = 90.0
"""For all devices to be ON again, after a kill as well: the supervisor waits up to 30 s before it starts a server."""
ANSWER_S = 20.0
FORGOTTEN_S = 8.0
"""A detector that is armed for so long with nobody who uses it has been forgotten by its transaction."""
RECEIVER = "StreamReceiver"
DETECTOR = "EigerDetector"
CONTROLLER = "DAQController"
RECEIVER_PROPERTIES: Mapping[str, Any] = {
    "StartTimeout": 4.0,
    "StallTimeout": 4.0,
    "Grace": 2.0,
    "MemoryBudget": 128 << 20,
}
GOOD_HEALTH = Faults()


def soak_topology(name: str, sensor_seed: int) -> Topology:
    """The built-in one with a small detector, time-outs that let a series without an end come to one, a database of
    its own."""
    topology = parse_topology(built_in_topology(), "the built-in topology")
    replace = msgspec.structs.replace
    rows, columns = SHAPE
    simulators = {
        key: replace(simulator, rows=rows, columns=columns, seed=sensor_seed)
        for key, simulator in topology.simulators.items()
    }
    for placed in topology.devices():
        if placed.class_name == RECEIVER:
            placed.device.properties.update(RECEIVER_PROPERTIES)
    database = replace(topology.database, embedded=EmbeddedDatabase.ALWAYS)
    return replace(topology, name=name, simulators=simulators, database=database)


class Site:
    """The devices of one deployment. One thread."""

    def __init__(self, deployment: Deployment, interruption: Interruption) -> None:
        self.deployment, self._interruption = deployment, interruption
        self._names = {name: deployment.device_of_class(name) for name in (CONTROLLER, DETECTOR, RECEIVER)}
        self.controller, self.detector, self.receiver = (deployment.proxy(name) for name in self._names.values())
        for proxy in (self.controller, self.detector, self.receiver):
            proxy.set_timeout_millis(int(ANSWER_S * 1000))
        answers = deployment.answers
        self._http = httpx.Client(base_url=f"http://{answers['eiger.host']}:{answers['eiger.port']}", timeout=ANSWER_S)
        self._setup: Setup | None = None
        self.sensor_seed = deployment.topology.simulators["eiger"].seed

    def close(self) -> None:
        """Let go of the simulator."""
        self._http.close()

    # ---- the simulator ----

    def faults(self, faults: Faults) -> None:
        """Switch on exactly these; waits while the simulator is offline on purpose."""
        self._simulator("POST", "faults", content=msgspec.json.encode(faults))

    def edges(self, count: int) -> None:
        """Rising edges, each as soon as the detector listens."""
        self._simulator("POST", f"edge?count={count}")

    def gates(self, count: int, width_s: float, period_s: float) -> None:
        """Gates on the external input."""
        self._simulator("POST", "gate", json={"count": count, "width_s": width_s, "period_s": period_s})

    def series(self) -> int:
        """Number of the series that was armed last; 0 = none since it was initialised."""
        return int(self._simulator("GET", "status").json()["series_id"])

    def account(self, series: int) -> SeriesAccount:
        """What has left of a series so far."""
        return msgspec.json.decode(self._simulator("GET", f"account?series={series}").content, type=SeriesAccount)

    def _simulator(self, method: str, path: str, **body: Any) -> httpx.Response:
        answers: list[httpx.Response] = []
        errors: list[str] = []

        def answered() -> bool:
            try:
                answers.append(self._http.request(method, f"/simulator/api/{path}", **body))
            except httpx.TransportError as error:  # it may be offline on purpose
                errors.append(f"{type(error).__name__}: {error}")
            return bool(answers)

        if not self.until(answered, ANSWER_S):
            raise StateError(f"{method} {path}", of="the simulator", answer=errors[-1])
        if answers[0].status_code != 200:
            raise StateError(f"{method} {path}", of="the simulator", answer=answers[0].text)
        return answers[0]

    # ---- the devices ----

    def use(self, setup: Setup) -> None:
        """Give the devices these properties; those that have them already are left alone."""
        if setup == self._setup:
            return
        receiver = {"Backend": setup.backend, "FramesPerFile": setup.frames_per_file, "Engines": setup.engines}
        for name, proxy, properties in (
            (RECEIVER, self.receiver, receiver),
            (DETECTOR, self.detector, {"StreamFormat": setup.stream_format.value}),
        ):
            texts = {key: [str(value)] for key, value in properties.items()}
            if proxy.get_property(list(texts)) != texts:
                proxy.put_property(texts)
                proxy.Init()
            self.wait_until_on(f"Init of {name} with {properties}")
        self._setup = setup

    def settle(self) -> bool:
        """Everything in good health and ON again. True: a detector that nobody used had to be aborted for it."""
        self.faults(GOOD_HEALTH)
        return self.wait_until_on("the last acquisition")

    def wait_until_on(self, after: str) -> bool:
        """Until every device is ON, acknowledging what went wrong as operators do; StateError with their states when
        that fails. True: the detector was left armed, and had to be aborted.
        """
        forgotten: list[float] = []
        aborted = False

        def ready() -> bool:
            nonlocal aborted
            try:
                states = {name: proxy.state() for name, proxy in self._proxies().items()}
                for name, state in states.items():
                    if state in (tango.DevState.ALARM, tango.DevState.FAULT):
                        self._proxies()[name].Reset()
            except tango.DevFailed:
                return False  # its server is starting, or what it did last has not come back yet
            if states[DETECTOR] == tango.DevState.RUNNING and states[CONTROLLER] != tango.DevState.RUNNING:
                forgotten.append(monotonic())
                if forgotten[-1] - forgotten[0] > FORGOTTEN_S and not aborted:
                    aborted = True
                    self.detector.Abort()
            return all(state == tango.DevState.ON for state in states.values())

        if not self.until(ready, READY_S, 0.1):
            rows = "; ".join(f"{row.device} {row.state}: {row.status}" for row in self.deployment.statuses())
            raise StateError(f"bring all devices to State ON after {after}", answer=rows)
        return aborted

    def _proxies(self) -> dict[str, Any]:
        return {RECEIVER: self.receiver, DETECTOR: self.detector, CONTROLLER: self.controller}

    # ---- processes ----

    def until(self, condition: Callable[[], bool], deadline_s: float, interval_s: float = LOOK_EVERY_S) -> bool:
        """Wait for a condition, with an eye on the processes; says whether it came true."""

        def looked() -> bool:
            self.deployment.supervisor.watch()
            return condition()

        return self._interruption.wait_until(looked, deadline_s, interval_s)

    def restarts(self) -> dict[str, int]:
        """How often each process had to be started again."""
        return {one.service.name: one.restarts for one in self.deployment.processes}

    def pids(self) -> dict[str, int]:
        """Living processes by name; the engine is one of them."""
        found = {one.service.name: one.process.pid for one in self.deployment.processes if one.state is _READY}
        engine = self.engine_pid()
        return found | ({"engine": engine} if engine else {})

    def engine_pid(self) -> int:
        """0 = none, or the receiver does not answer."""
        try:
            return int(self.receiver.EnginePid)
        except tango.DevFailed:
            return 0

    def kill_engine(self) -> bool:
        """SIGKILL; False when there is none."""
        pid = self.engine_pid()
        if pid:
            os.kill(pid, signal.SIGKILL)
        return pid > 0

    def kill_server(self) -> None:
        """SIGKILL of the receiver's device server."""
        for one in self.deployment.processes:
            if one.service.name.startswith(RECEIVER):
                os.kill(one.process.pid, signal.SIGKILL)
                return
        raise LaunchError("kill the receiver's server", answer="there is none")

    def folder(self, number: int) -> Path:
        """A new folder for the files of one acquisition."""
        made = self.deployment.folder / "runs" / f"{number:06d}"
        made.mkdir(parents=True)
        return made


_READY = ServiceState.READY


def sentence(error: Exception) -> str:
    """What it says, for people."""
    return str(error.args[0].desc).strip() if isinstance(error, tango.DevFailed) else str(error)
