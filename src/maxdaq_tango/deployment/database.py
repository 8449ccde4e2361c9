"""The embedded Tango database: pytango-db on one SQLite file, for computers without a facility's database."""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import tango

from maxdaq_tango.deployment.process import ChildProcess
from maxdaq_tango.deployment.topology import Database, EmbeddedDatabase
from maxdaq_tango.errors import ConfigurationError, LaunchError

_LISTENING = "Database DS listening on:"


def starts_own_database(settings: Database, tango_host: str | None) -> bool:
    """Whether a database of our own is started. `tango_host` is the TANGO_HOST of the environment, if any."""
    if settings.embedded is EmbeddedDatabase.NEVER and not tango_host:
        raise ConfigurationError(
            "use the facility's Tango database",
            of="database.embedded: never",
            answer="TANGO_HOST is not set",
            accepted="TANGO_HOST=host:port in the environment, or embedded: auto",
        )
    return settings.embedded is EmbeddedDatabase.ALWAYS or (
        settings.embedded is EmbeddedDatabase.AUTO and not tango_host
    )


def connect_database(tango_host: str) -> tango.Database:
    """A database by its TANGO_HOST, which never touches the environment of this process."""
    host, _, port = tango_host.partition(":")
    if not host or not port.isdigit():
        raise ConfigurationError("connect to the Tango database", of=f"TANGO_HOST={tango_host}", accepted="host:port")
    try:
        return tango.Database(host, int(port))
    except tango.DevFailed as error:
        raise LaunchError(
            "connect to the Tango database",
            of=tango_host,
            answer=error.args[0].desc.strip().splitlines()[0],
            accepted="a database that runs and can be reached",
        ) from None


class EmbeddedDatabaseService:
    """A service. The port of the first start is kept for every later one, so that clients find it again.

    omniORB sets SO_REUSEADDR only on a port that it is given. A database started with port 0 could not come back at
    its port for a minute, for its clients' old connections hold it. So a free port is chosen here, and kept from others
    by a socket that is bound to it and never listens. Call `close` at the end.
    """

    name = "database"
    ready_timeout_s = 30.0

    def __init__(self, settings: Database, folder: Path) -> None:
        self._host = settings.host
        self._port = settings.port
        self._reservation: socket.socket | None = None
        if self._port == 0:
            self._reservation = socket.socket()
            self._reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                self._reservation.bind((self._host, 0))
            except OSError as error:
                self._reservation.close()
                raise LaunchError(
                    "find a free port for the Tango database",
                    of=self._host,
                    answer=error.strerror or str(error),
                    accepted="an address of this computer in database.host",
                ) from None
            self._port = self._reservation.getsockname()[1]
        self._file = settings.file if settings.file == ":memory:" else str(folder / settings.file)

    @property
    def tango_host(self) -> str:
        """What clients put into TANGO_HOST."""
        return f"{self._host}:{self._port}"

    def close(self) -> None:
        """Give the port back. After the database has stopped."""
        if self._reservation is not None:
            self._reservation.close()

    def command(self) -> Sequence[str]:
        """The database of pytango-db; instance 2 is what every Tango client expects (sys/database/2)."""
        return (
            *(sys.executable, "-m", "databaseds.database"),
            *("--host", self._host, "--port", str(self._port), "--print-host-port", "2"),
        )

    def environment(self) -> Mapping[str, str]:
        """The database binds and advertises what TANGO_HOST says, so ours must not see somebody else's."""
        return {"PYTANGO_DATABASE_NAME": self._file, "TANGO_HOST": self.tango_host, "PYTHONUNBUFFERED": "1"}

    def prepare(self) -> None:
        """Nothing."""

    def ready(self, process: ChildProcess) -> bool:
        """It has said that it listens, and answers."""
        output = process.output()
        if "Failed to bind to address" in output:
            raise LaunchError(
                "start the Tango database",
                of=self.tango_host,
                answer="the port is taken",
                accepted="another port, or 0 for any free one",
            )
        if _LISTENING not in output:
            return False
        try:
            tango.Database(self._host, self._port).get_info()
        except tango.DevFailed:
            return False
        return True
