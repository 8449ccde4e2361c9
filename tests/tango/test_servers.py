"""Servers that start without their hardware, with wrong properties, or end: what operators see."""

from __future__ import annotations

import signal
import socket
import time

import psutil
import pytest
import tango
from tango import DevState

pytestmark = pytest.mark.processes_live_on


def refused(call, *parts: str) -> None:
    with pytest.raises(tango.DevFailed) as caught:
        call()
    for part in parts:
        assert part in caught.value.args[0].desc, caught.value.args[0].desc


def nobody_listens() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_detector_out_of_reach_does_not_stop_its_server_and_is_connected_when_it_comes(site, connect, wait):
    simulator = site.simulate("late")
    receiver = site.receiver("late")
    detector = connect(site.eiger("late", receiver, Port=nobody_listens()))
    wait(lambda: detector.State() == DevState.UNKNOWN, 10, "UNKNOWN")
    assert "cannot be reached" in detector.Status()
    assert "127.0.0.1" in detector.Status()
    assert detector.HardwareState == "OFFLINE"
    refused(detector.Arm, "Arm", "127.0.0.1", "tried in the background")
    assert detector.read_attribute("Energy").quality == tango.AttrQuality.ATTR_INVALID
    refused(lambda: setattr(detector, "Energy", 12_000.0), "Energy")
    detector.Stop()  # harmless
    detector.Abort()
    # The address is put right: Init is enough.
    detector.put_property({"Port": str(simulator.port)})
    detector.Init()
    wait(lambda: detector.State() == DevState.ON, 10, "ON")
    detector.DestinationFilename = ""
    detector.Arm()
    wait(lambda: detector.State() == DevState.ON, 10, "end")


def test_a_control_unit_that_goes_away_and_comes_back_is_connected_again(site, connect, wait):
    simulator = site.simulate("fickle")
    detector = connect(site.eiger("fickle", site.receiver("fickle")))
    wait(lambda: detector.State() == DevState.ON, 10, "ON")
    simulator.faults(offline_s=2.5)
    wait(lambda: detector.State() == DevState.UNKNOWN, 10, "UNKNOWN")
    wait(lambda: detector.State() == DevState.ON, 20, "ON again")


def test_a_missing_receiver_is_named(site, connect, wait):
    site.simulate("lonely")
    detector = connect(site.eiger("lonely", ""))
    wait(lambda: detector.State() == DevState.ON, 10, "ON")
    refused(detector.Arm, "Receiver is empty", "StreamReceiver")
    refused(detector.RestartReceiver, "Receiver is empty")
    other = connect(site.eiger("lonely2", site.device_name("receiver", "nobody"), **_where(site, "lonely")))
    wait(lambda: other.State() == DevState.ON, 10, "ON")
    other.DestinationFilename = ""
    refused(other.Arm, "prepare the receiver", "nobody")
    wait(lambda: other.State() == DevState.ALARM, 10, "everything undone")


def _where(site, member):
    site.simulators["lonely2"] = site.simulators[member]
    return {}


@pytest.mark.parametrize(
    ("member", "properties", "part"),
    [
        ("nohost", {"Host": ""}, "property Host is empty"),
        ("badport", {"Port": 99999}, "Port to 99999"),
        ("badformat", {"StreamFormat": "dectris-v3"}, "dectris-v1, dectris-v2"),
        ("badidle", {"IdleState": "OFF"}, "ON or STANDBY"),
        ("badwait", {"ArmWait": 10.0}, "0 to 2.5 s"),
        ("notnumber", {"Port": "eighty"}, "eighty"),
    ],
)
def test_a_wrong_property_of_a_detector_is_a_fault_in_words_and_init_mends_it(
    site, connect, wait, member, properties, part
):
    if "late" not in site.simulators:
        site.simulate("late")
    site.simulators[member] = site.simulators["late"]
    detector = connect(site.eiger(member, "", **properties))
    assert detector.State() == DevState.FAULT
    assert part in detector.Status()
    refused(detector.Arm, part)
    simulator = site.simulators[member]
    good = {
        "Host": "127.0.0.1",
        "Port": str(simulator.port),
        "StreamFormat": "auto",
        "IdleState": "STANDBY",
        "ArmWait": "1",
    }
    detector.put_property(good)
    detector.Init()
    wait(lambda: detector.State() == DevState.STANDBY, 10, "STANDBY")


@pytest.mark.parametrize(
    ("member", "properties", "part"),
    [
        ("noroot", {"Roots": "/no/such/folder"}, "no such folder"),
        ("tiny", {"MemoryBudget": 1000}, "MemoryBudget"),
        ("badname", {"DetectorName": "a/b"}, "DetectorName"),
        ("badnaming", {"Naming": "both"}, "prepare or stream"),
        ("nonumber", {"MemoryBudget": "lots"}, "lots"),
    ],
)
def test_a_wrong_property_of_a_receiver_is_a_fault_in_words(site, connect, member, properties, part):
    receiver = connect(site.receiver(member, **properties))
    assert receiver.State() == DevState.FAULT
    assert part in receiver.Status()
    refused(lambda: receiver.Prepare(""), part)
    refused(receiver.Reset, part)


def test_a_controller_with_wrong_detectors_says_which(site, connect, wait):
    empty = connect(site.controller("empty"))
    assert empty.State() == DevState.FAULT
    assert "Detectors" in empty.Status()
    stranger = connect(site.controller("stranger", site.device_name("detector", "nobody")))
    wait(lambda: stranger.State() == DevState.UNKNOWN, 5, "UNKNOWN")
    wait(lambda: "nobody" in stranger.Status(), 5, "the name")
    refused(stranger.Arm, "nobody")
    stranger.Stop()


@pytest.mark.lesson(13)
def test_sigterm_ends_a_busy_site_cleanly_and_leaves_no_process_and_a_readable_file(site, connect, wait):
    site.simulate("ending")
    receiver = site.receiver("ending")
    name = site.eiger("ending", receiver)
    detector, engine = connect(name), connect(receiver)
    wait(lambda: detector.State() == DevState.ON, 10, "ON")
    detector.ExposureTime = 0.01
    detector.nFramesPerTrigger = 10_000
    detector.TriggerMode = "INTERNAL"
    detector.DestinationFilename = str(site.data / "ending.h5")
    detector.Arm()
    wait(lambda: detector.nFramesReceived > 5, 10, "frames")
    pid = engine.EnginePid
    began = time.monotonic()
    assert site.servers[name].end(signal.SIGTERM) == 0
    assert site.servers[receiver].end(signal.SIGTERM) == 0
    assert time.monotonic() - began < 20
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert (site.data / "ending.h5").exists()


def test_init_in_mid_run_ends_the_run_and_leaves_a_device_that_works(site, connect, wait):
    site.simulate("init")
    receiver_name = site.receiver("init")
    detector, receiver = connect(site.eiger("init", receiver_name)), connect(receiver_name)
    wait(lambda: detector.State() == DevState.ON, 10, "ON")
    detector.nFramesPerTrigger = 1000
    detector.DestinationFilename = ""
    detector.Arm()
    wait(lambda: detector.nFramesReceived > 2, 10, "frames")
    detector.Init()
    wait(lambda: detector.State() == DevState.ON, 10, "ON")
    wait(lambda: receiver.State() == DevState.ON, 10, "the receiver being free")
    detector.DestinationFilename = ""
    detector.Arm()
    wait(lambda: detector.State() == DevState.ON, 10, "end")
    assert detector.Verdict == "COMPLETE"


def test_settings_of_operators_outlive_the_server_and_set_points_of_a_scan_do_not(site, connect, wait):
    site.simulate("memory")
    name = site.eiger("memory", "")
    detector = connect(name)
    wait(lambda: detector.State() == DevState.ON, 10, "ON")
    detector.Rotation, detector.Fliplr, detector.ExposureTime = 3, True, 0.25
    assert site.servers[name].end() == 0
    site.serve("maxdaq_tango.detectors.eiger.device", "EigerDetector", {name: {}})
    wait(lambda: detector.State() == DevState.ON, 10, "ON again")
    assert (detector.Rotation, detector.Fliplr, detector.ExposureTime) == (3, True, 0.1)
