"""Frame numbers as ranges: accounts of a million frames must stay small."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from maxdaq_tango.model import MISSING_LISTED

Ranges = tuple[tuple[int, int], ...]
"""[first, last] pairs, both included."""


class Numbers:
    """Frame numbers that something is to be told of; MISSING_LISTED different ones at most."""

    def __init__(self) -> None:
        self.count = 0
        """Times that `add` was called."""
        self._numbers: set[int] = set()

    def add(self, number: int) -> None:
        """Once more."""
        self.count += 1
        if len(self._numbers) < MISSING_LISTED:
            self._numbers.add(number)

    def ranges(self) -> Ranges:
        """Of the different ones."""
        return ranges_of(self._numbers)


class NumberRuns:
    """The same for numbers that nearly always follow on one another: a million of them may be one range."""

    def __init__(self) -> None:
        self.count = 0
        """Times that `add` was called."""
        self._runs: list[list[int]] = []

    def add(self, number: int) -> None:
        """Once more. MISSING_LISTED ranges at most are kept."""
        self.count += 1
        runs = self._runs
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        elif len(runs) < MISSING_LISTED:
            runs.append([number, number])

    def ranges(self) -> Ranges:
        """Of the different ones."""
        ranges: list[tuple[int, int]] = []
        for low, high in sorted(self._runs):
            if ranges and low <= ranges[-1][1] + 1:
                ranges[-1] = (ranges[-1][0], max(high, ranges[-1][1]))
            else:
                ranges.append((low, high))
        return tuple(ranges)


def ranges_of(numbers: Iterable[int]) -> Ranges:
    """Neighbours joined. Numbers may have any size."""
    ranges: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return tuple(ranges)


def ranges_where(flags: np.ndarray[tuple[int], np.dtype[np.bool_]], first: int) -> Ranges:
    """Runs of True; the first flag is that of number `first`."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return tuple((int(low) + first, int(high) - 1 + first) for low, high in edges.reshape(-1, 2))


def listed(ranges: Ranges) -> tuple[int, ...]:
    """One by one, MISSING_LISTED at most."""
    numbers: list[int] = []
    for low, high in ranges:
        numbers.extend(range(low, min(high, low + MISSING_LISTED - len(numbers) - 1) + 1))
        if len(numbers) >= MISSING_LISTED:
            break
    return tuple(numbers)
