"""Topologies side by side, under one controller."""

from __future__ import annotations

import pytest

from maxdaq_tango.deployment.together import together
from maxdaq_tango.deployment.topology import Topology, built_in_topology, parse_topology
from maxdaq_tango.errors import ConfigurationError


def site(detector: str) -> Topology:
    text = f"""
name: {detector}
simulators:
  {detector}: {{family: stins}}
programs:
  Camera{detector}: [camera, '${{{detector}.port}}']
servers:
  Camera{detector}:
    lab: {{Camera: {{lab/detector/{detector}: {{}}}}}}
  StreamReceiver:
    lab: {{StreamReceiver: {{lab/receiver/{detector}: {{}}}}}}
  DAQController:
    lab: {{DAQController: {{lab/daq/{detector}: {{properties: {{Detectors: lab/detector/{detector}, Window: 3}}}}}}}}
"""
    return parse_topology(text, detector)


def test_one_controller_gets_the_detectors_of_all() -> None:
    both = together("both", [site("a"), site("b")])
    assert both.name == "both"
    assert set(both.simulators) == {"a", "b"}
    assert set(both.programs) == {"Cameraa", "Camerab"}
    controllers = [placed for placed in both.devices() if placed.class_name == "DAQController"]
    assert [placed.name for placed in controllers] == ["lab/daq/a"]
    assert controllers[0].device.properties == {"Detectors": ("lab/detector/a", "lab/detector/b"), "Window": 3}
    receivers = [placed.name for placed in both.devices() if placed.class_name == "StreamReceiver"]
    assert receivers == ["lab/receiver/a", "lab/receiver/b"]


def test_one_alone_stays_as_it_is() -> None:
    alone = parse_topology(built_in_topology(), "built in")
    same = together(alone.name, [alone])
    assert [placed.path for placed in same.devices()] == [placed.path for placed in alone.devices()]
    assert same.simulators == alone.simulators


def test_names_that_stand_for_two_things_are_refused() -> None:
    first, second = site("a"), parse_topology("name: b\nsimulators: {a: {family: stins, rows: 7}}\n", "b")
    with pytest.raises(ConfigurationError, match=r"simulators\.a is in two of them"):
        together("both", [first, second])
    with pytest.raises(ConfigurationError, match="lab/detector/a is in two of them"):
        together("both", [site("a"), site("a")])


def test_nothing_is_no_topology() -> None:
    with pytest.raises(ConfigurationError, match="there is none"):
        together("nothing", [])
