"""A series in blocks that was killed becomes a master and data files again, with one account of all frames.

    1  whole already, and only without all of its names: they are given (`series_publication.py`)
    2  every data file is made whole by itself, without what is wrong in it (`series_members.py`)
    3  it gets the rows that its place in the series asks for: blank where no frame is; where a whole file is missing,
       damaged, of another shape, or in the spill directory, one is made (`stand_in.py`)
    4  the master joins them, accounts for them, and says which names they are to have
    5  as 1

Up to 4 nothing has a new name and all can be taken back, so it may be interrupted anywhere and repeated. Two at once
do not meet: whoever has claimed the master has the series.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.block_file import sync_file
from maxdaq_tango.files.block_names import count_blocks
from maxdaq_tango.files.block_turn import BlockFiles
from maxdaq_tango.files.columns import EXTRAS, FrameColumns
from maxdaq_tango.files.enclosed import enclosed
from maxdaq_tango.files.killed_series import UNREADABLE, KilledSeries, stand_in_of
from maxdaq_tango.files.master import LIBVER, refer_to, take_columns
from maxdaq_tango.files.ownership import claim, release
from maxdaq_tango.files.paths import MOST_NAMES
from maxdaq_tango.files.receipt import find_detector, store_account
from maxdaq_tango.files.recovered_account import Recovered, killed_receipt, left_receipt
from maxdaq_tango.files.recovered_rows import Settled, fates_of, give_shape, missing_numbers
from maxdaq_tango.files.series_members import (
    Head,
    Member,
    Members,
    find_members,
    firsts_of,
    take_back_master,
    wrong_numbers,
)
from maxdaq_tango.files.series_publication import VALID, PublishedSeries, publish_series, take_second_names
from maxdaq_tango.files.spilled_members import remove_spilled, spill_folder_of, spilled_parts, spilling_owner
from maxdaq_tango.files.stand_in import Place, make_stand_in
from maxdaq_tango.files.troubles import in_order

MOST_STAND_INS = 10_000
"""Some ten milliseconds each. More of them is a number that cannot be true."""

Alone = Callable[[Path], Recovered]


def recover_series(master: Path, alone: Alone) -> list[Recovered]:
    """What became of an unfinished master and its data files, the master first. Raises nothing.

    `alone` recovers an unfinished file by itself: those that are not, or cannot be, joined.
    """
    series = KilledSeries.of(master)
    told: list[Recovered] = []
    try:
        others = _recover(series, told)
    except UNREADABLE as error:
        return [*told, Recovered(part=str(master), problem=str(error)), *_left(series, "left for another attempt")]
    return [*told, *(alone(part) for part in others)]


def _recover(series: KilledSeries, told: list[Recovered]) -> list[Path]:
    """Returns the files that are left to be recovered by themselves, when they are nobody's any more."""
    master = series.master
    owner = series.living_owner()
    if owner is not None:
        told += _left(series, f"left alone: {owner}", with_master=True)
        return []
    with contextlib.ExitStack() as claims:
        if not _claim(master, claims):
            told += _left(series, "left alone: somebody else is recovering it", with_master=True)
            return []
        if not master.exists():
            told.append(Recovered(part=str(master), note="somebody else has just recovered it"))
            return []
        parts = list(series.parts().values())
        if not all(_claim(part, claims) for part in parts):
            told += _left(series, "left alone: somebody else is recovering a file of its series", with_master=True)
            return []
        named = take_second_names(series)
        if named is not None:
            final, note = named
            note = f"was finished: it has its name already{note}"
            told.append(Recovered(part=str(master), file=str(final), note=note))
        elif (published := publish_series(series)) is not None:
            told += _told(series, parts, published, f"was finished: {published.receipt.verdict.value}")
        elif (head := take_back_master(master)) is None:
            return [master, *parts]
        else:
            folder = spill_folder_of(master)
            spilled = spilled_parts(series, folder)
            owner = spilling_owner(folder)
            if owner is not None or not all(_claim(part, claims) for part in spilled.values()):
                note = f"left alone: {owner or 'somebody else'} has a data file of its series in {folder}"
                told += _left(series, note, with_master=True)
                return []
            told += _join(series, parts, head, spilled)
            parts += spilled.values()
        return [part for part in parts if part.exists()]


def _join(series: KilledSeries, parts: list[Path], head: Head, spilled: dict[int, Path]) -> list[Recovered]:
    members = find_members(series, head, spilled)
    if not any(member.valid.any() for member in members.by_block.values()):
        if members.damaged:
            raise FileError(f"join the data files of {series.master}", answer="; ".join(_reasons(members)))
        note = "left as it is: it holds no frame, and no data file of its series holds one"
        return [Recovered(part=str(series.master), note=note)]
    plan = _plan(head, members, series)
    sources, made = _shaped(series, head, members, plan)
    final, names = _free_names(series, sources, members)
    _write_master(series, head, members, plan, sources, final, names)
    published = publish_series(series, verify=bool(spilled))  # of what was copied the source goes
    if published is None:
        raise FileError(
            f"publish {series.master}",
            answer="a name was taken, or a file was changed, in the meantime",
            accepted="another attempt",
        )
    note = f"joins {len(names)} data files"
    if plan.places is not None:
        note += ", made again in the order of their frames; those that were there are recovered by themselves"
    elif made:
        note += f", {made} of them made anew"
    return [*_told(series, parts, published, note), *_taken_home(members, published, spilled)]


def _taken_home(members: Members, published: PublishedSeries, spilled: dict[int, Path]) -> Iterator[Recovered]:
    """Data files of the spill directory all of whose frames are in the published ones, which were read."""
    for block, part in spilled.items():
        member = members.by_block.get(block)
        if member is not None and member.path == part and not member.left_out and block < len(published.data_files):
            remove_spilled(part)
            final, frames = published.data_files[block].final, int(member.valid.sum())
            yield Recovered(part=str(part), file=str(final), frames=frames, master=str(published.master))


class _Plan(NamedTuple):
    """Which rows the series has in the end."""

    first: int
    """Frame number of row 0."""
    rows: int
    wrong: tuple[int, ...]
    """Numbers of the frames that are left out."""
    places: dict[int, Place] | None
    """By frame number, where the files are not in order; None: each row is in its place."""


def _plan(head: Head, members: Members, series: KilledSeries) -> _Plan:
    size, last = head.block_rows, 0
    for member in members.by_block.values():
        rows = np.flatnonzero(member.valid)
        if len(rows):
            last = max(last, member.block * size + int(rows[-1]))
    firsts = firsts_of(members, head)
    first = firsts.pop() if len(firsts) == 1 else None
    wrong = wrong_numbers(members, head, first)
    if first is not None and 0 <= first <= min(wrong, default=first):
        plan = _Plan(first, last + 1, wrong, None)
    else:  # a sender that does not count from 0, before its rows were turned, or in the midst of it
        plan = _turned(members, wrong)
    blocks = count_blocks(plan.rows, size)
    if blocks - len(members.by_block) > MOST_STAND_INS:
        raise FileError(
            f"join the data files of {series.master}",
            answer=f"with the last frame, {plan.first + plan.rows - 1}, the series has {blocks} of them, and"
            f" {len(members.by_block)} are there",
            accepted=f"{MOST_STAND_INS} that are not there; or move the master away, and recover each file by itself",
        )
    return plan


def _turned(members: Members, wrong: tuple[int, ...]) -> _Plan:
    places: dict[int, Place] = {}
    for member in members.by_block.values():
        for row in np.flatnonzero(member.valid).tolist():
            number = int(member.numbers[row])
            if number or row == member.block == 0:  # else it was lost on its way to the disk
                places.setdefault(number, Place(member.path, row))
    wrong = tuple(number for number in wrong if number not in places)  # a turn leaves some in two places for a moment
    first = min(*places, *wrong, min(places))
    return _Plan(first, max(places) - first + 1, wrong, places)


def _shaped(series: KilledSeries, head: Head, members: Members, plan: _Plan) -> tuple[list[Path], int]:
    """The data file of each block, with its final rows, under whatever name; how many of them were made."""
    sources: list[Path] = []
    made = 0
    like = next(iter(members.by_block.values())).path
    for block in range(count_blocks(plan.rows, head.block_rows)):
        start = block * head.block_rows
        count = min(head.block_rows, plan.rows - start)
        numbers = np.arange(plan.first + start, plan.first + start + count, dtype=np.uint64)
        member = members.by_block.get(block) if plan.places is None else None
        if member is not None and member.published and member.as_it_is and np.array_equal(member.numbers, numbers):
            sources.append(member.path)
        elif member is not None and not member.published and member.room >= count:
            _shape(member, numbers)
            sources.append(member.path)
        else:
            path = stand_in_of(series.part(block))
            make_stand_in(path, like, start + 1, numbers, _places(member, plan, numbers), head.id)
            sources.append(path)
            made += 1
    return sources, made


def _places(member: Member | None, plan: _Plan, numbers: npt.NDArray[np.uint64]) -> list[Place | None]:
    if plan.places is not None:
        return [plan.places.get(number) for number in numbers.tolist()]
    valid = member.valid if member is not None else np.zeros(0, np.bool_)
    return [
        Place(member.path, row) if member is not None and row < len(valid) and valid[row] else None
        for row in range(len(numbers))
    ]


def _shape(member: Member, numbers: npt.NDArray[np.uint64]) -> None:
    """After `recover_part`, whose repetition undoes it."""
    valid = np.zeros(len(numbers), np.bool_)
    known = member.valid[: len(numbers)]
    valid[: len(known)] = known
    with in_order(enclosed(member.path, libver=LIBVER)) as file:
        give_shape(find_detector(file), valid, numbers)
        file.flush()
    sync_file(member.path)


def _free_names(series: KilledSeries, sources: list[Path], members: Members) -> tuple[Path, tuple[str, ...]]:
    """Of the master, and of the data files; those that have a name keep it."""
    kept = {member.path for member in members.by_block.values() if member.published}
    for number in range(MOST_NAMES):
        names = series.recovered_names(number)
        data = tuple(path.name if path in kept else names.name(block) for block, path in enumerate(sources))
        wanted = [names.folder / name for name, path in zip(data, sources, strict=True) if path not in kept]
        if not any(os.path.lexists(path) for path in (names.master, *wanted)):
            return names.master, data
    raise FileError(f"publish {series.master}", answer=f"{MOST_NAMES} of that name exist", accepted="another name")


def _write_master(
    series: KilledSeries,
    head: Head,
    members: Members,
    plan: _Plan,
    sources: list[Path],
    final: Path,
    names: tuple[str, ...],
) -> None:
    """After `take_back_master`, whose repetition undoes it."""
    files = BlockFiles(sources, head.detector, head.block_rows)
    try:
        with in_order(enclosed(series.master, libver=LIBVER)) as file:
            group = find_detector(file)
            extras = list(files.group(0).get(EXTRAS, {}))
            take_columns(group, FrameColumns(dict.fromkeys(extras, 0.0)), files, plan.rows, plan.first)
            nbytes = sum(block["data"].id.get_storage_size() for _, block in files.groups())
            data = files.group(0)["data"]
            shape, dtype = (plan.rows, *data.shape[1:]), data.dtype
            refer_to(group, names, shape, dtype, data.fillvalue, head.block_rows)
            valid = group[VALID][...].astype(bool)
            missing = missing_numbers(valid, plan.first, head.expected, plan.wrong)
            settled = Settled(
                dataset=f"{group.name}/data",
                frames=int(valid.sum()),
                blank=int((~valid).sum()),
                first=plan.first,
                expected=head.expected,
                missing=missing,
                missing_count=sum(high - low + 1 for low, high in missing),
                wrong=plan.wrong,
                shape=shape,
                dtype=str(dtype),
                nbytes=nbytes,
                software=head.software,
            )
            receipt = killed_receipt(settled, final, left_receipt(series.master))
            reasons = (*receipt.reasons, *_reasons(members))
            receipt = msgspec.structs.replace(receipt, data_files=names, reasons=reasons)
            left_out = np.array(plan.wrong, np.int64) - plan.first
            store_account(group["daq"], receipt, fates_of(valid, left_out))
            file.flush()
    finally:
        files.close()
    sync_file(series.master)


def _reasons(members: Members) -> Iterator[str]:
    for path, why in members.damaged.items():
        yield f"data file {path.name} cannot be used, its frames are not there: {why}"


def _told(series: KilledSeries, parts: list[Path], published: PublishedSeries, note: str) -> list[Recovered]:
    receipt, master = published.receipt, str(published.master)
    lost = [one for ranges in receipt.frames_lost_at.values() for one in ranges]
    wrong = [number for low, high in lost for number in range(low, high + 1)]
    told = [
        Recovered(
            part=str(series.master),
            file=master,
            frames=receipt.frames_written,
            missing=receipt.frames_missing_ranges,
            wrong=tuple(wrong),
            note="; ".join(filter(None, (note, published.note))),
        )
    ]
    for part, final, frames in published.data_files:
        if part in parts and not part.exists():
            told.append(Recovered(part=str(part), file=str(final), frames=frames, master=master))
    return told


def _left(series: KilledSeries, note: str, *, with_master: bool = False) -> list[Recovered]:
    masters = [series.master] if with_master else []
    with contextlib.suppress(OSError):
        return [Recovered(part=str(part), note=note) for part in (*masters, *series.parts().values())]
    return []


def _claim(part: Path, claims: contextlib.ExitStack) -> bool:
    if not claim(Path(os.path.realpath(part.parent), part.name)):
        return False
    claims.callback(release, part)
    return True
