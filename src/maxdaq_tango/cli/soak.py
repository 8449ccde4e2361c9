"""`maxdaq soak`: random acquisitions with random faults, each compared with the account of its sender."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console
    from rich.progress import Progress

    from maxdaq_tango.soak.campaign import Campaign
    from maxdaq_tango.soak.conductor import Plan, Step
    from maxdaq_tango.soak.results import SoakResult

WIDTH = 120
"""Characters that the tables need."""


def soak(
    minutes: Annotated[float, typer.Option(min=0.1, help="How long; the acquisition under way is finished.")] = 60.0,
    seed: Annotated[
        int, typer.Option(min=0, help="The same seed makes the same acquisitions and the same pixels.")
    ] = 1,
    faults: Annotated[
        str,
        typer.Option(help="What may be drawn: all, none, names with commas between them; -NAME takes one away."),
    ] = "all",
    detectors: Annotated[
        str,
        typer.Option(
            help="Families with commas between them: so many detectors under one controller. Empty: one Eiger."
        ),
    ] = "",
    acquisitions: Annotated[int, typer.Option(min=0, help="So many and no more; 0 = as time allows.")] = 0,
    first: Annotated[int, typer.Option(min=0, help="Begin with this acquisition: one of an earlier soak again.")] = 0,
    directory: Annotated[Path, typer.Option(help="A new folder is made in here; nothing is overwritten.")] = Path(
        "data"
    ),
    json: Annotated[bool, typer.Option("--json", help="Print the outcome as one JSON object.")] = False,
) -> None:
    """Take random acquisitions with random faults, and compare every receipt with what the sender says.

    Starts a Tango database of its own, a simulated detector and the devices. Each acquisition has settings, faults and
    an end of its own: by itself, by Stop or Abort, by SIGKILL of the engine or of the receiver's device server.
    Receipt, Tango attributes, file and pixels must agree with the account of the simulator, and what the processes hold
    must not grow. Files of acquisitions that agree are removed. Exit status 1 when anything disagrees.
    """
    from maxdaq_tango.cli.new_folder import new_folder
    from maxdaq_tango.cli.terminal import people, program
    from maxdaq_tango.deployment.interruption import Interrupted, Interruption
    from maxdaq_tango.soak.conductor import Conductor, Plan
    from maxdaq_tango.soak.results import summary

    plan = Plan(seconds=60 * minutes, seed=seed, first=first, acquisitions=acquisitions)
    campaign = _campaign(seed, faults, detectors)
    console = people(json)
    folder = new_folder(directory, "soak")
    interruption, status = Interruption(), 0
    with interruption.catch_signals(), _progress(console) as progress:
        conductor = Conductor(
            plan,
            campaign,
            folder,
            interruption,
            look=_looker(progress, plan),
            listener=lambda text: _tell(progress, text),
        )
        try:
            result: SoakResult = conductor.run()
        except Interrupted as interrupted:
            result, status = conductor.result(), interrupted.exit_status
    if json:
        program(result)
    console.width = max(console.width, WIDTH)  # a table in which nothing can be read is none
    console.print(summary(result), soft_wrap=True)
    if status:
        console.print("Interrupted. Every process is stopped.")
    raise typer.Exit(status or (0 if result.ok else 1))


def _campaign(seed: int, faults: str, detectors: str) -> Campaign:
    from maxdaq_tango.soak.menu import allowed_of
    from maxdaq_tango.soak.one_detector import OneDetector
    from maxdaq_tango.soak.recipe import ENDS
    from maxdaq_tango.soak.several.campaign import SeveralDetectors
    from maxdaq_tango.soak.several.recipe import TRICKS

    if not detectors:
        return OneDetector(seed, faults, allowed_of(faults, ENDS))
    families = tuple(word.strip() for word in detectors.split(",") if word.strip())
    return SeveralDetectors(seed, families, faults, allowed_of(faults, TRICKS))


def _looker(progress: Progress, plan: Plan) -> Callable[[Step], None]:
    task = progress.add_task("starting", total=plan.acquisitions or plan.seconds)

    def look(step: Step) -> None:
        recipe = step.recipe
        done = recipe.number - plan.first if plan.acquisitions else min(step.seconds, plan.seconds)
        what = " ".join(recipe.labels) or "no fault"
        bad = f", {step.disagreements} disagree" if step.disagreements else ""
        progress.update(task, completed=done, description=f"acquisition {recipe.number}{bad}: {what}")

    return look


def _tell(progress: Progress, text: str) -> None:
    if not text.startswith("registered "):
        progress.console.print(text, style="dim", markup=False, soft_wrap=True)


def _progress(console: Console) -> Progress:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False),
        console=console, disable=not console.is_terminal,
    )  # fmt: skip
