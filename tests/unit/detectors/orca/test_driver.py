"""The ORCA driver, its streamer and a simulated camera: the contract of all drivers, and what is special here."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import numpy as np
import pytest

from maxdaq_tango.detectors.contract import HardwareState
from maxdaq_tango.detectors.orca.driver import OrcaDriver
from maxdaq_tango.detectors.orca.protocol import Region
from maxdaq_tango.detectors.orca.simulator_server import OrcaSimulatorServer
from maxdaq_tango.detectors.orca.streamer import OrcaStreamer
from maxdaq_tango.detectors.simulation.pattern import expected_frame, frame_number_in
from maxdaq_tango.errors import DetectorOffline, DetectorRefused
from maxdaq_tango.kernels.compression import decode_pixels
from maxdaq_tango.model import AcquisitionSettings, Encoding, Frame, StreamFormat, TriggerMode
from maxdaq_tango.testing.driver_contract import DriverContract, wait_for
from maxdaq_tango.testing.stream_probe import StreamProbe

MakeStreamer = Callable[..., OrcaStreamer]


@pytest.fixture
def make_streamer() -> Iterator[MakeStreamer]:
    with ExitStack() as stack:
        yield lambda server, **options: stack.enter_context(
            OrcaStreamer(library=str(server.library), **{"patience_s": 0.2, **options})
        )


@pytest.fixture
def streamer(server: OrcaSimulatorServer, make_streamer: MakeStreamer) -> OrcaStreamer:
    return make_streamer(server)


@pytest.fixture
def driver(streamer: OrcaStreamer) -> Iterator[OrcaDriver]:
    driver = OrcaDriver("127.0.0.1", streamer.port)
    driver.connect()
    yield driver
    driver.close()


class TestContract(DriverContract):
    """ORCA-Lightning."""

    @pytest.fixture
    def absent_driver(self) -> Iterator[OrcaDriver]:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            yield OrcaDriver("127.0.0.1", unused.getsockname()[1])


class TestContractOfAQuest(TestContract):
    """ORCA-Quest, whose frame interval can be written."""

    @pytest.fixture
    def server(self, make_server: Callable[..., OrcaSimulatorServer]) -> OrcaSimulatorServer:
        return make_server(model="quest")


def pixels_of(frame: Frame) -> np.ndarray:
    return decode_pixels(frame.format, frame.blobs).reshape(frame.format.shape)


def check_pixels(frames: list[Frame], most: int = 4095) -> None:
    for frame in frames:
        found = pixels_of(frame)
        wanted = expected_frame(1, frame_number_in(found), found.shape, found.dtype.name)
        assert np.array_equal(found, np.minimum(wanted, min(most, np.iinfo(found.dtype).max)))


# --- pixels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "word", "encoding", "dtype"),
    [
        ({"model": "quest"}, "MONO8", Encoding.NONE, "uint8"),
        ({"model": "quest"}, "MONO16", Encoding.NONE, "uint16"),
        ({"model": "lightning"}, "MONO12", Encoding.MONO12, "uint16"),
        ({"model": "lightning"}, "MONO12P", Encoding.MONO12P, "uint16"),
    ],
    indirect=["server"],
)
def test_every_pixel_type_arrives_pixel_by_pixel(driver: OrcaDriver, word: str, encoding: Encoding, dtype: str) -> None:
    driver.set_property("IMAGE_PIXEL_TYPE", word)
    description = driver.configure(AcquisitionSettings(exposure_time_s=0.002, frames_per_trigger=6))
    assert (description.stream_format, description.dtype) == (StreamFormat.STINS, dtype)
    with StreamProbe(description) as probe:
        assert driver.arm().frame_count == 6
        driver.trigger()
        start, frames, _ = probe.series()
    assert start.metadata["pixel_type"] == word
    assert start.frame_period_s == pytest.approx(0.002, abs=1e-6)
    assert [frame.frame_number for frame in frames] == list(range(6))
    assert {frame.format.encoding for frame in frames} == {encoding}
    assert [frame.msg_number for frame in frames] == list(range(1, 7))
    assert [frame_number_in(pixels_of(frame)) for frame in frames] == list(range(6))
    check_pixels(frames, 4095 if "12" in word else 65535)


def test_region_and_binning_shape_the_stream(driver: OrcaDriver) -> None:
    assert driver.set_region(Region(16, 8, 64, 32)) == Region(16, 8, 64, 32)
    driver.set_property("BINNING", 2)
    description = driver.configure(AcquisitionSettings(exposure_time_s=0.002, frames_per_trigger=2))
    assert description.shape == (16, 32)
    assert description.metadata["region"] == [16, 8, 64, 32]
    with StreamProbe(description) as probe:
        driver.arm()
        driver.trigger()
        _, frames, _ = probe.series()
    check_pixels(frames)
    assert driver.set_region(Region()) == Region(0, 0, 96, 64)


@pytest.mark.parametrize(
    "region", [Region(2, 0, 32, 32), Region(0, 0, 30, 32), Region(80, 0, 32, 32), Region(0, -4, 32, 32)]
)
def test_a_region_that_does_not_fit_is_refused_and_changes_nothing(driver: OrcaDriver, region: Region) -> None:
    before = driver.set_region(Region(16, 8, 64, 32))
    with pytest.raises(DetectorRefused, match=r"the sensor has .*Accepted: a beginning in steps of 4"):
        driver.set_region(region)
    assert driver.configure(AcquisitionSettings(exposure_time_s=0.01)).metadata["region"] == [
        before.left,
        before.top,
        before.columns,
        before.rows,
    ]


# --- triggers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames_per_trigger", [1, 3])
def test_software_triggers_make_all_frames_of_a_series(driver: OrcaDriver, frames_per_trigger: int) -> None:
    settings = AcquisitionSettings(
        exposure_time_s=0.002,
        frames_per_trigger=frames_per_trigger,
        trigger_count=4,
        trigger_mode=TriggerMode.SOFTWARE,
    )
    description = driver.configure(settings)
    with StreamProbe(description) as probe:
        driver.arm()
        for burst in range(4):
            driver.trigger()
            wait_for("the burst", lambda done=burst + 1: (driver.report().frames_acquired or 0) >= done)
        _, frames, _ = probe.series()
    assert [frame.frame_number for frame in frames] == list(range(4 * frames_per_trigger))
    check_pixels(frames)


def signal(server: OrcaSimulatorServer, what: str, body: dict[str, object] | None = None) -> None:
    httpx.post(f"{server.url}/simulator/api/{what}", json=body or {}, trust_env=False).raise_for_status()


@pytest.mark.parametrize("frames_per_trigger", [1, 3])
def test_edges_make_all_frames_of_a_series(
    server: OrcaSimulatorServer, driver: OrcaDriver, frames_per_trigger: int
) -> None:
    settings = AcquisitionSettings(
        exposure_time_s=0.002,
        frames_per_trigger=frames_per_trigger,
        trigger_count=3,
        trigger_mode=TriggerMode.EXTERNAL_MULTI,
    )
    with StreamProbe(driver.configure(settings)) as probe:
        driver.arm()
        for burst in range(3):
            wait_for("the camera listening", lambda: server.simulator.capture is not None)
            signal(server, "edge")
            done = (burst + 1) * frames_per_trigger
            wait_for("the burst", lambda done=done: (driver.report().frames_acquired or 0) >= done)
        _, frames, _ = probe.series()
    assert [frame.frame_number for frame in frames] == list(range(3 * frames_per_trigger))
    check_pixels(frames)
    wait_for("IDLE", lambda: driver.report().state is HardwareState.IDLE)


def test_gates_make_a_frame_each(server: OrcaSimulatorServer, driver: OrcaDriver) -> None:
    settings = AcquisitionSettings(
        exposure_time_s=0.002, frames_per_trigger=4, trigger_mode=TriggerMode.EXTERNAL_MULTI_GATE
    )
    with StreamProbe(driver.configure(settings)) as probe:
        driver.arm()
        signal(server, "gate", {"width_s": 0.005, "count": 4})
        _, frames, _ = probe.series()
    assert [frame.frame_number for frame in frames] == list(range(4))
    assert {frame.exposure_time_s for frame in frames} == {None}  # the gate makes it, and nobody measures that


def test_each_frame_tells_the_exposure_that_its_trigger_brought(driver: OrcaDriver) -> None:
    settings = AcquisitionSettings(
        exposure_time_s=0.01, trigger_count=4, trigger_mode=TriggerMode.SOFTWARE, exposure_per_trigger=True
    )
    with StreamProbe(driver.configure(settings)) as probe:
        driver.arm()
        for seconds in (0.01, 0.2, None, 0.02):
            driver.trigger(seconds)
        _, frames, _ = probe.series()
    assert [frame.exposure_time_s for frame in frames] == pytest.approx([0.01, 0.2, 0.2, 0.02], rel=1e-3)


def test_an_exposure_that_the_camera_cannot_make_is_refused(driver: OrcaDriver) -> None:
    settings = AcquisitionSettings(trigger_mode=TriggerMode.SOFTWARE, exposure_per_trigger=True)
    driver.configure(settings)
    driver.arm()
    with pytest.raises(DetectorRefused, match=r"set ExposureTime to 9000 s.*Accepted: .* to 1 s"):
        driver.trigger(9000.0)
    driver.abort()
    assert driver.report().state is HardwareState.IDLE


@pytest.mark.parametrize("server", [{"model": "lightning"}, {"model": "quest"}], indirect=True)
def test_a_pause_between_frames_is_kept(driver: OrcaDriver) -> None:
    """A Lightning is paced by triggers, a Quest by its frame interval."""
    settings = AcquisitionSettings(exposure_time_s=0.002, latency_time_s=0.02, frames_per_trigger=4)
    description = driver.configure(settings)
    assert description.frame_period_s == pytest.approx(0.022, abs=1e-4)
    with StreamProbe(description) as probe:
        driver.arm()
        driver.trigger()
        _, frames, _ = probe.series()
    assert [frame.frame_number for frame in frames] == list(range(4))


def test_a_pause_that_the_camera_cannot_make_is_refused(driver: OrcaDriver) -> None:
    settings = AcquisitionSettings(
        latency_time_s=0.5, frames_per_trigger=2, trigger_count=2, trigger_mode=TriggerMode.EXTERNAL_MULTI
    )
    with pytest.raises(DetectorRefused, match=r"LatencyTime.*INTERNAL_FRAME_INTERVAL cannot be written.*Accepted"):
        driver.configure(settings)


# --- settings ---------------------------------------------------------------------------------------------------------


def test_properties_are_read_with_limits_and_words(driver: OrcaDriver) -> None:
    found = {state.name: state for state in driver.properties().values()}
    assert found["TRIGGER SOURCE"].choices == {"INTERNAL": 1, "EXTERNAL": 2, "SOFTWARE": 3}
    assert found["EXPOSURE TIME"].unit == "s"
    assert found["SENSOR TEMPERATURE"].value == 25
    assert driver.set_property("TRIGGER_POLARITY", "positive").word == "POSITIVE"
    assert driver.set_property("0x00100220", 1).word == "NEGATIVE"


@pytest.mark.parametrize("server", [{"model": "quest"}], indirect=True)
def test_the_sensor_is_cooled(driver: OrcaDriver) -> None:
    assert driver.set_property("SENSOR_TEMPERATURE_TARGET", -30).value == -30
    assert driver.set_property("SENSOR_COOLER", "max").word == "MAX"
    assert driver.properties()[0x00200310].value == -30
    driver.set_property("SENSOR_COOLER", "off")
    assert driver.properties()[0x00200340].value == 1


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("EXPOSURE_TIME", 50.0, "OUTOFRANGE.*Accepted: 1.26e-05 to 1"),
        ("IMAGE_WIDTH", 5.0, "NOTWRITABLE"),
        ("BINNING", "3X3", "no such word.*1X1, 2X2, 4X4"),
        ("COLOUR", 1.0, "there is no such name.*EXPOSURE_TIME"),
    ],
)
def test_a_property_that_cannot_be_set_says_why(driver: OrcaDriver, name: str, value: float | str, told: str) -> None:
    with pytest.raises(DetectorRefused, match=told):
        driver.set_property(name, value)


def test_nothing_is_changed_while_a_series_is_under_way(driver: OrcaDriver) -> None:
    driver.configure(AcquisitionSettings(exposure_time_s=0.01))
    driver.arm()
    for act in (lambda: driver.set_property("BINNING", 2), lambda: driver.set_region(Region(0, 0, 32, 32))):
        with pytest.raises(DetectorRefused, match=r"a series is under way.*stop or abort"):
            act()
    driver.abort()
    driver.set_property("BINNING", 2)
    with pytest.raises(DetectorRefused, match="nothing is configured"):
        driver.arm()  # its description would be wrong


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_no_library_is_one_sentence_and_the_streamer_lives(tmp_path: object) -> None:
    with OrcaStreamer(library=f"{tmp_path}/libdcamapi.so.4") as streamer:
        driver = OrcaDriver("127.0.0.1", streamer.port)
        with pytest.raises(DetectorOffline, match=r"load the DCAM library.*Accepted: the path of Hamamatsu's"):
            driver.connect()
        assert driver.report().state is HardwareState.OFFLINE
        driver.close()


def test_a_camera_that_is_switched_on_later_is_found(
    server: OrcaSimulatorServer, driver: OrcaDriver, set_faults: Callable[..., None]
) -> None:
    set_faults(vanish_at=2, vanish_s=0.5)
    driver.configure(AcquisitionSettings(exposure_time_s=0.01, frames_per_trigger=5))
    driver.arm()
    with pytest.raises(DetectorOffline):
        driver.trigger()
    report = driver.report()
    assert report.state is HardwareState.OFFLINE
    set_faults()

    def again() -> bool:
        try:
            driver.connect()
        except DetectorOffline:
            return False
        return True

    wait_for("the camera", again)
    description = driver.configure(AcquisitionSettings(exposure_time_s=0.002, frames_per_trigger=3))
    with StreamProbe(description) as probe:
        driver.arm()
        driver.trigger()
        assert len(probe.series()[1]) == 3


def test_lost_frames_are_told_and_the_others_keep_their_numbers(
    driver: OrcaDriver, set_faults: Callable[..., None]
) -> None:
    set_faults(drop_frames=[0, 3, 4, 9])
    description = driver.configure(AcquisitionSettings(exposure_time_s=0.005, frames_per_trigger=10))
    with StreamProbe(description) as probe:
        driver.arm()
        driver.trigger()
        start, frames, end = probe.series()
    assert [frame.frame_number for frame in frames] == [1, 2, 5, 6, 7, 8]
    assert [frame_number_in(pixels_of(frame)) for frame in frames] == [1, 2, 5, 6, 7, 8]
    # A receiver knows by these which frame is the first: a lost one keeps its number.
    assert [frame.msg_number - start.msg_number - 1 for frame in frames] == [1, 2, 5, 6, 7, 8]
    assert end.msg_number == start.msg_number + 11
    counts = driver.status().counts
    assert (counts.acquired, counts.sent, counts.lost_in_ring) == (6, 6, 0)
    assert counts.lost_in_camera == 4
    assert counts.lost_frame_events >= 1
    assert "lost 4 in the camera" in driver.report().message


def test_a_triggered_frame_that_is_lost_does_not_hold_up_the_series(
    driver: OrcaDriver, set_faults: Callable[..., None]
) -> None:
    set_faults(drop_frames=[1, 3])
    settings = AcquisitionSettings(exposure_time_s=0.002, trigger_count=4, trigger_mode=TriggerMode.SOFTWARE)
    with StreamProbe(driver.configure(settings)) as probe:
        driver.arm()
        for _ in range(4):
            driver.trigger()
        _, frames, _ = probe.series()
    assert [frame.frame_number for frame in frames] == [0, 2]
    assert driver.status().counts.lost_in_camera == 2


def test_a_slow_receiver_makes_the_ring_overflow_and_the_account_says_so(
    server: OrcaSimulatorServer, make_streamer: MakeStreamer
) -> None:
    """Nobody takes anything at first: pool and ZeroMQ fill up, then the ring. What is sent later is whole."""
    streamer = make_streamer(server, ring_nbytes=0, pool_nbytes=0, patience_s=5.0)
    driver = OrcaDriver("127.0.0.1", streamer.port)
    driver.connect()
    description = driver.configure(AcquisitionSettings(exposure_time_s=0.001, frames_per_trigger=60))
    driver.arm()
    driver.trigger()  # comes back although nobody listens
    assert driver.report().state is HardwareState.IDLE
    with StreamProbe(description) as probe:
        _, frames, _ = probe.series()
    numbers = [frame.frame_number for frame in frames]
    assert numbers == sorted(set(numbers))
    assert [frame_number_in(pixels_of(frame)) for frame in frames] == numbers
    check_pixels(frames)
    counts = driver.status().counts
    assert counts.lost_in_ring > 0
    assert counts.waiting == counts.not_sent == 0
    assert counts.sent == len(frames)
    assert counts.acquired == counts.sent + counts.lost_in_ring == 60
    assert f"{counts.lost_in_ring} in the ring" in driver.report().message
    driver.close()


def test_what_nobody_took_is_given_up_for_the_next_series_and_counted(driver: OrcaDriver) -> None:
    settings = AcquisitionSettings(exposure_time_s=0.002, frames_per_trigger=3)
    driver.configure(settings)
    driver.arm()
    driver.trigger()
    wait_for("frames waiting", lambda: driver.status().counts.waiting == 3)
    assert "3 frames wait for the receiver" in driver.report().message
    description = driver.configure(settings)
    assert driver.status().counts.not_sent == 3
    with StreamProbe(description) as probe:
        driver.arm()
        driver.trigger()
        _, frames, _ = probe.series()
    assert [frame.frame_number for frame in frames] == [0, 1, 2]


@pytest.mark.parametrize("ending", ["stop", "abort"])
def test_ended_before_the_first_frame_there_is_a_header_and_an_end(driver: OrcaDriver, ending: str) -> None:
    settings = AcquisitionSettings(exposure_time_s=0.5, frames_per_trigger=3, trigger_mode=TriggerMode.SOFTWARE)
    with StreamProbe(driver.configure(settings)) as probe:
        driver.arm()
        getattr(driver, ending)()
        _, frames, _ = probe.series()
        assert frames == []
        assert probe.rest() == []


def test_stop_finishes_the_running_frame_and_sends_what_was_read(driver: OrcaDriver) -> None:
    description = driver.configure(AcquisitionSettings(exposure_time_s=0.02, frames_per_trigger=10_000))
    with StreamProbe(description) as probe:
        driver.arm()
        thread = threading.Thread(target=driver.trigger, name="trigger")
        thread.start()
        wait_for("frames", lambda: (driver.report().frames_acquired or 0) >= 3)
        before = driver.report().frames_acquired or 0
        driver.stop()
        thread.join()
        _, frames, _ = probe.series()
    assert len(frames) > before
    assert [frame.frame_number for frame in frames] == list(range(len(frames)))
    assert driver.status().counts.sent == len(frames)


def test_a_camera_that_makes_no_frame_waits_for_somebody_to_end_it(
    driver: OrcaDriver, set_faults: Callable[..., None]
) -> None:
    set_faults(never_start=True)
    driver.configure(AcquisitionSettings(exposure_time_s=0.002, frames_per_trigger=2))
    driver.arm()
    thread = threading.Thread(target=driver.trigger, name="trigger")
    thread.start()
    wait_for("ACQUIRING", lambda: driver.report().state is HardwareState.ACQUIRING)
    driver.stop()
    thread.join()
    assert driver.report().state is HardwareState.IDLE


def test_a_camera_that_falls_silent_is_ended_with_what_came(
    driver: OrcaDriver, set_faults: Callable[..., None]
) -> None:
    set_faults(stop_after=3)
    with StreamProbe(driver.configure(AcquisitionSettings(exposure_time_s=0.005, frames_per_trigger=8))) as probe:
        driver.arm()
        thread = threading.Thread(target=driver.trigger, name="trigger")
        thread.start()
        wait_for("three frames", lambda: driver.report().frames_acquired == 3)
        driver.stop()
        thread.join()
        _, frames, _ = probe.series()
    assert [frame.frame_number for frame in frames] == [0, 1, 2]


def test_a_camera_that_begins_to_count_anew_does_not_renumber_what_was_sent(
    driver: OrcaDriver, set_faults: Callable[..., None]
) -> None:
    set_faults(restart_at=4)
    with StreamProbe(driver.configure(AcquisitionSettings(exposure_time_s=0.005, frames_per_trigger=8))) as probe:
        driver.arm()
        driver.trigger()
        _, frames, _ = probe.series()
    assert [frame.frame_number for frame in frames] == list(range(8))
    assert [frame_number_in(pixels_of(frame)) for frame in frames] == list(range(8))
    assert driver.status().counts.odd_stamps == 1


def test_a_damaged_pixel_and_a_late_frame_are_passed_on_as_they_are(
    driver: OrcaDriver, set_faults: Callable[..., None]
) -> None:
    set_faults(corrupt_frames=[1], delay_frames=[2], delay_s=0.05)
    with StreamProbe(driver.configure(AcquisitionSettings(exposure_time_s=0.005, frames_per_trigger=4))) as probe:
        driver.arm()
        driver.trigger()
        _, frames, _ = probe.series()
    assert [frame.frame_number for frame in frames] == [0, 1, 2, 3]
    found = pixels_of(frames[1])
    assert np.count_nonzero(found != np.minimum(expected_frame(1, 1, (64, 96)), 4095)) == 1


def test_an_abort_while_the_camera_is_being_armed_takes_the_series_back(
    streamer: OrcaStreamer, driver: OrcaDriver, set_faults: Callable[..., None]
) -> None:
    set_faults(arm_delay_s=0.3)
    driver.configure(AcquisitionSettings(exposure_time_s=0.01, trigger_mode=TriggerMode.SOFTWARE))
    errors: list[Exception] = []

    def arm() -> None:
        try:
            driver.arm()
        except DetectorRefused as error:
            errors.append(error)

    thread = threading.Thread(target=arm, name="arm")
    thread.start()
    wait_for("buffers", lambda: streamer.camera.attached)
    driver.abort()
    thread.join()
    assert "ended meanwhile" in str(errors[0])
    assert driver.report().state is HardwareState.IDLE


def test_a_refused_capture_leaves_nothing_behind(driver: OrcaDriver, set_faults: Callable[..., None]) -> None:
    settings = AcquisitionSettings(exposure_time_s=0.002, trigger_mode=TriggerMode.SOFTWARE)
    driver.configure(settings)
    set_faults(refuse_arm="no bandwidth")
    with pytest.raises(DetectorRefused, match="NORESOURCE"):
        driver.arm()
    set_faults()
    assert driver.report().state is HardwareState.IDLE
    driver.configure(settings)
    driver.arm()
    driver.trigger()
    assert driver.report().state is HardwareState.IDLE


def test_an_error_of_the_camera_is_a_state_until_it_is_opened_again(
    driver: OrcaDriver, set_faults: Callable[..., None]
) -> None:
    set_faults(error_state="cooling trouble")
    assert driver.report().state is HardwareState.ERROR
    set_faults()
    assert driver.report().state is HardwareState.ERROR
    driver.connect()
    assert driver.report().state is HardwareState.IDLE


def test_a_streamer_that_goes_away_is_offline(streamer: OrcaStreamer, driver: OrcaDriver) -> None:
    streamer.close()
    assert driver.report().state is HardwareState.OFFLINE
    with pytest.raises(DetectorOffline):
        driver.arm()
