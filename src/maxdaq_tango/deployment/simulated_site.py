"""Simulated detectors of any families side by side, and what their pixels must be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from maxdaq_tango.deployment.simulators import Simulator
from maxdaq_tango.deployment.together import CONTROLLER, DETECTORS, together
from maxdaq_tango.deployment.topology import EmbeddedDatabase, Topology, built_in_topology, parse_topology
from maxdaq_tango.detectors.registry import family
from maxdaq_tango.errors import ConfigurationError

Pixels = Callable[[int], npt.NDArray[Any]]
"""Frame number > the frame as it must stand in a file."""


class SimulatedDetector(msgspec.Struct, frozen=True):
    """One of a site."""

    device: str
    """Of the detector."""
    family: str
    settings: Simulator
    """Of the simulator behind it."""

    def pixels(self, shape: tuple[int, ...], dtype: str) -> Pixels:
        """What it sends when its frames have this shape and type."""
        made: Pixels = _found(family(self.family).simulated_pixels)(self.settings, shape, np.dtype(dtype))
        return made


class SimulatedSite(msgspec.Struct, frozen=True):
    """What is started, and what is behind its detectors."""

    topology: Topology
    detectors: tuple[SimulatedDetector, ...]


def why_not(families: Sequence[str]) -> dict[str, str]:
    """Which of the families cannot be simulated on this computer, and why; makes what they need and lack.

    ConfigurationError for a family that there is not.
    """
    reasons = {}
    for word in families:
        needs = family(word).simulator_needs
        try:
            if needs:
                _found(needs)()
        except ConfigurationError as error:
            reasons[word] = str(error)
    return reasons


def simulated_site(name: str, families: Sequence[str]) -> SimulatedSite:
    """One simulated detector of each family under one controller, always with a database of its own.

    ConfigurationError for a family that there is not, or that stands twice.
    """
    if len(set(families)) != len(families) or not families:
        raise ConfigurationError(
            f"simulate {', '.join(families) or 'nothing'}", accepted="one or more families, each once"
        )
    topologies, detectors = [], []
    for word in families:
        family(word)
        topology = parse_topology(built_in_topology(f"simulated-{word}"), f"the built-in topology of {word}")
        topologies.append(topology)
        (settings,) = topology.simulators.values()
        detectors.append(SimulatedDetector(_detector_of(topology), word, settings))
    topology = together(name, topologies)
    database = msgspec.structs.replace(topology.database, embedded=EmbeddedDatabase.ALWAYS)
    return SimulatedSite(msgspec.structs.replace(topology, database=database), tuple(detectors))


def _found(words: str) -> Callable[..., Any]:
    """`module:function`."""
    module, _, function = words.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), function)
    return found


def _detector_of(topology: Topology) -> str:
    (controller,) = (placed for placed in topology.devices() if placed.class_name == CONTROLLER)
    return str(controller.device.properties[DETECTORS])
