"""A ring of buffers that the camera's driver writes without asking: which frames can be read, and which are gone. Pure.

DCAM fills slot `n mod slots` with the n-th frame of a capture and never waits for anybody. While frame n is being
written, its slot still belongs to it and no longer to frame n - slots. So of `transferred` frames those from
`transferred - slots + 1` on can be read, and a frame that was read is only good if that still holds afterwards.
"""

from __future__ import annotations


class RingAccount:
    """What was read of one capture, in the order of transfer."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.next_index = 0
        """Of the frame to read next."""
        self.read = 0
        self.lost = 0
        """Overwritten before they were read."""
        self.abandoned = 0
        """Not read because nobody wants them any more."""
        self.unwanted = 0
        """Of those that were read."""

    def oldest(self, transferred: int) -> int:
        """The first frame that nobody is writing over."""
        return max(0, transferred - self.slots + 1)

    def look(self, transferred: int) -> int | None:
        """Index of the frame to read now, None when there is none. Counts what was overwritten."""
        oldest = self.oldest(transferred)
        if self.next_index < oldest:
            self.lost += oldest - self.next_index
            self.next_index = oldest
        return self.next_index if self.next_index < transferred else None

    def done(self, transferred: int) -> bool:
        """The frame of `look` was read; False when it was overwritten meanwhile, and is lost."""
        intact = self.next_index >= self.oldest(transferred)
        self.next_index += 1
        self.read += intact
        self.lost += not intact
        return intact

    def give_up(self, transferred: int) -> None:
        """What has not been read will not be, and is lost."""
        self.lost += max(0, transferred - self.next_index)
        self.next_index = max(self.next_index, transferred)

    def abandon(self, transferred: int) -> None:
        """What could still be read is not wanted."""
        if self.look(transferred) is not None:
            self.abandoned += transferred - self.next_index
            self.next_index = transferred


class FrameNumbers:
    """Numbers of frames in a series, from the camera's own count of exposures.

    The stamp says which exposure a frame is, even when earlier ones were lost on the way; the index of the transfer
    does not. A stamp that does not fit (it falls, or the camera does not begin at 0) is not believed: then frames are
    numbered on as they come. That the first stamp is another than 0 because frames were lost is believed only where the
    driver told of a loss: a camera that counts from 1, or on from the last series, would shift all frames by that.
    """

    def __init__(self, count: int, first: int = 0) -> None:
        self.count = count
        """Frames of this capture."""
        self.odd_stamps = 0
        self.loss_was_told = False
        """The driver said in this capture that frames were lost."""
        self._first = first
        self._origin: int | None = None
        self._last = -1

    def position(self, index: int, stamp: int) -> int:
        """Place in the capture, from 0; `count` or more is one too many. Changes nothing."""
        place = stamp - (self._begin(index, stamp) if self._origin is None else self._origin)
        return place if place > self._last else max(self._last + 1, index)

    def exposed(self, index: int, stamp: int) -> int:
        """How many exposures are over when this is the newest frame, whether it was taken or not. Changes nothing."""
        origin = self._begin(index, stamp) if self._origin is None else self._origin
        return max(self._last + 1, stamp - origin + 1 if stamp >= origin else index + 1)

    def wants_to_know_of_losses(self, index: int, stamp: int) -> bool:
        """It is the first frame, and whether its stamp is believed depends on `loss_was_told`."""
        return self._origin is None and stamp != index and not self.loss_was_told

    def take(self, index: int, stamp: int) -> int:
        """Number in the series of a frame that was read."""
        if self._origin is None:
            self._origin = self._begin(index, stamp)
            self.odd_stamps += self._origin != 0
        place = self.position(index, stamp)
        if place != stamp - self._origin:
            self.odd_stamps += 1
            self._origin = stamp - place
        self._last = place
        return self._first + place

    @property
    def reached(self) -> int:
        """How many places up to the last one that was taken."""
        return self._last + 1

    def _begin(self, index: int, stamp: int) -> int:
        if self.loss_was_told and index <= stamp < max(self.count, index + 1):
            return 0
        return stamp - index
