"""A second place for data files, for when their destination takes none: a folder for each series in a spill directory.

    SPILL/<stem>.<id>/home.json                         where they belong, written before the first of them;
                                                        home.finished.json when the series is over
    SPILL/<stem>.<id>/.<stem>_data_000004.h5.part ...   the data files, under the names that they have before they are
                                                        published

They are moved home when the series is over (`homecoming.py`). Of a series that was killed they are copied home by its
recovery (`spilled_members.py`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.block_file import BlockLayout
from maxdaq_tango.files.paths import give_name, sync_directory
from maxdaq_tango.files.troubles import errno_of
from maxdaq_tango.files.whereabouts import folder_at

POINTER = "home.json"
FINISHED = "home.finished.json"
"""Name of the pointer when its series is over, and its data files are part of a whole one."""
ID_DIGITS = 12
_FOLDER = re.compile(rf".+\.[0-9a-f]{{{ID_DIGITS}}}", re.ASCII | re.DOTALL)
LONGEST_STEM = 100
"""Bytes in the name of a folder; what makes it unique is the id."""
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
BESIDE_PIXELS_BYTES = 2 << 20
"""Of a data file: what it begins with, and the least that it holds back for its end."""
BESIDE_A_FRAME_BYTES = 1 << 10
"""Its place in log, index and columns, and again in the room held back."""


class Home(msgspec.Struct, frozen=True, kw_only=True):
    """Where the data files of a folder belong."""

    master_part: str
    """Absolute path of the unfinished master."""


def check_spill_directory(path: str) -> None:
    """FileError when nothing can be put there."""
    if not path:
        return
    asked, accepted = f"use the spill directory {path!r}", "the absolute path of a folder that this process may write"
    if not os.path.isabs(path):
        raise FileError(asked, answer="the path is not absolute", accepted=accepted)
    if not os.path.isdir(path):
        raise FileError(asked, answer="there is no such folder", accepted=accepted)
    if not os.access(path, os.W_OK | os.X_OK):
        raise FileError(asked, answer=os.strerror(errno.EACCES), accepted=accepted)


def folder_of_series(directory: str, stem: str) -> str:
    """A name that no other series has; nothing is made."""
    short = stem.encode().lstrip(b".")[:LONGEST_STEM].decode(errors="ignore") or "series"
    return os.path.join(os.path.realpath(directory), f"{short}.{uuid.uuid4().hex[:ID_DIGITS]}")


def spilled_layout(layout: BlockLayout) -> BlockLayout:
    """The same for data files in the spill directory, where the folder is made and marked. FileError, OSError.

    The spill directory itself is not made: it may be a file system that is not mounted.
    """
    folder = Path(layout.spill_folder)
    check_spill_directory(str(folder.parent))
    with folder_at(folder, make=True):
        pass
    pointer = folder / POINTER
    if not pointer.exists():
        fresh = folder / f".{POINTER}-{uuid.uuid4().hex[:ID_DIGITS]}.new"
        try:
            with open(fresh, "xb") as out:
                out.write(msgspec.json.encode(Home(master_part=layout.master_part)))
                out.flush()
                os.fsync(out.fileno())
            with contextlib.suppress(FileExistsError):  # another process of this series was faster
                give_name(fresh, pointer)
        finally:
            fresh.unlink(missing_ok=True)
        sync_directory(folder)
        sync_directory(folder.parent)
    return msgspec.structs.replace(layout, folder=str(folder), spill_folder="")


def lacks_room(layout: BlockLayout, block: int, open_files: int) -> str:
    """Why the destination has no room for another data file; "" = it has, as far as it says. Raises nothing.

    `open_files` are being written there and need as much.
    """
    frame_nbytes = (layout.stored_nbytes or layout.format.nbytes) + BESIDE_A_FRAME_BYTES
    needed = (frame_nbytes * layout.rows_of(block) + BESIDE_PIXELS_BYTES) * (open_files + 1)
    try:
        status = os.statvfs(layout.folder)
    except OSError:  # whoever makes the file meets it again, and tells it
        return ""
    free = status.f_bavail * status.f_frsize
    if free >= needed:
        return ""
    return f"{layout.folder} has {free / 1e6:.3g} MB of room, and {needed / 1e6:.3g} MB are needed"


def refusal(error: FileError) -> str:
    """Why a data file could not be made, if for want of room; "" = something else is wrong, and spilling no cure."""
    return f"{error.asked}: {error.answer}" if errno_of(error.__cause__) in NO_ROOM else ""


def home_of(folder: Path) -> Path | None:
    """The unfinished master to which the data files in a folder belong; None: it is no folder of ours. FileError."""
    pointer = folder / (FINISHED if is_finished(folder) else POINTER)
    try:
        return Path(msgspec.json.decode(pointer.read_bytes(), type=Home).master_part)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.DecodeError, UnicodeError) as error:
        raise FileError(f"read where the files of {folder} belong", of=str(pointer), answer=str(error)) from error


def is_finished(folder: Path) -> bool:
    """The series is over: its data files are whole, and belong to a master that is."""
    return os.path.lexists(folder / FINISHED)


def mark_finished(folder: Path) -> None:
    """From now on `is_finished`. It needs no room. Raises nothing: while the list is there, it says the same."""
    with contextlib.suppress(OSError):
        if not is_finished(folder):
            os.rename(folder / POINTER, folder / FINISHED)
            sync_directory(folder)


def folders_of(directory: Path) -> Iterator[Path]:
    """Folders of series in a spill directory, or the directory itself where it is one.

    Anybody may have a file of that name in a folder. So one whose name we would not have given counts where the file in
    it is a word of ours; of the others also one that is damaged.
    """
    pointers = (POINTER, FINISHED)
    if any((directory / name).exists() for name in pointers) and _is_ours(directory):
        yield directory
    elif directory.is_dir():
        folders = {found.parent for name in pointers for found in directory.glob(f"*/{name}")}
        yield from sorted(filter(_is_ours, folders))


def _is_ours(folder: Path) -> bool:
    if _FOLDER.fullmatch(folder.name):
        return True
    with contextlib.suppress(FileError):
        return home_of(folder) is not None
    return False


def tidy(folder: Path) -> None:
    """Remove a folder in which nothing is left but the word where it belonged. Raises nothing."""
    with contextlib.suppress(OSError, ValueError):  # there is more than one
        (name,) = os.listdir(folder)
        if name in (POINTER, FINISHED):
            (folder / name).unlink()
            folder.rmdir()
