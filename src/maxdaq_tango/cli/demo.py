"""`maxdaq demo`: the whole road on one computer, from a simulated detector to a file that was checked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from maxdaq_tango.cli.verification import Comparison
    from maxdaq_tango.deployment.interruption import Interruption
    from maxdaq_tango.deployment.launcher import Deployment
    from maxdaq_tango.deployment.topology import Topology
    from maxdaq_tango.model import Receipt


def demo(
    frames: Annotated[int, typer.Option(min=1, max=100_000, help="Frames to take.")] = 300,
    rate: Annotated[float, typer.Option(min=0.1, max=10_000, help="Frames a second.")] = 100.0,
    directory: Annotated[Path, typer.Option(help="A new folder is made in here; nothing is overwritten.")] = Path(
        "data"
    ),
    keep_running: Annotated[bool, typer.Option("--keep-running", help="Leave the devices up until Ctrl-C.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the outcome as one JSON object.")] = False,
) -> None:
    """Take a series with a simulated Eiger, check every pixel, tidy up.

    Starts a Tango database of its own (whatever TANGO_HOST says), a simulated detector and the devices; takes one
    series into an HDF5 file; compares every pixel with what the simulator sent; writes a picture; stops everything.
    Exit status 0 only when the series is COMPLETE and every pixel is right.
    """
    from time import monotonic

    from maxdaq_tango.cli.terminal import people, program
    from maxdaq_tango.deployment.interruption import Interrupted, Interruption

    begin = monotonic()
    console = people(json)
    interruption = Interruption()
    with interruption.catch_signals():
        try:
            outcome = _demonstrate(frames, rate, directory, console, interruption, keep_running)
        except Interrupted as interrupted:
            console.print("\nInterrupted. Every process is stopped.")
            raise typer.Exit(interrupted.exit_status) from None
    if json:
        program({**outcome, "seconds": round(monotonic() - begin, 3)})
    raise typer.Exit(0 if outcome["ok"] else 1)


def _demonstrate(
    frames: int, rate: float, directory: Path, console: Console, interruption: Interruption, keep_running: bool
) -> dict[str, Any]:
    from maxdaq_tango.cli.new_folder import new_folder
    from maxdaq_tango.cli.status import introduce, supervise
    from maxdaq_tango.deployment.interruption import Interrupted
    from maxdaq_tango.deployment.launcher import deployed

    folder = new_folder(directory, "demo")
    topology = _topology(folder.name)
    _greet(topology, console)
    with deployed(
        topology,
        folder,
        interruption=interruption,
        listener=lambda sentence: _tick(console, sentence),
    ) as deployment:
        outcome = _take_and_check(deployment, interruption, console, frames, rate)
        if keep_running:
            introduce(deployment, console)
            try:
                supervise(deployment, console, interruption.wait)
            except Interrupted:
                console.print()  # the way this is meant to end; what was found before still counts
    console.print("Every process is stopped.\n" if not keep_running else "Everything is stopped.\n", style="dim")
    return outcome


def _take_and_check(
    deployment: Deployment, interruption: Interruption, console: Console, frames: int, rate: float
) -> dict[str, Any]:
    from maxdaq_tango.cli.preview import write_preview
    from maxdaq_tango.cli.receipt_table import receipt_table
    from maxdaq_tango.cli.verification import compare_with_pattern
    from maxdaq_tango.deployment.acquisition import take_series, wait_until_devices_are_on
    from maxdaq_tango.model import Verdict

    seed = deployment.topology.simulators["eiger"].seed
    wait_until_devices_are_on(deployment, interruption)
    _tick(console, "all devices are ON")
    console.print()
    with _progress(console) as progress:
        taking = progress.add_task("ARMING", total=frames)
        report = take_series(
            deployment,
            interruption,
            frames=frames,
            rate_hz=rate,
            directory=deployment.folder,
            look=lambda state, done: progress.update(taking, description=state, completed=done),
        )
        progress.update(taking, description=report.verdict.value)
        outcome: dict[str, Any] = {"ok": False, "verdict": report.verdict, "reasons": report.reasons}
        receipt = next(iter(report.receipts.values()), None)
        outcome |= {"folder": str(deployment.folder), "receipt": receipt, "comparison": None, "picture": None}
        comparison: Comparison | None = None
        if receipt is not None and receipt.frames_written == frames:
            checking = progress.add_task("CHECKING", total=frames)

            def look(done: int) -> None:
                interruption.check()
                progress.update(checking, completed=done)

            comparison = compare_with_pattern(Path(receipt.file), receipt.dataset, seed, frames, look)
            progress.update(checking, description="CHECKED")
    console.print()
    if receipt is not None:
        console.print(receipt_table(receipt))
        console.print()
    if receipt is None or comparison is None:
        console.print(f"[bold red]{report.verdict.value}[/bold red]: the pixels were not compared.")
        for reason in report.reasons:
            console.print(f"  - {reason}", markup=False, soft_wrap=True)
        return outcome
    interruption.check()
    picture = deployment.folder / "preview.png"
    summed = write_preview(Path(receipt.file), receipt.dataset, picture)
    outcome |= {"comparison": comparison, "picture": str(picture)}
    outcome["ok"] = receipt.verdict is Verdict.COMPLETE and comparison.pixels_different == 0
    _conclude(console, receipt, comparison, picture, summed)
    return outcome


def _conclude(console: Console, receipt: Receipt, comparison: Comparison, picture: Path, summed: int) -> None:
    if comparison.pixels_different:
        console.print(
            f"[bold red]{comparison.pixels_different:,} of {comparison.pixels:,} pixels are wrong.[/bold red] "
            f"The first: {comparison.first_difference}"
        )
    else:
        console.print(
            f"[bold green]All {comparison.pixels:,} pixels[/bold green] of {comparison.frames} frames "
            "are what the simulator sent."
        )
    file, programs = _short(Path(receipt.file)), _programs()
    lines = (
        f"A picture of {summed} frames: {_short(picture)}",
        "",
        "Look at the frames:",
        f"  {programs}python -c 'import h5py, hdf5plugin",
        f'print(h5py.File("{file}")["{receipt.dataset}"][0, 380:400, 500:520])\'',
        "",
        f"Compare the file with its receipt:  {programs}maxdaq check {file}",
        f"Keep the devices running:           {programs}maxdaq up",
        "",
    )
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def _greet(topology: Topology, console: Console) -> None:
    import os

    eiger = topology.simulators["eiger"]
    console.print()
    console.print(
        f"[bold]maxdaq demo[/bold]: a simulated Eiger of {eiger.rows} x {eiger.columns} pixels, on this computer"
    )
    if os.environ.get("TANGO_HOST"):
        console.print(f"The demo starts a Tango database of its own; {os.environ['TANGO_HOST']} is left alone.")
    console.print()


def _tick(console: Console, sentence: str) -> None:
    if not sentence.startswith("registered "):
        console.print("[green]  +[/green]", end=" ")
        console.print(sentence, markup=False, soft_wrap=True)


def _topology(name: str) -> Topology:
    """The built-in one, under the folder's name, always with a database of its own."""
    from msgspec.structs import replace

    from maxdaq_tango.deployment.topology import EmbeddedDatabase, built_in_topology, parse_topology

    topology = parse_topology(built_in_topology(), "the built-in topology")
    return replace(topology, name=name, database=replace(topology.database, embedded=EmbeddedDatabase.ALWAYS))


def _progress(console: Console) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("  {task.description:<11}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames"),
        TimeElapsedColumn(),
        console=console,
    )


def _short(path: Path) -> Path:
    """Relative to where we are, when it lies below."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _programs() -> str:
    """What to write before `maxdaq` and `python` so that a shell finds those of this installation."""
    import shutil
    import sys

    folder = Path(sys.executable).parent
    return "" if shutil.which("maxdaq") == str(folder / "maxdaq") else f"{_short(folder)}/"
