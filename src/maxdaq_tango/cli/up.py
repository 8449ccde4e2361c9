"""`maxdaq up [TOPOLOGY]`: start what a topology describes, supervise it, stop it on Ctrl-C."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from maxdaq_tango.deployment.launcher import Deployment
    from maxdaq_tango.deployment.topology import Topology


def up(
    topology: Annotated[
        Path | None,
        typer.Argument(help="A topology file; without one: a simulated Eiger, a receiver, a controller."),
    ] = None,
    directory: Annotated[
        Path, typer.Option(help="Database, logs and data go into a folder of the topology's name in here.")
    ] = Path("data"),
    own_database: Annotated[
        bool, typer.Option("--own-database", help="Start the embedded database even though TANGO_HOST is set.")
    ] = False,
    show: Annotated[bool, typer.Option("--show", help="Print the topology and start nothing.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Say whether the topology is sound and start nothing.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print names and addresses as one JSON object.")] = False,
) -> None:
    """Start what a topology file describes, and keep it running until Ctrl-C.

    A process that dies is started again, after 1 s, 2 s, 4 s ... 30 s. With TANGO_HOST set, devices are registered in
    that database; without, an embedded one is started. Everything stops in reverse order at the end.
    """
    import os

    from maxdaq_tango.cli.status import introduce, supervise
    from maxdaq_tango.cli.terminal import people, program
    from maxdaq_tango.deployment.interruption import Interrupted, Interruption
    from maxdaq_tango.deployment.launcher import deployed
    from maxdaq_tango.deployment.topology import built_in_topology, load_topology, parse_topology

    text = built_in_topology() if topology is None else ""
    wanted = parse_topology(text, "the built-in topology") if topology is None else load_topology(topology)
    if show:
        typer.echo((text or Path(str(topology)).read_text()).rstrip())
        return
    console = people(json)
    if check:
        devices = [placed.name for placed in wanted.devices()]
        if json:
            program({"name": wanted.name, "devices": devices})
        console.print(f"{topology or 'The built-in topology'} is sound: {len(devices)} devices.")
        return
    tango_host = None if own_database else os.environ.get("TANGO_HOST")
    interruption = Interruption()
    with interruption.catch_signals():
        try:
            with deployed(
                wanted,
                directory / wanted.name,
                interruption=interruption,
                listener=lambda sentence: console.print(sentence, style="dim", markup=False, soft_wrap=True),
                tango_host=tango_host,
            ) as deployment:
                if json:
                    program(_description(deployment))
                introduce(deployment, console)
                supervise(deployment, console, interruption.wait)
        except Interrupted:
            console.print("Everything is stopped.")  # the way this command is meant to end


def _description(deployment: Deployment) -> dict[str, object]:
    topology: Topology = deployment.topology
    return {
        "name": topology.name,
        "tango_host": deployment.tango_host,
        "own_database": deployment.own_database,
        "folder": str(deployment.folder),
        "logs": str(deployment.logs),
        "answers": deployment.answers,
        "devices": {placed.name: placed.class_name for placed in topology.devices()},
        "processes": {supervised.service.name: supervised.process.pid for supervised in deployment.processes},
    }
