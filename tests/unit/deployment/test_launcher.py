from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from maxdaq_tango.deployment.interruption import Interrupted, Interruption
from maxdaq_tango.deployment.launcher import deployed
from maxdaq_tango.deployment.services import DeviceServerService
from maxdaq_tango.deployment.supervisor import BackOff, ServiceState
from maxdaq_tango.deployment.topology import Topology, parse_topology
from maxdaq_tango.errors import ConfigurationError, LaunchError

WaitGone = Callable[..., None]
OneServer = Callable[[str, str], Topology]


def test_a_topology_runs_and_is_gone_afterwards(plain_topology: Topology, tmp_path: Path, wait_gone: WaitGone) -> None:
    told: list[str] = []
    with deployed(plain_topology, tmp_path, interruption=Interruption(), listener=told.append) as deployment:
        pids = [one.process.pid for one in deployment.processes]
        assert [one.service.name for one in deployment.processes] == ["database", "Plain/test"]
        assert deployment.proxy("test/plain/1").word == "hello"
        assert deployment.proxy("test/plain/2").word == "none"
        assert deployment.own_database
        assert {row.device for row in deployment.statuses()} == {"test/plain/1", "test/plain/2"}
        assert deployment.device_of_class("Plain") == "test/plain/1"
        with pytest.raises(LaunchError, match="find a Motor"):
            deployment.device_of_class("Motor")
    wait_gone(pids, 0)
    assert told[0] == "database is ready"
    assert "registered test/plain/1:Word: hello (new)" in told
    assert sorted(path.name for path in deployment.logs.iterdir()) == ["Plain-test.log", "database.log"]


def test_a_second_time_there_is_nothing_to_register(plain_topology: Topology, tmp_path: Path) -> None:
    for expected in (True, False):
        with deployed(plain_topology, tmp_path, interruption=Interruption()) as deployment:
            assert bool(deployment.differences) is expected


def test_a_given_database_is_used_and_stays(plain_topology: Topology, tmp_path: Path) -> None:
    with deployed(plain_topology, tmp_path / "a", interruption=Interruption()) as first:
        second = parse_topology(
            (Path(__file__).parent / "second.yaml")
            .read_text()
            .replace("SERVERS", str(Path(__file__).parent / "servers")),
            "second.yaml",
        )
        with deployed(second, tmp_path / "b", interruption=Interruption(), tango_host=first.tango_host) as deployment:
            assert not deployment.own_database
            assert [one.service.name for one in deployment.processes] == ["Plain/second"]
            assert deployment.proxy("test/second/1").word == "second"
        assert first.proxy("test/plain/1").word == "hello"


def test_a_server_that_runs_already_is_not_started_twice(plain_topology: Topology, tmp_path: Path) -> None:
    with (
        deployed(plain_topology, tmp_path / "a", interruption=Interruption()) as first,
        pytest.raises(LaunchError, match=r"start Plain/test.*runs already"),
        deployed(plain_topology, tmp_path / "b", interruption=Interruption(), tango_host=first.tango_host),
    ):
        pass


def test_a_server_that_dies_at_start_leaves_nothing(
    one_server: OneServer, tmp_path: Path, children: Callable[[], list[int]]
) -> None:
    before = children()
    with (
        pytest.raises(
            LaunchError, match=r"start Dies/test: it ended with status 3.*the camera is not there.*Dies-test"
        ),
        deployed(one_server("Dies", "dies.py"), tmp_path, interruption=Interruption()),
    ):
        pass
    assert children() == before


def test_a_server_that_never_comes_is_stopped_even_when_it_is_deaf(
    one_server: OneServer, tmp_path: Path, children: Callable[[], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DeviceServerService, "ready_timeout_s", 0.5)
    monkeypatch.setattr("maxdaq_tango.deployment.supervisor.PATIENCE_S", 0.2)
    before = children()
    with (
        pytest.raises(LaunchError, match=r"start Stubborn/test: not ready after .* its last words: deaf"),
        deployed(one_server("Stubborn", "stubborn.py"), tmp_path, interruption=Interruption()),
    ):
        pass
    assert children() == before


def test_a_process_that_outlives_its_server_is_ended(
    one_server: OneServer, tmp_path: Path, wait_gone: WaitGone
) -> None:
    from maxdaq_tango.deployment import guard

    told: list[str] = []
    topology = one_server("WithEngine", "with_engine.py")
    with deployed(topology, tmp_path, interruption=Interruption(), listener=told.append) as deployment:
        environment = Path(f"/proc/{deployment.processes[-1].process.pid}/environ").read_bytes().split(b"\0")
        (mark,) = [item.decode().partition("=")[2] for item in environment if item.startswith(guard.MARK.encode())]
        pids = guard.marked_processes(mark)
        assert len(pids) == 3
    wait_gone(pids, 0)
    assert told[-1] == "1 processes had outlived their parents and were ended"


def test_a_killed_server_comes_back_with_its_devices(
    plain_topology: Topology, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BackOff, "FIRST_S", 0.05)
    with deployed(plain_topology, tmp_path, interruption=Interruption()) as deployment:
        server = deployment.processes[-1]
        os.kill(server.process.pid, signal.SIGKILL)

        def back() -> bool:
            deployment.supervisor.watch()
            return server.restarts == 1 and server.state is ServiceState.READY

        assert Interruption().wait_until(back, 20)
        assert deployment.proxy("test/plain/1").word == "hello"


def test_a_killed_database_comes_back_at_the_same_port(
    plain_topology: Topology, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BackOff, "FIRST_S", 0.05)
    with deployed(plain_topology, tmp_path, interruption=Interruption()) as deployment:
        database = deployment.processes[0]
        os.kill(database.process.pid, signal.SIGKILL)

        def back() -> bool:
            deployment.supervisor.watch()
            return database.restarts == 1 and database.state is ServiceState.READY

        assert Interruption().wait_until(back, 20)
        assert deployment.proxy("test/plain/1").word == "hello"


def test_statuses_tell_of_a_dead_device(plain_topology: Topology, tmp_path: Path) -> None:
    with deployed(plain_topology, tmp_path, interruption=Interruption()) as deployment:
        os.kill(deployment.processes[-1].process.pid, signal.SIGKILL)
        assert Interruption().wait_until(lambda: deployment.processes[-1].process.exit_status is not None, 10)
        rows = deployment.statuses()
        assert {row.state for row in rows} == {"-"}
        assert all(row.status for row in rows)


def test_an_interruption_at_the_start_leaves_nothing(
    plain_topology: Topology, tmp_path: Path, children: Callable[[], list[int]]
) -> None:
    before = children()
    interruption = Interruption()

    def interrupt(sentence: str) -> None:
        interruption.request(signal.SIGINT)

    with (
        pytest.raises(Interrupted),
        deployed(plain_topology, tmp_path, interruption=interruption, listener=interrupt),
    ):
        pass
    assert children() == before


def test_an_error_inside_leaves_nothing(
    plain_topology: Topology, tmp_path: Path, children: Callable[[], list[int]]
) -> None:
    before = children()
    with pytest.raises(ZeroDivisionError), deployed(plain_topology, tmp_path, interruption=Interruption()):
        raise ZeroDivisionError
    assert children() == before


def test_one_folder_takes_one_deployment(plain_topology: Topology, tmp_path: Path) -> None:
    with (
        deployed(plain_topology, tmp_path, interruption=Interruption()),
        pytest.raises(LaunchError, match=rf"another one runs here, process {os.getpid()}.*--directory"),
        deployed(plain_topology, tmp_path, interruption=Interruption()),
    ):
        pass


def test_a_folder_that_cannot_be_made_is_one_sentence(plain_topology: Topology, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(LaunchError, match=r"make a folder for logs.*Not a directory"),
        deployed(plain_topology, tmp_path / "file" / "in", interruption=Interruption()),
    ):
        pass


def test_a_database_that_is_not_wanted_must_be_given(tmp_path: Path) -> None:
    topology = parse_topology("name: a\ndatabase: {embedded: never}\nservers: {StreamReceiver: {}}", "a.yaml")
    with (
        pytest.raises(ConfigurationError, match="TANGO_HOST is not set"),
        deployed(topology, tmp_path, interruption=Interruption()),
    ):
        pass


def test_a_family_whose_vendor_library_is_missing_says_so_in_one_sentence_and_the_others_run(tmp_path: Path) -> None:
    text = f"""
name: beamline
simulators: {{fields: {{family: stins, rows: 8, columns: 8}}}}
streamers:
  lambda-streamer: {{family: lambda, library: pyxsp_that_nobody_has}}
  orca-streamer: {{family: orca, library: {tmp_path}/libdcamapi.so.4}}
"""
    told: list[str] = []
    topology = parse_topology(text, "beamline.yaml")
    with deployed(topology, tmp_path / "in", interruption=Interruption(), listener=told.append) as deployment:
        assert [one.state for one in deployment.processes] == [ServiceState.READY] * 3
        deployment.supervisor.check_alive()
    for name, missing in (("lambda", "pyxsp_that_nobody_has"), ("orca", "libdcamapi.so.4")):
        (sentence,) = (one for one in told if missing in one)
        assert sentence.startswith(f"streamer-{name}-streamer: ")
        assert "Accepted: " in sentence
        assert "\n" not in sentence


def test_a_topology_of_nothing_starts_nothing(tmp_path: Path) -> None:
    with deployed(Topology(name="a"), tmp_path, interruption=Interruption()) as deployment:
        assert deployment.processes == ()
        assert deployment.tango_host == ""
