"""That a file lies where it was asked for, whatever has become of the folders on the way to it in the meantime.

`resolve_destination` looks at a path. Before the file is made, or opened again, whoever may write there can put a
symbolic link in the place of a folder, or of the file, and lead a receiver with more rights than his own out of the
allowed roots. So a file is opened in an open folder whose real path is still the one that was checked, and a link in
its own place is not followed. (A path that is moved while the file is open does no harm: descriptors stay what they
are.)
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from maxdaq_tango.errors import FileError

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


@contextlib.contextmanager
def folder_at(path: Path, *, make: bool = False) -> Iterator[int]:
    """A descriptor of the folder at `path`, a real path; with `make` missing ones are made.

    FileError when the way leads elsewhere by now, OSError as ever.
    """
    missing: list[str] = []
    there = path
    while True:
        try:
            handle = os.open(there, _FOLDER)
            break
        except FileNotFoundError:
            if not make or there == there.parent:
                raise
            missing.append(there.name)
            there = there.parent
    try:
        real = os.readlink(f"/proc/self/fd/{handle}")
        if real != str(there):
            raise _led_away(path, real)
        for name in reversed(missing):
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=handle)
            inner = _inside(name, _FOLDER, handle, path)
            os.close(handle)
            handle = inner
        yield handle
    finally:
        os.close(handle)


def open_there(path: Path, flags: int, mode: int = 0o666) -> int:
    """As os.open, and only at this real path: FileError when a link leads elsewhere by now."""
    with folder_at(path.parent) as folder:
        return _inside(path.name, flags | os.O_CLOEXEC, folder, path, mode)


def read_beside(path: Path) -> bytes:
    """As Path.read_bytes of what should be a plain file, without ever waiting: a named pipe is as good as empty."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as raw:
        return raw.readall() or b""


def unlink_there(path: Path) -> None:
    """As os.unlink, and only at this real path."""
    with folder_at(path.parent) as folder:
        os.unlink(path.name, dir_fd=folder)


def _unbuffered(access: Any) -> None:
    access.set_fapl_sec2()
    access.set_sieve_buf_size(0)


h5py.register_driver("maxdaq-unbuffered", _unbuffered)
UNBUFFERED: dict[str, Any] = {"driver": "maxdaq-unbuffered", "rdcc_nbytes": 0, "locking": False}
"""Of a file that is written. What HDF5 holds back of a dataset it writes when that is closed, and it crashes where the
disk refuses that (measured: at every tenth size of a full disk). Like this the call that writes is refused."""


def hdf5_there(path: Path, mode: str, **options: Any) -> h5py.File:
    """As h5py.File for mode x, w (of one that is there already), r+ and r, and only at this real path."""
    handle = open_there(path, os.O_RDWR | (os.O_CREAT | os.O_EXCL if mode == "x" else 0))
    try:
        # The way through the descriptor leads to this very file. What it had in it goes when HDF5 makes it anew.
        return h5py.File(f"/proc/self/fd/{handle}", "w" if mode in "xw" else mode, **UNBUFFERED, **options)
    finally:
        os.close(handle)


def _inside(name: str, flags: int, folder: int, path: Path, mode: int = 0o777) -> int:
    try:
        return os.open(name, flags | os.O_NOFOLLOW, mode, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise _led_away(path, f"{name!r} is a link, or no folder") from None
        raise


def _led_away(path: Path, real: str) -> FileError:
    return FileError(
        f"open {path}",
        answer=f"the path has changed since it was looked at: {real}",
        accepted="the folders as they were, under the allowed roots",
    )
