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
        own = {"left": {"RoomPolicy": "warn"}, "right": {"RoomPolicy": "refuse", "FramesPerFile": 4}}[member]
        devices[f"{member}_receiver"] = site.receiver(member, Grace=0.5, **own)
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


# ---- names, metadata, scan master ----

MASTER = "scan-{scan:04d}.h5"


@pytest.fixture
def scan(daq, clients):
    daq.MasterPattern = MASTER
    daq.DestinationFileOverwritable = False
    yield daq
    daq.MasterPattern, daq.Metadata = "", "{}"
    daq.DestinationFileOverwritable = False


def words(clients) -> list[int]:
    """The newest step of each detector: it grows with every word that one gets."""
    steps = (json.loads(device.StepResults) for device in (clients.left, clients.right))
    return [max(step["number"] for step in some) for some in steps]


def test_metadata_of_any_letters_are_in_every_file_and_in_the_master(scan, clients, wait):
    metadata = {"sample": "Å 漢 Ω", "proposal": {"number": 20250001, "visit": "a b"}, "detector": "mine"}
    scan.Metadata = json.dumps(metadata)
    master = scan.MasterFilename
    assert master == str(clients.site.data / f"scan-{scan.ScanNumber:04d}.h5")
    scan.Arm()
    wait(lambda: ended(scan), 15, "end")
    assert (scan.Verdict, scan.State()) == ("COMPLETE", DevState.ON), scan.Status()
    for member, path in zip(("left", "right"), scan.DestinationFilenames, strict=True):
        with h5py.File(path) as file:
            group = file[f"entry/instrument/{member}/request_metadata"]
            assert group["sample"].asstr()[()] == metadata["sample"]
            assert group["proposal/number"][()] == 20250001
            assert group["detector"].asstr()[()] == "mine"
            assert group["detector_settings"]
            receipt = json.loads(file[f"entry/instrument/{member}/daq/receipt"][()])
            assert receipt["settings"]["metadata"]["proposal"] == metadata["proposal"]
    report = json.loads(scan.LastReport)
    assert report["scan"] == {"number": scan.ScanNumber, "master": master}
    assert report["receipts"][clients.names["left"]]["settings"]["metadata"]["sample"] == metadata["sample"]
    with h5py.File(master) as file:
        for member in ("left", "right"):
            assert file[f"entry/instrument/{member}/data"].shape == file[f"entry/{member}/data"].shape == (10, 64, 48)
            assert file.get(f"entry/{member}/data", getlink=True).filename == f"{scan.ScanNumber:06d}_{member}.h5"
        assert file["entry/data/data"].shape == (10, 64, 48)
        assert json.loads(file["entry/daq/metadata"][()]) == metadata
        assert json.loads(file["entry/daq/report"][()]) == report
    saved = clients.site.data / f"scan-{scan.ScanNumber:04d}.report.json"
    assert json.loads(saved.read_text()) == report
    assert json.loads(scan.History)[-1]["scan"] == report["scan"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("{scan:06d}_right.h5", "right: write the file .*the file exists"),
        (".{scan:06d}_right.h5.part", "right: .*unfinished file"),
        ("{scan:06d}_right_data_000002.h5", "right: .*the data file exists"),
        (MASTER, "left: .*the file exists"),
        ("scan-{scan:04d}.report.json", "left: .*report of another scan exists"),
    ],
)
def test_what_is_in_the_way_is_told_before_any_detector_has_a_word(scan, clients, name, told):
    before = words(clients)
    path = clients.site.data / name.format(scan=scan.ScanNumber)
    path.write_bytes(b"precious")
    with pytest.raises(tango.DevFailed, match=told) as caught:
        scan.Arm()
    assert caught.value.args[0].reason == "MAXDAQ_FileError"
    assert words(clients) == before
    assert clients.left.HardwareState == clients.right.HardwareState == "IDLE"
    assert [found.name for found in clients.site.data.glob(f"*{scan.ScanNumber:06d}_*")] == (
        [path.name] if "_" in path.name else []
    )
    assert path.read_bytes() == b"precious"
    path.unlink()


def test_an_incomplete_run_has_a_master_and_an_aborted_one_and_old_ones_are_moved_aside(scan, clients, wait):
    scan.DestinationFileOverwritable = True
    clients.site.simulators["left"].faults(drop_frames=[2])
    scan.Arm()
    wait(lambda: ended(scan), 15, "end")
    clients.site.simulators["left"].faults()
    master = clients.site.data / f"scan-{scan.ScanNumber:04d}.h5"
    with h5py.File(master) as file:
        assert file["entry/verdict"].asstr()[()] == scan.Verdict == "INCOMPLETE"
        assert sorted(file["entry/instrument"]) == ["left", "right"]
    scan.TriggerMode = "SOFTWARE"
    scan.Arm()
    scan.Abort()
    wait(lambda: ended(scan), 15, "end")
    assert scan.Verdict == "ABORTED"
    with h5py.File(master) as file:
        assert file["entry/verdict"].asstr()[()] == "ABORTED"
    with h5py.File(master.with_name(f"{master.stem}.old1.h5")) as file:
        assert file["entry/verdict"].asstr()[()] == "INCOMPLETE"


def test_a_master_that_cannot_be_written_is_told_and_changes_no_verdict(scan, clients, wait):
    scan.TriggerMode = "SOFTWARE"
    scan.Arm()
    master = clients.site.data / f"scan-{scan.ScanNumber:04d}.h5"
    master.write_bytes(b"precious")  # somebody else has been faster
    wait(lambda: scan.ReadyForSwTrigger, 5, "ready")
    scan.SoftwareTrigger()
    wait(lambda: ended(scan), 15, "end")
    assert scan.Verdict == "COMPLETE"
    assert "have the scan master written by the receiver" in scan.Status()
    (reason,) = json.loads(scan.LastReport)["reasons"]
    assert str(master) in reason
    assert "the file exists" in reason
    assert master.read_bytes() == b"precious"


def test_a_file_that_is_not_finished_is_not_linked_and_that_is_told(scan, clients, wait):
    scan.nFramesPerTrigger, scan.ExposureTime = 100, 0.01
    scan.Arm()
    wait(lambda: min(scan.DetectorFramesReceived) > 3, 10, "frames")
    clients.left_receiver.RestartEngine()
    wait(lambda: ended(scan), 20, "end")
    assert scan.Verdict == "FAILED"
    report = json.loads(scan.LastReport)
    assert report["receipts"][clients.names["right"]]["verdict"] == "COMPLETE"
    assert [one for one in report["reasons"] if "link every file" in one and "not finished" in one], report["reasons"]
    with h5py.File(report["scan"]["master"]) as file:
        assert list(file["entry/instrument"]) == ["right"]
        assert file["entry/data/data"].shape[0] == 100
        (why,) = file["entry/daq/not_linked"].asstr()[...]
        assert why.startswith(f"{clients.names['left']}: its file is not finished")
        assert file["entry/verdict"].asstr()[()] == "FAILED"


def test_live_runs_have_none(scan, clients, wait):
    before = sorted(path.name for path in clients.site.data.iterdir())
    scan.Live()
    scan.Stop()
    wait(lambda: ended(scan), 15, "end")
    assert sorted(path.name for path in clients.site.data.iterdir()) == before
    assert json.loads(scan.LastReport)["scan"] is None


def test_bad_metadata_and_patterns_are_one_clear_error(daq):
    for value in ("[1]", '{"a": NaN}', json.dumps({"a": "x" * 300_000})):
        with pytest.raises(tango.DevFailed, match="set Metadata"):
            daq.Metadata = value
    assert daq.Metadata == "{}"
    with pytest.raises(tango.DevFailed, match="set MasterPattern"):
        daq.MasterPattern = "{detector}.h5"
    daq.FilePattern = "{scan}.h5"
    with pytest.raises(tango.DevFailed, match="cannot share a file"):
        daq.Arm()
    daq.FilePattern = "{scan:06d}_{detector}.h5"


# ---- room on the disk ----


def test_a_run_that_no_disk_holds_is_refused_or_warned_of_as_the_receiver_says(daq, clients, wait):
    daq.Arm()
    wait(lambda: ended(daq), 10, "end of a run that teaches how frames are packed")
    daq.ScanNumber = next(NAMES)
    daq.nFramesPerTrigger, daq.ExposureTime = 1_000_000_000, 0.0005  # 13 TB, in less than a week
    daq.TriggerMode = "SOFTWARE"
    with pytest.raises(tango.DevFailed, match=r"right: write 1000000000 frames.*packed as in.*are free.*RoomPolicy"):
        daq.Arm()
    assert clients.left.HardwareState == "IDLE"
    assert not list(clients.site.data.glob(f"*{daq.ScanNumber:06d}_*"))
    daq.EnabledDetectors = ["left"]
    daq.Arm()
    for device in (daq, clients.left_receiver):
        wait(lambda device=device: "Warning: " in device.Status() and "are free there" in device.Status(), 5, "warning")
    daq.Abort()
    wait(lambda: ended(daq), 15, "end")
    (warning,) = json.loads(daq.LastReport)["warnings"]
    assert warning.startswith(f"{clients.names['left']}: write 1000000000 frames")
