"""`maxdaq demo`: the whole road on one computer, from simulated detectors to files that were checked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from maxdaq_tango.deployment.interruption import Interruption
    from maxdaq_tango.deployment.launcher import Deployment
    from maxdaq_tango.deployment.simulated_site import SimulatedSite


def demo(
    frames: Annotated[int, typer.Option(min=1, max=100_000, help="Frames to take.")] = 300,
    rate: Annotated[float, typer.Option(min=0.1, max=10_000, help="Frames a second.")] = 100.0,
    detectors: Annotated[
        str, typer.Option(metavar="FAMILIES", help="Which detectors, with commas between them.")
    ] = "eiger",
    directory: Annotated[Path, typer.Option(help="A new folder is made in here; nothing is overwritten.")] = Path(
        "data"
    ),
    keep_running: Annotated[bool, typer.Option("--keep-running", help="Leave the devices up until Ctrl-C.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the outcome as one JSON object.")] = False,
) -> None:
    """Take a series with simulated detectors, check every pixel, tidy up.

    Starts a Tango database of its own (whatever TANGO_HOST says), the simulated detectors and the devices; takes one
    series with all of them under one controller into HDF5 files; compares every pixel with what the simulators sent;
    writes pictures; stops everything. A detector that cannot be simulated on this computer is left out with the reason.
    Exit status 0 only when none was, every series is COMPLETE and every pixel is right.
    """
    from time import monotonic

    from maxdaq_tango.cli.terminal import people, program
    from maxdaq_tango.deployment.interruption import Interrupted, Interruption

    begin = monotonic()
    console = people(json)
    interruption = Interruption()
    families = [word.strip() for word in detectors.split(",")]
    with interruption.catch_signals():
        try:
            outcome = _demonstrate(families, frames, rate, directory, console, interruption, keep_running)
        except Interrupted as interrupted:
            console.print("\nInterrupted. Every process is stopped.")
            raise typer.Exit(interrupted.exit_status) from None
    if json:
        program({**outcome, "seconds": round(monotonic() - begin, 3)})
    raise typer.Exit(0 if outcome["ok"] else 1)


def _demonstrate(
    families: list[str],
    frames: int,
    rate: float,
    directory: Path,
    console: Console,
    interruption: Interruption,
    keep_running: bool,
) -> dict[str, Any]:
    from msgspec.structs import replace

    from maxdaq_tango.cli.new_folder import new_folder
    from maxdaq_tango.cli.status import introduce, supervise
    from maxdaq_tango.deployment.interruption import Interrupted
    from maxdaq_tango.deployment.launcher import deployed
    from maxdaq_tango.deployment.simulated_site import simulated_site, why_not
    from maxdaq_tango.errors import LaunchError

    left_out = why_not(families)
    possible = [word for word in families if word not in left_out]
    if left_out and not possible:
        raise LaunchError(f"simulate {' and '.join(left_out)}", answer="; ".join(left_out.values()))
    site = simulated_site("demo", possible)
    folder = new_folder(directory, "demo")
    _greet(site, console)
    _tell_left_out(left_out, console)
    with deployed(
        replace(site.topology, name=folder.name),
        folder,
        interruption=interruption,
        listener=lambda sentence: _tick(console, sentence),
    ) as deployment:
        outcome = _take_and_check(site, deployment, interruption, console, frames, rate)
        if keep_running:
            introduce(deployment, console)
            try:
                supervise(deployment, console, interruption.wait)
            except Interrupted:
                console.print()  # the way this is meant to end; what was found before still counts
    _tell_left_out(left_out, console)
    console.print("Every process is stopped.\n" if not keep_running else "Everything is stopped.\n", style="dim")
    return {**outcome, "ok": outcome["ok"] and not left_out, "left_out": left_out}


def _take_and_check(
    site: SimulatedSite,
    deployment: Deployment,
    interruption: Interruption,
    console: Console,
    frames: int,
    rate: float,
) -> dict[str, Any]:
    from maxdaq_tango.cli.demo_outcome import compare, conclude, look_further
    from maxdaq_tango.deployment.acquisition import take_series, wait_until_devices_are_on
    from maxdaq_tango.model import Verdict

    wait_until_devices_are_on(deployment, interruption)
    _tick(console, "all devices are ON")
    console.print()
    checks = {}
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
        for detector in site.detectors:
            receipt = report.receipts.get(detector.device)
            checks[detector.device] = compare(detector, receipt, frames, progress, interruption)
    console.print()
    interruption.check()
    found = {
        detector.device: conclude(
            detector,
            report.receipts.get(detector.device),
            checks[detector.device],
            deployment.folder / ("preview.png" if len(site.detectors) == 1 else f"preview-{detector.family}.png"),
            console,
        )
        for detector in site.detectors
    }
    if report.verdict is not Verdict.COMPLETE:
        console.print(f"[bold red]{report.verdict.value}[/bold red]")
        for reason in report.reasons:
            console.print(f"  - {reason}", markup=False, soft_wrap=True)
    look_further(report.receipts, console)
    first = found[site.detectors[0].device]
    return {
        "ok": report.verdict is Verdict.COMPLETE and all(one["ok"] for one in found.values()),
        "verdict": report.verdict,
        "reasons": report.reasons,
        "folder": str(deployment.folder),
        **{key: value for key, value in first.items() if key != "ok"},
        "detectors": found,
    }


def _greet(site: SimulatedSite, console: Console) -> None:
    import os

    console.print()
    sizes = [
        f"a simulated {detector.family.capitalize()} of {detector.settings.rows} x {detector.settings.columns} pixels"
        for detector in site.detectors
    ]
    console.print(f"[bold]maxdaq demo[/bold]: {', '.join(sizes)}, on this computer")
    if os.environ.get("TANGO_HOST"):
        console.print(f"The demo starts a Tango database of its own; {os.environ['TANGO_HOST']} is left alone.")
    console.print()


def _tell_left_out(left_out: dict[str, str], console: Console) -> None:
    """At the beginning, and again at the end, where it says why the exit status is not 0."""
    for word, reason in left_out.items():
        console.print(f"[bold red]No {word}[/bold red]", end=": ")
        console.print(f"{reason}\n", markup=False, soft_wrap=True)


def _tick(console: Console, sentence: str) -> None:
    if not sentence.startswith("registered "):
        console.print("[green]  +[/green]", end=" ")
        console.print(sentence, markup=False, soft_wrap=True)


def _progress(console: Console) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("  {task.description:<18}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames"),
        TimeElapsedColumn(),
        console=console,
    )
