"""What MAX IV's scan clients do, with a plain DeviceProxy, on a detector device and on a controller."""

from __future__ import annotations

import json
import time
import urllib.request

import h5py
import hdf5plugin  # noqa: F401 - registers the filter
import numpy as np
import pytest
import tango
from tango import DevState

NAMES = iter(range(10_000))


@pytest.fixture(scope="module")
def clients(site, make_clients, wait_on):
    site.simulate("eiger")
    receiver = site.receiver("eiger")
    detector = site.eiger("eiger", receiver)
    controller = site.controller("main", detector)
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


def prepare(daq, clients, triggers=2, frames=3, mode="SOFTWARE", exposure=0.005) -> str:
    path = str(clients.file(f"scan_{next(NAMES):06d}_eiger.h5"))
    daq.ExposureTime = exposure
    daq.LatencyTime = 0.0
    daq.nTriggers = triggers
    daq.nFramesPerTrigger = frames
    daq.TriggerMode = mode
    daq.DestinationFilename = path
    return path


def frames_of(path: str) -> np.ndarray:
    with h5py.File(path) as file:
        return file["/entry/instrument/eiger/data"][...]


def test_arm_once_trigger_each_point_and_read_the_file(daq, clients, wait):
    path = prepare(daq, clients, triggers=3, frames=4)
    daq.Arm()
    assert daq.State() == DevState.RUNNING  # armed, the file is open
    assert daq.nFramesAcquired == 0
    for point in range(3):
        wait(lambda: daq.ReadyForSwTrigger, 5, "ready for trigger")
        daq.SoftwareTrigger()
        wait(lambda point=point: daq.nFramesAcquired == 4 * (point + 1), 5, f"frames of point {point}")
    wait(lambda: daq.State() == DevState.ON, 10, "end of the acquisition")
    assert daq.nFramesAcquired == 12  # kept until the next Arm
    assert daq.nFramesReceived == 12
    assert daq.Verdict == "COMPLETE"
    frames = frames_of(path)
    assert frames.shape == (12, 64, 48)
    assert len({frame.tobytes() for frame in frames}) == 12


def test_the_counters_are_nothing_once_arm_has_returned(daq, clients, wait):
    prepare(daq, clients, frames=5, triggers=1)
    daq.DestinationFilename = ""
    for _ in range(8):
        daq.Arm()
        for _ in range(20):
            assert (daq.nFramesAcquired, daq.nFramesReceived) == (0, 0)
        assert daq.AcquisitionState == "ARMED"
        daq.SoftwareTrigger()
        wait(lambda: daq.State() != DevState.RUNNING, 10, "end of the acquisition")
        assert daq.nFramesAcquired == 5


def test_triggering_by_the_frame_counter_alone_as_contrast_does(daq, clients, wait):
    path = prepare(daq, clients, triggers=6, frames=1)
    daq.Arm()
    for point in range(6):
        daq.Trigger()
        wait(lambda point=point: daq.nFramesAcquired > point, 5, f"frame {point}")
    wait(lambda: daq.State() == DevState.ON, 10, "end")
    assert frames_of(path).shape[0] == 6


def test_internal_triggering_runs_by_itself_and_state_is_running_until_the_file_is_closed(daq, clients, wait):
    path = prepare(daq, clients, triggers=1, frames=20, mode="INTERNAL")
    daq.Arm()
    seen = []

    def ended() -> bool:
        seen.append(daq.nFramesAcquired)
        return daq.State() != DevState.RUNNING

    wait(ended, 10, "end")
    assert frames_of(path).shape[0] == 20
    assert seen == sorted(seen)


def test_external_triggering_counts_edges(daq, clients, wait):
    path = prepare(daq, clients, triggers=5, frames=2, mode="EXTERNAL_MULTI")
    daq.Arm()
    assert "waiting for an external trigger" in daq.Status()
    clients.site.simulators["eiger"].post("edge?count=5&period_s=0.03")
    wait(lambda: daq.State() == DevState.ON, 10, "end")
    assert frames_of(path).shape[0] == 10


def test_gates_make_one_frame_each(daq, clients, wait):
    path = prepare(daq, clients, triggers=4, frames=1, mode="EXTERNAL_MULTI_GATE")
    daq.Arm()
    clients.site.simulators["eiger"].post("gate", b'{"width_s": 0.01, "count": 4, "period_s": 0.03}')
    wait(lambda: daq.State() == DevState.ON, 10, "end")
    assert frames_of(path).shape[0] == 4


def test_an_empty_file_name_is_live_only_with_the_same_states(daq, clients, wait):
    prepare(daq, clients, triggers=1, frames=3)
    daq.DestinationFilename = ""
    before = sorted(clients.site.data.iterdir())
    daq.Arm()
    assert daq.State() == DevState.RUNNING
    daq.SoftwareTrigger()
    wait(lambda: daq.State() == DevState.ON, 10, "end")
    assert daq.nFramesReceived == 3
    assert sorted(clients.site.data.iterdir()) == before


def test_second_arm_is_refused_in_words_and_harms_nothing(daq, clients, wait):
    path = prepare(daq, clients, triggers=1, frames=3)
    daq.Arm()
    with pytest.raises(tango.DevFailed) as caught:
        daq.Arm()
    told = caught.value.args[0]
    assert told.reason == "MAXDAQ_StateError"
    assert "under way" in told.desc
    assert "Stop or Abort" in told.desc
    daq.SoftwareTrigger()
    wait(lambda: daq.State() == DevState.ON, 10, "end")
    assert frames_of(path).shape[0] == 3


def test_stop_before_the_first_frame_leaves_a_device_that_arms_again(daq, clients, wait):
    prepare(daq, clients)
    daq.Arm()
    daq.Stop()
    wait(lambda: daq.State() == DevState.ON, 10, "end")
    assert daq.Verdict == "ABORTED"
    test_arm_once_trigger_each_point_and_read_the_file(daq, clients, wait)


def test_stop_in_the_middle_keeps_what_was_received(daq, clients, wait):
    path = prepare(daq, clients, triggers=1, frames=1000, mode="INTERNAL")
    daq.Arm()
    wait(lambda: daq.nFramesReceived >= 5, 5, "some frames")
    daq.Stop()
    wait(lambda: daq.State() == DevState.ON, 10, "end")
    assert daq.Verdict == "ABORTED"
    received = daq.nFramesReceived
    assert 5 <= received < 1000
    frames = frames_of(path)
    assert len({frame.tobytes() for frame in frames[:received]}) == received


def test_abort_in_the_middle_is_quick_and_readable(daq, clients, wait):
    path = prepare(daq, clients, triggers=1, frames=1000, mode="INTERNAL")
    daq.Arm()
    wait(lambda: daq.nFramesReceived >= 5, 5, "some frames")
    began = time.monotonic()
    daq.Abort()
    assert time.monotonic() - began < 0.5
    wait(lambda: daq.State() == DevState.ON, 10, "end")
    assert daq.Verdict == "ABORTED"
    assert len(frames_of(path)) >= 5


def test_a_trigger_before_arm_and_one_too_many_are_refused_in_words(daq, clients, wait):
    prepare(daq, clients, triggers=1, frames=100, exposure=0.01)
    with pytest.raises(tango.DevFailed, match="Arm first"):
        daq.SoftwareTrigger()
    daq.Arm()
    daq.SoftwareTrigger()
    with pytest.raises(tango.DevFailed, match="all 1 triggers have been given"):
        daq.SoftwareTrigger()
    wait(lambda: daq.State() == DevState.ON, 10, "end")


def test_a_trigger_while_the_last_one_still_runs_is_refused_in_words(daq, clients, wait):
    prepare(daq, clients, triggers=2, frames=50, exposure=0.01)
    daq.Arm()
    daq.SoftwareTrigger()
    with pytest.raises(tango.DevFailed, match="trigger 1 of 2 is still being worked on"):
        daq.SoftwareTrigger()
    daq.Stop()
    wait(lambda: daq.State() == DevState.ON, 10, "end")


def test_live_runs_without_a_file_until_stop(daq, clients, wait):
    prepare(daq, clients)
    before = sorted(clients.site.data.iterdir())
    daq.Live()
    wait(lambda: daq.nFramesReceived >= 1, 5, "a frame")
    daq.Stop()
    wait(lambda: daq.State() == DevState.ON, 10, "end")
    assert sorted(clients.site.data.iterdir()) == before
    assert daq.DestinationFilename != ""  # the operator's set-points are left alone


def test_change_events_tell_state_and_counter(daq, clients, wait):
    prepare(daq, clients, triggers=1, frames=40, mode="INTERNAL", exposure=0.01)
    states, counts, statuses = [], [], []

    def keep(into):
        return lambda event: None if event.err else into.append(event.attr_value.value)

    ids = [
        daq.subscribe_event(name, tango.EventType.CHANGE_EVENT, keep(into))
        for name, into in (("State", states), ("nFramesAcquired", counts), ("Status", statuses))
    ]
    try:
        daq.Arm()
        wait(lambda: DevState.RUNNING in states and states[-1] == DevState.ON, 10, "events of State")
        wait(lambda: counts and counts[-1] == 40, 5, "events of nFramesAcquired")
        assert len(set(counts)) > 3  # it was told on the way, not only at the end
        wait(lambda: "COMPLETE" in statuses[-1], 5, "event of Status")
    finally:
        for number in ids:
            daq.unsubscribe_event(number)


def test_rotation_and_flips_of_the_detector_device_apply_on_both(daq, clients, wait):
    path = prepare(daq, clients, triggers=1, frames=2, mode="INTERNAL")
    clients.detector.Rotation = 1
    try:
        daq.Arm()
        wait(lambda: daq.State() == DevState.ON, 10, "end")
    finally:
        clients.detector.Rotation = 0
    assert frames_of(path).shape == (2, 48, 64)


def test_the_detector_shows_the_frames_of_a_run_that_the_controller_drives(clients, wait):
    prepare(clients.controller, clients, triggers=1, frames=30, mode="INTERNAL", exposure=0.01)
    clients.controller.Arm()
    assert clients.detector.State() == DevState.RUNNING
    with pytest.raises(tango.DevFailed, match=f"{clients.names['controller']} is using the detector"):
        clients.detector.Arm()
    wait(lambda: clients.controller.State() == DevState.ON, 10, "end")
    wait(lambda: clients.detector.nFramesReceived == 30, 5, "count on the detector device")
    assert clients.detector.State() == DevState.ON


def test_a_frozen_pattern_of_the_controller_names_the_files(clients, wait):
    controller = clients.controller
    prepare(controller, clients, triggers=1, frames=2, mode="INTERNAL")
    controller.DestinationDirectory = str(clients.site.data)
    controller.ScanNumber = 777
    controller.Metadata = '{"sample": "A1"}'
    expected = str(clients.file("000777_eiger.h5"))
    assert controller.DestinationFilenames == (expected,)
    controller.Arm()
    wait(lambda: controller.State() == DevState.ON, 10, "end")
    assert controller.Progress == 100.0
    assert '"sample":"A1"' in controller.LastReport
    assert frames_of(expected).shape[0] == 2
    with pytest.raises(tango.DevFailed, match="exists"):
        controller.Arm()
    with pytest.raises(tango.DevFailed, match="a JSON object"):
        controller.Metadata = "[1]"
    controller.Metadata = "{}"
    controller.Reset()


def test_a_stream_that_breaks_off_is_no_abort_and_raises_an_alarm(daq, clients, wait):
    # With the default properties: no time-out of the receiver, it is the detector's being idle that ends the run.
    prepare(daq, clients, triggers=1, frames=5, mode="INTERNAL")
    clients.site.simulators["eiger"].faults(stop_after=3)
    daq.Arm()
    wait(lambda: daq.State() != DevState.RUNNING, 15, "end of the acquisition")
    assert (daq.State(), daq.Verdict, daq.nFramesReceived) == (DevState.ALARM, "INCOMPLETE", 3)
    assert "the detector has finished" in daq.Status()


def test_a_stream_that_another_client_switched_off_is_on_again_after_arm(daq, clients, wait):
    detector = clients.site.simulators["eiger"]
    for key, value in (("mode", "disabled"), ("header_detail", "none")):
        request = urllib.request.Request(
            f"http://127.0.0.1:{detector.port}/stream/api/1.8.0/config/{key}",
            data=json.dumps({"value": value}).encode(),
            headers={"Content-Type": "application/json"},
            method="PUT",
        )
        urllib.request.urlopen(request, timeout=5).close()
    prepare(daq, clients, triggers=1, frames=3, mode="INTERNAL")
    daq.Arm()
    wait(lambda: daq.State() != DevState.RUNNING, 15, "end of the acquisition")
    assert daq.Verdict == "COMPLETE"


def test_the_threshold_that_follows_the_energy_reads_so_at_once(clients):
    for energy in (12000.0, 9000.0):
        clients.detector.Energy = energy
        assert (clients.detector.Energy, clients.detector.Threshold) == (energy, energy / 2)
