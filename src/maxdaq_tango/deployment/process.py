"""One process of a launch: started with a log of its own, asked to end in order, made to end in time."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic

from maxdaq_tango.deployment import guard
from maxdaq_tango.errors import LaunchError

LOG_TAIL_BYTES = 1 << 16
"""How much of a log is read to find the last words of a process."""

_EXCEPTION = re.compile(r"desc = (.+)|((?:\w+\.)*\w+(?:Error|Exception)\b: .*)")


class Launch:
    """What all processes of one launch share: the mark that tells them from all others, and the guard.

    The guard is started with the first process. `close` lets it go; when this process dies without `close`, the guard
    ends what is left.
    """

    def __init__(self) -> None:
        self.mark = uuid.uuid4().hex
        self._guard: subprocess.Popen[bytes] | None = None

    def environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        """Ours, the mark and `extra`."""
        return {**os.environ, guard.MARK: self.mark, **extra}

    def watch(self) -> None:
        """Start the guard, before anything that it guards."""
        if self._guard is None:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", guard.__file__, self.mark],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def tell_guard(self, pid: int) -> None:
        """Write down a process that has just been started."""
        self._say(f"{pid}\n".encode())

    def close(self) -> list[int]:
        """End whatever is left over and dismiss the guard. Returns the ids of left-overs: there should be none."""
        left = guard.sweep(self.mark)
        if self._guard is not None and self._guard.stdin is not None:
            self._say(b"done\n")
            with contextlib.suppress(BrokenPipeError):
                self._guard.stdin.close()
            self._guard.wait()
            self._guard = None
        return left

    def _say(self, line: bytes) -> None:
        # A guard that somebody killed must not keep us from working, nor from ending.
        if self._guard is not None and self._guard.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._guard.stdin.write(line)
                self._guard.stdin.flush()


class ChildProcess:
    """One run of one command. Output of both kinds is appended to `log`."""

    def __init__(
        self, launch: Launch, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> None:
        self.name = name
        self.log = log
        launch.watch()
        with log.open("ab") as file:
            self.log_start = file.tell()
            """Where the words of this run begin in the log."""
            try:
                # A session of its own: Ctrl-C on the terminal reaches the launcher alone, which stops all in order.
                self._process = subprocess.Popen(
                    list(command),
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env=launch.environment(environment),
                    start_new_session=True,
                )
            except OSError as error:
                raise LaunchError(
                    f"start {name}",
                    of=command[0],
                    answer=error.strerror or str(error),
                    accepted="a program that can be run",
                ) from None
        launch.tell_guard(self._process.pid)

    @property
    def pid(self) -> int:
        """Process id, valid until the exit status has been read."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """None while it runs; negative is the signal that ended it."""
        return self._process.poll()

    def output(self) -> str:
        """What this run has said so far (its last part, when it is long)."""
        with self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self.log_start, size - LOG_TAIL_BYTES))
            return file.read().decode(errors="replace")

    def last_words(self) -> str:
        """The line of the log that most likely tells why it ended: the last exception, otherwise the last line."""
        lines = [line.strip() for line in self.output().splitlines() if line.strip()]
        # PyTango writes half a page of traceback and then a parting word.
        errors = [match[1] or match[2] for line in lines if (match := _EXCEPTION.match(line))]
        return (errors or lines or ["it said nothing"])[-1]

    def how_it_ended(self) -> str:
        """'ended with status 1', 'was killed by SIGKILL' or 'is running'."""
        status = self.exit_status
        if status is None:
            return "is running"
        if status >= 0:
            return f"ended with status {status}"
        with contextlib.suppress(ValueError):
            return f"was killed by {signal.Signals(-status).name}"
        return f"was killed by signal {-status}"

    def stop(self, patience_s: float = guard.PATIENCE_S, in_a_hurry: Callable[[], bool] = lambda: False) -> None:
        """SIGTERM; SIGKILL after `patience_s`, or as soon as somebody is `in_a_hurry`. Harmless when it has ended."""
        if self.exit_status is not None:
            return
        self._process.terminate()
        end = monotonic() + patience_s
        while not in_a_hurry() and (left_s := end - monotonic()) > 0:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(min(left_s, 0.2))
                return
        self._process.kill()
        self._process.wait()
