"""What a scan of Sardana does with a DAQ device, against one that is played."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from maxdaq_tango.errors import ConfigurationError, DetectorOffline, FileError, StateError
from maxdaq_tango.integrations.sardana import acquisition as module
from maxdaq_tango.integrations.sardana.acquisition import Acquisition
from maxdaq_tango.integrations.sardana.link import Look
from maxdaq_tango.integrations.sardana.naming import Files
from maxdaq_tango.integrations.sardana.plan import Plan, for_images
from played_daq import EIGER, PATH, Clock, Device

PLAN = Plan(
    mode="SOFTWARE",
    burst=True,
    exposure_s=0.1,
    latency_s=0.02,
    repetitions=1,
    starts=3,
    detectors=(EIGER,),
    references=True,
    files=Files("/data", "scan-{scan:04d}_{detector}.h5", 5),
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def device(monkeypatch) -> Device:
    monkeypatch.setattr(module, "PAUSE_S", 0.0)
    return Device()


@pytest.fixture
def scan(device, clock) -> Acquisition:
    frames = np.arange(5 * 4).reshape(5, 2, 2)
    device.files, device.removed = set(), []
    return Acquisition(
        device,
        open_image=lambda path, dataset: frames[: device.receipt["shape"][0]],
        exists=lambda path: path in device.files,
        remove=lambda path: device.removed.append(path),
        clock=clock,
    )


def of(scan: Acquisition, numbers) -> list[str]:
    return [f"h5file://{PATH}::entry/data/data[{number}]" for number in numbers]


# ---- step scans ----


def test_a_step_scan_arms_once_and_triggers_each_point(scan, device):
    scan.prepare(PLAN)
    assert device.did == ["configure", "arm"]
    (settings,) = device.settings
    assert (settings.mode, settings.triggers, settings.frames_per_trigger) == ("SOFTWARE", 3, 1)
    for point in range(3):
        scan.start()
        assert scan.progress().state == "moving"
        device.frames(point + 1)
        if point == 2:
            device.end(rows=3)
        assert scan.progress().state == "idle"
        assert scan.reference(EIGER) == of(scan, [point])[0]
    assert device.did == ["configure", "arm", "trigger", "trigger", "trigger"]
    assert scan.trouble == ""


def test_a_point_lasts_until_its_frame_is_safe(scan, device):
    scan.prepare(PLAN)
    scan.start()
    device.frames(1, safe=0)
    assert scan.progress().state == "moving"
    with pytest.raises(StateError, match="name frame 0"):
        scan.reference(EIGER)
    device.frames(1, safe=1)
    assert scan.progress().state == "idle"
    assert scan.reference(EIGER)


def test_the_last_point_lasts_until_the_file_is_closed(scan, device):
    scan.prepare(replace(PLAN, starts=1))
    scan.start()
    device.frames(1)
    device.state = "FINALISING"
    assert scan.progress().state == "moving"
    device.end(rows=1)
    assert scan.progress().state == "idle"


def test_a_trigger_waits_for_the_detector_to_be_ready(scan, device, monkeypatch):
    scan.prepare(PLAN)
    device.ready = False
    looks = iter([False, False, True])
    monkeypatch.setattr(device, "look", lambda **_: Look("ARMED", next(looks)))
    scan.start()
    assert device.did[-1] == "trigger"


def test_a_point_without_frames_fails_when_patience_is_over_and_the_series_is_stopped(scan, device, clock):
    scan.prepare(PLAN)
    scan.start()
    assert scan.progress().state == "moving"
    clock.now = 10.1
    assert scan.progress().state == "moving"  # the exposure counts as well
    clock.now = 10.13
    told = scan.progress()
    assert told.state == "fault"
    assert "take start 1 of 3 (of a/daq/main): of 1 frames were received: a/b/eiger 0; no more in 10 s" in told.text
    assert device.did[-1] == "stop"
    assert scan.progress() == told  # it stays
    assert scan.trouble == told.text


def test_a_series_that_ends_too_early_is_a_fault_with_its_reasons(scan, device):
    scan.prepare(PLAN)
    scan.start()
    device.end("FAILED", rows=0)
    assert "take the frames of the whole scan (of a/daq/main): FAILED: so it is" in scan.progress().text
    with pytest.raises(StateError, match="so it is"):
        scan.reference(EIGER)


def test_what_the_trigger_says_is_told_by_progress_as_sardana_hides_it(scan, device):
    scan.prepare(PLAN)
    device.refuses["trigger"] = StateError("trigger", answer="no")
    scan.start()
    assert scan.progress() == module.Progress("fault", "trigger: no")


def test_a_device_that_cannot_be_reached_is_a_fault_with_its_sentence(scan, device):
    scan.prepare(PLAN)
    scan.start()
    device.refuses["look"] = DetectorOffline("read", of="a/daq/main", answer="not there")
    assert scan.progress() == module.Progress("fault", "read (of a/daq/main): not there")


# ---- left-overs, stops ----


def test_prepare_ends_what_was_left_armed_and_waits_for_it(scan, device):
    scan.prepare(PLAN)
    scan.prepare(PLAN)
    assert device.did == ["configure", "arm", "stop", "configure", "arm"]


def test_an_acquisition_of_somebody_else_is_not_touched(scan, device):
    scan.prepare(replace(PLAN, starts=1))
    scan.start()
    device.end(rows=1)
    scan.progress()
    device.state, device.did = "ACQUIRING", []
    with pytest.raises(StateError, match="runs an acquisition that Sardana has not begun: as Status says"):
        scan.prepare(PLAN)
    assert device.did == []


def test_a_left_over_that_does_not_end_is_an_error_and_nothing_is_written(scan, device):
    scan.prepare(PLAN)
    device.stops_at_once, device.did = False, []
    with pytest.raises(StateError, match=r"what ran before has not ended within 2.5 s of Stop: as Status says"):
        scan.prepare(PLAN)
    assert device.did == ["stop"]


@pytest.mark.parametrize("how", ["stop", "abort"])
def test_a_stop_is_moving_until_the_file_is_closed_and_names_only_frames_in_it(scan, device, how):
    scan.prepare(replace(PLAN, mode="EXTERNAL_MULTI", burst=False, repetitions=10, starts=1))
    scan.start()
    device.frames(4, safe=2)
    scan.progress()
    assert scan.new_references(EIGER) == of(scan, [0, 1])
    device.stops_at_once = False
    getattr(scan, how)()
    if how == "stop":
        assert scan.progress().state == "moving"
        device.end("ABORTED", rows=4)
    assert scan.progress().state == "idle"
    assert scan.new_references(EIGER) == of(scan, [2, 3])
    assert scan.trouble == ""


def test_a_stop_of_a_device_that_cannot_be_reached_does_not_hang(scan, device):
    scan.prepare(PLAN)
    scan.start()
    device.refuses |= {name: DetectorOffline(name) for name in ("stop", "look")}
    scan.stop()
    assert scan.progress().state == "idle"


def test_the_end_of_a_scan_stops_only_what_still_waits(scan, device):
    scan.end_scan()
    assert device.did == []
    scan.prepare(PLAN)
    scan.end_scan()
    assert device.did[-1] == "stop"
    scan.end_scan()
    assert device.did.count("stop") == 1


def test_a_scan_that_never_comes_to_the_detector_does_not_tell_the_trouble_of_the_one_before(scan, device):
    scan.prepare(PLAN)
    device.refuses["trigger"] = StateError("trigger", answer="no")
    scan.start()
    assert scan.trouble == "trigger: no"
    scan.begin_scan()
    assert (scan.trouble, scan.progress()) == ("", module.IDLE)
    scan.end_scan()
    assert scan.trouble == ""


def test_a_start_without_prepare_is_refused(scan):
    with pytest.raises(StateError, match="prepare first"):
        scan.start()


# ---- triggers from outside ----


def test_a_hardware_scan_arms_at_its_first_start_for_all_of_them(scan, device):
    scan.prepare(replace(PLAN, mode="EXTERNAL_MULTI", burst=False, repetitions=4, starts=2))
    assert device.did == ["configure"]
    (settings,) = device.settings
    assert (settings.triggers, settings.frames_per_trigger, settings.latency_s) == (8, 1, 0.0)
    scan.start()
    device.frames(4)
    assert scan.progress().state == "idle"
    assert scan.new_references(EIGER) == of(scan, range(4))
    scan.start()
    device.frames(7)
    assert scan.progress().state == "moving"
    assert scan.new_references(EIGER) == of(scan, [4, 5, 6])
    device.end(rows=8)
    assert scan.progress().state == "idle"
    assert scan.new_references(EIGER) == of(scan, [7])
    assert device.did == ["configure", "arm"]


def test_a_hardware_scan_can_arm_early_and_then_starts_when_it_is_armed(scan, device):
    scan.prepare(replace(PLAN, mode="EXTERNAL_MULTI", burst=False, repetitions=4, starts=1, arm_early=True))
    assert device.did == ["configure", "arm"]
    scan.start()
    assert device.did == ["configure", "arm"]
    assert scan.progress().state == "moving"


def test_a_detector_that_arms_too_slowly_for_sardana_is_a_fault_that_says_what_to_do(scan, device, monkeypatch):
    scan.prepare(replace(PLAN, mode="EXTERNAL_MULTI", burst=False, repetitions=4, starts=1))
    monkeypatch.setattr(device, "wait_until_armed", lambda wait_s: False)
    scan.start()
    told = scan.progress()
    assert told.state == "fault"
    assert "arm (of a/daq/main): not done in 2.5 s" in told.text
    assert told.text.endswith("Accepted: property ArmEarly")


def test_one_trigger_for_all_frames_of_a_start_is_a_burst_with_its_latency(scan, device):
    scan.prepare(replace(PLAN, mode="EXTERNAL_MULTI", burst=True, repetitions=4, starts=2))
    (settings,) = device.settings
    assert (settings.triggers, settings.frames_per_trigger, settings.latency_s) == (2, 4, 0.02)


def test_frames_that_never_came_are_empty_references_in_their_place(scan, device):
    scan.prepare(replace(PLAN, mode="EXTERNAL_MULTI", burst=False, repetitions=5, starts=1))
    scan.start()
    device.end(
        "INCOMPLETE", 5, frames_missing_ranges=[[1, 1]], frames_lost_at={"pool": [[2, 2]]}, frames_corrupt_numbers=[4]
    )
    assert "take 5 frames (of a/daq/main): INCOMPLETE: so it is" in scan.progress().text
    first, *others = scan.new_references(EIGER)
    assert (first, others) == (of(scan, [0])[0], ["", "", *of(scan, [3]), ""])


@pytest.mark.parametrize("how", ["left", "stopped"])
def test_a_scan_that_could_not_be_armed_names_no_frames_of_the_scan_before(scan, device, how):
    plan = replace(PLAN, mode="EXTERNAL_MULTI", burst=False, repetitions=3, starts=1)
    scan.prepare(plan)
    scan.start()
    device.frames(3)
    scan.progress()
    device.end(rows=3)
    assert scan.progress().state == "idle"
    scan.prepare(plan)
    device.refuses["arm"] = StateError("arm", answer="no")
    scan.start()
    assert scan.progress() == module.Progress("fault", "arm: no")
    if how == "stopped":
        device.refuses["abort"] = StateError("abort", answer="no")
        scan.abort()
        assert scan.progress().state == "idle"
    assert scan.new_references(EIGER) == []
    with pytest.raises(StateError, match="arm: no"):
        scan.reference(EIGER)


def test_hardware_triggers_may_let_one_wait_before_the_first_frame_and_not_after_it(scan, device, clock):
    scan.prepare(replace(PLAN, mode="EXTERNAL_MULTI", burst=False, repetitions=3, starts=1))
    scan.start()
    clock.now = 1000.0
    assert scan.progress().state == "moving"
    device.frames(1)
    assert scan.progress().state == "moving"
    clock.now += 11.0
    assert "a trigger for each frame" in scan.progress().text


# ---- names ----


def test_a_second_series_of_the_same_scan_has_a_name_of_its_own(scan, device):
    device.files = {PATH}
    scan.prepare(PLAN)
    assert device.settings[0].files.path(EIGER) == "/data/scan-0005_eiger_2.h5"


# ---- images ----


def images(starts: int = 2) -> Plan:
    return for_images(replace(PLAN, references=False, starts=starts), "/data", "ctrl", 9)


def test_images_are_read_from_a_closed_file_for_each_point_which_is_then_deleted(scan, device):
    scan.prepare(images())
    for point in range(2):
        scan.start()
        device.frames(1)
        assert scan.progress().state == "moving"
        device.end(rows=1)
        assert scan.progress().state == "idle"
        np.testing.assert_array_equal(scan.image(EIGER), [[0, 1], [2, 3]])
        assert len(device.removed) == 2 * (point + 1)  # with its manifest
    assert device.did == ["configure", "arm", "trigger"] * 2
    assert device.settings[0].triggers == 1
    assert device.settings[0].files.path(EIGER) == "/data/image-ctrl-000009_eiger.h5"


def test_an_image_of_the_point_before_is_never_shown(scan, device):
    scan.prepare(images())
    scan.start()
    device.end(rows=1)
    scan.progress()
    assert scan.image(EIGER) is not None
    scan.start()
    with pytest.raises(StateError, match="not closed yet"):
        scan.image(EIGER)


def test_images_of_a_series_that_is_not_complete_are_none(scan, device):
    scan.prepare(images())
    scan.start()
    device.end("INCOMPLETE", rows=1)
    assert scan.progress().state == "fault"
    with pytest.raises(StateError, match="so it is"):
        scan.image(EIGER)
    assert device.removed == []


@pytest.mark.parametrize(
    ("opened", "error", "told"),
    [
        (FileNotFoundError("there is no such file here"), FileError, "a file system that receiver and Pool share"),
        (np.zeros((1, 2, 4, 4)), ConfigurationError, "each frame has several images"),
    ],
)
def test_an_image_that_cannot_be_read_is_a_fault_that_says_what_to_do(device, clock, opened, error, told):
    def open_image(path, dataset):
        if isinstance(opened, Exception):
            raise opened
        return opened

    scan = Acquisition(device, open_image=open_image, exists=lambda _: False, remove=lambda _: None, clock=clock)
    scan.prepare(images())
    scan.start()
    device.end(rows=1)
    progress = scan.progress()
    assert progress.state == "fault"
    assert told in progress.text


def test_images_without_a_folder_are_refused(scan):
    with pytest.raises(ConfigurationError, match="property ImageFolder is ''"):
        for_images(PLAN, "", "ctrl", 1)
