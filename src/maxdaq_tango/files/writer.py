"""One series into one HDF5 file that is readable at every moment of its life.

The SWMR backend (sec2 driver, format v110): datasets are pre-sized and made before the first frame, ids are kept,
per-frame values are collected and written in blocks, and everything is flushed every FLUSH_FRAMES frames or FLUSH_S
seconds. Measured: 14 us a frame where growing datasets frame by frame costs 1068 us, and no flushed frame lost in 25 of
25 kills, read with swmr=True.

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
from typing import Any, NamedTuple

import h5py
import hdf5plugin
import numpy as np
import xxhash

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.layout import link_default_plot, make_skeleton, store_arrays, store_metadata, stored_rows
from maxdaq_tango.files.paths import Destination, give_name, move_aside, sync_directory
from maxdaq_tango.files.receipt import store_receipt
from maxdaq_tango.model import Buffer, Encoding, FrameFormat, Receipt

FLUSH_FRAMES = 100
FLUSH_S = 1.0
FIXED_ROWS = 1_000_000
"""Above this the chunk index of a fixed-shape dataset (16 bytes a row, allocated at once) is dearer than growing."""
GROW_ROWS = 1024
LIBVER = ("v110", "v110")
"""Never 'latest': with HDF5 2 that makes files which neggia and HDF5 1.10 refuse."""

DETECTOR_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
"""Without what HDF5 takes for a path; ASCII, because C readers go by this name."""

NAN = float("nan")

_COLUMNS: dict[str, tuple[str, float | int, str]] = {
    "sequence_number": ("u8", 0, ""),
    "start_time": ("f8", NAN, "s"),
    "stop_time": ("f8", NAN, "s"),
    "real_time": ("f8", NAN, "s"),
    "exposure_time": ("f8", NAN, "s"),
    "daq/receive_time": ("f8", NAN, "s"),
    "daq/chunk_checksum": ("u8", 0, ""),
    "daq/frame_valid": ("u1", 0, ""),
}
"""Per-frame arrays: type, value of a row without a frame, unit."""


class FrameTimes(NamedTuple):
    """Times of one frame in seconds, NaN = not told. The detector's clock, except `received` (UNIX time)."""

    start: float = NAN
    stop: float = NAN
    real: float = NAN
    exposure: float = NAN
    received: float = NAN


class SeriesFile:
    """See the module. `bytes_written` counts pixel chunks, blanks included."""

    def __init__(self, destination: Destination, *, detector: str, software: str, overwrite: bool = False) -> None:
        """Reserve the name: makes missing folders and an empty `.part` file that must not have existed."""
        self.destination = destination
        self.dataset = f"/entry/instrument/{detector}/data"
        self.bytes_written = 0
        self.format: FrameFormat | None = None
        self._file: h5py.File | None = None
        self._detector = detector
        self._overwrite = overwrite
        self._pending = 0
        self._touched: tuple[int, int] | None = None
        self._flushed_at = time.monotonic()
        self._columns: dict[str, np.ndarray[Any, Any]] = {}
        self._column_sets: dict[str, h5py.Dataset] = {}
        if not DETECTOR_NAME.fullmatch(detector):
            raise FileError(
                f"store the frames of a detector named {detector!r}",
                answer="not a name in a file",
                accepted="letters, digits, '_', '-' and '.', beginning with a letter, a digit or '_'",
            )
        with self._errors("create the file"):
            destination.part.parent.mkdir(parents=True, exist_ok=True)
            if destination.part.exists():
                raise FileError(
                    f"create the file {destination.final}",
                    of=str(destination.part),
                    answer="an unfinished file of that name exists: another run is writing it, or one died",
                    accepted="another name; or recover or move the .part file first",
                )
            try:
                self._file = h5py.File(destination.part, "x", libver=LIBVER, locking=False)
                self._group = make_skeleton(self._file, detector, software)
                self._file.flush()
            except FileExistsError:
                raise  # made since we looked, by somebody else: it is theirs
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
    ) -> None:
        """Make every dataset. `fill` is the value of every pixel where no frame came."""
        file, group = self._open_file(), self._group
        self.format, self._fill = format, fill
        fixed = rows is not None and 0 < rows <= FIXED_ROWS
        first_rows = rows if fixed and rows else min(rows or GROW_ROWS, GROW_ROWS)
        self._grows = not fixed
        with self._errors("lay out the file"):
            store_metadata(group, metadata)
            store_arrays(group, arrays)
            self._data = group.create_dataset(
                "data",
                shape=(first_rows, *format.shape),
                maxshape=(first_rows if fixed else None, *format.shape),
                dtype=format.dtype,
                chunks=(1, *format.chunk),
                fillvalue=np.array(fill, dtype=format.dtype)[()],
                **_filter_of(format),
            )
            for name, (dtype, empty, unit) in _COLUMNS.items():
                self._columns[name] = np.full(first_rows, empty, dtype=dtype)
                dataset = group.create_dataset(
                    name,
                    shape=(first_rows,),
                    maxshape=(first_rows if fixed else None,),
                    dtype=dtype,
                    chunks=(min(first_rows, 4096),),
                    fillvalue=np.array(empty, dtype=dtype)[()],
                )
                if unit:
                    dataset.attrs["units"] = np.bytes_(unit.encode() + b"\0")
                self._column_sets[name] = dataset
            link_default_plot(file, self._detector)
            self._offsets = _chunk_offsets(format)
            self._write_chunk = self._data.id.write_direct_chunk
            file.swmr_mode = True

    def write(self, row: int, frame_number: int, blobs: Sequence[Buffer], times: FrameTimes) -> int:
        """Store one frame; the blobs must already fit the format. Returns the bytes stored."""
        if self._grows and row >= len(self._columns["sequence_number"]):
            self._grow(row + 1)
        hasher = xxhash.xxh3_64()
        stored = 0
        with self._errors("write a frame"):
            for offset, blob in zip(self._offsets, blobs, strict=True):
                self._write_chunk((row, *offset), blob, 0)
                hasher.update(blob)
                stored += blob.nbytes if isinstance(blob, memoryview) else len(blob)
        columns = self._columns
        columns["sequence_number"][row] = frame_number
        columns["start_time"][row], columns["stop_time"][row] = times.start, times.stop
        columns["real_time"][row], columns["exposure_time"][row] = times.real, times.exposure
        columns["daq/receive_time"][row] = times.received
        columns["daq/chunk_checksum"][row] = hasher.intdigest()
        columns["daq/frame_valid"][row] = 1
        low, high = self._touched or (row, row)
        self._touched = (min(low, row), max(high, row))
        self._pending += 1
        self.bytes_written += stored
        if self._pending >= FLUSH_FRAMES:
            self.checkpoint()
        return stored

    def checkpoint_if_due(self, now: float) -> None:
        """Call when nothing arrives: what was written becomes readable within FLUSH_S."""
        if self._pending and now - self._flushed_at >= FLUSH_S:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Everything written so far becomes readable for others, and survives a kill of this process."""
        file = self._open_file()
        with self._errors("flush the file"):
            if self._touched is not None:
                low, high = self._touched
                for name, dataset in self._column_sets.items():
                    dataset[low : high + 1] = self._columns[name][low : high + 1]
            file.flush()
        self._touched, self._pending, self._flushed_at = None, 0, time.monotonic()

    # -- the end -----------------------------------------------------------------------------------------------------

    def settle(self, valid: np.ndarray[Any, Any], first: int, rotation: int, modulus: int | None) -> None:
        """Bring the rows into their final order and number: `valid[r]` tells whether row r holds a frame.

        Rows without a frame get blank chunks: readers crash on holes, and zeros would look like real counts.
        """
        if self.format is None:
            return
        self.checkpoint()
        rows = len(valid)
        with self._errors("close the file"):
            self._open_file().close()
            file = self._file = h5py.File(self.destination.part, "r+", libver=LIBVER, locking=False)
            group = file[self.dataset].parent
            data = group["data"]
            needed = max(rows + rotation, modulus or 0) if rotation else rows
            if self._grows and needed > data.shape[0]:
                data.resize(needed, axis=0)
            if rotation:
                _turn_rows(data, self._offsets, rotation, modulus)
            self._blank_rows(data, np.flatnonzero(~valid))
            data.resize(rows, axis=0)
            for name in _COLUMNS:
                column = _padded(self._columns[name], max(needed, rows), _COLUMNS[name][1])
                column = (np.roll(column[:modulus], -rotation) if modulus else column[rotation:])[:rows]
                column = _padded(column, rows, _COLUMNS[name][1])
                if name == "sequence_number":
                    column[:] = np.arange(first, first + rows, dtype=column.dtype)
                group[name].resize(rows, axis=0)
                group[name][...] = column
            self._group = group

    def finish(self, receipt: Receipt) -> Path:
        """Add the receipt and publish the file; returns its final path."""
        file = self._open_file()
        with self._errors("close the file"):
            store_receipt(self._group["daq"], receipt)
            file.flush()
            os.fdatasync(file.id.get_vfd_handle())
            self._file = None
            file.close()
            return self._publish()

    def planned_path(self) -> Path:
        """Where `finish` will publish, as things stand."""
        return self._free_final()

    def abandon(self) -> None:
        """Take back a file into which nothing was written. One that holds frames is closed and stays as `.part`.

        FileError when the empty file cannot be removed: it would be in the way of the next run.
        """
        file, self._file = self._file, None
        if file is not None:
            self._let_go(file)
        if self.bytes_written == 0:
            with self._errors("remove the empty file of"), contextlib.suppress(FileNotFoundError):
                self.destination.part.unlink()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _blank_rows(self, data: h5py.Dataset, rows: np.ndarray[Any, Any]) -> None:
        """The first one goes through HDF5's own filter, which packs it like every other chunk; the others copy it."""
        if not len(rows):
            return
        first = int(rows[0])
        data[first] = self._fill
        data.flush()
        chunks = [_read(data, first, offset) for offset in self._offsets]
        for row in rows[1:]:
            for offset, chunk in zip(self._offsets, chunks, strict=True):
                data.id.write_direct_chunk((int(row), *offset), chunk, 0)
        self.bytes_written += len(rows) * sum(len(chunk) for chunk in chunks)

    def _publish(self) -> Path:
        part = self.destination.part
        if self._overwrite:
            move_aside(self.destination.final)
        final = self._free_final()
        give_name(part, final)
        sync_directory(final.parent)
        return final

    def _free_final(self) -> Path:
        final = self.destination.final
        if self._overwrite or not os.path.lexists(final):
            return final
        for number in range(1, 10_000):  # somebody took the name during the run: nothing is lost, nothing replaced
            other = final.with_name(f"{final.stem}_{number}{final.suffix}")
            if not os.path.lexists(other):
                return other
        raise FileError(f"publish the file {final}", answer="10000 files of that name exist", accepted="another name")

    def _let_go(self, file: h5py.File) -> None:
        """Close, whatever the disk says; what was flushed before stays readable.

        HDF5 cannot close a file that it can no longer write, and h5py crashes when it tries to again (measured: a
        segmentation fault after every full disk). So its descriptor is pointed at scratch memory first.
        """
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            try:
                file.flush()
            except (OSError, RuntimeError, ValueError):
                scratch = os.memfd_create("maxdaq-scratch")
                try:
                    os.dup2(scratch, file.id.get_vfd_handle(), inheritable=False)
                finally:
                    os.close(scratch)
            file.close()

    def _grow(self, rows: int) -> None:
        rows = max(rows, 2 * len(self._columns["sequence_number"]))
        with self._errors("grow the file"):
            self._data.resize(rows, axis=0)
            for name, (_, empty, _) in _COLUMNS.items():
                old = self._columns[name]
                self._columns[name] = np.concatenate([old, np.full(rows - len(old), empty, dtype=old.dtype)])
                self._column_sets[name].resize(rows, axis=0)

    def _open_file(self) -> h5py.File:
        if self._file is None:
            raise FileError("use the file", of=str(self.destination.final), answer="it is closed")
        return self._file

    @contextlib.contextmanager
    def _errors(self, asked: str) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError, ValueError) as error:  # h5py reports failures of the library as any of these
            number = getattr(error, "errno", None) or _errno_in(str(error))
            text = f"{os.strerror(number)} (errno {number})" if number else str(error)
            raise FileError(f"{asked} {self.destination.final}", of=str(self.destination.part), answer=text) from error


def _errno_in(text: str) -> int | None:
    """HDF5 often has the system's error number in the middle of its text alone."""
    found = re.search(r"\berrno = (\d+)", text)
    return int(found[1]) if found else None


def _filter_of(format: FrameFormat) -> dict[str, Any]:
    """h5py's keywords for the filter whose output the blobs already are."""
    if format.encoding is Encoding.NONE:
        return {}
    if format.encoding is Encoding.BSLZ4:
        return {"compression": hdf5plugin.BSHUF_ID, "compression_opts": (0, 2)}
    if format.encoding is Encoding.BSZSTD:
        return {"compression": hdf5plugin.BSHUF_ID, "compression_opts": (0, 3)}
    if format.encoding is Encoding.LZ4_HDF5:
        return {"compression": hdf5plugin.LZ4_ID, "compression_opts": (0,)}
    raise FileError(
        "lay out the file",
        answer=f"pixels packed as {format.encoding.value!r} are no HDF5 chunk",
        accepted="none, bslz4, bszstd, lz4",
    )


def _chunk_offsets(format: FrameFormat) -> list[tuple[int, ...]]:
    """Corner of each chunk inside a frame, in C order of the chunk grid."""
    counts = [size // chunk for size, chunk in zip(format.shape, format.chunk, strict=True)]
    return [tuple(i * c for i, c in zip(index, format.chunk, strict=True)) for index in np.ndindex(*counts)]


def _padded(column: np.ndarray[Any, Any], rows: int, empty: float | int) -> np.ndarray[Any, Any]:
    """A copy with at least `rows` rows, the new ones empty."""
    return np.concatenate([column, np.full(max(0, rows - len(column)), empty, column.dtype)])


def _turn_rows(data: h5py.Dataset, offsets: list[tuple[int, ...]], rotation: int, modulus: int | None) -> None:
    """New row r = old row (r + rotation) mod modulus, chunk by chunk and without decoding.

    Only for senders that do not count from 0. Each cycle of the permutation needs one chunk of memory.
    """
    total = data.shape[0]
    written = stored_rows(data)
    for offset in offsets:
        if modulus is None:
            for row in range(rotation, total):
                if row in written:
                    data.id.write_direct_chunk((row - rotation, *offset), _read(data, row, offset), 0)
            continue
        for start in range(int(np.gcd(rotation, modulus))):
            held = _read(data, start, offset) if start in written else None
            row = start
            while True:
                source = (row + rotation) % modulus
                chunk = held if source == start else (_read(data, source, offset) if source in written else None)
                if chunk is not None:
                    data.id.write_direct_chunk((row, *offset), chunk, 0)
                if source == start:
                    break
                row = source


def _read(data: h5py.Dataset, row: int, offset: tuple[int, ...]) -> bytes:
    chunk: bytes = data.id.read_direct_chunk((row, *offset))[1]
    return chunk
