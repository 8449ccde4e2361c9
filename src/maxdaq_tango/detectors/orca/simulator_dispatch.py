"""What becomes of an exposure on its way out of a simulated camera: faults that a camera can have. Pure.

Faults of a stream are not among them: the stream is made by the streamer, which is no simulation.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from maxdaq_tango.detectors.orca.simulator import Shot
from maxdaq_tango.detectors.simulation.delivery import Damage, Delivery
from maxdaq_tango.detectors.simulation.faults import Faults

MEANINGLESS: Mapping[str, str] = {
    "duplicate_frames": "a frame has one place in the buffer",
    "duplicate_fraction": "a frame has one place in the buffer",
    "reorder_frames": "the link to the camera keeps the order",
    "reorder_window": "the link to the camera keeps the order",
    "truncate_frames": "a frame fills its buffer or is lost",
    "truncate_fraction": "a frame fills its buffer or is lost",
    "block_length_frames": "nothing is compressed",
    "block_length_fraction": "nothing is compressed",
    "wrong_size_frames": "the size of a frame was agreed when buffers were given",
    "wrong_size_fraction": "the size of a frame was agreed when buffers were given",
    "wrong_series_frames": "a camera knows no series",
    "wrong_series_fraction": "a camera knows no series",
    "dtype_at": "the type of pixels was agreed when buffers were given",
    "shape_at": "the shape was agreed when buffers were given",
    "bomb_at": "the camera sends no JSON",
    "bomb_depth": "the camera sends no JSON",
    "filename": "the header is the streamer's",
    "second_header_at": "the header is the streamer's",
    "interleave_at": "a camera knows no series",
    "end_at": "the end message is the streamer's",
    "thief_at": "the link has two ends; a second client of the stream is the streamer's to meet",
    "missing_header": "the header is the streamer's",
    "missing_end": "the end message is the streamer's",
    "duplicate_end": "the end message is the streamer's",
}
"""Faults that do nothing here, and why."""


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
