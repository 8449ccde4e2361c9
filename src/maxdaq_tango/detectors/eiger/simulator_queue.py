"""Messages of the simulated detector on their way to its sockets, and the bounded queue in which they wait."""

from __future__ import annotations

from collections import deque

import msgspec

from maxdaq_tango.detectors.simulation.account import AccountBook
from maxdaq_tango.detectors.simulation.delivery import Delivery, Item
from maxdaq_tango.model import Buffer


class Message(msgspec.Struct, frozen=True):
    """One ZeroMQ message on its way to one of the two ports."""

    stream_format: str
    """legacy or cbor."""
    series_id: int
    """Of the series that made it, also where it poses as a message of another one."""
    parts: list[Buffer]
    delivery: Delivery
    """What it is: only images may be dropped, and the account is kept from this."""

    @property
    def nbytes(self) -> int:
        """Of all parts."""
        return sum(len(part) for part in self.parts)


class SendQueue:
    """Messages waiting for one socket, bounded in bytes; when it is full images are dropped and counted, nothing else.

    Not thread-safe: the simulator's owner holds the lock.
    """

    def __init__(self, capacity_bytes: int, accounts: AccountBook) -> None:
        self.capacity_bytes = capacity_bytes
        self._accounts = accounts
        self.used_bytes = 0
        self.dropped = 0
        """Images dropped since arm (`stream/status/dropped`)."""
        self.purged = 0
        """Images thrown away by abort since the start."""
        self._messages: deque[Message] = deque()

    def __len__(self) -> int:
        return len(self._messages)

    def offer(self, message: Message) -> bool:
        """Queue a message; False when it was dropped."""
        size = message.nbytes
        if message.delivery.item is Item.IMAGE and self.used_bytes + size > self.capacity_bytes:
            self.dropped += 1
            return False
        self._messages.append(message)
        self._accounts.offered(message.series_id)
        self.used_bytes += size
        return True

    def take(self) -> Message | None:
        """The oldest message, None when there is none. It counts as waiting until `AccountBook.sent` is told of it."""
        if not self._messages:
            return None
        message = self._messages.popleft()
        self.used_bytes -= message.nbytes
        return message

    def purge_images(self) -> None:
        """Throw away the images that have not left yet; headers and ends stay."""
        kept = [message for message in self._messages if message.delivery.item is not Item.IMAGE]
        self.purged += len(self._messages) - len(kept)
        for message in self._messages:
            if message.delivery.item is Item.IMAGE:
                self._accounts.lost(message.series_id)
        self._messages = deque(kept)
        self.used_bytes = sum(message.nbytes for message in kept)

    def clear(self) -> None:
        """Throw away everything (the stream module's `initialize`)."""
        for message in self._messages:
            self._accounts.lost(message.series_id)
        self._messages.clear()
        self.used_bytes = 0


class SendQueues:
    """One queue for each stream format, because each has a port: an unread port must not hold up the other."""

    def __init__(self, capacity_bytes: int, accounts: AccountBook) -> None:
        self.accounts = accounts
        self.by_format = {name: SendQueue(capacity_bytes, accounts) for name in ("legacy", "cbor")}

    def offer(self, message: Message) -> bool:
        """Queue a message for its port; False when it was dropped."""
        return self.by_format[message.stream_format].offer(message)

    def purge_images(self) -> None:
        """Throw away the images that have not left yet."""
        for queue in self.by_format.values():
            queue.purge_images()

    def clear(self) -> None:
        """Throw away everything."""
        for queue in self.by_format.values():
            queue.clear()

    def reset_dropped(self) -> None:
        """A new series begins."""
        for queue in self.by_format.values():
            queue.dropped = 0

    @property
    def dropped(self) -> int:
        """Images dropped since arm."""
        return sum(queue.dropped for queue in self.by_format.values())

    @property
    def purged(self) -> int:
        """Images thrown away by abort since the start."""
        return sum(queue.purged for queue in self.by_format.values())

    @property
    def used_bytes(self) -> int:
        """Of all messages that wait."""
        return sum(queue.used_bytes for queue in self.by_format.values())

    def __len__(self) -> int:
        return sum(len(queue) for queue in self.by_format.values())
