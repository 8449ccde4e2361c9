"""Simulated Jungfraus, each a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from simulated_jungfrau import SimulatedJungfrau


@pytest.fixture
def start() -> Iterator[Callable[..., SimulatedJungfrau]]:
    """Starts simulated detectors with options; all are ended after the test."""
    started: list[SimulatedJungfrau] = []

    def starting(*options: str) -> SimulatedJungfrau:
        started.append(SimulatedJungfrau(*options))
        return started[-1]

    yield starting
    for simulator in started:
        simulator.end()


@pytest.fixture(scope="module")
def simulated() -> Iterator[SimulatedJungfrau]:
    """One that the tests of a module share: two interfaces."""
    simulator = SimulatedJungfrau("--interfaces", "2")
    yield simulator
    simulator.end()
