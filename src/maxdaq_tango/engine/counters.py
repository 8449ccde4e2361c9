"""Live counters in shared memory: the engine writes, its owner reads, neither ever waits for the other.

A row of 64-bit integers behind a sequence number (a seqlock): the writer makes the number odd, writes, makes it even;
a reader that saw an odd or a changed number looks again. One writer. The memory has no name, so nothing is left behind
by a kill: its file descriptor is inherited.
"""

from __future__ import annotations

import mmap
import os

import msgspec
import numpy as np

from maxdaq_tango.model import Counters

_FIELDS = tuple(field.name for field in msgspec.structs.fields(Counters))
_NBYTES = 8 * (1 + len(_FIELDS))
_TRIES = 1000
_LARGEST = 2**63 - 1


def create_counters_file() -> int:
    """Anonymous shared memory; returns its file descriptor (the caller closes it)."""
    handle = os.memfd_create("maxdaq-counters")
    os.ftruncate(handle, _NBYTES)
    return handle


class CountersMemory:
    """One mapping of the counters; the engine calls `write`, the owner `read`. Unmapped with its last reference."""

    def __init__(self, handle: int) -> None:
        self._map = mmap.mmap(handle, _NBYTES)
        self._cells = np.frombuffer(self._map, dtype=np.int64)

    def write(self, counters: Counters) -> None:
        """Publish one look. A count that no cell can hold, which only a sender's nonsense makes, is the largest one."""
        cells, values = self._cells, [getattr(counters, name) for name in _FIELDS]
        try:
            row = np.array(values, np.int64)
        except OverflowError:
            row = np.array([max(-_LARGEST, min(value, _LARGEST)) for value in values], np.int64)
        cells[0] += 1
        cells[1:] = row
        cells[0] += 1

    def read(self) -> Counters:
        """The newest complete look; microseconds, no conversation with the engine."""
        for _ in range(_TRIES):
            before = int(self._cells[0])
            values = self._cells[1:].tolist()
            if before % 2 == 0 and int(self._cells[0]) == before:
                break  # after _TRIES the writer must have died in mid-write: what it left is still the best there is
        return Counters(**dict(zip(_FIELDS, values, strict=True)))
