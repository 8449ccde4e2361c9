"""`maxdaq keys FILE`: a pair of keys for streams of our own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def keys(
    file: Annotated[Path, typer.Argument(help="New file for the pair; only you will be able to read it.")],
    json: Annotated[bool, typer.Option("--json", help="Print file and public key as one JSON object.")] = False,
) -> None:
    """Make a pair of CURVE keys and print the public one.

    Who binds (simulate, replay) takes the file as --curve-key, who connects (receive, record, the StreamReceiver) the
    public key as --curve-server-key. The secret key stays in the file.
    """
    from maxdaq_tango.cli.terminal import people, program
    from maxdaq_tango.curve import make_keys

    public = make_keys(file)
    if json:
        program({"file": str(file), "public": public})
    people(json).print(public, markup=False, highlight=False, soft_wrap=True)
