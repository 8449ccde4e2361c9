"""A simulated ORCA with its streamer, taken through a DAQController and a StreamReceiver into files that are compared
pixel by pixel. Simulator, streamer and every device are processes of their own.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import h5py
import hdf5plugin  # noqa: F401 - registers the filter
import numpy as np
import pytest
import tango
from tango import DevState

from maxdaq_tango.detectors.simulation.pattern import expected_frame, frame_number_in

NAMES = iter(range(1, 10_000))
DATA = "/entry/instrument/orca/data"


@pytest.fixture(scope="module")
def clients(site, make_clients, wait_on, _compiler):
    receiver = site.receiver("orca", Grace=1.0)
    detector, camera, streamer = site.orca("orca", receiver, CameraSettings=["IMAGE_PIXEL_TYPE=MONO12P"])
    made = make_clients(site, receiver=receiver, detector=detector, daq=site.controller("main", detector))
    made.camera, made.streamer = camera, streamer
    wait_on(made.detector, made.daq)
    return made


@pytest.fixture(scope="module")
def _compiler() -> None:
    from maxdaq_tango.detectors.orca.simulated_library import find_compiler
    from maxdaq_tango.errors import ConfigurationError

    try:
        find_compiler()
    except ConfigurationError as error:
        pytest.skip(str(error))


@pytest.fixture
def daq(clients, wait_on) -> Iterator[tango.DeviceProxy]:
    clients.daq.DestinationDirectory = str(clients.site.data)
    clients.daq.ScanNumber = next(NAMES)
    clients.daq.ExposureTime = 0.004
    clients.daq.LatencyTime = 0.0
    clients.daq.nTriggers = 1
    clients.daq.nFramesPerTrigger = 20
    clients.daq.TriggerMode = "INTERNAL"
    yield clients.daq
    clients.camera.faults()
    clients.daq.Abort()
    wait_on(clients.daq, clients.detector, clients.receiver)


def ended(daq: tango.DeviceProxy) -> bool:
    return daq.State() != DevState.RUNNING


def receipt_of(daq: tango.DeviceProxy) -> dict[str, object]:
    (receipt,) = json.loads(daq.LastReport)["receipts"].values()
    return receipt


def check_pixels(path: str, rows: dict[int, int], most: int = 4095) -> None:
    """Row in the file > number of the exposure that must stand there."""
    with h5py.File(path) as file:
        data = file[DATA]
        for row, number in rows.items():
            frame = data[row]
            assert np.array_equal(frame, np.minimum(expected_frame(1, number, frame.shape, data.dtype.name), most)), row


def test_a_series_of_packed_frames_is_in_the_file_pixel_by_pixel(daq, clients, wait):
    daq.Arm()
    wait(lambda: ended(daq), 20, "end")
    assert (daq.State(), daq.Verdict) == (DevState.ON, "COMPLETE")
    receipt = receipt_of(daq)
    assert (receipt["frames_expected"], receipt["frames_written"]) == (20, 20)
    with h5py.File(receipt["file"]) as file:
        assert file[DATA].shape == (20, 64, 96)
        assert file[DATA].dtype == np.uint16
    check_pixels(receipt["file"], {number: number for number in range(20)})
    assert clients.detector.SimulatedHardware
    assert (clients.detector.FramesLostInCamera, clients.detector.FramesLostInRing) == (0, 0)


def test_software_triggers_and_bursts_are_complete(daq, wait):
    daq.TriggerMode, daq.nTriggers, daq.nFramesPerTrigger = "SOFTWARE", 3, 4
    daq.Arm()
    for point in range(3):
        wait(lambda: daq.ReadyForSwTrigger, 5, "ready")
        daq.SoftwareTrigger()
        wait(lambda point=point: daq.nFramesAcquired == 4 * (point + 1), 5, "frames")
    wait(lambda: ended(daq), 20, "end")
    assert daq.Verdict == "COMPLETE"
    with h5py.File(receipt_of(daq)["file"]) as file:
        numbers = [frame_number_in(frame) for frame in file[DATA]]
    assert numbers == sorted(set(numbers))
    check_pixels(receipt_of(daq)["file"], dict(enumerate(numbers)))


def test_external_edges_make_the_series(daq, clients, wait):
    daq.TriggerMode, daq.nTriggers, daq.nFramesPerTrigger = "EXTERNAL_MULTI", 6, 1
    daq.Arm()
    wait(lambda: clients.detector.HardwareState == "ARMED", 10, "armed")
    clients.camera.post("edge?count=6")
    wait(lambda: ended(daq), 20, "end")
    assert daq.Verdict == "COMPLETE"
    check_pixels(receipt_of(daq)["file"], {number: number for number in range(6)})


def test_gates_make_a_frame_each(daq, clients, wait):
    daq.TriggerMode, daq.nTriggers, daq.nFramesPerTrigger = "EXTERNAL_MULTI_GATE", 3, 1
    daq.Arm()
    wait(lambda: clients.detector.HardwareState == "ARMED", 10, "armed")
    clients.camera.post("gate", b'{"width_s": 0.02, "count": 3, "period_s": 0.1}')
    wait(lambda: ended(daq), 20, "end")
    assert (daq.Verdict, daq.nFramesReceived) == ("COMPLETE", 3)
    check_pixels(receipt_of(daq)["file"], {number: number for number in range(3)})


def test_each_image_tells_the_exposure_that_its_trigger_took(daq, wait):
    daq.TriggerMode, daq.nTriggers, daq.nFramesPerTrigger, daq.ExposurePerTrigger = "SOFTWARE", 3, 1, True
    try:
        daq.Arm()
        for point, seconds in enumerate((0.004, 0.2, 0.01)):
            wait(lambda: daq.ReadyForSwTrigger, 5, "ready")
            daq.ExposureTime = seconds
            daq.SoftwareTrigger()
            wait(lambda point=point: daq.nFramesAcquired > point, 5, "the frame")
        wait(lambda: ended(daq), 20, "end")
    finally:
        daq.ExposurePerTrigger = False
    assert daq.Verdict == "COMPLETE"
    with h5py.File(receipt_of(daq)["file"]) as file:
        assert list(file[DATA].parent["exposure_time"][...]) == pytest.approx([0.004, 0.2, 0.01], rel=1e-3)


@pytest.mark.parametrize("command", ["Live", "Continuous"])
@pytest.mark.parametrize("role", ["detector", "daq"])
def test_the_live_view_runs_without_a_file_until_stop(clients, daq, wait, role, command):
    device, before = getattr(clients, role), sorted(clients.site.data.iterdir())
    device.command_inout(command)
    wait(lambda: device.AcquisitionState in ("ARMED", "ACQUIRING"), 5, "armed")
    if command == "Continuous":
        clients.camera.post("edge?count=2")
    wait(lambda: device.nFramesReceived >= 1, 8, "a frame")
    device.Stop()
    wait(lambda: ended(device), 20, "end")
    assert (device.State(), sorted(clients.site.data.iterdir())) == (DevState.ON, before)


def test_frames_that_the_camera_loses_are_missing_under_their_own_numbers(daq, clients, wait):
    clients.camera.faults(drop_frames=[0, 5, 6])
    daq.Arm()
    wait(lambda: ended(daq), 20, "end")
    receipt = receipt_of(daq)
    assert daq.Verdict == "INCOMPLETE"
    assert receipt["frames_missing_ranges"] == [[0, 0], [5, 6]]
    check_pixels(receipt["file"], {number: number for number in range(20) if number not in (0, 5, 6)})
    wait(lambda: clients.detector.FramesLostInCamera == 3, 5, "the account")
    assert "lost 3 in the camera" in json.loads(clients.detector.HardwareReport)["message"]


def test_region_binning_and_pixels_are_set_through_attributes(daq, clients, wait):
    detector = clients.detector
    detector.Roi = [16, 8, 64, 32]
    detector.Binning = 2
    detector.HighDynamicRange = "ON"
    assert list(detector.Roi) == [16, 8, 64, 32]
    assert (detector.Binning, detector.BitDepth, detector.PixelType) == (2, 16, "MONO16")
    with pytest.raises(tango.DevFailed, match="the sensor has 96 columns"):
        detector.Roi = [90, 0, 64, 32]
    with pytest.raises(tango.DevFailed, match=r"INVALIDVALUE.*Accepted: 1 to 4"):
        detector.Binning = 3
    daq.Arm()
    wait(lambda: ended(daq), 20, "end")
    assert daq.Verdict == "COMPLETE"
    receipt = receipt_of(daq)
    with h5py.File(receipt["file"]) as file:
        assert file[DATA].shape == (20, 16, 32)
    check_pixels(receipt["file"], {number: number for number in range(20)}, most=65535)
    for name, value in (("HighDynamicRange", "OFF"), ("PixelType", "MONO12P"), ("Binning", 1), ("Roi", [0, 0, 0, 0])):
        setattr(detector, name, value)
    assert list(detector.Roi) == [0, 0, 96, 64]


def test_a_stop_leaves_a_readable_file_with_what_came(daq, clients, wait):
    daq.nFramesPerTrigger = 10_000
    daq.Arm()
    wait(lambda: daq.nFramesAcquired >= 5, 10, "frames")
    daq.Stop()
    wait(lambda: ended(daq), 20, "end")
    receipt = receipt_of(daq)
    assert daq.Verdict == "ABORTED"
    assert receipt["frames_written"] >= 5
    check_pixels(receipt["file"], {number: number for number in range(receipt["frames_written"])})


@pytest.mark.processes_live_on
def test_a_streamer_that_dies_in_mid_run_is_told_and_its_successor_is_found(daq, clients, wait, wait_on):
    daq.nFramesPerTrigger = 10_000
    daq.Arm()
    wait(lambda: daq.nFramesAcquired >= 5, 10, "frames")
    clients.streamer.end(signal.SIGKILL)
    wait(lambda: ended(daq), 40, "end")
    assert daq.Verdict in ("INCOMPLETE", "FAILED", "ABORTED")
    wait(lambda: clients.detector.HardwareState == "OFFLINE", 10, "OFFLINE")
    assert "cannot be reached" in clients.detector.Status()
    ports = clients.streamer.answers
    options = ("--port", str(ports["http"]), "--stream-port", str(ports["stream"]))
    clients.streamer = clients.site.run(
        "streamer-again",
        "maxdaq_tango.detectors.orca.streamer",
        "--library",
        clients.camera.answers["library"],
        *options,
    )
    wait_on(clients.detector, clients.receiver, daq)
    daq.ScanNumber, daq.nFramesPerTrigger = next(NAMES), 20
    daq.Arm()
    wait(lambda: ended(daq), 20, "end")
    assert daq.Verdict == "COMPLETE"
    check_pixels(receipt_of(daq)["file"], {number: number for number in range(20)})
