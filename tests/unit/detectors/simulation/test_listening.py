"""Whoever says nothing is served on this computer alone."""

from __future__ import annotations

import os
from contextlib import ExitStack

import psutil
import pytest

from maxdaq_tango.detectors.eiger.simulator import SimulatorOptions
from maxdaq_tango.detectors.eiger.simulator_server import EigerSimulatorServer
from maxdaq_tango.detectors.orca.simulator import OrcaOptions
from maxdaq_tango.detectors.orca.simulator_server import OrcaSimulatorServer
from maxdaq_tango.detectors.orca.streamer import OrcaStreamer
from maxdaq_tango.detectors.simulation.stins_sender import StinsOptions
from maxdaq_tango.detectors.simulation.stins_server import StinsServer
from maxdaq_tango.errors import ConfigurationError


def orca_ports(stack: ExitStack) -> list[int]:
    """None where there is no compiler for its library."""
    try:
        camera = stack.enter_context(OrcaSimulatorServer(OrcaOptions(rows=64, columns=64)))
    except ConfigurationError:
        return []
    streamer = stack.enter_context(OrcaStreamer(library=str(camera.library)))
    return [camera.port, camera.http_port, streamer.port, streamer.stream_port]


@pytest.mark.lesson(39)
def test_simulators_listen_on_this_computer_alone() -> None:
    """A replay listens where it is told to, and the rest of a site is looked at in tests/system/test_up.py."""
    with ExitStack() as stack:
        eiger = stack.enter_context(EigerSimulatorServer(SimulatorOptions(rows=8, columns=8)))
        stins = stack.enter_context(StinsServer(StinsOptions(rows=8, columns=8)))
        orca = orca_ports(stack)
        listening = {
            connection.laddr.port: connection.laddr.ip
            for connection in psutil.Process(os.getpid()).net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }
        for port in (*eiger.ports().values(), stins.http_port, stins.stream_port, *orca):
            assert listening[port] == "127.0.0.1"
