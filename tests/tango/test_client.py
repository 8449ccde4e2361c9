"""`maxdaq_tango.client` against real devices: runs that go well, and every way in which they do not."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the filter
import pytest

from maxdaq_tango.client import DAQ, BadRun
from maxdaq_tango.client import acquisition as module
from maxdaq_tango.errors import ConfigurationError, DetectorOffline, DetectorTimeout, MaxdaqError
from maxdaq_tango.model import Verdict

SCANS = iter(range(1, 10_000))
SHORT: dict[str, Any] = {"mode": "INTERNAL", "exposure_s": 0.005, "triggers": 1, "frames_per_trigger": 10}


@pytest.fixture(scope="module")
def clients(site, make_clients, wait_on) -> Any:
    devices = {}
    for member in ("left", "right"):
        site.simulate(member)
        devices[f"{member}_receiver"] = site.receiver(member, Grace=0.5)
        devices[member] = site.eiger(member, devices[f"{member}_receiver"])
    devices["daq"] = site.controller("main", devices["left"], devices["right"])
    devices["fresh"] = site.controller("fresh", devices["left"])
    made = make_clients(site, **devices)
    wait_on(made.left, made.right, made.daq, made.fresh)
    return made


@pytest.fixture
def daq(clients, wait_on) -> Iterator[DAQ]:
    daq = DAQ(clients.names["daq"])
    daq.set(directory=str(clients.site.data), scan_number=next(SCANS), detectors=["left", "right"], **SHORT)
    yield daq
    for simulator in clients.site.simulators.values():
        simulator.faults()
    daq.abort()
    wait_on(clients.daq, clients.left, clients.right, clients.left_receiver, clients.right_receiver)


def rows(path: str) -> int:
    with h5py.File(path) as file:
        (member,) = set(file["/entry/instrument"]) - {"name"}
        return int(file[f"/entry/instrument/{member}/data"].shape[0])


def test_an_acquisition_is_one_call_and_its_report_has_every_file(daq: DAQ, clients) -> None:
    report = daq.acquire(metadata={"sample": "A1"})
    assert (report.verdict, report.armed, report.reasons) == (Verdict.COMPLETE, True, ())
    assert set(report.files) == {clients.names["left"], clients.names["right"]}
    assert [rows(path) for path in report.files.values()] == [10, 10]
    assert {one.frames_written for one in report.receipts.values()} == {10}
    assert (daq.is_running, daq.frames_received, daq.frames_wanted) == (False, 10, 10)
    with h5py.File(next(iter(report.files.values()))) as file:
        assert file["/entry/instrument/left/request_metadata/sample"].asstr()[()] == "A1"


def test_a_detector_by_itself_is_driven_in_the_same_way(clients) -> None:
    path = clients.site.data / "alone.h5"
    with DAQ(clients.names["left"]) as left:
        report = left.acquire(filename=str(path), overwrite=False, **SHORT)
    assert report.files == {clients.names["left"]: str(path)}
    assert rows(str(path)) == 10


def test_software_triggers_are_given_when_the_detectors_are_ready(daq: DAQ) -> None:
    report = daq.acquire(mode="SOFTWARE", triggers=4, frames_per_trigger=3)
    assert [one.frames_written for one in report.receipts.values()] == [12, 12]


def test_one_detector_may_do_otherwise_and_the_history_has_every_run(daq: DAQ, clients) -> None:
    before = len(json.loads(daq.proxy.History))
    report = daq.acquire(overrides={"right": {"ExposureTime": 0.01, "nFramesPerTrigger": 4}})
    assert [report.receipts[clients.names[side]].frames_written for side in ("left", "right")] == [10, 4]
    daq.acquire(overrides={}, scan_number=next(SCANS))
    history = json.loads(daq.proxy.History)
    assert len(history) == min(20, before + 2)
    assert history[-2]["run_id"] == report.run_id
    assert [one["frames_written"] for one in history[-1]["receipts"].values()] == [10, 10]
    clients.daq.Reset()
    assert json.loads(daq.proxy.History) == history


def test_step_by_step(daq: DAQ) -> None:
    daq.set(mode="SOFTWARE", triggers=2, frames_per_trigger=5)
    daq.arm()
    assert daq.state == "ARMED"
    for _ in range(2):
        daq.trigger()
    assert daq.wait(30).is_complete


def test_a_run_that_is_not_complete_is_an_error_that_says_why_and_has_the_report(daq: DAQ, clients) -> None:
    clients.site.simulators["left"].faults(drop_frames=[3, 4])
    with pytest.raises(BadRun, match=r"INCOMPLETE: .*2 of 10 frames never came") as caught:
        daq.acquire()
    receipts = caught.value.report.receipts
    assert receipts[clients.names["left"]].frames_missing == (3, 4)
    assert receipts[clients.names["right"]].verdict is Verdict.COMPLETE
    assert not daq.is_running


def test_waiting_for_one_is_no_error(daq: DAQ, clients) -> None:
    clients.site.simulators["left"].faults(drop_frames=[3])
    daq.arm()
    assert daq.wait().verdict is Verdict.INCOMPLETE


def test_a_detector_that_cannot_be_armed_is_named_and_nothing_runs(daq: DAQ, clients) -> None:
    clients.site.simulators["right"].faults(refuse_arm="not today")
    with pytest.raises(MaxdaqError, match=clients.names["right"]):
        daq.acquire()
    assert not daq.is_running


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"mode": "NONSENSE"}, "INTERNAL"),
        ({"exposure_s": -1.0}, "ExposureTime|exposure_s"),
        ({"exposure_s": "long"}, "exposure_s to 'long'"),
        ({"directory": "not/absolute"}, "begins with /"),
        ({"detectors": ["nobody"]}, "nobody"),
        ({"pattern": "../{scan}.h5"}, "DestinationDirectory"),
        ({"overrides": {"left": {"Exposure": 1}}}, "Exposure"),
    ],
)
def test_a_setting_that_is_refused_says_what_would_be_accepted(daq: DAQ, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(MaxdaqError, match=said):
        daq.set(**wrong)


def test_a_setting_of_a_controller_is_refused_for_a_detector(clients) -> None:
    with pytest.raises(ConfigurationError, match="Accepted: a DAQController"):
        DAQ(clients.names["left"]).set(scan_number=3)
    with pytest.raises(TypeError, match="exposure"):
        DAQ(clients.names["left"]).set(exposure=1.0)  # type: ignore[call-arg]


def test_a_device_that_is_not_there_is_told_at_once(database) -> None:
    began = time.monotonic()
    with pytest.raises(DetectorOffline, match="no/such/device"):
        DAQ("no/such/device")
    assert time.monotonic() - began < 20


def test_without_a_run_there_is_no_report(clients) -> None:
    with pytest.raises(MaxdaqError, match="after an acquisition"):
        DAQ(clients.names["fresh"]).wait()


def test_a_block_that_is_left_stops_what_runs(daq: DAQ) -> None:
    with daq:
        daq.set(frames_per_trigger=100_000)
        daq.arm()
        wait_for_frames(daq)
    assert not daq.is_running
    report = daq.wait()
    assert report.verdict is Verdict.ABORTED
    assert all(Path(path).exists() for path in report.files.values())


def test_an_exception_aborts_what_runs_and_is_not_hidden(daq: DAQ) -> None:
    def fail() -> None:
        with daq:
            daq.set(frames_per_trigger=100_000)
            daq.arm()
            wait_for_frames(daq)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not daq.is_running
    assert daq.wait().verdict is Verdict.ABORTED


def test_ctrl_c_in_an_acquisition_aborts_it(daq: DAQ, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = DAQ._watch

    def interrupted(self: DAQ, *arguments: Any) -> None:
        monkeypatch.setattr(DAQ, "_watch", plain)
        wait_for_frames(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(DAQ, "_watch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        daq.acquire(frames_per_trigger=100_000)
    assert not daq.is_running


def test_a_time_out_says_how_far_it_was_and_leaves_the_run_alone(daq: DAQ) -> None:
    daq.set(frames_per_trigger=100_000)
    daq.arm()
    with pytest.raises(DetectorTimeout, match=r"of 100000 frames are here, 0.5 s are over") as caught:
        daq.wait(0.5)
    assert "ACQUIRING" in str(caught.value)
    assert daq.is_running
    daq.stop()
    assert not daq.is_running


def test_a_run_in_which_nothing_happens_is_not_waited_for_for_ever(
    daq: DAQ, clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STALL_S", 0.5)
    daq.set(exposure_s=30.0, frames_per_trigger=2)
    monkeypatch.setattr(DAQ, "_frame_s", lambda self: 0.0)
    daq.arm()
    with pytest.raises(DetectorTimeout, match="nothing has changed for"):
        daq.wait()


def test_a_trigger_from_outside_is_waited_for(daq: DAQ, clients, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALL_S", 0.1)
    daq.set(mode="EXTERNAL_MULTI", triggers=1, frames_per_trigger=2)
    daq.arm()

    def fire() -> None:
        threading.Event().wait(1.0)
        for simulator in clients.site.simulators.values():
            simulator.post("edge?count=1")

    thread = threading.Thread(target=fire)
    thread.start()
    try:
        assert daq.wait(20).is_complete
    finally:
        thread.join()


def test_stop_and_abort_are_harmless_when_nothing_runs(daq: DAQ) -> None:
    daq.stop()
    daq.abort()


def test_people_see_a_bar_and_programs_do_not(daq: DAQ, clients, capfd: pytest.CaptureFixture[str]) -> None:
    daq.acquire()
    assert capfd.readouterr().err == ""
    DAQ(clients.names["daq"], progress=True).acquire(scan_number=next(SCANS))
    assert "10/10" in capfd.readouterr().err


def wait_for_frames(daq: DAQ) -> None:
    deadline, pause = time.monotonic() + 20, threading.Event()
    while daq.frames_received == 0:
        assert time.monotonic() < deadline
        pause.wait(0.02)
