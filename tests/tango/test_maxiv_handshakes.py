"""Habits of MAX IV's devices beside the plain scan: when Arm returns, RestartReceiver, changing exposures.

On a detector device and on a controller, with a plain DeviceProxy.
"""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the filter
import pytest
import tango
from tango import DevState

NAMES = iter(range(10_000))
NOT_BUSY = (DevState.ON, DevState.ALARM, DevState.FAULT)


@pytest.fixture(scope="module")
def clients(site, make_clients, wait_on) -> Any:
    site.simulate("eiger")
    receiver = site.receiver("eiger", Grace=0.5)
    detector = site.eiger("eiger", receiver)
    controller = site.controller("main", detector)
    made = make_clients(site, detector=detector, receiver=receiver, controller=controller)
    wait_on(made.detector, made.receiver, made.controller)
    return made


@pytest.fixture(params=["detector", "controller"])
def daq(request, clients) -> Any:
    return getattr(clients, request.param)


@pytest.fixture(autouse=True)
def _settled(clients, wait_on) -> Any:
    yield
    clients.site.simulators["eiger"].faults()
    clients.controller.Abort()
    clients.detector.Abort()
    wait_on(clients.detector, clients.receiver, clients.controller)
    for device in (clients.detector, clients.controller):
        device.ExposurePerTrigger = False


def prepare(daq, clients, triggers=1, frames=5, mode="INTERNAL", exposure=0.005) -> str:
    path = str(clients.file(f"scan_{next(NAMES):06d}_eiger.h5"))
    daq.ExposureTime, daq.LatencyTime = exposure, 0.0
    daq.nTriggers, daq.nFramesPerTrigger, daq.TriggerMode = triggers, frames, mode
    daq.DestinationFilename = path
    return path


def column(path: str, name: str) -> list[float]:
    with h5py.File(path) as file:
        return [float(value) for value in file[f"/entry/instrument/eiger/{name}"][...]]


def rows(path: str) -> int:
    with h5py.File(path) as file:
        return int(file["/entry/instrument/eiger/data"].shape[0])


def next_arm_works(daq, clients, wait) -> None:
    path = prepare(daq, clients)
    daq.Arm()
    wait(lambda: daq.State() in NOT_BUSY, 10, "end of the next acquisition")
    assert (daq.State(), daq.Verdict, rows(path)) == (DevState.ON, "COMPLETE", 5), daq.Status()


class Frozen:
    """The receiver's engine stands still: it opens no file, takes no frame, closes nothing."""

    def __init__(self, clients: Any) -> None:
        self._pid = clients.receiver.EnginePid
        self.is_over = True

    def __enter__(self) -> Frozen:
        os.kill(self._pid, signal.SIGSTOP)
        self.is_over = False
        return self

    def __exit__(self, *_: object) -> None:
        self.thaw()

    def thaw(self) -> None:
        if not self.is_over:
            os.kill(self._pid, signal.SIGCONT)
            self.is_over = True


# ---- Andor: Arm returns when the file is open, busy until it is closed ----


def test_nothing_is_exposed_before_a_slow_receiver_has_its_file_open(daq, clients, wait):
    path = prepare(daq, clients, frames=3, mode="SOFTWARE")
    with Frozen(clients) as frozen:
        daq.Arm()  # ends its wait after ArmWait, before the client's time-out
        assert (daq.State(), daq.AcquisitionState) == (DevState.RUNNING, "CONFIGURING")
        assert clients.detector.HardwareState != "ARMED"
        assert not os.path.exists(path)
        with pytest.raises(tango.DevFailed, match="not armed"):
            daq.SoftwareTrigger()
        frozen.thaw()
        wait(lambda: daq.AcquisitionState == "ARMED", 10, "armed")
    assert clients.receiver.AcquisitionState in ("ARMED", "ACQUIRING")  # ACQUIRING once it has the header
    daq.SoftwareTrigger()
    wait(lambda: daq.State() in NOT_BUSY, 10, "end")
    assert (daq.Verdict, rows(path)) == ("COMPLETE", 3)


def test_arm_returns_with_the_file_open_and_the_device_is_busy_until_it_is_closed(daq, clients, wait):
    path = prepare(daq, clients, frames=40, mode="SOFTWARE", exposure=0.01)
    daq.Arm()
    assert daq.AcquisitionState == "ARMED"
    assert clients.receiver.AcquisitionState in ("ARMED", "ACQUIRING")
    with Frozen(clients):
        daq.SoftwareTrigger()
        wait(lambda: clients.detector.HardwareState == "IDLE", 10, "the end of the exposures")
        wait(lambda: daq.AcquisitionState == "DRAINING", 10, "that only the receiver is at work")
        assert daq.State() == DevState.RUNNING
        with pytest.raises(tango.DevFailed, match="under way"):
            daq.Arm()
    wait(lambda: daq.State() in NOT_BUSY, 10, "the file closed")
    assert (daq.Verdict, rows(path), daq.nFramesReceived) == ("COMPLETE", 40, 40)


# ---- RestartReceiver ----


def test_restart_receiver_in_mid_run_ends_the_run_truthfully_and_the_next_arm_works(daq, clients, wait):
    path = prepare(daq, clients, frames=2000)
    daq.Arm()
    wait(lambda: daq.nFramesReceived > 20, 5, "frames")
    pid = clients.receiver.EnginePid
    clients.detector.RestartReceiver()
    wait(lambda: daq.State() in NOT_BUSY, 15, "the end of the run")
    assert (daq.State(), daq.Verdict) == (DevState.FAULT, "FAILED")
    assert "RestartEngine was asked" in daq.Status()
    assert "maxdaq recover" in daq.Status()
    assert clients.detector.HardwareState == "IDLE"  # nobody exposes for a file that is not there
    wait(
        lambda: clients.receiver.AcquisitionState == "IDLE" and clients.receiver.EnginePid not in (0, pid),
        15,
        "another",
    )
    next_arm_works(daq, clients, wait)
    assert not os.path.exists(path)  # never a half file under the name of a whole one


def test_restart_receiver_is_the_way_out_of_an_arm_that_hangs(daq, clients, wait):
    prepare(daq, clients)
    with Frozen(clients) as frozen:
        daq.Arm()
        assert daq.AcquisitionState == "CONFIGURING"
        clients.detector.RestartReceiver()
        frozen.is_over = True
    wait(lambda: daq.State() in NOT_BUSY, 15, "the Arm being undone")
    assert daq.Verdict == "FAILED"
    wait(lambda: clients.receiver.AcquisitionState == "IDLE" and clients.receiver.EnginePid, 15, "another engine")
    next_arm_works(daq, clients, wait)


def test_arm_works_right_after_restart_receiver(daq, clients, wait):
    clients.detector.RestartReceiver()
    next_arm_works(daq, clients, wait)


# ---- Live and Continuous ----


@pytest.mark.parametrize("command", ["Live", "Continuous"])
def test_without_a_file_until_stop(daq, clients, wait, command: str):
    path = prepare(daq, clients)
    before = sorted(clients.site.data.iterdir())
    daq.command_inout(command)
    wait(lambda: daq.AcquisitionState in ("ARMED", "ACQUIRING"), 5, "armed")
    if command == "Continuous":
        assert "waiting for an external trigger" in daq.Status()
        clients.site.simulators["eiger"].post("edge?count=3&period_s=0.03")
        wait(lambda: daq.nFramesReceived == 3, 5, "a frame an edge")
        assert daq.State() == DevState.RUNNING  # and it goes on
    wait(lambda: daq.nFramesReceived >= 1, 5, "a frame")
    daq.Stop()
    wait(lambda: daq.State() in NOT_BUSY, 10, "the end")
    assert (daq.State(), daq.Verdict) == (DevState.ON, "ABORTED")
    assert sorted(clients.site.data.iterdir()) == before
    assert (daq.DestinationFilename, daq.TriggerMode, daq.nTriggers) == (path, "INTERNAL", 1)


# ---- bursts, edges and gates ----


def test_software_bursts_are_counted_one_by_one(daq, clients, wait):
    path = prepare(daq, clients, triggers=3, frames=7, mode="SOFTWARE")
    daq.Arm()
    for burst in range(3):
        wait(lambda: daq.ReadyForSwTrigger, 5, "ready")
        daq.SoftwareTrigger()
        assert not daq.ReadyForSwTrigger
        wait(lambda burst=burst: daq.nFramesAcquired == 7 * (burst + 1), 5, f"burst {burst}")
    wait(lambda: daq.State() in NOT_BUSY, 10, "end")
    assert (daq.Verdict, rows(path)) == ("COMPLETE", 21)


def test_gates_that_are_too_few_are_no_complete_run(daq, clients, wait):
    path = prepare(daq, clients, triggers=4, frames=1, mode="EXTERNAL_MULTI_GATE")
    daq.Arm()
    gates = {"width_s": 0.02, "count": 3, "period_s": 0.05}
    clients.site.simulators["eiger"].post("gate", json.dumps(gates).encode())
    wait(lambda: daq.nFramesReceived == 3, 5, "a frame a gate")
    assert (daq.State(), daq.nFramesAcquired) == (DevState.RUNNING, 3)
    daq.Stop()
    wait(lambda: daq.State() in NOT_BUSY, 10, "end")
    assert daq.Verdict == "ABORTED"
    assert column(path, "real_time")[:3] == pytest.approx([0.02] * 3, abs=1e-6)


# ---- exposures that change between triggers ----


def test_each_trigger_takes_the_exposure_of_its_moment(daq, clients, wait):
    path = prepare(daq, clients, triggers=4, frames=1, mode="SOFTWARE", exposure=0.01)
    daq.ExposurePerTrigger = True
    daq.Arm()
    exposures = [0.01, 0.2, 0.03, 0.03]
    for number, seconds in enumerate(exposures):
        wait(lambda: daq.ReadyForSwTrigger, 5, "ready")
        daq.ExposureTime = seconds
        began = time.monotonic()
        daq.SoftwareTrigger()
        wait(lambda number=number: daq.nFramesAcquired > number, 5, f"frame {number}")
        assert time.monotonic() - began >= seconds
    wait(lambda: daq.State() in NOT_BUSY, 10, "end")
    assert daq.Verdict == "COMPLETE"
    assert column(path, "real_time") == pytest.approx(exposures, abs=1e-6)
    with h5py.File(path) as file:
        assert rows(path) == len({frame.tobytes() for frame in file["/entry/instrument/eiger/data"][...]})


def test_an_exposure_that_the_series_cannot_take_is_refused_and_nothing_changes(daq, clients, wait):
    path = prepare(daq, clients, triggers=2, frames=1, mode="SOFTWARE", exposure=0.01)
    daq.Arm()
    daq.ExposureTime = 0.01  # a scan writes the same one at each point
    with pytest.raises(tango.DevFailed, match=r"armed with 0.01 s.*ExposurePerTrigger before Arm"):
        daq.ExposureTime = 0.02
    assert daq.ExposureTime == 0.01
    for number in range(2):
        wait(lambda: daq.ReadyForSwTrigger, 5, "ready")
        daq.SoftwareTrigger()
        wait(lambda number=number: daq.nFramesAcquired > number, 5, f"frame {number}")
    wait(lambda: daq.State() in NOT_BUSY, 10, "end")
    daq.ExposureTime = 0.02  # and now it may
    assert column(path, "real_time") == pytest.approx([0.01, 0.01], abs=1e-6)


@pytest.mark.parametrize(("mode", "frames"), [("SOFTWARE", 2), ("INTERNAL", 1), ("EXTERNAL_MULTI", 1)])
def test_arm_refuses_changing_exposures_where_no_trigger_of_ours_makes_a_frame(daq, clients, wait, mode, frames):
    prepare(daq, clients, triggers=2, frames=frames, mode=mode)
    daq.ExposurePerTrigger = True
    with pytest.raises(tango.DevFailed, match="nFramesPerTrigger 1, or ExposurePerTrigger false"):
        daq.Arm()
    daq.ExposurePerTrigger = False
    next_arm_works(daq, clients, wait)


def test_stop_in_the_middle_of_a_long_exposure_is_quick(daq, clients, wait):
    prepare(daq, clients, triggers=2, frames=1, mode="SOFTWARE", exposure=0.01)
    daq.ExposurePerTrigger = True
    daq.Arm()
    daq.ExposureTime = 30.0
    daq.SoftwareTrigger()
    wait(lambda: clients.detector.HardwareState == "ACQUIRING", 5, "the exposure")
    daq.Abort()
    wait(lambda: daq.State() in NOT_BUSY, 10, "end")
    assert daq.Verdict == "ABORTED"
    daq.ExposurePerTrigger = False
    next_arm_works(daq, clients, wait)
