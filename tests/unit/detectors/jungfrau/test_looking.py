"""Looks of the driver while others call: a series that begins meanwhile, and a library that has one thread."""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from maxdaq_tango.detectors.contract import HardwareState
from maxdaq_tango.detectors.hardware import OFFLINE_LOOKS
from maxdaq_tango.detectors.jungfrau import driver as driver_module
from maxdaq_tango.detectors.jungfrau import simulated_slsdet
from maxdaq_tango.detectors.jungfrau.driver import JungfrauDriver
from maxdaq_tango.detectors.jungfrau.protocol import DetectorType, RunStatus
from maxdaq_tango.errors import DetectorTimeout
from maxdaq_tango.model import AcquisitionSettings, TriggerMode

SIMULATED = "maxdaq_tango.detectors.jungfrau.simulated_slsdet"
EXTERNAL = AcquisitionSettings(trigger_mode=TriggerMode.EXTERNAL_MULTI, trigger_count=3)


class Interleaved:
    """An adapter that does something of somebody else's between reading the status and telling it."""

    host = "interleaved"
    is_connected = True

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.status: Any = RunStatus.IDLE
        self.meanwhile: Callable[[], Any] = lambda: None

    def get(self, name: str, timeout_s: float = 0.0) -> Any:
        if name != "status":
            return {"powerchip": True, "rx_status": RunStatus.IDLE}.get(name, 0)
        status, meanwhile = self.status, self.meanwhile
        self.meanwhile = lambda: None
        other = threading.Thread(target=meanwhile)
        other.start()
        other.join(10)
        return status

    def call(self, name: str, timeout_s: float = 0.0) -> None:
        self.calls.append(name)
        self.status = {"start": RunStatus.WAITING, "stop": RunStatus.STOPPED}.get(name, self.status)


def external_driver() -> tuple[JungfrauDriver, Interleaved]:
    driver, adapter = JungfrauDriver("x", library=SIMULATED), Interleaved()
    driver._adapter = driver._parameters._adapter = adapter  # type: ignore[assignment]
    driver._configured = EXTERNAL
    return driver, adapter


def test_a_look_that_began_before_an_external_series_does_not_end_it() -> None:
    driver, adapter = external_driver()
    adapter.meanwhile = driver.arm
    report = driver.report()
    assert adapter.calls == ["rx_start", "start"]
    assert report.state is HardwareState.ARMED
    adapter.status = RunStatus.IDLE
    assert driver.report().state is HardwareState.IDLE
    assert adapter.calls == ["rx_start", "start", "rx_stop"]


def test_a_look_that_began_in_the_series_before_does_not_end_the_next_one() -> None:
    driver, adapter = external_driver()
    driver.arm()
    adapter.status = RunStatus.IDLE

    def end_and_arm_again() -> None:
        driver.stop()
        driver.arm()

    adapter.meanwhile = end_and_arm_again
    assert driver.report().state is HardwareState.ARMED
    assert adapter.calls == ["rx_start", "start", "rx_stop", "rx_start", "start"]


def test_a_detector_that_fails_between_two_looks_at_its_status_is_an_error_and_its_series_is_left() -> None:
    driver, adapter = external_driver()
    driver.arm()
    adapter.status = RunStatus.IDLE

    def fail() -> None:
        adapter.status = RunStatus.ERROR

    adapter.meanwhile = fail
    assert driver.report().state is HardwareState.ERROR
    assert "rx_stop" not in adapter.calls


def test_of_a_series_whose_detector_was_let_go_nothing_is_ended() -> None:
    driver, adapter = external_driver()
    driver.arm()
    adapter.close = lambda: None  # type: ignore[attr-defined]
    driver.close()
    adapter.status = RunStatus.IDLE
    assert driver.report().state is HardwareState.IDLE
    assert "rx_stop" not in adapter.calls


class SlowLibrary:
    """A library one call of which lasts until it may `go_on`."""

    def __init__(self) -> None:
        self.go_on, self.entered = threading.Event(), threading.Event()
        self.hanging = "rx_stop"
        self.made: list[str] = []
        self.module: Any = types.ModuleType("slow_slsdet")
        self.module.__dict__.update({name: getattr(simulated_slsdet, name) for name in simulated_slsdet.ENUMS})
        self.module.freeSharedMemory = lambda *_: None
        slow = self

        class Jungfrau:
            def __init__(self, number: int) -> None:
                slow.made.append("connect")

            def __getattr__(self, name: str) -> Any:
                slow.note(name)
                return {"status": RunStatus.IDLE, "type": DetectorType.JUNGFRAU}.get(name, 0)

            def start(self) -> None:
                slow.note("start")

            def stop(self) -> None:
                slow.note("stop")

            def rx_start(self) -> None:
                slow.note("rx_start")

            def rx_stop(self) -> None:
                slow.note("rx_stop")

        self.module.Jungfrau = Jungfrau

    def note(self, name: str) -> None:
        if name == self.hanging:
            self.entered.set()
            self.go_on.wait(30)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowLibrary]:
    slow = SlowLibrary()
    monkeypatch.setitem(sys.modules, "slow_slsdet", slow.module)
    monkeypatch.setattr(driver_module, "REPORT_TIMEOUT_S", 0.1)
    yield slow
    slow.go_on.set()


@pytest.fixture
def driver(slow: SlowLibrary) -> Iterator[JungfrauDriver]:
    driver = JungfrauDriver("x", library="slow_slsdet")
    driver.connect()
    yield driver
    slow.go_on.set()
    driver.close()


def test_a_look_behind_a_slow_call_of_ours_repeats_what_was_seen_and_names_the_call(
    driver: JungfrauDriver, slow: SlowLibrary
) -> None:
    ending = threading.Thread(target=driver._adapter.call, args=("rx_stop", 30.0))
    ending.start()
    assert slow.entered.wait(10)
    for _ in range(OFFLINE_LOOKS):
        report = driver.report()
        assert (report.state, report.message) == (HardwareState.IDLE, "busy with rx_stop")
    with pytest.raises(DetectorTimeout, match="rx_stop"):
        driver.connect()  # not made anew: a call of ours is under way
    assert slow.made == ["connect"]
    slow.go_on.set()
    ending.join(10)
    report = driver.report()
    assert (report.state, report.message) == (HardwareState.IDLE, "IDLE")


def test_a_call_that_exceeds_its_own_deadline_is_offline(driver: JungfrauDriver, slow: SlowLibrary) -> None:
    assert driver.report().state is HardwareState.IDLE
    with pytest.raises(DetectorTimeout):
        driver._adapter.call("rx_stop", 0.05)
    report = driver.report()
    assert (report.state, "rx_stop" in report.message) == (HardwareState.OFFLINE, True)


def test_a_status_that_does_not_come_back_is_offline(driver: JungfrauDriver, slow: SlowLibrary) -> None:
    assert driver.report().state is HardwareState.IDLE
    slow.hanging = "status"
    assert driver.report().state is HardwareState.OFFLINE
    assert driver.report().state is HardwareState.OFFLINE


def test_a_look_while_another_thread_begins_or_ends_the_series_does_not_wait_for_it(
    driver: JungfrauDriver, slow: SlowLibrary
) -> None:
    driver._configured = EXTERNAL
    slow.hanging = ""
    driver._adapter.set("powerchip", True)
    driver.arm()
    slow.hanging = "rx_stop"
    ending = threading.Thread(target=driver.stop)
    ending.start()
    assert slow.entered.wait(10)
    slow_report = driver.report()
    assert slow_report.message == "busy with rx_stop"
    slow.go_on.set()
    ending.join(10)
    assert driver.report().state is HardwareState.IDLE
