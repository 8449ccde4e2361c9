"""Fixtures that run the counterparts: independent published simulators, each in an environment and process of its own.

A test that uses one carries the marker `counterpart`, and skips with the reason when the environment cannot be made
(no package registry); it never passes without the counterpart. One process serves a test module; the tests in it share
the simulated detector, as people share a real one.
"""

from __future__ import annotations

import json
import select
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from counterparts.make_environment import HERE, EnvironmentUnavailable, make_environment

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class RunningCounterpart:
    """A counterpart that answers."""

    name: str
    host: str
    ports: dict[str, int]
    """http, legacy (stream v1) and, where it has one, cbor (stream v2)."""
    log: Path
    """What the process wrote to standard error."""


@contextmanager
def running_counterpart(name: str, script: str, log: Path, *arguments: str) -> Iterator[RunningCounterpart]:
    """Start `script` with the environment `name`, wait for its line of ports, and stop it at the end."""
    python = make_environment(name)
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [str(python), str(HERE / script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=log.parent,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            readable, _, _ = select.select([process.stdout], [], [], START_TIMEOUT_S)
            line = process.stdout.readline() if readable else b""
            if not line.startswith(b"{"):
                raise RuntimeError(
                    f"{script} told no ports within {START_TIMEOUT_S:.0f} s; its log ends: {log.read_text()[-1000:]}"
                )
            yield RunningCounterpart(name, "127.0.0.1", json.loads(line), log)
        finally:
            process.stdin.close()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def _running_or_skip(name: str, script: str, log: Path, *arguments: str) -> Iterator[RunningCounterpart]:
    try:
        make_environment(name)
    except EnvironmentUnavailable as reason:
        pytest.skip(str(reason))
    with running_counterpart(name, script, log, *arguments) as counterpart:
        yield counterpart


class TickitEiger:
    """Diamond's simulated Eiger2 16M: SIMPLON 1.8.0, both streams, 4362 x 4148 uint16."""

    host = "127.0.0.1"

    def __init__(self, folder: Path) -> None:
        self.suspect = False
        """A test with it failed; it may send nothing any more, and the next test shall not suffer for it."""
        self._folder = folder
        self._running = ExitStack()
        self._starts = 0
        self.ports: dict[str, int] = {}
        self.start()

    def start(self) -> None:
        """A fresh process on the same ports: device servers of the module were told them."""
        self._running.close()
        self._starts += 1
        log = self._folder / f"log{self._starts}"
        script, ports = "start_tickit_eiger.py", json.dumps(self.ports)
        self.ports = self._running.enter_context(_running_or_skip("tickit-devices", script, log, ports)).ports
        self.suspect = False

    def close(self) -> None:
        """End the process."""
        self._running.close()


@pytest.fixture(scope="module")
def tickit_eiger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TickitEiger]:
    """One process a module, and a fresh one after a test that failed."""
    tickit = TickitEiger(tmp_path_factory.mktemp("tickit-eiger"))
    yield tickit
    tickit.close()


def _own_tickit(item: pytest.Item) -> TickitEiger | None:
    """The simulator of a test."""
    tickit = getattr(item, "funcargs", {}).get("tickit_eiger")
    return tickit if isinstance(tickit, TickitEiger) else None


@pytest.fixture(autouse=True)
def fresh_tickit_after_a_failure(request: pytest.FixtureRequest) -> None:
    """Before anything of the test itself is set up."""
    if "tickit_eiger" in request.fixturenames:
        tickit = request.getfixturevalue("tickit_eiger")
        if tickit.suspect:
            tickit.start()


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Remember which simulator was there when a test failed."""
    if call.excinfo is not None and not call.excinfo.errisinstance(pytest.skip.Exception):
        tickit = _own_tickit(item)
        if tickit is not None:
            tickit.suspect = True


@pytest.fixture(scope="module", params=["bslz4", "lz4"])
def eiger_simulator(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningCounterpart]:
    """ALBA's simulated Eiger: SIMPLON 1.6.0, stream v1, 512 x 1028 uint16; once for each compression."""
    folder = tmp_path_factory.mktemp("eiger-simulator")
    arguments = (str(folder), request.param)
    with _running_or_skip("eiger-simulator", "start_eiger_simulator.py", folder / "log", *arguments) as counterpart:
        yield counterpart


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """tickit-devices loses the answer to a trigger now and then: its handler waits for "finished" only after the
    series has run, and the flag may have been cleared by then. Its tests get a second and a third chance, others none.
    """
    for item in items:
        if "tickit_eiger" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.flaky(reruns=2))
