from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from maxdaq_tango.deployment.database import EmbeddedDatabaseService, connect_database, starts_own_database
from maxdaq_tango.deployment.interruption import Interruption
from maxdaq_tango.deployment.process import Launch
from maxdaq_tango.deployment.supervisor import Supervisor
from maxdaq_tango.deployment.topology import Database, EmbeddedDatabase
from maxdaq_tango.errors import ConfigurationError, LaunchError


@pytest.fixture
def run_database(tmp_path: Path) -> Iterator[Callable[..., tuple[EmbeddedDatabaseService, Supervisor]]]:
    running: list[tuple[Supervisor, Launch, EmbeddedDatabaseService]] = []

    def run(settings: Database) -> tuple[EmbeddedDatabaseService, Supervisor]:
        launch = Launch()
        supervisor = Supervisor(launch, tmp_path, Interruption(), lambda sentence: None)
        service = EmbeddedDatabaseService(settings, tmp_path)
        running.append((supervisor, launch, service))
        supervisor.start([service])
        return service, supervisor

    yield run
    for supervisor, launch, service in running:
        supervisor.stop()
        service.close()
        assert launch.close() == []


RunDatabase = Callable[[Database], tuple[EmbeddedDatabaseService, Supervisor]]


@pytest.mark.parametrize(
    ("embedded", "tango_host", "started"),
    [
        ("auto", None, True),
        ("auto", "", True),
        ("auto", "db:10000", False),
        ("always", None, True),
        ("always", "db:10000", True),
        ("never", "db:10000", False),
    ],
)
def test_when_a_database_of_our_own_is_started(embedded: str, tango_host: str | None, started: bool) -> None:
    assert starts_own_database(Database(embedded=EmbeddedDatabase(embedded)), tango_host) is started


def test_never_without_tango_host_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="TANGO_HOST is not set"):
        starts_own_database(Database(embedded=EmbeddedDatabase.NEVER), None)


def test_it_answers_at_a_free_port(run_database: RunDatabase) -> None:
    service, _ = run_database(Database())
    assert not service.tango_host.endswith(":0")
    assert "sys/database/2" in connect_database(service.tango_host).get_device_exported("*").value_string


def test_a_restart_keeps_properties_and_a_fixed_port(run_database: RunDatabase) -> None:
    service, supervisor = run_database(Database())
    connect_database(service.tango_host).put_property("Memory", {"Word": ["µ", "2"]})
    supervisor.stop()
    port = int(service.tango_host.rpartition(":")[2])
    service.close()
    again, _ = run_database(Database(port=port))
    assert again.tango_host == service.tango_host
    assert list(connect_database(again.tango_host).get_property("Memory", "Word")["Word"]) == ["µ", "2"]


def test_in_memory_means_that_no_file_is_made(run_database: RunDatabase, tmp_path: Path) -> None:
    run_database(Database(file=":memory:"))
    assert [path.name for path in tmp_path.iterdir()] == ["database.log"]


def test_a_port_that_is_taken_is_one_sentence(run_database: RunDatabase) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(LaunchError, match=r"start the Tango database.*the port is taken.*another port") as caught:
            run_database(Database(port=port))
        assert str(port) in str(caught.value)


def test_an_address_of_another_computer_is_one_sentence(run_database: RunDatabase) -> None:
    with pytest.raises(LaunchError, match=r"find a free port for the Tango database \(of 192\.0\.2\.1\)"):
        run_database(Database(host="192.0.2.1"))


def test_a_file_that_cannot_be_made_is_one_sentence(run_database: RunDatabase) -> None:
    with pytest.raises(LaunchError, match=r"start database.*unable to open database file"):
        run_database(Database(file="no/such/folder/tango.db"))


@pytest.mark.parametrize("tango_host", ["", "db", "db:", ":10000", "db:ten"])
def test_a_malformed_tango_host_is_named(tango_host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"TANGO_HOST=.*Accepted: host:port"):
        connect_database(tango_host)


def test_a_database_that_is_not_there_is_one_sentence() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and not listening: refused, and nobody else gets the port
        with pytest.raises(LaunchError, match="connect to the Tango database"):
            connect_database(f"127.0.0.1:{nobody.getsockname()[1]}")
