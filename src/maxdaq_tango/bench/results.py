"""From turns to a table: medians with their spread, ratios turn by turn, targets. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence

import msgspec

from maxdaq_tango.bench.plan import OUR_OWN, Case, Contestant, Extra, Plan


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One turn."""

    case: Case
    contestant: Contestant
    repeat: int
    frames: int
    nbytes: int
    """Of frames on the wire, as sent."""
    seconds: float
    """From the first frame handed to the sender's socket to the receipt (of others: to the file closed)."""
    cpu_s: float
    """Of the receiving process and everything below it."""
    sender_cpu_s: float = 0.0
    minor_faults: int = 0
    peak_rss_bytes: int = 0

    @property
    def frames_per_s(self) -> float:
        """The rate."""
        return self.frames / self.seconds

    @property
    def gb_per_s(self) -> float:
        """The rate in 1e9 bytes a second."""
        return self.nbytes / self.seconds / 1e9

    @property
    def cpu_s_per_gb(self) -> float:
        """What a GB costs the receiver."""
        return self.cpu_s / (self.nbytes / 1e9)

    @property
    def sender_cpu_s_per_gb(self) -> float:
        """What a GB costs the sender."""
        return self.sender_cpu_s / (self.nbytes / 1e9)

    @property
    def faults_per_frame(self) -> float:
        """Pages touched for the first time."""
        return self.minor_faults / self.frames


class Spread(msgspec.Struct, frozen=True):
    """Median, smallest and largest of several turns."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """At least one value."""
        numbers = sorted(values)
        return cls(statistics.median(numbers), numbers[0], numbers[-1])

    @property
    def relative(self) -> float:
        """From the lowest to the highest, in medians."""
        return (self.highest - self.lowest) / self.median if self.median else 0.0


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """All turns of one contestant in one case."""

    case: Case
    contestant: Contestant
    turns: int
    frames_per_s: Spread
    gb_per_s: Spread
    cpu_s_per_gb: Spread
    sender_cpu_s_per_gb: Spread
    faults_per_frame: Spread
    peak_rss_bytes: int
    """The largest."""
    ours_over_this: Spread | None = None
    """Frames/s of our receiver (saving; in a case where it did not save, not saving) over those of this contestant in
    the same repeat."""
    unsaved_over_this: Spread | None = None
    """The same of our receiver when it saves nothing."""
    ours_cpu_over_this: Spread | None = None
    """CPU-seconds per GB of our saving receiver over those of this one."""


class Target(msgspec.Struct, frozen=True):
    """One thing that the data path is meant to reach, and what this run gave."""

    case: str
    what: str
    limit: float
    reached: float
    holds: bool


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where it was measured."""

    processor: str
    cores: int
    memory_bytes: int
    kernel: str
    python: str
    software: str
    file_system: str
    folder: str


class Skipped(msgspec.Struct, frozen=True):
    """A row that was not measured, and why."""

    what: str
    why: str


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """All of one run of the bench."""

    started_at: str
    machine: Machine
    plan: Plan
    rows: tuple[Row, ...]
    targets: tuple[Target, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    samples: tuple[Sample, ...]


def make_rows(samples: Sequence[Sample]) -> tuple[Row, ...]:
    """One row a contestant and case, in the order in which they first appear."""
    groups: dict[tuple[Case, Contestant], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.case, sample.contestant), []).append(sample)
    rows = []
    for (case, contestant), turns in groups.items():
        ours = groups.get((case, Contestant.OURS), [])
        unsaved = groups.get((case, Contestant.OURS_LIVE), [])
        is_ours = contestant in (Contestant.OURS, Contestant.OURS_LIVE)  # in no sense the rival of itself
        rows.append(
            Row(
                case=case,
                contestant=contestant,
                turns=len(turns),
                frames_per_s=Spread.of(turn.frames_per_s for turn in turns),
                gb_per_s=Spread.of(turn.gb_per_s for turn in turns),
                cpu_s_per_gb=Spread.of(turn.cpu_s_per_gb for turn in turns),
                sender_cpu_s_per_gb=Spread.of(turn.sender_cpu_s_per_gb for turn in turns),
                faults_per_frame=Spread.of(turn.faults_per_frame for turn in turns),
                peak_rss_bytes=max(turn.peak_rss_bytes for turn in turns),
                ours_over_this=None if is_ours else ratio(ours, turns, lambda turn: turn.frames_per_s),
                unsaved_over_this=(
                    ratio(unsaved, turns, lambda turn: turn.frames_per_s) if contestant is Contestant.PULL else None
                ),
                ours_cpu_over_this=None if is_ours else ratio(ours, turns, lambda turn: turn.cpu_s_per_gb),
            )
        )
    return tuple(rows)


def ratio(ours: Sequence[Sample], others: Sequence[Sample], value: Callable[[Sample], float]) -> Spread | None:
    """Of a value in the same repeat: what the machine did meanwhile hits both. None when they share no repeat.

    A repeat whose divisor was too small to be measured (no clock tick of processor time) is left out.
    """
    by_repeat = {sample.repeat: value(sample) for sample in others}
    ratios = [value(sample) / by_repeat[sample.repeat] for sample in ours if by_repeat.get(sample.repeat)]
    return Spread.of(ratios) if ratios else None


# -- targets ---------------------------------------------------------------------------------------------------------

BUDGET_BYTES = 1 << 30
SPARE_BYTES = 150_000_000
OVER_PLAIN = {"32 kB bslz4": 10.0, "200 kB": 3.5, "20 MB": 4.0}
OVER_FLOOR = {
    "32 kB bslz4": (Contestant.PULL, 0.55),
    "200 kB": (Contestant.PULL_WRITE, 0.9),
    "2 MB": (Contestant.PULL_WRITE, 0.9),
    "20 MB": (Contestant.PULL_WRITE, 0.9),
}
CPU_OVER_FLOOR = {"20 MB": 1.25}
COMPRESSING = 0.8
COLUMNS = 0.9


def judge(rows: Sequence[Row]) -> tuple[Target, ...]:
    """What was meant to be reached, as far as this run measured it (medians)."""
    found: list[Target] = []
    by_key = {(row.case.name, row.contestant): row for row in rows}

    def at_least(case: str, what: str, limit: float, spread: Spread | None) -> None:
        if spread is not None:
            found.append(Target(case, what, limit, spread.median, spread.median >= limit))

    for case in dict.fromkeys(row.case.name for row in rows):
        if (limit := OVER_PLAIN.get(case)) and (row := by_key.get((case, Contestant.PLAIN))):
            at_least(case, "times plain, at least", limit, row.ours_over_this)
        if floor := OVER_FLOOR.get(case):
            contestant, limit = floor
            if row := by_key.get((case, contestant)):
                at_least(case, f"times {contestant}, at least", limit, row.ours_over_this)
        if (limit := CPU_OVER_FLOOR.get(case)) and (row := by_key.get((case, Contestant.PULL_WRITE))):
            spread = row.ours_cpu_over_this
            if spread is not None:
                what = f"CPU-s per GB, times {Contestant.PULL_WRITE}, at most"
                found.append(Target(case, what, limit, spread.median, spread.median <= limit))
    if reached := compressing_ratio(rows):
        at_least(
            f"200 kB {Extra.COMPRESS}", "times compression and PULL after one another, at least", COMPRESSING, reached
        )
    columns = f"200 kB {Extra.COLUMNS}"
    if row := by_key.get((columns, Contestant.WITHOUT_COLUMNS)):
        at_least(columns, "times without columns, at least", COLUMNS, row.ours_over_this)
    peaks = [row.peak_rss_bytes for row in rows if row.contestant in OUR_OWN]
    if peaks:
        most, limit = max(peaks), BUDGET_BYTES + SPARE_BYTES
        found.append(Target("all", "peak memory in bytes, at most", limit, most, most <= limit))
    return tuple(found)


def compressing_ratio(rows: Sequence[Row]) -> Spread | None:
    """Ours, compressing, over what the cores can do when they first receive a frame and then pack it."""
    rates = {row.contestant: row.frames_per_s for row in rows if row.case.extra is Extra.COMPRESS}
    ours, packing, pull = (rates.get(c) for c in (Contestant.OURS, Contestant.COMPRESSION, Contestant.PULL))
    if ours is None or packing is None or pull is None:
        return None
    floor = 1 / (1 / packing.median + 1 / pull.median)
    return Spread(ours.median / floor, ours.lowest / floor, ours.highest / floor)


def over(rows: Sequence[Row], case: Case, contestant: Contestant) -> Row | None:
    """The row of a contestant in a case."""
    return next((row for row in rows if row.case == case and row.contestant is contestant), None)


def cases_of(rows: Sequence[Row]) -> list[Case]:
    """In the order of the run."""
    return list(dict.fromkeys(row.case for row in rows))
