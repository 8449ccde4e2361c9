"""Who is writing an unfinished file: `.<name>.part.owner`, from its creation until it is published or given up.

A recovery must not touch a file that grows. A process is known by its id and the time at which it was started, since
ids are given again; a host by its name and the id of its last start.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from pathlib import Path

import msgspec

from maxdaq_tango.files.whereabouts import open_there

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
BEING_WRITTEN_S = 10.0
"""A record that makes no sense may be one that is just being written, for so long."""


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """A process that writes."""

    host: str
    boot: str
    """Id of the start of the host; "" where the system has none."""
    pid: int
    started: int
    """Of the process, in clock ticks after the start of the host."""

    @property
    def name(self) -> str:
        """For people."""
        return f"process {self.pid} on {self.host}"


def owner_path(part: Path) -> Path:
    """Beside the unfinished file."""
    return part.with_name(part.name + ".owner")


def claim(part: Path) -> bool:
    """This process writes `part` from now on; False: another one that lives, or may live, does. OSError."""
    path, text = owner_path(part), msgspec.json.encode(_self())
    while True:
        try:
            handle = open_there(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            if living_owner(part) is not None:
                return False
            release(part)
            continue
        try:
            os.write(handle, text)
        finally:
            os.close(handle)
        return True


def release(part: Path) -> None:
    """Nobody writes it any more. Harmless where nobody did."""
    with contextlib.suppress(FileNotFoundError):
        owner_path(part).unlink()


def living_owner(part: Path) -> str | None:
    """Who is writing `part`, for people; None: nobody who lives.

    Of a process on another host nobody knows, so it counts as living.
    """
    path = owner_path(part)
    try:
        data, age = path.read_bytes(), time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return None
    try:
        owner = msgspec.json.decode(data, type=Owner)
    except (msgspec.DecodeError, UnicodeError):
        return "somebody who is just beginning" if age < BEING_WRITTEN_S else None
    ours = _self()
    if owner.host != ours.host:
        return owner.name
    return owner.name if owner.boot == ours.boot and _started(owner.pid) == owner.started else None


def _self() -> Owner:
    boot = BOOT_ID.read_text().strip() if BOOT_ID.exists() else ""
    return Owner(host=socket.gethostname(), boot=boot, pid=os.getpid(), started=_started(os.getpid()) or 0)


def _started(pid: int) -> int | None:
    """Field 22 of /proc/<pid>/stat; None: there is no such process, or it is dead and only waits to be asked for."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2 :].split()  # behind the name, which may hold anything
    return None if fields[0] in "ZX" else int(fields[19])
