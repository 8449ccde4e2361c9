"""Two ways to bring chunks into an HDF5 file, behind one interface; the layout and its tests are the same.

    swmr      HDF5 writes through the page cache; readers may open the growing file with swmr=True
    direct    pixels go past the page cache in slabs, metadata wait in memory and in a side file; readable when closed

`direct` is 5 to 10 times cheaper in processor time, `swmr` is kinder to whoever looks at a file while it grows: so
`auto` takes `direct` where the data rate makes it worth while. A file that was begun is never changed over.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import NamedTuple, Protocol

import h5py

from maxdaq_tango.files.checkpoint import apply_checkpoint, remove_checkpoint
from maxdaq_tango.files.direct_file import DirectFile
from maxdaq_tango.files.slabs import SlabPool, SlabWriter
from maxdaq_tango.model import Buffer, FileBackend

Versions = tuple[str, str]

DIRECT_FROM_BYTES = 16 << 10
"""Chunks below this are not worth it, whatever their rate."""
DIRECT_FROM_BYTES_PER_S = 50e6
SMALL_SLAB, LARGE_SLAB = 4 << 20, 16 << 20
"""The large one is a block of GPFS; it is for chunks that would need several of the small."""
MOST_SLABS = 6
WRITER_THREADS = 2
"""More made nothing faster on a local disk (measured 1, 2 and 4)."""

_POOL = SlabPool()
"""Of the process: one run after the other uses the same memory."""


class Choice(NamedTuple):
    """A backend, and why it was taken."""

    backend: FileBackend
    reason: str


def choose_backend(
    wanted: FileBackend, chunk_nbytes: int, frame_nbytes: int, period_s: float | None, *, grows: bool
) -> Choice:
    """`chunk_nbytes` as stored, `frame_nbytes` as stored (several chunks), `period_s` between frames if it is known.

    `grows`: nobody knows how many frames will come. The index of such a dataset has a form in SWMR files that neggia,
    through which XDS reads, does not know; that of format v108 is the same for all.
    """
    if wanted is not FileBackend.AUTO:
        return Choice(wanted, "asked for")
    if grows:
        return Choice(FileBackend.DIRECT, "the number of frames is not known")
    if chunk_nbytes < DIRECT_FROM_BYTES:
        return Choice(FileBackend.SWMR, f"chunks of {chunk_nbytes} bytes are small")
    if not period_s:
        return Choice(FileBackend.DIRECT, f"chunks of {chunk_nbytes} bytes at an unknown rate")
    rate = frame_nbytes / period_s
    text = f"{rate / 1e6:.3g} MB/s are expected"
    return Choice(FileBackend.DIRECT if rate >= DIRECT_FROM_BYTES_PER_S else FileBackend.SWMR, text)


class Backend(Protocol):
    """From the moment when the datasets are made to the moment when the last chunk is in."""

    libver: Versions
    """Never 'latest': with HDF5 2 that makes files which neggia and HDF5 1.10 refuse."""
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

    def enter(self, file: h5py.File) -> h5py.File:
        """`file` has its datasets; the result takes chunks. OSError."""
        ...

    def wait_room(self, nbytes: int, timeout_s: float) -> bool:
        """Whether so many bytes can be written without waiting for the disk, at once or after `timeout_s`."""
        ...

    def expect(self, blob: Buffer) -> None:
        """The next thing written is this chunk."""
        ...

    def checkpoint(self, file: h5py.File) -> None:
        """What was written so far survives a kill."""
        ...

    def leave(self, file: h5py.File) -> None:
        """Close in order: the file on disk is whole."""
        ...

    def give_up(self, file: h5py.File) -> None:
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

    def enter(self, file: h5py.File) -> h5py.File:
        """Nothing can be created from now on."""
        file.swmr_mode = True
        return file

    def wait_room(self, nbytes: int, timeout_s: float) -> bool:
        """Whether the page cache will take them at once, nobody knows."""
        return True

    def expect(self, blob: Buffer) -> None:
        """HDF5 writes it itself."""

    def checkpoint(self, file: h5py.File) -> None:
        """SWMR's order of writes makes each flush a consistent file."""
        file.flush()

    def leave(self, file: h5py.File) -> None:
        """An ordinary close."""
        file.close()

    def give_up(self, file: h5py.File) -> None:
        """HDF5 cannot close a file that it can no longer write, and h5py crashes when it tries to again (measured: a
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

    def published(self) -> None:
        """There is nothing beside the file."""


class DirectBackend:
    """Our own: `DirectFile` over `SlabWriter`, format v108, which is the most portable one."""

    libver: Versions = ("v108", "v108")
    least_checkpoint_s = 1.0  # each drains the slabs

    def __init__(self, part: Path, chunk_nbytes: int, memory_bytes: int) -> None:
        self._part = part
        slab = LARGE_SLAB if chunk_nbytes > SMALL_SLAB and memory_bytes >= 4 * LARGE_SLAB else SMALL_SLAB
        while slab > (1 << 18) and 2 * slab > memory_bytes:
            slab //= 2
        self.slab_nbytes, self.slab_count = slab, max(2, min(MOST_SLABS, memory_bytes // slab))
        self._direct: DirectFile | None = None

    @property
    def details(self) -> str:
        """Slabs, and whether the file system takes O_DIRECT."""
        how = "O_DIRECT" if self._direct is None or self._direct.is_direct else "O_DIRECT refused, page cache"
        return f"{self.slab_count} slabs of {self.slab_nbytes / (1 << 20):g} MiB, {how}"

    def enter(self, file: h5py.File) -> h5py.File:
        """Closed for HDF5's driver and opened again through ours."""
        file.close()
        slabs = SlabWriter(
            self._part,
            slab_nbytes=self.slab_nbytes,
            slabs=self.slab_count,
            threads=min(WRITER_THREADS, self.slab_count),
            pool=_POOL,
        )
        self._direct = DirectFile(self._part, slabs)
        try:
            return h5py.File(self._direct, "r+", libver=self.libver)
        except BaseException:
            self._direct.release()
            raise

    @property
    def bytes_waiting(self) -> int:
        """In slabs that are full."""
        return self._direct.bytes_waiting if self._direct is not None else 0

    @property
    def waiting_limit_bytes(self) -> int:
        """All slabs."""
        return self.slab_count * self.slab_nbytes

    def wait_room(self, nbytes: int, timeout_s: float) -> bool:
        """In slabs that are free."""
        return self._direct is None or self._direct.wait_room(nbytes, timeout_s)

    def expect(self, blob: Buffer) -> None:
        """So that its write is known among those of metadata."""
        self._file.expect(blob)

    def checkpoint(self, file: h5py.File) -> None:
        """Slabs drained, metadata into the side file."""
        file.flush()
        self._file.checkpoint()

    def leave(self, file: h5py.File) -> None:
        """A last checkpoint, then the metadata go into the file itself: a kill in between is mended by the former."""
        file.close()
        self._file.checkpoint()
        self._file.settle()
        self._file.release()

    def give_up(self, file: h5py.File) -> None:
        """HDF5 closes into memory, which cannot fail; the file gets the metadata of the last checkpoint that worked."""
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            self.checkpoint(file)
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            file.close()
        self._file.release()
        with contextlib.suppress(OSError):
            if apply_checkpoint(self._part):
                remove_checkpoint(self._part)

    def published(self) -> None:
        """The side file has done its duty."""
        remove_checkpoint(self._part)

    @property
    def _file(self) -> DirectFile:
        assert self._direct is not None
        return self._direct
