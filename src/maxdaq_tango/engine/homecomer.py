"""The owner's side of the process that moves spilled data files home: starts, hears and ends it. Nothing waits long."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import threading
from collections.abc import Sequence

import msgspec

from maxdaq_tango.files import Homecoming, Survey

log = logging.getLogger(__name__)

END_S = 2.0
"""For a process that is told to end, and for one that is killed. One that its disk does not let go may take longer."""
LISTED = 10
"""Series in the text; the log has all."""
Line = Homecoming | Survey
NOTHING = Survey(folders=(), left=0, left_nbytes=0)


class Homecomer:
    """One spill directory. Thread-safe; `text` is for people."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()  # guards all of the following
        self._directory = ""
        self._roots: tuple[str, ...] = ()
        self._survey = NOTHING
        self._series: dict[str, Homecoming] = {}  # by folder
        self._moved = 0
        self._trouble = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._closed = False

    def start(self, directory: str, roots: Sequence[str]) -> None:
        """Begin to look after it. Raises nothing: what goes wrong is in `text`."""
        with self._lock:
            self._directory, self._roots = directory, tuple(roots)
        self.look()

    def look(self) -> None:
        """Look now: a series is over. A process that has died is replaced. Raises nothing."""
        with self._lock:
            if self._closed or not self._directory:
                return
            process = self._process
            if process is not None and process.poll() is None:
                with contextlib.suppress(OSError):
                    assert process.stdin is not None
                    process.stdin.write(b"\n")
                    process.stdin.flush()
                return
            if process is not None and process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()
            command = [sys.executable, "-m", "maxdaq_tango.engine.homecoming", self._directory, *self._roots]
            try:
                process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            except OSError as error:
                self._trouble = f"nobody moves spilled files: the process could not be started: {error}"
                log.error("%s: %s", self._name, self._trouble)
                return
            self._process, self._trouble = process, ""
            self._reader = threading.Thread(
                target=self._read, args=(process,), name=f"homecoming reader {self._name}", daemon=True
            )
            self._reader.start()

    @property
    def left_nbytes(self) -> int:
        """Still to be moved, as of the last look."""
        with self._lock:
            return self._survey.left_nbytes

    @property
    def problems(self) -> list[str]:
        """Why something cannot be moved, as of the last look."""
        with self._lock:
            found = [f"{one.folder}: {one.problem}" for one in self._series.values() if one.problem]
            return [self._trouble, *found] if self._trouble else found

    @property
    def text(self) -> str:
        """What is in the spill directory, in one paragraph; "" = there is no such directory."""
        problems = self.problems
        with self._lock:
            if not self._directory:
                return ""
            sentences = [
                f"{self._survey.left} data files to be moved are in {self._directory}, {self._moved} were moved"
            ]
            sentences += problems[:LISTED]
            sentences += [f"{one.folder}: {one.note}" for one in self._series.values() if one.note][:LISTED]
            return ". ".join(sentences)

    def close(self) -> None:
        """End it wherever it stands; the next one goes on. May be called twice."""
        with self._lock:
            self._closed = True
            process, self._process = self._process, None
            reader, self._reader = self._reader, None
        if process is None or reader is None:
            return
        with contextlib.suppress(OSError):
            assert process.stdin is not None
            process.stdin.close()  # it ends by itself
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                log.error("%s: process %d waits for its disk, and ends later", self._name, process.pid)
                return
        reader.join(END_S)

    # ---- the reader thread ----

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)
        with process.stdout as lines, contextlib.suppress(OSError, ValueError, msgspec.DecodeError):
            for line in lines:
                self._hear(decoder.decode(line))
        code = process.wait()
        with self._lock:
            if not self._closed and process is self._process:  # it may have been replaced already
                self._trouble = f"nobody moves spilled files: the process ended with status {code}"
                log.error("%s: %s", self._name, self._trouble)

    def _hear(self, line: Line) -> None:
        if isinstance(line, Survey):
            with self._lock:
                self._survey = line
                self._series = {name: one for name, one in self._series.items() if name in line.folders}
            return
        with self._lock:
            before, self._series[line.folder] = self._series.get(line.folder), line
            self._moved += line.moved
        if line.master:
            log.warning("%s: %s is complete, %d data files were moved home", self._name, line.master, line.moved)
        if line.problem and (before is None or before.problem != line.problem):
            log.error("%s: %s: %s", self._name, line.folder, line.problem)
