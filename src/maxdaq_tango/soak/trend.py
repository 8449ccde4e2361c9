"""Is what the processes of the stack hold flat, once they are warm? Pure.

Samples are taken after each acquisition, when nothing runs. A process is warm after WARM_UP acquisitions. From then on
the growth of each is the median of the slopes between all pairs of its samples (Theil and Sen: single high samples, as
after a long series, do not move it), and of several lives of one kind of process the median over the pairs of all of
them. The trend is flat when this growth, carried on over the longest life that was seen, is less than the limit of its
kind: 16 MiB or a tenth of what it holds, four open files, two threads. A kind of process with fewer than LEAST_SAMPLES
after its warm-up is not judged, and the table says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import median

import msgspec

from maxdaq_tango.soak.processes import Holding

WARM_UP = 6
"""Acquisitions in the life of a process before its samples count."""
LEAST_SAMPLES = 12
MOST_MEMORY_BYTES = 16 << 20
MOST_MEMORY_SHARE = 0.1
MOST_FILES = 4.0
MOST_THREADS = 2.0
MOST_PAIRED = 400
"""Samples of one life that are paired: of longer ones every second, third ... is taken."""


class Trend(msgspec.Struct, frozen=True, kw_only=True):
    """Of one kind of process."""

    process: str
    lives: int
    samples: int
    """After warm-up, of all lives."""
    memory_bytes: int = 0
    """Median after warm-up."""
    peak_bytes: int = 0
    growth_bytes: float = 0.0
    """Over its longest life, as are the next two."""
    growth_files: float = 0.0
    growth_threads: float = 0.0
    judged: bool = False
    problems: tuple[str, ...] = ()


class Samples:
    """Collects what every process holds."""

    def __init__(self) -> None:
        self._lives: dict[str, dict[int, list[Holding]]] = {}
        self._peaks: dict[str, int] = {}

    def add(self, process: str, pid: int, holding: Holding) -> None:
        """One sample after one acquisition."""
        self._lives.setdefault(process, {}).setdefault(pid, []).append(holding)
        self._peaks[process] = max(self._peaks.get(process, 0), holding.peak_bytes)

    def trends(self) -> list[Trend]:
        """One for each kind of process, in the order in which they were seen."""
        return [trend_of(process, list(lives.values()), self._peaks[process]) for process, lives in self._lives.items()]


def trend_of(process: str, lives: list[list[Holding]], peak_bytes: int) -> Trend:
    """The verdict on one kind of process; `lives` has the samples of each of its processes in order."""
    warm = [life[WARM_UP:] for life in lives if len(life) > WARM_UP]
    count = sum(map(len, warm))
    if count < LEAST_SAMPLES:
        return Trend(process=process, lives=len(lives), samples=count, peak_bytes=peak_bytes)
    longest = max(map(len, warm))
    memory = median(one.memory_bytes for life in warm for one in life)
    grown = _growth(warm, longest, lambda one: one.memory_bytes)
    files = _growth(warm, longest, lambda one: one.files)
    threads = _growth(warm, longest, lambda one: one.threads)
    problems = []
    if grown > (limit := max(MOST_MEMORY_BYTES, MOST_MEMORY_SHARE * memory)):
        problems.append(
            f"{process} has grown by {grown / 2**20:.1f} MiB in {longest} acquisitions, more than {limit / 2**20:.0f}"
        )
    if files > MOST_FILES:
        problems.append(f"{process} has {files:.0f} more open files after {longest} acquisitions")
    if threads > MOST_THREADS:
        problems.append(f"{process} has {threads:.0f} more threads after {longest} acquisitions")
    return Trend(
        process=process,
        lives=len(lives),
        samples=count,
        memory_bytes=int(memory),
        peak_bytes=peak_bytes,
        growth_bytes=grown,
        growth_files=files,
        growth_threads=threads,
        judged=True,
        problems=tuple(problems),
    )


def _growth(lives: Iterable[list[Holding]], longest: int, value: Callable[[Holding], int]) -> float:
    slopes: list[float] = []
    for life in lives:
        step = 1 + len(life) // MOST_PAIRED
        points = [(at, value(life[at])) for at in range(0, len(life), step)]
        slopes += [(later - earlier) / (b - a) for i, (a, earlier) in enumerate(points) for b, later in points[i + 1 :]]
    return median(slopes) * longest if slopes else 0.0
