"""The file object that HDF5 writes to when pixels go past it: chunks to the slabs, everything else into memory.

h5py's `fileobj` driver hands each write of HDF5 to `write`: measured 6 us a frame, because a direct chunk comes as the
very buffer that was given to it. HDF5 chooses the place and keeps the index, so the result is an ordinary file.

Metadata stay in an overlay. The file on disk gets them when it is closed, and until then the side file of the last
checkpoint has them (`checkpoint.py`): a kill at any instant leaves either the one or the other.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np

from maxdaq_tango.files.checkpoint import lay_over, write_checkpoint
from maxdaq_tango.files.overlay import MetadataOverlay
from maxdaq_tango.files.slabs import SlabWriter
from maxdaq_tango.model import Buffer

NO_METADATA = 16 << 10
"""Nothing that HDF5 writes by itself while it takes a chunk is as long as that (a node of its index: 3 kB)."""


class DirectFile:
    """What h5py calls a file-like object; one thread at a time. Errors are OSError, as HDF5 expects them."""

    def __init__(self, part: Path, slabs: SlabWriter) -> None:
        """`part` is a closed HDF5 file with its datasets made."""
        self._part = part
        self._slabs = slabs
        self._handle = os.open(part, os.O_RDWR)
        self._laid_out = self._end = os.fstat(self._handle).st_size
        self._overlay = MetadataOverlay()
        self._position = 0
        self._chunk: Buffer | None = None

    # ---- for the writer of the series ----

    @property
    def is_direct(self) -> bool:
        """The page cache is gone round; False where the file system has refused that."""
        return self._slabs.direct

    @property
    def bytes_waiting(self) -> int:
        """On their way to the disk."""
        return self._slabs.bytes_waiting

    def wait_room(self, nbytes: int, timeout_s: float) -> bool:
        """See `SlabWriter.wait_room`."""
        return self._slabs.wait_room(nbytes, timeout_s)

    def expect(self, blob: Buffer) -> None:
        """The next write from this memory is a chunk."""
        self._chunk = blob

    def checkpoint(self) -> None:
        """After HDF5's own flush: all of it can be recovered from the two files."""
        self._slabs.flush()
        write_checkpoint(self._part, self._end, self._overlay.extents())

    def settle(self) -> None:
        """After HDF5 has closed its side: the file on disk becomes whole."""
        self._slabs.close()
        lay_over(self._handle, self._end, self._overlay.extents())
        os.ftruncate(self._handle, self._end)

    def release(self) -> None:
        """Let go of everything; what has not been settled is left to the last checkpoint. Harmless twice."""
        self._slabs.abandon()
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    # ---- for HDF5 ----

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Absolute, or from the end, which is how HDF5 asks for the length."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._end}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Present position."""
        return self._position

    def write(self, data: Buffer) -> int:
        """A chunk goes to the slabs, all else into the overlay."""
        nbytes, offset = len(data), self._position
        chunk = self._chunk
        if chunk is not None and nbytes == len(chunk) and (nbytes >= NO_METADATA or _is_same(chunk, data)):
            self._chunk = None
            if offset >= self._laid_out:
                self._slabs.put(offset, data)
                if offset < self._overlay.end:
                    self._overlay.forget(offset, nbytes)
            else:  # into a gap between what was there before the first frame
                self._overlay.write(offset, data)
        else:
            self._overlay.write(offset, data)
        self._position = offset + nbytes
        self._end = max(self._end, self._position)
        return nbytes

    def readinto(self, target: Buffer) -> int:
        """What was written before, wherever it is at the moment."""
        view = memoryview(target).cast("B")
        nbytes = max(0, min(len(view), self._end - self._position))
        view = view[:nbytes]
        if not self._overlay.covers(self._position, nbytes):
            if self._position + nbytes > self._laid_out:
                self._slabs.flush()
            there = os.pread(self._handle, nbytes, self._position)
            view[:] = there.ljust(nbytes, b"\0")
        self._overlay.patch(self._position, view)
        self._position += nbytes
        return nbytes

    def read(self, nbytes: int = -1) -> bytes:
        """h5py takes a file for one only when it has this."""
        target = bytearray(max(0, self._end - self._position) if nbytes < 0 else nbytes)
        return bytes(target[: self.readinto(target)])

    def truncate(self, nbytes: int | None = None) -> int:
        """HDF5 tells the final length."""
        self._end = self._position if nbytes is None else nbytes
        self._overlay.cut(self._end)
        return self._end

    def flush(self) -> None:
        """HDF5's flush reaches the overlay; the disk has its own moments."""


def _is_same(one: Buffer, other: Buffer) -> bool:
    """The same memory: HDF5 hands over a direct chunk without copying it."""
    addresses = [np.frombuffer(data, np.uint8).__array_interface__["data"][0] for data in (one, other)]
    return bool(addresses[0] == addresses[1])
