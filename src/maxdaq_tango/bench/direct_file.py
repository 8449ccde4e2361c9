"""The least that writing can cost: large aligned blocks from reused memory, past the page cache, by a few threads."""

from __future__ import annotations

import mmap
import os
import queue
import threading
from pathlib import Path

from maxdaq_tango.errors import FileError

SLAB = 16 << 20
"""Bytes of one write; the block of a large GPFS."""
SLABS = 6
WRITERS = 2
ALIGNMENT = 4096


class Slabs:
    """Aligned memory that is touched once and used in every turn."""

    def __init__(self) -> None:
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # shared memory gets no huge pages
        self.all = [mmap.mmap(-1, SLAB, flags=private) for _ in range(SLABS)]
        for slab in self.all:
            if hasattr(mmap, "MADV_HUGEPAGE"):
                slab.madvise(mmap.MADV_HUGEPAGE)
            slab.write(bytes(SLAB))


class DirectFile:
    """One file. `append` copies into slabs, `write_slab` writes one as it is; one of the two a file."""

    def __init__(self, path: Path, slabs: Slabs) -> None:
        """Makes the file, which must not exist, and starts the writers."""
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        self.is_direct = True
        try:
            self._handle = os.open(path, flags | os.O_DIRECT, 0o600)
        except OSError:  # a file system without direct I/O; the file may have been made all the same
            path.unlink(missing_ok=True)
            self.is_direct = False
            self._handle = os.open(path, flags, 0o600)
        self._path = path
        self._free: queue.SimpleQueue[mmap.mmap] = queue.SimpleQueue()
        self._full: queue.SimpleQueue[tuple[mmap.mmap, int] | None] = queue.SimpleQueue()
        for slab in slabs.all:
            self._free.put(slab)
        self._slab = self._free.get()
        self._view = memoryview(self._slab)
        self._used = 0
        self._offset = 0
        self._error: OSError | None = None
        self._writers = [
            threading.Thread(target=self._write, name=f"floor writer {n}", daemon=True) for n in range(WRITERS)
        ]
        for writer in self._writers:
            writer.start()

    def append(self, data: memoryview | bytes) -> None:
        """Copy `data` behind what is there."""
        left, used = len(data), self._used
        if used + left < SLAB:
            self._view[used : used + left] = data
            self._used = used + left
            return
        view = memoryview(data)
        while view:
            part = view[: SLAB - self._used]
            self._view[self._used : self._used + len(part)] = part
            self._used += len(part)
            view = view[len(part) :]
            if self._used == SLAB:
                self._hand_over()

    def write_slab(self) -> None:
        """Write one slab with whatever lies in it."""
        self._used = SLAB
        self._hand_over()

    def finish(self, nbytes: int) -> None:
        """Write the rest, cut the file to `nbytes`, have it on the disk, close. FileError when a write failed."""
        if self._used:
            self._full.put((self._slab, self._offset))
        for _ in self._writers:
            self._full.put(None)
        for writer in self._writers:
            writer.join()
        try:
            if self._error is not None:
                raise self._error
            os.ftruncate(self._handle, nbytes)
            os.fdatasync(self._handle)
        except OSError as error:
            raise FileError("write a floor's file", of=str(self._path), answer=error.strerror or str(error)) from None
        finally:
            os.close(self._handle)

    def _hand_over(self) -> None:
        self._full.put((self._slab, self._offset))
        self._offset += SLAB
        self._slab = self._free.get()
        self._view = memoryview(self._slab)
        self._used = 0

    def _write(self) -> None:
        while (job := self._full.get()) is not None:
            slab, offset = job
            try:
                if self._error is None:
                    view = memoryview(slab)
                    while view:  # a write may take less than it was given
                        count = os.pwrite(self._handle, view, offset)
                        view, offset = view[count:], offset + count
            except OSError as error:
                self._error = error  # the other writer may overwrite it with its own: either tells enough
            self._free.put(slab)
