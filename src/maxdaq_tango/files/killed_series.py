"""What belongs to the unfinished master of a series in blocks, and whether anybody is still writing it.

Names say where to look, the master's id (`layout.MASTER_ID`) what is found: an older series of the same name may lie
beside a killed one.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.block_file import LOW, PIXELS
from maxdaq_tango.files.block_names import MASTER, BlockNames
from maxdaq_tango.files.closed_state import state_path
from maxdaq_tango.files.enclosed import refuse_led_elsewhere
from maxdaq_tango.files.frame_log import log_path
from maxdaq_tango.files.layout import FRAMES_PER_FILE, MASTER_ID
from maxdaq_tango.files.manifest import manifest_path
from maxdaq_tango.files.ownership import living_owner
from maxdaq_tango.files.paths import give_name
from maxdaq_tango.files.receipt import find_detector
from maxdaq_tango.files.whereabouts import read_beside

UNREADABLE = (OSError, FileError, KeyError, RuntimeError, ValueError, TypeError, AttributeError)
"""What h5py raises, and we, when a file is not what it should be."""
STAND_IN = ".stand_in"
"""Beside the data file that is not there, or cannot be used: what takes its place, until it gets its name."""
_DATA = re.compile(r"\.(.+)_data_\d{6}(\.[^.]+)\.part", re.ASCII | re.DOTALL)


def master_of(part: Path) -> Path | None:
    """The unfinished master that `part` is, or is a data file of by its name; None: neither."""
    candidates = [part]
    if found := _DATA.fullmatch(part.name):
        stem, suffix = found.groups()
        candidates = [*(part.with_name(f".{stem}{ending}{suffix}.part") for ending in (MASTER, "")), part]
    return next((one for one in candidates if _is_master(one)), None)


def _is_master(part: Path) -> bool:
    if part.is_symlink() or not part.is_file():
        return False
    try:
        with h5py.File(part, "r", locking=False) as file:
            refuse_led_elsewhere(file, part, joined=True)
            return FRAMES_PER_FILE in find_detector(file)["daq"].attrs
    except UNREADABLE:  # also of every file that is being written; a master may have been left half-changed
        with contextlib.suppress(OSError):
            return FRAMES_PER_FILE.encode() in read_beside(state_path(part))
    return False


def master_id(file: h5py.File) -> str:
    """That a data file tells; "" for any other file."""
    value = file.attrs.get(MASTER_ID, b"")
    return value.decode() if isinstance(value, bytes) else ""


@dataclass(frozen=True, slots=True)
class KilledSeries:
    """The files of one unfinished master."""

    master: Path
    names: BlockNames

    @classmethod
    def of(cls, master: Path) -> KilledSeries:
        """Of a `.part` file."""
        return cls(master, BlockNames.of(master.with_name(master.name[1:].removesuffix(".part"))))

    def parts(self) -> dict[int, Path]:
        """Unfinished data files by block. Links are none of ours."""
        return {
            block: path for block, path in self.names.existing() if path.name.startswith(".") and not path.is_symlink()
        }

    def part(self, block: int) -> Path:
        """Where the unfinished data file of a block is, if it is there."""
        return self.names.destination(block).part

    def published(self, id: str, block_rows: int) -> dict[int, Path]:
        """Data files that have a name already, by block: only those of the master with this id."""
        pattern = re.compile(
            rf"{re.escape(self.names.stem)}(_.*)?_data_\d{{6}}{re.escape(self.names.suffix)}", re.ASCII | re.DOTALL
        )
        found: dict[int, Path] = {}
        for name in sorted(os.listdir(self.names.folder)):
            if not pattern.fullmatch(name):
                continue
            path = self.names.folder / name
            with contextlib.suppress(*UNREADABLE), h5py.File(path, "r", locking=False) as file:
                refuse_led_elsewhere(file, path)
                if master_id(file) == id:
                    found.setdefault((int(file[PIXELS].attrs[LOW]) - 1) // block_rows, path)
        return found

    def living_owner(self) -> str | None:
        """Who is writing any file of it, or is about to make one, for people; None: nobody who lives."""
        for path in self._owned():
            owner = living_owner(path)
            if owner is not None:
                return f"{owner} is writing {'it' if path == self.master else path.name}"
        return None

    def _owned(self) -> Iterator[Path]:
        yield self.master
        pattern = re.compile(
            rf"\.{re.escape(self.names.stem)}_data_\d{{6}}{re.escape(self.names.suffix)}\.part\.owner",
            re.ASCII | re.DOTALL,
        )
        for name in sorted(os.listdir(self.names.folder)):
            if pattern.fullmatch(name):
                yield self.names.folder / name.removesuffix(".owner")

    def recovered_names(self, number: int) -> BlockNames:
        """`X_recovered_master.h5` and its data files, or with a number where these are taken."""
        names = self.names
        stem = f"{names.stem}_recovered{f'_{number}' if number else ''}"
        return BlockNames(names.folder, stem, names.suffix, names.master_ending)


def stand_in_of(part: Path) -> Path:
    """See STAND_IN."""
    return part.with_name(part.name + STAND_IN)


def move_beside(part: Path, final: Path) -> None:
    """What lay beside an unfinished file lies beside the one that it has become. It is kept. OSError."""
    for beside in (log_path(part), state_path(part), manifest_path(part)):
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            give_name(beside, final.with_name(f".{final.name}{beside.name.removeprefix(part.name)}"))


def other_name(part: Path) -> Path | None:
    """Another name in the folder for the same file: a kill came between giving it and taking this one. OSError."""
    status = part.stat()
    if status.st_nlink < 2:
        return None
    with os.scandir(part.parent) as entries:
        for entry in entries:
            if entry.name != part.name and entry.inode() == status.st_ino and not entry.is_symlink():
                return Path(entry.path)
    return None
