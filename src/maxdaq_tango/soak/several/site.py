"""The stack of a soak of several detectors: devices as any client has them, simulators with their own paths."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic
from typing import Any

import msgspec
import tango

from maxdaq_tango.deployment.interruption import Interruption
from maxdaq_tango.deployment.launcher import Deployment
from maxdaq_tango.deployment.simulated_site import SimulatedDetector, SimulatedSite, simulated_site
from maxdaq_tango.deployment.supervisor import ServiceState
from maxdaq_tango.detectors.simulation.account import SeriesAccount
from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.errors import StateError
from maxdaq_tango.soak.site import CONTROLLER, GOOD_HEALTH, RECEIVER, RECEIVER_PROPERTIES
from maxdaq_tango.soak.stage import ANSWER_S, Knobs, Stage

READY_S = 60.0
"""For all devices to be ON again. After a kill the supervisor waits up to 30 s before it starts a server."""
FORGOTTEN_S = 8.0
"""A detector that is armed for so long with nobody who uses it has been forgotten by its transaction."""
_SIZES = {
    "eiger": {"rows": 160, "columns": 128},
    "pilatus": {"rows": 64, "columns": 48},
    "lambda": {"modules": 2, "rows": 8, "columns": 24},
}
_SERIES = {"eiger": "series_id"}
"""What the simulator of a family calls the number of its newest series in its status."""


def several_site(name: str, families: tuple[str, ...], sensor_seed: int) -> SimulatedSite:
    """Small detectors, and time-outs that let a series without an end come to one."""
    site = simulated_site(name, families)
    replace, topology = msgspec.structs.replace, site.topology
    simulators: dict[str, Any] = {
        key: replace(simulator, seed=sensor_seed, **_SIZES[key]) for key, simulator in topology.simulators.items()
    }
    for placed in topology.devices():
        if placed.class_name == RECEIVER:
            placed.device.properties.update({**RECEIVER_PROPERTIES, "ModuleWait": 0.5})
    detectors = tuple(replace(one, settings=simulators[one.family]) for one in site.detectors)
    return SimulatedSite(replace(topology, simulators=simulators), detectors)


class Member:
    """One detector with its receiver and its simulator."""

    def __init__(self, stage: Stage, simulated: SimulatedDetector) -> None:
        placed = {one.name: one for one in stage.deployment.topology.devices()}
        self.family, self.device, self.pixels = simulated.family, simulated.device, simulated.pixels
        self.receiver_name = str(placed[self.device].device.properties["Receiver"])
        self.server = placed[self.device].server_instance
        self.receiver_server = placed[self.receiver_name].server_instance
        self.streamer = f"streamer-{self.family}-streamer"
        self.detector = _proxy(stage, self.device)
        self.receiver = _proxy(stage, self.receiver_name)
        self.knobs = Knobs(stage, self.family)

    def break_it(self, faults: Faults = GOOD_HEALTH) -> None:
        """Switch on exactly these faults."""
        self.knobs.ask("POST", "faults", content=msgspec.json.encode(faults))

    def series(self) -> int:
        """Number of the newest series that the simulator knows."""
        return int(self.knobs.ask("GET", "status").json()[_SERIES.get(self.family, "series")])

    def account(self, series: int) -> SeriesAccount:
        """What has left of it so far."""
        answer = self.knobs.ask("GET", f"account?series={series}")
        return msgspec.json.decode(answer.content, type=SeriesAccount)

    def edge(self) -> None:
        """One on its trigger input."""
        self.knobs.ask("POST", "edge")

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
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return pid > 0


class SeveralSite(Stage):
    """All of them under one controller. One thread; `aside` makes others for calls that may take their time."""

    def __init__(self, deployment: Deployment, interruption: Interruption, simulated: SimulatedSite) -> None:
        super().__init__(deployment, interruption)
        name = deployment.device_of_class(CONTROLLER)
        self.controller_name = name
        self.controller, self.second_client = _proxy(self, name), _proxy(self, name)
        placed = {one.name: one for one in deployment.topology.devices()}
        self.controller_server = placed[name].server_instance
        self.members = {one.family: Member(self, one) for one in simulated.detectors}
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="second client")
        self._lock = threading.Lock()
        self._slowest: Counter[str] = Counter()  # floats

    def close(self) -> None:
        """Let go of everything."""
        self._threads.shutdown()
        for member in self.members.values():
            member.knobs.close()

    def aside(self, call: Callable[[], object]) -> Future[object]:
        """Begin a call without waiting for it."""
        return self._threads.submit(call)

    def timed(self, proxy: Any, command: str) -> None:
        """Run a command and note how long it took, well or not."""
        began = monotonic()
        try:
            proxy.command_inout(command)
        finally:
            with self._lock:
                self._slowest[command] = max(self._slowest[command], monotonic() - began)  # type: ignore[assignment]

    def slowest(self) -> dict[str, float]:
        """Command > the longest that it took, s."""
        with self._lock:
            return {name: float(seconds) for name, seconds in self._slowest.items()}

    def pids(self) -> dict[str, int]:
        """Living processes, the engines among them."""
        engines = {f"engine of {name}": one.engine_pid() for name, one in self.members.items()}
        return self.processes() | {name: pid for name, pid in engines.items() if pid}

    # ---- bringing all back ----

    def settle(self) -> list[str]:
        """Everything in good health and ON again, acknowledging what went wrong as operators do. What had to be aborted
        for it; StateError with the states when something stays otherwise for READY_S.
        """
        for member in self.members.values():
            member.break_it()
        forgotten: dict[str, float] = {}
        aborted: list[str] = []

        def ready() -> bool:
            states = dict(self._states())
            for name, state in states.items():
                if state in (tango.DevState.ALARM, tango.DevState.FAULT):
                    with contextlib.suppress(tango.DevFailed):  # what it did last has not come back yet
                        self.deployment.proxy(name).Reset()
                if state is not tango.DevState.RUNNING or states[self.controller_name] == tango.DevState.RUNNING:
                    forgotten.pop(name, None)
                elif monotonic() - forgotten.setdefault(name, monotonic()) > FORGOTTEN_S and name not in aborted:
                    aborted.append(name)
                    with contextlib.suppress(tango.DevFailed):  # then it does not become ready
                        self._abort(name)
            # A device may take its streamer for alive for a moment after its death.
            alive = all(process.state is ServiceState.READY for process in self.deployment.processes)
            return alive and all(state == tango.DevState.ON for state in states.values())

        if not self.until(ready, READY_S, 0.1):
            rows = "; ".join(f"{row.device} {row.state}: {row.status}" for row in self.deployment.statuses())
            raise StateError(f"bring all devices to State ON within {READY_S:g} s", answer=rows)
        return aborted

    def _abort(self, name: str) -> None:
        proxy = self.deployment.proxy(name)
        if name in [member.receiver_name for member in self.members.values()]:
            proxy.Abort("nobody uses it")
        else:
            proxy.Abort()

    def _states(self) -> Iterator[tuple[str, tango.DevState]]:
        for name, proxy in self._proxies():
            try:
                yield name, proxy.state()
            except tango.DevFailed:
                yield name, tango.DevState.UNKNOWN  # its server is starting

    def _proxies(self) -> Iterator[tuple[str, Any]]:
        yield self.controller_name, self.controller
        for member in self.members.values():
            yield member.device, member.detector
            yield member.receiver_name, member.receiver


def _proxy(stage: Stage, device: str) -> Any:
    proxy = stage.deployment.proxy(device)
    proxy.set_timeout_millis(int(ANSWER_S * 1000))
    return proxy
