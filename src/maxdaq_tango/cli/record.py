"""`maxdaq record`: a stream into a capture file, message by message."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def record(
    source: Annotated[str, typer.Option(help="tcp://HOST:PORT of the sender. Takes the messages from everyone else!")],
    output: Annotated[Path, typer.Option(help="New capture file (.cborseq.gz).")],
    series: Annotated[int, typer.Option(min=0, help="Stop after this many end messages; 0 = do not look.")] = 1,
    messages: Annotated[int, typer.Option(min=0, help="Stop after this many messages; 0 = no limit.")] = 0,
    timeout: Annotated[float, typer.Option(min=0, help="Stop after this silence, s; 0 = never.")] = 30.0,
    curve_server_key: Annotated[
        str, typer.Option(metavar="KEY", help="Public key of a sender that encrypts (CURVE); see `maxdaq keys`.")
    ] = "",
    curve_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Our own key file, for senders that want to know us.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was recorded as one JSON object.")] = False,
) -> None:
    """Write a stream down as it comes, to replay it later.

    A PUSH sender deals its messages out: while this records, a receiver on the same sender gets only part of them.
    """
    from maxdaq_tango.cli.recording import record_stream
    from maxdaq_tango.cli.terminal import people, program

    console = people(json)
    recorded = record_stream(
        source,
        output,
        series=series,
        messages=messages,
        timeout_s=timeout,
        console=console,
        server_key=curve_server_key,
        key_file=str(curve_key or ""),
    )
    if json:
        program(recorded)
    kept = str(output) if recorded.messages else "nothing came, and no file is left"
    told = f"{recorded.messages} messages, {recorded.bytes} bytes, ended by {recorded.ended_by}: {kept}"
    console.print(told, markup=False, soft_wrap=True)
    raise typer.Exit(0 if recorded.messages else 1)
