"""Names of the data files of a series that is stored in blocks, and how many frames a block has.

    X_master.h5 (or X.h5)   the destination: the master
    X_data_000001.h5 ...    the data files, DECTRIS' names, counted from 1; blocks are counted from 0 everywhere else

Readers find the file of a frame by division and the file's name by its number, so every block but the last has the same
number of frames and the number six digits.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.paths import Destination
from maxdaq_tango.model import MOST_FRAMES_PER_FILE

MOST_FILES = 999_999
"""Six digits."""
LEAST_BLOCK_FRAMES, LARGEST_CHOICE = 10, 100_000
"""Of what is chosen here. A file costs some ten milliseconds, whatever is in it."""
GOOD_FILE_COUNT = 500
"""HDF5 keeps open what it has read of a virtual dataset, and where it can open no more (1024 is the usual limit of a
process) it reads blanks without a word (measured)."""
MASTER = "_master"
LONGEST_ENDING = ".checkpoint.new"
"""Of what lies beside an unfinished file."""


@dataclass(frozen=True, slots=True)
class BlockNames:
    """The names that belong to one master."""

    folder: Path
    stem: str
    suffix: str
    master_ending: str
    """`_master`, or nothing where the destination was named without it."""

    @classmethod
    def of(cls, final: Path) -> BlockNames:
        """Of the destination that somebody named."""
        ending = MASTER if final.stem.endswith(MASTER) and final.stem != MASTER else ""
        return cls(final.parent, final.stem.removesuffix(ending), final.suffix, ending)

    @property
    def master(self) -> Path:
        """Where the master lies."""
        return self.folder / f"{self.stem}{self.master_ending}{self.suffix}"

    def name(self, block: int) -> str:
        """Of a data file, as the master refers to it; FileError when the numbers are used up."""
        if block >= MOST_FILES:
            raise FileError(
                f"store block {block + 1} of {self.master}",
                answer=f"a master has {MOST_FILES} data files at most",
                accepted="more frames a file (FramesPerFile, --frames-per-file)",
            )
        return f"{self.stem}_data_{block + 1:06d}{self.suffix}"

    def destination(self, block: int) -> Destination:
        """Of a data file."""
        name = self.name(block)
        return Destination(self.folder / name, self.folder / f".{name}.part")

    def other(self, number: int) -> BlockNames:
        """The same with a number, for when these are taken."""
        return BlockNames(self.folder, f"{self.stem}_{number}", self.suffix, self.master_ending)

    def existing(self) -> Iterator[tuple[int, Path]]:
        """(block, path) of every data file, finished or not, that lies there already."""
        pattern = re.compile(
            rf"\.?{re.escape(self.stem)}_data_(\d{{6}}){re.escape(self.suffix)}(\.part)?", re.ASCII | re.DOTALL
        )
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return
        for name in sorted(names):
            found = pattern.fullmatch(name)
            if found and name.startswith(".") == bool(found[2]):
                yield int(found[1]) - 1, self.folder / name

    def refuse_existing(self, block_count: int | None, *, overwrite: bool) -> None:
        """FileError when a data file of these names is in the way, as far as their number is known."""
        asked = f"write {self.master} in blocks"
        for block, path in self.existing():
            if block_count is not None and block >= block_count:
                continue
            if path.name.startswith("."):
                raise FileError(
                    asked,
                    of=str(path),
                    answer="an unfinished data file of that name exists: another run is writing it, or one died",
                    accepted="another name; or recover or move the .part file first",
                )
            if not overwrite:
                raise FileError(
                    asked,
                    of=str(path),
                    answer="the data file exists",
                    accepted="another name, or DestinationFileOverwritable (--overwrite)",
                )
        longest = self.destination(0).part
        try:
            os.lstat(longest.with_name(longest.name + LONGEST_ENDING))
        except FileNotFoundError:
            pass
        except OSError as error:
            answer = error.strerror or str(error)
            raise FileError(asked, answer=answer, accepted="a name that the file system takes") from None


def count_blocks(rows: int, block_rows: int) -> int:
    """Blocks that so many rows need."""
    return -(-rows // block_rows)


def choose_block_rows(frame_nbytes: int, rows: int | None, ahead_nbytes: int, writers: int) -> tuple[int, str]:
    """Frames a file, and why, when nobody has said it.

    `frame_nbytes` as stored, `rows` if their number is known; `writers` processes take blocks in turn, and each
    may be `ahead_nbytes` behind. A stream fills one block after the other, so all write at the same time only if a
    writer still has work when its block is full: of n writers a block may have n/(n - 1) times what one may be behind.
    """
    nbytes = ahead_nbytes * writers // max(1, writers - 1)
    chosen = _rounded(min(LARGEST_CHOICE, max(LEAST_BLOCK_FRAMES, nbytes // max(1, frame_nbytes))))
    reason = f"about {chosen * frame_nbytes / 1e6:.3g} MB each, so that {writers} writers have work at the same time"
    if chosen * frame_nbytes > nbytes:
        reason = (
            f"the least that is worth a file; {writers} writers wait for each other, with more memory they would not"
        )
    return _not_too_many(chosen, reason, rows)


def choose_spilled_rows(frame_nbytes: int, rows: int | None, ahead_nbytes: int) -> tuple[int, str]:
    """The same where data files can be spilled: only a whole one can, so a process must be able to be one behind.

    Half of what it may be behind, as the stall can begin at any place of a file.
    """
    chosen = _rounded(min(LARGEST_CHOICE, max(LEAST_BLOCK_FRAMES, ahead_nbytes // 2 // max(1, frame_nbytes))))
    reason = f"about {chosen * frame_nbytes / 1e6:.3g} MB each, so that one that stalls fits into memory"
    if chosen == LEAST_BLOCK_FRAMES:
        reason = "the least that is worth a file"
    return _not_too_many(chosen, reason, rows)


def _not_too_many(chosen: int, reason: str, rows: int | None) -> tuple[int, str]:
    if rows is not None and count_blocks(rows, chosen) > GOOD_FILE_COUNT:
        while count_blocks(rows, chosen) > GOOD_FILE_COUNT and chosen < MOST_FRAMES_PER_FILE:
            chosen = _next(chosen)
        reason = f"{GOOD_FILE_COUNT} files at most for {rows} frames"
    return chosen, reason


def _rounded(count: int) -> int:
    """Down to 1, 2 or 5 times a power of ten: people divide by it."""
    power: int = 10 ** (len(str(count)) - 1)
    return max(step * power for step in (1, 2, 5) if step * power <= count)


def _next(count: int) -> int:
    first = int(str(count)[0])
    return count * 5 // 2 if first == 2 else count * 2
