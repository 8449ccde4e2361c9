"""Data files and master that are whole get their names: data files first, the master last, nothing is replaced.

The master says which names. So whoever is killed in the midst of it, the writer of the series or a recovery, leaves all
that is needed to go on: some data files have their names, others wait under that of an unfinished one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import h5py
import hdf5plugin  # noqa: F401  (registers the read filters)
import numpy as np
import numpy.typing as npt
import xxhash

from maxdaq_tango.files.block_file import sync_file
from maxdaq_tango.files.columns import CHECKSUM
from maxdaq_tango.files.enclosed import refuse_led_elsewhere
from maxdaq_tango.files.killed_series import UNREADABLE, KilledSeries, master_id, move_beside, other_name, stand_in_of
from maxdaq_tango.files.layout import FILE_ID
from maxdaq_tango.files.ownership import remove_record
from maxdaq_tango.files.paths import first_free, give_name, sync_directory
from maxdaq_tango.files.receipt import FATES, find_detector, receipt_of
from maxdaq_tango.files.recovered_account import with_manifest
from maxdaq_tango.files.recovered_rows import columns_of
from maxdaq_tango.files.reserve import remove_reserve
from maxdaq_tango.files.stored_chunks import StoredChunks
from maxdaq_tango.files.troubles import may_pass
from maxdaq_tango.model import Fate, Receipt

VALID = "daq/frame_valid"


class DataFile(NamedTuple):
    """Published, one of a series."""

    part: Path
    """Where it was, or would have been."""
    final: Path
    frames: int


class PublishedSeries(NamedTuple):
    """With its names."""

    master: Path
    receipt: Receipt
    data_files: list[DataFile]
    note: str
    """What else is to be said; "" or a sentence."""


class _Master(NamedTuple):
    """What a master says of its data files."""

    id: str
    receipt: Receipt
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    columns: dict[str, npt.NDArray[np.generic]]
    """By path in the detector group."""
    blocks: list[tuple[str, int, int]]
    """(name, first row, rows) of each data file."""


def publish_series(series: KilledSeries, *, verify: bool = True) -> PublishedSeries | None:
    """Give all files the names that the master has for them.

    None, and nothing is lost, when the master is not whole, a data file does not hold what the master says of it, or
    somebody has taken one of the names. `verify`: every chunk is read and compared with its checksum before. OSError.
    """
    master = _read(series.master)
    if master is None:
        return None
    ways: list[tuple[Path, Path]] = []
    for block, (name, first, count) in enumerate(master.blocks):
        final = series.names.folder / name
        candidates = (final, stand_in_of(series.part(block)), series.part(block))
        path = next((one for one in candidates if _holds(one, master, first, count, verify=verify)), None)
        if path is None:
            return None
        ways.append((path, final))
    try:
        for path, final in ways:
            if path != final:
                sync_file(path)
                give_name(path, final)
    except FileExistsError:
        return None
    data_files: list[DataFile] = []
    for block, (name, first, count) in enumerate(master.blocks):
        part, final = series.part(block), series.names.folder / name
        _tidy(part, final)
        frames = int(master.columns[VALID][first : first + count].astype(bool).sum())
        data_files.append(DataFile(part, final, frames))
    sync_directory(series.names.folder)
    sync_file(series.master)
    named = other_name(series.master)
    final = named or _master_name(series, master.receipt)
    if named is None:
        give_name(series.master, final)
    else:
        series.master.unlink()
    move_beside(series.master, final)
    sync_directory(series.names.folder)
    return PublishedSeries(final, master.receipt, data_files, with_manifest(final, master.receipt).removeprefix("; "))


def take_second_names(series: KilledSeries) -> tuple[Path, str] | None:
    """Of files that have two: a kill came between giving one and taking the other.

    Returns the name of the master, if it had two and its data files have theirs, and what else is to be said. OSError.
    """
    for part in series.parts().values():
        if other_name(part) is not None:
            part.unlink()
    final = other_name(series.master)
    master = _read(final) if final is not None else None
    if final is None or master is None:
        return None
    if not all((series.names.folder / name).exists() for name, _, _ in master.blocks):
        return None  # they were taken back, and the name of the master could not be
    series.master.unlink()
    move_beside(series.master, final)
    for block, (name, _, _) in enumerate(master.blocks):
        _tidy(series.part(block), series.names.folder / name)
    return final, with_manifest(final, master.receipt)


# ---- inside ----


def _tidy(part: Path, final: Path) -> None:
    """What is left beside a file that has its name, by whoever was killed before he could."""
    made = stand_in_of(part)
    if made.exists() and made.samefile(final):
        made.unlink()
    if not part.exists():
        remove_reserve(part)
        move_beside(part, final)
        remove_record(part)


def _read(path: Path) -> _Master | None:
    try:
        with h5py.File(path, "r", locking=False) as file:
            refuse_led_elsewhere(file, path, joined=True)
            receipt, group = receipt_of(file), find_detector(file)
            data = group["data"]
            columns = {column.name.removeprefix(f"{group.name}/"): column[...] for column in columns_of(group)}
            blocks = []
            for source in data.virtual_sources():
                low, high = (int(bound[0]) for bound in source.vspace.get_select_bounds())
                blocks.append((source.file_name.replace("%%", "%"), low, high - low + 1))
            blocks.sort(key=lambda block: block[1])
            master = _Master(file.attrs[FILE_ID].decode(), receipt, data.shape, data.dtype, columns, blocks)
            if FATES in group["daq"] and not np.array_equal(
                group["daq"][FATES][...] == Fate.WRITTEN, columns[VALID].astype(bool)
            ):
                return None
            links = file["entry/data"]
            for number, (name, _, _) in enumerate(blocks):
                link = links.get(f"data_{number + 1:06d}", getlink=True)
                if not isinstance(link, h5py.ExternalLink) or link.filename != name:
                    return None
    except UNREADABLE as error:
        if may_pass(error):
            raise
        return None
    whole = (
        all(name == os.path.basename(name) and name not in ("", ".", "..") for name, _, _ in blocks)
        and tuple(name for name, _, _ in blocks) == receipt.data_files
        and sum(count for _, _, count in blocks) == master.shape[0] == len(columns[VALID])
        and receipt.frames_written == int(columns[VALID].astype(bool).sum())
    )
    return master if whole else None


def _holds(path: Path, master: _Master, first: int, count: int, *, verify: bool) -> bool:
    """Whether this is the data file of these rows, whole."""
    if not path.is_file():
        return False
    try:
        with h5py.File(path, "r", locking=False) as file:
            refuse_led_elsewhere(file, path)
            group = find_detector(file)
            data = group["data"]
            if (
                master_id(file) != master.id
                or data.shape != (count, *master.shape[1:])
                or data.dtype != master.dtype
                or any(
                    not _same(column[...], master.columns[column.name.removeprefix(f"{group.name}/")], first)
                    for column in columns_of(group)
                )
            ):
                return False
            valid = master.columns[VALID][first : first + count].astype(bool)
            checksums = master.columns[CHECKSUM][first : first + count]
            with StoredChunks(data) as chunks:
                return all(chunks.has(row) for row in range(count)) and (
                    not verify or all(digest(chunks, int(row)) == int(checksums[row]) for row in np.flatnonzero(valid))
                )
    except UNREADABLE as error:
        if may_pass(error):  # else the receipt of the run would be given up for another one
            raise
        return False


def digest(chunks: StoredChunks, row: int) -> int:
    """Of the packed chunks of a row that has them. OSError."""
    hasher = xxhash.xxh3_64()
    for chunk in chunks.read(int(row)):
        hasher.update(chunk)
    return hasher.intdigest()


def _same(values: npt.NDArray[np.generic], whole: npt.NDArray[np.generic], first: int) -> bool:
    part = whole[first : first + len(values)]
    return len(part) == len(values) and values.tobytes() == part.tobytes()


def _master_name(series: KilledSeries, receipt: Receipt) -> Path:
    """That a recovery has planned for it, if it is free; else the first that is."""
    planned = series.names.folder / Path(receipt.file).name
    if planned.name.startswith(f"{series.names.stem}_recovered") and not os.path.lexists(planned):
        return planned
    return first_free(f"publish {series.master}", lambda n: series.recovered_names(n - 1).master)
