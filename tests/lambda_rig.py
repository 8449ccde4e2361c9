"""A simulated Lambda and its streamer as processes, for tests."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from maxdaq_tango.detectors.xspectrum_lambda.simulator import SimulatorOptions

FOLDER = "maxdaq_tango.detectors.xspectrum_lambda"
OPTIONS = SimulatorOptions(modules=4, rows=8, columns=24)


class Program:
    """One of our processes, whose first line is JSON; `start` it again on the same ports."""

    def __init__(self, name: str, folder: Path, *words: str) -> None:
        self.name, self._log, self._words = name, folder / f"{name}.log", words
        self.said: dict[str, object] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self, *more: str) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"{FOLDER}.{self.name}", *self._words, *more],
                stdout=subprocess.PIPE,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith(b"{"), self._log.read_text()
        self.said = json.loads(line)

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(number)
        process.wait(15)
        assert process.stdout is not None
        process.stdout.close()


class Rig:
    """Both processes, and the knobs of the simulator."""

    def __init__(self, folder: Path) -> None:
        rows, columns, modules = str(OPTIONS.rows), str(OPTIONS.columns), str(OPTIONS.modules)
        self.simulator = Program("simulator_server", folder, "--rows", rows, "--columns", columns, "--modules", modules)
        self.url = f"http://127.0.0.1:{self.simulator.said['http']}"
        self.streamer = Program("streamer", folder, "--library", f"{FOLDER}.simulated_pyxsp", "--system", self.url)

    def post(self, path: str, body: object) -> None:
        data = json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/simulator/api/{path}", data=data, method="POST")
        with urllib.request.urlopen(request, timeout=5) as answer:
            assert answer.status == 200

    def restart_streamer(self) -> None:
        said = self.streamer.said
        streams = [word for port in said["streams"] for word in ("--stream-ports", str(port))]
        self.streamer.start("--port", str(said["http"]), *streams)

    def end(self) -> None:
        self.streamer.end()
        self.simulator.end()
