"""Whoever says nothing is served on this computer alone."""

from __future__ import annotations

import os
from contextlib import ExitStack

import psutil
import pytest

from maxdaq_tango.detectors.eiger.simulator import SimulatorOptions
from maxdaq_tango.detectors.eiger.simulator_server import EigerSimulatorServer
from maxdaq_tango.detectors.simulation.stins_sender import StinsOptions
from maxdaq_tango.detectors.simulation.stins_server import StinsServer


@pytest.mark.lesson(39)
def test_simulators_listen_on_this_computer_alone() -> None:
    """A replay listens where it is told to, and the rest of a site is looked at in tests/system/test_up.py."""
    with ExitStack() as stack:
        eiger = stack.enter_context(EigerSimulatorServer(SimulatorOptions(rows=8, columns=8)))
        stins = stack.enter_context(StinsServer(StinsOptions(rows=8, columns=8)))
        listening = {
            connection.laddr.port: connection.laddr.ip
            for connection in psutil.Process(os.getpid()).net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }
        for port in (*eiger.ports().values(), stins.http_port, stins.stream_port):
            assert listening[port] == "127.0.0.1"
