"""What runs, for people who watch: addresses, a table of devices, and the wait until Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from maxdaq_tango.deployment.launcher import Deployment
from maxdaq_tango.deployment.supervisor import ServiceState

LOOK_EVERY_S = 1.0

_COLOURS = {"ON": "green", "RUNNING": "blue", "FAULT": "red", "ALARM": "yellow", "UNKNOWN": "magenta", "-": "red"}


def introduce(deployment: Deployment, console: Console) -> None:
    """Print what one needs to connect."""
    console.print()
    if deployment.tango_host:
        whose = "the embedded database" if deployment.own_database else "the database of the environment"
        console.print(f"[bold]export TANGO_HOST={deployment.tango_host}[/bold]   ({whose})", soft_wrap=True)
    console.print(f"data {deployment.folder}", markup=False, soft_wrap=True)
    console.print(f"logs {deployment.logs}", markup=False, soft_wrap=True)
    console.print("Ctrl-C stops everything.\n")


def supervise(deployment: Deployment, console: Console, wait: Callable[[float], None]) -> None:
    """For ever: restart what dies, and show the table. `wait` is where Ctrl-C comes out.

    On a terminal the table stays up to date; elsewhere it is printed whenever a state changes.
    """
    if console.is_terminal:
        with Live(status_table(deployment), console=console, auto_refresh=False) as live:
            while True:
                wait(LOOK_EVERY_S)
                deployment.supervisor.watch()
                live.update(status_table(deployment), refresh=True)
    shown = None
    while True:
        states = [(row.device, row.state) for row in deployment.statuses()]
        if states != shown:
            shown = states
            console.print(status_table(deployment))
        wait(LOOK_EVERY_S)
        deployment.supervisor.watch()


def status_table(deployment: Deployment) -> Table:
    """Every device with its state, and every process that is not well."""
    table = Table("device", "class", "state", "status", title=deployment.topology.name, title_justify="left")
    for row in deployment.statuses():
        colour = _COLOURS.get(row.state, "white")
        table.add_row(row.device, row.class_name, f"[{colour}]{row.state}[/{colour}]", escape(row.status))
    for supervised in deployment.processes:
        if supervised.state is not ServiceState.READY:
            name, message = f"process {supervised.service.name}", escape(supervised.message)
            table.add_row(name, "", f"[red]{supervised.state}[/red]", message)
    return table
