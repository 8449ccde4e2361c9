"""The live account of a receiver: plain numbers that are cheap to publish and to read."""

from __future__ import annotations

import msgspec


class Counters(msgspec.Struct, frozen=True, kw_only=True):
    """One look at the live account. Frames unless a unit says otherwise; -1 = not known."""

    run_number: int = 0
    """Counts runs of this engine; a change means that every other counter began again."""
    frames_expected: int = -1
    frames_received: int = 0
    frames_written: int = 0
    frames_safe: int = 0
    """Of the written ones, those that a kill of every process of ours would leave readable: the last checkpoint."""
    frames_discarded: int = 0
    frames_queued: int = 0
    """Arrived, and what becomes of them is not known yet: in the pool, or on their way to whoever writes."""
    messages_queued: int = 0
    """Received ahead, and not yet looked at."""
    frames_missing: int = 0
    """Gaps seen so far: numbers below the newest one that have not come. When the run is over: all that never came."""
    gap_first: int = -1
    """First number of the first gap; -1 = none."""
    gap_last: int = -1
    frames_duplicate: int = 0
    frames_corrupt: int = 0
    frames_out_of_series: int = 0
    frames_lost: int = 0
    frames_late: int = 0
    frames_unexpected: int = 0
    bytes_received: int = 0
    bytes_written: int = 0
    queue_bytes: int = 0
    queue_limit_bytes: int = 0
    queue_full_count: int = 0
    """Times the socket was left unread because the budget was full."""
    stalled_ms: int = 0
    """How long the stream has been silent inside a series, once that is longer than it should be; 0 = it flows."""
    newest_frame_number: int = -1
    write_latency_us: int = 0
    """Longest single write of the last second."""
    updated_ns: int = 0
    """Monotonic clock of the engine's last update; a stale one means a hanging engine."""
    # Where the time of this run went, see `pipeline/stages.py`: for each stage how often, and how long together.
    looks: int = 0
    idle_us: int = 0
    messages_taken: int = 0
    queue_us: int = 0
    take_us: int = 0
    waits: int = 0
    room_us: int = 0
    frames_pooled: int = 0
    pool_us: int = 0
    write_us: int = 0
    checkpoints: int = 0
    checkpoint_us: int = 0

    @property
    def queue_fill_percent(self) -> float:
        """Of the memory that frames may wait in."""
        return 100.0 * self.queue_bytes / self.queue_limit_bytes if self.queue_limit_bytes else 0.0

    @property
    def first_gap(self) -> tuple[tuple[int, int], ...]:
        """First and last number of it, once; empty = there is none yet."""
        return ((self.gap_first, self.gap_last),) if self.gap_first >= 0 else ()

    @property
    def first_gap_frames(self) -> int:
        """How many are missing in it."""
        return sum(last - first + 1 for first, last in self.first_gap)
