"""Device servers to deploy, and a look at whether processes are really gone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tango

from maxdaq_tango.deployment.database import EmbeddedDatabaseService, connect_database
from maxdaq_tango.deployment.interruption import Interruption
from maxdaq_tango.deployment.process import Launch
from maxdaq_tango.deployment.supervisor import Supervisor
from maxdaq_tango.deployment.topology import Database, Topology, parse_topology

SERVERS = Path(__file__).parent / "servers"

PLAIN = f"""
name: plain
programs:
  Plain: ["${{python}}", {SERVERS / "plain.py"}]
servers:
  Plain:
    test:
      Plain:
        test/plain/1:
          properties: {{Word: hello}}
        test/plain/2: {{}}
"""


@pytest.fixture
def plain_topology() -> Topology:
    return parse_topology(PLAIN, "plain.yaml")


@pytest.fixture
def one_server() -> Callable[[str], Topology]:
    """A topology of one device of one of the servers in `servers/`."""

    def make(server: str, file: str) -> Topology:
        return parse_topology(
            f"""
name: one
programs: {{{server}: ["${{python}}", {SERVERS / file}]}}
servers: {{{server}: {{test: {{{server}: {{test/one/1: {{}}}}}}}}}}
""",
            "one.yaml",
        )

    return make


def is_alive(pid: int) -> bool:
    """A zombie that nobody has collected yet counts as gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


@pytest.fixture
def wait_gone() -> Callable[..., None]:
    """Fail unless all these processes end within a deadline."""

    def wait(pids: list[int], deadline_s: float = 10.0) -> None:
        assert pids
        end = time.monotonic() + deadline_s
        pause = Interruption()
        left = [pid for pid in pids if is_alive(pid)]
        while left and time.monotonic() < end:
            pause.wait(0.02)
            left = [pid for pid in left if is_alive(pid)]
        assert not left, f"still running: {left}"

    return wait


@pytest.fixture
def children() -> Callable[[], list[int]]:
    """Ids of the living processes that this process has started."""

    def find() -> list[int]:
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit() and is_alive(int(entry)):
                try:
                    stat = Path(f"/proc/{entry}/stat").read_text()
                except (FileNotFoundError, ProcessLookupError):
                    continue
                if int(stat.rpartition(")")[2].split()[1]) == os.getpid():
                    found.append(int(entry))
        return found

    return find


@pytest.fixture(scope="module")
def embedded_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tango.Database]:
    """A running embedded database."""
    folder = tmp_path_factory.mktemp("database")
    launch = Launch()
    supervisor = Supervisor(launch, folder, Interruption(), lambda sentence: None)
    service = EmbeddedDatabaseService(Database(file=":memory:"), folder)
    try:
        supervisor.start([service])
        yield connect_database(service.tango_host)
    finally:
        supervisor.stop()
        service.close()
        assert launch.close() == []
