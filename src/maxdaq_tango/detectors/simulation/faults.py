"""Faults on request: one list that the simulators of all families understand, and its effect on a stream.

Real detectors do all of these; a receiver or controller that has never met them is not tested.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from maxdaq_tango.detectors.simulation.pattern import mix
from maxdaq_tango.errors import ConfigurationError


class Faults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What shall go wrong. Frame numbers count from 0 in every series. The default is a detector in good health."""

    error_state: str = ""
    """A reason: the detector goes to its error state and stays there until it is initialised again."""
    refuse_arm: str = ""
    """A reason: every arm is refused with it."""
    offline_s: float = 0.0
    """The control address refuses connections for this long and then works again; everything else goes on."""
    failing_keys: tuple[str, ...] = ()
    """Parameters or commands that answer with an internal error (HTTP 500)."""
    arm_delay_s: float = 0.0
    """How much longer arm takes."""
    initialise_delay_s: float = 0.0
    never_start: bool = False
    """Triggers are accepted, but no frame is ever made: the series lasts until somebody ends it."""
    stop_after: int | None = None
    """Nothing more is sent after this many frames of a series, not even the end: the sender has gone."""
    drop_frames: tuple[int, ...] = ()
    drop_fraction: float = 0.0
    """0 to 1; which frames are dropped depends on `seed` and the frame number alone."""
    duplicate_frames: tuple[int, ...] = ()
    reorder_frames: tuple[int, ...] = ()
    """Each is sent after its successor."""
    truncate_frames: tuple[int, ...] = ()
    """Only the first half of the blob is sent."""
    wrong_series_frames: tuple[int, ...] = ()
    """Sent with the number of another series."""
    missing_header: bool = False
    missing_end: bool = False
    duplicate_end: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.drop_fraction <= 1:
            raise ConfigurationError(f"set drop_fraction to {self.drop_fraction}", accepted="0 to 1")
        for name in ("arm_delay_s", "initialise_delay_s", "offline_s"):
            if not 0 <= getattr(self, name) < 3600:
                raise ConfigurationError(f"set {name} to {getattr(self, name)}", accepted="0 to 3600 s")
        if self.stop_after is not None and self.stop_after < 0:
            raise ConfigurationError(f"set stop_after to {self.stop_after}", accepted="0 or more")

    def drops(self, number: int) -> bool:
        """True when this frame is not to be sent."""
        if number in self.drop_frames:
            return True
        return self.drop_fraction > 0 and mix(mix(self.seed) ^ number) < int(self.drop_fraction * 2**64)

    def gone(self, number: int) -> bool:
        """True when the sender has vanished before this frame."""
        return self.stop_after is not None and number >= self.stop_after


class Delivery(msgspec.Struct, frozen=True):
    """One message to send for a frame."""

    number: int
    truncated: bool = False
    wrong_series: bool = False


class DeliveryPlan:
    """Turns frames made into frames sent, one series long."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._held: list[int] = []
        self._gone = faults.stop_after == 0

    @property
    def gone(self) -> bool:
        """True once the sender has vanished: not even the end message may be sent."""
        return self._gone

    def frame(self, number: int) -> Iterator[Delivery]:
        """What to send now that frame `number` has been made; frames must come in rising order."""
        faults = self._faults
        self._gone = self._gone or faults.gone(number)
        if self._gone:
            return
        released, self._held = self._held, []
        if not faults.drops(number):
            if number in faults.reorder_frames:
                self._held = [number]
            else:
                yield from self._copies(number)
        for earlier in released:
            yield from self._copies(earlier)
        if faults.stop_after is not None and number + 1 >= faults.stop_after:
            yield from self._flush()
            self._gone = True

    def end(self) -> Iterator[Delivery]:
        """What is left to send before the end message."""
        if not self._gone:
            yield from self._flush()

    def _flush(self) -> Iterator[Delivery]:
        held, self._held = self._held, []
        for number in held:
            yield from self._copies(number)

    def _copies(self, number: int) -> Iterator[Delivery]:
        faults = self._faults
        delivery = Delivery(number, number in faults.truncate_frames, number in faults.wrong_series_frames)
        yield delivery
        if number in faults.duplicate_frames:
            yield delivery
