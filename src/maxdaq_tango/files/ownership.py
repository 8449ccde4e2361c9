"""Who is writing an unfinished file: `.<name>.part.owner`, from its creation until it is published or given up.

A recovery must not touch a file that grows. A process is known by its id and the time at which it was started, since
ids are given again; a host by its name and the id of its last start.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import time
from pathlib import Path

import msgspec

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.paths import Destination, make_way
from maxdaq_tango.files.whereabouts import open_there, read_beside

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS})
"""What a file system says that has none: there two recoveries that start at the same moment can meet."""
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


def reserve(destination: Destination) -> None:
    """The folder is there, `destination.part` is not, and it is ours to make. FileError, OSError."""
    make_way(destination)
    part = destination.part
    if not claim(part):
        raise FileError(
            f"create the file {destination.final}",
            of=str(part),
            answer=f"{living_owner(part) or 'somebody else'} is making or recovering it",
            accepted="another name, or the same one later",
        )
    try:
        make_way(destination)  # somebody may have made and left it before it was ours
    except BaseException:
        release(part)
        raise


def claim(part: Path) -> bool:
    """This process writes `part` from now on; False: another one that lives, or may live, does. OSError.

    To be called before `part` is made: a recovery that finds it without an owner takes it for one that was left.
    """
    path, text = owner_path(part), msgspec.json.encode(_self())
    while True:
        try:
            handle = open_there(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            if living_owner(part) is not None:
                return False
            taken = _take_over(path, part, text)
            if taken is None:
                continue
            return taken
        try:
            _write_record(handle, path, text)
        finally:
            os.close(handle)
        return True


def _take_over(path: Path, part: Path, text: bytes) -> bool | None:
    """The record of one that is dead becomes ours; None: it has gone, or become another, meanwhile.

    Of several that find it dead one gets it: who removed it and made another would remove that of who was faster. They
    are all on the host of the dead, since nobody else knows that he is, so a lock of this host is enough.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        try:
            if not os.path.samestat(os.fstat(handle), path.stat()):
                return None
        except FileNotFoundError:
            return None
        if living_owner(part) is not None:
            return False
        fresh = path.with_name(path.name + ".new")
        fresh.unlink(missing_ok=True)  # of somebody who was killed; or a link, which must not be followed
        with fresh.open("xb", buffering=0) as file:
            _write_record(file.fileno(), fresh, text)
        os.replace(fresh, path)
        return True
    finally:
        os.close(handle)


def _write_record(handle: int, path: Path, text: bytes) -> None:
    """All of it or none: half a record would keep everybody away for BEING_WRITTEN_S. OSError."""
    try:
        if os.write(handle, text) != len(text):  # a disk may take a part of it
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    except OSError:
        path.unlink(missing_ok=True)
        raise


def release(part: Path) -> None:
    """This process writes it no more. Harmless where it did not: the record of another one, who began since, stays."""
    with contextlib.suppress(FileNotFoundError, msgspec.DecodeError, UnicodeError):
        path = owner_path(part)
        if msgspec.json.decode(read_beside(path), type=Owner) == _self():
            path.unlink()


def remove_record(part: Path) -> None:
    """Nobody writes it any more, whoever did: only for who has its series. Harmless where there is none."""
    with contextlib.suppress(FileNotFoundError):
        owner_path(part).unlink()


def living_owner(part: Path) -> str | None:
    """Who is writing `part`, for people; None: nobody who lives.

    Of a process on another host nobody knows, so it counts as living.
    """
    path = owner_path(part)
    try:
        data, age = read_beside(path), time.time() - path.stat().st_mtime
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
