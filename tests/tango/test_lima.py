"""LimaFacade, driven as clients of LImA drive a LimaCCDs device: in front of a detector, and of a controller of two."""

from __future__ import annotations

from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the filter
import pytest
import tango
from tango import DevState

PREFIXES = (f"run{number:03d}_" for number in range(1000))


@pytest.fixture(scope="module")
def clients(site, make_clients, wait_on) -> Any:
    devices = {}
    for member in ("left", "right"):
        site.simulate(member)
        devices[f"{member}_receiver"] = site.receiver(member, Grace=0.5)
        devices[member] = site.eiger(member, devices[f"{member}_receiver"])
    devices["daq"] = site.controller("main", devices["left"], devices["right"])
    for name, target in (("one", devices["left"]), ("both", devices["daq"])):
        devices[name] = site.device_name("lima", name)
        site.serve("maxdaq_tango.lima.device", "LimaFacade", {devices[name]: {"Target": target}})
    made = make_clients(site, **devices)
    wait_on(made.left, made.right, made.daq, made.one, made.both)
    return made


@pytest.fixture(params=["one", "both"])
def lima(request, clients, wait_on) -> Any:
    lima = getattr(clients, request.param)
    lima.acq_trigger_mode, lima.acq_nb_frames = "INTERNAL_TRIGGER", 10
    lima.acq_expo_time, lima.latency_time = 0.005, 0.0
    lima.saving_mode, lima.saving_overwrite_policy = "AUTO_FRAME", "ABORT"
    lima.saving_directory, lima.saving_prefix = str(clients.site.data), next(PREFIXES)
    lima.saving_suffix, lima.saving_index_format, lima.saving_next_number = ".h5", "%04d", 0
    yield lima
    for simulator in clients.site.simulators.values():
        simulator.faults()
    lima.abortAcq()
    wait_on(clients.daq, clients.left, clients.right, clients.left_receiver, clients.right_receiver)
    lima.reset()


def rows(path: str) -> int:
    with h5py.File(path) as file:
        return int(file["/entry/instrument/left/data"].shape[0])


def first_file(lima: Any, clients: Any, number: int = 0) -> str:
    return str(clients.site.data / f"{lima.saving_prefix}{number:04d}.h5")


def test_prepare_start_wait_and_read_the_file(lima, clients, wait) -> None:
    assert (lima.acq_status, lima.ready_for_next_acq, lima.State()) == ("Ready", True, DevState.ON)
    lima.prepareAcq()
    wait(lambda: lima.ready_for_next_image, 5, "ready")
    assert (lima.acq_status, lima.last_image_acquired, lima.last_image_saved) == ("Ready", -1, -1)
    assert not lima.ready_for_next_acq
    lima.startAcq()
    assert lima.acq_status == "Running"
    wait(lambda: lima.acq_status == "Ready", 10, "the end")
    assert (lima.last_image_acquired, lima.last_image_ready, lima.last_image_saved) == (9, 9, 9)
    assert (lima.saving_next_number, lima.acq_status_fault_error) == (1, "")
    assert rows(first_file(lima, clients)) == 10
    assert (lima.image_type, lima.image_width, lima.image_height) == ("Bpp16", 48, 64)
    assert list(lima.image_sizes) == [0, 2, 48, 64]


def test_the_common_header_is_stored_in_the_file(lima, clients, wait) -> None:
    lima.saving_common_header = ["sample = A1"]
    lima.prepareAcq()
    lima.startAcq()
    wait(lambda: lima.acq_status == "Ready" and lima.last_image_saved == 9, 10, "the end")
    lima.saving_common_header = []
    with h5py.File(first_file(lima, clients)) as file:
        found: list[str] = []
        file.visititems(lambda _, item: found.extend(map(str, _texts_of(item))))
    assert any('"sample":"A1"' in text.replace(" ", "") for text in found)


def _texts_of(item: Any) -> list[Any]:
    texts = list(item.attrs.values())
    if isinstance(item, h5py.Dataset) and item.shape == () and item.dtype.kind == "O":
        texts.append(item.asstr()[()])
    return texts


def test_the_next_acquisition_has_the_next_number(lima, clients, wait) -> None:
    for number in range(2):
        lima.prepareAcq()
        lima.startAcq()  # at once, as many clients do it
        wait(lambda: lima.ready_for_next_acq and lima.acq_status == "Ready", 10, "the end")
        wait(lambda number=number: lima.saving_next_number == number + 1, 5, "the next number")
        assert rows(first_file(lima, clients, number)) == 10


def test_one_start_for_each_image(lima, clients, wait) -> None:
    lima.acq_trigger_mode, lima.acq_nb_frames = "INTERNAL_TRIGGER_MULTI", 3
    lima.prepareAcq()
    for image in range(3):
        wait(lambda: lima.ready_for_next_image, 5, "ready for it")
        lima.startAcq()
        wait(lambda image=image: lima.last_image_acquired == image, 5, f"image {image}")
    wait(lambda: lima.acq_status == "Ready", 10, "the end")
    assert rows(first_file(lima, clients)) == 3
    with pytest.raises(tango.DevFailed, match="nothing is prepared"):
        lima.startAcq()


def test_external_triggers_start_what_is_prepared(lima, clients, wait) -> None:
    lima.acq_trigger_mode, lima.acq_nb_frames = "EXTERNAL_TRIGGER_MULTI", 4
    lima.prepareAcq()
    lima.startAcq()
    assert lima.acq_status == "Running"
    wait(lambda: lima.acq_status == "Running" and not lima.ready_for_next_acq, 5, "armed")
    for simulator in clients.site.simulators.values():
        simulator.post("edge?count=4&period_s=0.02")
    wait(lambda: lima.acq_status == "Ready", 10, "the end")
    assert rows(first_file(lima, clients)) == 4


def test_without_saving_there_is_no_file(lima, clients, wait) -> None:
    before = set(clients.site.data.iterdir())
    lima.saving_mode = "MANUAL"
    lima.prepareAcq()
    lima.startAcq()
    wait(lambda: lima.last_image_ready == 9 and lima.acq_status == "Ready", 10, "the end")
    assert (lima.last_image_saved, lima.saving_next_number) == (-1, 0)
    assert set(clients.site.data.iterdir()) == before


def test_frames_that_are_missing_are_a_fault_with_its_reason(lima, clients, wait) -> None:
    clients.site.simulators["left"].faults(drop_frames=[3])
    lima.prepareAcq()
    lima.startAcq()
    wait(lambda: lima.acq_status == "Fault", 10, "the fault")
    assert "1 of 10 frames never came" in lima.acq_status_fault_error
    assert lima.acq_status_fault_error in lima.Status()
    assert lima.State() == DevState.FAULT
    clients.site.simulators["left"].faults()
    lima.prepareAcq()  # needs no reset
    lima.startAcq()
    wait(lambda: lima.acq_status == "Ready" and lima.last_image_saved == 9, 10, "the end")


@pytest.mark.parametrize("command", ["stopAcq", "abortAcq"])
def test_stop_and_abort_keep_what_was_taken(lima, clients, wait, command: str) -> None:
    lima.acq_nb_frames = 100_000
    lima.prepareAcq()
    lima.startAcq()
    wait(lambda: lima.last_image_acquired > 3, 10, "some frames")
    lima.command_inout(command)
    wait(lambda: lima.acq_status == "Ready" and lima.ready_for_next_acq, 10, "the end")
    assert 3 < rows(first_file(lima, clients)) < 100_000


def test_a_file_that_exists_refuses_prepare_or_is_moved_aside(lima, clients, wait) -> None:
    path = first_file(lima, clients)
    with open(path, "w") as other:
        other.write("of somebody else")
    with pytest.raises(tango.DevFailed, match="exist"):
        lima.prepareAcq()
    wait(lambda: lima.ready_for_next_acq and lima.acq_status == "Fault", 5, "that it is free, and what went wrong")
    assert "exist" in lima.acq_status_fault_error
    lima.saving_overwrite_policy = "OVERWRITE"
    lima.prepareAcq()
    lima.startAcq()
    wait(lambda: lima.acq_status == "Ready" and lima.last_image_saved == 9, 10, "the end")
    assert rows(path) == 10


def test_a_second_prepare_and_a_start_too_many_are_refused(lima, wait) -> None:
    with pytest.raises(tango.DevFailed, match="nothing is prepared"):
        lima.startAcq()
    lima.acq_nb_frames = 1000
    lima.prepareAcq()
    with pytest.raises(tango.DevFailed, match="stopAcq first"):
        lima.prepareAcq()
    lima.startAcq()
    with pytest.raises(tango.DevFailed, match="all 1 starts"):
        lima.startAcq()


@pytest.mark.parametrize(
    ("attribute", "value", "said"),
    [
        ("acq_trigger_mode", "EXTERNAL_START_STOP", "EXTERNAL_GATE"),
        ("acq_mode", "ACCUMULATION", "SINGLE"),
        ("saving_format", "EDF", "HDF5"),
        ("saving_directory", "here", "begins with /"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(clients, attribute: str, value: str, said: str) -> None:
    with pytest.raises(tango.DevFailed, match=said):
        clients.one.write_attribute(attribute, value)


def test_the_values_of_an_attribute_are_told(clients) -> None:
    assert "EXTERNAL_GATE" in clients.one.getAttrStringValueList("acq_trigger_mode")
    assert list(clients.one.getAttrStringValueList("saving_prefix")) == []
    with pytest.raises(tango.DevFailed, match="no such attribute"):
        clients.one.getAttrStringValueList("nonsense")


def test_a_device_behind_that_is_not_there_is_told(clients, site, wait) -> None:
    name = clients.names["one"]
    proxy = clients.one
    before = proxy.get_property("Target")["Target"][0]
    proxy.put_property({"Target": "no/such/device"})
    try:
        proxy.Init()
        wait(lambda: proxy.State() == DevState.UNKNOWN and "no/such/device" in proxy.Status(), 10, "to say so")
        with pytest.raises(tango.DevFailed, match="no/such/device"):
            proxy.prepareAcq()
    finally:
        proxy.put_property({"Target": before})
        proxy.Init()
        wait(lambda: proxy.State() == DevState.ON, 10, f"{name} to be well again")
