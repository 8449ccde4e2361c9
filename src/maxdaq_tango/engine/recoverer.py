"""The owner's side of the recovery at start-up: starts it, hears what it found, ends it. Nothing here waits long."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import threading
from collections.abc import Sequence

import msgspec

from maxdaq_tango.engine.recovery import Searched, Treated
from maxdaq_tango.files import Recovered
from maxdaq_tango.model import ranges_text

log = logging.getLogger(__name__)

END_S = 2.0
"""For a process that is told to end, and for one that is killed. One that its disk does not let go may take longer."""
LISTED = 10
"""Files in the text; the log has all."""

LONGEST = 100
"""Characters for the numbers of one file."""

Line = Treated | Searched


class Recoverer:
    """One search for unfinished files. Thread-safe; `text` is for people."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()  # guards the next four
        self._roots: tuple[str, ...] = ()
        self._files: list[Recovered] = []
        self._searched: Searched | None = None
        self._trouble = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._closed = False

    def start(self, roots: Sequence[str]) -> None:
        """Begin, once; raises nothing: what goes wrong is in `text`."""
        with self._lock:
            if self._closed or self._roots or not roots:
                return
            self._roots = tuple(roots)
            command = [sys.executable, "-m", "maxdaq_tango.engine.recovery", *roots]
            try:
                process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            except OSError as error:
                self._trouble = f"the search for unfinished files could not be started: {error}"
                log.error("%s: %s", self._name, self._trouble)
                return
            self._process = process
            self._reader = threading.Thread(
                target=self._read, args=(process,), name=f"recovery reader {self._name}", daemon=True
            )
            self._reader.start()

    @property
    def is_over(self) -> bool:
        """Nothing more will be found."""
        with self._lock:
            return self._searched is not None or bool(self._trouble)

    @property
    def files(self) -> tuple[Recovered, ...]:
        """What was found so far."""
        with self._lock:
            return tuple(self._files)

    @property
    def is_worth_telling(self) -> bool:
        """A file was recovered, or something went wrong."""
        with self._lock:
            searched = self._searched
            incomplete = searched is not None and (searched.unreadable or searched.left_out)
            return bool(self._trouble or incomplete or any(one.file or one.problem for one in self._files))

    @property
    def text(self) -> str:
        """What was found, in one paragraph; "" before the start."""
        with self._lock:
            if not self._roots and not self._trouble:
                return ""
            where = f"under {', '.join(self._roots)}"
            searched = self._searched
            # A data file that is joined is told of with its master.
            found = [_told(one) for one in self._files if (one.file and not one.master) or one.problem]
            others = [one for one in self._files if not one.file and not one.problem]
            if searched is None and not self._trouble:
                head = f"Looking for unfinished files {where}"
            elif not self._files:
                head = f"No unfinished file was found {where}"
            else:
                saved = sum(bool(one.file) for one in self._files)
                head = f"{saved} of {len(self._files)} unfinished files {where} were recovered"
            sentences = [head, *found[:LISTED]]
            if len(found) > LISTED:
                sentences.append(f"{len(found) - LISTED} more are in the log of this server")
            if others:
                sentences.append(f"{len(others)} were left alone, such as {_told(others[0])}")
            if searched is not None:
                sentences += _gaps(searched)
            if self._trouble:
                sentences.append(self._trouble)
            return ". ".join(sentences)

    def close(self) -> None:
        """End it wherever it stands; it can be repeated. May be called twice."""
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
                log.error("%s: the recovery (process %d) waits for its disk, and ends later", self._name, process.pid)
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
            if self._searched is None and not self._closed:
                self._trouble = f"The search ended with status {code} before it was done"
                log.error("%s: %s", self._name, self._trouble)

    def _hear(self, line: Line) -> None:
        with self._lock:
            if isinstance(line, Treated):
                self._files.append(line.file)
            else:
                self._searched = line
        if isinstance(line, Treated):
            level = logging.WARNING if line.file.file or line.file.problem else logging.INFO
            log.log(level, "%s: recovery at start-up: %s", self._name, _told(line.file))
        else:
            log.info("%s: looked for unfinished files in %d folders, %.1f s", self._name, line.folders, line.seconds)
            for sentence in _gaps(line):
                log.warning("%s: recovery at start-up: %s", self._name, sentence)


def _told(one: Recovered) -> str:
    if one.problem:
        return f"{one.part} could not be recovered: {one.problem}"
    if not one.file:
        return f"{one.part}: {one.note}"
    if not one.frames:
        return f"{one.file} {one.note}"
    lost = [f"{ranges_text(one.missing, LONGEST)} missing"] if one.missing else []
    lost += [f"{ranges_text([(number, number) for number in one.wrong], LONGEST)} damaged"] if one.wrong else []
    note = f" ({one.note})" if one.note else ""
    return f"{one.file} has {one.frames} frames{''.join(f', {text}' for text in lost)}{note}"


def _gaps(searched: Searched) -> list[str]:
    sentences = []
    if searched.unreadable:
        folder, why = searched.unreadable[0]
        sentences.append(f"{len(searched.unreadable)} folders could not be read, the first is {folder} ({why})")
    if searched.left_out:
        sentences.append(
            f"{searched.left_out} folders were not looked at, and what is below them: they are too deep, or time was up"
            " (maxdaq recover FOLDER)"
        )
    return sentences
