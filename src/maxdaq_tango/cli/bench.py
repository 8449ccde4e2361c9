"""`maxdaq bench`: measure this machine, and say what the numbers are of."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from maxdaq_tango.bench.plan import PACKINGS, Extra, Plan, Saving, size_of


class Subject(StrEnum):
    """What can be measured."""

    RECEIVE = "receive"
    """How fast frames go from the socket to the file."""
    CONTROL = "control"
    """How fast every device answers while frames flow."""
    KERNELS = "kernels"
    """How fast pixels are unpacked, packed and converted."""


class Packing(StrEnum):
    """How frames come on the wire."""

    NONE = "none"
    BSLZ4 = "bslz4"
    BOTH = "both"


_RECEIVE = "maxdaq bench receive"
_CONTROL = "maxdaq bench control"


def bench(
    subject: Annotated[Subject, typer.Argument(help="What to measure.")] = Subject.RECEIVE,
    seconds: Annotated[
        float | None,
        typer.Option(min=0.01, help="receive: of one turn (1.5); control: of frames (20); kernels: of each (1)."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the numbers as one JSON object.")] = False,
    sizes: Annotated[
        str, typer.Option(help="Bytes of a frame on the wire: 8k,2M ...", rich_help_panel=_RECEIVE)
    ] = "8k,32k,200k,2M,20M",
    packing: Annotated[
        Packing, typer.Option(help="How frames come on the wire.", rich_help_panel=_RECEIVE)
    ] = Packing.BOTH,
    saving: Annotated[Saving, typer.Option(help="With a file, without, or both.", rich_help_panel=_RECEIVE)] = (
        Saving.BOTH
    ),
    extra: Annotated[
        list[Extra] | None,
        typer.Option(help="A row beside the grid; repeat it. Default: compress, columns.", rich_help_panel=_RECEIVE),
    ] = None,
    only_grid: Annotated[
        bool, typer.Option("--only-grid", help="No row beside the grid.", rich_help_panel=_RECEIVE)
    ] = False,
    runs: Annotated[int, typer.Option(min=1, help="Turns of each contestant.", rich_help_panel=_RECEIVE)] = 3,
    folder: Annotated[
        Path | None, typer.Option(help="Write below this folder; default: the present one.", rich_help_panel=_RECEIVE)
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw frames/s over frame size (SVG).", rich_help_panel=_RECEIVE)
    ] = None,
    rate: Annotated[float, typer.Option(min=1, help="Frames a second.", rich_help_panel=_CONTROL)] = 2000.0,
    size: Annotated[
        int, typer.Option(min=16, max=4096, help="Rows and columns of a frame.", rich_help_panel=_CONTROL)
    ] = 128,
    limit: Annotated[
        float, typer.Option(help="99th percentile above which the exit status is 1, ms.", rich_help_panel=_CONTROL)
    ] = 100.0,
) -> None:
    """Measure how fast frames go from the socket to the file, how fast devices answer meanwhile, or the kernels.

    `receive`, which takes a few minutes: a sender in a process of its own streams over loopback TCP to our receiver, to
    the floors (a bare PULL loop, bare direct writing, both together) and to a plain receiver, turn by turn. Everything
    that is written is deleted again.

    `control`: starts the built-in topology with a small simulated Eiger, takes one long series into a file, and
    meanwhile reads every attribute and calls every command of every device, one after the other.

    `kernels`: what is done with pixels on their way, each on one core and on two, beside the same in numpy or Python.
    """
    from maxdaq_tango.cli.terminal import people
    from maxdaq_tango.deployment.interruption import Interrupted
    from maxdaq_tango.model import Encoding

    try:
        if subject is Subject.CONTROL:
            _control(seconds=20.0 if seconds is None else seconds, rate=rate, size=size, limit=limit, json=json)
        elif subject is Subject.KERNELS:
            _kernels(seconds=1.0 if seconds is None else seconds, turns=runs, json=json)
        else:
            plan = Plan(
                sizes=tuple(size_of(text) for text in sizes.split(",")),
                packings=PACKINGS if packing is Packing.BOTH else (Encoding(packing.value),),
                saving=saving,
                extras=() if only_grid else tuple(extra or (Extra.COMPRESS, Extra.COLUMNS)),
                runs=runs,
                seconds=1.5 if seconds is None else seconds,
            )
            _receive(plan, folder=folder, plot=plot, json=json)
    except Interrupted as interrupted:
        people(json).print("Interrupted. Everything is stopped and removed.")
        raise typer.Exit(interrupted.exit_status) from None


def _receive(plan: Plan, *, folder: Path | None, plot: Path | None, json: bool) -> None:
    from maxdaq_tango.bench.report import tables
    from maxdaq_tango.cli.bench_receive import check_plot, measure_receive, write_plot
    from maxdaq_tango.cli.terminal import people, program

    console = people(json)
    if plot is not None:
        check_plot(plot)
    result = measure_receive(plan, folder, console)
    if plot is not None:
        write_plot(result, plot)
    if json:
        program(result)
    console.print(tables(result))


def _control(*, seconds: float, rate: float, size: int, limit: float, json: bool) -> None:
    import tempfile

    from maxdaq_tango.cli.bench_control import measure_control
    from maxdaq_tango.cli.terminal import people, program

    console = people(json)
    with tempfile.TemporaryDirectory(prefix="maxdaq-bench-") as folder:
        result = measure_control(Path(folder), seconds=max(2.0, seconds), rate_hz=rate, size=size, console=console)
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


def _kernels(*, seconds: float, turns: int, json: bool) -> None:
    from maxdaq_tango.cli.bench_kernels import measure_kernels, table
    from maxdaq_tango.cli.terminal import people, program

    console = people(json)
    results = measure_kernels(seconds, turns, console)
    if json:
        program({"kernels": results})
    console.print(table(results))
