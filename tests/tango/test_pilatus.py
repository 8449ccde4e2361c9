"""A Pilatus from end to end: simulated camserver, streamer, receiver and devices, each a process of its own."""

from __future__ import annotations

import json
import os
import urllib.request
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 - registers the filter
import numpy as np
import pytest
import tango
from tango import DevState

from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.detectors.simulation.pattern import FramePattern

ROWS, COLUMNS, SEED = 64, 48, 7
NAMES = iter(range(10_000))
DATASET = "/entry/instrument/pilatus/data"


class Camserver:
    """The simulated camserver, and the knobs that no real one has."""

    def __init__(self, said: dict[str, object]) -> None:
        self.port, self.folder = int(str(said["camserver"])), Path(str(said["folder"]))
        self._url = f"http://127.0.0.1:{said['http']}/simulator/api/"

    def post(self, path: str, body: object = None) -> None:
        data = json.dumps(body).encode() if body is not None else b""
        urllib.request.urlopen(urllib.request.Request(self._url + path, data=data, method="POST"), timeout=5).close()

    def faults(self, **faults: object) -> None:
        Faults(**faults)  # a misspelt fault would be a test that tests nothing
        self.post("faults", faults)


def status_of(port: object) -> dict[str, object]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/streamer/api/status", timeout=5) as answer:
        return json.loads(answer.read())


@pytest.fixture(scope="module")
def clients(site, make_clients, wait_on):
    folder = site.folder / "images"
    size = ("--rows", str(ROWS), "--columns", str(COLUMNS), "--seed", str(SEED))
    camserver = site.run(
        "camserver", "maxdaq_tango.detectors.pilatus.simulator_server", "--folder", str(folder), *size
    ).answers
    streamer = site.run("streamer", "maxdaq_tango.detectors.pilatus.streamer", "--folder", str(folder)).answers
    receiver = site.receiver("pilatus")
    detector = site.device_name("detector", "pilatus")
    properties = {"Host": "127.0.0.1", "Port": camserver["camserver"], "StreamerPort": streamer["http"]}
    site.serve(
        "maxdaq_tango.detectors.pilatus.device", "PilatusDetector", {detector: {**properties, "Receiver": receiver}}
    )
    controller = site.controller("main", detector)
    made = make_clients(site, detector=detector, receiver=receiver, controller=controller)
    made.camserver, made.properties = Camserver(camserver), properties
    made.streamer_status = lambda: status_of(streamer["http"])
    wait_on(made.detector, made.receiver, made.controller)
    return made


@pytest.fixture(params=["detector", "controller"])
def daq(request, clients):
    return getattr(clients, request.param)


@pytest.fixture(autouse=True)
def _settled(clients, wait_on):
    yield
    clients.camserver.faults()
    clients.controller.Abort()
    clients.detector.Abort()
    clients.detector.Rotation, clients.detector.ExposurePerTrigger = 0, False
    clients.controller.ExposurePerTrigger = False
    wait_on(clients.detector, clients.receiver, clients.controller)


def prepare(daq, clients, triggers=1, frames=12, mode="INTERNAL", exposure=0.005) -> str:
    path = str(clients.file(f"scan_{next(NAMES):06d}_pilatus.h5"))
    daq.ExposureTime = exposure
    daq.LatencyTime = 0.0
    daq.nTriggers = triggers
    daq.nFramesPerTrigger = frames
    daq.TriggerMode = mode
    daq.DestinationFilename = path
    return path


def arrived(daq, wait) -> None:
    wait(lambda: daq.State() != DevState.RUNNING, 20, "end of the acquisition")


def compare(path: str, numbers: list[int], pattern_of=lambda number: number) -> None:
    """Every pixel of these frames is what camserver wrote."""
    pattern = FramePattern(SEED, (ROWS, COLUMNS), "int32")
    with h5py.File(path) as file:
        data = file[DATASET]
        assert data.dtype == np.int32
        for number in numbers:
            np.testing.assert_array_equal(data[number], pattern.frame(pattern_of(number)))


# --- the four ways to start -------------------------------------------------------------------------------------------


def test_a_series_by_itself_ends_in_a_file_that_is_right_in_every_pixel(daq, clients, wait):
    path = prepare(daq, clients, frames=25)
    daq.Arm()
    arrived(daq, wait)
    assert (daq.State(), daq.Verdict) == (DevState.ON, "COMPLETE"), daq.Status()
    assert (daq.nFramesAcquired, daq.nFramesReceived) == (25, 25)
    compare(path, list(range(25)))
    with h5py.File(path) as file:
        assert file[DATASET].shape == (25, ROWS, COLUMNS)


def test_software_triggers_make_one_file(daq, clients, wait):
    path = prepare(daq, clients, triggers=3, frames=4, mode="SOFTWARE")
    daq.Arm()
    for point in range(3):
        wait(lambda: daq.ReadyForSwTrigger, 5, "ready for trigger")
        daq.SoftwareTrigger()
        wait(lambda point=point: daq.nFramesAcquired == 4 * (point + 1), 5, f"frames of point {point}")
    arrived(daq, wait)
    assert daq.Verdict == "COMPLETE", daq.Status()
    compare(path, list(range(12)), lambda number: number % 4)  # each command begins camserver's numbers anew


def test_edges_make_a_frame_each(daq, clients, wait):
    path = prepare(daq, clients, triggers=5, frames=1, mode="EXTERNAL_MULTI")
    daq.Arm()
    assert "waiting for an external trigger" in daq.Status()
    clients.camserver.post("edge?count=5&period_s=0.03")
    arrived(daq, wait)
    assert daq.Verdict == "COMPLETE", daq.Status()
    compare(path, list(range(5)))


def test_one_edge_makes_all_frames(daq, clients, wait):
    path = prepare(daq, clients, triggers=1, frames=6, mode="EXTERNAL_MULTI")
    daq.Arm()
    clients.camserver.post("edge")
    arrived(daq, wait)
    assert daq.Verdict == "COMPLETE", daq.Status()
    compare(path, list(range(6)))


def test_gates_make_a_frame_each(daq, clients, wait):
    path = prepare(daq, clients, triggers=4, frames=1, mode="EXTERNAL_MULTI_GATE")
    daq.Arm()
    clients.camserver.post("gate", {"width_s": 0.01, "count": 4, "period_s": 0.03})
    arrived(daq, wait)
    assert daq.Verdict == "COMPLETE", daq.Status()
    compare(path, list(range(4)))


def test_what_maxivs_client_of_a_pilatus_writes_and_polls(clients, wait):
    """contrast's Pilatus3: the older name of the file, energy in small letters, the count as the sign of the end."""
    device, path = clients.detector, str(clients.file(f"scan_{next(NAMES):06d}_pilatus.hdf5"))
    assert device.State() == DevState.ON
    for name, value in {"ExposureTime": 0.005, "FrameTime": 0.01, "nTriggers": 3, "TriggerMode": "EXTERNAL_MULTI",
                        "Filename": path}.items():  # fmt: skip
        device.write_attribute(name, value)
    device.nFramesPerTrigger = 1
    assert device.DestinationFilename == path
    device.energy = 9000.0
    wait(lambda: device.energy == 9000.0, 20, "the energy")
    device.Arm()
    clients.camserver.post("edge?count=3&period_s=0.05")
    wait(lambda: device.nFramesAcquired == 3, 20, "frames")
    arrived(device, wait)
    device.Filename = ""
    device.FrameRate = 50.0
    assert (device.FrameTime, device.nFramesAcquired) == (0.02, 3)  # the count is kept
    compare(path, [0, 1, 2])


def test_bursts_at_external_triggers_are_refused_in_words(daq, clients, wait):
    prepare(daq, clients, triggers=2, frames=3, mode="EXTERNAL_MULTI")
    with pytest.raises(tango.DevFailed, match="one frame at each edge"):
        daq.Arm()


def test_each_image_tells_the_exposure_that_its_trigger_took(daq, clients, wait):
    path = prepare(daq, clients, triggers=3, frames=1, mode="SOFTWARE")
    daq.ExposurePerTrigger = True
    daq.Arm()
    for number, seconds in enumerate((0.005, 0.2, 0.01)):
        wait(lambda: daq.ReadyForSwTrigger, 5, "ready")
        daq.ExposureTime = seconds
        daq.SoftwareTrigger()
        wait(lambda number=number: daq.nFramesAcquired > number, 5, "the frame")
    arrived(daq, wait)
    daq.ExposurePerTrigger = False
    assert daq.Verdict == "COMPLETE", daq.Status()
    with h5py.File(path) as file:
        assert list(file[DATASET].parent["exposure_time"][...]) == pytest.approx([0.005, 0.2, 0.01])


@pytest.mark.parametrize("live", ["Live", "Continuous"])
def test_the_live_view_runs_without_a_file_until_stop(clients, wait, live):
    detector = clients.detector
    prepare(detector, clients)
    before = sorted(clients.site.data.iterdir())
    getattr(detector, live)()
    if live == "Continuous":
        wait(lambda: detector.AcquisitionState == "ARMED", 5, "armed")
        clients.camserver.post("edge?count=3&period_s=0.05")
    wait(lambda: detector.nFramesReceived >= 1, 8, "a frame")
    detector.Stop()
    arrived(detector, wait)
    assert sorted(clients.site.data.iterdir()) == before


@pytest.mark.parametrize("live", ["Live", "Continuous"])
def test_the_live_view_of_a_controller(clients, wait, live):
    controller = clients.controller
    prepare(controller, clients)
    controller.command_inout(live)
    if live == "Continuous":
        wait(lambda: controller.AcquisitionState == "ARMED", 5, "armed")
        clients.camserver.post("edge?count=3&period_s=0.05")
    wait(lambda: controller.nFramesReceived >= 1, 8, "a frame")
    controller.Stop()
    arrived(controller, wait)


def test_frames_are_turned_on_the_way_to_the_file(clients, wait):
    path = prepare(clients.controller, clients, frames=3)
    clients.detector.Rotation = -1
    clients.controller.Arm()
    arrived(clients.controller, wait)
    pattern = FramePattern(SEED, (ROWS, COLUMNS), "int32")
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file[DATASET][2], np.rot90(pattern.frame(2), -1))


# --- settings ---------------------------------------------------------------------------------------------------------


def test_energy_and_threshold_are_trimmed_and_read_back(clients, wait):
    detector = clients.detector
    detector.Energy = 12_000
    assert (detector.Energy, detector.Threshold) == (12_000, 6000)
    detector.Threshold = 7500
    assert (detector.Energy, detector.Threshold) == (12_000, 7500)
    path = prepare(clients.controller, clients, frames=4)
    clients.controller.Arm()
    arrived(clients.controller, wait)
    assert clients.controller.Verdict == "COMPLETE"  # trimming has reset NImages and GapFill on the way
    compare(path, [3])


def test_a_refused_threshold_is_told_in_camservers_words_and_harms_nothing(clients, wait):
    detector = clients.detector
    detector.Threshold = 8000
    with pytest.raises(tango.DevFailed, match="is out of range"):
        detector.Threshold = 100
    assert detector.Threshold == 8000
    with pytest.raises(tango.DevFailed, match="Nonsense"):
        detector.MXSettings = '{"Nonsense": 1}'
    with pytest.raises(tango.DevFailed, match="Wavelength"):
        detector.MXSettings = "no JSON"
    prepare(detector, clients, frames=3)
    detector.Arm()
    arrived(detector, wait)
    assert detector.Verdict == "COMPLETE"


def test_family_attributes_tell(clients, wait):
    detector = clients.detector
    detector.HeaderString = "lysozyme"
    detector.MXSettings = '{"Wavelength": 1.0332, "Beam_xy": "24.0 32.5"}'
    assert json.loads(detector.MXSettings)["Wavelength"] == "1.0332"
    assert detector.HeaderString == "lysozyme"
    assert detector.ImagePath == str(clients.camserver.folder)
    assert detector.SimulatedHardware
    wait(lambda: detector.read_attribute("Temperature").quality == tango.AttrQuality.ATTR_VALID, 20, "a temperature")
    assert (detector.Temperature, detector.Humidity) == (31.4, 22.1)
    assert detector.StreamerTrouble == ""


def test_every_attribute_is_explained_readable_and_pushes_events(clients):
    for item in clients.detector.attribute_list_query_ex():
        if item.name in ("State", "Status"):
            continue
        assert item.label, item.name
        assert len(item.description) > 10, item.name
        if item.data_type in (tango.DevDouble, tango.DevLong64, tango.DevLong):
            assert "%" in item.format, item.name
        got = []
        clients.detector.unsubscribe_event(
            clients.detector.subscribe_event(item.name, tango.EventType.CHANGE_EVENT, got.append)
        )
        assert not got[0].err, item.name
        value = clients.detector.read_attribute(item.name)
        assert value.quality in (tango.AttrQuality.ATTR_VALID, tango.AttrQuality.ATTR_INVALID), item.name


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_stop_while_exposing_keeps_what_was_made(daq, clients, wait):
    path = prepare(daq, clients, frames=5000)
    daq.Arm()
    wait(lambda: daq.nFramesReceived >= 5, 10, "some frames")
    daq.Stop()
    arrived(daq, wait)
    assert daq.Verdict == "ABORTED"
    assert 5 <= daq.nFramesReceived < 5000
    compare(path, [0, 1, 2, 3, 4])


def test_abort_while_a_long_exposure_lasts_is_quick(daq, clients, wait):
    prepare(daq, clients, frames=1, exposure=600.0)
    daq.Arm()
    wait(lambda: daq.AcquisitionState == "ACQUIRING", 10, "the exposure")
    daq.Abort()
    wait(lambda: daq.State() == DevState.ON, 8, "the end")
    assert daq.Verdict == "ABORTED"


def test_a_truncated_and_a_missing_image_are_told_by_their_numbers(clients, wait):
    controller = clients.controller
    clients.camserver.faults(truncate_frames=[3], drop_frames=[5], reorder_frames=[7], duplicate_frames=[9])
    path = prepare(controller, clients, frames=12)
    controller.Arm()
    arrived(controller, wait)
    assert controller.Verdict == "INCOMPLETE"
    (receipt,) = json.loads(controller.LastReport)["receipts"].values()
    assert receipt["frames_corrupt_numbers"] == [3]
    assert receipt["frames_missing_ranges"] == [[5, 5]]
    # The copy of frame 9 took its name: whether the streamer had read the first one by then, is chance.
    assert receipt["frames_duplicate"] == clients.streamer_status()["frames_sent"] - 11 <= 1
    compare(path, [0, 1, 2, 4, 6, 7, 8, 9, 10, 11])


def test_a_camserver_that_goes_in_mid_run_ends_the_run_with_a_verdict_and_is_found_again(clients, wait, wait_on):
    controller = clients.controller
    path = prepare(controller, clients, frames=5000)
    controller.Arm()
    wait(lambda: controller.nFramesReceived >= 5, 10, "some frames")
    clients.camserver.faults(offline_s=2.0)
    arrived(controller, wait)
    assert controller.Verdict in ("INCOMPLETE", "ABORTED", "FAILED")
    assert controller.LastReport
    compare(path, [0, 1, 2])
    clients.camserver.faults()
    # It went on exposing by itself, and is told to end as soon as it is found again.
    wait_on(clients.detector, clients.receiver, clients.controller)
    prepare(controller, clients, frames=3)
    controller.Arm()
    arrived(controller, wait)
    assert controller.Verdict == "COMPLETE", controller.Status()


def test_a_refused_start_is_told_in_camservers_words(daq, clients, wait):
    clients.camserver.faults(refuse_arm="no high voltage")
    prepare(daq, clients, triggers=3, frames=1, mode="EXTERNAL_MULTI")
    with pytest.raises(tango.DevFailed, match="no high voltage"):
        daq.Arm()


def test_an_image_folder_that_is_missing_is_told_before_anything_starts(clients, wait, wait_on):
    folder, away = clients.camserver.folder, clients.camserver.folder.with_name("away")
    os.rename(folder, away)
    try:
        wait(lambda: "image folder" in clients.detector.Status(), 10, "the word of it")
        prepare(clients.controller, clients)
        with pytest.raises(tango.DevFailed, match="image folder"):
            clients.controller.Arm()
    finally:
        os.rename(away, folder)
    wait(lambda: clients.detector.HardwareState == "IDLE", 10, "idle hardware")


@pytest.mark.processes_live_on
def test_a_second_device_is_told_who_is_in_control(clients, wait):
    second = clients.site.device_name("detector", "second")
    clients.site.serve("maxdaq_tango.detectors.pilatus.device", "PilatusDetector", {second: clients.properties})
    device = tango.DeviceProxy(second)
    wait(lambda: "its first client has until it hangs up" in device.Status(), 10, "the word of it")
    assert device.State() == DevState.UNKNOWN
    prepare(clients.controller, clients, frames=3)
    clients.controller.Arm()
    arrived(clients.controller, wait)
    assert clients.controller.Verdict == "COMPLETE"


@pytest.mark.processes_live_on
def test_properties_that_cannot_work_are_told(clients, wait):
    broken = clients.site.device_name("detector", "broken")
    properties = {"Host": "127.0.0.1", "FileFormat": "edf"}
    clients.site.serve("maxdaq_tango.detectors.pilatus.device", "PilatusDetector", {broken: properties})
    device = tango.DeviceProxy(broken)
    assert device.State() == DevState.FAULT
    assert "cbf, tif" in device.Status()
