"""The data-path bench as a command: a progress bar around the conductor."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from maxdaq_tango.bench.conductor import Conductor, Turn
from maxdaq_tango.bench.disk import MEMORY_FILE_SYSTEMS, file_system
from maxdaq_tango.bench.plan import Plan
from maxdaq_tango.bench.plot import draw
from maxdaq_tango.bench.results import Result
from maxdaq_tango.deployment.interruption import Interruption
from maxdaq_tango.errors import ConfigurationError, FileError


def measure_receive(plan: Plan, folder: Path | None, console: Console) -> Result:
    """Run `plan`; files go below `folder`, or below the present one, which must then be on a disk."""
    parent = folder if folder is not None else Path.cwd()
    if not parent.is_dir():
        raise FileError(
            "write files", of=str(parent), answer="no such folder", accepted="--folder with one that exists"
        )
    if folder is None and plan.writes and (kind := file_system(parent)) in MEMORY_FILE_SYSTEMS:
        raise ConfigurationError(
            f"write files in {parent}", answer=f"it is {kind}, which is memory", accepted="--folder on a disk"
        )
    interruption = Interruption()
    with (
        interruption.catch_signals(),
        # Drawn between turns only: with two cores a spinning bar would be measured as well.
        Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            console=console, transient=True, disable=not console.is_terminal, auto_refresh=False,
        ) as progress,
    ):  # fmt: skip
        task = progress.add_task("starting", total=plan.turn_count())

        def look(turn: Turn) -> None:
            progress.update(task, description=f"{turn.case.name}: {turn.contestant}", completed=turn.number)
            progress.refresh()

        return Conductor(plan, parent, interruption, look=look).run()


def check_plot(picture: Path) -> None:
    """Refuse at once what would fail after minutes."""
    if picture.exists() or not picture.parent.is_dir():
        answer = "it exists" if picture.exists() else "no such folder"
        raise ConfigurationError(
            f"write the plot {picture}", answer=answer, accepted="a new file in a folder that exists"
        )


def write_plot(result: Result, picture: Path) -> None:
    """Write the picture; an existing file is not replaced."""
    try:
        with picture.open("x") as file:
            file.write(draw(result.rows))
    except OSError as error:
        raise FileError("write the plot", of=str(picture), answer=error.strerror or str(error)) from None
