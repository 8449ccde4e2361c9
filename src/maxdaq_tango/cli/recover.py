"""`maxdaq recover`: make readable what a killed receiver has left."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def recover(
    files: Annotated[list[Path], typer.Argument(help="Unfinished files: .<name>.part")],
    json: Annotated[bool, typer.Option("--json", help="Print what was found as one JSON object.")] = False,
) -> None:
    """Lay the checkpoint beside each unfinished file over it, so that HDF5 can read what was written before the kill.

    Nothing is deleted or renamed, and it may be repeated. Exit status 0 when every file can be read.
    """
    from rich.markup import escape

    from maxdaq_tango.cli.terminal import people, program
    from maxdaq_tango.errors import FileError
    from maxdaq_tango.files import recover_part

    console = people(json)
    found: list[dict[str, object]] = []
    for path in files:
        try:
            frames = recover_part(path).frames
        except FileError as error:
            found.append({"file": str(path), "frames": None, "problem": str(error)})
            console.print(f"[red]not recovered[/red]: {escape(str(error))}", soft_wrap=True)
        else:
            found.append({"file": str(path), "frames": frames, "problem": ""})
            console.print(f"{escape(str(path))}: {frames} frames can be read", soft_wrap=True)
    ok = all(not item["problem"] for item in found)
    if json:
        program({"ok": ok, "files": found})
    raise typer.Exit(0 if ok else 1)
