"""One exposure command of the simulated camserver: when its images are ready, and what becomes of signals. Pure."""

from __future__ import annotations

from collections import deque
from enum import StrEnum

import msgspec

from maxdaq_tango.detectors.pilatus.protocol import image_name
from maxdaq_tango.detectors.pilatus.simulator_files import ImageText
from maxdaq_tango.detectors.simulation.delivery import DeliveryPlan
from maxdaq_tango.detectors.simulation.faults import Faults


class Start(StrEnum):
    """The commands, and what each waits for."""

    EXPOSURE = "Exposure"
    """Nothing."""
    EXT_TRIGGER = "ExtTrigger"
    """One edge, for all images."""
    EXT_M_TRIGGER = "ExtMTrigger"
    """One edge an image."""
    EXT_ENABLE = "ExtEnable"
    """One gate an image, which is as long as the gate."""


SENTENCES = {
    Start.EXT_TRIGGER: "Starting externally triggered exposure(s)",
    Start.EXT_M_TRIGGER: "Starting externally multi-triggered exposure(s)",
    Start.EXT_ENABLE: "Starting externally enabled exposure(s)",
}


class ExposurePlan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the images of one command depend on, frozen when it was given."""

    series: int
    start: Start
    typed: str
    """Name of the file, as in the command."""
    folder: str
    images: int
    exposure_s: float
    period_s: float
    delay_s: float
    readout_s: float
    gap_fill: int
    flag_bad_pixels: bool
    acknowledge_every: int
    text: ImageText
    faults: Faults

    def name(self, number: int) -> str:
        """Of the file of image `number`."""
        return image_name(self.typed, number, self.images)


class Exposure:
    """From the start to its last image, or its end by force."""

    def __init__(self, plan: ExposurePlan, now: float) -> None:
        self.plan = plan
        self.delivery = DeliveryPlan(plan.faults)
        self.made = 0
        self.placed = ""
        """Path of the newest image."""
        self.killed_s: float | None = None
        self.announced = False
        """The end was told before its time (fault end_at)."""
        self.signals_ignored = 0
        self._ready: deque[float] = deque()
        """When the images that have begun will be ready; those of a free run are not counted out beforehand."""
        self._free_from_s: float | None = now + plan.delay_s if plan.start is Start.EXPOSURE else None
        self._taken_until_s = float("-inf")
        self._triggered = 0

    @property
    def is_waiting(self) -> bool:
        """For a signal from outside."""
        return self._free_from_s is None and not self._ready and self.made < self.plan.images

    @property
    def complete(self) -> bool:
        """All images are made."""
        return self.made >= self.plan.images

    @property
    def stuck(self) -> bool:
        """Nothing comes any more, and nobody says so (faults never_start, stop_after)."""
        return self.plan.faults.never_start or self.delivery.gone

    def next_ready_s(self) -> float | None:
        """When the next image is ready; None = not without a signal, or never."""
        if self.complete or self.killed_s is not None or self.stuck:
            return None
        if self._ready:
            return self._ready[0]
        if self._free_from_s is None:
            return None
        return self._free_from_s + self.made * self.plan.period_s + self.plan.exposure_s

    def take(self) -> int:
        """The number of the image that is ready."""
        if self._ready:
            self._ready.popleft()
        self.made += 1
        return self.made - 1

    def edge(self, at_s: float) -> bool:
        """A rising edge; False: it comes to nothing."""
        plan = self.plan
        if plan.start is Start.EXT_M_TRIGGER:
            return self._one(at_s, plan.delay_s + plan.exposure_s)
        if plan.start is not Start.EXT_TRIGGER or self._free_from_s is not None:
            self.signals_ignored += 1
            return False
        self._free_from_s = at_s + plan.delay_s
        return True

    def gate(self, at_s: float, width_s: float) -> bool:
        """A gate of this length; False: it comes to nothing."""
        return self.plan.start is Start.EXT_ENABLE and self._one(at_s, width_s)

    def _one(self, at_s: float, lasts_s: float) -> bool:
        if self._triggered >= self.plan.images or at_s < self._taken_until_s:
            self.signals_ignored += 1
            return False
        self._triggered += 1
        self._taken_until_s = at_s + lasts_s + self.plan.readout_s
        self._ready.append(at_s + lasts_s)
        return True
