"""Where the time of a series goes, stage by stage: sums, for whoever asks what its bottleneck is.

Everything is added up once a batch, from looks at the clock that the batch needs anyway and one more; what is measured
for single frames is what was measured already (a write) or happens in a thread of the pool. It belongs to the thread
that takes the series.

    idle         the thread waited for messages: the sender sets the pace
    queue        messages waited in memory of ours for the thread; seen fifty times a second, not measured for each.
                 How long they waited in ZeroMQ and in the system nobody knows
    take         taken out of their messages and entered in the ledger: what is left of the thread's time
    room         the thread waited for the pool or for the disk: they set the pace
    pool         turned, packed or verified, in threads: their time together, and they are several
    write        handed to the file, or to the process that writes it, with the checkpoints that came due meanwhile
    checkpoint   made safe against a kill; not known of files that other processes write
"""

from __future__ import annotations


class Stages:
    """Sums of one series, in seconds."""

    def __init__(self) -> None:
        self.looks = self.messages = 0
        self.idle_s = self.queue_s = self.take_s = 0.0
        self._elsewhere_s = 0.0
        self._queue_seen_at: float | None = None

    def add(self, messages: int, idle_s: float, busy_s: float, elsewhere_s: float) -> None:
        """One batch: `busy_s` of work after `idle_s` of waiting. `elsewhere_s` counts since the beginning of the series
        what belongs to other stages."""
        self.looks += 1
        self.messages += messages
        self.idle_s += idle_s
        self.take_s += max(0.0, busy_s - (elsewhere_s - self._elsewhere_s))
        self._elsewhere_s = elsewhere_s

    def see_queue(self, waiting: int, now: float) -> None:
        """So many messages wait at `now`, monotonic. Their sum over time is the sum of their waiting times."""
        if self._queue_seen_at is not None:
            self.queue_s += waiting * (now - self._queue_seen_at)
        self._queue_seen_at = now
