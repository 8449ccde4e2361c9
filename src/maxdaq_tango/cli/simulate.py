"""`maxdaq simulate FAMILY`: one simulated detector, to point a driver or a client at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from maxdaq_tango.deployment.simulators import Simulator


def simulate(
    family: Annotated[str, typer.Argument(help="Which detector, or stins for a sender of STINS series.")],
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Control; 0 = any free port.")] = 0,
    stream_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Stream (eiger: v1); 0 = any free port.")
    ] = None,
    cbor_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="eiger: stream v2 (CBOR); 0 = any free port.")
    ] = None,
    rows: Annotated[int | None, typer.Option(min=1, max=16384, help="Pixels of a frame, vertically.")] = None,
    columns: Annotated[int | None, typer.Option(min=1, max=16384, help="Pixels of a frame, horizontally.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same pixels.")] = 1,
    model: Annotated[str | None, typer.Option(help="eiger: eiger, eiger2 or pilatus4.")] = None,
    api: Annotated[str | None, typer.Option(help="eiger: version of SIMPLON, 1.6.0 or 1.8.0.")] = None,
    dtype: Annotated[str | None, typer.Option(help="stins: type of the pixels.")] = None,
    compression: Annotated[str | None, typer.Option(help="stins: none, bslz4, lz4 or lz4-block.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any other setting of the family, as a topology has it."),
    ] = None,
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
    from maxdaq_tango.deployment.topology import Topology

    key_file = None
    if curve_key is not None:
        read_keys(curve_key)  # said here, and not in a log
        key_file = os.path.abspath(curve_key)
    settings = settings_of(
        family,
        setting or [],
        host=host,
        port=port,
        stream_port=stream_port,
        cbor_port=cbor_port,
        rows=rows,
        columns=columns,
        seed=seed,
        model=model,
        api=api,
        dtype=dtype,
        compression=compression,
        fault=fault,
        curve_key=key_file,
    )
    topology = Topology(name=f"simulate-{family}", simulators={family: settings})
    interruption = Interruption()
    console = people(json)
    # Kept when something goes wrong, for the log is in it.
    folder = Path(tempfile.mkdtemp(prefix="maxdaq-"))
    with interruption.catch_signals():
        try:
            with deployed(topology, folder, interruption=interruption) as deployment:
                prefix = f"{family}."
                answers = {k.removeprefix(prefix): v for k, v in deployment.answers.items() if k.startswith(prefix)}
                if json:
                    program({"family": family, **answers})
                console.print(f"A simulated [bold]{family}[/bold]{_size(settings)}:")
                for word, url in addresses(family, answers):
                    console.print(f"  {word:9}  {url}")
                console.print("Ctrl-C ends it.")
                while True:
                    interruption.wait(0.5)
                    deployment.supervisor.check_alive()
        except Interrupted:
            console.print("Ended.")  # the way this command is meant to end
            shutil.rmtree(folder)


def settings_of(family: str, others: list[str], **given: Any) -> Simulator:
    """Of one simulator, from what a person gave; None = not given. ConfigurationError with what would be accepted.

    The same checks as for a topology: `others` are texts `name=value`, read as YAML.
    """
    import yaml

    from maxdaq_tango.deployment.simulators import Simulator
    from maxdaq_tango.deployment.typed_yaml import Document
    from maxdaq_tango.errors import ConfigurationError

    settings = {name: value for name, value in given.items() if value is not None}
    for text in others:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigurationError(f"set {text}", accepted="--set NAME=VALUE")
        settings[name.strip()] = yaml.safe_load(value)
    document = Document(yaml.safe_dump({"family": family, **settings}), "the command line")
    return document.typed(Simulator)  # type: ignore[arg-type]  # a union of Structs is as good as one


def _size(settings: Simulator) -> str:
    rows, columns = getattr(settings, "rows", None), getattr(settings, "columns", None)
    return f", {rows} x {columns} pixels" if rows and columns else ""


def addresses(family: str, answers: dict[str, str]) -> list[tuple[str, str]]:
    """What a person has to know, line by line."""
    host = answers["host"]
    if family == "stins":
        return [
            ("control", f"http://{host}:{answers['port']}/simulator/api/"),
            ("stream", f"tcp://{host}:{answers['stream_port']}"),
        ]
    if family == "eiger":
        return [
            ("SIMPLON", f"http://{host}:{answers['port']}"),
            ("stream v1", f"tcp://{host}:{answers['stream_port']}"),
            ("stream v2", f"tcp://{host}:{answers['cbor_port']}"),
        ]
    return [(name.replace("_", " "), value) for name, value in answers.items()]
