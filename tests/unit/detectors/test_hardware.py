"""Keeping a detector within reach: background connection, looks, reconnection, and none of it in mid-series."""

from __future__ import annotations

import threading
import time

import pytest

from maxdaq_tango.detectors.contract import DetectorIdentity, DetectorReport, HardwareState, Range
from maxdaq_tango.detectors.hardware import OFFLINE_LOOKS, Hardware
from maxdaq_tango.errors import DetectorOffline, DetectorRefused
from maxdaq_tango.model import AcquisitionSettings, TriggerMode


class Driver:
    """A detector whose plug a test can pull."""

    def __init__(self) -> None:
        self.plugged = True
        self.state = HardwareState.IDLE
        self.connects = 0
        self.looks = 0
        self.hold: threading.Event | None = None
        self.closed = False

    def connect(self) -> DetectorIdentity:
        self.connects += 1
        if not self.plugged:
            raise DetectorOffline("connect", of="http://dcu", answer="connection refused")
        return DetectorIdentity(model="Simulated", serial_number="1")

    def limits(self) -> dict[str, Range]:
        return {"exposure_time_s": Range(1e-6, 10.0)}

    def readout_time_s(self) -> float:
        return 1e-3

    def configure(self, settings: AcquisitionSettings) -> str:
        return "configured"

    def report(self) -> DetectorReport:
        self.looks += 1
        if self.hold is not None:
            assert self.hold.wait(10)
        if not self.plugged:
            return DetectorReport(state=HardwareState.OFFLINE, message="connection refused")
        return DetectorReport(state=self.state)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def build():
    made = []

    def start(driver: Driver, **options: object) -> Hardware:
        hardware = Hardware("det", driver, reconnect_s=0.05, **options)  # type: ignore[arg-type]
        made.append((hardware, driver))
        hardware.start()
        return hardware

    yield start
    for hardware, driver in made:
        if driver.hold is not None:
            driver.hold.set()
        hardware.close()
        assert driver.closed
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("hardware of")]


def eventually(condition, timeout_s: float = 3.0) -> None:
    deadline, pause = time.monotonic() + timeout_s, threading.Event()
    while not condition():
        assert time.monotonic() < deadline
        pause.wait(0.005)


def test_it_connects_by_itself_and_learns_limits(build):
    hardware = build(Driver())
    eventually(lambda: hardware.reachable)
    assert hardware.tried
    assert hardware.limits["exposure_time_s"].maximum == 10.0
    assert hardware.readout_time_s == 1e-3
    assert hardware.configure(AcquisitionSettings()) == "configured"


def test_an_abort_before_the_first_connection_is_refused_as_the_detector_may_be_armed(build):
    may = threading.Event()
    driver = Driver()
    hardware = build(driver, before=lambda: may.wait(10))
    with pytest.raises(DetectorOffline, match="connecting for the first time"):
        hardware.abort()
    may.set()
    eventually(lambda: hardware.reachable)


def test_out_of_reach_it_says_why_and_connects_when_plugged_in(build):
    driver = Driver()
    driver.plugged = False
    hardware = build(driver)
    eventually(lambda: hardware.tried)
    assert not hardware.reachable
    assert hardware.report().state is HardwareState.OFFLINE  # at once, it does not wait for a look
    with pytest.raises(DetectorOffline, match="connection refused"):
        hardware.arm()
    hardware.abort()  # nothing to abort, and no error
    driver.plugged = True
    eventually(lambda: hardware.reachable)


def test_a_report_is_never_from_before_it_was_asked_for(build):
    driver = Driver()
    hardware = build(driver)
    eventually(lambda: hardware.reachable)
    driver.hold = threading.Event()
    looks = driver.looks
    eventually(lambda: driver.looks > looks)  # a look is under way, and will have seen nothing new
    driver.state = HardwareState.ARMED
    got: list[HardwareState] = []
    asker = threading.Thread(target=lambda: got.append(hardware.report().state))
    asker.start()
    driver.hold.set()
    asker.join(5)
    assert got == [HardwareState.ARMED]
    assert driver.looks >= looks + 2


def test_lost_while_idle_it_is_connected_anew(build):
    driver = Driver()
    hardware = build(driver)
    eventually(lambda: hardware.reachable)
    driver.plugged = False
    eventually(lambda: driver.connects > 1)
    driver.plugged = True
    eventually(lambda: hardware.reachable)


def test_lost_in_a_series_it_is_watched_but_not_connected_anew_as_that_may_initialise(build):
    driver = Driver()
    hardware = build(driver, is_busy=lambda: True)
    eventually(lambda: hardware.reachable)
    driver.plugged = False
    looks = driver.looks
    eventually(lambda: driver.looks > looks + OFFLINE_LOOKS + 3)
    assert driver.connects == 1
    assert not hardware.reachable
    driver.plugged = True
    eventually(lambda: hardware.reachable)
    assert driver.connects == 1


def test_an_odd_answer_does_not_end_the_looking(build):
    driver = Driver()
    answers = [ZeroDivisionError("odd"), None]

    def connect() -> DetectorIdentity:
        if error := answers.pop(0) if answers else None:
            raise error
        return DetectorIdentity(model="x", serial_number="1")

    driver.connect = connect  # type: ignore[method-assign]
    hardware = build(driver)
    eventually(lambda: hardware.reachable)


def test_a_failing_extra_look_is_only_logged(build, caplog):
    def extra(busy: bool) -> None:
        raise DetectorOffline("read temperature", answer="gone")

    driver = Driver()
    hardware = build(driver, extra_look=extra)
    eventually(lambda: driver.looks > 2)
    assert hardware.reachable
    assert "read temperature" in caplog.text


class CountingDriver(Driver):
    """One that counts its frames, and keeps the count of a series until the next one is armed."""

    frames = 20

    def arm(self) -> str:
        self.frames = 0
        return "armed"

    def report(self) -> DetectorReport:
        frames = self.frames  # as seen when the look begins
        report = super().report()
        return DetectorReport(state=report.state, frames_acquired=frames)


def test_the_count_of_an_earlier_series_is_not_told_of_the_next_one(build) -> None:
    driver = CountingDriver()
    hardware = build(driver)
    eventually(lambda: hardware.report().frames_acquired == 20)
    hardware.forget_count()
    assert hardware.last_report.frames_acquired is None
    assert hardware.report().frames_acquired is None  # the driver still says 20
    looks, driver.hold = driver.looks, threading.Event()
    looking = threading.Thread(target=hardware.report, name="report")
    looking.start()
    eventually(lambda: driver.looks > looks)  # a look that began before arm ...
    hardware.arm()
    hold, driver.hold = driver.hold, None
    hold.set()
    looking.join()
    assert hardware.last_report.frames_acquired in (None, 0)  # ... and what it saw is not told
    assert hardware.report().frames_acquired == 0


def test_a_driver_that_knows_nothing_of_changing_exposures_is_not_asked_for_them(build) -> None:
    hardware = build(Driver())
    settings = AcquisitionSettings(trigger_mode=TriggerMode.SOFTWARE, exposure_per_trigger=True)
    with pytest.raises(DetectorRefused, match=r"one exposure for a series.*ExposurePerTrigger false"):
        hardware.configure(settings)
    assert hardware.configure(AcquisitionSettings(trigger_mode=TriggerMode.SOFTWARE)) == "configured"
