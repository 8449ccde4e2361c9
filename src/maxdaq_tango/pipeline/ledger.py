"""The live account of one series: every frame number ends in exactly one state.

Pure bookkeeping, no I/O, no clock. The ledger also says in which row of the dataset a frame belongs, because only the
account knows how the sender numbers its frames.

Rows. A missing frame must leave a blank row and never a shift, so a row follows from the frame number alone:

- count known (`expected` = N): row = (number - offset) mod N. Whatever number a sender starts from, N consecutive
  numbers meet N different rows, so nothing has to be guessed while frames fly; a number that does not lie among N
  consecutive ones with those seen before is refused. Senders that count from 0 (nearly all) get row = number at once;
  for the others `Account.rotation` says how far the rows are turned when the file is closed.
- count unknown, or beyond MOST_ROWS ("run until stopped"): row = number - offset, and the dataset grows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import numpy as np

from maxdaq_tango.model import Fate
from maxdaq_tango.pipeline.numbers import Numbers, Ranges, ranges_where


class Entry(IntEnum):
    """The ledger's answer to a frame that arrives."""

    NEW = 0
    DUPLICATE = 1
    UNEXPECTED = 2
    """Its number does not fit a series of the expected length."""


DOUBTFUL_JUMP = 1 << 16
"""A jump further ahead than this needs a second frame near it to be believed: every number jumped over becomes a blank
row, and one wrong number must not fill the disk with them."""
MAX_JUMP = 1 << 24
"""A number further than this beyond the newest is taken for damage: it must not allocate terabytes."""
MOST_ROWS = 1 << 24
"""Detectors are armed for 2000 million frames and stopped by hand: no rows are laid out for such a count."""
GAP_SHOWN = 100_000
"""Numbers of a gap that are counted while a run is on."""
NOT_TAKEN = (Fate.MISSING, Fate.LATE, Fate.LOST_SOCKET)
"""Behind the last frame that was taken they get no rows, unless the sender ended the series itself."""


@dataclass(frozen=True, slots=True)
class Account:
    """The closed ledger."""

    expected: int | None
    first: int
    """Frame number of row 0 once the rows are turned."""
    row_count: int
    """Rows up to the highest number that was taken, or all expected rows when the tail is to be kept."""
    rotation: int
    """Rows to turn left before trimming: new row r holds what was stored at row (r + rotation) mod modulus."""
    modulus: int | None
    fates: np.ndarray[tuple[int], np.dtype[np.uint8]]
    """Fate of each number from `first` on (uint8); those of the rows come first."""
    missing_ranges: Ranges
    missing_count: int

    def count(self, fate: Fate) -> int:
        """Numbers that ended in this state."""
        if fate is Fate.MISSING:
            return self.missing_count
        return int(np.count_nonzero(self.fates == fate))

    def keeping(self, numbers: np.ndarray[Any, Any]) -> Account:
        """What was written and is not among `numbers` is lost in the writer: the disk did not take it after all."""
        written = self.fates == Fate.WRITTEN
        here = np.isin(np.arange(len(self.fates), dtype=np.uint64) + np.uint64(self.first), numbers)
        return replace(self, fates=np.where(written & ~here, np.uint8(Fate.LOST_WRITER), self.fates))

    def ranges(self, fate: Fate) -> Ranges:
        """Numbers that ended in this state."""
        if fate is Fate.MISSING:
            return self.missing_ranges
        return ranges_where(self.fates == fate, self.first)


class Ledger:
    """One series while it runs. Not thread-safe: it belongs to the thread that takes the series."""

    def __init__(self, expected: int | None = None) -> None:
        self._offset: int | None = None
        self._first_hint: int | None = None
        self._doubtful: int | None = None
        self._lowest = -1
        self._newest = -1
        self.seen = 0
        """Distinct numbers that arrived, whatever became of them."""
        self.duplicates = Numbers()
        self.unexpected = Numbers()
        self.set_expected(expected)

    @property
    def newest(self) -> int:
        """Highest frame number seen, -1 before the first."""
        return self._newest

    @property
    def modulus(self) -> int | None:
        """Number of rows when the count is known, else None."""
        return self._modulus

    def set_expected(self, count: int | None) -> None:
        """Learn or correct the expected count; how rows are numbered is settled by the first frame."""
        self.expected = count
        if self.seen == 0:
            self._modulus = count if count is not None and count <= MOST_ROWS else None
            self._fates = bytearray(1024 if self._modulus is None else self._modulus)

    def hint_first(self, number: int) -> None:
        """The transport proves with which number the series begins (STINS: msg_number - header's - 1 frames before)."""
        if self._first_hint is None:
            self._first_hint = number

    def enter(self, number: int, slack: int = 0) -> tuple[Entry, int]:
        """A frame arrives. Returns what to do and, for NEW, its row.

        `slack` is how far frames may overtake each other before the first one is seen (several sockets).
        """
        if self._offset is None:
            self._offset = self._choose_offset(number, slack)
        if not self._fits(number):
            self.unexpected.add(number)
            return Entry.UNEXPECTED, -1
        row = number - self._offset
        if self._modulus is not None:
            row %= self._modulus
        elif row >= len(self._fates):
            self._grow(row + 1)
        held = self._fates[row]
        if held == Fate.CORRUPT:  # an intact copy of a damaged frame is welcome
            self.seen -= 1
        elif held != Fate.MISSING:
            self.duplicates.add(number)
            return Entry.DUPLICATE, -1
        self._fates[row] = Fate.TAKEN
        self.seen += 1
        if number > self._newest:
            self._newest = number
        if self._lowest < 0 or number < self._lowest:
            self._lowest = number
        return Entry.NEW, row

    def is_on_its_way(self, number: int) -> bool:
        """A frame of this number has arrived, and what becomes of it is not known yet."""
        if self._offset is None:
            return False
        row = number - self._offset
        if self._modulus is not None:
            return self._modulus > 0 and self._fates[row % self._modulus] == Fate.TAKEN
        return 0 <= row < len(self._fates) and self._fates[row] == Fate.TAKEN

    def holds(self, number: int) -> bool:
        """A frame of this number has arrived, and was not damaged."""
        if self._offset is None or (self._modulus is not None and not self._fits(number)):
            return False
        row = number - self._offset
        if self._modulus is not None:
            row %= self._modulus
        return 0 <= row < len(self._fates) and self._fates[row] not in (Fate.MISSING, Fate.CORRUPT)

    def settle(self, row: int, fate: Fate) -> None:
        """The frame of this row has come to its end."""
        self._fates[row] = fate

    @property
    def all_seen(self) -> bool:
        """Every expected number has arrived."""
        return self.expected is not None and self.seen >= self.expected

    @property
    def gaps(self) -> int:
        """Numbers below the newest that have not come (so far)."""
        if self.seen == 0:
            return 0
        return self._newest - self._provisional_first() + 1 - self.seen

    def first_gap(self) -> tuple[int, int] | None:
        """First and last number of the first gap below the newest; None when there is none."""
        if self.gaps <= 0:
            return None
        first, offset = self._provisional_first(), self._offset or 0
        numbers = range(first, self._newest + 1)
        low = self._find(Fate.MISSING, numbers, offset)
        if low is None:
            return None
        high = low
        while high < self._newest and high - low < GAP_SHOWN and self._held(high + 1, offset) == Fate.MISSING:
            high += 1
        return low, high

    def close(self, *, keep_tail: bool = True) -> Account:
        """The account. `keep_tail`: rows for expected frames after the last one seen are kept, as blanks.

        Frames still TAKEN are counted as lost in the pool: nothing may vanish between two states. What came too late,
        or was not taken any more, makes no rows behind the last frame that was.
        """
        if self.seen == 0:
            total = self.expected or 0
            first = self._first_hint or 0
            nobody = ((first, first + total - 1),) if total else ()
            return Account(self.expected, first, 0, 0, self._modulus, np.zeros(0, np.uint8), nobody, total)
        first = self._final_first()
        offset = self._offset or 0
        span = self._newest - first + 1
        total = max(span, self.expected or 0)
        by_row = np.frombuffer(bytes(self._fates), dtype=np.uint8).copy()
        by_row[by_row == Fate.TAKEN] = Fate.LOST_POOL
        if self._modulus is not None:
            rotation = (first - offset) % self._modulus
            fates = np.roll(by_row, -rotation)
        else:
            rotation = first - offset
            fates = by_row[rotation:]
        ranges = ranges_where(fates[:span] == Fate.MISSING, first)
        if total > span:  # as a range, not row by row: the tail may be a thousand million frames long
            ranges = (*ranges, (self._newest + 1, first + total - 1))
        missing = sum(last - low + 1 for low, last in ranges)
        taken = np.flatnonzero(~np.isin(fates[:span], NOT_TAKEN))
        rows = total if keep_tail else int(taken[-1]) + 1 if len(taken) else 0
        if self._modulus is not None:
            rows = min(rows, self._modulus)
        told = max(rows, span)
        fates = np.concatenate([fates[:told], np.zeros(max(0, told - len(fates)), np.uint8)])
        return Account(self.expected, first, rows, rotation, self._modulus, fates, ranges, missing)

    # -- how the sender counts ---------------------------------------------------------------------------------------

    def _fits(self, number: int) -> bool:
        """Can this number belong to the series, given those that do?"""
        if self._modulus is not None:
            low = number if self._lowest < 0 else min(self._lowest, number)
            if self._first_hint is not None:
                low = min(low, self._first_hint)
            return max(self._newest, number) - low < self._modulus
        offset = self._offset or 0
        ahead = number - max(self._newest, offset)
        if ahead <= DOUBTFUL_JUMP:
            return number >= offset
        witness, self._doubtful = self._doubtful, number
        return ahead <= MAX_JUMP and witness is not None and abs(number - witness) <= DOUBTFUL_JUMP

    def _choose_offset(self, number: int, slack: int) -> int:
        if self._first_hint is not None:
            return self._first_hint
        if self._modulus is not None:
            return 0 if number < self._modulus else number
        return max(0, number - slack)

    def _provisional_first(self) -> int:
        if self._first_hint is not None:
            return min(self._first_hint, self._lowest)
        if self._modulus is not None and self._newest < self._modulus:
            return 0
        return self._lowest

    def _final_first(self) -> int:
        """With which number did the series begin?

        Proven by the transport; else 0 when all numbers fit a count from 0; else the lowest one seen, because a series
        that stopped early is more common than one that lost its very first frame.
        """
        if self._first_hint is not None:
            return min(self._first_hint, self._lowest)
        if self._modulus is not None and self._newest < self._modulus:
            return 0
        return self._lowest

    def _held(self, number: int, offset: int) -> int:
        row = number - offset
        return self._fates[row % self._modulus if self._modulus else row]

    def _find(self, fate: Fate, numbers: range, offset: int) -> int | None:
        """The first of the numbers that has this fate."""
        begin, count = numbers.start - offset, len(numbers)
        if self._modulus is None:
            pieces = [(begin, begin + count)]
        else:
            begin %= self._modulus
            pieces = [(begin, min(begin + count, self._modulus)), (0, max(0, begin + count - self._modulus))]
        passed = 0
        for low, high in pieces:
            row = self._fates.find(fate.to_bytes(1, "little"), max(0, low), high)  # memchr: a million rows in 0.1 ms
            if row >= 0:
                return numbers.start + passed + row - low
            passed += high - low
        return None

    def _grow(self, rows: int) -> None:
        self._fates.extend(bytes(max(rows, 2 * len(self._fates)) - len(self._fates)))
