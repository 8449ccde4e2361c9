"""Which program is behind a name: what `up`, `demo` and `simulate` start."""

from __future__ import annotations

from maxdaq_tango.detectors.registry import FAMILIES

SERVER_MODULES = {
    **{family.device_class: family.device_module for family in FAMILIES.values()},
    "StreamReceiver": "maxdaq_tango.receiver.device",
    "DAQController": "maxdaq_tango.controller.device",
    "LimaFacade": "maxdaq_tango.lima.device",
    "EigerDectrisFacade": "maxdaq_tango.eigerdectris.device",
}
"""Tango server > module; each runs as `python -m MODULE INSTANCE`."""

SIMULATOR_MODULES = {
    **{name: family.simulator_module for name, family in FAMILIES.items()},
    "stins": "maxdaq_tango.detectors.simulation.stins_server",
}
"""Detector family, or stins for a sender that is none > module. Each prints one line of JSON with its addresses when it
is ready."""

STREAMER_MODULES = {name: family.streamer_module for name, family in FAMILIES.items() if family.streamer_module}
"""Detector family > module of its streamer, for those that cannot stream by themselves. As simulators do, each prints
its addresses."""
