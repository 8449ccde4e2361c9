"""From frames made to messages sent: order, copies, gaps, and what stands between them. Pure.

    for each frame made:   plan.frame(number)   ->  Delivery ...
    when the series ends:  plan.end()           ->  what was held back

A Delivery says what a message is and what is wrong with it; each family's simulator makes the message.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.detectors.simulation.pattern import mix

OTHER_SERIES = 1000
"""How far the number of another series is from ours, and its frames' pixels from those of the same number."""


class Item(StrEnum):
    """What a message is."""

    HEADER = "header"
    IMAGE = "image"
    END = "end"


class Damage(StrEnum):
    """What is wrong inside an image."""

    NONE = "none"
    TRUNCATED = "truncated"
    BITS = "bits"
    BLOCK_LENGTH = "block length"
    SIZE = "size"
    DTYPE = "dtype"
    SHAPE = "shape"
    BOMB = "bomb"


class Delivery(msgspec.Struct, frozen=True):
    """One message to send."""

    number: int
    """Of the frame that was made: its pixels and times are sent. -1: the header or the end of the series itself."""
    item: Item = Item.IMAGE
    damage: Damage = Damage.NONE
    sent_as: int | None = None
    """The frame number in the message, where that is another one."""
    wrong_series: bool = False
    delay_s: float = 0.0
    """A pause before it leaves."""
    away_s: float = 0.0
    """How long the sender is gone before it leaves; every connection is broken."""
    thief: bool = False
    """A second client connects before it leaves."""

    @property
    def truncated(self) -> bool:
        """Half of the blob is missing."""
        return self.damage is Damage.TRUNCATED

    @property
    def wire_number(self) -> int:
        """The frame number in the message."""
        return self.number if self.sent_as is None else self.sent_as

    @property
    def pixels_of(self) -> int:
        """The number of the frame whose pixels it carries: another series has other pixels."""
        return self.number + OTHER_SERIES if self.wrong_series else self.number


HEADER = Delivery(-1, Item.HEADER)
END = Delivery(-1, Item.END)


class DeliveryPlan:
    """Turns frames made into messages sent, one series long."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._held: list[int] = []
        self._window: list[int] = []
        self._gone = faults.stop_after == 0
        self._away = self._thief = False

    @property
    def gone(self) -> bool:
        """True once the sender has vanished: not even the end message may be sent."""
        return self._gone

    @property
    def waiting(self) -> list[int]:
        """Frames that were made and will be sent later: so long their times must be known."""
        return [*self._held, *self._window]

    def frame(self, number: int) -> Iterator[Delivery]:
        """What to send now that frame `number` has been made; frames must come in rising order."""
        faults = self._faults
        self._gone = self._gone or faults.gone(number)
        if self._gone:
            return
        self._away = self._away or number == faults.vanish_at
        self._thief = self._thief or number == faults.thief_at
        for delivery in self._around(number):
            yield self._marked(delivery)
        if faults.stop_after is not None and number + 1 >= faults.stop_after:
            yield from map(self._marked, self._flush())
            self._gone = True

    def end(self) -> Iterator[Delivery]:
        """What is left to send before the end message."""
        if not self._gone:
            yield from map(self._marked, self._flush())

    def _around(self, number: int) -> Iterator[Delivery]:
        faults = self._faults
        if number in (faults.second_header_at, faults.interleave_at):
            yield Delivery(number, Item.HEADER, wrong_series=True)
        if number == faults.end_at:
            yield Delivery(number, Item.END)
        released, self._held = self._held, []
        if not faults.drops(number):
            if number in faults.reorder_frames:
                self._held = [number]
            else:
                yield from self._in_window(number)
        for earlier in released:
            yield from self._in_window(earlier)
        if faults.interleave_at is not None and number >= faults.interleave_at:
            yield Delivery(number, wrong_series=True)

    def _in_window(self, number: int) -> Iterator[Delivery]:
        if self._faults.reorder_window < 2:
            yield from self._copies(number)
            return
        self._window.append(number)
        if len(self._window) >= self._faults.reorder_window:
            yield from self._shuffled()

    def _shuffled(self) -> Iterator[Delivery]:
        window, self._window = self._window, []
        for number in sorted(window, key=lambda number: mix(mix(self._faults.seed) ^ 0x0DE4 << 40 ^ number)):
            yield from self._copies(number)

    def _flush(self) -> Iterator[Delivery]:
        held, self._held = self._held, []
        for number in held:
            yield from self._in_window(number)
        yield from self._shuffled()

    def _copies(self, number: int) -> Iterator[Delivery]:
        faults = self._faults
        sent_as = None
        if faults.restart_at is not None and number >= faults.restart_at:
            sent_as = number - faults.restart_at
        if number == faults.number_at:
            sent_as = faults.number_sent
        delivery = Delivery(
            number,
            damage=damage_of(faults, number),
            sent_as=sent_as,
            wrong_series=faults.meets("wrong_series", number),
            delay_s=faults.delay_s if faults.meets("delay", number) else 0.0,
        )
        yield delivery
        if faults.meets("duplicate", number):
            yield delivery

    def _marked(self, delivery: Delivery) -> Delivery:
        """What the socket has to do first goes with the next message, whatever that is."""
        if self._away or self._thief:
            away_s = self._faults.vanish_s if self._away else 0.0
            delivery = msgspec.structs.replace(delivery, away_s=away_s, thief=self._thief)
            self._away = self._thief = False
        return delivery


def damage_of(faults: Faults, number: int) -> Damage:
    """What is wrong inside the message of this frame; of several faults the first in this order."""
    if number == faults.bomb_at:
        return Damage.BOMB
    for fault, damage in _DAMAGES:
        if faults.meets(fault, number):
            return damage
    if faults.dtype_at is not None and number >= faults.dtype_at:
        return Damage.DTYPE
    if faults.shape_at is not None and number >= faults.shape_at:
        return Damage.SHAPE
    return Damage.NONE


_DAMAGES = (
    ("truncate", Damage.TRUNCATED),
    ("corrupt", Damage.BITS),
    ("block_length", Damage.BLOCK_LENGTH),
    ("wrong_size", Damage.SIZE),
)
