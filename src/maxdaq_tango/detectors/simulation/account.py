"""The sender's own account of each series: what truly left, number by number, to compare a receipt with. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict

import msgspec

from maxdaq_tango.detectors.simulation.delivery import Damage, Delivery, Item
from maxdaq_tango.errors import ConfigurationError

Ranges = tuple[tuple[int, int], ...]
"""[first, last] pairs, both included, rising."""

MOST_SERIES = 1000
"""Accounts that are kept; the oldest is forgotten first."""


class NumberSet:
    """Whole numbers as ranges: cheap where they come nearly in order, as frames do."""

    def __init__(self, ranges: Ranges = ()) -> None:
        self._firsts = [first for first, _ in ranges]
        self._lasts = [last for _, last in ranges]

    def add(self, number: int) -> bool:
        """True when it is new."""
        firsts, lasts = self._firsts, self._lasts
        at = bisect_right(firsts, number) - 1
        if at >= 0 and number <= lasts[at]:
            return False
        joins_left = at >= 0 and lasts[at] == number - 1
        joins_right = at + 1 < len(firsts) and firsts[at + 1] == number + 1
        if joins_left and joins_right:
            lasts[at] = lasts.pop(at + 1)
            firsts.pop(at + 1)
        elif joins_left:
            lasts[at] = number
        elif joins_right:
            firsts[at + 1] = number
        else:
            firsts.insert(at + 1, number)
            lasts.insert(at + 1, number)
        return True

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._firsts, number) - 1
        return at >= 0 and number <= self._lasts[at]

    @property
    def ranges(self) -> Ranges:
        """All of them."""
        return tuple(zip(self._firsts, self._lasts, strict=True))

    def absent(self, count: int) -> Ranges:
        """Which of 0 to count - 1 are not in here."""
        gaps, at = [], 0
        for first, last in self.ranges:
            if first > at and at < count:
                gaps.append((at, min(first, count) - 1))
            at = max(at, last + 1)
        if at < count:
            gaps.append((at, count - 1))
        return tuple(gaps)


class SeriesAccount(msgspec.Struct, frozen=True, kw_only=True):
    """What a sender says of one series. Final once `finished` is true and `messages_waiting` is 0."""

    series: int
    """As the sender counts its series."""
    series_name: str = ""
    """As a v2 stream names it; "" where there is no such name."""
    frames_made: int = 0
    """Exposures, whether they were sent or not; they are numbered from 0."""
    intact: Ranges = ()
    """Numbers of frames that left whole, in this series, under their own number."""
    dropped: Ranges = ()
    """Exposures that no message of this series carried under their own number: on purpose, in another series, under
    another number, or because the queue was full or thrown away."""
    duplicated: Ranges = ()
    """Numbers that left more than once in this series, in whatever state."""
    damaged: Ranges = ()
    """Numbers of frames that left with something wrong inside."""
    foreign: Ranges = ()
    """Exposures in whose place, or behind which, a frame of another series left."""
    renumbered: tuple[tuple[int, int, int], ...] = ()
    """[first, last, number of the first in its message]: exposures that left under other numbers."""
    stolen: Ranges = ()
    """Numbers that a second client took; some of `intact` or `damaged`, which only say what left."""
    headers: int = 0
    """Of this series that left."""
    foreign_headers: int = 0
    ends: int = 0
    """End messages of this series that left."""
    restarted: int | None = None
    """The exposure at which the numbers began again."""
    finished: bool = False
    """The series is over for the sender."""
    messages_waiting: int = 0
    """Made, and not yet handed to ZeroMQ."""


class _Book:
    def __init__(self, series: int, name: str) -> None:
        self.series, self.name = series, name
        self.made = 0
        self.intact, self.damaged, self.foreign = NumberSet(), NumberSet(), NumberSet()
        self.own, self.twice, self.stolen = NumberSet(), NumberSet(), NumberSet()
        self.renumbered: list[list[int]] = []
        self.headers = self.foreign_headers = self.ends = self.waiting = 0
        self.finished = False
        self.restarted: int | None = None


class AccountBook:
    """The accounts of one sender. Not thread-safe: the simulator's owner holds the lock."""

    def __init__(self) -> None:
        self._books: OrderedDict[int, _Book] = OrderedDict()

    def begin(self, series: int, name: str = "", *, restarted: int | None = None) -> None:
        """A series is armed; an older one of the same number is forgotten."""
        self._books.pop(series, None)
        self._books[series] = _Book(series, name)
        self._books[series].restarted = restarted
        while len(self._books) > MOST_SERIES:
            self._books.popitem(last=False)

    def made(self, series: int) -> None:
        """One more exposure."""
        if book := self._books.get(series):
            book.made += 1

    def offered(self, series: int) -> None:
        """A message waits to be sent."""
        if book := self._books.get(series):
            book.waiting += 1

    def lost(self, series: int) -> None:
        """A message that waited will never be sent."""
        if book := self._books.get(series):
            book.waiting -= 1

    def finished(self, series: int) -> None:
        """The sender makes nothing more of this series."""
        if book := self._books.get(series):
            book.finished = True

    def stolen(self, series: int, number: int) -> None:
        """A second client has received this frame."""
        if book := self._books.get(series):
            book.stolen.add(number)

    def sent(self, series: int, delivery: Delivery) -> None:
        """A message that waited has left."""
        book = self._books.get(series)
        if book is None:
            return
        book.waiting -= 1
        if delivery.item is Item.HEADER:
            book.headers += not delivery.wrong_series
            book.foreign_headers += delivery.wrong_series
        elif delivery.item is Item.END:
            book.ends += 1
        elif delivery.wrong_series:
            book.foreign.add(delivery.number)
        else:
            if not book.own.add(delivery.wire_number):
                book.twice.add(delivery.wire_number)
            if delivery.damage is not Damage.NONE:
                book.damaged.add(delivery.wire_number)
            elif delivery.sent_as is None or delivery.sent_as == delivery.number:
                book.intact.add(delivery.number)
            else:
                _append(book.renumbered, delivery.number, delivery.sent_as)

    def read(self, series: int) -> SeriesAccount:
        """The account so far; a series that is not known is a ConfigurationError."""
        book = self._books.get(series)
        if book is None:
            known = f"{next(iter(self._books))} to {next(reversed(self._books))}" if self._books else "none yet"
            raise ConfigurationError(f"tell the account of series {series}", accepted=known)
        carried = NumberSet(book.intact.ranges)
        for first, last in book.damaged.ranges:
            for number in range(first, last + 1):
                carried.add(number)
        return SeriesAccount(
            series=series,
            series_name=book.name,
            frames_made=book.made,
            intact=book.intact.ranges,
            dropped=carried.absent(book.made),
            duplicated=book.twice.ranges,
            damaged=book.damaged.ranges,
            foreign=book.foreign.ranges,
            renumbered=tuple((a, b, c) for a, b, c in book.renumbered),
            stolen=book.stolen.ranges,
            headers=book.headers,
            foreign_headers=book.foreign_headers,
            ends=book.ends,
            restarted=book.restarted,
            finished=book.finished,
            messages_waiting=book.waiting,
        )


def _append(renumbered: list[list[int]], number: int, sent_as: int) -> None:
    """Keep runs together: a restart is one entry and not one a frame."""
    if renumbered and renumbered[-1][1] + 1 == number and renumbered[-1][2] - renumbered[-1][0] == sent_as - number:
        renumbered[-1][1] = number
    elif [number, number, sent_as] not in renumbered[-1:]:
        renumbered.append([number, number, sent_as])
