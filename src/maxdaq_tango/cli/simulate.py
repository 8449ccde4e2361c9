"""`maxdaq simulate FAMILY`: one simulated detector, to point a driver or a client at."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Family(StrEnum):
    """What can be simulated."""

    EIGER = "eiger"
    STINS = "stins"
    """No detector: a sender of STINS series."""


def simulate(
    family: Annotated[Family, typer.Argument(help="Which detector, or stins for a sender of STINS series.")],
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Control (HTTP); 0 = any free port.")] = 0,
    stream_port: Annotated[int, typer.Option(min=0, max=65535, help="Stream (eiger: v1); 0 = any free port.")] = 0,
    cbor_port: Annotated[int, typer.Option(min=0, max=65535, help="eiger: stream v2 (CBOR); 0 = any free port.")] = 0,
    rows: Annotated[int, typer.Option(min=1, max=16384, help="Pixels of a frame, vertically.")] = 1065,
    columns: Annotated[int, typer.Option(min=1, max=16384, help="Pixels of a frame, horizontally.")] = 1030,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same pixels.")] = 1,
    model: Annotated[str, typer.Option(help="eiger: eiger, eiger2 or pilatus4.")] = "eiger2",
    api: Annotated[str, typer.Option(help="eiger: version of SIMPLON, 1.6.0 or 1.8.0.")] = "1.8.0",
    dtype: Annotated[str, typer.Option(help="stins: type of the pixels.")] = "uint16",
    compression: Annotated[str, typer.Option(help="stins: none, bslz4, lz4 or lz4-block.")] = "bslz4",
    fault: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Something to go wrong, such as drop=0.01; may be repeated."),
    ] = None,
    curve_key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Key file of `maxdaq keys`: the streams speak CURVE, as no detector does."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the addresses as one JSON object.")] = False,
) -> None:
    """Start one simulated detector and keep it until Ctrl-C.

    It speaks the vendor's own protocol, so a driver cannot tell it from a detector.
    """
    import os
    import shutil
    import tempfile

    from maxdaq_tango.cli.terminal import people, program
    from maxdaq_tango.curve import read_keys
    from maxdaq_tango.deployment.interruption import Interrupted, Interruption
    from maxdaq_tango.deployment.launcher import deployed
    from maxdaq_tango.deployment.topology import EigerSimulator, Simulator, StinsSimulator, Topology

    faults = tuple(fault or ())
    key_file = ""
    if curve_key is not None:
        read_keys(curve_key)  # said here, and not in a log
        key_file = os.path.abspath(curve_key)
    settings: Simulator
    if family is Family.EIGER:
        settings = EigerSimulator(
            host=host,
            port=port,
            stream_port=stream_port,
            cbor_port=cbor_port,
            rows=rows,
            columns=columns,
            seed=seed,
            model=model,
            api=api,
            fault=faults,
            curve_key=key_file,
        )
    else:
        settings = StinsSimulator(
            host=host,
            port=port,
            stream_port=stream_port,
            rows=rows,
            columns=columns,
            dtype=dtype,
            compression=compression,
            seed=seed,
            fault=faults,
            curve_key=key_file,
        )
    topology = Topology(name=f"simulate-{family.value}", simulators={family.value: settings})
    interruption = Interruption()
    console = people(json)
    # Kept when something goes wrong, for the log is in it.
    folder = Path(tempfile.mkdtemp(prefix="maxdaq-"))
    with interruption.catch_signals():
        try:
            with deployed(topology, folder, interruption=interruption) as deployment:
                prefix = f"{family.value}."
                answers = {k.removeprefix(prefix): v for k, v in deployment.answers.items() if k.startswith(prefix)}
                if json:
                    program({"family": family.value, **answers})
                console.print(f"A simulated [bold]{family.value}[/bold], {rows} x {columns} pixels:")
                for word, url in addresses(family, answers):
                    console.print(f"  {word:9}  {url}")
                console.print("Ctrl-C ends it.")
                while True:
                    interruption.wait(0.5)
                    deployment.supervisor.check_alive()
        except Interrupted:
            console.print("Ended.")  # the way this command is meant to end
            shutil.rmtree(folder)


def addresses(family: Family, answers: dict[str, str]) -> list[tuple[str, str]]:
    """What a person has to know, line by line."""
    host = answers["host"]
    if family is Family.STINS:
        return [
            ("control", f"http://{host}:{answers['port']}/simulator/api/"),
            ("stream", f"tcp://{host}:{answers['stream_port']}"),
        ]
    return [
        ("SIMPLON", f"http://{host}:{answers['port']}"),
        ("stream v1", f"tcp://{host}:{answers['stream_port']}"),
        ("stream v2", f"tcp://{host}:{answers['cbor_port']}"),
    ]
