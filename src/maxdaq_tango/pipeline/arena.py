"""Memory that an engine and a writer process share: stored blobs travel through it, copied once and never sent.

A ring in an anonymous file (memfd): nothing is left behind by a kill. The engine takes room in the order of the frames
and gives it back in the same order, as the writer acknowledges them; the writer only looks.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections import deque
from collections.abc import Sequence

import numpy as np

from maxdaq_tango.model import Buffer

ALIGNMENT = 64
NOGIL_NBYTES = 1 << 20
"""From here on a copy lets other threads run meanwhile."""

Place = tuple[int, int]
"""Offset and length of a blob in the arena."""


class Ring:
    """Room in a ring of bytes, taken and given back first in, first out. Pure arithmetic."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self.used = 0
        """Bytes that are taken, without what is lost at the end of the ring."""
        self._taken: deque[tuple[int, int]] = deque()  # (start, length) of each piece, the oldest first
        self._head = 0

    def __len__(self) -> int:
        return len(self._taken)

    def find(self, nbytes: int) -> int | None:
        """Where a piece of this length would lie; None when there is no room for it."""
        length = _up(nbytes)
        if not self._taken:
            return 0 if length <= self.nbytes else None
        tail = self._taken[0][0]
        if self._head > tail:
            if self.nbytes - self._head >= length:
                return self._head
            return 0 if tail >= length else None
        return self._head if tail - self._head >= length else None

    def take(self, nbytes: int) -> int:
        """Take a piece where `find` said; ValueError when there is no room."""
        start = self.find(nbytes)
        if start is None:
            raise ValueError(f"no room for {nbytes} bytes in a ring of {self.nbytes} with {self.used} taken")
        length = _up(nbytes)
        self._taken.append((start, length))
        self._head = start + length
        self.used += length
        return start

    def give_back(self) -> None:
        """The oldest piece."""
        _, length = self._taken.popleft()
        self.used -= length


class Arena:
    """The engine's side. `handle` is inherited by the writer."""

    def __init__(self) -> None:
        self.handle = os.memfd_create("maxdaq-arena")
        self.ring = Ring(0)
        self._map: mmap.mmap | None = None

    def resize(self, nbytes: int) -> None:
        """A ring of another length; only while nothing is taken. OSError, ValueError."""
        if len(self.ring):
            raise ValueError("the arena is in use")
        nbytes = -(-nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
        if nbytes == self.ring.nbytes:
            return
        self._map = None
        os.ftruncate(self.handle, nbytes)
        self._map = mapped(self.handle, nbytes) if nbytes else None
        self.ring = Ring(nbytes)

    def put(self, blobs: Sequence[Buffer]) -> list[Place]:
        """Copy the blobs of one frame; there must be room. Their places, for the writer."""
        offset = self.ring.take(sum(len(blob) for blob in blobs))
        memory = self._map
        assert memory is not None
        places = []
        for blob in blobs:
            view = memoryview(blob).cast("B")
            if len(view) < NOGIL_NBYTES:
                memory[offset : offset + len(view)] = view
            else:
                np.frombuffer(memory, np.uint8, len(view), offset)[:] = np.frombuffer(view, np.uint8)
            places.append((offset, len(view)))
            offset += len(view)
        return places

    def close(self) -> None:
        """The writer keeps its own mapping as long as it lives."""
        self._map = None
        handle, self.handle = self.handle, -1
        if handle >= 0:
            os.close(handle)


def mapped(handle: int, nbytes: int) -> mmap.mmap:
    """The whole arena in this process."""
    memory = mmap.mmap(handle, nbytes)
    with contextlib.suppress(OSError, AttributeError):  # a kernel without huge pages for shared memory
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


def _up(nbytes: int) -> int:
    return max(1, -(-nbytes // ALIGNMENT)) * ALIGNMENT
