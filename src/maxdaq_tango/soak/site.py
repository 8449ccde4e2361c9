"""The stack of a soak and the ways to it: Tango devices as any client has them, and the simulator's own paths."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

import msgspec
import numpy.typing as npt
import tango

from maxdaq_tango.deployment.interruption import Interruption
from maxdaq_tango.deployment.launcher import Deployment
from maxdaq_tango.deployment.topology import EmbeddedDatabase, Topology, built_in_topology, parse_topology
from maxdaq_tango.detectors.simulation.account import SeriesAccount
from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.detectors.simulation.pattern import FramePattern
from maxdaq_tango.errors import StateError
from maxdaq_tango.soak.recipe import SHAPE, Setup
from maxdaq_tango.soak.stage import ANSWER_S, Knobs, Stage

READY_S = 90.0
"""For all devices to be ON again, after a kill as well: the supervisor waits up to 30 s before it starts a server."""
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


class Site(Stage):
    """The devices of one deployment. One thread."""

    def __init__(self, deployment: Deployment, interruption: Interruption) -> None:
        super().__init__(deployment, interruption)
        self._names = {name: deployment.device_of_class(name) for name in (CONTROLLER, DETECTOR, RECEIVER)}
        self.controller, self.detector, self.receiver = (deployment.proxy(name) for name in self._names.values())
        for proxy in (self.controller, self.detector, self.receiver):
            proxy.set_timeout_millis(int(ANSWER_S * 1000))
        self._knobs = Knobs(self, "eiger")
        self._setup: Setup | None = None
        self._seed = deployment.topology.simulators["eiger"].seed

    def close(self) -> None:
        """Let go of the simulator."""
        self._knobs.close()

    # ---- the simulator ----

    def faults(self, faults: Faults) -> None:
        """Switch on exactly these; waits while the simulator is offline on purpose."""
        self._knobs.ask("POST", "faults", content=msgspec.json.encode(faults))

    def edges(self, count: int) -> None:
        """Rising edges, each as soon as the detector listens."""
        self._knobs.ask("POST", f"edge?count={count}")

    def gates(self, count: int, width_s: float, period_s: float) -> None:
        """Gates on the external input."""
        self._knobs.ask("POST", "gate", json={"count": count, "width_s": width_s, "period_s": period_s})

    def pixels(self, shape: tuple[int, ...], dtype: str) -> Callable[[int], npt.NDArray[Any]]:
        """What it sends as frames of this shape and type."""
        return FramePattern(self._seed, (shape[0], shape[1]), dtype).frame

    def series(self) -> int:
        """Number of the series that was armed last; 0 = none since it was initialised."""
        return int(self._knobs.ask("GET", "status").json()["series_id"])

    def account(self, series: int) -> SeriesAccount:
        """What has left of a series so far."""
        return msgspec.json.decode(self._knobs.ask("GET", f"account?series={series}").content, type=SeriesAccount)

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

    def pids(self) -> dict[str, int]:
        """Living processes by name; the engine is one of them."""
        engine = self.engine_pid()
        return self.processes() | ({"engine": engine} if engine else {})

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

    def kill_server(self) -> str:
        """SIGKILL of the receiver's device server; its name."""
        return self.kill(next(name for name in self.restarts() if name.startswith(RECEIVER)))


def sentence(error: Exception) -> str:
    """What it says, for people."""
    return str(error.args[0].desc).strip() if isinstance(error, tango.DevFailed) else str(error)
