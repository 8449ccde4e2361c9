"""`maxdaq recover`: make readable what a killed receiver has left."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from maxdaq_tango.files import Homecoming, Recovered

LISTED = 5
"""Ranges of numbers in a cell of the table."""


def recover(
    paths: Annotated[list[Path], typer.Argument(help="Unfinished files (.<name>.part), or folders to look for them.")],
    json: Annotated[bool, typer.Option("--json", help="Print what was found as one JSON object.")] = False,
) -> None:
    """Make a file that can be read of each unfinished one: <name>_recovered.h5, with a receipt of what is in it.

    Of a series in blocks it makes all data files and the master that joins them, whichever of them is named. A file
    that a process is writing is left alone, and so is one without a frame. Of a spill directory the data files of
    finished series are moved to where they belong. Nothing is replaced, nothing is lost, and it may be interrupted and
    repeated. Exit status 0 unless a file could not be recovered or moved.
    """
    import msgspec
    from rich.markup import escape
    from rich.table import Table

    from maxdaq_tango.cli.terminal import people, program
    from maxdaq_tango.files import bring_all_home, find_parts, recover_found, recover_together

    console = people(json)
    found: list[Recovered] = []
    moved: list[Homecoming] = []
    for path in paths:
        for series in bring_all_home(path):
            moved.append(series)
            told = f"[red]not moved[/red]: {escape(series.problem)}" if series.problem else escape(series.note)
            console.print(f"{escape(series.master or series.folder)}: {told or 'complete'}", soft_wrap=True)
        for one in recover_found(find_parts(path)) if path.is_dir() else recover_together(path):
            console.print(f"{escape(one.part)}: {escape(one.file or one.note or one.problem)}", soft_wrap=True)
            found.append(one)
    ok = not (any(one.problem for one in found) or any(series.problem for series in moved))
    if found:
        table = Table("file", "frames", "missing", "wrong", "remark")
        for one in found:
            remark = f"[red]not recovered[/red]: {escape(one.problem)}" if one.problem else escape(one.note)
            wrong = _ranges(tuple((number, number) for number in one.wrong))
            table.add_row(escape(one.file or one.part), str(one.frames), _ranges(one.missing), wrong, remark)
        console.print(table)
    elif not moved:
        console.print("no unfinished file was found")
    if json:
        program({"ok": ok, "files": msgspec.to_builtins(found), "moved": msgspec.to_builtins(moved)})
    raise typer.Exit(0 if ok else 1)


def _ranges(ranges: tuple[tuple[int, int], ...]) -> str:
    texts = [str(low) if low == high else f"{low}-{high}" for low, high in ranges[:LISTED]]
    return ", ".join(texts) + (f" and {len(ranges) - LISTED} more" if len(ranges) > LISTED else "")
