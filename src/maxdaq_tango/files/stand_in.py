"""A data file for a block of which there is none that can be used: blank rows, and frames that lie elsewhere.

Readers find a frame by division, so every block of a series has its file, and all but the last have equally many rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import hdf5plugin  # noqa: F401  (registers the filter that packs blank rows)
import numpy as np
import numpy.typing as npt

from maxdaq_tango.files.block_file import HIGH, LOW, sync_file
from maxdaq_tango.files.columns import CHUNK_ROWS, EXTRAS
from maxdaq_tango.files.filters import packed_like
from maxdaq_tango.files.layout import MASTER_ID, ascii_text, make_group, make_skeleton
from maxdaq_tango.files.receipt import find_detector
from maxdaq_tango.files.recovered_rows import columns_of, corners_of
from maxdaq_tango.files.rows import blank_rows
from maxdaq_tango.files.troubles import in_order
from maxdaq_tango.files.whereabouts import UNBUFFERED

LIBVER = ("v108", "v108")


class Place(NamedTuple):
    """Where a frame lies."""

    path: Path
    row: int


def make_stand_in(
    path: Path,
    like: Path,
    low: int,
    numbers: npt.NDArray[np.uint64],
    places: Sequence[Place | None],
    master_id: str,
) -> None:
    """One row for each of `numbers`: a copy of the frame at its place, chunks as they are, or blank for None.

    `low` is image_nr_low. `like` is any data file of the series, the places are in others of it; all are whole and
    closed. What lies at `path` was left by a recovery that was killed, and is made anew. OSError and what else h5py
    raises.
    """
    files: dict[Path, h5py.File] = {}
    try:
        for source in dict.fromkeys([like, *(place.path for place in places if place is not None)]):
            files[source] = h5py.File(source, "r", locking=False)
        groups = {source: find_detector(file) for source, file in files.items()}
        path.unlink(missing_ok=True)
        with in_order(h5py.File(path, "x", libver=LIBVER, **UNBUFFERED)) as file:  # a link is not followed
            group = _laid_out(file, groups[like], low, numbers, master_id)
            _fill(group, groups, places)
            group["sequence_number"][...] = numbers
            file.flush()
    finally:
        for opened in files.values():
            opened.close()
    sync_file(path)


def _laid_out(
    file: h5py.File, like: h5py.Group, low: int, numbers: npt.NDArray[np.uint64], master_id: str
) -> h5py.Group:
    rows, old = len(numbers), like["data"]
    group = make_skeleton(file, like.name.rpartition("/")[2], like.file.attrs["creator"].decode())
    file.attrs[MASTER_ID] = ascii_text(master_id)
    shape = (rows, *old.shape[1:])
    h5py.h5d.create(group.id, b"data", old.id.get_type(), h5py.h5s.create_simple(shape, shape), dcpl=packed_like(old))
    if EXTRAS in like:
        make_group(group, EXTRAS, "NXcollection")
    for column in columns_of(like):
        made = group.create_dataset(
            column.name.removeprefix(f"{like.name}/"),
            shape=(rows,),
            maxshape=(rows,),
            dtype=column.dtype,
            chunks=(min(rows, CHUNK_ROWS),),
            fillvalue=column.fillvalue,
        )
        for name, value in column.attrs.items():
            made.attrs[name] = value
    plot = make_group(file["entry"], "data", "NXdata")
    plot.attrs["signal"] = ascii_text("data")
    data = plot["data"] = group["data"]
    data.attrs[LOW], data.attrs[HIGH] = low, low + rows - 1
    return group


def _fill(group: h5py.Group, groups: dict[Path, h5py.Group], places: Sequence[Place | None]) -> None:
    data = group["data"]
    corners = corners_of(data)
    for row, place in enumerate(places):
        if place is not None:
            source = groups[place.path]["data"].id
            for corner in corners:
                data.id.write_direct_chunk((row, *corner), source.read_direct_chunk((place.row, *corner))[1], 0)
    blank_rows(data, corners, np.array([row for row, place in enumerate(places) if place is None], int), data.fillvalue)
    for column in columns_of(group):
        name = column.name.removeprefix(f"{group.name}/")
        values = column[...]
        for source_path, source_group in groups.items():
            here = [row for row, place in enumerate(places) if place is not None and place.path == source_path]
            there = [place.row for place in places if place is not None and place.path == source_path]
            if here:
                values[here] = source_group[name][...][there]
        column[...] = values
