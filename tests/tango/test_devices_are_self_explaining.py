"""A lint over all devices as Jive and Taurus see them: label, unit, doc, events, limits, commands and properties."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import tango
from tango.server import device_property

from maxdaq_tango.detectors.registry import FAMILIES
from maxdaq_tango.tango_support.attributes import told_attributes
from simulated_jungfrau import SimulatedJungfrau

STANDARD = {"State", "Status"}
UNITS = {"s", "ms", "Hz", "MB/s", "B", "%", "eV", "m", "degC", "pixel", "bit", "count", "V", "deg", "angstrom"}
"""All of these are units to Taurus as well, which parses them; counts of frames have none."""
STANDARD_DETECTOR = [
    "ExposureTime", "LatencyTime", "FrameTime", "nTriggers", "nFramesPerTrigger", "TriggerMode", "DestinationFilename",
    "DestinationFileOverwritable", "SaveRaw", "nFramesAcquired", "nFramesReceived", "ReadyForSwTrigger", "ReadoutTime",
    "Energy", "Threshold", "Rotation", "Fliplr", "Flipud", "AcquisitionState", "SimulatedHardware",
]  # fmt: skip
CLASSES = {
    "EigerDetector": "maxdaq_tango.detectors.eiger.device",
    "JungfrauDetector": "maxdaq_tango.detectors.jungfrau.device",
    "OrcaDetector": "maxdaq_tango.detectors.orca.device",
    "StreamReceiver": "maxdaq_tango.receiver.device",
    "DAQController": "maxdaq_tango.controller.device",
    "LimaFacade": "maxdaq_tango.lima.device",
    "EigerDectrisFacade": "maxdaq_tango.eigerdectris.device",
}


CLASSES_AND_FAMILIES = CLASSES | {family.device_class: family.device_module for family in FAMILIES.values()}


@pytest.fixture(scope="module")
def jungfrau(site):
    simulated = SimulatedJungfrau()
    name = site.device_name("detector", "jungfrau")
    properties = {"Host": simulated.host, "Library": "maxdaq_tango.detectors.jungfrau.simulated_slsdet"}
    site.serve(CLASSES["JungfrauDetector"], "JungfrauDetector", {name: properties})
    yield name
    simulated.end()


@pytest.fixture(scope="module")
def devices(site, connect, wait_on, jungfrau):
    site.simulate("eiger")
    receiver = site.receiver("eiger")
    detector = site.eiger("eiger", receiver)
    controller = site.controller("main", detector)
    lima = site.device_name("lima", "main")
    site.serve(CLASSES["LimaFacade"], "LimaFacade", {lima: {"Target": controller}})
    dectris = site.device_name("dectris", "main")
    site.serve(CLASSES["EigerDectrisFacade"], "EigerDectrisFacade", {dectris: {"Target": detector}})
    names = {
        "StreamReceiver": receiver, "EigerDetector": detector, "DAQController": controller, "LimaFacade": lima,
        "EigerDectrisFacade": dectris, "JungfrauDetector": jungfrau, "OrcaDetector": site.orca("orca", receiver)[0],
    }  # fmt: skip
    made = {name: connect(device) for name, device in names.items()}
    wait_on(*made.values())
    return made


@pytest.fixture(params=sorted(CLASSES))
def device(request, devices):
    return devices[request.param]


def configurations(device):
    return [item for item in device.attribute_list_query_ex() if item.name not in STANDARD]


def test_every_attribute_has_a_label_and_a_doc_of_its_own(device):
    for item in configurations(device):
        assert item.label, item.name
        assert len(item.description) > 10, item.name
        assert item.description != "No description", item.name


def test_every_physical_value_has_a_unit_that_taurus_can_parse_and_every_number_a_format(device):
    for item in configurations(device):
        if item.data_type in (tango.DevDouble, tango.DevLong64, tango.DevLong):
            assert "%" in item.format, item.name
        if item.data_type == tango.DevDouble or item.unit:
            assert item.unit in UNITS, f"{item.name}: {item.unit!r}"


def test_every_attribute_pushes_change_events_by_itself(device):
    for name in device.get_attribute_list():
        got = []
        number = device.subscribe_event(name, tango.EventType.CHANGE_EVENT, got.append)
        device.unsubscribe_event(number)
        assert got, name
        assert not got[0].err, f"{name}: {got[0].errors[0].desc if got[0].err else ''}"
        assert not device.is_attribute_polled(name)


def test_every_attribute_can_be_read_and_nothing_is_large(device):
    for item in configurations(device):
        value = device.read_attribute(item.name)
        assert value.quality in (tango.AttrQuality.ATTR_VALID, tango.AttrQuality.ATTR_INVALID), item.name
        assert item.data_type != tango.DevEncoded, item.name


def test_set_points_read_as_they_are_and_not_as_zero(devices):
    for name in ("EigerDetector", "DAQController"):
        device = devices[name]
        for attribute in ("ExposureTime", "nTriggers", "nFramesPerTrigger", "TriggerMode"):
            read = device.read_attribute(attribute)
            assert read.w_value == read.value, attribute


def test_every_command_is_explained(device):
    for item in device.command_list_query():
        if item.cmd_name in ("Init", "State", "Status"):
            continue
        if item.in_type != tango.DevVoid:
            assert item.in_type_desc not in ("", "Uninitialised"), item.cmd_name
        if item.out_type != tango.DevVoid:
            assert item.out_type_desc not in ("", "Uninitialised"), item.cmd_name


@pytest.mark.parametrize("class_name", sorted(CLASSES_AND_FAMILIES))
def test_every_property_is_explained_and_every_command_has_a_doc(class_name):
    device_class = getattr(importlib.import_module(CLASSES_AND_FAMILIES[class_name]), class_name)
    properties = {
        name: item
        for part in device_class.__mro__
        for name, item in vars(part).items()
        if isinstance(item, device_property)
    }
    assert properties
    for name, item in properties.items():
        assert len(item.doc) > 10, name
    for name in device_class.TangoClassClass.cmd_list:
        if name not in ("Init", "State", "Status"):
            assert getattr(device_class, name).__doc__, name


def test_limits_of_the_detector_are_in_the_attribute_configuration(devices, wait):
    detector = devices["EigerDetector"]
    wait(lambda: detector.get_attribute_config("Energy").max_value != "Not specified", 5, "limits of Energy")
    for name in ("ExposureTime", "nTriggers", "Energy", "Threshold"):
        item = detector.get_attribute_config(name)
        assert float(item.min_value) < float(item.max_value), name


def test_the_names_of_the_standard_detector_are_all_there(devices):
    detector = devices["EigerDetector"]
    attributes = {name.lower() for name in detector.get_attribute_list()}
    for name in STANDARD_DETECTOR:
        assert name.lower() in attributes, name
    commands = {item.cmd_name for item in detector.command_list_query()}
    assert commands >= {
        "Arm", "SoftwareTrigger", "Trigger", "Stop", "Abort", "Live", "Continuous", "Reset", "RestartReceiver",
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(FAMILIES))
@pytest.mark.lesson(45)
def test_every_family_of_the_registry_can_be_imported(name):
    family = FAMILIES[name]
    assert getattr(importlib.import_module(family.device_module), family.device_class)
    module, _, driver = family.driver.partition(":")
    assert getattr(importlib.import_module(module), driver)
    assert importlib.import_module(family.simulator_module)


@pytest.mark.parametrize("class_name", sorted(CLASSES_AND_FAMILIES))
def test_the_reference_page_names_everything_that_there_is(class_name):
    page = (Path(__file__).parents[2] / "docs" / "reference" / "tango-devices.md").read_text()
    device_class = getattr(importlib.import_module(CLASSES_AND_FAMILIES[class_name]), class_name)
    properties = {
        name for part in device_class.__mro__ for name, item in vars(part).items() if isinstance(item, device_property)
    }
    commands = set(device_class.TangoClassClass.cmd_list) - {"Init", "State", "Status"}
    for name in properties | commands | set(told_attributes(device_class)):
        assert f"`{name}`" in page, name
