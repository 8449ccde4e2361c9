"""Failures of HDF5 and of the disk: one kind of error, with file and errno; and how a file is closed after one."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import resource
from collections.abc import Iterator

import h5py

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.paths import Destination

LIBRARY_ERRORS = (OSError, RuntimeError, ValueError)
"""h5py reports failures of the library as any of these."""

PASSING = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM),
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT),
    }
)
"""Of the place or the process, and not of the file: another attempt may find it whole."""


@contextlib.contextmanager
def told_as_file_error(asked: str, destination: Destination) -> Iterator[None]:
    """What goes wrong inside becomes a FileError about this file."""
    try:
        yield
    except LIBRARY_ERRORS as error:
        raise file_error(asked, destination, error) from error


def file_error(asked: str, destination: Destination, error: Exception) -> FileError:
    """The FileError that tells of `error`."""
    number = errno_of(error)
    text = f"{os.strerror(number)} (errno {number})" if number else str(error)
    return FileError(f"{asked} {destination.final}", of=str(destination.part), answer=text)


def errno_of(error: BaseException | None) -> int | None:
    """The system's error number; HDF5 often has it in the middle of its text alone."""
    found = re.search(r"\berrno = (\d+)", str(error))
    number: int | None = getattr(error, "errno", None)
    return number or (int(found[1]) if found else None)


def may_pass(error: BaseException) -> bool:
    """Nothing is said about the file by that: see PASSING."""
    return errno_of(error.__cause__ or error) in PASSING


def close_anyhow(file: h5py.File, *, broken: bool = False) -> None:
    """Raises nothing. `broken`: the disk has refused something of it, so it stays as it is there.

    HDF5 cannot close a file that it can no longer write, and h5py crashes when it tries to again (measured: a
    segmentation fault after every full disk; of a flush after a refusal, in every third). So its descriptor is pointed
    at scratch memory first. Nor may it try
    once more where there is room again: what was refused it has forgotten, and would write all else that follows from
    it.
    """
    with contextlib.suppress(OSError, RuntimeError, ValueError):
        try:
            if broken:
                raise OSError
            file.flush()
        except (OSError, RuntimeError, ValueError):
            scratch = os.memfd_create("maxdaq-scratch")
            try:
                os.dup2(scratch, file.id.get_vfd_handle(), inheritable=False)
            finally:
                os.close(scratch)
        with _any_size():
            file.close()


@contextlib.contextmanager
def in_order(file: h5py.File) -> Iterator[h5py.File]:
    """`with` this a file that is written is closed so that a refusal of the disk is an error, and never a crash.

    `with h5py.File(...)` closes it again when the first attempt was refused.
    """
    try:
        yield file
        file.flush()
    except BaseException as error:
        close_anyhow(file, broken=isinstance(error, LIBRARY_ERRORS))
        raise
    file.close()


@contextlib.contextmanager
def _any_size() -> Iterator[None]:
    """As far as the process may lift its own limit for the size of files, which holds for scratch memory too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
