"""Faults of the simulated camera that its sockets and its program have."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx
import pytest

from maxdaq_tango.detectors.orca.dcam import DcamLibrary
from maxdaq_tango.detectors.orca.simulator_server import OrcaSimulatorServer, main
from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.errors import DetectorOffline
from maxdaq_tango.testing.driver_contract import wait_for

Make = Callable[..., OrcaSimulatorServer]


def is_found(server: OrcaSimulatorServer) -> bool:
    try:
        DcamLibrary(str(server.library)).close()
    except DetectorOffline:
        return False
    return True


def mend(server: OrcaSimulatorServer, status: int = 200, **faults: object) -> None:
    reply = httpx.post(f"{server.url}/simulator/api/faults", json=faults, trust_env=False)
    assert reply.status_code == status, reply.text


def test_a_camera_that_is_away_at_the_start_is_found_later(make_server: Make) -> None:
    began = time.monotonic()
    server = make_server(Faults(offline_s=1.0))
    wait_for("the camera", lambda: is_found(server))
    assert time.monotonic() - began >= 1.0


def test_a_camera_goes_away_on_request_and_a_refused_request_does_nothing(make_server: Make) -> None:
    server = make_server()
    assert is_found(server)
    mend(server, offline_s=1000.0)
    assert not is_found(server)
    mend(server, 400, missing_end=True)
    assert not is_found(server)
    mend(server)
    assert is_found(server)


def test_initialising_and_arming_take_as_long_as_they_are_told(make_server: Make) -> None:
    server = make_server(Faults(initialise_delay_s=0.3, arm_delay_s=0.4))
    began = time.monotonic()
    library = DcamLibrary(str(server.library))
    assert time.monotonic() - began >= 0.3
    camera = library.open(0)
    camera.allocate(3)
    began = time.monotonic()
    camera.start()
    assert time.monotonic() - began >= 0.4
    camera.stop()
    library.close()


def test_a_camera_vanishes_in_a_series_and_comes_back(make_server: Make) -> None:
    server = make_server(Faults(vanish_at=1, vanish_s=0.5))
    library = DcamLibrary(str(server.library))
    camera = library.open(0)
    camera.allocate(3)
    camera.start()

    def is_gone() -> bool:
        try:
            camera.status()
        except DetectorOffline:
            return True
        return False

    wait_for("a broken connection", is_gone)
    library.close()
    wait_for("the camera", lambda: is_found(server))  # without mending


def test_a_fault_that_would_do_nothing_is_refused_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--rows", "64", "--columns", "64", "--fault", "missing_end"])
    assert ended.value.code == 2
    assert "the end message is the streamer's" in capsys.readouterr().err
