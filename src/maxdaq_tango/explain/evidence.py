"""What is known of a run: its receipt and the records of its black box, with the questions that rules ask. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

from maxdaq_tango.model import Receipt

Record = dict[str, Any]
LEAST_STRIDES = 3
"""Single gaps of equal distance that are no accident."""
MOST_NUMBERS = 100_000


@dataclass(frozen=True)
class Evidence:
    """Of one run. Without a black box `records` is empty, and less can be said."""

    receipt: Receipt
    records: tuple[Record, ...] = field(default=())

    def of(self, *kinds: str) -> list[Record]:
        """Records of these kinds, in order."""
        return [record for record in self.records if record["what"] in kinds]

    @cached_property
    def seconds(self) -> list[Record]:
        """The looks of once a second."""
        return self.of("second")

    @cached_property
    def reasons(self) -> str:
        """All of the receipt."""
        return "; ".join(self.receipt.reasons)

    @cached_property
    def missing(self) -> list[int]:
        """Numbers that never came, rising."""
        ranges, left = self.receipt.frames_missing_ranges, MOST_NUMBERS
        numbers: list[int] = []
        for first, last in ranges:
            numbers += range(first, min(last, first + left - 1) + 1)
            left = MOST_NUMBERS - len(numbers)
            if left <= 0:
                break
        return numbers

    @cached_property
    def tail(self) -> tuple[int, int] | None:
        """The missing frames up to the end, where there are some and others came before them."""
        expected, ranges = self.receipt.frames_expected, self.receipt.frames_missing_ranges
        if expected and ranges and ranges[-1][1] == expected - 1 and ranges[-1][0] > 0:
            return ranges[-1]
        return None

    @cached_property
    def stride(self) -> int:
        """k where from some frame on every k-th one is missing, alone; 0 where they are not."""
        numbers = self.missing
        if len(numbers) <= LEAST_STRIDES:
            return 0
        steps = Counter(b - a for a, b in pairwise(numbers))
        step, count = steps.most_common(1)[0]
        return step if step > 1 and count >= LEAST_STRIDES and count >= 0.8 * steps.total() else 0

    @property
    def disconnected(self) -> bool:
        """The connection to a sender was lost while the run was on."""
        return bool(self.of("disconnected"))

    def most(self, name: str) -> int:
        """Largest value of a counter that was seen."""
        return max((int(record.get(name, 0)) for record in self.seconds), default=0)

    @property
    def was_full(self) -> bool:
        """The memory was full, and the sockets were not read."""
        return self.most("queue_full_count") > 0 or any(
            record.get("queue_limit_bytes", 0) and record["queue_bytes"] >= 0.95 * record["queue_limit_bytes"]
            for record in self.seconds
        )

    @property
    def headers(self) -> list[str]:
        """Series of the headers that came, in order."""
        return [str(record.get("series", "")) for record in self.of("header")]

    @property
    def asked(self) -> list[str]:
        """What the owner asked for."""
        return [str(record.get("name", "")) for record in self.of("request")]


def listed(ranges: Iterable[tuple[int, int]], most: int = 5) -> str:
    """Ranges for people."""
    texts = [str(first) if first == last else f"{first}-{last}" for first, last in ranges]
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")
