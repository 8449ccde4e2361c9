"""Does a STINS frame belong to the present life of its sender? Pure.

STINS has no series id. A message that is older than the header has a lower number and is fenced by that; but a sender
that was started again counts its messages from 0, and a frame of its earlier life that arrives late then has a number
above the new header's. It would take the row of the true frame, which would be thrown away as a copy.

A sender that numbers messages and frames in step has the same difference between the two in the whole series, whatever
is lost on the way; where its camera skips frames the difference falls, for good. A frame that contradicts this is
doubtful. Senders with numbers of their own (rings of buffers, several threads) contradict it all the time: the second
contradiction ends the rule.
"""

from __future__ import annotations

FRAMES_AWRY = 2
"""Contradictions that end the rule."""


class Numbering:
    """Of one series. One thread."""

    def __init__(self, header: int | None = None) -> None:
        """`header` is the message number of the header; None = the sender gives none, and there is no rule."""
        self.offset: int | None = None
        """Message number - frame number of the newest frames; a frame that has it need not be asked about."""
        self.first: int | None = None
        """Frame number with which the series begins, as the first frame proved; None = it proved nothing."""
        self.is_off = header is None
        self.decision = ""
        """Why the rule has ended; "" while it holds."""
        self._header = header
        self._known: set[int] = set()
        """Offsets before a frame was skipped; with several sockets such frames may still come."""
        self._awry = 0

    def accepts(self, msg_number: int, number: int, newest: int) -> bool:
        """Whether a frame may be taken. Only to be asked where its offset is not `offset`.

        `newest` is the highest frame number so far.
        """
        if self._header is None or self.is_off:
            return True
        offset = msg_number - number
        first = self._header + 1 - offset
        if self.offset is None and first >= 0:
            self.offset, self.first = offset, first
            self._known.add(offset)
            return True
        if offset in self._known or first == 0:  # the header is the best witness: nearly all count from 0
            return True
        if self.offset is not None and offset < self.offset and number > newest:  # the camera has skipped frames
            self.offset = offset
            self._known.add(offset)
            return True
        self._awry += 1
        if self._awry < FRAMES_AWRY:
            return False
        self.is_off = True
        self.decision = (
            f"frames and messages are not numbered in step (frame {number} is message {msg_number}, the header was "
            f"{self._header}): a stale frame of an earlier life of the sender cannot be told by them"
        )
        return True
