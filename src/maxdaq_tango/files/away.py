"""Which data files of a finished series are in the spill directory: `.<name>.part.away`, beside its unfinished master.

From the end of the series until the last of them is home (`homecoming.py`). The list lies at home, and not beside the
spilled files, as a full spill directory would have no room for it. What is there as well is a word that needs no room:
the pointer of the folder has another name from then on (`spill.FINISHED`), so that nobody takes data files of a whole
series for those of a killed one when their home is not mounted.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import h5py
import msgspec

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.layout import FILE_ID
from maxdaq_tango.files.paths import give_name, move_aside, sync_directory
from maxdaq_tango.files.side_files import away_path
from maxdaq_tango.files.spill import FINISHED, POINTER, home_of, is_finished


class AwayFile(msgspec.Struct, frozen=True, kw_only=True):
    """One data file."""

    name: str
    """That it gets, beside the master."""
    source: str
    """Its name in the folder of the series."""
    nbytes: int


class Away(msgspec.Struct, frozen=True, kw_only=True):
    """Data files of one series that are not beside their master."""

    folder: str
    """Of the series, in the spill directory."""
    master: str
    """Name that the master gets."""
    files: tuple[AwayFile, ...]
    master_id: str = ""
    """FILE_ID of the master: its name may be that of an older one."""


def keep_away(part: Path, away: Away) -> None:
    """From now on `bring_home` has the series. The list appears whole and for good, or not at all. OSError.

    One that lies there is of an earlier file of this name, which is not there any more: it is moved aside.
    """
    path = away_path(part)
    fresh = path.with_name(f".away-{uuid.uuid4().hex[:16]}.new")  # short: the name may be as long as it can be
    try:
        with open(fresh, "xb") as out:
            out.write(msgspec.json.format(msgspec.json.encode(away), indent=1) + b"\n")
            out.flush()
            os.fsync(out.fileno())
        move_aside(path)
        give_name(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    try:
        sync_directory(path.parent)
    except OSError:
        path.unlink(missing_ok=True)  # whoever is told that it failed takes the names of the other data files back
        raise


def read_away(part: Path) -> Away | None:
    """None: there is none. FileError when it is damaged, or leads elsewhere."""
    path = away_path(part)
    asked = f"read which data files of {part} are in the spill directory"
    try:
        away = msgspec.json.decode(path.read_bytes(), type=Away)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise FileError(asked, of=str(path), answer=str(error)) from error
    names = [away.master, *(name for file in away.files for name in (file.name, file.source))]
    if strange := [name for name in names if name != os.path.basename(name) or name in ("", ".", "..")]:
        raise FileError(asked, of=str(path), answer=f"{strange[0]!r} is no name of a file")
    return away


def is_being_moved(part: Path) -> str:
    """Why a recovery leaves it alone: it waits for data files in the spill directory, or is one. "" = neither.

    What cannot be read, or is not there, may be a file system that is not mounted: what belongs to a whole series is
    not taken out of it for that.
    """
    folder = Path(os.path.realpath(part.parent))
    try:
        away = read_away(part)
        if away is not None and _is_of(away, part):
            gone = "" if os.path.isdir(away.folder) else ", which is not there"
            return f"{len(away.files)} of its data files are being moved here from {away.folder}{gone}"
        home = _home_of(folder)
        away = read_away(home) if home is not None else None
    except FileError as error:
        return f"whether it is being moved cannot be known: {error}"
    if home is None:
        return ""
    if away is not None and os.path.realpath(away.folder) == str(folder):
        return f"it is being moved to {home.parent}" if any(file.source == part.name for file in away.files) else ""
    if is_finished(folder):
        return (
            f"it belongs to {home}, which is whole and not there with its list; where that is lost for good, {FINISHED}"
            f" with the name {POINTER} lets it be recovered here"
        )
    if not os.path.isdir(home.parent):
        return f"it belongs to {home}, and that folder is not there; without {POINTER} it can be recovered here"
    return ""


def file_id(path: Path) -> str:
    """FILE_ID of a file of ours; "" where it cannot be read, or has none."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            value = file.attrs.get(FILE_ID, b"")
            return value.decode() if isinstance(value, bytes) else ""
    except (OSError, RuntimeError, ValueError, KeyError):
        return ""


# ---- inside ----


def _is_of(away: Away, part: Path) -> bool:
    """Whether the list is of this master, as far as can be seen."""
    return not away.master_id or file_id(part) in ("", away.master_id)


def _home_of(folder: Path) -> Path | None:
    """As `home_of`; somebody's file that only has the name of our pointer is none."""
    try:
        return home_of(folder)
    except FileError as error:
        if is_finished(folder) or isinstance(error.__cause__, OSError):
            raise
        return None
