"""What every soak stands on: the processes of a deployment, watched, counted and ended on purpose."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from maxdaq_tango.deployment.interruption import Interruption
from maxdaq_tango.deployment.launcher import Deployment
from maxdaq_tango.deployment.supervisor import ServiceState
from maxdaq_tango.errors import LaunchError, StateError

LOOK_EVERY_S = 0.05
ANSWER_S = 20.0


class Stage:
    """The processes of one deployment. One thread."""

    def __init__(self, deployment: Deployment, interruption: Interruption) -> None:
        self.deployment, self._interruption = deployment, interruption

    def until(self, condition: Callable[[], bool], deadline_s: float, interval_s: float = LOOK_EVERY_S) -> bool:
        """Wait for a condition, with an eye on the processes; says whether it came true."""

        def looked() -> bool:
            self.deployment.supervisor.watch()
            return condition()

        return self._interruption.wait_until(looked, deadline_s, interval_s)

    def restarts(self) -> dict[str, int]:
        """How often each process had to be started again."""
        return {one.service.name: one.restarts for one in self.deployment.processes}

    def processes(self) -> dict[str, int]:
        """Pids of what the supervisor has running, by name."""
        processes = self.deployment.processes
        return {one.service.name: one.process.pid for one in processes if one.state is ServiceState.READY}

    def kill(self, service: str) -> str:
        """SIGKILL of one process; returns its name. LaunchError when there is none."""
        for one in self.deployment.processes:
            if one.service.name == service:
                os.kill(one.process.pid, signal.SIGKILL)
                return service
        raise LaunchError(f"kill {service}", answer="there is none")

    def folder(self, number: int) -> Path:
        """A new folder for the files of one acquisition."""
        made = self.deployment.folder / "runs" / f"{number:06d}"
        made.mkdir(parents=True)
        return made


class Knobs:
    """The own paths of one simulator, which no detector has."""

    def __init__(self, stage: Stage, name: str) -> None:
        answers = stage.deployment.answers
        self._stage, self._name = stage, name
        self._http = httpx.Client(
            base_url=f"http://{answers[f'{name}.host']}:{answers[f'{name}.port']}", timeout=ANSWER_S
        )

    def close(self) -> None:
        """Hang up."""
        self._http.close()

    def ask(self, method: str, path: str, **body: Any) -> httpx.Response:
        """Waits while the simulator is offline on purpose; StateError with its words when it refuses."""
        answers: list[httpx.Response] = []
        errors: list[str] = []

        def answered() -> bool:
            try:
                answers.append(self._http.request(method, f"/simulator/api/{path}", **body))
            except httpx.TransportError as error:
                errors.append(f"{type(error).__name__}: {error}")
            return bool(answers)

        if not self._stage.until(answered, ANSWER_S):
            raise StateError(f"{method} {path}", of=f"the simulator {self._name}", answer=errors[-1])
        if answers[0].status_code != 200:
            raise StateError(f"{method} {path}", of=f"the simulator {self._name}", answer=answers[0].text)
        return answers[0]
