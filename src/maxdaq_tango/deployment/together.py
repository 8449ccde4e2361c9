"""Several topologies as one: their detectors side by side, under one DAQController."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from maxdaq_tango.deployment.topology import Classes, Device, Servers, Topology, Values
from maxdaq_tango.errors import ConfigurationError

CONTROLLER = "DAQController"
DETECTORS = "Detectors"


def together(name: str, topologies: Iterable[Topology]) -> Topology:
    """One topology called `name` of all that is in `topologies`; host and database are those of the first.

    The first DAQController gets the detectors of all of them. ConfigurationError when two things have the same name.
    """
    topologies = list(topologies)
    if not topologies:
        raise ConfigurationError("put topologies together", answer="there is none", accepted="one or more")
    made: dict[str, dict[str, Any]] = {"simulators": {}, "streamers": {}, "programs": {}}
    servers: dict[str, dict[str, dict[str, dict[str, Device]]]] = {}
    controllers: list[tuple[str, str, str]] = []
    detectors: list[str] = []
    for topology in topologies:
        for kind, there in made.items():
            for key, value in getattr(topology, kind).items():
                if there.setdefault(key, value) != value:
                    raise _twice(f"{kind}.{key}")
        for placed in topology.devices():
            devices = servers.setdefault(placed.server, {}).setdefault(placed.instance, {})
            if placed.class_name == CONTROLLER:
                detectors += _items(placed.device.properties.get(DETECTORS, ()))
                if controllers:
                    continue
                controllers.append((placed.server, placed.instance, placed.name))
            if placed.name in devices.setdefault(placed.class_name, {}):
                raise _twice(placed.name)
            devices[placed.class_name][placed.name] = placed.device
    for server, instance, device in controllers:
        place = servers[server][instance][CONTROLLER]
        properties = {**place[device].properties, DETECTORS: tuple(dict.fromkeys(detectors))}
        place[device] = msgspec.structs.replace(place[device], properties=properties)
    return msgspec.structs.replace(topologies[0], name=name, servers=_without_the_empty(servers), **made)


def _items(values: Values) -> list[str]:
    return [str(value) for value in (values if isinstance(values, tuple) else (values,))]


def _twice(name: str) -> ConfigurationError:
    return ConfigurationError("put topologies together", answer=f"{name} is in two of them", accepted="each name once")


def _without_the_empty(servers: Mapping[str, Mapping[str, Classes]]) -> Servers:
    return {
        server: kept
        for server, instances in servers.items()
        if (kept := {instance: dict(classes) for instance, classes in instances.items() if any(classes.values())})
    }
