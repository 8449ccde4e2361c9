"""The processes of a kill campaign (`kills.py`) that are no engines: the sender, and the owner in place of a device.

python tests/kill_processes.py sender COUNT
python tests/kill_processes.py device
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import zmq

from kill_findings import FORMAT, all_patterns, pixels
from maxdaq_tango.engine.client import EngineClient
from maxdaq_tango.engine.counters import CountersMemory
from maxdaq_tango.engine.protocol import Told
from maxdaq_tango.files.ownership import living_owner
from maxdaq_tango.kernels.compression import compress_bslz4
from maxdaq_tango.model import BUSY_STATES, Frame, RunRequest
from maxdaq_tango.wire import stins

WAIT_S = 30.0


def send(count: int) -> None:
    """A series for each `next` on standard input, which tells the endpoint, and `go`; until `stop`."""
    patterns = all_patterns()
    blobs = [compress_bslz4(pixels(np.array([number]), patterns)[0]) for number in range(count)]
    frames = [Frame(series="", frame_number=n, format=FORMAT, blobs=(blob,)) for n, blob in enumerate(blobs)]
    messages = [stins.encode_image(number + 1, frame) for number, frame in enumerate(frames)]
    messages = [stins.encode_header(0, "", {}), *messages, stins.encode_end(count + 1)]
    stop = threading.Event()
    thread: threading.Thread | None = None
    with zmq.Context() as context:
        say({"ready": True})
        socket: zmq.Socket[bytes] | None = None
        for line in itertools.chain(sys.stdin, ["stop"]):
            if line.strip() == "next":
                socket = context.socket(zmq.PUSH)
                socket.linger, socket.sndtimeo = 0, 50
                socket.bind("tcp://127.0.0.1:*")
                say({"endpoint": socket.getsockopt_string(zmq.LAST_ENDPOINT)})
            elif line.strip() == "go" and socket is not None:
                stop.clear()
                thread = threading.Thread(target=push, args=(socket, messages, stop))
                thread.start()
            else:
                stop.set()
                if thread is not None:
                    thread.join()
                if socket is not None:
                    socket.close()


def push(socket: zmq.Socket[bytes], messages: list[Any], stop: threading.Event) -> None:
    for message in messages:
        while not stop.is_set():
            try:
                socket.send_multipart(message)
                break
            except zmq.Again:
                continue


def own() -> None:
    """Prepare the run that a line describes, tell what is heard of it, and live until standard input ends."""
    lock = threading.Lock()

    def hear(told: Told) -> None:
        verdict = told.receipt.verdict.value if told.receipt is not None else ""
        with lock:
            say({"state": told.state.value, "verdict": verdict, "busy": told.state in BUSY_STATES})

    engine = EngineClient("engine", hear)
    engine.start()
    with lock:
        say({"engine": engine.pid})
    for line in sys.stdin:
        engine.prepare(msgspec.json.decode(line, type=RunRequest))
        with lock:
            say({"prepared": True})
    engine.close()


def say(words: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


class Child:
    """One of the two, and what it says."""

    def __init__(self, *arguments: str, errors: Path) -> None:
        with errors.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, __file__, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )
        self._said: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self._said.append(json.loads(line))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()

    def wait(self, key: str, timeout_s: float = WAIT_S) -> Any:
        """The newest word of that name."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or any(key in said for said in self._said), timeout_s)
            for said in reversed(self._said):
                if key in said:
                    self._said.remove(said)
                    return said[key]
        raise TimeoutError(f"{key} was not said")

    def wait_verdict(self, timeout_s: float) -> str:
        """Of the run, or "" when there was none in that time."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or any(said.get("verdict") for said in self._said), timeout_s)
            return next((said["verdict"] for said in self._said if said.get("verdict")), "")

    @property
    def state(self) -> str:
        """That was told last."""
        with self._changed:
            return next((str(said["state"]) for said in reversed(self._said) if "state" in said), "no run")

    def end(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


def shared_counters(engine: int) -> CountersMemory:
    """The memory that outlives the engine, and its owner, as long as somebody has it open."""
    for path in Path(f"/proc/{engine}/fd").iterdir():
        with contextlib.suppress(OSError):
            if os.readlink(path).startswith("/memfd:maxdaq-counters"):
                handle = os.open(path, os.O_RDWR)
                try:
                    return CountersMemory(handle)
                finally:
                    os.close(handle)
    raise RuntimeError(f"process {engine} has no counters")


def wait_end(pid: int) -> None:
    """Of a process that is not our child."""
    deadline, pause = time.monotonic() + WAIT_S, threading.Event()
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return
        except (FileNotFoundError, ProcessLookupError):
            return
        pause.wait(0.005)
    raise TimeoutError(f"process {pid} does not end")


def wait_owners(folder: Path) -> None:
    """Until nobody who lives writes a file there: writer processes end by themselves, a moment after their engine."""
    deadline, pause = time.monotonic() + WAIT_S, threading.Event()
    while any(living_owner(path.with_suffix("")) for path in folder.glob(".*.owner")):
        if time.monotonic() > deadline:
            raise TimeoutError(f"somebody still writes in {folder}")
        pause.wait(0.01)


if __name__ == "__main__":
    if sys.argv[1] == "sender":
        send(int(sys.argv[2]))
    else:
        own()
