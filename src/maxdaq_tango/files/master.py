"""The master of a series in blocks: all that one file would hold, with the pixels in data files beside it.

    /entry/data/data_000001 ...              external links to /entry/data/data of the data files: neggia goes by them
    /entry/data/data                         link to the next
    /entry/instrument/<detector>/data        virtual dataset over the data files, for everybody else
    /entry/instrument/<detector>/...         header, arrays, columns of all rows, receipt, as in a single file

File names in it are relative: a folder may be copied. It lists only files that are there, so it is written last. The
header is on the disk from the first frame on, because it comes only once.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.block_file import PIXELS, BlockLayout, sync_file
from maxdaq_tango.files.block_turn import BlockFiles
from maxdaq_tango.files.closed_state import keep_state
from maxdaq_tango.files.columns import EXTRAS, FIXED, OTHERS_BYTES, Checksums, FrameColumns, read_checksums
from maxdaq_tango.files.frame_texts import joined, store_texts
from maxdaq_tango.files.layout import (
    EXPECTED,
    FILE_ID,
    FRAMES_PER_FILE,
    SPILL_FOLDER,
    link_default_plot,
    make_group,
    make_skeleton,
    store_arrays,
    store_metadata,
)
from maxdaq_tango.files.ownership import release, reserve
from maxdaq_tango.files.paths import Destination
from maxdaq_tango.files.receipt import Fates, store_account
from maxdaq_tango.files.reserve import Reserve, room_for
from maxdaq_tango.files.side_files import move_side_files_aside, remove_side_files
from maxdaq_tango.files.troubles import in_order, told_as_file_error
from maxdaq_tango.files.whereabouts import folder_at, hdf5_there, unlink_there
from maxdaq_tango.model import Receipt

LIBVER = ("v108", "v110")
"""A virtual dataset needs 1.10; all else stays as portable as it can."""


class MasterFile:
    """Made when the name is reserved, completed at the end. Closed in between; errors are FileError."""

    def __init__(self, destination: Destination, detector: str, software: str) -> None:
        self.destination = destination
        self._detector = detector
        self.lost_texts = 0
        """Rows whose texts had no room."""
        self._reserve = Reserve(destination.part)
        with told_as_file_error("create the file", destination):
            reserve(destination)
            try:
                move_side_files_aside(destination.part)
                with self._opened("x") as file:
                    make_skeleton(file, detector, software)
                    self.file_id: str = file.attrs[FILE_ID].decode()
            except (FileExistsError, FileError):  # made since we looked, by somebody who asks nobody; or led away
                release(destination.part)
                raise
            except Exception:
                self.remove()
                raise

    def begin(
        self,
        metadata: Mapping[str, Any],
        arrays: Mapping[str, np.ndarray[Any, Any]],
        block_rows: int,
        rows: int | None,
        columns: int,
        spill_folder: str = "",
    ) -> None:
        """Keep the header, and what a recovery has to know: `rows` of the series, if that is known.

        Holds back the room for the end, of so many `columns`: whatever becomes of the pixels, the master is here.
        """
        with told_as_file_error("lay out the file", self.destination):
            with self._opened("r+") as file:
                group = file[f"/entry/instrument/{self._detector}"]
                store_metadata(group, metadata)
                store_arrays(group, arrays)
                group["daq"].attrs[FRAMES_PER_FILE] = block_rows
                if rows:
                    group["daq"].attrs[EXPECTED] = rows
                if spill_folder:
                    group["daq"].attrs[SPILL_FOLDER] = np.bytes_(os.fsencode(spill_folder) + b"\0")
            sync_file(self.destination.part)
            self._reserve.take(room_for(rows, columns, 1))

    def give_back(self) -> None:
        """The room for the end, which has come, in order or not. Raises nothing."""
        self._reserve.give_back()

    def join(self, layout: BlockLayout, parts: list[Path], rows: int, first: int) -> None:
        """Take over the columns of the data files, which have their final shape."""
        self.give_back()
        with told_as_file_error("close the file", self.destination):
            with folder_at(self.destination.part.parent):
                keep_state(self.destination.part, f"/entry/instrument/{self._detector}/data")
            files = BlockFiles(parts, self._detector, layout.block_rows)
            try:
                with self._opened("r+") as file:
                    group = file[f"/entry/instrument/{self._detector}"]
                    self.lost_texts = take_columns(group, FrameColumns(layout.extras), files, rows, first)
            finally:
                files.close()

    def checksums(self) -> Checksums:
        """Of the rows, after `join`."""
        with told_as_file_error("read the checksums of", self.destination), self._opened("r") as file:
            return read_checksums(file[f"/entry/instrument/{self._detector}"])

    def finish(
        self, layout: BlockLayout, names: Sequence[str], rows: int, receipt: Receipt, fates: Fates | None = None
    ) -> None:
        """Refer to the data files by the names that they are about to get; add the receipt and the fate of each row."""
        dtype = np.dtype(layout.format.dtype)
        fill = np.array(layout.fill, dtype)[()]
        with told_as_file_error("close the file", self.destination):
            with self._opened("r+") as file:
                group = file[f"/entry/instrument/{self._detector}"]
                refer_to(group, names, (rows, *layout.format.shape), dtype, fill, layout.block_rows)
                store_account(group["daq"], receipt, fates)
            sync_file(self.destination.part)

    def remove(self) -> None:
        """Take it back; FileError when it is in the way of the next run."""
        try:
            with contextlib.suppress(FileNotFoundError):
                unlink_there(self.destination.part)
            remove_side_files(self.destination.part)
        except OSError as error:
            raise FileError(f"remove the empty file of {self.destination.final}", answer=str(error)) from error

    @contextlib.contextmanager
    def _opened(self, mode: str) -> Iterator[h5py.File]:
        with in_order(hdf5_there(self.destination.part, mode, libver=LIBVER)) as file:
            yield file


def take_columns(group: h5py.Group, columns: FrameColumns, files: BlockFiles, rows: int, first: int) -> int:
    """Columns and texts of the data files, which have their final shape, into the detector group of their master.

    Returns the rows whose texts had no room.
    """
    if len(columns.columns) > len(FIXED):
        make_group(group, EXTRAS, "NXcollection")
    columns.make(group, rows, grows=False)
    for start, block in files.groups():
        for column in columns.columns:
            values = block[column.path][...]
            group[column.path][start : start + len(values)] = values
    group["sequence_number"][...] = np.arange(first, first + rows, dtype="u8")
    texts, lost = joined(files.text_parts(), OTHERS_BYTES)
    store_texts(group, texts)
    return lost


def refer_to(
    group: h5py.Group, names: Sequence[str], shape: tuple[int, ...], dtype: np.dtype[Any], fill: Any, block_rows: int
) -> None:
    """Put the pixels of the data files of these names under the detector group of their master, for every reader."""
    rows, *frame = shape
    virtual = h5py.VirtualLayout(shape, dtype)
    for number, name in enumerate(names):
        start = number * block_rows
        count = min(block_rows, rows - start)
        escaped = name.replace("%", "%%")  # HDF5 would take %b for the number of a block
        virtual[start : start + count] = h5py.VirtualSource(escaped, PIXELS, (count, *frame), dtype)
    group.create_virtual_dataset("data", virtual, fillvalue=fill)
    link_default_plot(group.file, group.name.rpartition("/")[2])
    plot = group.file["/entry/data"]
    for number, name in enumerate(names):
        plot[f"data_{number + 1:06d}"] = h5py.ExternalLink(name, PIXELS)
