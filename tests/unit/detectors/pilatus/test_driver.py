"""The Pilatus driver against simulated camserver and real streamer: the contract of drivers, and what is special."""

from __future__ import annotations

import dataclasses
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import httpx
import msgspec
import pytest

from maxdaq_tango.detectors.contract import HardwareState
from maxdaq_tango.detectors.pilatus import protocol, streamer_words
from maxdaq_tango.detectors.pilatus.client import CamserverClient
from maxdaq_tango.detectors.pilatus.configuration import PilatusConfiguration
from maxdaq_tango.detectors.pilatus.driver import PilatusDriver
from maxdaq_tango.detectors.pilatus.exposure_series import vendor_command
from maxdaq_tango.detectors.pilatus.protocol import Code, Reply
from maxdaq_tango.detectors.pilatus.simulator import SimulatorOptions
from maxdaq_tango.detectors.pilatus.simulator_server import PilatusSimulatorServer
from maxdaq_tango.detectors.pilatus.streamer import PilatusStreamer
from maxdaq_tango.detectors.pilatus.streamer_words import SeriesWish, StreamerStatus
from maxdaq_tango.errors import ConfigurationError, DetectorError, DetectorOffline, DetectorRefused
from maxdaq_tango.model import AcquisitionSettings, TriggerMode
from maxdaq_tango.testing.driver_contract import DriverContract, wait_for
from maxdaq_tango.testing.stream_probe import StreamProbe

SMALL = {"rows": 24, "columns": 32, "trim_time_s": 0.05}


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PilatusSimulatorServer]:
    """A Pilatus3 unless parametrised otherwise."""
    options = SimulatorOptions(**{**SMALL, **getattr(request, "param", {})})
    with PilatusSimulatorServer(options, folder=str(tmp_path / "images")) as server:
        yield server


@pytest.fixture
def streamer(server: PilatusSimulatorServer) -> Iterator[PilatusStreamer]:
    with PilatusStreamer(server.folder) as streamer:
        yield streamer


def driver_of(server: PilatusSimulatorServer, streamer: PilatusStreamer | None = None, **options: Any) -> PilatusDriver:
    port = streamer.port if streamer is not None else 0
    return PilatusDriver(server.host, server.port, streamer_port=port, **options)


@pytest.fixture
def driver(server: PilatusSimulatorServer, streamer: PilatusStreamer) -> Iterator[PilatusDriver]:
    driver = driver_of(server, streamer)
    driver.connect()
    yield driver
    driver.close()


def set_faults(server: PilatusSimulatorServer, **faults: Any) -> None:
    httpx.post(f"{server.url}/simulator/api/faults", json=faults, trust_env=False).raise_for_status()


def fire(server: PilatusSimulatorServer, count: int = 1, period_s: float = 0.02) -> None:
    httpx.post(f"{server.url}/simulator/api/edge?count={count}&period_s={period_s}", trust_env=False).raise_for_status()


class TestContract(DriverContract):
    """Pilatus3 and a streamer of ours. Bursts at external triggers are refused; what works of them is shown below."""

    modes: ClassVar[tuple[TriggerMode, ...]] = (
        TriggerMode.SOFTWARE,
        TriggerMode.INTERNAL,
        TriggerMode.EXTERNAL_MULTI_GATE,
    )

    @pytest.fixture
    def absent_driver(self) -> Iterator[PilatusDriver]:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            yield PilatusDriver("127.0.0.1", unused.getsockname()[1])


class TestContractOfAPilatus2(TestContract):
    """Which is killed with one command and has a longer dead time."""

    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[PilatusSimulatorServer]:
        with PilatusSimulatorServer(SimulatorOptions(**SMALL, generation=2), folder=str(tmp_path / "images")) as server:
            yield server


def settings(mode: TriggerMode = TriggerMode.INTERNAL, per_trigger: int = 3, triggers: int = 1) -> AcquisitionSettings:
    return AcquisitionSettings(
        exposure_time_s=0.005, frames_per_trigger=per_trigger, trigger_count=triggers, trigger_mode=mode
    )


def take(driver: PilatusDriver, wanted: AcquisitionSettings, act: Any) -> list[int]:
    """A whole series; the numbers of its frames in their order."""
    description = driver.configure(wanted)
    with StreamProbe(description) as probe:
        driver.arm()
        act()
        return [frame.frame_number for frame in probe.series()[1]]


# --- which command for which mode -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "command"),
    [
        (settings(TriggerMode.INTERNAL, 3, 2), ("Exposure", 6)),
        (settings(TriggerMode.SOFTWARE, 3, 2), ("Exposure", 3)),
        (settings(TriggerMode.EXTERNAL_MULTI, 3, 1), ("ExtTrigger", 3)),
        (settings(TriggerMode.EXTERNAL_MULTI, 1, 4), ("ExtMTrigger", 4)),
        (settings(TriggerMode.EXTERNAL_MULTI_GATE, 1, 4), ("ExtEnable", 4)),
        (settings(TriggerMode.EXTERNAL_MULTI_GATE, 2, 4), ("ExtEnable", 8)),
    ],
)
def test_every_mode_has_its_command(wanted, command):
    assert vendor_command(wanted) == command


def test_bursts_at_external_triggers_are_refused_with_what_is_possible(driver):
    with pytest.raises(DetectorRefused, match="one frame at each edge") as refused:
        driver.configure(settings(TriggerMode.EXTERNAL_MULTI, 3, 2))
    assert refused.value.accepted == "nFramesPerTrigger 1, or nTriggers 1"


def test_software_triggers_make_one_series_with_numbers_that_go_on(driver, server):
    wanted = settings(TriggerMode.SOFTWARE, 2, 3)
    assert take(driver, wanted, lambda: [driver.trigger() for _ in range(3)]) == list(range(6))
    names = sorted(name for name in os.listdir(server.folder) if name.endswith(".cbf"))
    assert [name[-9:-4] for name in names] == [f"0000{n}" for n in range(6)]


def test_each_frame_tells_the_exposure_that_its_trigger_brought(driver):
    wanted = msgspec.structs.replace(settings(TriggerMode.SOFTWARE, 1, 4), exposure_per_trigger=True)
    with StreamProbe(driver.configure(wanted)) as probe:
        driver.arm()
        for seconds in (0.005, 0.2, None, 0.01):
            driver.trigger(seconds)
        _, frames, _ = probe.series()
    assert [frame.exposure_time_s for frame in frames] == pytest.approx([0.005, 0.2, 0.2, 0.01])


def test_an_exposure_that_is_too_long_is_refused_and_the_next_one_is_taken(driver):
    driver.configure(msgspec.structs.replace(settings(TriggerMode.SOFTWARE, 1, 1), exposure_per_trigger=True))
    driver.arm()
    with pytest.raises(DetectorRefused, match=r"expose for 1e\+09 s"):
        driver.trigger(1e9)
    driver.abort()
    driver.configure(settings())


def test_one_frame_a_software_trigger(driver):
    assert take(driver, settings(TriggerMode.SOFTWARE, 1, 3), lambda: [driver.trigger() for _ in range(3)]) == [0, 1, 2]


@pytest.mark.parametrize("mode", [TriggerMode.INTERNAL, TriggerMode.SOFTWARE])
def test_more_images_than_one_command_makes_are_made_by_several(driver, server, monkeypatch, mode):
    monkeypatch.setattr(protocol, "MOST_IMAGES", 4)
    triggers = 2 if mode is TriggerMode.SOFTWARE else 1
    wanted = settings(mode, 10, triggers)
    assert take(driver, wanted, lambda: [driver.trigger() for _ in range(triggers)]) == list(range(10 * triggers))
    with server.lock:
        assert server.simulator.series == 3 * triggers


def test_one_edge_starts_all(driver, server):
    assert take(driver, settings(TriggerMode.EXTERNAL_MULTI, 4, 1), lambda: fire(server)) == [0, 1, 2, 3]
    wait_for("IDLE", lambda: driver.report().state is HardwareState.IDLE)


def test_one_edge_a_frame(driver, server):
    wanted = settings(TriggerMode.EXTERNAL_MULTI, 1, 4)

    def act() -> None:
        report = driver.report()
        assert (report.state, report.ready_for_trigger) == (HardwareState.ARMED, False)
        assert "waiting for a signal" in report.message
        fire(server)
        wait_for("ACQUIRING", lambda: driver.report().state is HardwareState.ACQUIRING)
        assert driver.report().frames_acquired == 1
        with pytest.raises(DetectorRefused, match="waits for external signals"):
            driver.trigger()
        fire(server, 3)

    assert take(driver, wanted, act) == [0, 1, 2, 3]
    wait_for("IDLE", lambda: driver.report().state is HardwareState.IDLE)
    assert driver.report().frames_acquired is None  # it counts within a series


def test_a_look_while_an_external_series_is_being_armed_does_not_end_it(driver, server, streamer):
    set_faults(server, arm_delay_s=0.3)
    driver.configure(settings(TriggerMode.EXTERNAL_MULTI, 1, 4))
    thread = threading.Thread(target=driver.arm, name="arm")
    thread.start()
    states = set()
    while thread.is_alive():
        states.add(driver.report().state)
    thread.join()
    assert states <= {HardwareState.IDLE, HardwareState.ARMED}
    assert driver.report().state is HardwareState.ARMED
    assert streamer.status().is_open


def test_a_look_that_began_before_an_external_series_was_armed_does_not_end_it(driver, streamer, monkeypatch):
    driver.configure(settings(TriggerMode.EXTERNAL_MULTI, 1, 4))
    looking, armed = threading.Event(), threading.Event()
    look = threading.Thread(target=driver.report, name="look")
    is_exposing, start = CamserverClient.is_exposing.fget, driver._client.start

    def slow_look(client: CamserverClient) -> bool:
        seen = is_exposing(client)
        if threading.current_thread() is look and not looking.is_set():
            assert not seen
            looking.set()
            armed.wait(5)
        return seen

    def start_after_the_look_has_begun(line: str) -> Reply:
        look.start()
        assert looking.wait(5)
        return start(line)

    monkeypatch.setattr(CamserverClient, "is_exposing", property(slow_look))
    monkeypatch.setattr(driver._client, "start", start_after_the_look_has_begun)
    driver.arm()
    armed.set()
    look.join()
    assert driver.report().state is HardwareState.ARMED
    assert streamer.status().is_open


@pytest.mark.parametrize("mode", [TriggerMode.SOFTWARE, TriggerMode.INTERNAL, TriggerMode.EXTERNAL_MULTI_GATE])
@pytest.mark.parametrize("ending", ["stop", "abort"])
def test_an_end_that_comes_while_arm_blocks_is_not_lost(driver, streamer, monkeypatch, mode, ending):
    driver.configure(settings(mode))
    begin = streamer.begin

    def slow_begin(wish: SeriesWish) -> StreamerStatus:
        answer = begin(wish)
        getattr(driver, ending)()  # the streamer has taken the series, and arm has not heard of it yet
        return answer

    command = streamer._control._commands[streamer_words.BEGIN]
    monkeypatch.setitem(streamer._control._commands, streamer_words.BEGIN, dataclasses.replace(command, run=slow_begin))
    with pytest.raises(DetectorRefused, match="ended"):
        driver.arm()
    monkeypatch.undo()
    assert driver.report().state is HardwareState.IDLE
    with pytest.raises(DetectorRefused, match="no series is armed"):
        driver.trigger()
    assert take(driver, settings(), driver.trigger) == [0, 1, 2]


def test_an_external_exposure_that_fails_is_an_error_until_it_is_ended(driver, server, streamer):
    wanted = settings(TriggerMode.EXTERNAL_MULTI, 1, 4)
    driver.configure(wanted)
    driver.arm()
    with server.lock:
        simulator = server.simulator
        simulator.outbox.append((simulator.master, b"7 ERR *** image could not be written\x18"))
        simulator.exposure = None
    fire(server)  # the server looks at its outbox
    wait_for("ERROR", lambda: driver.report().state is HardwareState.ERROR)
    assert "7 ERR *** image could not be written" in driver.report().message
    assert driver.report().state is HardwareState.ERROR
    driver.abort()
    assert driver.report().state is HardwareState.IDLE
    assert take(driver, settings(), driver.trigger) == [0, 1, 2]


def test_an_external_series_that_waits_is_taken_back_by_configure(driver):
    driver.configure(settings(TriggerMode.EXTERNAL_MULTI, 1, 4))
    driver.arm()
    driver.configure(settings())
    assert driver.report().state is HardwareState.IDLE


def test_tiff_files_are_taken_as_well(server, streamer):
    driver = driver_of(server, streamer, file_format="tif")
    driver.connect()
    try:
        assert take(driver, settings(), driver.trigger) == [0, 1, 2]
    finally:
        driver.close()


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({"exposure_time_s": 1e-7}, "expose for 1e-07 s"),
        ({"exposure_time_s": 6e6}, "expose for 6e.06 s"),
        ({"frames_per_trigger": 65_536, "trigger_mode": TriggerMode.EXTERNAL_MULTI}, "65536 images"),
    ],
)
def test_what_the_manual_forbids_is_refused_before_it_is_asked(driver, change, refused):
    with pytest.raises(DetectorRefused, match=refused) as error:
        driver.configure(msgspec.structs.replace(settings(), **change))
    assert error.value.accepted


def test_the_period_leaves_time_to_read_out(driver, server):
    assert driver.configure(settings()).frame_period_s == pytest.approx(0.00595)
    assert driver.configure(msgspec.structs.replace(settings(), exposure_time_s=1e-4)).frame_period_s == 0.002
    with server.lock:
        assert server.simulator.settings.gap_fill == -1
        assert server.simulator.settings.image_path == f"{server.folder}/"


def test_trimming_resets_two_settings_which_are_set_again(driver, server):
    driver.configure(settings(per_trigger=7))
    assert driver.settings.set_energy(12_000.0) == 12_000
    assert (driver.settings.energy_ev, driver.settings.threshold_ev) == (12_000, 6000)
    assert driver.settings.set_threshold(7000.0) == 7000
    assert driver.settings.energy_ev == 12_000
    assert driver.settings.set_gain("lowG") == "lowG"
    with server.lock:
        assert (server.simulator.settings.images, server.simulator.settings.gap_fill) == (7, -1)
    metadata = driver.configure(settings()).metadata
    assert (metadata["energy"], metadata["threshold"], metadata["exptime"]) == (12_000, 7000, 0.005)


def test_a_threshold_that_would_hardly_change_is_left_alone(driver, server):
    driver.settings.set_threshold(7000.0)
    with server.lock:
        server.simulator.options = msgspec.structs.replace(server.simulator.options, trim_time_s=600)
    assert driver.settings.set_threshold(7000.4) == 7000


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda settings: settings.set_threshold(100.0), "out of range"),
        (lambda settings: settings.set_energy(1e6), "out of range"),
        (lambda settings: settings.set_gain("hugeG"), "hugeG"),
        (lambda settings: settings.set_gain("lowG"), "no threshold has been set"),
        (lambda settings: settings.set_mx({"Nonsense": 1}), "Nonsense"),
        (lambda settings: settings.set_header_string("x" * 69), "69 characters"),
        (lambda settings: settings.set_header_string("a\nK"), "one line"),
    ],
)
def test_a_refused_setting_says_why_and_nothing_breaks(driver, act, words):
    with pytest.raises(DetectorRefused, match=words):
        act(driver.settings)
    assert take(driver, settings(), driver.trigger) == [0, 1, 2]


def test_trimming_is_reported_and_does_not_hold_up_the_look(driver, server):
    with server.lock:
        server.simulator.options = msgspec.structs.replace(server.simulator.options, trim_time_s=0.5)
    thread = threading.Thread(target=driver.settings.set_threshold, args=(8000.0,), name="trimming")
    thread.start()
    wait_for("CONFIGURING", lambda: driver.report().state is HardwareState.CONFIGURING)
    thread.join()
    assert driver.report().state is HardwareState.IDLE


@pytest.mark.parametrize("server", [{"trim_time_s": 2.0}], indirect=True)
def test_neither_abort_nor_configure_waits_until_the_chips_are_trimmed(driver, monkeypatch):
    monkeypatch.setattr("maxdaq_tango.detectors.pilatus.driver.TRIM_PATIENCE_S", 0.1)
    thread = threading.Thread(target=driver.settings.set_energy, args=(12_000.0,), name="trimming")
    thread.start()
    wait_for("CONFIGURING", lambda: driver.report().state is HardwareState.CONFIGURING)
    for act in (driver.abort, driver.stop):
        act()
    with pytest.raises(DetectorRefused, match=r"still being trimmed \(SetEnergy 12000\)") as refused:
        driver.configure(settings())
    assert "CONFIGURING" in refused.value.accepted
    assert driver.report().state is HardwareState.CONFIGURING  # all of that was over before the chips were trimmed
    thread.join()
    assert take(driver, settings(), driver.trigger) == [0, 1, 2]


@pytest.mark.parametrize("server", [{"trim_time_s": 0.5}], indirect=True)
def test_configure_waits_a_moment_for_a_trimming_that_is_nearly_over(driver):
    thread = threading.Thread(target=driver.settings.set_energy, args=(12_000.0,), name="trimming")
    thread.start()
    wait_for("CONFIGURING", lambda: driver.report().state is HardwareState.CONFIGURING)
    assert driver.configure(settings(per_trigger=7)).metadata["energy"] == 12_000
    thread.join()


def test_a_camserver_that_is_slow_to_tell_its_state_is_given_its_time(driver, server, monkeypatch):
    monkeypatch.setattr("maxdaq_tango.detectors.pilatus.streamer_side.LOOK_TIMEOUT_S", 0.5)
    monkeypatch.setattr("maxdaq_tango.detectors.pilatus.driver.STATE_LOOK_S", 0.0)
    timer = threading.Timer(0.8, server.lock.release)
    server.lock.acquire()
    timer.start()
    driver.report()
    timer.join()
    assert driver.report().state is HardwareState.IDLE  # and not given up


def test_words_for_crystallographers_reach_the_image_headers(driver, server):
    driver.settings.set_mx({"wavelength": 1.0332, "Kappa": 30})
    driver.settings.set_header_string("lysozyme 7")
    take(driver, settings(), driver.trigger)
    data = next(Path(server.folder).glob("*_00000.cbf")).read_bytes()
    assert b"# Wavelength 1.0332 A\r\n" in data
    assert b"# Comment: lysozyme 7\r\n" in data


def test_temperatures(driver):
    assert driver.settings.temperatures()[0] == (31.4, 22.1)


@pytest.mark.parametrize(
    ("server", "readout_s"), [({"generation": 2}, 3e-3), ({"generation": 3}, 0.95e-3)], indirect=["server"]
)
def test_the_generation_follows_from_the_name(driver, readout_s):
    assert driver.readout_time_s() == readout_s
    assert driver.configure(settings()).shape == (24, 32)


# --- control ----------------------------------------------------------------------------------------------------------


def test_a_second_client_is_told_who_is_in_control_and_gets_it_when_the_first_has_gone(server, streamer, driver):
    second = driver_of(server, streamer)
    with pytest.raises(DetectorRefused, match="its first client has until it hangs up"):
        second.connect()
    assert second.report().state is HardwareState.OFFLINE
    assert take(driver, settings(), driver.trigger) == [0, 1, 2]  # the first was not disturbed
    driver.close()
    wait_for("control", lambda: _connects(second))
    second.close()


def _connects(driver: PilatusDriver) -> bool:
    try:
        driver.connect()
    except DetectorError:
        return False
    return True


def test_an_exposure_of_an_earlier_life_is_seen_and_can_be_ended(server, streamer, driver):
    driver.configure(settings(per_trigger=5000))
    driver.arm()
    thread = threading.Thread(target=lambda: _quietly(driver.trigger), name="trigger")
    thread.start()
    wait_for("ACQUIRING", lambda: driver.report().state is HardwareState.ACQUIRING)
    wait_for("the start at camserver", lambda: server.simulator.series == 1)
    driver.close()  # as if the program had died
    thread.join()
    wait_for("camserver to notice", lambda: server.simulator.master is None)  # the next one gets control then
    heir = driver_of(server, streamer)
    heir.connect()
    try:
        assert heir.report().state is HardwareState.ACQUIRING
        with pytest.raises(DetectorRefused, match="under way"):
            heir.configure(settings())
        heir.stop()
        assert heir.report().state is HardwareState.IDLE
        assert take(heir, settings(), heir.trigger) == [0, 1, 2]
    finally:
        heir.close()


def _quietly(act: Any) -> None:
    try:
        act()
    except DetectorError:
        return


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_camserver_that_goes_in_mid_run_is_offline_and_the_trigger_comes_back(server, driver):
    driver.configure(settings(per_trigger=5000))
    driver.arm()
    set_faults(server, offline_s=1.0)
    with pytest.raises(DetectorOffline):
        driver.trigger()
    assert driver.report().state is HardwareState.OFFLINE
    assert "hung up" in driver.report().message
    wait_for("camserver", lambda: _connects(driver))
    driver.abort()
    assert take(driver, settings(), driver.trigger) == [0, 1, 2]


def test_what_could_not_be_ended_while_camserver_was_away_is_ended_when_it_is_back(server, driver):
    driver.configure(settings(TriggerMode.EXTERNAL_MULTI, 1, 4))
    driver.arm()
    set_faults(server, offline_s=0.5)
    wait_for("OFFLINE", lambda: driver.report().state is HardwareState.OFFLINE)
    with pytest.raises(DetectorOffline):
        driver.abort()
    wait_for("camserver", lambda: _connects(driver))
    assert driver.report().state is HardwareState.IDLE
    with server.lock:
        assert server.simulator.exposure is None


@pytest.mark.parametrize("mode", [TriggerMode.INTERNAL, TriggerMode.EXTERNAL_MULTI])
def test_a_refused_start_is_told_in_camservers_words(server, driver, mode):
    set_faults(server, refuse_arm="no high voltage")
    driver.configure(settings(mode))
    if mode is TriggerMode.INTERNAL:
        driver.arm()
    with pytest.raises(DetectorRefused, match="no high voltage"):
        driver.trigger() if mode is TriggerMode.INTERNAL else driver.arm()
    driver.abort()
    set_faults(server)
    assert take(driver, settings(), driver.trigger) == [0, 1, 2]


def test_an_error_of_the_camera_is_reported_until_it_is_reset(server, driver):
    set_faults(server, error_state="module 3 lost")
    wait_for("ERROR", lambda: driver.report().state is HardwareState.ERROR)
    assert "module 3 lost" in driver.report().message
    driver.recover()
    assert driver.report().state is HardwareState.IDLE


def test_an_exposure_that_never_ends_can_be_stopped(server, driver):
    set_faults(server, never_start=True)
    driver.configure(settings())
    driver.arm()
    thread = threading.Thread(target=driver.trigger, name="trigger")
    thread.start()
    wait_for("ACQUIRING", lambda: driver.report().state is HardwareState.ACQUIRING)
    began = time.monotonic()
    driver.stop()
    thread.join()
    assert time.monotonic() - began < 3
    assert driver.report().state is HardwareState.IDLE


def test_a_stop_ends_the_stream_behind_what_was_made(driver):
    wanted = settings(per_trigger=5000)
    description = driver.configure(wanted)
    with StreamProbe(description) as probe:
        driver.arm()
        thread = threading.Thread(target=driver.trigger, name="trigger")
        thread.start()
        wait_for("frames", lambda: (driver.report().frames_acquired or 0) >= 5)
        driver.stop()
        thread.join()
        numbers = [frame.frame_number for frame in probe.series()[1]]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) == driver.streamer_status.files_seen


def test_without_a_streamer_it_cannot_be_connected(server):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        driver = PilatusDriver(server.host, server.port, streamer_port=unused.getsockname()[1])
        with pytest.raises(DetectorOffline, match="a streamer that runs"):
            driver.connect()


def test_a_streamer_that_goes_is_offline_at_every_look(server):
    with PilatusStreamer(server.folder) as streamer:
        driver = driver_of(server, streamer)
        driver.connect()
    try:
        wait_for("OFFLINE", lambda: driver.report().state is HardwareState.OFFLINE)
        assert {driver.report().state for _ in range(5)} == {HardwareState.OFFLINE}
        assert "streamer" in driver.report().message
        with pytest.raises(DetectorOffline):
            driver.configure(settings())
    finally:
        driver.close()


def test_an_image_folder_that_is_missing_is_told_at_configure_and_in_the_report(server, tmp_path):
    with PilatusStreamer(str(tmp_path / "nowhere")) as streamer:
        driver = driver_of(server, streamer, image_path=server.folder)
        driver.connect()
        try:
            for _ in range(3):
                report = driver.report()
                assert (report.state, "No such file" in report.message) == (HardwareState.ERROR, True)
            with pytest.raises(DetectorRefused, match="watch the image folder"):
                driver.configure(settings())
        finally:
            driver.close()


def test_with_maxivs_own_streamer_only_the_commands_are_given(server):
    driver = driver_of(server, None, stream_host="10.0.0.7", image_path=server.folder)
    driver.connect()
    try:
        description = driver.configure(settings())
        assert description.sources == ("tcp://10.0.0.7:9999",)
        driver.arm()
        driver.trigger()
        assert driver.report().state is HardwareState.IDLE
        assert driver.report().frames_acquired is None
        for too_many in (settings(TriggerMode.SOFTWARE, 1, 2), settings(per_trigger=65_536)):
            with pytest.raises(DetectorRefused, match="new series at each"):
                driver.configure(too_many)
    finally:
        driver.close()


@pytest.mark.parametrize("options", [{"file_format": "edf"}, {"gap_fill": 1}, {"generation": 4}])
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(ConfigurationError):
        PilatusDriver("127.0.0.1", **options)


@pytest.mark.parametrize(
    ("name", "generation", "shape"),
    [
        ("PILATUS 300K, S/N 3-0100", 2, (619, 487)),  # the 3 of 300K is no generation
        ("PILATUS3 X 300K-W, S/N 60-0111", 3, (195, 1475)),
        ("PILATUS 2M, S/N 24-0107", 2, (1679, 1475)),
        ("PILATUS3 6M", 3, (2527, 2463)),
        ("something else", 2, ()),
    ],
)
def test_generation_and_shape_follow_from_the_name_of_the_detector(name, generation, shape):
    class Told(CamserverClient):
        def ask(self, line: str, *_: Any, **__: Any) -> Reply:
            text = f"Camera definition:\n {name}\nCamera state: idle" if line == "CamSetup" else "Code release:  tvx-7"
            return Reply(Code.CAMERA_SETUP, True, text)

    configuration = PilatusConfiguration(Told("127.0.0.1"), gap_fill=-1, generation=None)
    identity, state = configuration.identify()
    assert (configuration.generation, configuration.shape, state) == (generation, shape, "idle")
    assert identity.serial_number
    assert identity.model == name.partition(",")[0]


def test_who_calls_before_camserver_noticed_that_the_last_one_is_gone_gets_control_with_the_next_call(
    server, streamer, driver
):
    """A computer that died without a word is noticed late; until then its heir can look, and cannot stop."""
    driver.configure(settings(per_trigger=5000))
    driver.arm()
    thread = threading.Thread(target=lambda: _quietly(driver.trigger), name="trigger")
    thread.start()
    wait_for("the start at camserver", lambda: server.simulator.series == 1)
    heir = driver_of(server, streamer)
    heir.connect()  # the dead one still has control
    try:
        assert heir.report().state is HardwareState.ACQUIRING
        began = time.monotonic()
        with pytest.raises(DetectorRefused, match="its first client has until it hangs up"):
            heir.stop()
        assert time.monotonic() - began < 2.0  # and not after the 3 s in which an exposure may end
        wait_for("OFFLINE", lambda: heir.report().state is HardwareState.OFFLINE)
        assert "access denied" in heir.report().message
        driver.close()
        thread.join()
        wait_for("control, and the end that was asked for", lambda: _connects(heir))
        wait_for("IDLE", lambda: heir.report().state is HardwareState.IDLE)
        assert take(heir, settings(), heir.trigger) == [0, 1, 2]
    finally:
        driver.close()
        thread.join()
        heir.close()
