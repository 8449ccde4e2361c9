"""Each thing that goes wrong is one clear error, and afterwards the next Arm works."""

from __future__ import annotations

import os
import signal
import time

import h5py
import hdf5plugin  # noqa: F401 - registers the filter
import pytest
import tango
from tango import DevState

NAMES = iter(range(10_000))
NOT_BUSY = (DevState.ON, DevState.ALARM, DevState.FAULT)


@pytest.fixture(scope="module")
def clients(site, make_clients, wait_on):
    site.simulate("eiger")
    receiver = site.receiver("eiger", StartTimeout=2.0, StallTimeout=2.0, Grace=0.5)
    detector = site.eiger("eiger", receiver, ArmWait=1.0)
    controller = site.controller("main", detector, ArmWait=1.0)
    made = make_clients(site, detector=detector, receiver=receiver, controller=controller)
    wait_on(made.detector, made.receiver, made.controller)
    return made


@pytest.fixture(params=["detector", "controller"])
def daq(request, clients):
    return getattr(clients, request.param)


@pytest.fixture(autouse=True)
def _settled(clients, wait_on):
    yield
    clients.site.simulators["eiger"].faults()
    clients.controller.Abort()
    clients.detector.Abort()
    wait_on(clients.detector, clients.receiver, clients.controller)


@pytest.fixture
def faults(clients):
    return clients.site.simulators["eiger"].faults


def prepare(daq, clients, triggers=1, frames=5, mode="INTERNAL", exposure=0.005) -> str:
    path = str(clients.file(f"run_{next(NAMES):06d}.h5"))
    daq.ExposureTime, daq.LatencyTime = exposure, 0.0
    daq.nTriggers, daq.nFramesPerTrigger, daq.TriggerMode = triggers, frames, mode
    daq.DestinationFilename = path
    return path


def refused(call, *parts: str, reason: str = "") -> str:
    """The call fails with one error that says all of this."""
    with pytest.raises(tango.DevFailed) as caught:
        call()
    told = caught.value.args[0]
    for part in parts:
        assert part in told.desc, f"{part!r} is not in: {told.desc}"
    if reason:
        assert told.reason == reason
    return told.desc


def next_arm_works(daq, clients, wait) -> None:
    path = prepare(daq, clients)
    daq.Arm()
    wait(lambda: daq.State() in NOT_BUSY, 10, "end of the next acquisition")
    assert daq.State() == DevState.ON, daq.Status()
    assert daq.Verdict == "COMPLETE"
    with h5py.File(path) as file:
        assert file["/entry/instrument/eiger/data"].shape[0] == 5


def test_a_refused_arm_says_who_refused_and_why_and_leaves_no_file(daq, clients, faults, wait):
    path = prepare(daq, clients)
    faults(refuse_arm="high voltage is off")
    refused(
        daq.Arm, "arm the detector", clients.names["detector"], "high voltage is off", reason="MAXDAQ_DetectorRefused"
    )
    assert daq.State() == DevState.ALARM
    assert "everything was undone" in daq.Status()
    assert "high voltage is off" in daq.Status()
    assert not os.path.exists(path)
    faults()
    daq.DestinationFilename = path
    daq.Arm()  # the same name again: nothing of the first try is in the way
    wait(lambda: daq.State() == DevState.ON, 10, "end")
    next_arm_works(daq, clients, wait)


def test_a_time_beyond_the_detectors_range_is_refused_by_arm_or_by_the_attribute(daq, clients, wait):
    prepare(daq, clients)
    if daq is clients.detector:
        refused(lambda: setattr(daq, "ExposureTime", 1e5), "ExposureTime", "above the maximum")
    else:
        daq.ExposureTime = 1e5
        refused(daq.Arm, "configure the detector", clients.names["detector"], "count_time", "100000", "Accepted")
    next_arm_works(daq, clients, wait)


def test_contradicting_times_are_refused_before_anybody_is_asked(daq, clients, wait):
    prepare(daq, clients)
    daq.ExposureTime = 0.2
    daq.FrameTime = 0.1
    refused(daq.Arm, "FrameTime is shorter than ExposureTime", "0.2 s", reason="MAXDAQ_ConfigurationError")
    daq.LatencyTime = 0.0
    next_arm_works(daq, clients, wait)


def test_an_unknown_trigger_mode_names_all_modes(daq):
    refused(lambda: setattr(daq, "TriggerMode", "exts"), "exts", "INTERNAL, SOFTWARE, EXTERNAL_MULTI")


@pytest.mark.lesson(10)
def test_an_existing_file_is_refused_before_anything_is_armed_and_not_touched(daq, clients, wait):
    path = prepare(daq, clients)
    with open(path, "wb") as file:
        file.write(b"precious")
    series_before = clients.detector.ArmedSeries
    refused(daq.Arm, "check the files with the receiver", clients.names["receiver"], path, "exist")
    with open(path, "rb") as file:
        assert file.read() == b"precious"
    assert clients.detector.HardwareState == "IDLE"
    assert clients.detector.ArmedSeries in ("", series_before)
    daq.DestinationFileOverwritable = True
    try:
        daq.Arm()
        wait(lambda: daq.State() == DevState.ON, 10, "end")
    finally:
        daq.DestinationFileOverwritable = False
    assert any(
        p.read_bytes() == b"precious" for p in clients.site.data.iterdir() if p.is_file() and p.stat().st_size == 8
    )
    next_arm_works(daq, clients, wait)


@pytest.mark.parametrize("path", ["/etc/run.h5", "{data}/../escaped.h5", "/nonexistent/x.h5"])
@pytest.mark.lesson(40)
def test_a_path_outside_the_roots_is_refused(daq, clients, wait, path):
    prepare(daq, clients)
    daq.DestinationFilename = path.format(data=clients.site.data)
    text = refused(daq.Arm, "check the files with the receiver", clients.names["receiver"])
    assert str(clients.site.data) in text  # what would have been accepted
    next_arm_works(daq, clients, wait)


def test_a_relative_path_is_refused_when_it_is_written(daq):
    refused(lambda: setattr(daq, "DestinationFilename", "run.h5"), "not an absolute path")


def test_a_stream_that_never_starts_ends_incomplete_with_the_reason(daq, clients, faults, wait):
    prepare(daq, clients)
    faults(missing_header=True)
    daq.Arm()
    wait(lambda: daq.State() in NOT_BUSY, 15, "end")
    assert daq.State() in (DevState.ALARM, DevState.FAULT)
    assert daq.Verdict in ("INCOMPLETE", "FAILED")
    assert "start" in daq.Status()
    faults()
    next_arm_works(daq, clients, wait)


def test_a_detector_that_never_makes_a_frame_is_stopped(daq, clients, faults, wait):
    prepare(daq, clients)
    faults(never_start=True)
    daq.Arm()
    wait(lambda: daq.State() in NOT_BUSY, 15, "end")
    assert daq.State() in (DevState.ALARM, DevState.FAULT)
    assert daq.nFramesReceived == 0
    faults()
    wait(lambda: clients.detector.HardwareState == "IDLE", 5, "the detector being idle")
    next_arm_works(daq, clients, wait)


def test_a_stream_that_stops_in_the_middle_keeps_what_came_and_says_what_is_missing(daq, clients, faults, wait):
    path = prepare(daq, clients, frames=20)
    faults(stop_after=7)
    daq.Arm()
    wait(lambda: daq.State() in NOT_BUSY, 15, "end")
    assert daq.State() == DevState.ALARM
    assert daq.Verdict == "INCOMPLETE"
    assert daq.nFramesReceived == 7
    assert "7" in daq.Status()
    with h5py.File(path) as file:
        data = file["/entry/instrument/eiger/data"]
        assert len({data[index].tobytes() for index in range(7)}) == 7
    faults()
    next_arm_works(daq, clients, wait)
    assert daq.State() == DevState.ON  # the next Arm clears the alarm


@pytest.mark.lesson(6)
@pytest.mark.lesson(9)
def test_dropped_frames_are_counted_and_the_alarm_is_cleared_by_reset(daq, clients, faults, wait):
    prepare(daq, clients, frames=10)
    faults(drop_frames=[3, 4])
    daq.Arm()
    wait(lambda: daq.State() in NOT_BUSY, 15, "end")
    assert (daq.State(), daq.Verdict, daq.nFramesReceived) == (DevState.ALARM, "INCOMPLETE", 8)
    wait(lambda: clients.receiver.nFramesMissing == 2, 2, "the count of missing frames")
    assert clients.receiver.MissingFrames == "3-4"
    lost = clients.receiver.nFramesLost, clients.receiver.nFramesLate, clients.receiver.nFramesUnexpected
    assert lost == (0, 0, 0)
    daq.Reset()
    assert daq.State() == DevState.ON
    assert daq.Verdict == ""


@pytest.mark.lesson(1)
def test_a_gap_is_in_status_while_frames_still_come(clients, faults, wait):
    daq = clients.detector
    prepare(daq, clients, frames=100, exposure=0.02)
    faults(drop_frames=[3, 4, 5])
    daq.Arm()
    wait(lambda: clients.receiver.MissingFrames == "3-5", 5, "the gap")
    assert "3 frames have not come, the first of them 3-5" in clients.receiver.Status()
    assert clients.receiver.State() == DevState.RUNNING


def test_a_detector_error_in_mid_run_is_told_in_its_words(daq, clients, faults, wait):
    prepare(daq, clients, frames=400, exposure=0.01)
    daq.Arm()
    wait(lambda: daq.nFramesReceived > 3, 5, "frames")
    faults(error_state="link 2 is down")
    wait(lambda: daq.State() in NOT_BUSY, 15, "end")
    assert daq.Verdict in ("INCOMPLETE", "FAILED", "ABORTED")
    assert "error" in daq.Status()
    assert clients.detector.State() == DevState.FAULT
    prepare(daq, clients)
    refused(daq.Arm, "Reset first")
    faults()
    daq.Reset()
    wait(lambda: clients.detector.HardwareState == "IDLE", 10, "the detector being recovered")
    next_arm_works(daq, clients, wait)


def test_a_recovered_detector_shows_the_settings_that_it_has_now(clients, faults, wait):
    detector = clients.detector
    detector.Compression = "none"
    wait(lambda: detector.Compression == "none", 10, "the setting")
    faults(error_state="link 2 is down")
    wait(lambda: detector.State() == DevState.FAULT, 10, "FAULT")
    faults()
    detector.Reset()
    wait(lambda: detector.State() == DevState.ON, 10, "the detector being recovered")
    assert detector.Compression == "bslz4"


def test_abort_while_arming_undoes_everything(daq, clients, faults, wait):
    path = prepare(daq, clients)
    faults(arm_delay_s=3.0)
    began = time.monotonic()
    daq.Arm()  # returns after ArmWait with the work going on
    assert 0.8 < time.monotonic() - began < 1.8
    assert daq.State() == DevState.RUNNING
    assert daq.AcquisitionState == "CONFIGURING"
    assert "arm the detector" in daq.Status()
    began = time.monotonic()
    daq.Abort()
    assert time.monotonic() - began < 0.5
    wait(lambda: daq.State() in NOT_BUSY, 10, "end")
    assert daq.State() == DevState.ON  # somebody wanted it: no alarm
    assert "aborted before it was armed" in daq.Status()
    assert not os.path.exists(path)
    faults()

    def arms() -> bool:
        try:
            next_arm_works(daq, clients, wait)
        except tango.DevFailed as failed:
            if "has not come back yet" not in failed.args[0].desc:
                raise
            return False
        return True

    wait(arms, 15, "the next Arm")


def test_a_slow_arm_ends_armed_after_the_command_has_returned(daq, clients, faults, wait):
    prepare(daq, clients)
    faults(arm_delay_s=1.5)
    daq.Arm()
    assert daq.AcquisitionState == "CONFIGURING"
    wait(lambda: daq.State() == DevState.ON, 15, "end")
    assert daq.Verdict == "COMPLETE"


def test_an_engine_killed_in_mid_run_is_a_fault_with_the_reason_and_the_next_arm_gets_a_new_one(daq, clients, wait):
    prepare(daq, clients, frames=400, exposure=0.01)
    daq.Arm()
    wait(lambda: daq.nFramesReceived > 3, 5, "frames")
    pid = clients.receiver.EnginePid
    os.kill(pid, signal.SIGKILL)
    wait(lambda: daq.State() in NOT_BUSY, 15, "end")
    assert daq.State() == DevState.FAULT
    assert daq.Verdict == "FAILED"
    assert "killed by signal 9" in daq.Status()
    assert clients.receiver.State() == DevState.FAULT
    assert clients.detector.HardwareState == "IDLE"
    next_arm_works(daq, clients, wait)
    assert clients.receiver.EnginePid != pid


def test_a_restarted_receiver_engine_is_ready_again(clients, wait):
    pid = clients.receiver.EnginePid
    clients.detector.RestartReceiver()
    wait(lambda: clients.receiver.EnginePid not in (0, pid), 10, "another engine")
    wait(lambda: clients.receiver.State() == DevState.ON, 10, "the receiver being ON")
    next_arm_works(clients.detector, clients, wait)


def test_json_of_the_expert_commands_is_refused_by_the_name_of_the_field(clients):
    refused(lambda: clients.detector.Configure('{"exposure": 1}') and None, "exposure")
    refused(lambda: clients.detector.Configure('{"exposure_time_s": -1}'), "ExposureTime", "above 0 s")
    refused(lambda: clients.receiver.Prepare('{"sources": ["tcp://127.0.0.1:1"], "roots": ["/"]}'), "roots")
    refused(lambda: clients.receiver.Prepare("nonsense"), "Prepare", "sources")
    refused(lambda: clients.receiver.Prepare(""), "Source is empty")
    refused(lambda: clients.receiver.Expect('{"series": 5}'), "series")


def test_settings_of_the_family_are_checked_by_the_detector(clients, wait):
    detector = clients.detector
    refused(lambda: setattr(detector, "RoiMode", "5M"), "roi_mode", "5M", "Accepted", reason="MAXDAQ_DetectorRefused")
    refused(lambda: setattr(detector, "Energy", 1e9), "Energy", "above the maximum")
    before = detector.Energy
    detector.Energy = 12_000.0
    wait(lambda: abs(detector.Energy - 12_000.0) < 0.1, 10, "the new energy")
    wait(lambda: abs(detector.Threshold - 6_000.0) < 1, 10, "the threshold that follows")
    detector.Energy = before
    wait(lambda: abs(detector.Energy - before) < 0.1, 10, "the old energy")


def test_settings_of_the_family_are_refused_in_mid_run(clients, wait):
    prepare(clients.detector, clients, frames=100, exposure=0.01)
    clients.detector.Arm()
    refused(lambda: setattr(clients.detector, "Energy", 12_000.0), "an acquisition is under way")
    clients.detector.Stop()
    wait(lambda: clients.detector.State() in NOT_BUSY, 10, "end")


def test_nobody_takes_a_detector_from_under_a_controllers_series(clients, wait):
    prepare(clients.controller, clients, frames=400)
    clients.controller.Arm()
    wait(lambda: clients.receiver.nFramesReceived > 10)
    for name in ("Reset", "Arm", "Live", "SoftwareTrigger"):
        refused(lambda name=name: clients.detector.command_inout(name), clients.detector.dev_name())
    wait(lambda: clients.controller.state() in NOT_BUSY)
    assert clients.controller.Verdict == "COMPLETE"


@pytest.mark.parametrize("role", ["detector", "receiver", "controller"])
@pytest.mark.lesson(27)
def test_init_in_the_middle_of_a_controllers_run_answers_at_once_and_the_next_arm_works(clients, wait, wait_on, role):
    path = prepare(clients.controller, clients, frames=5000)
    clients.controller.Arm()
    wait(lambda: clients.receiver.nFramesReceived > 10, 5, "frames")
    getattr(clients, role).Init()  # Tango's own time-out is 4 s here: an Init that waits for the series fails
    wait(lambda: clients.detector.HardwareState == "IDLE", 10, "the detector being let go")
    wait(lambda: clients.controller.State() in NOT_BUSY, 15, "the end of the run")
    wait(lambda: os.path.exists(path), 10, "the file under its own name")
    with h5py.File(path) as file:
        assert file["/entry/instrument/eiger/data"][5].any()
    wait_on(clients.detector, clients.receiver, clients.controller)
    next_arm_works(clients.controller, clients, wait)
