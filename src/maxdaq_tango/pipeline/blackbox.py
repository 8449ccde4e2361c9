"""The black box of a receiver: what happened to the present run, in a ring of bounded size that outlives its writer.

One line of JSON for each thing that happened: headers and what could not be decoded (their first 4 KiB), states,
requests, connections made and lost, gaps, and once a second what is in the queues and how long writes take. Never
anything for a single intact frame: the ring costs the way of frames nothing but a comparison fifty times a second.

The memory may be shared and without a name, as that of the counters is: its owner then reads it after a SIGKILL.

    8 bytes  where the next line begins, counted since ever     8 bytes  where this run begins     the ring
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from maxdaq_tango.model import Buffer, encoded

RING_NBYTES = 8 << 20
HEAD_NBYTES = 4096
"""Of one message that are kept, over all its parts."""
LONGEST_NBYTES = 64 << 10
"""Of one line; a longer one is told by its kind and length alone."""
MOST_CORRUPT = 64
"""Messages of one run that are kept because they could not be decoded."""
MOST_GAPS = 1000

_WHERE = struct.Struct("<QQ")
_NBYTES = _WHERE.size + RING_NBYTES
_PRINTABLE = bytes(c if 32 <= c < 127 else ord(".") for c in range(256))

Record = dict[str, Any]
"""`at` (UNIX time, s), `what`, and what belongs to it."""


def create_blackbox_file() -> int:
    """Anonymous shared memory; returns its file descriptor (the caller closes it)."""
    handle = os.memfd_create("maxdaq-blackbox")
    os.ftruncate(handle, _NBYTES)
    return handle


class BlackBox:
    """One thread at a time notes; anybody may read, also when the writer has died in mid-write."""

    def __init__(self, handle: int = -1) -> None:
        """On the memory of `create_blackbox_file`; -1 = on memory of its own."""
        self._map = mmap.mmap(handle, _NBYTES)
        self._corrupt = self._gaps = 0

    def begin(self) -> None:
        """A new run: what was noted before is not of it."""
        end, _ = _WHERE.unpack_from(self._map)
        _WHERE.pack_into(self._map, 0, end, end)
        self._corrupt = self._gaps = 0

    def note(self, what: str, **fields: Any) -> None:
        """One thing that happened. `fields` are JSON values."""
        record = {"at": round(time.time(), 6), "what": what, **fields}
        try:
            line = encoded(record) + b"\n"
        except (TypeError, ValueError, OverflowError, RecursionError):  # a run must not end for what is told of it
            line = encoded({"at": record["at"], "what": what, "left_out_bytes": -1}) + b"\n"
        if len(line) > LONGEST_NBYTES:
            line = encoded({"at": record["at"], "what": what, "left_out_bytes": len(line)}) + b"\n"
        end, begin = _WHERE.unpack_from(self._map)
        at = end % RING_NBYTES
        first = min(len(line), RING_NBYTES - at)
        self._map[_WHERE.size + at : _WHERE.size + at + first] = line[:first]
        self._map[_WHERE.size : _WHERE.size + len(line) - first] = line[first:]
        _WHERE.pack_into(self._map, 0, end + len(line), begin)  # last: until here the line does not exist

    def note_message(self, what: str, parts: Sequence[Buffer], **fields: Any) -> None:
        """A message with the beginning of its bytes, as text."""
        self.note(what, parts=[len(part) for part in parts], head=_head(parts), **fields)

    def note_corrupt(self, parts: Sequence[Buffer], reason: str) -> None:
        """A message that could not be used; the first ones of a run."""
        self._corrupt += 1
        if self._corrupt <= MOST_CORRUPT:
            self.note_message("corrupt", parts, reason=reason)

    def note_gap(self, missing: int, first: int, last: int, newest: int) -> None:
        """The number of frames that have not come has changed; `first` to `last` is the first gap."""
        self._gaps += 1
        if self._gaps <= MOST_GAPS:
            self.note("gap", missing=missing, first=first, last=last, newest=newest)

    def records(self) -> list[Record]:
        """All of this run that is still in the ring, oldest first."""
        end, begin = _WHERE.unpack_from(self._map)
        # A writer that died in mid-write has spoilt the oldest bytes, at most one line of them.
        oldest = max(begin, end - (RING_NBYTES - LONGEST_NBYTES), 0)
        at, nbytes, start = oldest % RING_NBYTES, end - oldest, _WHERE.size
        first = min(nbytes, RING_NBYTES - at)
        ring = self._map[start + at : start + at + first] + self._map[start : start + nbytes - first]
        lines = ring.split(b"\n")
        return decoded(lines[0 if oldest == begin else 1 :])


def decoded(lines: Iterable[bytes]) -> list[Record]:
    """Lines of JSON; one that is none is left out."""
    found = []
    for line in lines:
        try:
            record = msgspec.json.decode(line, type=dict[str, Any]) if line.strip() else None
        except msgspec.MsgspecError:
            continue
        if record and isinstance(record.get("at"), int | float) and isinstance(record.get("what"), str):
            found.append(record)
    return found


def blackbox_path(file: Path) -> Path:
    """Where the black box of a run lies: /data/scan.h5, and /data/.scan.h5.part > /data/scan.blackbox.jsonl."""
    name = file.name
    if name.startswith(".") and name.endswith(".part"):
        name = name[1 : -len(".part")]
    return file.with_name(f"{Path(name).stem}.blackbox.jsonl")


def write_blackbox(file: Path, records: Iterable[Record]) -> Path:
    """Put the records beside the data; never over an older one, which keeps its name. OSError."""
    wanted = blackbox_path(file)
    for number in range(1, 10_000):
        path = wanted if number == 1 else wanted.with_suffix(f".{number}.jsonl")
        try:
            with path.open("xb") as out:
                for record in records:
                    out.write(encoded(record) + b"\n")
        except FileExistsError:
            continue
        return path
    raise FileExistsError(f"{wanted} and 10000 more")


def _head(parts: Sequence[Buffer]) -> str:
    kept, left = [], HEAD_NBYTES
    for part in parts:
        kept.append(bytes(memoryview(part)[:left]).translate(_PRINTABLE).decode("ascii"))
        left -= len(kept[-1])
        if left <= 0:
            break
    return "\n".join(kept)
