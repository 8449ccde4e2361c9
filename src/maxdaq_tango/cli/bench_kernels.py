"""`maxdaq bench kernels`: a line for each kernel, as it is measured."""

from __future__ import annotations

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from maxdaq_tango.bench.kernels import KernelResult, cases, measure


def measure_kernels(seconds: float, turns: int, console: Console) -> list[KernelResult]:
    """All of them, one after the other."""
    found = []
    with Progress(console=console, transient=True) as progress:
        everything = list(cases())
        task = progress.add_task("kernels", total=len(everything))
        for case in everything:
            progress.update(task, description=case.name)
            found.append(measure(case, seconds, turns))
            progress.advance(task)
    return found


def table(results: list[KernelResult]) -> Table:
    """For people."""
    made = Table(title="Kernels, GB/s of unpacked pixels")
    made.add_column("kernel")
    for word in ("one core", "spread", "numpy or Python", "ratio", "two threads"):
        made.add_column(word, justify="right")
    for row in results:
        twin = row.twin_gbytes_s
        made.add_row(
            row.name,
            f"{row.gbytes_s:.2f}",
            f"{100 * row.spread:.0f} %",
            "-" if twin is None else f"{twin:.3f}",
            "-" if twin is None else f"{row.gbytes_s / twin:.1f} x",
            f"{row.threads_ratio:.2f} x",
        )
    return made
