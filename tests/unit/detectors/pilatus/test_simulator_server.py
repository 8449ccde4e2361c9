"""The simulated camserver on real sockets and in a real folder."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from maxdaq_tango.detectors.pilatus.protocol import Reply, ReplyReader
from maxdaq_tango.detectors.pilatus.simulator import SimulatorOptions
from maxdaq_tango.detectors.pilatus.simulator_server import UNFINISHED, PilatusSimulatorServer
from maxdaq_tango.testing.driver_contract import wait_for

SMALL = {"rows": 24, "columns": 32, "trim_time_s": 0.05}


class Caller:
    """A client of one test, which hides nothing."""

    def __init__(self, server: PilatusSimulatorServer) -> None:
        self.line = socket.create_connection((server.host, server.port), 5)
        self._reader, self._heard = ReplyReader(), []

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.line.close()

    def hear(self) -> Reply:
        while not self._heard:
            data = self.line.recv(4096)
            if not data:
                raise ConnectionError("hung up")
            self._heard += self._reader.feed(data)
        return self._heard.pop(0)

    def ask(self, line: str, end: bytes = b"\0") -> Reply:
        self.line.sendall(line.encode() + end)
        return self.hear()


@pytest.fixture
def server(tmp_path) -> Iterator[PilatusSimulatorServer]:
    with PilatusSimulatorServer(SimulatorOptions(**SMALL), folder=str(tmp_path / "images")) as server:
        yield server


def post(server: PilatusSimulatorServer, path: str, body: object = None) -> dict:
    answer = httpx.post(f"{server.url}/simulator/api/{path}", json=body, trust_env=False)
    answer.raise_for_status()
    return answer.json()


def get(server: PilatusSimulatorServer, path: str) -> dict:
    return httpx.get(f"{server.url}/simulator/api/{path}", trust_env=False).raise_for_status().json()


def test_images_appear_whole_in_the_folder_and_nothing_else_is_left(server):
    with Caller(server) as caller:
        for line, end in (("ni 4", b"\0"), ("expt 0.005", b"\n"), ("expp 0.01", b"\x18")):
            assert caller.ask(line, end).ok
        assert caller.ask("expo a.cbf").code == 15
        ended = caller.hear()
    assert (ended.code, ended.text) == (7, f"{server.folder}/a_00003.cbf")
    assert sorted(os.listdir(server.folder)) == [UNFINISHED, *(f"a_0000{n}.cbf" for n in range(4))]
    assert os.listdir(Path(server.folder) / UNFINISHED) == []
    account = get(server, "account")
    assert (account["intact"], account["finished"], account["messages_waiting"]) == ([[0, 3]], True, 0)


def test_images_go_where_they_are_told_to(server, tmp_path):
    with Caller(server) as caller:
        assert caller.ask(f"imgpath {tmp_path}/deep/down").text == f"{tmp_path}/deep/down/"
        assert caller.ask("imgpath /proc/nowhere").text == "mkdir() failed"
        caller.ask("expt 0.001")
        caller.ask("expo one.tif")
        caller.hear()
    assert (tmp_path / "deep/down/one.tif").stat().st_size == 4096 + 4 * 24 * 32


def test_signals_come_over_http(server):
    with Caller(server) as caller:
        for line in ("ni 3", "expt 0.001", "expp 0.01", "extm a.cbf"):
            caller.ask(line)
        assert get(server, "status")["waiting_for_signal"]
        assert post(server, "edge?count=5&period_s=0.02") == {"taken": 3, "ignored": 2}
        assert caller.hear().code == 7
        caller.ask("ni 1")
        caller.ask("exte b.cbf")
        assert post(server, "gate", {"width_s": 0.01}) == {"taken": 1, "ignored": 0}
        assert caller.hear().text.endswith("/b.cbf")


def test_what_cannot_be_done_is_told_in_words(server):
    for path, body in (
        ("edge?count=0", None),
        ("gate", {"width_s": -1}),
        ("faults", {"nonsense": 1}),
        ("faults", {"thief_at": 3}),
    ):
        answer = httpx.post(f"{server.url}/simulator/api/{path}", json=body, trust_env=False)
        assert answer.status_code == 400, path
    assert httpx.get(f"{server.url}/simulator/api/nonsense", trust_env=False).status_code == 404
    assert httpx.get(f"{server.url}/elsewhere", trust_env=False).status_code == 404


def test_a_camserver_that_goes_offline_hangs_up_refuses_and_comes_back(server):
    with Caller(server) as caller:
        caller.ask("ni 5")
        post(server, "faults", {"offline_s": 0.3})
        with pytest.raises(ConnectionError):
            caller.hear()

    def answers() -> bool:
        try:
            with Caller(server) as caller:
                return caller.ask("ni").text == "N images set to: 5"
        except OSError:
            return False

    wait_for("camserver to come back", answers)


def test_a_camserver_that_vanishes_in_mid_series_goes_on_making_images(server):
    post(server, "faults", {"vanish_at": 2, "vanish_s": 0.1})
    with Caller(server) as caller:
        for line in ("ni 5", "expt 0.01", "expp 0.02", "expo a.cbf"):
            caller.ask(line)
        with pytest.raises(ConnectionError):
            caller.hear()
    wait_for("the images", lambda: Path(server.folder, "a_00004.cbf").exists())


def test_a_folder_that_goes_is_no_end(server, tmp_path):
    with Caller(server) as caller:
        caller.ask("imgpath sub")
        caller.ask("expt 0.001")
        os.rename(tmp_path / "images", tmp_path / "elsewhere")
        caller.ask("expo a.cbf")
        assert caller.hear().code == 7  # it makes its folder anew
    assert (tmp_path / "images/sub/a.cbf").exists()


def test_a_flood_of_bytes_is_hung_up_on_and_others_are_served(server):
    with Caller(server) as flooding, Caller(server) as other:
        with pytest.raises(OSError):
            flooding.ask("x" * (10 << 20))
        assert other.ask("version").ok


@pytest.mark.processes_live_on
def test_as_a_program_it_tells_its_ports_and_ends_when_told(tmp_path):
    command = [sys.executable, "-m", "maxdaq_tango.detectors.pilatus.simulator_server", "--folder", str(tmp_path)]
    with subprocess.Popen([*command, "--rows", "24", "--columns", "32"], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            said = json.loads(process.stdout.readline())
            with socket.create_connection((said["host"], said["camserver"]), 5) as line:
                line.sendall(b"version\n")
                assert line.recv(4096).startswith(b"24 OK")
            assert said["folder"] == str(tmp_path)
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_a_fault_that_means_nothing_is_refused_at_the_start():
    command = [sys.executable, "-m", "maxdaq_tango.detectors.pilatus.simulator_server", "--fault", "thief=3"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode != 0
    assert "not dealt out" in ended.stderr
