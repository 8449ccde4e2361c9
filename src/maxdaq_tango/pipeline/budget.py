"""Who may hold how much of a run's memory: one budget, dealt out in one place.

A share is a limit, not a reservation: nothing is allocated before there is something to put into it. One frame larger
than a share passes alone, as it could never pass otherwise.
"""

from __future__ import annotations

import msgspec

AHEAD_BYTES = 64 << 20
"""As far as anything goes ahead while all is well; the rest of a share is for a disk that has stopped.

It costs no speed (32 MiB, 64 MiB and 1 GiB made the same rates with frames of 200 kB and of 20 MB), and the engine of a
fast series holds 0.3 GB instead of 0.9.
"""
SLABS_MOST_BYTES = 96 << 20
"""Six blocks of 16 MiB keep any disk busy; more only delay the moment at which the sender feels it."""

PLAIN_HEAD_BYTES = 1024
"""Of JSON or CBOR: what is read from it costs no more than any message does."""
HEAD_FACTOR = 32
"""Beyond that: `{"":{}}` and a comma are 8 bytes, and 256 in memory (measured); nothing is much worse."""


def head_cost(nbytes: int) -> int:
    """Bytes in memory, at most, of what a message tells beside its pixels in so many bytes."""
    return HEAD_FACTOR * max(0, nbytes - PLAIN_HEAD_BYTES)


class Shares(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes each. Their sum is the budget."""

    sockets: int
    """What ZeroMQ has received and nobody has taken, all sockets together."""
    queue: int
    """Messages that were received ahead, because the file did not keep up."""
    held: int
    """Frames that overtook their header, or that wait for modules; with one socket there are none."""
    pool: int
    """Frames that are turned or packed: what goes in, and the memory for what comes out."""
    slabs: int
    """Pieces of files on their way to the disk, those of all writer processes together."""
    arenas: int = 0
    """Memory shared with writer processes, of all of them together; without such processes there is none."""

    @property
    def total(self) -> int:
        """Of all shares."""
        return self.sockets + self.queue + self.held + self.pool + self.slabs + self.arenas


def deal_out(memory_bytes: int, source_count: int = 1, engines: int = 1) -> Shares:
    """The shares of a budget. What the others leave is the queue's, a quarter at least: it rides out a slow disk.

    With writer processes a stream is ahead of them in their arenas, which need much so that all have work at a time;
    sockets and pool have less.
    """
    held = memory_bytes // 8 if source_count > 1 else 0
    if engines > 1:
        sockets, pool, arenas = memory_bytes // 8, memory_bytes // 8, memory_bytes // 4
    else:
        sockets, pool, arenas = memory_bytes // 4, memory_bytes * 3 // 16, 0
    slabs = min(memory_bytes // 8, SLABS_MOST_BYTES * engines)
    queue = memory_bytes - sockets - held - pool - slabs - arenas
    return Shares(sockets=sockets, queue=queue, held=held, pool=pool, slabs=slabs, arenas=arenas)
