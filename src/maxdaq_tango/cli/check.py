"""`maxdaq check`: does a file hold what its receipt says?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def check(
    files: Annotated[list[Path], typer.Argument(help="Files to check.")],
    complete: Annotated[bool, typer.Option("--complete", help="Demand the verdict COMPLETE as well.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print what was found as one JSON object.")] = False,
) -> None:
    """Re-read the receipt, every checksum and every frame.

    Exit status 0 when nothing disagrees. A series that was INCOMPLETE but says so truthfully passes, unless --complete
    is given.
    """
    from rich.markup import escape
    from rich.progress import track

    from maxdaq_tango.cli.receipt_table import receipt_table
    from maxdaq_tango.cli.terminal import people, program
    from maxdaq_tango.files import check_file
    from maxdaq_tango.model import Verdict

    console = people(json)
    results = []
    for path in track(files, "checking", console=console, transient=True, disable=not console.is_terminal):
        result = check_file(path)
        if complete and result.verdict is not None and result.verdict is not Verdict.COMPLETE:
            result.problems.append(f"the verdict is {result.verdict.value}, COMPLETE was asked for")
            result.ok = False
        results.append(result)
        if result.receipt is not None:
            console.print(receipt_table(result.receipt))
        word = "[green]agrees with its receipt[/green]" if result.ok else "[red]does not agree with its receipt[/red]"
        found = f"{result.frames_checked} of {result.rows} frames checked, {word}"
        if result.receipt is None:
            found = "[red]cannot be checked[/red]"
        console.print(f"{escape(str(path))}: {found}", soft_wrap=True)
        for problem in result.problems:
            console.print(f"  - {problem}", markup=False, soft_wrap=True)
    ok = all(result.ok for result in results)
    if json:
        program({"ok": ok, "files": results})
    raise typer.Exit(0 if ok else 1)
