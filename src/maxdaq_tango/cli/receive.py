"""`maxdaq receive`: one series from a stream into a file, without Tango."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from maxdaq_tango.model import MOST_ENGINES, MOST_FRAMES_PER_FILE, Compression, FileBackend, StreamFormat, Verification
from maxdaq_tango.model.conversion import Conversion, ConvertTo

if TYPE_CHECKING:
    from rich.console import Console

    from maxdaq_tango.model import Counters, Receipt, RunRequest


def receive(
    source: Annotated[list[str], typer.Option(help="tcp://HOST:PORT of the sender; repeat for several sockets.")],
    format: Annotated[StreamFormat, typer.Option(help="Wire format of the stream.")],
    output: Annotated[Path | None, typer.Option(help="File to write; none = count and throw away.")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Frames to expect; default: what the header says.")] = None,
    detector: Annotated[str, typer.Option(help="<name> in /entry/instrument/<name>/data.")] = "detector",
    series: Annotated[str | None, typer.Option(help="Take only this series; default: the first that begins.")] = None,
    from_stream: Annotated[
        Path | None, typer.Option(help="Let the stream name the file (MAX IV's filename), under this folder.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Move an existing file aside.")] = False,
    start_timeout: Annotated[float, typer.Option(min=0, help="Longest wait for the header, s; 0 = for ever.")] = 60.0,
    timeout: Annotated[
        float, typer.Option(min=0, help="Longest silence in the series, s (at least 3 frame periods); 0 = for ever.")
    ] = 10.0,
    module_wait: Annotated[
        float, typer.Option(min=0, help="Of formats in which modules send their own parts: wait for them, s.")
    ] = 1.0,
    stitch: Annotated[
        bool, typer.Option("--stitch", help="Store modules as one picture, where the headers say how they lie.")
    ] = False,
    grace: Annotated[float, typer.Option(min=0, help="Wait for stragglers after the end message, s.")] = 2.0,
    compression: Annotated[
        Compression, typer.Option(help="How uncompressed frames are packed; compressed ones stay as they come.")
    ] = Compression.BSLZ4,
    verify: Annotated[
        Verification,
        typer.Option(help="Of compressed frames: their size and block lengths, or also unpack each one once."),
    ] = Verification.FRAMING,
    memory: Annotated[int, typer.Option(min=16, help="Budget for frames on their way, MiB.")] = 1024,
    backend: Annotated[
        FileBackend, typer.Option(help="How chunks reach the disk: swmr can be read meanwhile, direct is cheaper.")
    ] = FileBackend.AUTO,
    frames_per_file: Annotated[
        int,
        typer.Option(min=0, max=MOST_FRAMES_PER_FILE, help="Data files of so many frames and a master; 0 = one file."),
    ] = 0,
    engines: Annotated[int, typer.Option(min=1, max=MOST_ENGINES, help="Processes that write data files in turn.")] = 1,
    spill: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder for data files that the output takes no data for; they are moved afterwards."
        ),
    ] = None,
    convert: Annotated[
        ConvertTo, typer.Option(help="What the pixels of a Jungfrau become: energy in keV, photons, rounded counts.")
    ] = ConvertTo.RAW,
    calibration: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Pedestals and gains of every pixel, for --convert.")
    ] = None,
    photon_energy: Annotated[
        float, typer.Option(min=0, metavar="EV", help="Of one photon, for --convert photons and counts.")
    ] = 0.0,
    series_count: Annotated[
        int,
        typer.Option(
            min=0, help="Series to take in a row, each into a file of its own (NAME_2, ...); 0 = until Ctrl-C."
        ),
    ] = 1,
    sockets: Annotated[
        int, typer.Option(min=0, max=16, help="Connections to each source; 0 = as many as the data rate needs.")
    ] = 0,
    curve_server_key: Annotated[
        str, typer.Option(metavar="KEY", help="Public key of a sender that encrypts (CURVE); see `maxdaq keys`.")
    ] = "",
    curve_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Our own key file, for senders that want to know us.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the receipt as one JSON object; of several series {receipts: [...]}.")
    ] = False,
) -> None:
    """Take one series, or several in a row, write a file for each, print the receipt.

    Exit status 0 only for complete series. What was received is in a readable file in any case.
    """
    from maxdaq_tango.cli.terminal import people, program
    from maxdaq_tango.errors import ConfigurationError
    from maxdaq_tango.model import FileNaming, Pinned, RunRequest, Verdict

    if output is not None and from_stream is not None:
        raise ConfigurationError("take --output and --from-stream", answer="both name the file", accepted="one of them")
    destination = Path(os.path.abspath(output)) if output is not None else None
    roots = [path for path in (destination.parent if destination else None, from_stream) if path is not None]
    conversion = Conversion(
        to=convert,
        calibration=os.path.abspath(calibration) if calibration is not None else "",
        photon_energy_ev=photon_energy,
    )
    conversion.check()
    request = RunRequest(
        sources=tuple(source),
        stream_format=format,
        destination=str(destination or ""),
        naming=FileNaming.STREAM if from_stream is not None else FileNaming.PREPARE,
        roots=tuple(os.path.abspath(root) for root in roots),
        overwrite=overwrite,
        expected_frames=frames,
        series=series,
        detector=detector,
        start_timeout_s=start_timeout,
        stall_timeout_s=timeout,
        grace_s=grace,
        module_wait_s=module_wait,
        stitch=stitch,
        compression=compression,
        conversion=conversion,
        verify=verify,
        memory_bytes=memory << 20,
        backend=backend,
        frames_per_file=frames_per_file,
        engines=engines,
        spill_directory=os.path.abspath(spill) if spill is not None else "",
        series_count=series_count,
        pinned=Pinned(sockets=sockets),
        curve_server_key=curve_server_key,
        curve_key_file=os.path.abspath(curve_key) if curve_key else "",
    )
    console = people(json)
    receipts, interrupted = _take(request, console)
    home = spill is None or _bring_home([receipt for receipt in receipts if receipt.data_files_spilled], console)
    if json:
        program(receipts[0] if series_count == 1 else {"receipts": receipts})
    if interrupted:
        raise typer.Exit(128 + interrupted)
    raise typer.Exit(0 if home and all(receipt.verdict is Verdict.COMPLETE for receipt in receipts) else 1)


def _bring_home(receipts: list[Receipt], console: Console) -> bool:
    """Move what was spilled to where it belongs; False: something is still away, and people were told how to go on."""
    from rich.markup import escape

    from maxdaq_tango.files import bring_home

    whole = True
    for receipt in receipts:
        folder = Path(receipt.data_files_spilled[0]).parent
        console.print(f"moving {len(receipt.data_files_spilled)} data files home from {escape(str(folder))} ...")
        told = bring_home(folder)
        if told.master:
            console.print(f"{escape(told.master)} is complete")
        else:
            whole = False
            why = told.problem or told.note
            console.print(f"[red]not moved[/red]: {escape(why)}. Go on with: maxdaq recover {escape(str(folder))}")
    return whole


def _take(request: RunRequest, console: Console) -> tuple[list[Receipt], int]:
    """One run; Ctrl-C and SIGTERM end it in order. Returns the receipts and the signal that ended it, or 0.

    People see each receipt when it comes.
    """
    # Before bitshuffle is imported, whose OpenMP reads it once: the pool has its own threads, one for each core.
    os.environ["OMP_NUM_THREADS"] = "1"
    from maxdaq_tango import __version__
    from maxdaq_tango.cli.receipt_table import receipt_table
    from maxdaq_tango.model import BUSY_STATES, Counters
    from maxdaq_tango.pipeline import Receiver, RunReport
    from maxdaq_tango.pipeline.memory import keep_freed_memory

    keep_freed_memory()
    over = threading.Event()
    receipts: list[Receipt] = []
    newest: list[Counters] = [Counters()]
    signals: list[int] = []

    def hear(report: RunReport) -> None:
        if report.receipt is not None:
            receipts.append(report.receipt)
        if report.state not in BUSY_STATES:
            over.set()

    def look(counters: Counters) -> None:
        newest[0] = counters

    receiver = Receiver(hear, look, software=f"maxdaq-tango {__version__}")

    def end(number: int, frame: FrameType | None) -> None:
        signals.append(number)  # only noted: it may come before there is a run, or while this thread holds a lock

    shown = 0
    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        receiver.prepare(request)
        for _ in _watch(over, newest, request, console):
            for receipt in receipts[shown:]:
                console.print(receipt_table(receipt))
                shown += 1
            if len(signals) == 1 and request.series_count == 0:
                receiver.stop()  # the way to end it: a series that is on may come to its end
            elif signals:
                receiver.abort(f"ended by {signal.Signals(signals[0]).name}")
    finally:
        receiver.close()
        for number, handler in before.items():
            signal.signal(number, handler)
    for receipt in receipts[shown:]:
        console.print(receipt_table(receipt))
    return receipts, signals[0] if signals and (request.series_count or len(signals) > 1) else 0


def _watch(over: threading.Event, newest: list[Counters], request: RunRequest, console: Console) -> Iterator[None]:
    """Show how far the run is, ten times a second, until it is over."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    ) as progress:  # fmt: skip
        task = progress.add_task(f"waiting for {', '.join(request.sources)}", total=None)
        while not over.wait(0.1):
            counters = newest[0]
            if counters.run_number:
                expected = counters.frames_expected
                progress.update(
                    task,
                    description="receiving" if counters.frames_received else "waiting for the stream",
                    completed=counters.frames_received,
                    total=expected if expected >= 0 else None,
                )
            yield
