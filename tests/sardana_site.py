"""A real Sardana server beside our devices: the environment it lives in, its start, and its Door."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import tango

from counterparts.make_environment import EnvironmentUnavailable, make_environment

SOURCE = Path(__file__).resolve().parents[1] / "src"
START_S = 120.0
MACRO_S = 60.0
BEGIN_S = 5.0
"""Longest time until the Door says that a macro runs."""
END_S = 15.0


def sardana_bin() -> Path:
    """Folder of Sardana's programs; the test is skipped where they cannot be had."""
    try:
        return make_environment("sardana").parent
    except EnvironmentUnavailable as reason:
        pytest.skip(str(reason))


def door_answers(name: str) -> bool:
    """Sardana has started; it says so nowhere else."""
    try:
        return bool(tango.DeviceProxy(name).state() == tango.DevState.ON)
    except tango.DevFailed:
        return False


@dataclass
class Result:
    """What a macro came to, and what the Door said meanwhile."""

    state: str
    """ON, or ALARM after an error."""
    said: dict[str, list[str]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.state == "ON"

    def text(self, *streams: str) -> str:
        return "\n".join(line for name in streams or tuple(self.said) for line in self.said.get(name, []))


class Door:
    """Macros through the Door device, as a user's client runs them."""

    STREAMS = ("Output", "Info", "Warning", "Error")

    def __init__(self, name: str) -> None:
        self.device = tango.DeviceProxy(name)
        self.said: dict[str, list[str]] = {}
        self._new = threading.Condition()
        self._ids = [
            self.device.subscribe_event(stream, tango.EventType.CHANGE_EVENT, self._keeper(stream))
            for stream in self.STREAMS
        ]
        self._states: list[tango.DevState] = []
        self._ids.append(self.device.subscribe_event("State", tango.EventType.CHANGE_EVENT, self._keep_state))

    def close(self) -> None:
        for number in self._ids:
            self.device.unsubscribe_event(number)

    def begin(self, *words: str) -> None:
        self.said = {stream: [] for stream in self.STREAMS}
        self._states = []
        self.device.RunMacro([str(word) for word in words])

    def end(self, timeout_s: float = MACRO_S) -> Result:
        # RunMacro returns before the Door is RUNNING.
        running = tango.DevState.RUNNING
        if self._until(lambda: running in self._states, BEGIN_S):
            ended = self._until(lambda: self._states[-1] != running, timeout_s)
        else:  # events right after a subscription can be lost
            ended = self._polled(running, timeout_s)
        assert ended, f"the macro has not ended: {self._states} {self.said}"
        state = self._states[-1]
        if state != tango.DevState.ON:  # its last words may still be on their way
            self._until(lambda: self.said["Error"], 5.0)
        return Result(str(state), self.said)

    def run(self, *words: str, timeout_s: float = MACRO_S) -> Result:
        self.begin(*words)
        return self.end(timeout_s)

    def must(self, *words: str) -> Result:
        result = self.run(*words)
        if words[0] == "set_meas_conf" and "timeout on applying configuration" in result.text():
            result = self.run(*words)  # its own devices were slow: a busy machine
        assert result.ok, result.text()
        return result

    def until_said(self, text: str, timeout_s: float = 20.0) -> None:
        said = self._until(lambda: text in "\n".join(line for lines in self.said.values() for line in lines), timeout_s)
        assert said, f"'{text}' was not said: {self.said}"

    def _until(self, condition, timeout_s: float) -> bool:
        with self._new:
            return bool(self._new.wait_for(condition, timeout_s))

    def _polled(self, running: tango.DevState, timeout_s: float) -> bool:
        deadline, pause = time.monotonic() + timeout_s, threading.Event()
        while (state := self.device.state()) == running:
            if time.monotonic() > deadline:
                return False
            pause.wait(0.1)
        self._states.append(state)
        return True

    def _keep_state(self, event) -> None:
        if not event.err:
            with self._new:
                self._states.append(event.attr_value.value)
                self._new.notify_all()

    def _keeper(self, stream: str):
        def keep(event) -> None:
            if event.err or event.attr_value is None:
                return
            lines = event.attr_value.value or ()
            with self._new:
                self.said.setdefault(stream, []).extend([lines] if isinstance(lines, str) else lines)
                self._new.notify_all()

        return keep


class SardanaServer:
    """Pool, MacroServer and Door in one process, from a description in YAML."""

    def __init__(self, folder: Path, description: str, *, pool: str, door: str) -> None:
        self.folder = folder
        self._bin = sardana_bin()
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(SOURCE),
            "TANGO_LOG_PATH": str(folder / "log"),
            "HOME": str(folder),
        }
        (folder / "log").mkdir()
        path = folder / "sardana.yaml"
        path.write_text(description)
        self.log = folder / "sardana.log"
        self._said = self.log.open("wb")
        self.call("sardana-config", "load", "--write", "--environment", str(path))
        command = [str(self._bin / "Sardana"), pool, "-ORBendPoint", "giop:tcp:127.0.0.1:0"]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=self._environment,
        )
        self.door_name = door
        try:
            self._wait_for_door()
            self.door = Door(door)
        except BaseException:
            self._end()
            raise

    def call(self, program: str, *words: str) -> str:
        done = subprocess.run(
            [str(self._bin / program), *words],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=START_S,
            check=False,
            cwd=self.folder,
        )
        # 2: the description was written, as it differed from what was there
        assert done.returncode in (0, 2), f"{program} {' '.join(words)}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def _wait_for_door(self) -> None:
        deadline, pause = time.monotonic() + START_S, threading.Event()
        while time.monotonic() < deadline and self.process.poll() is None:
            if door_answers(self.door_name):
                return
            pause.wait(0.1)
        raise AssertionError(f"Sardana's Door did not answer:\n{self.log.read_text()[-3000:]}")

    def close(self) -> None:
        try:
            self.door.close()
        finally:
            self._end()

    def _end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._said.close()
