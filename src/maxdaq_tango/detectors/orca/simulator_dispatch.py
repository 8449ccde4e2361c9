"""What becomes of an exposure on its way out of a simulated camera: faults that a camera can have. Pure.

Faults of a stream are not among them: the stream is made by the streamer, which is no simulation.
"""

from __future__ import annotations

import msgspec

from maxdaq_tango.detectors.orca.simulator import Shot
from maxdaq_tango.detectors.simulation.delivery import Damage, Delivery
from maxdaq_tango.detectors.simulation.faults import Faults


class Parcel(msgspec.Struct, frozen=True):
    """An exposure to send."""

    shot: Shot
    lost: bool = False
    announced: bool = True
    """The driver is told of the loss."""
    corrupt: bool = False
    delay_s: float = 0.0
    sent_as: int | None = None

    @property
    def stamp(self) -> int:
        """What the camera says that it is the number of."""
        return self.shot.stamp if self.sent_as is None else self.sent_as

    @property
    def delivery(self) -> Delivery:
        """For the account."""
        return Delivery(self.shot.number, damage=Damage.BITS if self.corrupt else Damage.NONE)

    def changed(self, pixels: bytes) -> bytes:
        """The pixels as they leave."""
        if not self.corrupt:
            return pixels
        middle = len(pixels) // 2
        return pixels[:middle] + bytes([pixels[middle] ^ 0x10]) + pixels[middle + 1 :]


def parcel_of(shot: Shot, faults: Faults) -> Parcel:
    """What to send of an exposure. Numbers of faults count from when buffers were given, as the pixels do."""
    number = shot.number
    if faults.gone(number):
        return Parcel(shot, lost=True, announced=False)
    sent_as = None
    if faults.restart_at is not None and number >= faults.restart_at:
        sent_as = number - faults.restart_at
    if number == faults.number_at:
        sent_as = faults.number_sent & 0x7FFFFFFF
    return Parcel(
        shot,
        lost=faults.drops(number),
        corrupt=faults.meets("corrupt", number),
        delay_s=faults.delay_s if faults.meets("delay", number) else 0.0,
        sent_as=sent_as,
    )
