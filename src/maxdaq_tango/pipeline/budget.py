"""Who may hold how much of a run's memory: one budget, dealt out in one place.

A share is a limit, not a reservation: nothing is allocated before there is something to put into it. One frame larger
than a share passes alone, as it could never pass otherwise.
"""

from __future__ import annotations

import msgspec

SLABS_MOST_BYTES = 96 << 20
"""Six blocks of 16 MiB keep any disk busy; more only delay the moment at which the sender feels it."""


class Shares(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes each. Their sum is the budget."""

    sockets: int
    """What ZeroMQ has received and nobody has taken, all sockets together."""
    queue: int
    """Messages that were received ahead, because the file did not keep up."""
    held: int
    """Frames that overtook their header; with one socket there are none."""
    pool: int
    """Frames that are turned or packed: what goes in, and the memory for what comes out."""
    slabs: int
    """Blocks of the file on their way to the disk."""

    @property
    def total(self) -> int:
        """Of all shares."""
        return self.sockets + self.queue + self.held + self.pool + self.slabs


def deal_out(memory_bytes: int, source_count: int = 1) -> Shares:
    """The shares of a budget. What the others leave is the queue's, a quarter at least: it rides out a slow disk."""
    sockets = memory_bytes // 4
    held = memory_bytes // 8 if source_count > 1 else 0
    pool = memory_bytes * 3 // 16
    slabs = min(memory_bytes // 8, SLABS_MOST_BYTES)
    queue = memory_bytes - sockets - held - pool - slabs
    return Shares(sockets=sockets, queue=queue, held=held, pool=pool, slabs=slabs)
