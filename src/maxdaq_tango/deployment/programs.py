"""Which program is behind a name: the one table that `up`, `demo`, `simulate` and the Helm chart share."""

from __future__ import annotations

SERVER_MODULES = {
    "EigerDetector": "maxdaq_tango.detectors.eiger.device",
    "StreamReceiver": "maxdaq_tango.receiver.device",
    "DAQController": "maxdaq_tango.controller.device",
}
"""Tango server > module; each runs as `python -m MODULE INSTANCE`."""

SIMULATOR_MODULES = {
    "eiger": "maxdaq_tango.detectors.eiger.simulator_server",
}
"""Detector family > module; each prints one line of JSON with its addresses when it is ready."""
