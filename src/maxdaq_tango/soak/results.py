"""What a soak came to, for programs and for people."""

from __future__ import annotations

from collections import Counter

import msgspec
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from maxdaq_tango.soak.trend import Trend

MIB = 2**20
NONE = "none"


class Disagreement(msgspec.Struct, frozen=True, kw_only=True):
    """One acquisition on which not everybody agrees."""

    number: int
    again: str
    """The command that takes it again, alone."""
    recipe: str
    problems: tuple[str, ...]
    folder: str


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """Acquisitions with one fault, or one end."""

    fault: str
    acquisitions: int
    verdicts: dict[str, int]
    """Verdict, or `refused` > acquisitions."""
    disagreements: int


class SoakResult(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    ok: bool
    seed: int
    first: int
    """Number of the first acquisition."""
    acquisitions: int
    seconds: float
    frames: int
    """That the sender made."""
    verdicts: dict[str, int]
    lines: list[Line]
    disagreements: list[Disagreement]
    trends: list[Trend]
    deaths: list[str]
    """Processes that ended without being asked."""
    restarts: dict[str, int]
    tracebacks: dict[str, int]
    """Log > tracebacks in it. Some belong to faults that were provoked; they are told and not judged."""
    notes: dict[str, int]
    """What happened beside, such as `Arm twice: refused` > how often."""
    ready_s: float
    """The longest that it took until every device was ready for the next acquisition."""
    slowest: dict[str, float]
    """Command > the longest that it took, s; empty where that is not measured."""
    folder: str


class Tally:
    """Counts while the soak runs."""

    def __init__(self) -> None:
        self.acquisitions = self.frames = 0
        self.verdicts: Counter[str] = Counter()
        self._by_fault: dict[str, Counter[str]] = {}
        self._bad: Counter[str] = Counter()
        self.disagreements: list[Disagreement] = []

    def add(self, faults: tuple[str, ...], verdict: str, frames: int, disagreement: Disagreement | None) -> None:
        """One acquisition; it counts in the line of each of its faults."""
        self.acquisitions += 1
        self.frames += frames
        self.verdicts[verdict] += 1
        for fault in faults or (NONE,):
            self._by_fault.setdefault(fault, Counter())[verdict] += 1
            self._bad[fault] += disagreement is not None
        if disagreement is not None:
            self.disagreements.append(disagreement)

    def lines(self) -> list[Line]:
        """By fault, those without one first."""
        names = sorted(self._by_fault, key=lambda name: (name != NONE, name))
        return [
            Line(
                fault=name,
                acquisitions=self._by_fault[name].total(),
                verdicts=dict(self._by_fault[name]),
                disagreements=self._bad[name],
            )
            for name in names
        ]


def summary(result: SoakResult) -> Group:
    """Tables for people."""
    return Group(_faults_table(result), "", _processes_table(result), "", *_sentences(result))


def _faults_table(result: SoakResult) -> Table:
    verdicts = sorted(result.verdicts)
    table = Table(title="Acquisitions", title_style="bold")
    for name in ("fault or end", "taken", *verdicts, "disagree"):
        table.add_column(name, no_wrap=True, justify="left" if name == "fault or end" else "right")
    for line in result.lines:
        bad = f"[bold red]{line.disagreements}[/bold red]" if line.disagreements else "0"
        counts = (str(line.verdicts.get(verdict, "")) for verdict in verdicts)
        table.add_row(line.fault, str(line.acquisitions), *counts, bad)
    total = (str(result.verdicts[verdict]) for verdict in verdicts)
    table.add_section()
    table.add_row("all", str(result.acquisitions), *total, str(len(result.disagreements)))
    return table


def _processes_table(result: SoakResult) -> Table:
    table = Table(title="Processes: memory, its peak and its growth in MiB", title_style="bold")
    table.add_column("process", no_wrap=True)
    for name in ("lives", "samples", "memory", "peak", "growth", "files", "threads", "trend"):
        table.add_column(name, justify="right")
    for trend in result.trends:
        word = ("[red]grows[/red]" if trend.problems else "flat") if trend.judged else "too few"
        table.add_row(
            trend.process,
            str(trend.lives),
            str(trend.samples),
            f"{trend.memory_bytes / MIB:.0f}",
            f"{trend.peak_bytes / MIB:.0f}",
            f"{trend.growth_bytes / MIB:+.1f}",
            f"{trend.growth_files:+.0f}",
            f"{trend.growth_threads:+.0f}",
            word,
        )
    return table


def _sentences(result: SoakResult) -> list[str]:
    told = []
    for one in result.disagreements:
        told.append(f"[bold red]acquisition {one.number}[/bold red]: {escape(one.recipe)}")
        told += [f"  - {escape(problem)}" for problem in one.problems]
        told += [f"  again: {escape(one.again)}", f"  its files: {escape(one.folder)}"]
    told += [f"[bold red]{escape(death)}[/bold red]" for death in result.deaths]
    told += [f"[bold red]{escape(problem)}[/bold red]" for trend in result.trends for problem in trend.problems]
    if result.restarts:
        told.append("started again: " + ", ".join(f"{name} {count} times" for name, count in result.restarts.items()))
    for log, count in result.tracebacks.items():
        told.append(f"{count} tracebacks in {escape(log)}")
    if result.notes:
        told.append("; ".join(f"{escape(note)} {count}" for note, count in result.notes.items()))
    if result.slowest:
        told.append("slowest: " + ", ".join(f"{name} {seconds:g} s" for name, seconds in result.slowest.items()))
    told.append(f"every device was ready for the next acquisition within {result.ready_s:g} s")
    told.append(
        f"{result.acquisitions} acquisitions, {result.frames} frames in {result.seconds:.0f} s, seed {result.seed}: "
        + ("[bold green]everybody agrees[/bold green]" if result.ok else "[bold red]not everybody agrees[/bold red]")
    )
    return told
