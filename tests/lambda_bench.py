"""The simulated Lambda on a clock that tests turn by hand."""

from __future__ import annotations

from typing import Any

import pytest

from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.detectors.xspectrum_lambda.simulator import LambdaSimulator, SimulatorOptions
from maxdaq_tango.detectors.xspectrum_lambda.simulator_acquisition import Waiting
from maxdaq_tango.detectors.xspectrum_lambda.simulator_settings import Refusal

SMALL = {"modules": 2, "rows": 8, "columns": 24, "room_frames": 6}


class Bench:
    """The simulator with a hand on its clock."""

    def __init__(self, faults: Faults | None = None, **options: Any) -> None:
        self.now = 1000.0
        self.options = SimulatorOptions(**(SMALL | options))
        self.simulator = LambdaSimulator(self.options, faults or Faults())

    def ready(self, frames: int = 3, **settings: Any) -> Bench:
        """Connected, initialised, set, and its memory allocated."""
        self.simulator.connect()
        self.simulator.initialize(self.now)
        told = {"shutter_time": 100.0, "number_of_frames": frames, "thresholds": [6.0], **settings}
        for name, value in told.items():
            self.simulator.set(name, [], value, self.now)
        self.advance(1.0)
        return self

    def started(self, frames: int = 3, **settings: Any) -> Bench:
        self.ready(frames, **settings)
        self.simulator.start(self.now)
        return self

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self.simulator.step(self.now)

    def take(self, module: int = 0, *, release: bool = True) -> list[Waiting]:
        """All that a receiver has."""
        frames = []
        while (taken := self.simulator.take(module, self.now)) is not None:
            frames.append(taken[1])
            if release:
                self.simulator.release(module, taken[0])
        return frames

    def refuses(self, act: Any, *arguments: Any) -> Refusal:
        with pytest.raises(Refusal) as refusal:
            act(*arguments)
        return refusal.value


def numbers(frames: list[Waiting]) -> list[int]:
    return [frame.nr for frame in frames]
