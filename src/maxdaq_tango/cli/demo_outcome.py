"""What came of a demo: each file against what its simulator sent, told to people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maxdaq_tango.model import Receipt, Verdict

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from maxdaq_tango.cli.verification import Comparison
    from maxdaq_tango.deployment.interruption import Interruption
    from maxdaq_tango.deployment.simulated_site import SimulatedDetector


def compare(
    detector: SimulatedDetector,
    receipt: Receipt | None,
    frames: int,
    progress: Progress,
    interruption: Interruption,
) -> Comparison | None:
    """The file with what was sent; None when not all frames are in it."""
    from maxdaq_tango.cli.verification import compare_with_pattern

    if receipt is None or receipt.frames_written != frames:
        return None
    checking = progress.add_task(f"CHECKING {detector.family}", total=frames)

    def look(done: int) -> None:
        interruption.check()
        progress.update(checking, completed=done)

    comparison = compare_with_pattern(Path(receipt.file), receipt.dataset, detector.pixels, frames, look)
    progress.update(checking, description=f"CHECKED {detector.family}")
    return comparison


def conclude(
    detector: SimulatedDetector, receipt: Receipt | None, comparison: Comparison | None, picture: Path, console: Console
) -> dict[str, Any]:
    """Show what came of one detector, write its picture; the same as an object."""
    from maxdaq_tango.cli.preview import write_preview
    from maxdaq_tango.cli.receipt_table import receipt_table

    told: dict[str, Any] = {"ok": False, "receipt": receipt, "comparison": comparison, "picture": None}
    if receipt is None:
        console.print(f"{detector.device} has no receipt.\n")
        return told
    console.print(receipt_table(receipt))
    console.print()
    if comparison is None:
        console.print(f"[bold red]{receipt.verdict.value}[/bold red]: the pixels were not compared.\n")
        return told
    summed = write_preview(Path(receipt.file), receipt.dataset, picture)
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
    console.print(f"A picture of {summed} frames: {_short(picture)}\n", markup=False, soft_wrap=True)
    ok = receipt.verdict is Verdict.COMPLETE and comparison.pixels_different == 0
    return {**told, "ok": ok, "picture": str(picture)}


def look_further(receipts: Mapping[str, Receipt], console: Console) -> None:
    """What a person may type next."""
    receipt = next((receipt for receipt in receipts.values() if receipt.file), None)
    if receipt is None:
        return
    file, programs = _short(Path(receipt.file)), _programs()
    middle = ", ".join(
        f"{size // 2 - min(size, 20) // 2}:{size // 2 + min(size, 20) // 2}" for size in receipt.shape[1:]
    )
    lines = (
        "Look at the frames:",
        f"  {programs}python -c 'import h5py, hdf5plugin",
        f'print(h5py.File("{file}")["{receipt.dataset}"][0, {middle}])\'',
        "",
        f"Compare the file with its receipt:  {programs}maxdaq check {file}",
        f"Keep the devices running:           {programs}maxdaq up",
        "",
    )
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


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
