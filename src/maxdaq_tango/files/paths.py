"""Where a file may lie.

A receiver runs with rights on a whole beamline's storage and takes names from clients and streams, so a path is only
accepted under one of the allowed roots, after symbolic links and `..` are resolved. A file is written as
`.<name>.part` beside its final name, created exclusively, and renamed when it is finished: an existing file is never
appended to, truncated or replaced.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.whereabouts import folder_at

MOST_NAMES = 10_000
"""Looked for, before a folder is taken for hopeless."""
SUFFIXES = (".h5", ".hdf5", ".nxs", ".hdf")


@dataclass(frozen=True, slots=True)
class Destination:
    """A checked place for one file."""

    final: Path
    part: Path
    """The name while it is being written."""


def resolve_destination(path: str, roots: Sequence[str], *, overwrite: bool = False) -> Destination:
    """Check `path` against the roots and against what is there already; makes nothing.

    Raises FileError naming the path, the root or file in the way, and what would be accepted.
    """
    asked = f"write the file {path!r}"
    if "\0" in path or not path:
        raise FileError(asked, answer="not a file name", accepted="an absolute path ending in " + ", ".join(SUFFIXES))
    try:
        path.encode()
    except UnicodeEncodeError as error:  # a name of other bytes could not be told in the receipt, nor to any client
        raise FileError(f"write the file {path!a}", answer=str(error.reason), accepted="a name in UTF-8") from None
    final = Path(path)
    if not final.is_absolute():
        raise FileError(asked, answer="the path is not absolute", accepted=_roots_text(roots))
    if final.suffix not in SUFFIXES:
        raise FileError(asked, answer=f"unknown suffix {final.suffix!r}", accepted=", ".join(SUFFIXES))
    real = Path(os.path.realpath(final.parent)) / final.name
    if not any(_is_under(real, Path(os.path.realpath(root))) for root in roots):
        raise FileError(asked, answer="the path is outside the allowed roots", accepted=_roots_text(roots))
    part = real.with_name(f".{real.name}.part")
    try:
        os.lstat(part)
    except FileNotFoundError:
        pass
    except OSError as error:  # too long a name, a file where a folder should be, no permission to look
        answer = error.strerror or str(error)
        raise FileError(asked, answer=answer, accepted="a name that the file system takes") from None
    if not overwrite and os.path.lexists(real):
        raise FileError(
            asked, answer="the file exists", accepted="another name, or DestinationFileOverwritable (--overwrite)"
        )
    if real.is_dir():
        raise FileError(asked, answer="there is a folder of that name", accepted="another name")
    return Destination(real, part)


def make_way(destination: Destination) -> None:
    """Missing folders are made; FileError when an unfinished file of that name exists already."""
    with folder_at(destination.part.parent, make=True):
        pass
    refuse_unfinished(destination)


def refuse_unfinished(destination: Destination) -> None:
    """FileError when somebody is writing a file of that name, or has left it."""
    if destination.part.exists():
        raise FileError(
            f"create the file {destination.final}",
            of=str(destination.part),
            answer="an unfinished file of that name exists: another run is writing it, or one died",
            accepted="another name; or recover or move the .part file first",
        )


def move_aside(path: Path) -> Path | None:
    """Make room for a new file by giving the old one a numbered name; returns it, or None when nothing was there."""
    if not path.exists():
        return None
    for number in range(1, MOST_NAMES):
        aside = path.with_name(f"{path.stem}.old{number}{path.suffix}")
        try:
            give_name(path, aside)
        except FileExistsError:
            continue
        return aside
    raise FileError(f"move {path} aside", answer=f"{MOST_NAMES} older versions exist", accepted="another name")


def first_free(asked: str, name: Callable[[int], Path]) -> Path:
    """The first of `name(1)`, `name(2)` ... that is not there. FileError after MOST_NAMES."""
    for number in range(1, MOST_NAMES + 1):
        if not os.path.lexists(path := name(number)):
            return path
    raise FileError(asked, answer=f"{MOST_NAMES} files of that name exist", accepted="another name")


NO_HARD_LINKS = frozenset({errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


def give_name(path: Path, name: Path) -> None:
    """Rename, but never over what is there already: FileExistsError then. OSError; then it has its old name alone."""
    try:
        os.link(path, name)
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        # A file system without hard links: between look and rename somebody could take the name, for microseconds.
        if os.path.lexists(name):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(name)) from None
        os.rename(path, name)
    else:
        _take_old_name(path, name)


def sync_directory(folder: Path) -> None:
    """Make a rename or a new name in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _take_old_name(path: Path, name: Path) -> None:
    """Of a file that has both. Where that cannot be done the new one goes: whoever asked is told that it has it not."""
    try:
        path.unlink()
    except OSError:
        try:
            old = os.lstat(path)
        except FileNotFoundError:
            return  # it was done, whatever a server has said
        if os.path.samestat(old, os.lstat(name)):
            os.unlink(name)
        raise


def _is_under(path: Path, root: Path) -> bool:
    return path != root and path.is_relative_to(root)


def _roots_text(roots: Sequence[str]) -> str:
    if not roots:
        return "nothing: no roots are configured (property Roots)"
    return "an absolute path under " + " or ".join(roots)


def is_one(path: Path, name: Path) -> bool:
    """Whether both are names of one file; False where one of them is not there."""
    with contextlib.suppress(OSError):
        return path.samefile(name)
    return False
