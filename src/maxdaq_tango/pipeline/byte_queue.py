"""A hand-over between threads that is bounded in bytes.

When it is full the producer waits, so the socket is not read, so ZeroMQ and TCP push back on the sender: memory stays
within its budget however slow the disk is, and nothing is dropped.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")

NO_LIMIT = 1 << 62


class ByteQueue(Generic[T]):
    """First in, first out; any number of producers, one consumer.

    One item larger than the whole budget is let through when the queue is empty: it could never pass otherwise.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.full_count = 0
        """Times a producer had to wait."""
        self._items: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._closed = False
        self._nudged = False
        self._lock = threading.Lock()  # guards everything above
        self._not_empty = threading.Condition(self._lock)
        self._not_full = threading.Condition(self._lock)

    @property
    def nbytes(self) -> int:
        """Bytes waiting; a snapshot."""
        return self._bytes

    def put_many(self, items: list[tuple[T, int]]) -> bool:
        """Hand over a batch of (item, bytes), waiting for room as long as it takes. False: the queue was closed."""
        total = sum(nbytes for _, nbytes in items)
        with self._lock:
            if self._bytes and self._bytes + total > self.limit_bytes:
                self.full_count += 1
                while self._bytes and self._bytes + total > self.limit_bytes and not self._closed:
                    self._not_full.wait()
            if self._closed:
                return False
            self._items.extend(items)
            self._bytes += total
            self._not_empty.notify()
            return True

    def get_many(self, most: int, timeout: float | None, most_bytes: int = NO_LIMIT) -> list[T]:
        """Up to `most` items of `most_bytes` together, but one at least; an empty list after the time-out, a nudge or
        the close of the queue.
        """
        with self._lock:
            if not self._items and not self._closed and not self._nudged:
                self._not_empty.wait(timeout)
            self._nudged = False
            batch: list[T] = []
            freed = 0
            while self._items and len(batch) < most:
                entry = self._items.popleft()
                freed += entry[1]
                if freed > most_bytes and batch:
                    self._items.appendleft(entry)
                    freed -= entry[1]
                    break
                batch.append(entry[0])
            if freed:
                self._bytes -= freed
                self._not_full.notify_all()
            return batch

    def nudge(self) -> None:
        """Make the consumer look up although nothing came: a request waits for it."""
        with self._lock:
            self._nudged = True
            self._not_empty.notify()

    def close(self) -> None:
        """Wake everybody; producers are turned away, the consumer gets what is left. May be called twice."""
        with self._lock:
            self._closed = True
            self._not_full.notify_all()
            self._not_empty.notify_all()

    def clear(self) -> int:
        """Throw away what waits; returns the number of items."""
        with self._lock:
            count = len(self._items)
            self._items.clear()
            self._bytes = 0
            self._not_full.notify_all()
            return count
