"""`maxdaq up` and `maxdaq simulate`, as a person runs them."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import tango
import zmq

from maxdaq_tango.deployment.interruption import Interruption
from maxdaq_tango.deployment.topology import built_in_topology, parse_topology
from system.processes import Command

ROOT = Path(__file__).parents[2]
PLAIN = ROOT / "tests" / "unit" / "deployment" / "servers" / "plain.py"
TOPOLOGY = f"""
name: small
programs: {{Plain: ["${{python}}", {PLAIN}]}}
servers: {{Plain: {{test: {{Plain: {{test/plain/1: {{properties: {{Word: hello}}}}}}}}}}}}
"""

Run = Callable[..., Command]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Starts `maxdaq WORDS` in an empty folder without TANGO_HOST; ends everything after the test."""
    running: list[Command] = []
    (tmp_path / "small.yaml").write_text(TOPOLOGY)

    def start(*words: str, tango_host: str = "") -> Command:
        command = Command(tmp_path, *words, environment={"TANGO_HOST": tango_host})
        running.append(command)
        return command

    yield start
    for command in running:
        command.clean_up()


def told(command: Command) -> dict:  # type: ignore[type-arg]
    """The object that `--json` prints."""
    command.wait_for("}\n")
    return json.loads(command.out)


def word(description: dict) -> str:  # type: ignore[type-arg]
    return str(tango.DeviceProxy(f"tango://{description['tango_host']}/test/plain/1").word)


@pytest.mark.timeout(120)
def test_the_built_in_topology_comes_up_and_goes_down(run: Run, tmp_path: Path) -> None:
    command = run("up")
    command.wait_for("laptop/daq/controller")
    assert Interruption().wait_until(lambda: command.out.count("│ ON") >= 3, 60), command.out
    assert re.search(r"export TANGO_HOST=127\.0\.0\.1:\d+", command.out)
    for device in ("laptop/detector/eiger", "laptop/receiver/eiger", "laptop/daq/controller"):
        assert device in command.out
    assert len(command.family()) >= 6  # database, simulator, three servers, engine
    command.send(signal.SIGINT)
    assert command.wait(30) == 0
    command.assert_nothing_is_left(0)
    assert "Everything is stopped." in command.out
    assert (tmp_path / "data" / "simulated-eiger" / "tango.db").exists()


@pytest.mark.lesson(39)
@pytest.mark.timeout(120)
def test_nothing_of_the_built_in_topology_listens_beyond_this_computer(run: Run) -> None:
    """Database, simulator, device servers, and the sockets over which they send events: unless told otherwise."""
    command = run("up", "--json")
    command.wait_for("}\n", 90)
    description = told(command)
    device = tango.DeviceProxy(f"tango://{description['tango_host']}/laptop/receiver/eiger")
    subscription = device.subscribe_event("State", tango.EventType.CHANGE_EVENT, lambda event: None)
    try:
        listening = {
            (psutil.Process(pid).name(), connection.laddr.port, connection.laddr.ip)
            for pid in command.family()
            for connection in psutil.Process(pid).net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
    finally:
        device.unsubscribe_event(subscription)
    assert len(listening) >= 10  # database, HTTP and two streams of the simulator, three servers with their events
    assert {ip for _, _, ip in listening} == {"127.0.0.1"}, listening
    command.send(signal.SIGINT)
    assert command.wait(30) == 0
    command.assert_nothing_is_left(0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything_in_order(run: Run, number: signal.Signals) -> None:
    command = run("up", "small.yaml", "--json")
    assert word(told(command)) == "hello"
    command.send(number)
    assert command.wait(30) == 0
    command.assert_nothing_is_left(0)


def test_a_killed_launcher_leaves_nothing_running(run: Run) -> None:
    command = run("up", "small.yaml", "--json")
    description = told(command)
    assert set(description["processes"].values()) <= set(command.family())
    command.send(signal.SIGKILL)
    assert command.wait(10) == -signal.SIGKILL
    command.assert_nothing_is_left()


def test_a_server_that_dies_is_started_again(run: Run) -> None:
    command = run("up", "small.yaml", "--json")
    description = told(command)
    os.kill(description["processes"]["Plain/test"], signal.SIGKILL)
    command.wait_for("Plain/test was killed by SIGKILL")
    command.wait_for("Plain/test is ready again")
    assert word(description) == "hello"
    command.send(signal.SIGINT)
    assert command.wait(30) == 0
    command.assert_nothing_is_left(0)


def test_the_database_remembers(run: Run) -> None:
    for expected in (True, False):
        command = run("up", "small.yaml", "--json")
        told(command)
        assert ("registered test/plain/1" in command.err) is expected
        command.send(signal.SIGINT)
        assert command.wait(30) == 0


def test_a_database_of_the_environment_is_used_unless_told_otherwise(run: Run) -> None:
    first = told(run("up", "small.yaml", "--json"))
    second = run("up", "small.yaml", "--json", "--directory", "b", tango_host=first["tango_host"])
    assert second.wait(30) == 1
    assert "a server of this name runs already" in second.err
    third = told(
        run("up", "small.yaml", "--json", "--directory", "c", "--own-database", tango_host=first["tango_host"])
    )
    assert third["tango_host"] != first["tango_host"]
    assert word(third) == "hello"


def test_two_in_one_folder_are_refused(run: Run) -> None:
    told(run("up", "small.yaml", "--json"))
    second = run("up", "small.yaml")
    assert second.wait(30) == 1
    assert "another one runs here, process" in second.err


@pytest.mark.parametrize("options", [(), ("--check",), ("--show",)])
def test_a_bad_topology_starts_nothing(run: Run, tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "bad.yaml").write_text(TOPOLOGY.replace("Word", "Wrod: 1, Wrod"))
    command = run("up", "bad.yaml", *options)
    assert command.wait(30) == 2
    assert "bad.yaml, line 4" in command.err
    assert "already on line 4" in command.err
    assert not (tmp_path / "data").exists()


def test_a_server_that_cannot_start_is_one_sentence(run: Run, tmp_path: Path) -> None:
    (tmp_path / "dies.yaml").write_text(TOPOLOGY.replace("plain.py", "dies.py"))
    command = run("up", "dies.yaml")
    assert command.wait(30) == 1
    command.assert_nothing_is_left(0)
    assert "start Plain/test: it ended with status 3; its last words: the camera is not there" in command.err
    assert "Traceback" not in command.err + command.out


def test_a_simulated_camera_without_a_compiler_is_one_sentence(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "/nowhere/cc")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "camera.yaml").write_text("name: camera\nsimulators: {camera: {family: orca}}\n")
    command = run("up", "camera.yaml")
    assert command.wait(30) == 1
    command.assert_nothing_is_left(0)
    assert "simulated-orca: compile the simulated DCAM library: there is no C compiler" in command.err
    assert "apt install gcc" in command.err
    assert len(command.err.splitlines()) == 1
    assert "Traceback" not in command.err + command.out


def test_what_show_prints_can_be_started(run: Run, tmp_path: Path) -> None:
    shown = run("up", "--show")
    assert shown.wait(30) == 0
    assert parse_topology(shown.out, "shown") == parse_topology(built_in_topology(), "built in")


def test_a_simulated_detector_answers_until_it_is_ended(run: Run) -> None:
    command = run("simulate", "eiger", "--json")
    addresses = told(command)
    answer = httpx.get(f"http://{addresses['host']}:{addresses['port']}/detector/api/version", timeout=10)
    assert answer.json()["value"] == "1.8.0"
    command.send(signal.SIGINT)
    assert command.wait(30) == 0
    command.assert_nothing_is_left(0)


def test_faults_of_the_command_line_reach_the_simulator(run: Run) -> None:
    command = run("simulate", "eiger", "--fault", "drop=0.25", "--fault", "drop_frames=3,7-9", "--json")
    addresses = told(command)
    faults = httpx.get(f"http://{addresses['host']}:{addresses['port']}/simulator/api/faults", timeout=10).json()
    assert (faults["drop_fraction"], faults["drop_frames"]) == (0.25, [3, 7, 8, 9])
    command.send(signal.SIGINT)
    assert command.wait(30) == 0


def test_a_stins_sender_sends_what_it_is_asked_for(run: Run) -> None:
    command = run("simulate", "stins", "--rows", "48", "--columns", "64", "--fault", "drop_frames=1", "--json")
    addresses = told(command)
    assert "cbor_port" not in addresses
    url = f"http://{addresses['host']}:{addresses['port']}/simulator/api/"
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    pull = context.socket(zmq.PULL)
    pull.rcvtimeo = 10_000
    pull.connect(f"tcp://{addresses['host']}:{addresses['stream_port']}")
    try:
        assert httpx.post(url + "series", json={"frames": 3}, timeout=10).json() == {"series": 1}
        assert [len(pull.recv_multipart()) for _ in range(4)] == [2, 2, 2, 1]
    finally:
        context.destroy(linger=0)
    command.send(signal.SIGINT)
    assert command.wait(30) == 0


def test_a_fault_that_there_is_not_is_one_sentence(run: Run) -> None:
    command = run("simulate", "eiger", "--fault", "dorp=0.25")
    assert command.wait(30) == 2
    assert "did you mean drop?" in command.err
    assert "vanish_at" in command.err


def test_a_simulator_on_a_port_that_is_taken_is_one_sentence(run: Run) -> None:
    first = told(run("simulate", "eiger", "--json"))
    second = run("simulate", "eiger", "--port", first["port"])
    assert second.wait(30) == 1
    assert re.search(r"start simulator-eiger: .*in use", second.err)
    assert "Traceback" not in second.err
