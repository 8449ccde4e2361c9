"""`maxdaq replay`: a recorded stream, sent as the detector sent it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def replay(
    capture: Annotated[Path, typer.Argument(help="A capture file (.cborseq.gz).", exists=True, dir_okay=False)],
    bind: Annotated[str, typer.Option(help="Where to listen, as the detector does; port 0 = any.")],
    repeat: Annotated[int, typer.Option(min=1, help="Play the series this often, each with a new number.")] = 1,
    rate: Annotated[float, typer.Option(min=0, help="Frames a second; 0 = as fast as they are taken.")] = 0.0,
    loop_frames: Annotated[
        int, typer.Option(min=0, help="Make the series this many frames long by going round; 0 = as recorded.")
    ] = 0,
    end: Annotated[bool, typer.Option("--end", help="Add the end message where the capture has none.")] = False,
    linger: Annotated[float, typer.Option(min=0, help="Longest wait for the receiver to take the rest, s.")] = 30.0,
    curve_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Key file of `maxdaq keys`: the stream is encrypted (CURVE).")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was sent as one JSON object.")] = False,
) -> None:
    """Send a recorded stream to whoever connects.

    Waits for a receiver before the first message, as a PUSH socket does. Numbers are changed only where --repeat and
    --loop-frames need it; everything else is sent as it was recorded.

    Exit status 0 only when the receiver took everything.
    """
    from maxdaq_tango.cli.replaying import Player
    from maxdaq_tango.cli.terminal import people, program

    console = people(json)
    with Player(bind, str(curve_key or "")) as player:
        console.print(f"replaying {capture} on {player.endpoint}", markup=False, soft_wrap=True)
        sent = player.play(capture, repeat=repeat, rate_hz=rate, loop_frames=loop_frames, add_end=end, console=console)
        sent = player.finish(sent, linger_s=linger)
    if json:
        program(sent)
    rate_text = f" ({sent.frames / sent.seconds:.0f} frames/s)" if sent.seconds > 0 else ""
    console.print(f"sent {sent.frames} frames in {sent.messages} messages, {sent.bytes} bytes{rate_text}")
    if not sent.taken:
        console.print(f"[red]the receiver had not taken all of them after {linger:g} s; the rest is lost[/red]")
        raise typer.Exit(1)
