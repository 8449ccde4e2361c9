"""Races between a controller, two detectors, their receivers and those who use them. Whatever happens, the error names
who, what and why, the verdict is true, and the next Arm works."""

from __future__ import annotations

import json

import h5py
import hdf5plugin  # noqa: F401 - registers the filter
import pytest
import tango
from tango import DevState

pytestmark = pytest.mark.timeout(120)

NAMES = iter(range(1, 10_000))


@pytest.fixture(scope="module")
def clients(site, make_clients, wait_on):
    devices = {}
    for member in ("left", "right"):
        site.simulate(member)
        devices[f"{member}_receiver"] = site.receiver(member, StartTimeout=2.0, StallTimeout=5.0, Grace=1.0)
        devices[member] = site.eiger(member, devices[f"{member}_receiver"])
    devices["daq"] = site.controller("main", devices["left"], devices["right"], ArmWait=0.5)
    made = make_clients(site, **devices)
    wait_on(made.left, made.right, made.daq)
    return made


@pytest.fixture
def daq(clients, wait_on, wait):
    settings(clients)
    yield clients.daq
    for simulator in clients.site.simulators.values():
        simulator.faults()
    wait_on(clients.daq, clients.left, clients.right, clients.left_receiver, clients.right_receiver)
    next_arm_works(clients, wait)


def settings(clients, frames=20, mode="INTERNAL", triggers=1) -> list[str]:
    daq = clients.daq
    daq.DestinationDirectory = str(clients.site.data)
    daq.ScanNumber = next(NAMES)
    daq.ExposureTime, daq.nFramesPerTrigger, daq.nTriggers, daq.TriggerMode = 0.01, frames, triggers, mode
    return list(daq.DestinationFilenames)


def over(daq) -> bool:
    """Of the run; a device out of reach makes State UNKNOWN."""
    return daq.AcquisitionState in ("IDLE", "FAULT")


def report(clients) -> dict:
    told = json.loads(clients.daq.LastReport)
    assert set(told["verdicts"]) == {clients.names["left"], clients.names["right"]}
    return told


def verdicts(clients) -> tuple[str, str]:
    """Of left and right."""
    told = report(clients)["verdicts"]
    return told[clients.names["left"]], told[clients.names["right"]]


def written(path: str) -> int:
    with h5py.File(path) as file:
        (member,) = file["/entry/instrument"]
        return int(file[f"/entry/instrument/{member}/daq/frame_valid"][...].sum())


def next_arm_works(clients, wait) -> None:
    paths = settings(clients, frames=3)

    def arms() -> bool:
        try:
            clients.daq.Arm()
        except tango.DevFailed as failed:
            if "has not come back yet" not in failed.args[0].desc:
                raise
            return False
        return True

    wait(arms, 20, "the next Arm")
    wait(lambda: over(clients.daq), 20, "the end of the next acquisition")
    assert clients.daq.Verdict == "COMPLETE", clients.daq.Status()
    assert [written(path) for path in paths] == [3, 3]


# --- while arming, and while it ends ----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["Stop", "Abort"])
def test_whoever_ends_it_while_one_of_two_still_arms_gets_both_back(daq, clients, wait, command):
    clients.site.simulators["right"].faults(arm_delay_s=2.0)
    daq.Arm()  # returns after ArmWait with the work going on
    assert daq.AcquisitionState == "CONFIGURING"
    wait(lambda: clients.left.HardwareState == "ARMED", 5, "the one that is quick")
    daq.command_inout(command)
    wait(lambda: over(daq), 10, "the end")
    assert daq.State() == DevState.ON  # somebody wanted it: no alarm
    assert report(clients)["armed"] is False
    assert verdicts(clients) == ("ABORTED", "ABORTED")
    wait(lambda: clients.left.HardwareState == clients.right.HardwareState == "IDLE", 10, "both being let go")
    assert not list(clients.site.data.glob(f"{daq.ScanNumber:06d}_*"))


def test_a_receiver_waits_for_its_stream_from_the_moment_when_every_detector_is_armed(daq, clients, wait):
    clients.site.simulators["right"].faults(arm_delay_s=3.0)  # longer than the StartTimeout of both
    daq.ExposureTime, daq.nFramesPerTrigger = 0.05, 30
    daq.Arm()
    wait(lambda: over(daq), 15, "the end")
    assert verdicts(clients) == ("COMPLETE", "COMPLETE"), daq.Status()


def test_arm_while_the_last_run_is_being_closed_is_refused_and_does_not_change_it(daq, clients, wait):
    paths = list(daq.DestinationFilenames)
    clients.site.simulators["left"].faults(drop_frames=[19], missing_end=True)  # its receiver waits for the last frame
    daq.Arm()
    wait(lambda: daq.AcquisitionState == "DRAINING", 10, "DRAINING")
    for command in ("Arm", "Live", "Reset"):
        with pytest.raises(tango.DevFailed, match="an acquisition is under way"):
            daq.command_inout(command)
    with pytest.raises(tango.DevFailed, match="not SOFTWARE"):
        daq.SoftwareTrigger()
    wait(lambda: over(daq), 15, "the end")
    assert verdicts(clients) == ("INCOMPLETE", "COMPLETE")
    assert report(clients)["receipts"][clients.names["left"]]["frames_missing"] == [19]
    assert [written(path) for path in paths] == [19, 20]


# --- a device that is restarted in mid-run --------------------------------------------------------------------------


@pytest.mark.processes_live_on
def test_a_detector_server_that_dies_and_comes_back_in_mid_run(daq, clients, wait):
    paths = settings(clients, frames=150)
    daq.Arm()
    wait(lambda: clients.left_receiver.nFramesReceived > 5, 10, "frames")
    clients.site.kill(clients.names["left"])
    wait(lambda: "cannot be reached at the moment" in daq.Status(), 10, "the word of it")
    clients.site.start_again(clients.names["left"])
    wait(lambda: over(daq), 30, "the end")
    # The detector went on by itself, and its stream did not need the device.
    assert verdicts(clients)[1] == "COMPLETE"
    left = report(clients)["receipts"][clients.names["left"]]
    assert left["frames_written"] == written(paths[0]) > 5
    assert (left["verdict"] == "COMPLETE") == (left["frames_written"] == 150)


@pytest.mark.processes_live_on
def test_a_detector_server_that_is_away_when_it_is_to_be_aborted_disarms_the_detector_when_it_is_back(
    daq, clients, wait
):
    settings(clients, frames=5, mode="SOFTWARE", triggers=3)
    daq.Arm()
    wait(lambda: daq.ReadyForSwTrigger, 5, "ready")
    clients.site.kill(clients.names["left"])
    daq.Abort()
    clients.site.start_again(clients.names["left"])
    wait(lambda: over(daq), 30, "the end")
    wait(lambda: clients.left.HardwareState == "IDLE", 10, "the detector being disarmed")
    assert verdicts(clients) == ("ABORTED", "ABORTED")


@pytest.mark.processes_live_on
def test_a_receiver_server_that_dies_and_comes_back_in_mid_run(daq, clients, wait):
    paths = settings(clients, frames=150)
    daq.Arm()
    wait(lambda: clients.left_receiver.nFramesReceived > 5, 10, "frames")
    clients.site.kill(clients.names["left_receiver"])
    clients.site.start_again(clients.names["left_receiver"])
    wait(lambda: over(daq), 30, "the end")
    assert (daq.State(), daq.Verdict) == (DevState.FAULT, "FAILED")
    assert verdicts(clients) == ("FAILED", "COMPLETE")  # it has no receipt, and is named all the same
    assert clients.names["left_receiver"] in daq.Status()
    assert written(paths[1]) == 150
    assert clients.left.HardwareState == "IDLE"


@pytest.mark.processes_live_on
def test_a_controller_that_dies_while_armed_ends_what_it_had_begun_when_it_comes_back(daq, clients, wait):
    paths = settings(clients, frames=5, mode="SOFTWARE", triggers=3)
    daq.Arm()
    wait(lambda: daq.ReadyForSwTrigger, 5, "ready")
    daq.SoftwareTrigger()
    wait(lambda: list(daq.DetectorFramesReceived) == [5, 5], 10, "the first burst")
    assert clients.left.UsedBy == clients.names["daq"]
    clients.site.kill(clients.names["daq"])
    assert clients.left.HardwareState == clients.right.HardwareState == "ARMED"
    with pytest.raises(tango.DevFailed, match=f"{clients.names['daq']} is using the detector"):
        clients.left.Arm()
    clients.site.start_again(clients.names["daq"])
    for member in ("left", "right"):
        detector, receiver = getattr(clients, member), getattr(clients, f"{member}_receiver")
        wait(lambda detector=detector: (detector.HardwareState, detector.UsedBy) == ("IDLE", ""), 10, "being let go")
        wait(lambda receiver=receiver: receiver.AcquisitionState == "IDLE", 10, "its receiver being let go")
        assert receiver.Verdict == "ABORTED"
    assert [written(path) for path in paths] == [5, 5]


def test_an_armed_detector_that_is_out_of_reach_for_a_moment_is_not_let_go_and_can_be_aborted(daq, clients, wait):
    settings(clients, frames=5, mode="SOFTWARE", triggers=3)
    daq.Arm()
    wait(lambda: daq.ReadyForSwTrigger, 5, "ready")
    clients.site.simulators["left"].faults(offline_s=2.5)
    wait(lambda: clients.left.HardwareState == "OFFLINE", 5, "the control address being away")
    wait(lambda: "cannot be reached" in clients.left.Status(), 5, "the word of it")
    assert clients.left.UsedBy == clients.names["daq"]
    daq.Abort()
    wait(lambda: over(daq), 15, "the end")
    wait(lambda: clients.left.HardwareState == "IDLE", 10, "the detector being disarmed")
    assert verdicts(clients) == ("ABORTED", "ABORTED")


# --- a device that hangs --------------------------------------------------------------------------------------------


def test_a_receiver_that_hangs_is_named_before_any_detector_has_a_word(daq, clients, wait):
    paths = list(daq.DestinationFilenames)
    with clients.site.hanging(clients.names["right_receiver"]):
        daq.Arm()
        wait(lambda: over(daq), 20, "the end")
        assert f"check the files with the receiver {clients.names['right_receiver']}" in daq.Status()
        assert clients.left.UsedBy == clients.right.UsedBy == ""
        assert clients.left.HardwareState == clients.right.HardwareState == "IDLE"
        assert clients.left_receiver.AcquisitionState == "IDLE"
    assert report(clients)["armed"] is False
    assert not any(path in map(str, clients.site.data.iterdir()) for path in paths)


def test_a_configure_of_ours_that_was_given_up_and_came_late_is_in_nobodys_way(daq, clients, wait):
    """The device got it, and its answer did not come back: the detector is held, and the controller does not know."""
    settings = {"exposure_time_s": 0.01, "trigger_mode": "SOFTWARE", "used_by": clients.names["daq"]}
    clients.left.Configure(json.dumps(settings))
    wait(lambda: clients.left.StreamDescription, 10, "the end of it")
    assert (clients.left.UsedBy, clients.left.State()) == (clients.names["daq"], DevState.RUNNING)
    with pytest.raises(tango.DevFailed, match=f"{clients.names['daq']} is using the detector"):
        clients.left.Configure(json.dumps({**settings, "used_by": "another/daq/controller"}))
    next_arm_works(clients, wait)


@pytest.mark.slow
def test_a_detector_that_hangs_at_configure_is_named_and_the_other_is_taken_back(daq, clients, wait):
    with clients.site.hanging(clients.names["right"]):
        daq.Arm()
        wait(lambda: over(daq), 20, "the end")
        assert f"configure the detector {clients.names['right']}" in daq.Status()
        assert clients.left.UsedBy == ""
    assert report(clients)["armed"] is False


def test_a_detector_device_that_hangs_for_a_moment_in_mid_run_costs_nothing(daq, clients, wait):
    settings(clients, frames=200)
    daq.Arm()
    wait(lambda: clients.left_receiver.nFramesReceived > 5, 10, "frames")
    with clients.site.hanging(clients.names["left"]):
        wait(lambda: "cannot be reached at the moment" in daq.Status(), 10, "the word of it")
    wait(lambda: over(daq), 20, "the end")
    assert verdicts(clients) == ("COMPLETE", "COMPLETE"), daq.Status()


@pytest.mark.slow
def test_a_detector_that_hangs_at_stop_is_given_up_and_the_file_is_closed(daq, clients, wait):
    paths = settings(clients, frames=3000)
    daq.Arm()
    wait(lambda: clients.left_receiver.nFramesReceived > 5, 10, "frames")
    with clients.site.hanging(clients.names["left"]):
        daq.Stop()
        wait(lambda: over(daq), 30, "the end")
        assert f"stop the detector {clients.names['left']}" in daq.Status()
    assert report(clients)["receipts"][clients.names["left"]]["frames_written"] == written(paths[0]) > 5
    assert daq.Verdict != "COMPLETE"
    wait(lambda: clients.left.HardwareState in ("IDLE", "ACQUIRING"), 10, "the device going on")
    clients.left.Abort()


# --- events ---------------------------------------------------------------------------------------------------------


def test_a_client_whose_events_were_lost_reads_what_is_true_and_a_new_subscription_begins_with_it(daq, clients, wait):
    seen = []
    number = daq.subscribe_event("nFramesReceived", tango.EventType.CHANGE_EVENT, seen.append)
    settings(clients, frames=60)
    daq.Arm()
    wait(lambda: any(not event.err and event.attr_value.value > 0 for event in seen), 10, "an event")
    daq.unsubscribe_event(number)  # from here on it hears nothing
    heard = len(seen)
    wait(lambda: over(daq), 15, "the end, by asking")
    assert len(seen) == heard
    assert (daq.nFramesReceived, daq.Verdict) == (min(daq.DetectorFramesReceived), "COMPLETE")
    assert min(daq.DetectorFramesReceived) == 60
    late = []
    number = daq.subscribe_event("Verdict", tango.EventType.CHANGE_EVENT, late.append)
    wait(lambda: late, 5, "the first event")
    daq.unsubscribe_event(number)
    assert late[0].attr_value.value == "COMPLETE"
