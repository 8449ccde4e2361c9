"""The driver of a Lambda behind its streamer: the contract of all drivers, and what is special here."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import msgspec
import pytest

from maxdaq_tango.detectors.contract import HardwareState
from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.detectors.xspectrum_lambda.driver import LambdaDriver
from maxdaq_tango.detectors.xspectrum_lambda.protocol import Change
from maxdaq_tango.detectors.xspectrum_lambda.words import BitDepth, CounterMode
from maxdaq_tango.errors import DetectorOffline, DetectorRefused
from maxdaq_tango.model import AcquisitionSettings, StreamFormat, TriggerMode
from maxdaq_tango.testing.driver_contract import DriverContract, wait_for

WARM = Change(thresholds_ev=(7000.0,), energy_ev=12000.0)


@pytest.fixture
def make_driver(make_stand: Callable[..., Any]) -> Iterator[Callable[..., tuple[LambdaDriver, Any]]]:
    drivers = []

    def make(initial: Change = WARM, **options: Any) -> tuple[LambdaDriver, Any]:
        stand = make_stand(**options)
        driver = LambdaDriver("127.0.0.1", stand.streamer.port, initial=initial)
        drivers.append(driver)
        return driver, stand

    yield make
    for driver in drivers:
        driver.close()


@pytest.fixture
def driver(make_driver: Callable[..., tuple[LambdaDriver, Any]]) -> LambdaDriver:
    driver, _ = make_driver()
    driver.connect()
    return driver


class TestContract(DriverContract):
    """Three modules of 12 bit."""

    modes: ClassVar[tuple[TriggerMode, ...]] = (TriggerMode.INTERNAL, TriggerMode.SOFTWARE, TriggerMode.EXTERNAL_MULTI)

    @pytest.fixture
    def absent_driver(self) -> Iterator[LambdaDriver]:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            driver = LambdaDriver("127.0.0.1", unused.getsockname()[1])
            yield driver
            driver.close()


class TestContractAt24Bit(TestContract):
    """Where nothing is counted during the readout."""

    @pytest.fixture
    def driver(self, make_driver: Callable[..., tuple[LambdaDriver, Any]]) -> LambdaDriver:
        driver, _ = make_driver(Change(thresholds_ev=(7000.0,), bit_depth=BitDepth.DEPTH_24))
        driver.connect()
        assert driver.readout_time_s() > 0
        return driver


def test_what_will_be_sent(driver: LambdaDriver) -> None:
    described = driver.configure(AcquisitionSettings(exposure_time_s=0.02, frames_per_trigger=4))
    assert described.stream_format is StreamFormat.LAMBDA_MODULES
    assert (described.shape, described.dtype, described.frame_count) == ((3, 8, 24), "uint16", 4)
    assert len(set(described.sources)) == 3
    assert described.metadata["thresholds"] == [7000.0]
    assert described.frame_period_s == pytest.approx(0.02)


def test_both_counters_double_the_frames(driver: LambdaDriver) -> None:
    driver.set(Change(counter_mode=CounterMode.DUAL))
    assert driver.configure(AcquisitionSettings(frames_per_trigger=4)).frame_count == 8
    assert driver.arm().frame_count == 8
    driver.abort()


def test_a_cold_detector_gets_the_initial_settings_and_a_warm_one_keeps_its_own(
    make_driver: Callable[..., tuple[LambdaDriver, Any]],
) -> None:
    driver, stand = make_driver()
    driver.connect()
    assert driver.settings().thresholds_ev == (7000.0,)
    driver.set(Change(thresholds_ev=(9000.0,)))
    other = LambdaDriver("127.0.0.1", stand.streamer.port, initial=WARM)
    other.connect()
    assert other.settings().thresholds_ev == (9000.0,)
    other.close()


def test_a_detector_that_was_switched_off_gets_back_what_it_was_told_last(
    make_driver: Callable[..., tuple[LambdaDriver, Any]],
) -> None:
    driver, stand = make_driver()
    driver.connect()
    driver.set(Change(bit_depth=BitDepth.DEPTH_6, thresholds_ev=(8000.0,)))
    with stand.server.lock:
        stand.server.simulator.power_cycle()
    wait_for("OFFLINE", lambda: driver.report().state is HardwareState.OFFLINE)
    driver.connect()
    settings = driver.settings()
    assert (settings.bit_depth, settings.thresholds_ev) == (BitDepth.DEPTH_6, (8000.0,))
    assert settings.energy_ev == pytest.approx(12000.0)


def test_without_initial_settings_a_cold_detector_is_refused_with_what_to_do(
    make_driver: Callable[..., tuple[LambdaDriver, Any]],
) -> None:
    driver, _ = make_driver(Change())
    driver.connect()
    with pytest.raises(DetectorRefused, match=r"no thresholds.*InitialThresholds"):
        driver.configure(AcquisitionSettings())


def test_settings_that_the_detector_refuses_are_not_remembered(driver: LambdaDriver) -> None:
    with pytest.raises(DetectorRefused, match="BAD_ARG_OUT_OF_RANGE"):
        driver.set(Change(thresholds_ev=(1e9,)))
    assert driver.remembered.thresholds_ev == (7000.0,)


def answering(driver: LambdaDriver, monkeypatch: pytest.MonkeyPatch, **other: Any) -> None:
    """The detector makes something else of what it is told."""
    real = driver._client.set
    monkeypatch.setattr(driver._client, "set", lambda change: msgspec.structs.replace(real(change), **other))


def test_what_the_detector_rounds_is_remembered_as_it_is(driver: LambdaDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(driver, monkeypatch, thresholds_ev=(8031.0, 0.0), energy_ev=15_980.0)
    assert driver.set(Change(thresholds_ev=(8000.0,), energy_ev=16_000.0)).energy_ev == 15_980.0
    assert (driver.remembered.thresholds_ev, driver.remembered.energy_ev) == ((8031.0, 0.0), 15_980.0)
    driver.set(Change(voltage_v=150.0))
    assert (driver.remembered.voltage_v, driver.remembered.thresholds_ev) == (150.0, (8031.0, 0.0))


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        (Change(thresholds_ev=(8000.0,)), {"thresholds_ev": (7000.0,)}),
        (Change(thresholds_ev=(8000.0, 9000.0)), {"thresholds_ev": (8000.0,)}),
        (Change(energy_ev=16_000.0), {"energy_ev": 12_000.0}),
    ],
)
def test_an_energy_that_the_detector_makes_something_else_of_is_refused(
    driver: LambdaDriver, monkeypatch: pytest.MonkeyPatch, change: Change, answer: dict[str, Any]
) -> None:
    before = driver.remembered
    answering(driver, monkeypatch, **answer)
    with pytest.raises(DetectorRefused, match="it is "):
        driver.set(change)
    assert driver.remembered == before


def test_an_abort_that_overtakes_the_arm_on_its_way_is_not_lost(
    driver: LambdaDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.configure(AcquisitionSettings())
    real = driver._client.arm

    def arm() -> Any:
        driver.abort()
        return real()

    monkeypatch.setattr(driver._client, "arm", arm)
    with pytest.raises(DetectorRefused, match="ended meanwhile"):
        driver.arm()
    assert driver.report().state is HardwareState.IDLE


def test_frames_are_counted_from_arm_to_the_end_and_not_beyond(driver: LambdaDriver) -> None:
    series = AcquisitionSettings(
        exposure_time_s=0.001, frames_per_trigger=3, trigger_count=2, trigger_mode=TriggerMode.SOFTWARE
    )
    for _ in range(2):
        driver.configure(series)
        assert driver.report().frames_acquired is None
        driver.arm()
        assert driver.report().frames_acquired == 0
        driver.trigger()
        assert driver.report().frames_acquired == 3
        driver.trigger()
        assert driver.report().frames_acquired is None


def test_limits_follow_the_bit_depth(driver: LambdaDriver) -> None:
    shortest = {}
    for depth in BitDepth:
        driver.set(Change(bit_depth=depth))
        shortest[depth] = driver.limits()["exposure_time_s"].minimum
    assert sorted(shortest.values()) == [shortest[depth] for depth in BitDepth]


def test_health_is_told_in_the_order_of_the_modules(driver: LambdaDriver) -> None:
    health = driver.health()
    assert [item[0] for item in health.temperatures_degc] == [31.5, 32.5, 33.5]
    assert health.humidities_percent == (4.5, 5.5, 6.5)
    assert health.voltages_v == (200.0,) * 3


def test_the_error_state_is_reported_with_its_reason_and_initialise_leads_out(
    make_driver: Callable[..., tuple[LambdaDriver, Any]],
) -> None:
    driver, stand = make_driver()
    driver.connect()
    stand.server.simulator.faults = Faults(error_state="cooling failed")
    wait_for("ERROR", lambda: driver.report().state is HardwareState.ERROR)
    assert "cooling failed" in driver.report().message
    driver.initialise()
    assert driver.report().state is HardwareState.IDLE


def test_a_streamer_that_is_gone_is_offline_and_found_again(
    make_driver: Callable[..., tuple[LambdaDriver, Any]], make_stand: Callable[..., Any]
) -> None:
    driver, stand = make_driver()
    driver.connect()
    driver.configure(AcquisitionSettings())
    driver.arm()
    port = stand.streamer.port
    stand.streamer.close()
    assert driver.report().state is HardwareState.OFFLINE
    with pytest.raises(DetectorOffline):
        driver.trigger()
    make_stand(streamer={"port": port})
    driver.connect()
    assert driver.report().state is HardwareState.IDLE
