"""A Lambda from its library to the file: simulator and streamer as processes, detector, receiver and controller as
Tango devices on a database, and the file pixel by pixel.
"""

from __future__ import annotations

import importlib
import json
import signal
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 - registers the filter
import numpy as np
import pytest
import tango
from tango import DevState
from tango.server import device_property

from lambda_rig import FOLDER, OPTIONS, Program, Rig
from maxdaq_tango.detectors.xspectrum_lambda.client import LambdaClient
from maxdaq_tango.detectors.xspectrum_lambda.protocol import SeriesSettings
from maxdaq_tango.detectors.xspectrum_lambda.simulator import expected_pixels
from maxdaq_tango.detectors.xspectrum_lambda.words import BitDepth
from maxdaq_tango.tango_support.attributes import told_attributes

NAMES = iter(range(1, 10_000))


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    rig = Rig(tmp_path_factory.mktemp("lambda"))
    yield rig
    rig.end()


@pytest.fixture(scope="module")
def clients(site, rig, make_clients, wait_on):
    receiver = site.receiver("lambda", Grace=0.5, ModuleWait=0.5)
    detector = site.device_name("detector", "lambda")
    properties = {
        "Host": "127.0.0.1",
        "Port": rig.streamer.said["http"],
        "Receiver": receiver,
        "InitialThresholds": [6000.0],
        "InitialEnergy": 12000.0,
    }
    site.serve(f"{FOLDER}.device", "LambdaDetector", {detector: properties})
    made = make_clients(site, receiver=receiver, detector=detector, daq=site.controller("main", detector))
    wait_on(made.detector, made.receiver, made.daq)
    return made


@pytest.fixture
def daq(clients, rig, wait_on):
    daq = clients.daq
    daq.DestinationDirectory = str(clients.site.data)
    daq.ScanNumber = next(NAMES)
    daq.ExposureTime, daq.LatencyTime = 0.005, 0.0
    daq.nTriggers, daq.nFramesPerTrigger, daq.TriggerMode = 1, 6, "INTERNAL"
    yield daq
    rig.post("faults", {})
    rig.post("silence", [])
    daq.Abort()
    wait_on(clients.daq, clients.detector, clients.receiver)


def ended(daq) -> bool:
    return daq.State() != DevState.RUNNING


def whole(exposure: int, blank: tuple[int, ...] = (), depth: int = 12) -> np.ndarray:
    """All modules of an exposure as they are to be stored."""
    stack = np.stack([expected_pixels(OPTIONS, m, exposure, BitDepth(depth)) for m in range(OPTIONS.modules)])
    for module in blank:
        stack[module] = np.iinfo(stack.dtype).max
    return stack


def stored(daq) -> tuple[np.ndarray, dict]:
    """Pixels and geometry of the last file."""
    with h5py.File(daq.DestinationFilenames[0]) as file:
        group = file["/entry/instrument/lambda"]
        told = {name: group[name][()].tolist() for name in ("x", "y", "rotation", "full_shape")}
        return group["data"][...], told


def receipt(daq) -> dict:
    (only,) = json.loads(daq.LastReport)["receipts"].values()
    return only


def test_a_series_is_in_the_file_pixel_by_pixel_with_the_geometry_beside_it(daq, clients, wait):
    daq.Arm()
    wait(lambda: ended(daq), 15, "end")
    assert (daq.State(), daq.Verdict) == (DevState.ON, "COMPLETE")
    pixels, told = stored(daq)
    np.testing.assert_array_equal(pixels, np.stack([whole(number) for number in range(6)]))
    assert told == {"x": [0, 28, 12, 0], "y": [0, 0, 28, 12], "rotation": [0, 90, 180, 270], "full_shape": [36, 36]}
    assert receipt(daq)["stream_format"] == "lambda-modules"
    assert clients.detector.SimulatedHardware


def picture(stack: np.ndarray, told: dict) -> np.ndarray:
    """As MAX IV's readers put modules together."""
    canvas = np.full(told["full_shape"], np.iinfo(stack.dtype).max, stack.dtype)
    for module, x, y, rotation in zip(stack, told["x"], told["y"], told["rotation"], strict=True):
        turned = np.rot90(module, -rotation / 90)
        canvas[y : y + turned.shape[0], x : x + turned.shape[1]] = turned
    return canvas


@pytest.mark.processes_live_on
def test_modules_can_be_stored_as_one_picture(daq, clients, wait, wait_on):
    clients.receiver.put_property({"StitchModules": "true"})
    clients.receiver.Init()
    wait_on(clients.receiver, clients.daq)
    try:
        daq.Arm()
        wait(lambda: ended(daq), 15, "end")
        assert daq.Verdict == "COMPLETE"
        pixels, told = stored(daq)
        assert pixels.shape == (6, 36, 36)
        np.testing.assert_array_equal(pixels, np.stack([picture(whole(number), told) for number in range(6)]))
    finally:
        clients.receiver.delete_property("StitchModules")
        clients.receiver.Init()
        wait_on(clients.receiver, clients.daq)


def test_software_triggers_make_their_bursts(daq, wait):
    daq.TriggerMode, daq.nTriggers, daq.nFramesPerTrigger = "SOFTWARE", 3, 2
    daq.Arm()
    for point in range(3):
        wait(lambda: daq.ReadyForSwTrigger, 5, "ready")
        daq.SoftwareTrigger()
        wait(lambda point=point: daq.nFramesAcquired == 2 * (point + 1), 5, "frames")
    wait(lambda: ended(daq), 10, "end")
    assert daq.Verdict == "COMPLETE"
    pixels, _ = stored(daq)
    # The simulator's exposures begin again with every acquisition, the series does not.
    np.testing.assert_array_equal(pixels, np.stack([whole(number % 2) for number in range(6)]))


def test_an_edge_starts_a_series_of_24_bit(daq, clients, rig, wait):
    clients.detector.BitDepth = 24
    try:
        daq.TriggerMode, daq.nFramesPerTrigger = "EXTERNAL_MULTI", 4
        daq.Arm()
        wait(lambda: clients.detector.HardwareState == "ARMED", 5, "ARMED")

        def edge() -> bool:
            rig.post("edge", {})
            return ended(daq)

        wait(edge, 10, "end")
        assert daq.Verdict == "COMPLETE"
        pixels, _ = stored(daq)
        assert pixels.dtype == np.uint32
        np.testing.assert_array_equal(pixels, np.stack([whole(number, depth=24) for number in range(4)]))
    finally:
        clients.daq.Abort()
        wait(lambda: ended(daq), 10, "end")
        clients.detector.BitDepth = 12


def test_both_counters_are_stored_as_alternating_frames(daq, clients, wait):
    clients.detector.Thresholds = [6000.0, 9000.0]
    clients.detector.CounterMode = "DUAL"
    try:
        daq.nFramesPerTrigger = 3
        daq.Arm()
        wait(lambda: ended(daq), 15, "end")
        assert (daq.Verdict, daq.Progress) == ("COMPLETE", 100.0)
        pixels, _ = stored(daq)
        expected = [
            np.stack([expected_pixels(OPTIONS, m, number // 2, BitDepth.DEPTH_12, number % 2) for m in range(4)])
            for number in range(6)
        ]
        np.testing.assert_array_equal(pixels, np.stack(expected))
    finally:
        clients.daq.Abort()
        wait(lambda: ended(daq), 10, "end")
        clients.detector.CounterMode = "SINGLE"


def test_a_module_that_is_silent_is_blank_and_told_and_the_frames_are_kept(daq, rig, wait):
    rig.post("silence", [2])
    daq.Arm()
    wait(lambda: ended(daq), 15, "end")
    assert (daq.State(), daq.Verdict) == (DevState.ALARM, "INCOMPLETE")
    pixels, told = stored(daq)
    np.testing.assert_array_equal(pixels, np.stack([whole(number, (2,)) for number in range(6)]))
    assert told["rotation"] == [0, 90, 180, 270]
    assert receipt(daq)["modules_missing"] == [0, 0, 6, 0]


def test_frames_that_the_library_calls_incomplete_are_blank_and_told(daq, clients, rig, wait):
    rig.post("faults", {"truncate_frames": [3]})
    daq.Arm()
    wait(lambda: ended(daq), 15, "end")
    assert daq.Verdict == "INCOMPLETE"
    assert receipt(daq)["frames_missing_ranges"] == [[3, 3]]
    wait(lambda: list(clients.detector.ModuleFramesFaulty) == [1] * 4, 5, "the count")


def test_a_stop_before_the_first_frame_leaves_everything_ready(daq, wait):
    daq.TriggerMode = "SOFTWARE"
    daq.Arm()
    daq.Stop()
    wait(lambda: ended(daq), 10, "end")
    daq.TriggerMode = "INTERNAL"
    daq.ScanNumber = next(NAMES)
    daq.Arm()
    wait(lambda: ended(daq), 15, "end")
    assert daq.Verdict == "COMPLETE"


def test_a_second_arm_is_refused_and_the_first_series_is_whole(daq, wait):
    daq.TriggerMode = "SOFTWARE"
    daq.Arm()
    with pytest.raises(tango.DevFailed):
        daq.Arm()
    wait(lambda: daq.ReadyForSwTrigger, 5, "ready")
    daq.SoftwareTrigger()
    wait(lambda: ended(daq), 15, "end")
    assert daq.Verdict == "COMPLETE"


def test_gates_and_an_exposure_for_each_trigger_are_refused_in_words(daq):
    daq.TriggerMode, daq.nFramesPerTrigger = "EXTERNAL_MULTI_GATE", 1
    with pytest.raises(tango.DevFailed, match=r"gate.*EXTERNAL_MULTI"):
        daq.Arm()
    daq.TriggerMode, daq.ExposurePerTrigger = "SOFTWARE", True
    with pytest.raises(tango.DevFailed, match=r"one exposure for a series.*ExposurePerTrigger false"):
        daq.Arm()
    daq.ExposurePerTrigger = False


def test_live_makes_frames_without_a_file_until_stop(clients, wait, wait_on):
    detector = clients.detector
    detector.ExposureTime = 0.01
    detector.Live()
    wait(lambda: detector.nFramesReceived >= 2, 10, "two frames")
    assert detector.nFramesAcquired >= 2
    detector.Stop()
    wait(lambda: ended(detector), 10, "the end")
    assert (detector.State(), detector.Verdict) == (DevState.ON, "ABORTED"), detector.Status()
    wait_on(detector, clients.receiver, clients.daq)


def test_continuous_makes_a_frame_at_every_edge_until_stop(clients, rig, wait, wait_on):
    detector = clients.detector
    detector.Continuous()
    wait(lambda: detector.HardwareState == "ARMED", 10, "ARMED")

    def some() -> bool:
        rig.post("edge", {})
        return detector.nFramesReceived >= 3

    wait(some, 10, "frames")
    assert "edge to edge" in detector.SeriesNotes
    detector.Stop()
    wait(lambda: ended(detector), 10, "the end")
    assert (detector.State(), detector.Verdict) == (DevState.ON, "ABORTED"), detector.Status()
    wait_on(detector, clients.receiver, clients.daq)


@pytest.mark.processes_live_on
def test_a_streamer_that_dies_in_mid_run_leaves_a_readable_file_and_the_next_one_is_taken_up(daq, clients, rig, wait):
    daq.ExposureTime, daq.nFramesPerTrigger = 0.01, 5000
    daq.Arm()
    wait(lambda: daq.nFramesReceived > 10, 10, "frames")
    rig.streamer.end(signal.SIGKILL)
    wait(lambda: clients.detector.HardwareState == "OFFLINE", 10, "OFFLINE")
    daq.Abort()
    wait(lambda: ended(daq), 60, "end")
    with h5py.File(daq.DestinationFilenames[0]) as file:
        pixels = file["/entry/instrument/lambda/data"][...]
        masks = file["/entry/instrument/lambda/frame_metadata/modules_mask"][...]
    complete = np.flatnonzero(masks == 15)
    assert len(complete) > 5
    for number in complete[:20]:
        np.testing.assert_array_equal(pixels[number], whole(int(number)))
    rig.restart_streamer()
    wait(lambda: clients.detector.HardwareState == "IDLE", 20, "the streamer being found")
    clients.detector.Reset()
    daq.Reset()
    wait(lambda: daq.State() == DevState.ON, 10, "the controller seeing it")
    daq.ExposureTime, daq.nFramesPerTrigger = 0.005, 6
    daq.ScanNumber = next(NAMES)
    daq.Arm()
    wait(lambda: ended(daq), 15, "end")
    assert daq.Verdict == "COMPLETE"


def test_a_detector_that_was_switched_off_gets_its_settings_back(daq, clients, rig, wait):
    clients.detector.Threshold = 7250.0
    rig.post("power_cycle", {})
    wait(lambda: clients.detector.HardwareState == "OFFLINE", 10, "OFFLINE")
    wait(lambda: clients.detector.HardwareState == "IDLE", 20, "IDLE again")
    wait(lambda: clients.detector.Threshold == 7250.0, 10, "the threshold")
    wait(lambda: daq.State() == DevState.ON, 10, "the controller seeing it")
    daq.Arm()
    wait(lambda: ended(daq), 15, "end")
    assert daq.Verdict == "COMPLETE"


def test_settings_are_attributes_in_ev_and_words(clients, wait):
    detector = clients.detector
    detector.Thresholds = [6000.0, 9000.0]
    detector.Threshold = 6500.0
    assert list(detector.Thresholds) == [6500.0, 9000.0]
    for name, value in (("ChargeSumming", "ON"), ("CounterMode", "DUAL"), ("Gating", "ON"), ("Energy", 9000.0)):
        before = detector.read_attribute(name).value
        detector.write_attribute(name, value)
        assert detector.read_attribute(name).value == value
        detector.write_attribute(name, before)
    with pytest.raises(tango.DevFailed, match="1, 6, 12 or 24"):
        detector.BitDepth = 14
    with pytest.raises(tango.DevFailed, match="OFF or ON"):
        detector.ChargeSumming = "perhaps"
    wait(lambda: detector.Temperature == 34.5, 5, "the temperature")
    assert (detector.Humidity, detector.Voltage) == (7.5, 200.0)
    wait(lambda: detector.VoltageSettled, 5, "the voltage")


def test_frames_that_nobody_takes_are_told_in_the_status(clients, rig, daq, wait):
    streamer = LambdaClient("127.0.0.1", rig.streamer.said["http"])
    streamer.configure(SeriesSettings(exposure_time_s=0.001, frames_per_trigger=3))
    streamer.arm()
    streamer.trigger(1.0)
    told = "The streamer says: 3 frames of module 0"
    wait(lambda: told in clients.detector.Status(), 10, "the status")
    assert "wait for a receiver, and none takes them" in clients.detector.Status()
    wait(lambda: clients.detector.HardwareState == "IDLE", 10, "IDLE")
    streamer.abort()
    wait(lambda: told not in clients.detector.Status(), 10, "the status without it")
    streamer.close()


@pytest.mark.processes_live_on
def test_a_device_without_an_address_says_so(site, connect, wait):
    name = site.device_name("detector", "nowhere")
    site.serve(f"{FOLDER}.device", "LambdaDetector", {name: {"Host": ""}})
    device = connect(name)
    wait(lambda: device.State() == DevState.FAULT, 5, "FAULT")
    assert "property Host is empty" in device.Status()


@pytest.mark.processes_live_on
def test_without_the_vendors_library_the_device_says_so_in_one_sentence(site, connect, wait, tmp_path):
    streamer = Program("streamer", tmp_path, "--library", "pyxsp_that_nobody_has")
    try:
        assert "pyxsp_that_nobody_has cannot be imported" in str(streamer.said["trouble"])
        name = site.device_name("detector", "bare")
        port = streamer.said["http"]
        site.serve(f"{FOLDER}.device", "LambdaDetector", {name: {"Host": "127.0.0.1", "Port": port}})
        device = connect(name)
        wait(lambda: device.State() == DevState.UNKNOWN, 10, "UNKNOWN")
        assert "the library pyxsp_that_nobody_has cannot be imported here" in device.Status()
    finally:
        streamer.end()


def test_every_attribute_and_property_is_explained_here_and_in_the_reference():
    device_class = importlib.import_module(f"{FOLDER}.device").LambdaDetector
    page = (Path(__file__).parents[2] / "docs" / "reference" / "tango-devices.md").read_text()
    properties = {
        name: item
        for part in device_class.__mro__
        for name, item in vars(part).items()
        if isinstance(item, device_property)
    }
    assert all(len(item.doc) > 10 for item in properties.values())
    for name in properties.keys() | told_attributes(device_class).keys():
        assert f"`{name}`" in page, name


def test_every_attribute_can_be_read_has_a_unit_where_it_is_physical_and_pushes_events(clients):
    for item in clients.detector.attribute_list_query_ex():
        if item.name in ("State", "Status"):
            continue
        assert item.label, item.name
        assert len(item.description) > 10, item.name
        assert item.data_type != tango.DevDouble or item.unit, item.name
        clients.detector.read_attribute(item.name)
        got: list[tango.EventData] = []
        number = clients.detector.subscribe_event(item.name, tango.EventType.CHANGE_EVENT, got.append)
        clients.detector.unsubscribe_event(number)
        assert got, item.name
        assert not got[0].err, item.name
