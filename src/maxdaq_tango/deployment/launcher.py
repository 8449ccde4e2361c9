"""Makes a topology run: database, simulators, streamers, devices; and takes all of it down again."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import msgspec
import tango

from maxdaq_tango.deployment.database import EmbeddedDatabaseService, connect_database, starts_own_database
from maxdaq_tango.deployment.interruption import Interruption
from maxdaq_tango.deployment.process import Launch
from maxdaq_tango.deployment.registration import Difference, register
from maxdaq_tango.deployment.services import DeviceServerService, ProgramService
from maxdaq_tango.deployment.supervisor import Listener, Supervised, Supervisor
from maxdaq_tango.deployment.topology import Topology
from maxdaq_tango.errors import LaunchError


class DeviceStatus(msgspec.Struct, frozen=True):
    """One row of the table that people see."""

    device: str
    class_name: str
    server: str
    state: str
    status: str


class Deployment:
    """A topology that runs. Made by `deployed`; belongs to the thread that made it."""

    def __init__(self, topology: Topology, folder: Path, logs: Path, supervisor: Supervisor) -> None:
        self.topology = topology
        self.folder = folder
        self.logs = logs
        self.supervisor = supervisor
        self.tango_host = ""
        """"" when the topology has no device server, and so no database."""
        self.own_database = False
        self.differences: list[Difference] = []
        """What registration changed."""
        self.answers: dict[str, str] = {"data": str(folder)}
        """What every `${…}` stands for."""

    @property
    def processes(self) -> tuple[Supervised, ...]:
        """In the order of starting."""
        return tuple(self.supervisor.services)

    def proxy(self, device: str) -> tango.DeviceProxy:
        """A proxy by full name, so that TANGO_HOST of the environment plays no part."""
        return tango.DeviceProxy(f"tango://{self.tango_host}/{device}")

    def device_of_class(self, class_name: str) -> str:
        """Name of the first device of a class."""
        for placed in self.topology.devices():
            if placed.class_name == class_name:
                return placed.name
        known = sorted({placed.class_name for placed in self.topology.devices()})
        raise LaunchError(
            f"find a {class_name}", of=f"the topology {self.topology.name}", accepted=", ".join(known) or "none"
        )

    def statuses(self) -> list[DeviceStatus]:
        """Ask every device; one that does not answer gets the state '-' and the reason."""
        rows = []
        for placed in self.topology.devices():
            try:
                proxy = self.proxy(placed.name)
                state, status = str(proxy.state()), proxy.status().splitlines()[0]
            except tango.DevFailed as error:
                state, status = "-", error.args[-1].desc.strip().splitlines()[0]
            rows.append(DeviceStatus(placed.name, placed.class_name, placed.server_instance, state, status))
        return rows


@contextlib.contextmanager
def deployed(
    topology: Topology,
    folder: Path,
    *,
    interruption: Interruption,
    listener: Listener = lambda sentence: None,
    tango_host: str | None = None,
) -> Iterator[Deployment]:
    """Run `topology` as long as the context is open; everything has ended when it closes, whatever happened.

    `folder` gets the database, the logs and, through `${data}`, the data; one deployment a folder at a time.
    `tango_host` is the facility's database, None = there is none. Raises LaunchError or ConfigurationError with nothing
    left running, and `Interrupted` when `interruption` says so.
    """
    folder = folder.absolute()
    try:
        logs = folder / "logs" / datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        logs.mkdir(parents=True)
    except OSError as error:
        raise LaunchError(
            "make a folder for logs",
            of=str(folder),
            answer=error.strerror or str(error),
            accepted="a folder that can be written, with --directory",
        ) from None
    with _only_one(folder), contextlib.ExitStack() as afterwards:
        launch = Launch()
        supervisor = Supervisor(launch, logs, interruption, listener)
        try:
            deployment = Deployment(topology, folder, logs, supervisor)
            _start(deployment, tango_host, listener, afterwards)
            yield deployment
        finally:
            supervisor.stop()
            left = launch.close()
            if left:
                listener(f"{len(left)} processes had outlived their parents and were ended")


def _start(
    deployment: Deployment, tango_host: str | None, listener: Listener, afterwards: contextlib.ExitStack
) -> None:
    topology, supervisor = deployment.topology, deployment.supervisor
    if topology.servers:
        deployment.own_database = starts_own_database(topology.database, tango_host)
        if deployment.own_database:
            own = afterwards.enter_context(
                contextlib.closing(EmbeddedDatabaseService(topology.database, deployment.folder))
            )
            supervisor.start([own])
            deployment.tango_host = own.tango_host
        else:
            deployment.tango_host = tango_host or ""
    for programs in (topology.simulators, topology.streamers):
        services = [ProgramService(name, settings, deployment.answers) for name, settings in programs.items()]
        supervisor.start(services)
        for service in services:
            if service.trouble:
                listener(f"{service.name}: {service.trouble}")
            deployment.answers |= {f"{service.program}.{key}": value for key, value in service.answers.items()}
    if not topology.servers:
        return
    database = connect_database(deployment.tango_host)
    try:
        deployment.differences = register(database, topology, deployment.answers, own=deployment.own_database)
    except tango.DevFailed as error:
        raise LaunchError(
            "register the devices", of=deployment.tango_host, answer=error.args[0].desc.strip().splitlines()[0]
        ) from None
    for difference in deployment.differences:
        listener(f"registered {difference}")
    supervisor.start(
        [
            DeviceServerService(server, instance, topology, deployment.tango_host, deployment.answers)
            for server, instances in topology.servers.items()
            for instance in instances
        ]
    )


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """SQLite survives two databases on one file, but their devices do not."""
    path = folder / ".lock"
    # Inherited by nobody (Python opens close-on-exec), so it falls with this process however that ends.
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LaunchError(
                "run here",
                of=str(folder),
                answer=f"another one runs here, process {_holder(file)}",
                accepted="stop that one, or take another folder with --directory",
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _holder(file: IO[str]) -> str:
    file.seek(0)
    return file.read().strip() or "unknown"
