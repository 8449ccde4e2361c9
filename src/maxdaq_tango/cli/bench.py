"""`maxdaq bench`: measure this machine, and say what the numbers are of."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Subject(StrEnum):
    """What can be measured."""

    CONTROL = "control"
    """How fast every device answers while frames flow."""


def bench(
    subject: Annotated[Subject, typer.Argument(help="What to measure.")] = Subject.CONTROL,
    seconds: Annotated[float, typer.Option(min=2, help="How long frames flow.")] = 20.0,
    rate: Annotated[float, typer.Option(min=1, help="Frames a second.")] = 2000.0,
    size: Annotated[int, typer.Option(min=16, max=4096, help="Rows and columns of a frame.")] = 128,
    limit: Annotated[float, typer.Option(help="99th percentile above which the exit status is 1, ms.")] = 100.0,
    json: Annotated[bool, typer.Option("--json", help="Print the numbers as one JSON object.")] = False,
) -> None:
    """Measure how fast attributes and commands of every device answer while frames flow.

    Starts the built-in topology with a small simulated Eiger, takes one long series into a file, and meanwhile reads
    every attribute and calls every command of every device, one after the other. Sender, receiver, devices and this
    client share the machine.
    """
    import tempfile

    from maxdaq_tango.cli.bench_control import measure_control
    from maxdaq_tango.cli.terminal import people, program

    console = people(json)
    with tempfile.TemporaryDirectory(prefix="maxdaq-bench-") as folder:
        result = measure_control(Path(folder), seconds=seconds, rate_hz=rate, size=size, console=console)
    if json:
        program(result)
    console.print(result.table())
    console.print(
        f"{result.frames} frames in {result.seconds:.1f} s ({result.rate_hz:.0f} frames/s), verdict {result.verdict}; "
        f"{result.calls} calls, p50 {result.p50_ms:.2f} ms, p99 {result.p99_ms:.2f} ms, slowest {result.max_ms:.1f} ms"
    )
    worst = max(row.p99_ms for row in result.rows)
    console.print(f"worst 99th percentile of a single attribute or command: {worst:.2f} ms (limit {limit:g} ms)")
    raise typer.Exit(0 if worst <= limit and result.verdict == "COMPLETE" else 1)
