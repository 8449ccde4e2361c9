"""One capture of a simulated camera: which exposures end when. Pure; time is an argument, in seconds, monotonic."""

from __future__ import annotations

from collections import deque

import msgspec

from maxdaq_tango.detectors.orca.properties import Property, TriggerActive, TriggerSource, VendorTriggerMode
from maxdaq_tango.detectors.orca.simulator_properties import OrcaProperties

MOST_AT_ONCE = 16


class Capture:
    """From start to stop. Exposures are numbered from 0; a trigger that comes too early is ignored and counted."""

    def __init__(self, properties: OrcaProperties, number: int, limit: int, now: float) -> None:
        self.number = number
        self.limit = limit
        """Exposures to make; 0 = until stopped."""
        self.ended_exposures = 0
        self.ignored = 0
        self._properties = properties
        self._running_from: float | None = None
        self._ready_at = now
        self._pending: deque[float] = deque()
        if self._source in (TriggerSource.INTERNAL, TriggerSource.MASTER_PULSE):
            self._running_from = now

    @property
    def _source(self) -> int:
        return int(self._properties.value(Property.TRIGGER_SOURCE))

    @property
    def is_over(self) -> bool:
        """All exposures that were asked for are made."""
        return bool(self.limit) and self.ended_exposures >= self.limit

    def software_trigger(self, now: float) -> bool:
        """True when it starts something."""
        return self._trigger(now) if self._source == TriggerSource.SOFTWARE else self._ignore()

    def edge(self, now: float) -> bool:
        """An edge on the trigger input."""
        listens = self._source == TriggerSource.EXTERNAL
        active = self._properties.value(Property.TRIGGER_ACTIVE)
        return self._trigger(now) if listens and active == TriggerActive.EDGE else self._ignore()

    def gate(self, now: float, width_s: float) -> bool:
        """A gate on the trigger input; its length is the exposure."""
        listens = self._source == TriggerSource.EXTERNAL
        active = self._properties.value(Property.TRIGGER_ACTIVE)
        if not listens or active != TriggerActive.LEVEL or now < self._ready_at:
            return self._ignore()
        self._ready_at = now + max(width_s, self._properties.readout_s)
        self._pending.append(self._ready_at)
        return True

    def _ignore(self) -> bool:
        self.ignored += 1
        return False

    def _trigger(self, now: float) -> bool:
        properties = self._properties
        start = now + properties.value(Property.TRIGGER_DELAY)
        if properties.value(Property.TRIGGER_MODE) == VendorTriggerMode.START:
            if self._running_from is not None:
                return self._ignore()
            self._running_from = start
            return True
        if now < self._ready_at:
            return self._ignore()
        # A triggered frame is there when the camera listens again, so that nobody triggers in vain because of it.
        self._ready_at = start + properties.least_interval_s
        self._pending.append(self._ready_at)
        return True

    def next_due(self) -> float | None:
        """When the next exposure ends; None = not before another trigger."""
        if self.is_over:
            return None
        if self._running_from is not None:
            return self._running_from + self._properties.exposure_s
        return self._pending[0] if self._pending else None

    def step(self, now: float) -> list[int]:
        """Numbers of exposures that have ended, at most a few at once. A slow machine makes them late, not fewer."""
        ended: list[int] = []
        while len(ended) < MOST_AT_ONCE and (due := self.next_due()) is not None and due <= now:
            if self._running_from is not None:
                self._running_from += self._properties.interval_s
            else:
                self._pending.popleft()
            ended.append(self.ended_exposures)
            self.ended_exposures += 1
        return ended


class Signal(msgspec.Struct, frozen=True, order=True):
    """Something on the trigger input."""

    at: float
    width_s: float = 0.0
    """0 = an edge."""
