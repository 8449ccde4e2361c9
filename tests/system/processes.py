"""Runs a command as a person would, and knows every process that it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from time import monotonic

from maxdaq_tango.deployment.interruption import Interruption

MARK = "MAXDAQ_TEST_RUN"


class Command:
    """`maxdaq WORDS` in a process of its own. Output goes to files, so that nobody waits for a reader."""

    def __init__(self, folder: Path, *words: str, environment: Mapping[str, str] | None = None) -> None:
        self._mark = uuid.uuid4().hex
        self._out, self._err = folder / "out.txt", folder / "err.txt"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "maxdaq_tango.cli.main", *words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=folder,
                env={**os.environ, "COLUMNS": "200", MARK: self._mark, **(environment or {})},
            )

    @property
    def out(self) -> str:
        """Standard output so far."""
        return self._out.read_text()

    @property
    def err(self) -> str:
        """Standard error so far."""
        return self._err.read_text()

    def wait_for(self, text: str, deadline_s: float = 30.0) -> None:
        """Until it has said `text`."""

        def said() -> bool:
            return text in self.out + self.err or self.process.poll() is not None

        Interruption().wait_until(said, deadline_s)
        assert text in self.out + self.err, f"{text!r} was not said:\n{self.out}\n{self.err}"

    def wait(self, deadline_s: float = 60.0) -> int:
        """Until it ends; the exit status."""
        return self.process.wait(deadline_s)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the command alone."""
        self.process.send_signal(number)

    def family(self) -> list[int]:
        """Living processes that it started, and theirs; not itself. Zombies are not alive."""
        wanted = f"{MARK}={self._mark}".encode()
        found = []
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) == self.process.pid:
                continue
            try:
                marked = wanted in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0")
                alive = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
            except OSError:  # gone, or not ours to read
                continue
            if marked and alive:
                found.append(int(entry))
        return found

    def assert_nothing_is_left(self, deadline_s: float = 15.0) -> None:
        """Every process that it started ends within the deadline."""
        begin = monotonic()
        Interruption().wait_until(lambda: not self.family(), deadline_s)
        names = [Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode() for pid in self.family()]
        assert not names, f"after {monotonic() - begin:.1f} s there is still: {names}"

    def clean_up(self) -> None:
        """For the end of a test, whatever happened in it."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pid in self.family():
            os.kill(pid, signal.SIGKILL)
