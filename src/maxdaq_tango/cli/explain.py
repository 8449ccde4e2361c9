"""`maxdaq explain`: what happened to a run, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from maxdaq_tango.explain.evidence import Evidence

BOX = ".blackbox.jsonl"


def explain(
    path: Annotated[
        Path, typer.Argument(help="A file of a run, its black box (.blackbox.jsonl), or a folder with them.")
    ],
    json: Annotated[bool, typer.Option("--json", help="Print causes and timeline as one JSON object.")] = False,
) -> None:
    """Tell what happened to runs that were not COMPLETE, and the likely cause.

    From the receipt and the black box that the receiver has left beside the data. In a folder: all runs that have one.
    """
    from dataclasses import asdict

    from rich.markup import escape

    from maxdaq_tango.cli.terminal import people, program
    from maxdaq_tango.explain.causes import explain as causes_of
    from maxdaq_tango.explain.timeline import timeline

    console = people(json)
    told: list[dict[str, Any]] = []
    for name, evidence in _runs(path):
        receipt, causes = evidence.receipt, causes_of(evidence)
        lines = list(timeline(evidence.records))
        console.print(f"\n[bold]{escape(str(name))}[/bold]: {receipt.verdict.value}", soft_wrap=True)
        for at, text in lines:
            console.print(f"  {at:9.3f} s  {text}", markup=False, soft_wrap=True)
        if not lines:
            console.print("  there is no black box: the receipt is all there is", markup=False)
        for number, cause in enumerate(causes):
            word = "and" if number else "likely cause"
            console.print(f"  {word}: [bold]{escape(cause.cause)}[/bold]", soft_wrap=True)
            console.print(f"    because {cause.because}", markup=False, soft_wrap=True)
            if cause.do:
                console.print(f"    {cause.do}", markup=False, soft_wrap=True)
        told.append(
            {
                "file": str(name),
                "verdict": receipt.verdict,
                "causes": [asdict(cause) for cause in causes],
                "timeline": [{"seconds": round(at, 6), "text": text} for at, text in lines],
            }
        )
    if not told:
        console.print("no run with a black box was found", soft_wrap=True)
    if json:
        program({"runs": told})


def _runs(path: Path) -> list[tuple[Path, Evidence]]:
    from maxdaq_tango.errors import FileError

    if not path.exists():
        raise FileError(f"explain {path}", answer="there is no such file", accepted="a file or folder of runs")
    if path.is_dir():
        return [(box, _evidence(box)) for box in sorted(path.rglob(f"*{BOX[:-6]}*.jsonl"))]
    return [(path, _evidence(path))]


def _evidence(path: Path) -> Evidence:
    """A black box has the receipt of its run in it; a data file has its own, and perhaps a black box beside it."""
    import msgspec

    from maxdaq_tango.errors import FileError
    from maxdaq_tango.explain.evidence import Evidence
    from maxdaq_tango.files import read_receipt
    from maxdaq_tango.model import Receipt
    from maxdaq_tango.pipeline.blackbox import blackbox_path, decoded

    is_box = path.suffix == ".jsonl"
    box = path if is_box else blackbox_path(path)
    try:
        records = tuple(decoded(box.read_bytes().splitlines())) if box.exists() else ()
        if not is_box:
            return Evidence(read_receipt(path), records)
        receipts = [record["receipt"] for record in records if record["what"] == "receipt"]
        if not receipts:
            raise FileError(f"explain {path}", answer="there is no receipt in it", accepted="a black box of ours")
        return Evidence(msgspec.convert(receipts[-1], Receipt), records)
    except (OSError, KeyError, msgspec.ValidationError) as error:
        raise FileError(f"explain {path}", answer=str(error), accepted="a file or a black box of a run") from None
