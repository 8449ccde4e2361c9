"""How far a run is, for people who look at a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

Look = Callable[[str, int, int], None]
"""Is told the acquisition state, and how many frames of how many have been received."""


def no_look(state: str, done: int, wanted: int) -> None:
    """Tell nobody."""


@contextlib.contextmanager
def bar(wanted: bool | None) -> Iterator[Look]:
    """A progress bar on stderr; None = where that is a terminal."""
    if wanted is False or (wanted is None and not sys.stderr.isatty()):
        yield no_look
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description:<11}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("ARMING")
        yield lambda state, done, wanted: progress.update(task, description=state, completed=done, total=wanted)
