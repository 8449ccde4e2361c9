"""Two ways to bring chunks into an HDF5 file, behind one interface; the layout and its tests are the same.

    swmr      HDF5 writes through the page cache; readers may open the growing file with swmr=True
    direct    pixels go past HDF5 and the page cache, a log says where they lie; an HDF5 file again when it is closed

`direct` is 5 to 10 times cheaper in processor time, `swmr` is kinder to whoever looks at a file while it grows: so
`auto` takes `direct` where the data rate makes it worth while. A file that was begun is never changed over.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import h5py
import numpy as np

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.closed_state import keep_state, remove_state
from maxdaq_tango.files.columns import FrameColumns, scatter
from maxdaq_tango.files.completion import LIBVER, complete, describe
from maxdaq_tango.files.frame_log import FrameLog, LogBlock, LogEnd, remove_log
from maxdaq_tango.files.rows import turn_aside
from maxdaq_tango.files.slabs import ALIGNMENT, Hasher, SlabPool, SlabWriter
from maxdaq_tango.files.troubles import LIBRARY_ERRORS, close_anyhow, in_order
from maxdaq_tango.files.whereabouts import folder_at, hdf5_there
from maxdaq_tango.model import Buffer

Versions = tuple[str, str]

SLAB_NBYTES = 16 << 20
"""A block of GPFS. On a local disk a tenth faster than 4 MiB."""
SMALLEST_SLAB = 1 << 18
FEWEST_SLABS, MOST_SLABS = 4, 6
WRITER_THREADS = 2
"""More made nothing faster on a local disk (measured 1, 2 and 4)."""

_POOL = SlabPool()
"""Of the process: one run after the other uses the same memory."""


class Backend(Protocol):
    """From the moment when the datasets are made to the moment when the last chunk is in."""

    libver: Versions
    """Of the file. Never 'latest': with HDF5 2 that makes files which neggia and HDF5 1.10 refuse."""
    least_checkpoint_s: float
    """Checkpoints closer together would cost more than they are worth."""

    @property
    def details(self) -> str:
        """How it goes about it, for people."""
        ...

    @property
    def bytes_waiting(self) -> int:
        """Taken, and not yet given to the file system."""
        ...

    @property
    def waiting_limit_bytes(self) -> int:
        """Of `bytes_waiting`; 0 = none ever wait."""
        ...

    @property
    def unsafe(self) -> int:
        """Frames that the next checkpoint may still make safe."""
        ...

    @property
    def safe(self) -> int:
        """Frames, since the file was made, that a kill would leave readable."""
        ...

    def enter(self, file: h5py.File, data: str, columns: FrameColumns) -> None:
        """Take over a file with its datasets made; `data` is the path of the pixels. OSError."""
        ...

    def resume(self, data: str, columns: FrameColumns) -> None:
        """Take over the file again after `leave`, before `published`; what is in it stays safe. OSError."""
        ...

    def wait_room(self, nbytes: int, timeout_s: float) -> bool:
        """Whether so many bytes can be written without waiting for the disk, at once or after `timeout_s`."""
        ...

    def write(self, row: int, blobs: Sequence[Buffer], hasher: Hasher) -> int:
        """The chunks of a frame; returns their bytes. OSError."""
        ...

    def grow(self, rows: int) -> None:
        """Make room for more rows."""
        ...

    def checkpoint(self, *, wait: bool) -> None:
        """What was written so far and noted in the columns survives a kill; without `wait` very soon. OSError."""
        ...

    def look(self) -> None:
        """What the disk has written meanwhile is made safe. Cheap, and never waits for a busy disk. OSError."""
        ...

    def leave(self, end: LogEnd | None = None) -> None:
        """Close in order: the file on disk is whole, its rows turned as `end` says. OSError, FileError."""
        ...

    def give_up(self) -> None:
        """Close whatever the disk says; what the last checkpoint had stays readable. Raises nothing."""
        ...

    def published(self) -> None:
        """The file has its final name: nothing beside it is needed any more."""
        ...


class SwmrBackend:
    """HDF5's own: sec2 driver, format v110, single writer and multiple readers."""

    libver: Versions = ("v110", "v110")
    least_checkpoint_s = 0.1
    details = "through the page cache"
    bytes_waiting = 0
    waiting_limit_bytes = 0
    unsafe = 0
    safe = 0

    def __init__(self, part: Path, corners: Sequence[tuple[int, ...]] = ()) -> None:
        """`corners` of the chunks in a frame."""
        self._part = part
        self._corners = corners
        self._file: h5py.File | None = None
        self._refused = False

    def enter(self, file: h5py.File, data: str, columns: FrameColumns) -> None:
        """Nothing can be created from now on."""
        file.swmr_mode = True
        self._file, self._data, self._columns = file, file[data], columns
        self._datasets = [self._data.parent[column.path] for column in columns.columns]
        self._write_chunk = self._data.id.write_direct_chunk

    def resume(self, data: str, columns: FrameColumns) -> None:
        """As any file of this format."""
        remove_state(self._part)  # which will soon be that of another file
        self.enter(hdf5_there(self._part, "r+", libver=self.libver), data, columns)

    def wait_room(self, nbytes: int, timeout_s: float) -> bool:
        """Whether the page cache will take them at once, nobody knows."""
        return True

    def write(self, row: int, blobs: Sequence[Buffer], hasher: Hasher) -> int:
        """One call of HDF5 a chunk."""
        stored = 0
        for corner, blob in zip(self._corners, blobs, strict=True):
            self._write_chunk((row, *corner), blob, 0)
            hasher.update(blob)
            stored += len(blob)
        return stored

    def grow(self, rows: int) -> None:
        """Pixels and columns."""
        for dataset in (self._data, *self._datasets):
            dataset.resize(rows, axis=0)

    def checkpoint(self, *, wait: bool) -> None:
        """SWMR's order of writes makes each flush a consistent file."""
        self._refused = True  # unless all of it is taken
        rows, values = self._columns.take()
        for dataset, fresh in zip(self._datasets, values, strict=True):
            scatter(dataset, rows, fresh)
        self._open_file().flush()
        self.safe += len(rows)
        self._refused = False

    def look(self) -> None:
        """A flush leaves nothing over."""

    def leave(self, end: LogEnd | None = None) -> None:
        """An ordinary close; rows that are to be turned are copied behind the others."""
        self.checkpoint(wait=True)
        name = self._data.name
        file, self._file = self._open_file(), None
        file.close()
        with folder_at(self._part.parent):
            keep_state(self._part, name)
        if end is not None:
            with in_order(hdf5_there(self._part, "r+", libver=self.libver)) as file:
                group = file[name].parent
                turn_aside(group, end.rotation, end.modulus)
                self._columns.turn(group, end.rotation, end.modulus)

    def give_up(self) -> None:
        """With a last checkpoint where the disk takes it, and has refused none. See `close_anyhow`."""
        if self._file is not None and not self._refused:
            with contextlib.suppress(*LIBRARY_ERRORS):
                self.checkpoint(wait=True)
        file, self._file = self._file, None
        if file is not None:
            close_anyhow(file, broken=self._refused)

    def published(self) -> None:
        """The state before its end has done its duty."""
        remove_state(self._part)

    def _open_file(self) -> h5py.File:
        assert self._file is not None
        return self._file


class DirectBackend:
    """Our own: pixels through `SlabWriter`, what belongs to them into a `FrameLog`, and `complete` at the end."""

    libver: Versions = LIBVER
    least_checkpoint_s = 0.5

    def __init__(self, part: Path, chunk_count: int, memory_bytes: int, slab_nbytes: int = 0) -> None:
        """`chunk_count` chunks in a frame. `slab_nbytes`: 0 = a block of GPFS, or what the memory is enough for."""
        self._part = part
        self._chunk_count = chunk_count
        slab = slab_nbytes or SLAB_NBYTES
        while not slab_nbytes and slab > SMALLEST_SLAB and FEWEST_SLABS * slab > memory_bytes:
            slab //= 2
        self.slab_nbytes, self.slab_count = slab, max(2, min(MOST_SLABS, memory_bytes // slab))
        self._slabs: SlabWriter | None = None
        self._log: FrameLog | None = None
        self._offsets: list[int] = []
        self._lengths: list[int] = []
        self._pending: deque[tuple[int, LogBlock]] = deque()  # (end of its pixels in the file, block)
        self.safe = 0
        """See `Backend`."""

    @property
    def details(self) -> str:
        """Slabs, and whether the file system takes O_DIRECT."""
        how = "O_DIRECT" if self._slabs is None or self._slabs.direct else "O_DIRECT refused, page cache"
        return f"{self.slab_count} slabs of {self.slab_nbytes / (1 << 20):g} MiB, {how}"

    @property
    def bytes_waiting(self) -> int:
        """In slabs that are full."""
        return self._slabs.bytes_waiting if self._slabs is not None else 0

    @property
    def waiting_limit_bytes(self) -> int:
        """All slabs."""
        return self.slab_count * self.slab_nbytes

    @property
    def unsafe(self) -> int:
        """In blocks whose pixels were on their way to the disk at the last checkpoint."""
        return sum(len(block.rows) for _, block in self._pending)

    def enter(self, file: h5py.File, data: str, columns: FrameColumns) -> None:
        """Closed for HDF5; the pixels follow behind its layout."""
        with in_order(file):
            pass
        header = describe(self._part, data, tuple((column.path, column.dtype) for column in columns.columns))
        self._columns = columns
        self._log = FrameLog(self._part, header)
        self._open_slabs_at(header.data_start)

    def resume(self, data: str, columns: FrameColumns) -> None:
        """Pixels follow behind everything that is there; the index is made anew, from the whole log, in the end."""
        self._columns = columns
        self._log = FrameLog(self._part, None)
        self._open_slabs_at(-(-self._part.stat().st_size // ALIGNMENT) * ALIGNMENT)

    def _open_slabs_at(self, start: int) -> None:
        self._slabs = SlabWriter(
            self._part,
            start=start,
            slab_nbytes=self.slab_nbytes,
            slabs=self.slab_count,
            threads=min(WRITER_THREADS, self.slab_count),
            pool=_POOL,
        )
        self._append = self._slabs.append

    def wait_room(self, nbytes: int, timeout_s: float) -> bool:
        """In slabs that are free."""
        return self._slabs is None or self._slabs.wait_room(nbytes, timeout_s)

    def write(self, row: int, blobs: Sequence[Buffer], hasher: Hasher) -> int:
        """One copy into a slab, and its place remembered."""
        if len(blobs) != self._chunk_count:
            raise ValueError(f"{len(blobs)} chunks for a frame of {self._chunk_count}")
        stored = 0
        for blob in blobs:
            self._offsets.append(self._append(blob, hasher))
            nbytes = len(blob)
            self._lengths.append(nbytes)
            stored += nbytes
        return stored

    def grow(self, rows: int) -> None:
        """The datasets get their size when the file is closed."""

    def checkpoint(self, *, wait: bool) -> None:
        """A quiet disk is waited for, a busy one not: then the frames are safe as soon as it has come so far."""
        slabs = self._open_slabs()
        self._take_block(slabs.end)
        if slabs.bytes_waiting and not wait:
            slabs.advance()
        else:
            slabs.flush()
        self._log_until(slabs.safe_end)

    def look(self) -> None:
        """The last block of a checkpoint may end within a block of the disk, which only a flush writes."""
        if not self._pending:
            return
        slabs = self._open_slabs()
        if not slabs.bytes_waiting and slabs.safe_end < self._pending[-1][0]:
            slabs.flush()
        self._log_until(slabs.safe_end)

    def leave(self, end: LogEnd | None = None) -> None:
        """Pixels to the disk, the log complete, and all of it made one file; rows are turned in its index."""
        slabs = self._open_slabs()
        self._take_block(slabs.end)
        slabs.close()
        self._log_until(slabs.end)
        if end is not None and self._log is not None:
            self._log.append_end(end)
        self._release()
        complete(self._part)

    def give_up(self) -> None:
        """Made one file as far as the disk has come; where that fails too, `maxdaq recover` may do it later."""
        slabs = self._slabs
        if slabs is not None:
            self._take_block(slabs.end)
            with contextlib.suppress(*LIBRARY_ERRORS):
                slabs.flush()
            with contextlib.suppress(OSError):
                self._log_until(slabs.safe_end)
            slabs.abandon()
        self._release()
        with contextlib.suppress(OSError, FileError, RuntimeError, ValueError, KeyError):
            complete(self._part)
            remove_log(self._part)

    def published(self) -> None:
        """The log has done its duty."""
        remove_log(self._part)

    def _take_block(self, end: int) -> None:
        rows, columns = self._columns.take()
        if not len(rows):
            return
        shape = (len(rows), self._chunk_count)
        count = len(rows) * self._chunk_count  # there are more where the last frame was refused in the midst of it
        offsets, lengths = np.array(self._offsets[:count], "u8"), np.array(self._lengths[:count], "u4")
        block = LogBlock(rows, offsets.reshape(shape), lengths.reshape(shape), columns)
        self._offsets, self._lengths = [], []
        self._pending.append((end, block))

    def _log_until(self, safe_end: int) -> None:
        """Also the part of a block that a slow disk has taken: the rest may wait for long."""
        assert self._log is not None
        while self._pending:
            end, block = self._pending[0]
            count = len(block.rows) if end <= safe_end else block.until(safe_end)
            if not count:
                return
            done, rest = block.split(count)
            self._log.append(done)
            self.safe += count
            if len(rest.rows):
                self._pending[0] = (end, rest)
            else:
                self._pending.popleft()

    def _release(self) -> None:
        self._slabs = None
        if self._log is not None:
            self._log.close()

    def _open_slabs(self) -> SlabWriter:
        assert self._slabs is not None
        return self._slabs
