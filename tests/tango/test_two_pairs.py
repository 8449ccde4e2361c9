"""A controller with two detectors: one transaction, the worst verdict, and nobody punished for the other."""

from __future__ import annotations

import json

import h5py
import hdf5plugin  # noqa: F401 - registers the filter
import pytest
import tango
from tango import DevState

NAMES = iter(range(1, 10_000))


@pytest.fixture(scope="module")
def clients(site, make_clients, wait_on):
    devices = {}
    for member in ("left", "right"):
        site.simulate(member)
        devices[f"{member}_receiver"] = site.receiver(member, Grace=0.5)
        devices[member] = site.eiger(member, devices[f"{member}_receiver"])
    devices["daq"] = site.controller("main", devices["left"], devices["right"])
    made = make_clients(site, **devices)
    wait_on(made.left, made.right, made.daq)
    return made


@pytest.fixture
def daq(clients, wait_on):
    clients.daq.DestinationDirectory = str(clients.site.data)
    clients.daq.ScanNumber = next(NAMES)
    clients.daq.ExposureTime = 0.005
    clients.daq.nTriggers = 1
    clients.daq.nFramesPerTrigger = 10
    clients.daq.TriggerMode = "INTERNAL"
    yield clients.daq
    for simulator in clients.site.simulators.values():
        simulator.faults()
    clients.daq.Abort()
    wait_on(clients.daq, clients.left, clients.right, clients.left_receiver, clients.right_receiver)
    clients.daq.EnabledDetectors = ["left", "right"]


def ended(daq) -> bool:
    return daq.State() != DevState.RUNNING


def rows(path: str) -> int:
    with h5py.File(path) as file:
        member = path.rsplit("_", 1)[-1].removesuffix(".h5")
        return int(file[f"/entry/instrument/{member}/data"].shape[0])


def test_both_take_their_frames_into_files_of_their_own(daq, clients, wait):
    daq.Arm()
    wait(lambda: ended(daq), 10, "end")
    assert (daq.State(), daq.Verdict, daq.Progress) == (DevState.ON, "COMPLETE", 100.0)
    assert [rows(path) for path in daq.DestinationFilenames] == [10, 10]
    assert list(daq.DetectorFramesReceived) == [10, 10]
    assert sorted(json.loads(daq.LastReport)["receipts"]) == sorted([clients.names["left"], clients.names["right"]])


def test_software_triggers_go_to_both_and_the_counter_waits_for_the_slower(daq, wait):
    daq.TriggerMode, daq.nTriggers, daq.nFramesPerTrigger = "SOFTWARE", 3, 2
    daq.Arm()
    for point in range(3):
        wait(lambda: daq.ReadyForSwTrigger, 5, "ready")
        daq.SoftwareTrigger()
        wait(lambda point=point: daq.nFramesAcquired == 2 * (point + 1), 5, "frames of both")
        assert min(daq.DetectorFramesReceived) == 2 * (point + 1)
    wait(lambda: ended(daq), 10, "end")
    assert daq.Verdict == "COMPLETE"


def test_one_that_refuses_to_arm_takes_the_other_back_and_is_named(daq, clients, wait):
    clients.site.simulators["right"].faults(refuse_arm="door open")
    with pytest.raises(tango.DevFailed) as caught:
        daq.Arm()
    assert clients.names["right"] in caught.value.args[0].desc
    assert "door open" in caught.value.args[0].desc
    assert clients.left.HardwareState == "IDLE"
    assert clients.left_receiver.AcquisitionState == "IDLE"
    assert clients.left.State() == DevState.ON
    assert not list(clients.site.data.glob(f"{daq.ScanNumber:06d}_*"))
    clients.site.simulators["right"].faults()
    daq.Arm()
    wait(lambda: ended(daq), 10, "end")
    assert daq.Verdict == "COMPLETE"


def test_a_file_that_exists_for_one_arms_neither(daq, clients):
    path = daq.DestinationFilenames[1]
    with open(path, "wb") as file:
        file.write(b"precious")
    with pytest.raises(tango.DevFailed, match="exist"):
        daq.Arm()
    assert clients.left.HardwareState == clients.right.HardwareState == "IDLE"
    assert not (clients.site.data / daq.DestinationFilenames[0]).exists()


def test_one_that_loses_frames_makes_the_verdict_and_the_other_is_complete(daq, clients, wait):
    clients.site.simulators["left"].faults(drop_frames=[2])
    daq.Arm()
    wait(lambda: ended(daq), 15, "end")
    assert (daq.State(), daq.Verdict) == (DevState.ALARM, "INCOMPLETE")
    receipts = json.loads(daq.LastReport)["receipts"]
    assert receipts[clients.names["left"]]["frames_missing"] == [2]
    assert receipts[clients.names["right"]]["verdict"] == "COMPLETE"
    assert clients.names["left"] in daq.Status()


def test_only_enabled_detectors_are_armed_and_unknown_ones_are_refused(daq, clients, wait):
    with pytest.raises(tango.DevFailed, match="enable detector 'middle'"):
        daq.EnabledDetectors = ["middle"]
    daq.EnabledDetectors = ["right"]
    assert len(daq.DestinationFilenames) == 1
    daq.Arm()
    wait(lambda: ended(daq), 10, "end")
    assert list(json.loads(daq.LastReport)["receipts"]) == [clients.names["right"]]


def test_an_arm_of_one_detector_by_itself_makes_the_controllers_arm_an_error_that_says_so(daq, clients, wait):
    clients.left.DestinationFilename = ""
    clients.left.TriggerMode = "SOFTWARE"
    clients.left.Arm()
    with pytest.raises(tango.DevFailed, match="runs an acquisition of its own"):
        daq.Arm()
    assert clients.left.State() == DevState.RUNNING  # and it is not disturbed
    clients.left.SoftwareTrigger()
    wait(lambda: clients.left.State() == DevState.ON, 10, "its end")
    assert clients.left.Verdict == "COMPLETE"
