"""The tables for people."""

from __future__ import annotations

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from maxdaq_tango.bench.plan import FLOORS, Case, Contestant, Extra, size_text
from maxdaq_tango.bench.results import Result, Row, Spread, Target, cases_of, compressing_ratio, over


def tables(result: Result) -> Group:
    """Everything, ready to print."""
    parts: list[Table | Text] = [Text(_where(result)), measured_table(result.rows)]
    if any(row.contestant is Contestant.OURS for row in result.rows):
        parts.append(ratio_table(result.rows))
    if result.targets:
        parts.append(target_table(result.targets))
    parts += [Text(f"not measured: {skipped.what}: {skipped.why}") for skipped in result.skipped]
    parts += [Text(note) for note in result.notes]
    return Group(*parts)


def measured_table(rows: tuple[Row, ...]) -> Table:
    """Every contestant in every case."""
    table = Table(title="Measured (medians)", box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column("frame")
    table.add_column("contestant", no_wrap=True)
    for name in ("frames/s", "spread", "GB/s", "CPU\ns/GB", "sender\ns/GB", "faults\n/frame", "peak\nMB"):
        table.add_column(name, justify="right")
    for case in cases_of(rows):
        for index, row in enumerate(row for row in rows if row.case == case):
            table.add_row(
                case.name if index == 0 else "",
                row.contestant.value,
                number(row.frames_per_s.median),
                f"{row.frames_per_s.relative:.0%}",
                f"{row.gb_per_s.median:.2f}",
                f"{row.cpu_s_per_gb.median:.2f}",
                f"{row.sender_cpu_s_per_gb.median:.2f}" if row.sender_cpu_s_per_gb.median else "-",
                f"{row.faults_per_frame.median:.1f}",
                f"{row.peak_rss_bytes / 1e6:.0f}",
            )
        table.add_section()
    table.caption = "spread: from the slowest turn to the fastest, of the median"
    return table


def ratio_table(rows: tuple[Row, ...]) -> Table:
    """Our receiver over each of the others; the ratio is formed turn by turn."""
    table = Table(title="Frames/s of our receiver over those of ...", box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column("frame")
    names = [*FLOORS, Contestant.PLAIN]
    for contestant in names:
        table.add_column(contestant.value.replace("+", "+\n"), justify="right")
    table.add_column("pull,\nunsaved", justify="right")
    table.add_column("pull+write,\nCPU", justify="right")
    for case in cases_of(rows):
        pull, both = over(rows, case, Contestant.PULL), over(rows, case, Contestant.PULL_WRITE)
        cells = [_ratio_to(rows, case, contestant) for contestant in names]
        cells.append(ratio_text(pull.unsaved_over_this if pull else None))
        cells.append(ratio_text(both.ours_cpu_over_this if both else None))
        if any(cell != "-" for cell in cells):
            table.add_row(case.name, *cells)
    table.caption = "each ratio formed turn by turn; CPU: of CPU-seconds per GB"
    if reached := compressing_ratio(rows):
        table.caption += f"; 200 kB {Extra.COMPRESS}: {reached.median:.2f} of PULL and compression after one another"
    return table


def target_table(targets: tuple[Target, ...]) -> Table:
    """What is to be reached."""
    table = Table("frame", "our receiver", title="Targets (medians)", box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    for name in ("limit", "reached", ""):
        table.add_column(name, justify="right")
    for target in targets:
        in_bytes = "bytes" in target.what
        limit, reached = (
            size_text(int(value)) if in_bytes else f"{value:.2f}" for value in (target.limit, target.reached)
        )
        table.add_row(
            target.case, target.what.replace(" in bytes", ""), limit, reached, "holds" if target.holds else "missed"
        )
    return table


def number(value: float) -> str:
    """Three digits that matter."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def ratio_text(spread: Spread | None) -> str:
    """'0.81' and, in a line of its own, '0.75-0.90'."""
    if spread is None:
        return "-"
    return f"{spread.median:.2f}\n{spread.lowest:.2f}-{spread.highest:.2f}"


def _ratio_to(rows: tuple[Row, ...], case: Case, contestant: Contestant) -> str:
    row = over(rows, case, contestant)
    return ratio_text(row.ours_over_this if row else None)


def _where(result: Result) -> str:
    machine, plan = result.machine, result.plan
    return (
        f"{machine.cores} cores of {machine.processor}, {size_text(machine.memory_bytes)}, Linux {machine.kernel}, "
        f"Python {machine.python}, {machine.software}; files on {machine.file_system} ({machine.folder}); "
        f"{plan.runs} turns of {plan.seconds:g} s each, up to {size_text(plan.most_bytes)}"
    )
