"""A child process of the bench, and the waiting for it: no wait is deaf to Ctrl-C or to the death of another child."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import TypeVar

import msgspec

from maxdaq_tango.bench.talk import Asked, Failed, Told
from maxdaq_tango.deployment.interruption import Interruption
from maxdaq_tango.errors import LaunchError, PipelineError

T = TypeVar("T")

SLICE_S = 0.1
END_S = 5.0
LAST_WORDS = 600
"""Bytes of a child's standard error that an error quotes."""


class Child:
    """One process with a conversation on its standard input and output."""

    def __init__(self, name: str, module: str, words: Sequence[str], *, handles: Sequence[int], log: Path) -> None:
        self.name = name
        self._log = log
        self._told: deque[Told] = deque()
        self._rest = b""
        self._decoder = msgspec.json.Decoder(Told)
        try:
            with log.open("wb") as file:
                # A session of its own: Ctrl-C in the terminal reaches the bench alone, which ends its children.
                self._process = subprocess.Popen(
                    [sys.executable, "-m", f"maxdaq_tango.bench.{module}", *words],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=file,
                    pass_fds=handles,
                    start_new_session=True,
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                    bufsize=0,
                )
        except OSError as error:
            raise LaunchError(f"start {name}", of=sys.executable, answer=error.strerror or str(error)) from None

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def ask(self, asked: Asked) -> None:
        """Say something; LaunchError when nobody listens any more."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(msgspec.json.encode(asked) + b"\n")
        except OSError:
            raise self._dead() from None

    def close(self) -> None:
        """End the process, at once: between turns there is nothing to save. Harmless twice."""
        process = self._process
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()  # the end of its input makes it leave
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def fileno(self) -> int:
        """For `select`."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def feed(self) -> None:
        """Read what it has said; LaunchError when it has ended."""
        data = os.read(self.fileno(), 1 << 16)
        if not data:
            raise self._dead()
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._told.extend(self._decoder.decode(line) for line in lines)

    def heard(self, kind: type[T]) -> T | None:
        """The next thing that it said, if that has come; PipelineError when it is a failure."""
        if not self._told:
            return None
        told = self._told.popleft()
        if isinstance(told, kind) and not isinstance(told, Failed):
            return told
        answer = told.reason if isinstance(told, Failed) else repr(told)
        raise PipelineError(f"measure {self.name}", answer=answer)

    def check(self) -> None:
        """PipelineError when it has failed; anything else that it said is kept for its turn."""
        if self._told and isinstance(self._told[0], Failed):
            self.heard(Failed)

    def _dead(self) -> LaunchError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_S)
        words = self._log.read_bytes()[-LAST_WORDS:].decode(errors="replace").strip()
        status = self._process.poll()
        return LaunchError(
            f"measure {self.name}", of=f"process {self.pid}", answer=f"it ended with status {status}. {words}".strip()
        )


def wait_for(
    child: Child, kind: type[T], interruption: Interruption, deadline_s: float, others: Sequence[Child] = ()
) -> T:
    """What `child` says next. Interrupted, LaunchError (it, or one of `others`, is dead) or PipelineError."""
    end = monotonic() + deadline_s
    watched = [child, *others]
    while True:
        interruption.check()
        if (told := child.heard(kind)) is not None:
            return told
        for other in others:
            other.check()
        if monotonic() >= end:
            raise PipelineError(f"measure {child.name}", answer=f"no {kind.__name__} after {deadline_s:g} s")
        for ready in select.select(watched, [], [], SLICE_S)[0]:
            ready.feed()
