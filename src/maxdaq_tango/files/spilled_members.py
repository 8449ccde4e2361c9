"""Data files of a killed series that are in the spill directory: a recovery copies them to where they belong.

The unfinished master says in which folder they may be, and the pointer in that folder which master it is of: only where
both agree anything there is touched.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import h5py

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.killed_series import UNREADABLE, KilledSeries
from maxdaq_tango.files.layout import SPILL_FOLDER
from maxdaq_tango.files.ownership import living_owner
from maxdaq_tango.files.receipt import find_detector
from maxdaq_tango.files.search import is_part
from maxdaq_tango.files.side_files import remove_side_files
from maxdaq_tango.files.spill import home_of, tidy

OWNER = ".owner"


def spill_folder_of(master: Path) -> Path | None:
    """Where data files of this master may be; None: nowhere. FileError when nobody can know, and what else h5py
    raises."""
    named = _named_in(master)
    if named is None:
        return None
    if not os.path.isdir(named.parent):
        raise FileError(
            f"recover the series of {master}",
            of=str(named.parent),
            answer="data files of it may be in this spill directory, which is not there",
            accepted="the spill directory as it was, mounted; or the master moved away, and each data file recovered by"
            " itself",
        )
    home = home_of(named)
    return named if home == Path(os.path.realpath(master.parent), master.name) else None


def spilled_parts(series: KilledSeries, folder: Path | None) -> dict[int, Path]:
    """Unfinished data files there, by block."""
    if folder is None:
        return {}
    found = dataclasses.replace(series.names, folder=folder).existing()
    return {block: path for block, path in found if path.name.startswith(".") and not path.is_symlink()}


def spilling_owner(folder: Path | None) -> str | None:
    """Who is writing any of them, for people; None: nobody who lives."""
    names = sorted(os.listdir(folder)) if folder is not None and folder.is_dir() else []
    owners = (living_owner(Path(folder or "", name.removesuffix(OWNER))) for name in names if name.endswith(OWNER))
    return next((owner for owner in owners if owner is not None), None)


def master_at_home(part: Path) -> Path | None:
    """The unfinished master to which a data file in the spill directory belongs; None: it is no such file."""
    folder = Path(os.path.realpath(part.parent))
    try:
        home = home_of(folder)
    except FileError:
        return None
    if home is None or not is_part(home.name) or not home.is_file():
        return None
    try:
        return home if spill_folder_of(home) == folder else None
    except UNREADABLE:  # it may have been left half-changed, and is put back before it is asked again
        return home


def remove_spilled(part: Path) -> None:
    """One whose frames were copied, and read where they are now. OSError."""
    part.unlink()
    remove_side_files(part)
    tidy(part.parent)


def _named_in(master: Path) -> Path | None:
    with h5py.File(master, "r", locking=False) as file:
        value = find_detector(file)["daq"].attrs.get(SPILL_FOLDER, b"")
    folder = Path(os.fsdecode(value))
    return folder if folder.is_absolute() and os.path.realpath(folder) == str(folder) else None
