"""Frames that come twice: is the copy the frame that was stored?

The copy is made ready as if it were to be stored, and its checksum is kept. When the file is closed it is compared with
the checksum of the row. All of this costs only where copies come; nothing is kept of frames that come once.
"""

from __future__ import annotations

import numpy as np
import xxhash

from maxdaq_tango.model import MISSING_LISTED, Fate, Frame, FrameFormat
from maxdaq_tango.pipeline.ledger import Account
from maxdaq_tango.pipeline.numbers import Ranges, ranges_of
from maxdaq_tango.pipeline.transforms import Chain

OTHER = -1
"""No checksum: the copy could never be stored as the frame was."""


class Copies:
    """Of one series. One thread."""

    def __init__(self) -> None:
        self._checksums: dict[int, set[int]] = {}

    def __bool__(self) -> bool:
        """There is something to compare."""
        return bool(self._checksums)

    def note(self, frame: Frame, format: FrameFormat | None, chain: Chain | None) -> None:
        """A copy has come, in a series of `format` whose frames go through `chain`. MISSING_LISTED are looked at."""
        if len(self._checksums) < MISSING_LISTED:
            self._checksums.setdefault(frame.frame_number, set()).add(_checksum(frame, format, chain))

    def conflicting(self, account: Account, checksums: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> Ranges:
        """Numbers of which a copy differs from what was stored. `checksums` are those of the rows."""
        numbers: list[int] = []
        for number, seen in self._checksums.items():
            row = number - account.first
            if not 0 <= row < len(checksums) or account.fates[row] != Fate.WRITTEN:
                continue
            if seen != {int(checksums[row])}:
                numbers.append(number)
        return ranges_of(numbers)


def _checksum(frame: Frame, format: FrameFormat | None, chain: Chain | None) -> int:
    if frame.format != format:
        return OTHER
    if chain is not None:
        try:
            frame = chain.apply(frame, np.empty(chain.room, np.uint8).data)
        except Exception:  # a damaged copy: whatever it was, it was not this frame
            return OTHER
    hasher = xxhash.xxh3_64()
    for blob in frame.blobs:
        hasher.update(blob)
    return hasher.intdigest()
