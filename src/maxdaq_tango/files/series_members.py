"""What the data files of a killed series hold, each by itself: which frames, in which rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  (registers the read filters)
import numpy as np
import numpy.typing as npt

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.block_file import LOW
from maxdaq_tango.files.closed_state import keep_state, put_back, state_path
from maxdaq_tango.files.columns import CHECKSUM, NUMBER
from maxdaq_tango.files.enclosed import refuse_led_elsewhere
from maxdaq_tango.files.killed_series import UNREADABLE, KilledSeries, master_id
from maxdaq_tango.files.layout import EXPECTED, FILE_ID, FRAMES_PER_FILE
from maxdaq_tango.files.receipt import find_detector
from maxdaq_tango.files.recovery import recover_part
from maxdaq_tango.files.reserve import remove_reserve
from maxdaq_tango.files.series_publication import VALID, digest
from maxdaq_tango.files.stored_chunks import StoredChunks
from maxdaq_tango.files.troubles import may_pass


@dataclass(frozen=True, slots=True)
class Head:
    """What the master knew before the first frame."""

    id: str
    detector: str
    software: str
    block_rows: int
    expected: int | None


@dataclass(frozen=True, slots=True)
class Member:
    """One data file."""

    block: int
    path: Path
    published: bool
    """It has its name, or is in the spill directory: nothing is changed in it, nor does it get another name."""
    valid: npt.NDArray[np.bool_]
    """Of the rows that belong to its block: they hold a frame, and it is the right one."""
    numbers: npt.NDArray[np.uint64]
    """Frame number of each row."""
    left_out: tuple[tuple[int, int], ...]
    """(row, frame number as it is told) of rows whose pixels are not what was written."""
    as_it_is: bool
    """Every row is a frame or blank, and says which."""
    room: int
    """Rows that it can have."""


@dataclass(frozen=True, slots=True)
class Members:
    """All that was found."""

    by_block: dict[int, Member]
    damaged: dict[Path, str]
    """Unfinished ones that cannot be used, and why."""
    empty: list[Path]
    """Unfinished ones that were never laid out."""
    foreign: list[Path]
    """Of another series."""


def take_back_master(master: Path) -> Head | None:
    """The master is as it was before anybody joined data files in it; None: it is no master. OSError, FileError.

    Its state is kept beside it before anything is changed, so all of that can be repeated.
    """
    remove_reserve(master)
    put_back(master)
    with h5py.File(master, "r", locking=False) as file:
        refuse_led_elsewhere(file, master, joined=True)
        group = find_detector(file)
        attributes = group["daq"].attrs
        if FRAMES_PER_FILE not in attributes:
            return None
        if "data" in group:
            raise FileError(
                f"join the data files of {master}",
                of=str(master),
                answer=f"it joins some already, and {state_path(master).name} of before is not there",
                accepted="all that lay beside it; or move it away, and recover each data file by itself",
            )
        head = Head(
            id=file.attrs[FILE_ID].decode(),
            detector=group.name.rpartition("/")[2],
            software=file.attrs["creator"].decode(),
            block_rows=int(attributes[FRAMES_PER_FILE]),
            expected=int(attributes.get(EXPECTED, 0)) or None,
        )
    if not state_path(master).exists():
        keep_state(master, f"/entry/instrument/{head.detector}/data")
    return head


def find_members(series: KilledSeries, head: Head, spilled: Mapping[int, Path]) -> Members:
    """Each unfinished data file is made whole, with its rows as they came; those with a name are only looked at.

    `spilled` are unfinished ones by block, in the spill directory. Whatever says that it cannot be done now, and not
    that a file is damaged, is raised: see `troubles.may_pass`.
    """
    found = Members({}, {}, [], [])
    for block, part in [*series.parts().items(), *spilled.items()]:
        try:
            remove_reserve(part)
            completed = recover_part(part)
            member = _read_part(part, block, head, completed.numbers, found)
        except UNREADABLE as error:
            if may_pass(error):
                raise
            found.damaged[part] = str(error)
            continue
        if member is not None and block not in found.by_block:
            found.by_block[block] = replace(member, published=part == spilled.get(block))
    for block, path in series.published(head.id, head.block_rows).items():
        if block not in found.by_block:
            try:
                found.by_block[block] = _read_published(path, block, head)
            except UNREADABLE as error:
                if may_pass(error):
                    raise
                found.damaged[path] = str(error)
    return found


def firsts_of(members: Members, head: Head) -> set[int]:
    """The frame number of row 0 of the series, as each row tells it: several where rows go round.

    A number may have been lost on its way to the disk where the pixels were not, and be 0: it tells nothing, unless
    there is no other.
    """
    told: dict[bool, set[int]] = {True: set(), False: set()}
    for member in members.by_block.values():
        rows = np.flatnonzero(member.valid)
        for row, number in zip(rows.tolist(), member.numbers[rows].tolist(), strict=True):
            told[number != 0].add(number - row - member.block * head.block_rows)
    return told[True] or told[False]


def wrong_numbers(members: Members, head: Head, first: int | None) -> tuple[int, ...]:
    """Of the frames that are left out, as far as they are known. `first` is that of row 0, None: it is not known.

    The row says which frame it is: what is told beside pixels that are wrong may be as wrong. But before the rows of a
    sender were turned that does not count from 0, those of its second round are not where they will be.
    """
    numbers: set[int] = set()
    for member in members.by_block.values():
        for inside, told in member.left_out:
            row = member.block * head.block_rows + inside
            round_again = told and head.expected and told % head.expected == row
            if first is not None and not round_again:
                numbers.add(first + row)
            elif told or row == 0:
                numbers.add(told)
    if first is not None:
        for member in members.by_block.values():
            numbers.difference_update((np.flatnonzero(member.valid) + first + member.block * head.block_rows).tolist())
    return tuple(sorted(numbers))


def _read_part(
    part: Path, block: int, head: Head, left_out: tuple[tuple[int, int], ...], found: Members
) -> Member | None:
    with h5py.File(part, "r", locking=False) as file:
        group = find_detector(file) if len(file) else None
        if group is None or "data" not in group or LOW not in group["data"].attrs:
            found.empty.append(part)
            return None
        if master_id(file) != head.id:
            found.foreign.append(part)
            return None
        data, size = group["data"], head.block_rows
        return Member(
            block=block,
            path=part,
            published=False,
            valid=group[VALID][:size].astype(bool),
            numbers=group[NUMBER][:size],
            left_out=left_out,
            as_it_is=False,
            room=min(size, data.maxshape[0]),
        )


def _read_published(path: Path, block: int, head: Head) -> Member:
    """Of a file that nobody changes any more: what it says is believed where the pixels agree."""
    with h5py.File(path, "r", locking=False) as file:
        refuse_led_elsewhere(file, path)
        group = find_detector(file)
        size = head.block_rows
        valid = group[VALID][:size].astype(bool)
        checksums, numbers = group[CHECKSUM][...], group[NUMBER][:size]
        left_out: list[int] = []
        with StoredChunks(group["data"]) as chunks:
            for row in np.flatnonzero(valid):
                try:
                    right = chunks.has(int(row)) and digest(chunks, int(row)) == int(checksums[row])
                except OSError:
                    right = False
                if not right:
                    left_out.append(int(row))
            whole = not left_out and all(chunks.has(row) for row in range(len(valid)))
        valid[left_out] = False
        counted = bool((np.diff(numbers.astype(np.int64)) == 1).all())
        return Member(
            block=block,
            path=path,
            published=True,
            valid=valid,
            numbers=numbers,
            left_out=tuple(zip(left_out, numbers[left_out].tolist(), strict=True)),
            as_it_is=whole and counted and len(valid) == group["data"].shape[0],
            room=len(valid),
        )
