"""Is a part that comes again the part that came? Checksums of what came over the wire, module by module. Pure.

`copies.py` compares whole frames with what is in the file; that would need a copy of every module of a frame, and says
nothing when a single sender was started again. So each part has its checksum here: a tenth of a core for 1 GB/s.

As the memory for that is bounded, a very long series keeps half of them for its first frames, with which a sender that
was started again begins, and half for the newest, of which there may be copies on the way.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import xxhash

from maxdaq_tango.model import Buffer

MOST_BYTES = 16 << 20
FRAME_COST = 200
"""Bytes that a frame costs here, whatever the number of its modules."""


class PartSums:
    """Of one series. One thread."""

    def __init__(self, modules: int, most_bytes: int = MOST_BYTES) -> None:
        self._half = max(1, most_bytes // (FRAME_COST + 8 * modules) // 2)  # frames
        self._first: dict[int, array[int]] = {}
        self._newest: dict[int, array[int]] = {}  # in the order in which they came

    def keep(self, number: int, blobs: Sequence[Buffer | None]) -> None:
        """What a frame that goes out is made of; None where a module is not there."""
        sums = array("Q", [0 if blob is None else checksum(blob) for blob in blobs])
        if len(self._first) < self._half:
            self._first[number] = sums
            return
        if len(self._newest) == self._half:
            del self._newest[next(iter(self._newest))]
        self._newest[number] = sums

    def contradict(self, number: int, module: int, blob: Buffer | None) -> bool:
        """A part that came again is another one than that of the frame. False also where none was there, or known."""
        sums = self._first.get(number) or self._newest.get(number)
        return blob is not None and sums is not None and sums[module] not in (0, checksum(blob))


def checksum(blob: Buffer) -> int:
    """Never 0."""
    return xxhash.xxh3_64_intdigest(blob) or 1


def differ(one: Buffer | None, other: Buffer | None) -> bool:
    """Two parts of the same place; False where one has no pixels."""
    return one is not None and other is not None and checksum(one) != checksum(other)
