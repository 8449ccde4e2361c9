"""Simulated cameras, real compiled libraries; skipped where there is no C compiler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from maxdaq_tango.detectors.orca.simulated_library import find_compiler
from maxdaq_tango.detectors.orca.simulator import OrcaOptions
from maxdaq_tango.detectors.orca.simulator_server import OrcaSimulatorServer
from maxdaq_tango.errors import ConfigurationError

SMALL = {"rows": 64, "columns": 96}


@pytest.fixture(scope="session")
def _compiler() -> None:
    try:
        find_compiler()
    except ConfigurationError as error:
        pytest.skip(str(error))


@pytest.fixture
def make_server(_compiler: None) -> Iterator[Callable[..., OrcaSimulatorServer]]:
    """Cameras of 64 x 96 pixels that end with the test."""
    with ExitStack() as stack:
        yield lambda faults=None, **options: stack.enter_context(
            OrcaSimulatorServer(OrcaOptions(**{**SMALL, **options}), **({"faults": faults} if faults else {}))
        )


@pytest.fixture
def server(make_server: Callable[..., OrcaSimulatorServer], request: pytest.FixtureRequest) -> OrcaSimulatorServer:
    """An ORCA-Lightning unless parametrised otherwise."""
    return make_server(**getattr(request, "param", {}))


@pytest.fixture
def set_faults(server: OrcaSimulatorServer) -> Callable[..., None]:
    """Break or mend the camera of the test."""

    def change(**faults: Any) -> None:
        httpx.post(f"{server.url}/simulator/api/faults", json=faults, trust_env=False).raise_for_status()

    return change
