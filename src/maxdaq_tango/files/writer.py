"""One series into one HDF5 file that survives a kill at every moment of its life.

Datasets are pre-sized and made before the first frame, ids are kept, and per-frame values are collected and written in
blocks, at checkpoints: 14 us a frame where growing datasets frame by frame costs 1068 us (measured). How chunks reach
the disk is a backend's matter (`backends.py`).

A file has four moments: `SeriesFile()` reserves the name, `begin()` lays out the datasets once the first frame has told
its format, `write()` stores chunks in any order, `finish()` blanks what is missing, adds the receipt and publishes the
file under its final name. One thread at a time; errors are FileError with errno and path.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xxhash

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.backend_choice import Choice, choose_backend
from maxdaq_tango.files.backends import Backend, DirectBackend, SwmrBackend
from maxdaq_tango.files.columns import EXTRAS, FIXED, Checksums, FrameColumns, FrameTimes, read_checksums
from maxdaq_tango.files.filters import filter_of
from maxdaq_tango.files.frame_log import LogEnd
from maxdaq_tango.files.kept import Numbers, kept_numbers
from maxdaq_tango.files.layout import (
    EXPECTED,
    link_default_plot,
    make_group,
    make_skeleton,
    store_arrays,
    store_metadata,
)
from maxdaq_tango.files.manifest import manifest_path, move_manifest
from maxdaq_tango.files.ownership import release, reserve
from maxdaq_tango.files.paths import Destination, first_free, give_name, move_aside, sync_directory
from maxdaq_tango.files.receipt import Fates, store_account
from maxdaq_tango.files.reserve import Reserve, room_for
from maxdaq_tango.files.rows import blank_rows, chunk_offsets, drop_unturned
from maxdaq_tango.files.side_files import move_side_files_aside
from maxdaq_tango.files.slabs import Hasher
from maxdaq_tango.files.troubles import LIBRARY_ERRORS, close_anyhow, file_error, told_as_file_error
from maxdaq_tango.files.whereabouts import hdf5_there, unlink_there
from maxdaq_tango.model import NOTHING_PINNED, Buffer, FileBackend, FrameFormat, Pinned, Receipt

CHECKPOINT_FRAMES = 100
CHECKPOINT_S = 0.9
"""Of a slow series, whose frames are safe within a second as it is looked at ten times a second; the backend says how
close together they may be in a fast one."""
CHECKPOINT_SHARE = 0.05
"""Of the time; what takes long is done more seldom, as far as CHECKPOINT_S allows."""
FIXED_ROWS = 1_000_000
"""Above this the chunk index of a fixed-shape dataset (16 bytes a row, allocated at once) is dearer than growing."""
GROW_ROWS = 1024
LEAST_ROWS = 2
"""A dataset laid out for one chunk would get an index in format v110 that neggia does not know."""

DETECTOR_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
"""Without what HDF5 takes for a path; ASCII, because C readers go by this name."""

_NOTHING: Mapping[str, Any] = {}


class SeriesFile:
    """See the module. `bytes_written` counts pixel chunks, blanks included."""

    def __init__(
        self,
        destination: Destination,
        *,
        detector: str,
        software: str,
        overwrite: bool = False,
        backend: FileBackend = FileBackend.AUTO,
        slab_memory_bytes: int = 64 << 20,
        pinned: Pinned = NOTHING_PINNED,
    ) -> None:
        """Reserve the name: makes missing folders and an empty `.part` file that must not have existed."""
        self.destination = destination
        self.dataset = f"/entry/instrument/{detector}/data"
        self.bytes_written = 0
        self.format: FrameFormat | None = None
        self.choice = Choice(backend, "no frame yet")
        """How chunks reach the disk, decided when the first frame has told their size."""
        self._file: h5py.File | None = None
        self._wanted_backend = backend
        self._slab_memory_bytes = slab_memory_bytes
        self._pinned = pinned
        self._backend: Backend = SwmrBackend(destination.part)
        self._write = _refuse
        self._entered = False
        self._detector, self._software = detector, software
        self._overwrite = overwrite
        self._flushed_at = time.monotonic()
        self._rest_s = 0.0
        self.checkpointed = (0, 0.0)
        """Checkpoints, and the seconds that they took together."""
        self._unlooked = 0
        """Frames since it was last asked whether a checkpoint is due."""
        self._columns = FrameColumns({})
        self._reserve = Reserve(destination.part)
        self._room = 0
        """Rows that the datasets have."""
        self._refused = False
        """Something of it could not be done: it is not to be flushed any more, see `close_anyhow`."""
        check_detector_name(detector)
        with self._errors("create the file"):
            reserve(destination)
            try:
                move_side_files_aside(destination.part)
                self._file = hdf5_there(destination.part, "x", libver=self._backend.libver)
                self._group = make_skeleton(self._file, detector, software)
                self._file.flush()
            except (FileExistsError, FileError):  # made since we looked, by somebody who asks nobody; or led away
                if self._file is not None:
                    close_anyhow(self._file, broken=True)
                release(destination.part)
                raise
            except Exception:
                self.abandon()
                raise

    # -- the road of a frame -----------------------------------------------------------------------------------------

    def begin(
        self,
        format: FrameFormat,
        rows: int | None,
        fill: float | int,
        metadata: Mapping[str, Any],
        arrays: Mapping[str, np.ndarray[Any, Any]],
        *,
        stored_nbytes: int | None = None,
        period_s: float | None = None,
        extras: Mapping[str, Any] = _NOTHING,
    ) -> None:
        """Make every dataset. `fill` is the value of every pixel where no frame came.

        `stored_nbytes` a frame takes in the file, and there is one every `period_s`, as far as that is known. Each
        number in `extras` (of the first frame) gets a column.
        """
        fixed = rows is not None and 0 < rows <= FIXED_ROWS
        self._choose(format, stored_nbytes or format.chunk_nbytes * format.chunk_count, period_s, grows=not fixed)
        file, group = self._open_file(), self._group
        self.format, self._fill = format, fill
        first_rows = max(rows, LEAST_ROWS) if fixed and rows else min(rows or GROW_ROWS, GROW_ROWS)
        self._grows, self._room = not fixed, first_rows
        self._columns = FrameColumns(extras)
        with self._errors("lay out the file"):
            store_metadata(group, metadata)
            store_arrays(group, arrays)
            group.create_dataset(
                "data",
                shape=(first_rows, *format.shape),
                maxshape=(first_rows if fixed else None, *format.shape),
                dtype=format.dtype,
                chunks=(1, *format.chunk),
                fillvalue=np.array(fill, dtype=format.dtype)[()],
                **filter_of(format),
            )
            if len(self._columns.columns) > len(FIXED):
                make_group(group, EXTRAS, "NXcollection")
            self._columns.make(group, first_rows, grows=not fixed)
            if rows:
                group["daq"].attrs[EXPECTED] = rows
            self._link(file)
            self._reserve.take(room_for(rows, len(self._columns.columns), format.chunk_count))
            self._file = None  # until the backend has left it again
            self._entered = True
            self._backend.enter(file, self.dataset, self._columns)
            self._write = self._backend.write

    def _choose(self, format: FrameFormat, stored_nbytes: int, period_s: float | None, *, grows: bool) -> None:
        """The format of the file follows from the backend: one of our own that is still empty is made again."""
        chunk_nbytes = stored_nbytes // format.chunk_count
        self._offsets = chunk_offsets(format)
        self.choice = choose_backend(self._wanted_backend, chunk_nbytes, stored_nbytes, period_s, grows=grows)
        part = self.destination.part
        if self.choice.backend is not FileBackend.DIRECT:
            self._backend = SwmrBackend(part, self._offsets)
            return
        with self._errors("create the file"):
            self._open_file().close()
            self._backend = DirectBackend(part, format.chunk_count, self._slab_memory_bytes, self._pinned.slab_bytes)
            self._file = hdf5_there(part, "w", libver=self._backend.libver)
            self._group = make_skeleton(self._file, self._detector, self._software)

    def write(
        self,
        row: int,
        frame_number: int,
        blobs: Sequence[Buffer],
        times: FrameTimes,
        extras: Mapping[str, Any] = _NOTHING,
    ) -> int:
        """Store one frame; the blobs must already fit the format. Returns the bytes stored."""
        if row >= self._room and self._grows:
            self._grow(row + 1)
        hasher = xxhash.xxh3_64()
        try:
            stored = self._write(row, blobs, hasher)
        except LIBRARY_ERRORS as error:  # not `with self._errors`, which costs 2 us
            raise file_error("write a frame", self.destination, error) from error
        self._columns.note(row, frame_number, times, hasher.intdigest(), extras)
        self.bytes_written += stored
        self._unlooked += 1
        if self._unlooked >= CHECKPOINT_FRAMES:
            self._unlooked = 0
            self.checkpoint_if_due(time.monotonic(), self._backend.least_checkpoint_s)
        return stored

    def wait_room(self, nbytes: int, timeout_s: float = 0.0) -> bool:
        """Whether so many bytes can be written without waiting for the disk, at once or after `timeout_s`."""
        return self._backend.wait_room(nbytes, timeout_s)

    def checkpoint_if_due(self, now: float, after_s: float = CHECKPOINT_S) -> None:
        """Call when nothing arrives: what was written is safe within CHECKPOINT_S."""
        due_s = self._pinned.checkpoint_s or max(after_s, self._rest_s)
        backend = self._backend
        if now - self._flushed_at >= due_s:
            if self._columns.pending or backend.unsafe:
                self.checkpoint(wait=False)
        elif backend.unsafe:
            with self._errors("flush the file"):
                backend.look()

    def checkpoint(self, *, wait: bool = True) -> None:
        """Everything written so far survives a kill of this process; without `wait` as soon as the disk has it."""
        if not self._entered:
            raise self._closed()
        began = time.monotonic()
        with self._errors("flush the file"):
            self._backend.checkpoint(wait=wait)
        self._flushed_at = time.monotonic()
        took, (count, total_s) = self._flushed_at - began, self.checkpointed
        self._rest_s, self.checkpointed = min(CHECKPOINT_S, took / CHECKPOINT_SHARE), (count + 1, total_s + took)

    # -- the end -----------------------------------------------------------------------------------------------------

    def settle(self, valid: np.ndarray[Any, Any], first: int, rotation: int, modulus: int | None) -> None:
        """Bring the rows into their final order and number: `valid[r]` tells whether row r holds a frame.

        Rows without a frame get blank chunks: readers crash on holes, and zeros would look like real counts.
        """
        if self.format is None:
            return
        rows = len(valid)
        self._reserve.give_back()
        with self._errors("close the file"):
            self._write = _refuse
            self._backend.leave(LogEnd(rotation, modulus) if rotation else None)
            self._entered = False
            file = self._file = hdf5_there(self.destination.part, "r+", libver=self._backend.libver)
            group = file[self.dataset].parent
            data = group["data"]
            if self._grows and rows > data.shape[0]:
                data.resize(rows, axis=0)
            self.bytes_written += blank_rows(data, self._offsets, np.flatnonzero(~valid), self._fill)
            data.resize(rows, axis=0)
            self._columns.settle(group, rows, first, rotation, modulus)
            self._group = group

    def checksums(self) -> Checksums:
        """Of the rows, after `settle`."""
        with self._errors("read the checksums of"):
            return read_checksums(self._group)

    def finish(self, receipt: Receipt, fates: Fates | None = None) -> Path:
        """Add the receipt, and the fate of each row, and publish the file; returns its final path."""
        file = self._open_file()
        with self._errors("close the file"):
            store_account(self._group["daq"], receipt, fates)
            file.flush()
            drop_unturned(self._group)
            file.flush()
            os.fdatasync(file.id.get_vfd_handle())
            self._file = None
            file.close()
            return self._publish()

    @property
    def frames_safe(self) -> int:
        """Frames that a kill would leave readable."""
        return self._backend.safe

    @property
    def bytes_waiting(self) -> int:
        """Taken, and not yet given to the file system."""
        return self._backend.bytes_waiting

    @property
    def waiting_limit_bytes(self) -> int:
        """Of `bytes_waiting`; 0 = none ever wait."""
        return self._backend.waiting_limit_bytes

    @property
    def way(self) -> str:
        """How chunks reach the disk, and why so; "" before the first frame."""
        if self.format is None:
            return ""
        pinned_s, least_s = self._pinned.checkpoint_s, self._backend.least_checkpoint_s
        every = f"{pinned_s:g} s (asked for)" if pinned_s else f"{least_s:g} to {CHECKPOINT_S:g} s"
        return f"{self.choice.backend.value} ({self.choice.reason}): {self._backend.details}, checkpoints each {every}"

    @property
    def lost_texts(self) -> int:
        """Frames whose metadata besides the columns had no room."""
        return self._columns.lost_texts

    def planned_path(self) -> Path:
        """Where `finish` will publish, as things stand."""
        return self._free_final()

    def abandon(self) -> None:
        """Take back a file into which nothing was written. One that holds frames is closed and stays as `.part`.

        FileError when the empty file cannot be removed: it would be in the way of the next run.
        """
        self._reserve.give_back()
        file, self._file = self._file, None
        if file is not None:
            close_anyhow(file, broken=self._refused)
        if self._entered:
            self._entered = False
            self._backend.give_up()
        if self.bytes_written == 0:
            with self._errors("remove the empty file of"), contextlib.suppress(FileNotFoundError):
                unlink_there(self.destination.part)
        with contextlib.suppress(OSError):
            release(self.destination.part)

    def kept_numbers(self) -> Numbers:
        """After `abandon`: of the frames that can be read, as it is or after a recovery."""
        return kept_numbers([self.destination.part])

    # -- inside ------------------------------------------------------------------------------------------------------

    def _link(self, file: h5py.File) -> None:
        """What leads a reader to the pixels."""
        link_default_plot(file, self._detector)

    def _publish(self) -> Path:
        part = self.destination.part
        if self._overwrite:
            aside = move_aside(self.destination.final)
            if aside is not None:
                with contextlib.suppress(OSError):  # what cannot be moved, `write_manifest` meets again, and tells
                    move_manifest(manifest_path(self.destination.final), manifest_path(aside))
        final = self._free_final()
        give_name(part, final)
        sync_directory(final.parent)
        self._backend.published()
        release(part)
        return final

    def _free_final(self) -> Path:
        final = self.destination.final
        if self._overwrite or not os.path.lexists(final):
            return final
        # Somebody took the name during the run: nothing is lost, nothing replaced.
        return first_free(f"publish the file {final}", lambda n: final.with_name(f"{final.stem}_{n}{final.suffix}"))

    def _grow(self, rows: int) -> None:
        self._room = max(rows, 2 * self._room)
        with self._errors("grow the file"):
            self._backend.grow(self._room)

    def _open_file(self) -> h5py.File:
        if self._file is None:
            raise self._closed()
        return self._file

    def _closed(self) -> FileError:
        return FileError("use the file", of=str(self.destination.final), answer="it is closed")

    @contextlib.contextmanager
    def _errors(self, asked: str) -> Iterator[None]:
        try:
            with told_as_file_error(asked, self.destination):
                yield
        except FileError:
            self._refused = True
            raise


def _refuse(row: int, blobs: Sequence[Buffer], hasher: Hasher) -> int:
    raise ValueError("no frame can be written now")


def check_detector_name(detector: str) -> None:
    """FileError for what HDF5 or a C reader would misunderstand."""
    if not DETECTOR_NAME.fullmatch(detector):
        raise FileError(
            f"store the frames of a detector named {detector!r}",
            answer="not a name in a file",
            accepted="letters, digits, '_', '-' and '.', beginning with a letter, a digit or '_'",
        )
