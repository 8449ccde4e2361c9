"""The SIMPLON driver against our simulated detector: the contract of all drivers, and what is special here."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from maxdaq_tango.detectors.contract import HardwareState
from maxdaq_tango.detectors.eiger.configuration import vendor_trigger
from maxdaq_tango.detectors.eiger.driver import EigerDriver
from maxdaq_tango.detectors.eiger.protocol import DetectorCommand
from maxdaq_tango.detectors.eiger.simulator import SimulatorOptions
from maxdaq_tango.detectors.eiger.simulator_server import EigerSimulatorServer
from maxdaq_tango.errors import ConfigurationError, DetectorOffline, DetectorRefused, DetectorTimeout
from maxdaq_tango.model import AcquisitionSettings, StreamFormat, TriggerMode
from maxdaq_tango.testing.driver_contract import DriverContract, wait_for
from maxdaq_tango.testing.stream_probe import StreamProbe

SMALL = {"rows": 64, "columns": 96, "initialise_time_s": 0.0}


def driver_of(server: EigerSimulatorServer, **options: Any) -> EigerDriver:
    ports = {"legacy_port": server.stream_port, "cbor_port": server.cbor_port}
    return EigerDriver(server.host, server.http_port, **ports, **options)


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[EigerSimulatorServer]:
    """An Eiger2 with SIMPLON 1.8.0 unless parametrised otherwise."""
    with EigerSimulatorServer(SimulatorOptions(**{**SMALL, **getattr(request, "param", {})})) as server:
        yield server


@pytest.fixture
def driver(server: EigerSimulatorServer) -> Iterator[EigerDriver]:
    driver = driver_of(server)
    driver.connect()
    yield driver
    driver.close()


def set_faults(server: EigerSimulatorServer, **faults: Any) -> None:
    httpx.post(f"{server.url}/simulator/api/faults", json=faults, trust_env=False).raise_for_status()


class TestContract(DriverContract):
    """Eiger2, SIMPLON 1.8.0, stream v2."""

    @pytest.fixture
    def absent_driver(self) -> Iterator[EigerDriver]:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            yield EigerDriver("127.0.0.1", unused.getsockname()[1])


class TestContractOfAnOldEiger(TestContract):
    """Eiger, SIMPLON 1.6.0, stream v1."""

    @pytest.fixture
    def server(self) -> Iterator[EigerSimulatorServer]:
        with EigerSimulatorServer(SimulatorOptions(model="eiger", api_version="1.6.0", **SMALL)) as server:
            yield server


# --- one driver for three families ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "stream_format"),
    [
        ({"model": "eiger", "api_version": "1.6.0"}, StreamFormat.DECTRIS_V1),
        ({"model": "eiger", "api_version": "1.8.0"}, StreamFormat.DECTRIS_V2),
        ({"model": "eiger2", "api_version": "1.8.0"}, StreamFormat.DECTRIS_V2),
        ({"model": "pilatus4", "api_version": "1.8.0"}, StreamFormat.DECTRIS_V2),
    ],
    indirect=["server"],
)
def test_every_model_makes_a_whole_series_with_its_newest_stream(
    server: EigerSimulatorServer, driver: EigerDriver, stream_format: StreamFormat
) -> None:
    identity = driver.connect()
    assert identity.api_version == server.simulator.options.api_version
    settings = AcquisitionSettings(
        exposure_time_s=0.01, frames_per_trigger=3, trigger_count=2, trigger_mode=TriggerMode.SOFTWARE
    )
    description = driver.configure(settings)
    assert description.stream_format is stream_format
    assert description.shape[-2:] == (64, 96)
    with StreamProbe(description) as probe:
        armed = driver.arm()
        driver.trigger()
        driver.trigger()
        start, frames, end = probe.series()
    assert armed.series == start.series == end.series
    assert start.frame_count == armed.frame_count == description.frame_count == 6
    assert [frame.frame_number for frame in frames] == list(range(6))
    assert {frame.format.shape for frame in frames} == {description.shape}
    assert {frame.format.dtype for frame in frames} == {description.dtype}
    assert start.metadata["count_time"] == description.metadata["count_time"]


def test_v1_can_be_asked_for_where_v2_exists(server: EigerSimulatorServer) -> None:
    driver = driver_of(server, stream_format="dectris-v1", header_detail="basic")
    driver.connect()
    description = driver.configure(AcquisitionSettings())
    assert description.sources == (f"tcp://127.0.0.1:{server.stream_port}",)
    assert description.metadata["stream/format"] == "legacy"
    assert description.metadata["stream/header_detail"] == "basic"
    driver.close()


@pytest.mark.parametrize("server", [{"model": "eiger", "api_version": "1.6.0"}], indirect=True)
def test_v2_is_refused_where_it_does_not_exist(server: EigerSimulatorServer) -> None:
    driver = driver_of(server, stream_format="dectris-v2")
    with pytest.raises(DetectorRefused, match="Accepted: dectris-v1"):
        driver.connect()
    assert driver.report().state is HardwareState.OFFLINE


def test_an_unknown_stream_format_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="stins2"):
        EigerDriver("127.0.0.1", stream_format="stins2")


def test_an_unknown_api_version_is_refused(server: EigerSimulatorServer) -> None:
    with pytest.raises(DetectorRefused, match=r"1\.6\.0"):
        driver_of(server, api_version="1.6.0").connect()


def test_connect_switches_on_the_stream_and_off_the_filewriter(driver: EigerDriver) -> None:
    assert driver.parameter("stream/mode").value == "enabled"
    assert driver.parameter("filewriter/mode").value == "disabled"


@pytest.mark.parametrize("wanted", [True, False])
def test_the_monitor_is_switched_when_asked_for(server: EigerSimulatorServer, wanted: bool) -> None:
    driver = driver_of(server, monitor=wanted)
    driver.connect()
    assert driver.parameter("monitor/mode").value == ("enabled" if wanted else "disabled")
    driver.close()


def test_connect_leaves_a_series_alone(driver: EigerDriver) -> None:
    driver.configure(AcquisitionSettings(exposure_time_s=0.01))
    driver.arm()
    driver.connect()
    assert driver.report().state is HardwareState.ARMED
    driver.trigger()
    assert driver.report().state is HardwareState.IDLE


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "vendor"),
    [
        (TriggerMode.INTERNAL, ("ints", 6, 1)),
        (TriggerMode.SOFTWARE, ("ints", 3, 2)),
        (TriggerMode.EXTERNAL_MULTI, ("exts", 3, 2)),
        (TriggerMode.EXTERNAL_MULTI_GATE, ("exte", 1, 6)),
    ],
)
def test_our_trigger_modes_are_simplons(driver: EigerDriver, mode: TriggerMode, vendor: tuple[str, int, int]) -> None:
    settings = AcquisitionSettings(exposure_time_s=0.01, frames_per_trigger=3, trigger_count=2, trigger_mode=mode)
    assert vendor_trigger(settings) == vendor
    metadata = driver.configure(settings).metadata
    assert (metadata["trigger_mode"], metadata["nimages"], metadata["ntrigger"]) == vendor


PER_TRIGGER = AcquisitionSettings(
    exposure_time_s=0.01, trigger_count=3, trigger_mode=TriggerMode.SOFTWARE, exposure_per_trigger=True
)


def test_an_exposure_for_each_trigger_is_inte_and_the_trigger_lasts_as_long(driver: EigerDriver) -> None:
    metadata = driver.configure(PER_TRIGGER).metadata
    assert (metadata["trigger_mode"], metadata["nimages"], metadata["ntrigger"]) == ("inte", 1, 3)
    driver.arm()
    for given, seconds in ((0.02, 0.02), (0.25, 0.25), (None, 0.01)):
        assert driver.report().ready_for_trigger
        began = time.monotonic()
        driver.trigger(given)
        assert seconds <= time.monotonic() - began < seconds + 2.0
    assert driver.report().state is HardwareState.IDLE
    driver.configure(AcquisitionSettings(frames_per_trigger=2, trigger_mode=TriggerMode.SOFTWARE))


def test_an_exposure_beyond_the_limits_is_refused_and_the_series_goes_on(driver: EigerDriver) -> None:
    driver.configure(PER_TRIGGER)
    driver.arm()
    with pytest.raises(DetectorRefused, match="count_time"):
        driver.trigger(1e6)
    for _ in range(3):
        driver.trigger(0.01)
    assert driver.report().state is HardwareState.IDLE


def test_an_abort_ends_a_long_exposure_at_once(driver: EigerDriver) -> None:
    driver.configure(PER_TRIGGER)
    driver.arm()
    thread = threading.Thread(target=driver.trigger, args=(60.0,))
    thread.start()
    wait_for("ACQUIRING", lambda: driver.report().state is HardwareState.ACQUIRING)
    began = time.monotonic()
    driver.abort()
    thread.join(10)
    assert not thread.is_alive()
    assert time.monotonic() - began < 5


def test_every_mode_can_follow_every_other(driver: EigerDriver) -> None:
    for before in TriggerMode:
        for after in TriggerMode:
            for mode in (before, after):
                driver.configure(
                    AcquisitionSettings(exposure_time_s=0.01, frames_per_trigger=3, trigger_count=2, trigger_mode=mode)
                )


@pytest.mark.parametrize("exposure_time_s", [1e-4, 0.001, 0.1, 1.0, 100.0])
def test_times_are_kept_whatever_came_before(driver: EigerDriver, exposure_time_s: float) -> None:
    for before in (5.0, 0.001):
        driver.configure(AcquisitionSettings(exposure_time_s=before))
        description = driver.configure(AcquisitionSettings(exposure_time_s=exposure_time_s))
        assert description.metadata["count_time"] == pytest.approx(exposure_time_s, rel=1e-5, abs=2e-7)
        assert description.frame_period_s >= exposure_time_s


def test_no_latency_means_the_shortest_frame_time(driver: EigerDriver) -> None:
    shortest = driver.limits()["exposure_time_s"].minimum
    assert shortest is not None
    description = driver.configure(AcquisitionSettings(exposure_time_s=shortest * 2))
    minimum = driver.limits()["frame_period_s"].minimum
    assert minimum is not None
    assert description.frame_period_s >= minimum * (1 - 1e-5)


def test_a_refused_exposure_names_the_limits(driver: EigerDriver) -> None:
    with pytest.raises(DetectorRefused, match=r"set detector/count_time to 2000\.0 .*above the upper limit.*1800 s"):
        driver.configure(AcquisitionSettings(exposure_time_s=2000.0))


def test_energies_are_written_only_when_they_change(server: EigerSimulatorServer, driver: EigerDriver) -> None:
    assert driver.set_parameter("energy_ev", 12_000) == pytest.approx(12_000)
    assert driver.set_parameter("threshold_ev", 7_000) == pytest.approx(7_000)
    # Writing the energy again would have put the threshold back to half of it.
    driver.set_parameter("energy_ev", 12_000.04)
    assert driver.parameter("threshold_ev").value == pytest.approx(7_000)
    driver.set_parameter("energy_ev", 12_001)
    assert driver.parameter("threshold_ev").value == pytest.approx(6_000.5)


def test_family_settings_are_checked_and_reach_the_description(driver: EigerDriver) -> None:
    driver.set_parameter("compression", "lz4")
    driver.set_parameter("beam_center_x_px", 48)
    driver.set_parameter("detector_distance_m", 0.25)
    driver.set_parameter("stream/header_appendix", {"filename": "/data/a.h5", "rotate": 3})
    metadata = driver.configure(AcquisitionSettings()).metadata
    assert metadata["compression"] == "lz4"
    assert metadata["beam_center_x"] == 48
    assert metadata["detector_distance"] == 0.25
    assert json.loads(metadata["stream/header_appendix"]) == {"filename": "/data/a.h5", "rotate": 3}
    with pytest.raises(DetectorRefused, match="one of"):
        driver.set_parameter("compression", "gzip")
    with pytest.raises(DetectorRefused, match="read-only"):
        driver.set_parameter("bit_depth_image", 8)
    with pytest.raises(DetectorRefused, match="nonsense"):
        driver.set_parameter("nonsense", 1)


def test_the_appendix_comes_with_the_start_message(driver: EigerDriver) -> None:
    driver.set_parameter("stream/header_appendix", {"filename": "/data/a.h5", "rotate": 3})
    with StreamProbe(driver.configure(AcquisitionSettings(exposure_time_s=0.01))) as probe:
        driver.arm()
        driver.trigger()
        start, _, _ = probe.series()
    assert (start.filename, start.rotate) == ("/data/a.h5", 3)


def test_two_thresholds_make_two_images_a_frame(driver: EigerDriver) -> None:
    driver.set_parameter("threshold/2/mode", "enabled")
    description = driver.configure(AcquisitionSettings(exposure_time_s=0.01))
    assert description.shape == (2, 64, 96)
    with StreamProbe(description) as probe:
        driver.arm()
        driver.trigger()
        _, (frame,), _ = probe.series()
    assert frame.format.shape == description.shape


def test_parameters_lists_what_can_be_read(driver: EigerDriver) -> None:
    names = driver.parameters()
    assert {"count_time", "wavelength", "threshold/1/energy", "stream/mode", "monitor/mode"} <= set(names)
    assert not {"flatfield", "pixel_mask", "threshold/1/flatfield"} & set(names)
    for name in names:
        driver.parameter(name)


# --- the series, when things go wrong ---------------------------------------------------------------------------------


def test_an_untrusted_id_is_not_told(server: EigerSimulatorServer) -> None:
    driver = driver_of(server, trust_series_id=False)
    driver.connect()
    driver.configure(AcquisitionSettings())
    assert driver.arm().series is None
    driver.close()


def test_external_edges_make_the_series(server: EigerSimulatorServer, driver: EigerDriver) -> None:
    settings = AcquisitionSettings(
        exposure_time_s=0.01, frames_per_trigger=2, trigger_count=3, trigger_mode=TriggerMode.EXTERNAL_MULTI
    )
    with StreamProbe(driver.configure(settings)) as probe:
        driver.arm()
        edges = {"count": 3, "period_s": 0.05}
        httpx.post(f"{server.url}/simulator/api/edge", params=edges, trust_env=False).raise_for_status()
        _, frames, _ = probe.series()
        assert len(frames) == 6
        wait_for("IDLE", lambda: driver.report().state is HardwareState.IDLE)


def test_stop_finishes_the_running_frame_and_abort_does_not(driver: EigerDriver) -> None:
    settings = AcquisitionSettings(exposure_time_s=0.4, frames_per_trigger=100, trigger_mode=TriggerMode.INTERNAL)
    counts = {}
    for ending in ("stop", "abort"):
        with StreamProbe(driver.configure(settings)) as probe:
            driver.arm()
            trigger = threading.Thread(target=driver.trigger, name="trigger")
            trigger.start()
            wait_for("ACQUIRING", lambda: driver.report().state is HardwareState.ACQUIRING)
            getattr(driver, ending)()
            trigger.join()
            _, frames, _ = probe.series()
            counts[ending] = len(frames)
    assert counts == {"stop": 1, "abort": 0}


def test_abort_passes_while_arm_blocks(server: EigerSimulatorServer, driver: EigerDriver) -> None:
    driver.configure(AcquisitionSettings())
    set_faults(server, arm_delay_s=5.0)
    errors: list[BaseException] = []

    def arm() -> None:
        try:
            driver.arm()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=arm, name="arm")
    thread.start()
    wait_for("CONFIGURING", lambda: driver.report().state is HardwareState.CONFIGURING)
    started = time.monotonic()
    driver.abort()
    thread.join()
    assert time.monotonic() - started < 3
    assert isinstance(errors[0], DetectorRefused)
    assert driver.report().state is HardwareState.IDLE
    set_faults(server)
    driver.arm()
    driver.abort()


def test_an_abort_that_overtakes_the_arm_is_not_lost(driver: EigerDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    driver.configure(AcquisitionSettings())
    command = driver._client.command

    def overtaken(name: DetectorCommand, **options: Any) -> bytes:
        if name is DetectorCommand.ARM:  # on its way; the detector is still idle
            driver.abort()
        return command(name, **options)

    monkeypatch.setattr(driver._client, "command", overtaken)
    with pytest.raises(DetectorRefused, match="ended meanwhile"):
        driver.arm()
    assert driver.report().state is HardwareState.IDLE
    monkeypatch.undo()
    driver.arm()
    driver.abort()


def test_a_trigger_that_makes_no_frames_is_a_timeout(
    server: EigerSimulatorServer, driver: EigerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maxdaq_tango.detectors.eiger.protocol.TRIGGER_MARGIN_S", 0.3)
    set_faults(server, never_start=True)
    driver.configure(AcquisitionSettings(exposure_time_s=0.01, trigger_mode=TriggerMode.SOFTWARE))
    driver.arm()
    with pytest.raises(DetectorTimeout, match="trigger"):
        driver.trigger()
    driver.abort()
    set_faults(server)
    assert driver.report().state is HardwareState.IDLE


def test_another_client_that_armed_is_told_of_and_taken_back_by_configure(
    server: EigerSimulatorServer, driver: EigerDriver
) -> None:
    driver.configure(AcquisitionSettings())
    other = driver_of(server)
    other.connect()
    other.arm()
    with pytest.raises(DetectorRefused, match="its state is 'ready'"):
        driver.arm()
    assert driver.report().state is HardwareState.ARMED
    driver.configure(AcquisitionSettings())
    driver.arm()
    driver.abort()
    other.close()


def test_settings_that_another_client_changed_are_set_again(server: EigerSimulatorServer, driver: EigerDriver) -> None:
    settings = AcquisitionSettings(exposure_time_s=0.01)
    driver.configure(settings)
    other = driver_of(server)
    other.connect()
    other.set_parameter("count_time", 0.5)
    other.close()
    assert driver.configure(settings).metadata["count_time"] == pytest.approx(0.01)


def test_a_detector_that_goes_away_is_offline() -> None:
    with EigerSimulatorServer(SimulatorOptions(**SMALL)) as server:
        lost = driver_of(server)
        lost.connect()
        lost.configure(AcquisitionSettings())
    try:
        report = lost.report()
        assert report.state is HardwareState.OFFLINE
        assert "127.0.0.1" in report.message
        for act in (lost.arm, lost.trigger, lost.stop, lost.abort, lost.connect):
            with pytest.raises(DetectorOffline):
                act()
    finally:
        lost.close()


def test_a_detector_that_comes_back_is_used_without_a_new_connect(
    server: EigerSimulatorServer, driver: EigerDriver
) -> None:
    set_faults(server, offline_s=0.5)
    wait_for("OFFLINE", lambda: driver.report().state is HardwareState.OFFLINE)
    wait_for("IDLE", lambda: driver.report().state is HardwareState.IDLE)
    driver.configure(AcquisitionSettings(exposure_time_s=0.01))
    driver.arm()
    driver.trigger()


def test_an_abort_of_an_armed_detector_that_is_away_for_a_moment_waits_for_it(
    server: EigerSimulatorServer, driver: EigerDriver
) -> None:
    driver.configure(AcquisitionSettings(exposure_time_s=0.01, trigger_mode=TriggerMode.SOFTWARE))
    driver.arm()
    set_faults(server, offline_s=0.8)
    wait_for("OFFLINE", lambda: driver.report().state is HardwareState.OFFLINE)
    driver.abort()
    assert driver.report().state is HardwareState.IDLE  # else it would stay armed, with nobody who knows of it


def test_an_abort_of_an_armed_detector_that_stays_away_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maxdaq_tango.detectors.eiger.driver.ABORT_PATIENCE_S", 0.3)
    with EigerSimulatorServer(SimulatorOptions(**SMALL)) as server:
        lost = driver_of(server)
        lost.connect()
        lost.configure(AcquisitionSettings(trigger_mode=TriggerMode.SOFTWARE))
        lost.arm()
    try:
        with pytest.raises(DetectorOffline):
            lost.abort()
    finally:
        lost.close()


def test_a_refused_arm_leaves_it_idle_and_says_why(server: EigerSimulatorServer, driver: EigerDriver) -> None:
    set_faults(server, refuse_arm="high voltage is off")
    driver.configure(AcquisitionSettings())
    with pytest.raises(DetectorRefused, match="high voltage is off"):
        driver.arm()
    assert driver.report().state is HardwareState.IDLE


def test_a_parameter_that_fails_is_named(server: EigerSimulatorServer, driver: EigerDriver) -> None:
    set_faults(server, failing_keys=["count_time"])
    with pytest.raises(DetectorRefused, match=r"count_time.*500"):
        driver.configure(AcquisitionSettings(exposure_time_s=0.02))


def test_an_error_state_is_reported_with_the_detectors_words(server: EigerSimulatorServer, driver: EigerDriver) -> None:
    set_faults(server, error_state="module 3 lost")
    report = driver.report()
    assert report.state is HardwareState.ERROR
    assert report.message.startswith("error")
    with pytest.raises(DetectorRefused):
        driver.configure(AcquisitionSettings())


def test_initialise_restores_the_defaults(driver: EigerDriver) -> None:
    driver.configure(AcquisitionSettings(exposure_time_s=0.123))
    driver.initialise()
    assert driver.report().state is HardwareState.IDLE
    assert driver.parameter("count_time").value != pytest.approx(0.123)


def test_a_detector_that_somebody_else_initialises_is_connected_to_afterwards_and_whole(
    server: EigerSimulatorServer,
) -> None:
    # As when a device server is restarted during its first initialisation: what the detector refuses meanwhile must
    # not be taken for not existing.
    set_faults(server, initialise_delay_s=0.3)
    other, driver = driver_of(server), driver_of(server)
    initialising = threading.Thread(target=other.connect, name="initialise")
    initialising.start()
    refusals = []

    def connected() -> bool:
        try:
            return bool(driver.connect())
        except DetectorRefused as error:
            refusals.append(str(error))
            return False

    wait_for("initialize", lambda: bool(other._client.version) and other._client.state() == "initialize")
    wait_for("the connection", connected)
    initialising.join()
    assert "'initialize'" in refusals[0]
    assert driver.configure(AcquisitionSettings(frames_per_trigger=7)).shape == (64, 96)
    assert driver.arm().frame_count == 7
    driver.abort()
    driver.close()
    other.close()


def test_the_monitor_shows_a_frame(server: EigerSimulatorServer) -> None:
    driver = driver_of(server, monitor=True)
    driver.connect()
    with pytest.raises(DetectorTimeout):
        driver.monitor_image(0.1)
    with StreamProbe(driver.configure(AcquisitionSettings(exposure_time_s=0.01))) as probe:
        driver.arm()
        driver.trigger()
        probe.series()
    assert driver.monitor_image()[:4] in (b"II*\0", b"MM\0*")
    driver.close()


def test_impossible_settings_do_not_reach_the_driver() -> None:
    with pytest.raises(ConfigurationError):
        AcquisitionSettings(exposure_time_s=0)
