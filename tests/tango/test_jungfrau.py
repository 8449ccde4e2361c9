"""A Jungfrau from end to end: DAQController, JungfrauDetector, StreamReceiver and a simulated detector, each a process.

Files are compared pixel by pixel, raw and converted; what can go wrong is made to.
"""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 - registers the filters
import numpy as np
import pytest
import tango
from tango import DevState

from maxdaq_tango.detectors.jungfrau.pedestals import main as make_pedestals
from maxdaq_tango.detectors.jungfrau.simulator_pixels import PHOTON_EV, JungfrauPixels
from maxdaq_tango.files import check_file
from maxdaq_tango.files.calibration import Calibration, read_calibration, write_calibration
from maxdaq_tango.kernels.jungfrau import convert_with_numpy
from simulated_jungfrau import SimulatedJungfrau

pytestmark = pytest.mark.timeout(180)

SETTLED = (DevState.ON, DevState.ALARM, DevState.FAULT)
LIBRARY = "maxdaq_tango.detectors.jungfrau.simulated_slsdet"
DETECTOR = "maxdaq_tango.detectors.jungfrau.device"
PORTS, SHAPE = 2, (16, 48)
"""Two interfaces of one module of 32 x 48 pixels."""
PIXELS = JungfrauPixels(1, (PORTS * SHAPE[0], SHAPE[1]))
NAMES = iter(range(10_000))


@pytest.fixture(scope="module")
def simulator():
    simulator = SimulatedJungfrau("--interfaces", str(PORTS))
    yield simulator
    simulator.end()


@pytest.fixture(scope="module")
def clients(site, make_clients, wait_on, simulator):
    receiver = site.receiver("jungfrau", StallTimeout=5.0, Grace=0.5, ModuleWait=0.5)
    detector = site.device_name("detector", "jungfrau")
    properties = {"Host": simulator.host, "Library": LIBRARY, "Receiver": receiver}
    site.serve(DETECTOR, "JungfrauDetector", {detector: properties})
    clients = make_clients(site, detector=detector, receiver=receiver, controller=site.controller("jungfrau", detector))
    wait_on(clients.detector, clients.receiver, clients.controller)
    return clients


@pytest.fixture(autouse=True)
def _settled(request, wait_on):
    """Whatever went wrong before is acknowledged; the detector is in order, with power, and nothing is converted."""
    if "clients" not in request.fixturenames:
        return
    clients = request.getfixturevalue("clients")
    request.getfixturevalue("simulator").post("faults")
    request.getfixturevalue("simulator").post("beam?on=1")
    clients.controller.Abort()
    wait_on(clients.detector, clients.receiver, clients.controller)
    clients.detector.PowerChip = True
    clients.detector.GainMode = "DYNAMIC"
    clients.detector.Conversion = "raw"
    clients.detector.CalibrationFile = ""


def arm(daq, clients, frames: int, triggers: int = 1, mode: str = "INTERNAL", exposure: float = 0.004) -> Path:
    path = clients.file(f"run_{next(NAMES):06d}.h5")
    daq.ExposureTime, daq.nFramesPerTrigger, daq.nTriggers, daq.TriggerMode = exposure, frames, triggers, mode
    daq.DestinationFilename = str(path)
    daq.Arm()
    return path


def take(daq, clients, wait, frames: int, **how) -> tuple[Path, dict]:
    """A whole series; its file and receipt."""
    path = arm(daq, clients, frames, **how)
    wait(lambda: daq.state() in SETTLED, 60.0, "the end of the series")
    return path, json.loads(clients.receiver.LastReceipt)


def stored(path: Path) -> np.ndarray:
    with h5py.File(path, "r") as file:
        return file["entry/instrument/jungfrau/data"][...]


def raw(frames: int, **how) -> np.ndarray:
    return np.stack([PIXELS.frame(number, **how).reshape(PORTS, *SHAPE) for number in range(frames)])


def calibration(path: Path, ports: int = PORTS) -> Calibration:
    shape = (3, ports, PORTS * SHAPE[0] // ports, SHAPE[1])
    bad = np.zeros(shape[1:], bool)
    bad[0, 3, 5] = True
    made = Calibration(PIXELS.pedestal.reshape(shape), PIXELS.gain.reshape(shape), bad)
    write_calibration(path, made, {})
    return made


def converted(made: Calibration, frames: np.ndarray, unit_kev: float, dtype: str) -> np.ndarray:
    planes = [plane.reshape(3, -1) for plane in (made.pedestal, made.scale(unit_kev))]
    out = np.zeros(frames.shape, dtype)
    for frame, result in zip(frames, out, strict=True):
        convert_with_numpy(frame.reshape(-1), *planes, result.reshape(-1))
    return out


def problem(daq) -> str:
    return daq.Status()


def test_the_device_says_that_the_detector_is_simulated_and_what_it_is(clients, wait):
    detector = clients.detector
    wait(lambda: detector.ServerVersion == "10.0.1", 10, "family attributes")
    assert detector.SimulatedHardware
    assert (detector.Modules, detector.Interfaces, detector.GainMode) == (1, 2, "DYNAMIC")


@pytest.mark.parametrize(("mode", "triggers"), [("INTERNAL", 1), ("SOFTWARE", 3)])
def test_a_raw_series_is_in_the_file_pixel_by_pixel(clients, wait, mode, triggers):
    daq = clients.controller
    path = arm(daq, clients, 6, triggers, mode)
    for _ in range(triggers if mode == "SOFTWARE" else 0):
        wait(lambda: daq.ReadyForSwTrigger, 20, "readiness")
        daq.SoftwareTrigger()
        wait(lambda: not daq.ReadyForSwTrigger, 20, "the trigger")
    wait(lambda: daq.state() in SETTLED, 60.0, "the end of the series")
    receipt = json.loads(clients.receiver.LastReceipt)
    assert (receipt["verdict"], receipt["reasons"], receipt["modules"]) == ("COMPLETE", [], PORTS)
    np.testing.assert_array_equal(stored(path), raw(6 * triggers))
    assert check_file(path).problems == []
    wait(lambda: list(clients.detector.FramesCaught) == [6 * triggers], 10, "the count of the receiver program")
    assert list(clients.detector.MissingPackets) == [0]
    with h5py.File(path, "r") as file:
        text = file["entry/instrument/jungfrau"]
        assert b"DYNAMIC" in str(list(_texts(text))).encode()


def _texts(group):
    found = []
    group.visititems(
        lambda name, item: found.append(item[()]) if isinstance(item, h5py.Dataset) and not item.shape else None
    )
    return found


@pytest.mark.parametrize(("to", "dtype"), [("energy", "float32"), ("photons", "float32"), ("counts", "int32")])
def test_a_converted_series_is_what_the_twin_makes_of_every_pixel(clients, wait, to, dtype):
    made = calibration(clients.file(f"calibration_{to}.h5"))
    detector = clients.detector
    detector.Conversion, detector.Energy = to, PHOTON_EV
    detector.CalibrationFile = str(clients.file(f"calibration_{to}.h5"))
    path, receipt = take(clients.controller, clients, wait, 6)
    assert (receipt["verdict"], receipt["reasons"], receipt["dtype"]) == ("COMPLETE", [], dtype)
    unit = 1.0 if to == "energy" else PHOTON_EV / 1000
    pixels = stored(path)
    np.testing.assert_array_equal(pixels, converted(made, raw(6), unit, dtype))
    assert check_file(path).problems == []
    if to == "counts":
        photons = np.stack([PIXELS.photons(number).reshape(PORTS, *SHAPE) for number in range(6)])
        certain = (photons <= 900) & ~made.bad
        np.testing.assert_array_equal(pixels[certain], photons[certain])
        assert certain.mean() > 0.9


def test_a_pedestal_run_makes_the_calibration_that_converts_the_next_series(clients, wait, simulator, capsys):
    simulator.post("beam?on=0")
    words = []
    for plane, mode in enumerate(("DYNAMIC", "FORCE_SWITCH_G1", "FORCE_SWITCH_G2")):
        clients.detector.GainMode = mode
        path, receipt = take(clients.controller, clients, wait, 14)
        assert receipt["verdict"] == "COMPLETE"
        words += [f"--g{plane}", str(path)]
    clients.detector.GainMode = "DYNAMIC"
    np.save(clients.file("gain.npy"), PIXELS.gain.reshape(3, PORTS, *SHAPE))
    output = clients.file("pedestals.h5")
    assert make_pedestals([*words, "--gain", str(clients.file("gain.npy")), "--output", str(output)]) == 0
    assert json.loads(capsys.readouterr().out)["bad_pixels"] == 0
    np.testing.assert_array_equal(read_calibration(output).pedestal, PIXELS.pedestal.reshape(3, PORTS, *SHAPE))
    simulator.post("beam?on=1")
    clients.detector.Conversion, clients.detector.Energy = "counts", PHOTON_EV
    clients.detector.CalibrationFile = str(output)
    path, receipt = take(clients.controller, clients, wait, 3)
    assert receipt["verdict"] == "COMPLETE"
    np.testing.assert_array_equal(stored(path), converted(read_calibration(output), raw(3), PHOTON_EV / 1000, "int32"))


@pytest.mark.processes_live_on
def test_two_receivers_of_one_stream_save_raw_and_converted_at_once(site, clients, wait, wait_on, connect, simulator):
    """What one file cannot hold two can: PUB gives the stream to both."""
    second = connect(site.receiver("second", StallTimeout=5.0, Grace=0.5, DetectorName="jungfrau"))
    wait_on(second)
    made = calibration(clients.file("calibration_both.h5"))
    path = clients.file("both_counts.h5")
    ports = [f"tcp://127.0.0.1:{simulator.stream_port + port}" for port in range(PORTS)]
    conversion = {
        "to": "counts",
        "calibration": str(clients.file("calibration_both.h5")),
        "photon_energy_ev": PHOTON_EV,
    }
    request = {"sources": ports, "stream_format": "sls-json", "destination": str(path), "expected_frames": 5}
    second.Prepare(json.dumps({**request, "conversion": conversion}))
    wait(lambda: second.AcquisitionState == "ARMED", 20, "the second receiver being ready")
    raw_path, receipt = take(clients.controller, clients, wait, 5)
    wait(lambda: second.Verdict == "COMPLETE", 20, "the second file")
    assert receipt["verdict"] == "COMPLETE"
    assert json.loads(clients.detector.StreamDescription)["sources"] == ports  # where a client finds them
    np.testing.assert_array_equal(stored(raw_path), raw(5))
    np.testing.assert_array_equal(stored(path), converted(made, stored(raw_path), PHOTON_EV / 1000, "int32"))


def test_fix_g0_is_refused_in_words(clients):
    with pytest.raises(tango.DevFailed) as refusal:
        clients.detector.GainMode = "FIX_G0"
    assert "damage" in refusal.value.args[0].desc
    assert clients.detector.GainMode == "DYNAMIC"


def test_a_conversion_that_there_is_not_is_refused_with_those_that_there_are(clients):
    with pytest.raises(tango.DevFailed) as refusal:
        clients.detector.Conversion = "joule"
    assert "raw, energy, photons, counts" in refusal.value.args[0].desc
    assert clients.detector.Conversion == "raw"


def test_a_high_voltage_that_is_refused_is_told(clients, simulator, wait):
    for value, word in ((10, "60 to 200"),):
        with pytest.raises(tango.DevFailed) as refusal:
            clients.detector.HighVoltage = value
        assert word in refusal.value.args[0].desc
    simulator.post("faults", high_voltage_fails=True)
    with pytest.raises(tango.DevFailed) as refusal:
        clients.detector.HighVoltage = 120
    assert "Could not set high voltage" in refusal.value.args[0].desc
    simulator.post("faults")
    clients.detector.HighVoltage = 120
    wait(lambda: clients.detector.HighVoltage == 120, 5, "120 V")
    clients.detector.HighVoltage = 0


def test_heat_is_told_and_cleared(clients, simulator, wait, wait_on):
    simulator.post("faults", overheated=True)
    wait(lambda: "temperature event" in clients.detector.Status(), 10, "the word of heat")
    clients.detector.ClearTemperatureEvent()
    wait(lambda: "temperature event" not in clients.detector.Status(), 10, "the end of it")
    assert not clients.detector.PowerChip
    with pytest.raises(tango.DevFailed, match="not powered"):
        arm(clients.controller, clients, 2)
    clients.detector.PowerChip = True


def test_a_silent_interface_costs_its_pixels_and_the_verdict_says_so(clients, simulator, wait):
    simulator.post("faults", silent_port=1)
    path, receipt = take(clients.controller, clients, wait, 6)
    assert (receipt["verdict"], receipt["frames_written"]) == ("INCOMPLETE", 6)
    assert len(receipt["frames_partial_ranges"]) == 1
    wanted = raw(6)
    wanted[:, 1] = 0xFFFF
    np.testing.assert_array_equal(stored(path), wanted)


def test_lost_packets_are_in_the_receipt_and_on_the_device(clients, simulator, wait):
    simulator.post("faults", packet_loss_frames=[2], packet_loss_port=1, packet_loss_count=32)
    path, receipt = take(clients.controller, clients, wait, 4)
    assert (receipt["verdict"], receipt["frames_written"]) == ("INCOMPLETE", 4)
    first = receipt["first_frame_number"]
    assert receipt["frames_partial_ranges"] == [[first + 2, first + 2]]
    assert receipt["modules_incomplete"] == [0, 1]
    wanted = raw(4)
    wanted[2, 1, :8] = 0xFFFF
    np.testing.assert_array_equal(stored(path), wanted)
    wait(lambda: list(clients.detector.MissingPackets) == [0, 32], 10, "the count of packets")


def test_a_calibration_of_the_wrong_shape_fails_the_run_and_names_both_shapes(clients, wait):
    calibration(clients.file("calibration_whole.h5"), ports=1)
    clients.detector.Conversion = "energy"
    clients.detector.CalibrationFile = str(clients.file("calibration_whole.h5"))
    _, receipt = take(clients.controller, clients, wait, 4)
    assert receipt["verdict"] == "FAILED"
    assert "(1, 32, 48)" in receipt["reasons"][0]
    assert "(3, 2, 16, 48)" in receipt["reasons"][0]


def test_a_calibration_that_is_not_there_fails_arm(clients):
    clients.detector.Conversion = "energy"
    clients.detector.CalibrationFile = str(clients.file("no_such.h5"))
    with pytest.raises(tango.DevFailed, match=r"no_such.h5"):
        arm(clients.controller, clients, 4)


def test_stop_before_the_first_frame_ends_in_order(clients, simulator, wait):
    daq = clients.controller
    arm(daq, clients, 5, 1, "SOFTWARE")
    wait(lambda: daq.ReadyForSwTrigger, 20, "readiness")
    daq.Stop()
    wait(lambda: daq.state() in SETTLED, 30, "the end")
    assert json.loads(clients.receiver.LastReceipt)["frames_written"] == 0
    wait(lambda: simulator.get("account")["ends"] == 1, 10, "the end message")


def test_an_external_series_ends_with_its_last_trigger(clients, simulator, wait):
    daq = clients.controller
    path = arm(daq, clients, 2, 3, "EXTERNAL_MULTI")
    for _ in range(3):
        wait(lambda: simulator.get("status")["status"] == 2, 20, "waiting for an edge")
        assert simulator.post("edge?count=1")["taken"] == 1
    wait(lambda: daq.state() in SETTLED, 60, "the end")
    assert json.loads(clients.receiver.LastReceipt)["verdict"] == "COMPLETE"
    np.testing.assert_array_equal(stored(path), raw(6))


@pytest.mark.parametrize("command", ["Live", "Continuous"])
def test_the_live_view_of_a_controller_runs_without_a_file_until_stop(clients, simulator, wait, command):
    daq, before = clients.controller, sorted(clients.site.data.iterdir())
    daq.ExposureTime, daq.LatencyTime = 0.004, 0.0
    daq.command_inout(command)
    wait(lambda: daq.AcquisitionState in ("ARMED", "ACQUIRING"), 10, "armed")
    if command == "Continuous":
        assert simulator.post("edge?count=1")["taken"] == 1
    wait(lambda: daq.nFramesReceived >= 1, 10, "a frame")
    daq.Stop()
    wait(lambda: daq.state() in SETTLED, 20, "the end")
    assert (daq.state(), daq.Verdict) == (DevState.ON, "ABORTED"), daq.Status()
    assert sorted(clients.site.data.iterdir()) == before


def test_gates_are_refused_and_each_trigger_may_have_its_exposure(clients, wait):
    daq = clients.controller
    with pytest.raises(tango.DevFailed, match=r"EXTERNAL_MULTI_GATE.*Accepted: INTERNAL, SOFTWARE, EXTERNAL_MULTI"):
        arm(daq, clients, 1, 2, "EXTERNAL_MULTI_GATE")
    daq.ExposurePerTrigger = True
    try:
        path = arm(daq, clients, 1, 3, "SOFTWARE")
        for number, seconds in enumerate((0.004, 0.2, 0.01)):
            wait(lambda: daq.ReadyForSwTrigger, 10, "ready")
            daq.ExposureTime = seconds
            daq.SoftwareTrigger()
            wait(lambda number=number: daq.nFramesAcquired > number, 10, "the frame")
            assert clients.detector.ExposureTime != seconds or number == 0  # its own set-point is left alone
        wait(lambda: daq.state() in SETTLED, 20, "the end")
    finally:
        daq.ExposurePerTrigger = False
    assert daq.Verdict == "COMPLETE", daq.Status()
    np.testing.assert_array_equal(stored(path), raw(3))


def small(site, connect, member, receiver="", **properties):
    name = site.device_name("detector", member)
    site.serve(DETECTOR, "JungfrauDetector", {name: {"Receiver": receiver, **properties}})
    return connect(name)


@pytest.mark.processes_live_on
def test_a_library_that_is_missing_is_one_sentence_and_the_others_run(site, clients, connect):
    alone = small(site, connect, "nolibrary", Host="127.0.0.1:1", Library="slsdet_that_nobody_has")
    assert alone.State() == DevState.FAULT
    status = alone.Status()
    assert "slsdet_that_nobody_has" in status
    assert "pip install" in status
    assert "\n" not in status
    with pytest.raises(tango.DevFailed, match="cannot work"):
        alone.Arm()
    assert clients.detector.State() == DevState.ON


@pytest.mark.processes_live_on
def test_a_server_of_another_version_is_unreachable_with_the_reason(site, connect, wait):
    old = SimulatedJungfrau("--server-version", "9.2.0")
    try:
        device = small(site, connect, "oldserver", Host=old.host, Library=LIBRARY)
        wait(lambda: "incompatible" in device.Status(), 20, "the reason")
        assert device.State() == DevState.UNKNOWN
        assert "major version" in device.Status()
    finally:
        old.end()


@pytest.mark.processes_live_on
def test_a_detector_that_is_gone_in_the_middle_leaves_a_readable_file(site, make_clients, wait, wait_on):
    gone = SimulatedJungfrau("--interfaces", str(PORTS))
    try:
        receiver = site.receiver("gone", StallTimeout=3.0, Grace=0.5, DetectorName="jungfrau")
        name = site.device_name("detector", "gone")
        site.serve(DETECTOR, "JungfrauDetector", {name: {"Host": gone.host, "Library": LIBRARY, "Receiver": receiver}})
        clients = make_clients(site, detector=name, receiver=receiver)
        wait_on(clients.detector, clients.receiver)
        clients.detector.PowerChip = True
        path = arm(clients.detector, clients, 100_000)
        wait(lambda: clients.receiver.nFramesWritten > 5, 30, "some frames")
        gone.kill()
        wait(lambda: clients.receiver.Verdict not in ("", None), 40, "a verdict")
        assert clients.receiver.Verdict in ("INCOMPLETE", "ABORTED")
        wait(path.exists, 10, "the file")
        found = stored(path)
        np.testing.assert_array_equal(found[:5], raw(5))
        wait(lambda: clients.detector.State() not in (DevState.RUNNING,), 60, "the device to notice")
    finally:
        gone.end()
