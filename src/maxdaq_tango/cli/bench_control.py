"""Control latency while frames flow."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import tango
from rich.console import Console
from rich.table import Table

from maxdaq_tango.deployment.interruption import Interruption
from maxdaq_tango.deployment.launcher import Deployment, deployed
from maxdaq_tango.deployment.topology import Topology, built_in_topology, parse_topology
from maxdaq_tango.errors import ConfigurationError, DetectorTimeout
from maxdaq_tango.model import Receipt

ARGUMENTS: dict[str, Any] = {
    "Prepare": "{}", "Configure": "{}", "Expect": "{}", "Finish": "measured", "TriggerHardwareFor": 0.01
}  # fmt: skip
HARMLESS = {
    "EigerDetector": (
        *("Arm", "Live", "Continuous", "Reset", "SoftwareTrigger", "Trigger"),
        *("Configure", "ArmHardware", "TriggerHardware", "TriggerHardwareFor"),
    ),
    "StreamReceiver": ("Prepare", "Reset", "Expect"),
    "DAQController": ("Arm", "Live", "Continuous", "Reset", "SoftwareTrigger", "Trigger"),
}
"""Commands that an acquisition under way refuses or does not mind: they can be called as often as one likes."""
ENDING = {
    "EigerDetector": ("Stop", "Abort", "StopHardware", "AbortHardware", "RestartReceiver", "Init"),
    "StreamReceiver": ("Stop", "Abort", "Finish", "RestartEngine", "Init"),
    "DAQController": ("Stop", "Abort", "Init"),
}
"""Commands that end it: measured in short series of their own."""
TANGO_OWN = ("State", "Status")
ENDING_ROUNDS = 5
WAIT_S = 60.0
UNDER_WAY = (tango.DevState.RUNNING, tango.DevState.INIT, tango.DevState.UNKNOWN)


class Row(msgspec.Struct, frozen=True):
    """Answer times of one attribute or command."""

    device: str
    what: str
    calls: int
    p50_ms: float
    p99_ms: float
    max_ms: float


class ControlResult(msgspec.Struct, frozen=True):
    """What was measured."""

    rows: list[Row]
    frames: int
    seconds: float
    rate_hz: float
    verdict: str
    calls: int
    p50_ms: float
    p99_ms: float
    max_ms: float

    def table(self, slowest: int = 15) -> Table:
        """The slowest rows, and how many there are."""
        table = Table("device", "attribute or command", "calls", "p50 ms", "p99 ms", "max ms")
        for row in sorted(self.rows, key=lambda row: -row.p99_ms)[:slowest]:
            table.add_row(
                row.device, row.what, str(row.calls), f"{row.p50_ms:.2f}", f"{row.p99_ms:.2f}", f"{row.max_ms:.2f}"
            )
        table.caption = f"the slowest {min(slowest, len(self.rows))} of {len(self.rows)}"
        return table


class Stopwatch:
    """Collects answer times by device and name."""

    def __init__(self) -> None:
        self.times_s: dict[tuple[str, str], list[float]] = {}

    def call(self, device: str, what: str, action: Callable[[], object]) -> None:
        """Time one call that may be refused: a refusal is an answer too, a time-out is not."""
        try:
            self.must(device, what, action)
        except tango.DevFailed as failed:
            if "TIMEOUT" in failed.args[0].reason.upper():
                raise

    def must(self, device: str, what: str, action: Callable[[], object]) -> None:
        """Time one call."""
        before = time.perf_counter()
        try:
            action()
        finally:
            self._note(device, what, before)

    def _note(self, device: str, what: str, before: float) -> None:
        self.times_s.setdefault((device, what), []).append(time.perf_counter() - before)

    def rows(self) -> list[Row]:
        """One for each attribute and command."""
        rows = []
        for (device, what), times in self.times_s.items():
            ms = np.array(times) * 1e3
            p50, p99 = np.percentile(ms, [50, 99])
            rows.append(Row(device, what, len(times), float(p50), float(p99), float(ms.max())))
        return rows


def measure_control(folder: Path, *, seconds: float, rate_hz: float, size: int, console: Console) -> ControlResult:
    """Run the whole suite and measure it; everything is stopped at the end."""
    interruption = Interruption()
    topology = _small_topology(size)
    with (
        interruption.catch_signals(),
        deployed(topology, folder, interruption=interruption, listener=lambda text: None) as deployment,
    ):
        bench = _Bench(deployment, folder, interruption, rate_hz)
        console.print(f"{rate_hz:.0f} frames/s of {size} x {size} pixels for {seconds:g} s ...")
        receipt = bench.measure_series(seconds)
        console.print("commands that end a series ...")
        for class_name, names in ENDING.items():
            for name in names:
                for number in range(ENDING_ROUNDS):
                    bench.measure_ending(class_name, name, number)
        bench.check_coverage()
        times = np.concatenate([np.array(t) for t in bench.watch.times_s.values()]) * 1e3
        p50, p99 = np.percentile(times, [50, 99])
        return ControlResult(
            rows=bench.watch.rows(),
            frames=receipt.frames_written,
            seconds=receipt.seconds,
            rate_hz=receipt.frames_written / receipt.seconds if receipt.seconds else 0.0,
            verdict=receipt.verdict.value,
            calls=len(times),
            p50_ms=float(p50),
            p99_ms=float(p99),
            max_ms=float(times.max()),
        )


class _Bench:
    def __init__(self, deployment: Deployment, folder: Path, interruption: Interruption, rate_hz: float) -> None:
        self.watch = Stopwatch()
        self._folder = folder
        self._interruption = interruption
        self._rate_hz = rate_hz
        self._devices = {
            name: deployment.proxy(deployment.device_of_class(name))
            for name in ("DAQController", "EigerDetector", "StreamReceiver")
        }
        self._controller = self._devices["DAQController"]

    def measure_series(self, seconds: float) -> Receipt:
        """One long series; returns its receipt."""
        self._wait(lambda: self._controller.state() == tango.DevState.ON, "the devices")
        frames = int(seconds * self._rate_hz)
        self._arm(frames, "control.h5")
        controller, detector = self._controller, self._devices["EigerDetector"]
        while controller.state() == tango.DevState.RUNNING:
            for class_name, proxy in self._devices.items():
                for attribute in proxy.get_attribute_list():
                    self.watch.call(class_name, attribute, partial(proxy.read_attribute, attribute))
                for name in TANGO_OWN:
                    self.watch.must(class_name, f"{name}()", partial(proxy.command_inout, name))
                # Near the end they would not be refused: Arm and Reset would be taken at their word.
                if detector.HardwareState == "ACQUIRING" and controller.nFramesReceived < 0.8 * frames:
                    for name in HARMLESS[class_name]:
                        self.watch.call(class_name, f"{name}()", _caller(proxy, name))
            self._interruption.wait(0)
        return msgspec.json.decode(self._devices["StreamReceiver"].LastReceipt, type=Receipt)

    def measure_ending(self, class_name: str, name: str, number: int) -> None:
        """One series that is ended by a command."""
        self._arm(int(60 * self._rate_hz), f"{class_name}-{name}-{number}.h5")
        self._wait(lambda: self._devices["StreamReceiver"].nFramesReceived > 100, "the first frames")
        self.watch.must(class_name, f"{name}()", _caller(self._devices[class_name], name))
        for proxy in self._devices.values():
            self._wait(lambda: proxy.state() not in UNDER_WAY, f"the end after {name} of {class_name}")  # noqa: B023
        self.watch.must("DAQController", "Reset() when idle", self._controller.Reset)

    def check_coverage(self) -> None:
        """Every attribute and command that the devices have was measured; one that is added later must be as well."""
        for class_name, proxy in self._devices.items():
            there = set(proxy.get_attribute_list()) | {f"{name}()" for name in proxy.get_command_list()}
            if missed := sorted(there - {what for device, what in self.watch.times_s if device == class_name}):
                raise ConfigurationError(
                    f"measure all of {class_name}",
                    answer=f"{', '.join(missed)} was not measured",
                    accepted="an entry in HARMLESS or ENDING",
                )

    def _arm(self, frames: int, name: str) -> None:
        controller = self._controller
        controller.ExposureTime = 0.8 / self._rate_hz
        controller.LatencyTime = 0.2 / self._rate_hz
        controller.nTriggers = 1
        controller.nFramesPerTrigger = frames
        controller.TriggerMode = "INTERNAL"
        controller.DestinationFilename = str(self._folder / name)
        self.watch.must("DAQController", "Arm() when idle", controller.Arm)
        self._wait(lambda: controller.AcquisitionState in ("ARMED", "ACQUIRING"), "the first frame")

    def _wait(self, met: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while not met():
            if time.monotonic() > deadline:
                raise DetectorTimeout(
                    f"wait for {what}", of="DAQController", answer=f"{self._controller.status()} after {WAIT_S:g} s"
                )
            self._interruption.wait(0.02)


def _caller(proxy: tango.DeviceProxy, name: str) -> Callable[[], object]:
    wants_something = proxy.get_command_config(name).in_type != tango.CmdArgType.DevVoid
    return partial(proxy.command_inout, name, *((ARGUMENTS.get(name, "measured"),) if wants_something else ()))


def _small_topology(size: int) -> Topology:
    topology = parse_topology(built_in_topology(), "the built-in topology")
    simulators = {
        name: msgspec.structs.replace(simulator, rows=size, columns=size)
        for name, simulator in topology.simulators.items()
    }
    return msgspec.structs.replace(topology, simulators=simulators)
