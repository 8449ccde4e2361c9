"""A simulated Jungfrau as a process of its own, and its knobs."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from typing import Any

SMALL = ("--rows", "32", "--columns", "48")


class SimulatedJungfrau:
    """The process; ends when its standard input is closed."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "maxdaq_tango.detectors.jungfrau.simulator_server", "--exit-with-parent"]
        self.process = subprocess.Popen(
            [*command, *SMALL, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        told = json.loads(self.process.stdout.readline())
        self.port, self.stream_port = told["http"], told["stream"]
        self.host = f"127.0.0.1:{self.port}"

    def post(self, path: str, **body: Any) -> Any:
        url = f"http://{self.host}/simulator/api/{path}"
        request = urllib.request.Request(url, data=json.dumps(body).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.loads(answer.read())

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://{self.host}/simulator/api/{path}", timeout=5) as answer:
            return json.loads(answer.read())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()
