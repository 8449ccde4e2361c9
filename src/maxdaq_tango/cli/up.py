"""`maxdaq up [TOPOLOGY]`: start what a topology describes, supervise it, stop it on Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from maxdaq_tango.deployment.launcher import Deployment
    from maxdaq_tango.deployment.topology import Topology

LOOK_EVERY_S = 1.0


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
                listener=lambda sentence: console.print(sentence, style="dim", markup=False),
                tango_host=tango_host,
            ) as deployment:
                if json:
                    program(_description(deployment))
                _introduce(deployment, console)
                _supervise(deployment, console, interruption.wait)
        except Interrupted:
            console.print("Everything is stopped.")  # the way this command is meant to end


def _introduce(deployment: Deployment, console: Console) -> None:
    console.print()
    if deployment.tango_host:
        whose = "embedded" if deployment.own_database else "the facility's"
        console.print(f"[bold]export TANGO_HOST={deployment.tango_host}[/bold]   ({whose} database)")
    console.print(f"data {deployment.folder}", markup=False, soft_wrap=True)
    console.print(f"logs {deployment.logs}", markup=False, soft_wrap=True)
    console.print("Ctrl-C stops everything.\n")


def _supervise(deployment: Deployment, console: Console, wait: Callable[[float], None]) -> None:
    """For ever. On a terminal the table stays up to date; elsewhere it is printed whenever it changes."""
    from rich.live import Live

    if console.is_terminal:
        with Live(status_table(deployment), console=console, auto_refresh=False) as live:
            while True:
                wait(LOOK_EVERY_S)
                deployment.supervisor.watch()
                live.update(status_table(deployment), refresh=True)
    shown = None
    while True:
        rows = deployment.statuses()
        if [(row.device, row.state) for row in rows] != shown:
            shown = [(row.device, row.state) for row in rows]
            console.print(status_table(deployment))
        wait(LOOK_EVERY_S)
        deployment.supervisor.watch()


def status_table(deployment: Deployment) -> Table:
    """Every device with its state, and every process that is not well."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("device", "class", "state", "status", title=deployment.topology.name, title_justify="left")
    colours = {"ON": "green", "RUNNING": "blue", "FAULT": "red", "ALARM": "yellow", "UNKNOWN": "magenta", "-": "red"}
    for row in deployment.statuses():
        colour = colours.get(row.state, "white")
        table.add_row(row.device, row.class_name, f"[{colour}]{row.state}[/{colour}]", escape(row.status))
    for supervised in deployment.processes:
        if supervised.state != "READY":
            table.add_row(
                f"process {supervised.service.name}", "", f"[red]{supervised.state}[/red]", escape(supervised.message)
            )
    return table


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
