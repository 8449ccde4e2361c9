# ruff: noqa: D102 - a test's name says what it shows
"""What every detector driver must do, as tests to inherit: subclass it, name the fixtures, run it against a simulator.

    class TestEigerDriver(DriverContract):
        @pytest.fixture
        def driver(self): ...               # connected, idle, closed afterwards
        @pytest.fixture
        def absent_driver(self): ...        # for an address where nobody answers; not connected

The simulator runs in real time; series are tens of milliseconds, or so long that only `stop` and `abort` end them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar

import msgspec
import numpy as np
import pytest

from maxdaq_tango.detectors.contract import DetectorDriver, HardwareState
from maxdaq_tango.errors import DetectorError, DetectorOffline, DetectorRefused
from maxdaq_tango.model import AcquisitionSettings, TriggerMode

SOFTWARE_STARTED = frozenset({TriggerMode.INTERNAL, TriggerMode.SOFTWARE})


def wait_for(what: str, condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    """Look until `condition` holds; an `AssertionError` that says what never came."""
    pause, deadline = threading.Event(), time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s in vain for {what}"
        pause.wait(0.01)


class DriverContract:
    """The suite. Class variables say what differs between families."""

    modes: ClassVar[tuple[TriggerMode, ...]] = tuple(TriggerMode)
    """Trigger modes that the hardware offers; every other one must be refused."""
    exposure_time_s: ClassVar[float] = 0.01
    excessive_exposure_s: ClassVar[float | None] = 1e7
    """Beyond the hardware's limit; None where it knows none."""
    changes_exposure: ClassVar[bool] = True
    """False where the simulator cannot do what the driver can."""
    ends_within_s: ClassVar[float] = 5.0
    """Longest time `stop` and `abort` may take, and a trigger to come back after them."""

    def settings(
        self, mode: TriggerMode = TriggerMode.SOFTWARE, frames_per_trigger: int = 2, trigger_count: int = 2
    ) -> AcquisitionSettings:
        """A short series."""
        return AcquisitionSettings(
            exposure_time_s=self.exposure_time_s,
            frames_per_trigger=frames_per_trigger,
            trigger_count=trigger_count,
            trigger_mode=mode if mode in self.modes else self.modes[0],
        )

    def endless(self) -> AcquisitionSettings:
        """A series of minutes."""
        mode = TriggerMode.SOFTWARE if TriggerMode.SOFTWARE in self.modes else TriggerMode.INTERNAL
        return self.settings(mode, frames_per_trigger=20_000, trigger_count=1)

    @contextmanager
    def acquiring(self, driver: DetectorDriver) -> Iterator[list[BaseException]]:
        """An endless series in another thread; yields the errors of its trigger and waits for the thread."""
        errors: list[BaseException] = []

        def trigger() -> None:
            try:
                driver.trigger()
            except Exception as error:
                errors.append(error)

        driver.configure(self.endless())
        driver.arm()
        thread = threading.Thread(target=trigger, name="contract-trigger")
        thread.start()
        try:
            wait_for("ACQUIRING", lambda: driver.report().state is HardwareState.ACQUIRING)
            yield errors
        finally:
            thread.join(self.ends_within_s)
            if thread.is_alive():
                driver.abort()
                thread.join()
                pytest.fail(f"the trigger did not come back within {self.ends_within_s:g} s")

    def run_series(self, driver: DetectorDriver) -> None:
        """A whole short series, to prove that the detector is in order."""
        settings = self.settings()
        driver.configure(settings)
        assert driver.arm().frame_count == settings.frame_count
        for _ in range(settings.trigger_count if settings.trigger_mode is TriggerMode.SOFTWARE else 1):
            driver.trigger()
        assert driver.report().state is HardwareState.IDLE

    # --- connecting and looking ---------------------------------------------------------------------------------------

    def test_connect_tells_who_answers_and_may_be_repeated(self, driver: DetectorDriver) -> None:
        identity = driver.connect()
        assert identity.model
        assert identity.serial_number
        assert driver.connect() == identity
        assert driver.report().state is HardwareState.IDLE

    def test_limits_are_ranges_under_common_names(self, driver: DetectorDriver) -> None:
        limits = driver.limits()
        assert "exposure_time_s" in limits
        for name, limit in limits.items():
            if limit.minimum is not None and limit.maximum is not None:
                assert limit.minimum < limit.maximum, name
        assert driver.readout_time_s() >= 0

    def test_nobody_at_the_address_is_offline(self, absent_driver: DetectorDriver) -> None:
        with pytest.raises(DetectorOffline):
            absent_driver.connect()
        report = absent_driver.report()
        assert report.state is HardwareState.OFFLINE
        assert report.message

    def test_a_driver_that_is_not_connected_says_offline_and_does_nothing(self, driver: DetectorDriver) -> None:
        driver.close()
        driver.close()
        assert driver.report().state is HardwareState.OFFLINE
        for act in (driver.limits, driver.arm, driver.trigger, driver.stop, driver.abort):
            with pytest.raises(DetectorError):
                act()
        driver.connect()
        assert driver.report().state is HardwareState.IDLE

    def test_report_answers_many_threads_during_a_series(self, driver: DetectorDriver) -> None:
        with self.acquiring(driver):
            states = []
            threads = [
                threading.Thread(target=lambda: states.append(driver.report().state), name=f"panel-{n}")
                for n in range(5)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            driver.abort()
        assert states == [HardwareState.ACQUIRING] * 5

    # --- configuring --------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("mode", list(TriggerMode))
    def test_configure_says_what_will_be_sent(self, driver: DetectorDriver, mode: TriggerMode) -> None:
        settings = msgspec.structs.replace(self.settings(), trigger_mode=mode, frames_per_trigger=3, trigger_count=2)
        if mode not in self.modes:
            with pytest.raises(DetectorRefused):
                driver.configure(settings)
            return
        description = driver.configure(settings)
        assert description.frame_count == 6
        assert description.frame_period_s >= 0.999 * settings.exposure_time_s
        assert description.sources
        assert all(source.startswith("tcp://") for source in description.sources)
        assert len(description.shape) >= 2 or description.shape == ()
        assert description.dtype == "" or np.dtype(description.dtype)
        assert msgspec.json.decode(msgspec.json.encode(description.metadata)) == description.metadata

    def test_configure_twice_gives_the_same(self, driver: DetectorDriver) -> None:
        first, second = driver.configure(self.settings()), driver.configure(self.settings())
        assert msgspec.structs.replace(first, metadata={}) == msgspec.structs.replace(second, metadata={})

    def test_latency_lengthens_the_frame_period(self, driver: DetectorDriver) -> None:
        settings = msgspec.structs.replace(self.settings(), latency_time_s=0.05)
        description = driver.configure(settings)
        assert description.frame_period_s == pytest.approx(settings.frame_period_s, abs=1e-3)

    def test_an_excessive_exposure_is_refused_with_the_limits_and_nothing_breaks(self, driver: DetectorDriver) -> None:
        if self.excessive_exposure_s is None:
            pytest.skip("the hardware states no limit")
        settings = msgspec.structs.replace(self.settings(), exposure_time_s=self.excessive_exposure_s)
        with pytest.raises(DetectorRefused) as refusal:
            driver.configure(settings)
        assert refusal.value.accepted
        self.run_series(driver)

    def test_configure_while_acquiring_is_refused_and_the_series_goes_on(self, driver: DetectorDriver) -> None:
        with self.acquiring(driver) as errors:
            with pytest.raises(DetectorRefused):
                driver.configure(self.settings())
            assert driver.report().state is HardwareState.ACQUIRING
            assert errors == []
            driver.abort()

    def test_configure_takes_back_an_armed_series(self, driver: DetectorDriver) -> None:
        driver.configure(self.settings())
        driver.arm()
        driver.configure(self.settings())
        assert driver.report().state is HardwareState.IDLE

    # --- arming and triggering ----------------------------------------------------------------------------------------

    @pytest.mark.parametrize("mode", list(TriggerMode))
    def test_arm_counts_the_frames_of_every_mode(self, driver: DetectorDriver, mode: TriggerMode) -> None:
        if mode not in self.modes:
            pytest.skip("not a mode of this hardware")
        driver.configure(self.settings(mode, frames_per_trigger=3, trigger_count=2))
        assert driver.arm().frame_count == 6
        report = driver.report()
        assert report.state is HardwareState.ARMED
        assert report.ready_for_trigger == (mode in SOFTWARE_STARTED)
        driver.stop()
        assert driver.report().state is HardwareState.IDLE

    def test_every_series_has_an_identity_of_its_own(self, driver: DetectorDriver) -> None:
        identities = []
        for _ in range(3):
            driver.configure(self.settings())
            identities.append(driver.arm().series)
            driver.stop()
        known = [identity for identity in identities if identity is not None]
        assert len(set(known)) == len(known)

    def test_arm_twice_is_refused_and_leaves_the_first_armed(self, driver: DetectorDriver) -> None:
        driver.configure(self.settings())
        driver.arm()
        with pytest.raises(DetectorRefused):
            driver.arm()
        assert driver.report().state is HardwareState.ARMED
        driver.abort()

    def test_triggers_make_the_series_and_one_more_is_refused(self, driver: DetectorDriver) -> None:
        self.run_series(driver)
        with pytest.raises(DetectorRefused):
            driver.trigger()

    def test_each_trigger_brings_its_exposure(self, driver: DetectorDriver) -> None:
        if not (self.changes_exposure and getattr(driver, "takes_exposures", False)):
            pytest.skip("one exposure for a series")
        settings = self.settings(TriggerMode.SOFTWARE, 1, 3)
        driver.configure(msgspec.structs.replace(settings, exposure_per_trigger=True))
        driver.arm()
        for seconds in (self.exposure_time_s, 0.3, self.exposure_time_s):
            began = time.monotonic()
            driver.trigger(seconds)  # type: ignore[call-arg] # those that take exposures have the parameter
            assert seconds <= time.monotonic() - began < seconds + self.ends_within_s
        assert driver.report().state is HardwareState.IDLE
        self.run_series(driver)

    def test_trigger_without_arm_is_refused(self, driver: DetectorDriver) -> None:
        driver.configure(self.settings())
        with pytest.raises(DetectorRefused):
            driver.trigger()

    def test_trigger_of_an_external_series_is_refused(self, driver: DetectorDriver) -> None:
        if TriggerMode.EXTERNAL_MULTI not in self.modes:
            pytest.skip("not a mode of this hardware")
        driver.configure(self.settings(TriggerMode.EXTERNAL_MULTI))
        driver.arm()
        with pytest.raises(DetectorRefused):
            driver.trigger()
        driver.abort()

    def test_a_second_trigger_at_the_same_time_is_refused(self, driver: DetectorDriver) -> None:
        with self.acquiring(driver) as errors:
            with pytest.raises(DetectorRefused):
                driver.trigger()
            driver.abort()
        assert errors == []

    # --- ending -------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("ending", ["stop", "abort"])
    @pytest.mark.parametrize("situation", ["connected", "configured", "armed", "between triggers", "finished"])
    def test_ending_is_harmless_everywhere_and_twice(self, driver: DetectorDriver, ending: str, situation: str) -> None:
        if situation == "finished":
            self.run_series(driver)
        elif situation != "connected":
            driver.configure(self.settings())
        if situation in {"armed", "between triggers"}:
            driver.arm()
        if situation == "between triggers" and self.settings().trigger_mode is TriggerMode.SOFTWARE:
            driver.trigger()
        for _ in range(2):
            getattr(driver, ending)()
            assert driver.report().state is HardwareState.IDLE
        self.run_series(driver)

    @pytest.mark.parametrize("ending", ["stop", "abort"])
    def test_ending_a_running_series_frees_its_trigger(self, driver: DetectorDriver, ending: str) -> None:
        with self.acquiring(driver) as errors:
            started = time.monotonic()
            getattr(driver, ending)()
            assert time.monotonic() - started < self.ends_within_s
        assert errors == []
        assert driver.report().state is HardwareState.IDLE
        getattr(driver, ending)()
        self.run_series(driver)

    def test_stop_and_abort_at_the_same_time_are_harmless(self, driver: DetectorDriver) -> None:
        with self.acquiring(driver) as errors:
            threads = [threading.Thread(target=act, name="ending") for act in (driver.stop, driver.abort, driver.stop)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert errors == []
        assert driver.report().state is HardwareState.IDLE
