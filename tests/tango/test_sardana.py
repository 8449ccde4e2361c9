"""Scans of a real Sardana server over simulated detectors, through its Door; every frame is what was sent."""

from __future__ import annotations

import os
import shutil

import h5py
import numpy as np
import pytest
import tango

from maxdaq_tango.integrations.sardana import CONTROLLERS, MACROS, RECORDERS
from sardana_scans import DESCRIPTION, SEEDS, ScanFile, assert_links, assert_sent, sent
from sardana_site import SardanaServer, sardana_bin

pytestmark = [pytest.mark.counterpart, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def clients(site, make_clients, wait_on):
    sardana_bin()
    devices = {}
    for member, seed in SEEDS.items():
        site.simulate(member, "--seed", str(seed))
        devices[f"{member}_receiver"] = site.receiver(member, Grace=0.5, CheckpointInterval=0.1)
        devices[member] = site.eiger(member, devices[f"{member}_receiver"])
    devices["daq"] = site.controller("main", devices["left"], devices["right"])
    made = make_clients(site, **devices)
    wait_on(made.left, made.right, made.daq)
    return made


def description(clients, folder) -> str:
    return DESCRIPTION.format(
        tango_host=os.environ["TANGO_HOST"],
        name="scans",
        controllers=CONTROLLERS,
        macros=MACROS,
        recorders=RECORDERS,
        folder=folder,
        data=clients.site.data,
        daq=clients.names["daq"],
        detector=clients.names["left"],
        left_port=clients.site.simulators["left"].port,
        right_port=clients.site.simulators["right"].port,
    )


@pytest.fixture(scope="module")
def sardana(clients, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sardana")
    server = SardanaServer(folder, description(clients, folder), pool="scans", door="door/scans/1")
    yield server
    server.close()


@pytest.fixture
def door(sardana, clients, wait_on):
    """Nothing is left of the test before, and group `both` is active."""
    sardana.door.must("set_meas", "both")
    yield sardana.door
    for simulator in clients.site.simulators.values():
        simulator.faults()
    clients.daq.Abort()
    clients.left.Abort()
    wait_on(clients.daq, clients.left, clients.right, clients.left_receiver, clients.right_receiver)


def references(door, wanted: bool, *channels: str, group: str = "both") -> None:
    for channel in channels or ("left", "right"):
        door.must("set_meas_conf", "ValueRefEnabled", str(wanted), "[", channel, "]", group)


def scanned(door, clients, *words) -> ScanFile:
    door.must(*words)
    return newest(clients)


def newest(clients) -> ScanFile:
    return ScanFile(max(clients.site.data.glob("scan-????.h5"), key=os.path.getmtime))


# ---- what works ----


def test_ct_counts_images_of_both_detectors_and_leaves_no_file(door, clients):
    references(door, False)
    result = door.must("ct", "0.01")
    assert "[64, 48]" in result.text("Output")
    for member in SEEDS:
        image = tango.DeviceProxy(member).Value
        np.testing.assert_array_equal(image, sent(member, image, 0))
    assert not list(clients.site.data.glob("image-*"))


def test_ct_counts_one_channel_by_itself(door, clients):
    door.must("ct", "0.01", "right")
    image = tango.DeviceProxy("right").Value
    np.testing.assert_array_equal(image, sent("right", image, 0))
    door.must("ct", "0.01", "left")
    assert list(clients.daq.EnabledDetectors) == [clients.names["left"]]


def test_a_step_scan_with_images(door, clients):
    references(door, False)
    scan = scanned(door, clients, "ascan", "scans_mot", 0, 1, 3, "0.01")
    for member in SEEDS:
        assert_sent(member, scan.data[member], [0, 0, 0, 0])  # each point is a series of its own
    assert list(scan.data["verdict"]) == [1, 1, 1, 1]
    assert not scan.failures


def test_a_step_scan_with_references_is_one_series_and_one_relative_link(door, clients, tmp_path):
    references(door, True)
    scan = scanned(door, clients, "ascan", "scans_mot", 0, 1, 5, "0.01")
    for member in SEEDS:
        assert_sent(member, scan.data[member], range(6))
        assert (
            scan.data[f"{member}_reference"][4].decode().endswith(f"{scan.path.stem}_{member}.h5::entry/data/data[4]")
        )
    assert_links(scan, *SEEDS)
    assert list(scan.data["received"]) == [1, 2, 3, 4, 5, 6]
    assert scan.data["verdict"][-1] == 1
    assert not scan.failures
    for path in clients.site.data.glob(f"{scan.path.stem}*.h5"):  # all of it can be taken elsewhere
        shutil.copy(path, tmp_path)
    assert_sent("right", ScanFile(tmp_path / scan.path.name).data["right"], range(6))


def test_sardanas_own_recorder_keeps_our_references_as_text(door, clients):
    references(door, True)
    door.must("senv", "ScanRecorder", "NXscanH5_FileRecorder")
    scan = scanned(door, clients, "ascan", "scans_mot", 0, 1, 1, "0.01")
    door.must("senv", "ScanRecorder", "MaxdaqNXscanRecorder")
    assert [text.decode().rsplit("::")[1] for text in scan.data["left"]] == ["entry/data/data[0]", "entry/data/data[1]"]


def test_ct_with_references_has_a_file_that_is_of_no_scan(door, clients):
    references(door, True)
    for _ in range(2):
        result = door.must("ct", "0.01")
    assert "scan-0000_left_2.h5::entry/data/data[0]" in result.text("Output")
    with h5py.File(clients.file("scan-0000_right_2.h5")) as file:
        assert_sent("right", file["entry/data/data"][...], [0])


def test_counts_of_a_region_are_those_of_the_image(door, clients):
    references(door, False, "alone", group="summed")
    door.must("set_meas", "summed")
    scan = scanned(door, clients, "ascan", "scans_mot", 0, 1, 1, "0.01")
    image = sent("left", scan.data["alone"][0], 0)[10:30, 5:40]
    assert list(scan.data["region"]) == [image[image < np.iinfo(image.dtype).max].sum()] * 2


def test_a_continuous_scan_by_hardware_triggers(door, clients):
    references(door, True, group="fast")
    door.must("set_meas", "fast")
    scan = scanned(door, clients, "ascanct", "scans_mot", 0, 1, 20, "0.02", "0.02")
    for member in SEEDS:
        assert_sent(member, scan.data[member], range(21))
    assert_links(scan, *SEEDS)
    assert not scan.failures


def test_a_continuous_scan_with_images(door, clients):
    references(door, False, group="fast")
    door.must("set_meas", "fast")
    scan = scanned(door, clients, "ascanct", "scans_mot", 0, 1, 10, "0.02", "0.02")
    for member in SEEDS:
        assert_sent(member, scan.data[member], range(11))


def test_one_detector_device_without_a_controller(door, clients):
    references(door, True, "alone", group="one")
    door.must("set_meas", "one")
    scan = scanned(door, clients, "ascan", "scans_mot", 0, 1, 3, "0.01")
    assert_sent("left", scan.data["alone"], range(4))
    assert scan.links["alone"].filename == f"{scan.path.stem}_left.h5"


def test_points_that_sardana_skips_are_blank_and_the_file_is_closed(door, clients):
    references(door, True)
    result = door.must("timescan", 9, "0.01", 0)  # faster than points can be
    assert "points have no frame of left" in result.text("Warning")
    scan = newest(clients)
    stack, rows = scan.data["left"], 0
    for frame, text in zip(stack, scan.data["left_reference"], strict=True):
        if text:
            np.testing.assert_array_equal(frame, sent("left", frame, rows))
            rows += 1
        else:
            assert set(frame.flat) == {np.iinfo(frame.dtype).max}
    assert 0 < rows < len(stack)


@pytest.mark.parametrize(("group", "words"), [("each", ("0.02", "0.15")), ("gated", ("0.02", "0.02"))])
def test_other_triggers_from_outside(door, clients, group, words):
    references(door, True, "alone", group=group)
    door.must("set_meas", group)
    scan = scanned(door, clients, "ascanct", "scans_mot", 0, 1, 5, *words)
    assert_sent("left", scan.data["alone"], range(6))


@pytest.mark.parametrize(
    "words", [("ascan", "scans_mot", 0, 1, 50, "0.05"), ("ascanct", "scans_mot", 0, 1, 50, "0.05", "0.1")]
)
def test_a_scan_that_is_stopped_keeps_its_points_and_the_next_one_works(door, clients, wait, words):
    group = "fast" if words[0] == "ascanct" else "both"
    references(door, True, group=group)
    door.must("set_meas", group)
    door.begin(*words)
    door.until_said("  3  ")
    door.device.StopMacro()
    assert door.end().ok
    wait(lambda: clients.daq.State() == tango.DevState.ON, 5, "the end of the series")
    scan = newest(clients)
    if group == "both":
        assert "scan-0000_left" in door.must("ct", "0.01").text("Output")  # which is of no scan
    points = len(scan.data["Pt_No"])
    assert 3 <= points < 50
    for member in SEEDS:
        rows = scan.data[member]
        assert len(rows) >= points  # it may have had one more exposure than points
        taken = sum(row.min() < np.iinfo(row.dtype).max for row in rows)
        assert taken >= points - 1  # the frame of the last point may have been on its way, and is blank
        assert_sent(member, rows[:taken], range(taken))
    again = scanned(door, clients, "ascan" if group == "both" else "ascanct", "scans_mot", 0, 1, 3, "0.02", *words[6:])
    assert again.path != scan.path
    for member in SEEDS:
        assert_sent(member, again.data[member], range(4))


@pytest.mark.parametrize(("group", "words"), [("one", ("ascan", "0.02")), ("gated", ("ascanct", "0.02", "0.02"))])
def test_a_detector_that_takes_longer_to_arm_than_sardana_waits(door, clients, group, words):
    references(door, True, "alone", group=group)
    door.must("set_meas", group)
    clients.site.simulators["left"].faults(arm_delay_s=2.8)
    scan = scanned(door, clients, words[0], "scans_mot", 0, 1, 2, *words[1:])
    assert_sent("left", scan.data["alone"], range(3))


# ---- what does not ----


def scan_fails(door, *words) -> str:
    result = door.run(*words)
    assert not result.ok, result.text()
    return result.text("Error")


def scan_works(door, clients) -> None:
    scan = scanned(door, clients, "ascan", "scans_mot", 0, 1, 2, "0.01")
    assert_sent("left", scan.data["left"], range(3))


def test_a_frame_that_never_comes_ends_a_step_scan_with_our_sentence(door, clients):
    references(door, True)
    clients.site.simulators["left"].faults(drop_frames=[2])
    told = scan_fails(door, "ascan", "scans_mot", 0, 1, 5, "0.01")
    left, right = clients.names["left"], clients.names["right"]
    assert f"take start 3 of 6 (of {clients.names['daq']})" in told
    assert f"of 3 frames were received: {left} 2, {right} 3" in told
    scan = newest(clients)
    assert len(scan.data["Pt_No"]) == 2  # the point without a frame is none
    clients.site.simulators["left"].faults()
    scan_works(door, clients)


@pytest.mark.parametrize(
    ("fault", "told"),
    [("drop_frames", "1 of 11 frames never came"), ("wrong_size_frames", "INCOMPLETE")],
)
def test_a_frame_that_does_not_arrive_in_a_continuous_scan_is_a_blank_point_and_an_error(door, clients, fault, told):
    references(door, True, group="fast")
    door.must("set_meas", "fast")
    clients.site.simulators["left"].faults(**{fault: [5]})
    result = door.run("ascanct", "scans_mot", 0, 1, 10, "0.02", "0.02")
    assert not result.ok
    assert "INCOMPLETE" in result.text("Error")
    assert told in result.text("Error")
    assert "1 points have no frame of left: 5" in result.text("Warning")
    scan = newest(clients)
    stack = scan.data["left"]
    assert_sent("left", np.delete(stack, 5, 0), [number for number in range(11) if number != 5])
    assert set(stack[5].flat) == {np.iinfo(stack.dtype).max}
    assert_sent("right", scan.data["right"], range(11))
    assert scan.failures == {"maxdaq_failures_left": 1}


def test_a_detector_that_goes_offline_ends_the_scan_with_our_sentence(door, clients, wait):
    references(door, True)
    door.begin("ascan", "scans_mot", 0, 1, 50, "0.05")
    door.until_said("  2  ")
    clients.site.simulators["left"].faults(offline_s=6.0)
    result = door.end()
    assert not result.ok
    assert f"(of {clients.names['daq']})" in result.text("Error")
    assert clients.names["left"] in result.text("Error")
    scan = newest(clients)
    assert_sent("right", scan.data["right"][:3], range(3))

    def back() -> bool:
        try:
            clients.site.simulators["left"].faults()
        except OSError:
            return False
        return "cannot be reached" not in clients.daq.Status() + clients.left.Status()

    wait(back, 20, "the detector being back")
    scan_works(door, clients)


@pytest.mark.parametrize(
    ("pattern", "exposure", "told"),
    [
        ("", "1e7", "above the upper limit. Accepted: 1e-07 to 1800 s"),
        ("h5file:///nowhere/{detector}.h5", "0.01", "the path is outside the allowed roots"),
        ("h5file://{directory}/{index}.h5", "0.01", "no field {index}. Accepted: the fields {directory}, {scan}"),
        ("file:///x.tiff", "0.01", "it does not begin with h5file://"),
        ("h5file://{directory}/all.h5", "0.01", "two detectors cannot share a file"),
    ],
)
def test_what_cannot_work_is_one_sentence_before_anything_moves(door, clients, pattern, exposure, told):
    references(door, True)
    default = "h5file://{directory}/scan-{scan:04d}_{detector}.h5"
    door.must("set_meas_conf", "ValueRefPattern", pattern or default, "[", "left", "right", "]", "both")
    try:
        assert told in scan_fails(door, "ascan", "scans_mot", 0, 1, 2, exposure)
    finally:
        door.must("set_meas_conf", "ValueRefPattern", default, "[", "left", "right", "]", "both")
    scan_works(door, clients)


def test_counters_are_read_while_a_point_lasts_and_for_each_detector(door, clients):
    references(door, False, group="shown")
    door.must("set_meas", "shown")
    scan = scanned(door, clients, "ascan", "scans_mot", 0, 1, 2, "0.05")
    np.testing.assert_array_equal(scan.data["frames_each"], [[1, 1]] * 3)
    during = scan.data["during"]
    assert during.shape == (3,)
    assert np.all((during >= 0) & (during <= 2))  # the mean of what was received so far, of both
    assert during.max() > 0


def test_words_are_no_counter_for_each_detector(door, clients):
    with pytest.raises(tango.DevFailed, match="count TriggerMode"):
        _ = tango.DeviceProxy("words_each").Value


def test_references_for_one_detector_and_images_for_the_other_are_refused(door, clients):
    references(door, True, "left")
    references(door, False, "right")
    assert "ValueRefEnabled is true for some" in scan_fails(door, "ascan", "scans_mot", 0, 1, 2, "0.01")
    references(door, True)
    scan_works(door, clients)


def test_counters_of_a_series_have_no_value_for_each_hardware_trigger(door, clients):
    references(door, True, "alone", group="counted")
    door.must("set_meas", "counted")
    told = scan_fails(door, "ascanct", "scans_mot", 0, 1, 3, "0.02", "0.02")
    assert "synchronise scans_countctrl by HardwareTrigger" in told
    assert "these counters are of the whole series" in told


def test_triggers_that_cannot_be_given_are_said(door):
    references(door, True, "alone", group="untriggered")
    door.must("set_meas", "untriggered")
    door.must("senv", "ScanMntGrpFinishTimeout", 1)
    told = scan_fails(door, "ascanct", "scans_mot", 0, 1, 3, "0.02", "0.02")
    door.must("usenv", "ScanMntGrpFinishTimeout")
    assert "give 4 triggers (of http://127.0.0.1:1/simulator/api/edge" in told


def test_an_acquisition_of_somebody_else_is_not_touched(door, clients):
    references(door, True)
    clients.daq.DestinationDirectory, clients.daq.TriggerMode = "", "EXTERNAL_MULTI"
    clients.daq.Arm()
    assert "runs an acquisition that Sardana has not begun" in scan_fails(door, "ct", "0.01")
    assert clients.daq.State() == tango.DevState.RUNNING
