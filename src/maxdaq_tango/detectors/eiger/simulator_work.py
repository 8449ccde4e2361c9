"""Pieces of work of the simulated detector: bursts that were triggered, and steps that make messages."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from maxdaq_tango.detectors.eiger.simulator_headers import SeriesPlan
from maxdaq_tango.detectors.eiger.simulator_stream import Product, SeriesStream, Shot
from maxdaq_tango.detectors.serving.messages import Answer


class WorkKind(StrEnum):
    """What a piece of work is."""

    ARM = "arm"
    SHOT = "shot"
    END = "end"


class Work(msgspec.Struct, frozen=True):
    """Something to do outside the lock: it depends on nothing but what is in here."""

    kind: WorkKind
    plan: SeriesPlan
    stream: SeriesStream | None = None
    """None for ARM, which makes it."""
    shot: Shot | None = None

    def run(self, *, render: bool = False) -> tuple[SeriesStream, Product]:
        """Make the messages; `render` hands out a shot's pixels even when nothing is streamed."""
        stream = self.stream or SeriesStream(self.plan)
        if self.kind is WorkKind.ARM:
            return stream, stream.header()
        if self.shot is not None:
            return stream, stream.image(self.shot, render=render)
        return stream, stream.end()


class Burst(msgspec.Struct):
    """Exposures that follow one trigger."""

    start_s: float
    count: int
    exposure_s: float
    period_s: float
    images: int = 1
    """Images an exposure gives: 2 with the two counters of extg."""
    answer: Answer | None = None
    made: int = 0

    @property
    def end_s(self) -> float:
        """When the next burst may begin."""
        return self.start_s + self.count * self.period_s
