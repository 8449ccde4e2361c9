"""One data file of a series that is stored in blocks: the pixels and columns of neighbouring rows, nothing else.

It is laid out for as many rows as a block has, may be parked (closed, whole on the disk, still under its `.part` name)
and taken up again, and gets its final shape once the account of the series is closed. Publishing is the series' matter.

    /entry/data/data                          hard link to the pixels: neggia looks here
    /entry/instrument/<detector>/data         the pixels, with image_nr_low and image_nr_high (counted from 1)
    /entry/instrument/<detector>/...          columns as in a single file, of these rows
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.block_names import BlockNames
from maxdaq_tango.files.frame_texts import NO_TEXTS, FrameTexts, read_texts, store_texts
from maxdaq_tango.files.layout import MASTER_ID, ascii_text, make_group
from maxdaq_tango.files.rows import blank_rows
from maxdaq_tango.files.side_files import remove_side_files
from maxdaq_tango.files.whereabouts import hdf5_there
from maxdaq_tango.files.writer import SeriesFile
from maxdaq_tango.model import NOTHING_PINNED, FileBackend, FrameFormat, Pinned

PIXELS = "/entry/data/data"
LOW, HIGH = "image_nr_low", "image_nr_high"

SYNC_NBYTES = 4 << 20
"""A disk that takes as little within a second is taken for one that takes nothing (`pipeline.spilling`)."""
_SYNC_FILE_RANGE = ctypes.CDLL(None, use_errno=True).sync_file_range
_SYNC_FILE_RANGE.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
_WAIT_WRITE_WAIT = 7
"""SYNC_FILE_RANGE_WAIT_BEFORE, _WRITE and _WAIT_AFTER of sync_file_range(2)."""


class BlockLayout(msgspec.Struct, frozen=True, kw_only=True):
    """All that the data files of a series have in common. May travel to another process (msgpack)."""

    folder: str
    stem: str
    suffix: str
    detector: str
    software: str
    backend: FileBackend
    format: FrameFormat
    fill: float | int
    """Value of every pixel where no frame came."""
    block_rows: int
    rows: int | None
    """Of the whole series, if that is known."""
    stored_nbytes: int | None = None
    period_s: float | None = None
    extras: dict[str, Any] = msgspec.field(default_factory=dict)
    """Of the first frame: its numbers get a column in every file."""
    slab_memory_bytes: int
    """For all files that are open at the same time in one process."""
    pinned: Pinned = NOTHING_PINNED
    master_id: str = ""
    """By which a recovery knows what belongs together."""
    master_part: str = ""
    """Path of the unfinished master; only where there is a `spill_folder`."""
    spill_folder: str = ""
    """Of this series in the spill directory: takes the data files that `folder` does not; "" = there is none."""

    @property
    def names(self) -> BlockNames:
        """Of the data files."""
        return BlockNames(Path(self.folder), self.stem, self.suffix, "")

    def rows_of(self, block: int) -> int:
        """That this block has, as far as is known."""
        left = self.block_rows if self.rows is None else self.rows - block * self.block_rows
        return max(1, min(self.block_rows, left))


class BlockFile(SeriesFile):
    """See the module. Rows are counted from 0 in the file."""

    def __init__(self, layout: BlockLayout, block: int, slab_memory_bytes: int) -> None:
        """Made and laid out: FileError when something of that name exists."""
        self.block = block
        self._layout = layout
        self._usual: dict[str, Any] | None = None
        self._before = NO_TEXTS
        super().__init__(
            layout.names.destination(block),
            detector=layout.detector,
            software=layout.software,
            backend=layout.backend,
            slab_memory_bytes=slab_memory_bytes,
            pinned=layout.pinned,
        )
        try:
            self.begin(
                layout.format,
                layout.rows_of(block),
                layout.fill,
                {},
                {},
                stored_nbytes=layout.stored_nbytes,
                period_s=layout.period_s,
                extras=layout.extras,
            )
        except Exception:
            super().abandon()  # without a last checkpoint: there is no frame, and the backend may be half there
            if not self.destination.part.exists():
                remove_side_files(self.destination.part)
            raise

    @property
    def is_open(self) -> bool:
        """It takes frames."""
        return self._entered

    def park(self, on_progress: Callable[[], None] = lambda: None) -> None:
        """Close it: it is whole on the disk, and can be read as it is. `on_progress` as in `sync_file`."""
        if not self.is_open:
            return
        self._check_whole()
        self._reserve.give_back()
        with self._errors("close the file"):
            self._backend.leave()
            self._entered = False
            self._keep_texts(self._columns.take_texts())
            sync_file(self.destination.part, on_progress)

    def take_up(self) -> None:
        """Open a parked one again: a straggler has come."""
        with self._errors("open the file"):
            with h5py.File(self.destination.part, "r", locking=False) as file:
                self._before = read_texts(file[self.dataset].parent)  # whose place in the file may be lost
            self._backend.resume(self.dataset, self._columns)
            self._entered = True
        if self._usual is not None:
            self._columns.go_on(self._usual)

    def close_rows(self, valid: np.ndarray[Any, Any], first: int) -> None:
        """Give a parked file its final shape: row r holds frame `first` + r if `valid[r]`, and is blank else."""
        rows = len(valid)
        if rows == self._room and valid.all():
            return
        with self._errors("close the file"), self._reopened() as group:
            data = group["data"]
            self.bytes_written += blank_rows(data, self._offsets, np.flatnonzero(~valid), self._fill)
            data.resize(rows, axis=0)
            data.attrs[HIGH] = self._low + rows - 1
            self._columns.settle(group, rows, first, 0, None)
            self._room = rows
        with self._errors("close the file"):
            sync_file(self.destination.part)

    def abandon(self) -> None:
        """As `SeriesFile.abandon`, but every frame that was written is told of, where the disk takes it."""
        self._reserve.give_back()
        if self.is_open:
            with contextlib.suppress(FileError):
                self.checkpoint()
        elif self._file is None:
            self._backend.published()  # it was parked: whole, and to be read as it is
        super().abandon()

    # ---- inside ----

    @property
    def _low(self) -> int:
        return self.block * self._layout.block_rows + 1

    def _link(self, file: h5py.File) -> None:
        plot = make_group(file["entry"], "data", "NXdata")
        plot.attrs["signal"] = ascii_text("data")
        data = plot["data"] = file[self.dataset]
        data.attrs[LOW] = self._low
        data.attrs[HIGH] = self._low + self._room - 1
        file.attrs[MASTER_ID] = ascii_text(self._layout.master_id)

    def _keep_texts(self, texts: FrameTexts) -> None:
        if self._usual is None:
            self._usual = texts.usual or {}
        kept = FrameTexts(self._usual, self._before.rows | texts.rows)
        if kept.usual or kept.rows:
            with self._reopened() as group:
                store_texts(group, kept)

    @contextlib.contextmanager
    def _reopened(self) -> Iterator[h5py.Group]:
        """The detector group of a parked file, for a moment. When something fails it is left open for `abandon`."""
        file = self._file = hdf5_there(self.destination.part, "r+", libver=self._backend.libver)
        yield file[self.dataset].parent
        file.flush()  # a close that the disk refuses cannot be mended: see `close_anyhow`
        self._file = None
        file.close()


def sync_file(path: os.PathLike[str], on_progress: Callable[[], None] = lambda: None) -> None:
    """What was written to it survives a power cut. `on_progress` is called when the disk has taken a piece. OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        for offset in range(0, os.fstat(handle).st_size, SYNC_NBYTES):
            if not _sync_piece(handle, offset):
                break
            on_progress()
        os.fdatasync(handle)
    finally:
        os.close(handle)


def _sync_piece(handle: int, offset: int) -> bool:
    """Wait until the disk has that piece; False: the file system cannot say. OSError: it has refused some."""
    if _SYNC_FILE_RANGE(handle, offset, SYNC_NBYTES, _WAIT_WRITE_WAIT) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.ESPIPE):
        return False
    raise OSError(number, os.strerror(number))  # who asks again would not hear of it
