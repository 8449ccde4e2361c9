"""Data files from the spill directory to where they belong, and then the master of the series its name.

    .<name>.part          the master, whole, with its receipt
    .<name>.part.away     beside it: which of its data files are in the spill directory (`away.py`)
    .<data file>.<id>     a copy that is being made

A file is copied, forced to the disk, read back from it and compared; the copy gets its final name, never over anything;
the directory is forced to the disk; and only then the source goes. So at every moment the whole file is in one place at
least, under a name that this list tells, and whoever is killed in the midst of it goes on with the next attempt.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import xxhash

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.away import file_id, read_away
from maxdaq_tango.files.manifest import read_manifest, write_manifest
from maxdaq_tango.files.ownership import claim, living_owner, release
from maxdaq_tango.files.paths import give_name, sync_directory
from maxdaq_tango.files.receipt import read_receipt
from maxdaq_tango.files.search import is_part
from maxdaq_tango.files.side_files import away_path, remove_side_files
from maxdaq_tango.files.spill import FINISHED, POINTER, folders_of, home_of, is_finished, mark_finished, tidy
from maxdaq_tango.files.troubles import LIBRARY_ERRORS
from maxdaq_tango.files.whereabouts import open_there, unlink_there

PIECE_NBYTES = 8 << 20
SPARE_NBYTES = 64 << 20
"""That a copy leaves of the room at the destination, beside once more its own size: others write there."""


class Homecoming(msgspec.Struct, frozen=True, kw_only=True, tag="homecoming"):
    """What became of one folder of the spill directory."""

    folder: str
    master: str = ""
    """Path of the master; "" while data files are away."""
    moved: int = 0
    """Data files, this time."""
    left: int = 0
    """Data files that are still in the spill directory."""
    left_nbytes: int = 0
    note: str = ""
    problem: str = ""
    """Why it could not be done, or not yet."""


class Survey(msgspec.Struct, frozen=True, kw_only=True, tag="survey"):
    """What there is in a spill directory."""

    folders: tuple[str, ...]
    """Of series."""
    left: int
    """Data files of finished series, which can be moved."""
    left_nbytes: int


def survey(directory: Path) -> Survey:
    """A look that changes nothing. OSError."""
    folders = tuple(folders_of(directory))
    left: list[int] = []
    for folder in folders:
        with contextlib.suppress(FileError):
            left += _left(folder, home_of(folder))
    return Survey(folders=tuple(map(str, folders)), left=len(left), left_nbytes=sum(left))


def bring_all_home(
    directory: Path, roots: Sequence[str] | None = None, on_progress: Callable[[int], None] = lambda nbytes: None
) -> Iterator[Homecoming]:
    """Every series of which something lies in the spill directory, or in the folder of one series. See `bring_home`."""
    for folder in folders_of(directory):
        yield bring_home(folder, roots, on_progress)


def bring_home(
    folder: Path, roots: Sequence[str] | None = None, on_progress: Callable[[int], None] = lambda nbytes: None
) -> Homecoming:
    """Move what lies in a folder of the spill directory to where it belongs, if that is under `roots` (None: anywhere).

    May be interrupted and repeated. Raises nothing: `problem` says what went wrong. `on_progress` hears of every piece
    that was copied.
    """
    folder = Path(os.path.realpath(folder))
    part: Path | None = None
    try:
        part = home_of(folder)
        if part is None or not is_part(part.name) or not part.is_absolute():
            return Homecoming(folder=str(folder), problem="it does not say where its files belong")
        if roots is not None and not any(part.is_relative_to(os.path.realpath(root)) for root in roots):
            return Homecoming(folder=str(folder), note=f"left alone: {part.parent} is not under the allowed roots")
        owner = living_owner(part)
        if owner is None and part.exists() and read_away(part) is None:  # nobody is kept away from it for nothing
            return _nothing_listed(folder, part)
        if owner is not None or not claim(part):
            return Homecoming(folder=str(folder), note=f"left alone: {owner or 'somebody else'} has {part}")
        try:
            return _bring(folder, part, on_progress)
        finally:
            release(part)
    except (FileError, *LIBRARY_ERRORS, KeyError) as error:
        left = _left(folder, part)
        return Homecoming(folder=str(folder), left=len(left), left_nbytes=sum(left), problem=str(error))


# ---- inside ----


def _bring(folder: Path, part: Path, on_progress: Callable[[int], None]) -> Homecoming:
    away = read_away(part)
    if away is None:
        return _nothing_listed(folder, part)
    if Path(away.folder) != folder:
        raise FileError(f"move the files of {folder}", of=str(part), answer=f"it waits for those of {away.folder}")
    mark_finished(folder)
    moved = 0
    for file in away.files:
        source = folder / file.source
        moved += _move(source, part.with_name(file.name), file.nbytes, folder.name.rpartition(".")[2], on_progress)
        remove_side_files(source)  # that a series which was killed at its very end has left
    master = part.with_name(away.master)
    if not part.exists() and master.exists() and away.master_id not in ("", file_id(master)):
        raise _taken(master, part)
    _name(part, master)
    sync_directory(master.parent)
    problem = ""
    try:
        receipt = read_receipt(master)
        for name in receipt.data_files:
            if not (other := part.with_name(f".{name}.part")).exists() and living_owner(other) is None:
                remove_side_files(other)
        manifest = read_manifest(master)
        if manifest is None or manifest.receipt != receipt:  # it is that of an earlier file of this name
            write_manifest(master, receipt, receipt.data_files)
    except FileError as error:  # the data are as good without
        problem = str(error)
    away_path(part).unlink()
    remove_side_files(part)
    tidy(folder)
    return Homecoming(folder=str(folder), master=str(master), moved=moved, note=problem)


def _nothing_listed(folder: Path, part: Path) -> Homecoming:
    """Data files of a series that was not finished, or is home. FileError where it was finished and is not."""
    if not part.exists():
        tidy(folder)
    if is_finished(folder):
        raise FileError(
            f"move the files of {folder} to {part.parent}",
            of=str(away_path(part)),
            answer="the list is not there, though the series is finished",
            accepted="the destination as it was then, mounted; or, where its master is lost for good, the name"
            f" {POINTER} for {FINISHED}, and maxdaq recover",
        )
    note = f"left as it is: {part} was not finished; maxdaq recover joins what there is of it"
    return Homecoming(folder=str(folder), note=note if folder.exists() else "nothing is left in it")


def _move(source: Path, final: Path, nbytes: int, mark: str, on_progress: Callable[[int], None]) -> int:
    """Files moved: 0 when that was done before. FileError, OSError; then the source is as it was."""
    copy = final.with_name(f".{final.name}.{mark}")  # nobody else has this mark, so it is ours whatever is in it
    if not source.exists():
        if not final.exists():
            raise FileError(f"move {source} to {final}", answer="it is neither here nor there")
        if (found := final.stat().st_size) != nbytes:
            answer = f"the first is not there, and the other has {found} bytes instead of {nbytes}: it is another file"
            raise FileError(f"move {source} to {final}", answer=answer)
        return 0
    if os.path.lexists(final):
        if not final.exists() or final.stat().st_size != source.stat().st_size or _digest(final) != _digest(source):
            raise _taken(final, source)
    else:
        _look_for_room(source, final)
        try:
            written = _copy(source, copy, on_progress)
            if _digest(copy) != written:
                raise FileError(f"move {source} to {final}", answer="what was written reads back differently")
        except (OSError, FileError) as error:
            with contextlib.suppress(OSError, FileError):
                unlink_there(copy)  # who has no room needs it
            if isinstance(error, FileError):
                raise
            answer = f"{error.strerror} (errno {error.errno})" if error.errno else str(error)
            raise FileError(f"move {source} to {final}", of=str(copy), answer=answer) from error
        _name(copy, final)
    with contextlib.suppress(FileNotFoundError):
        unlink_there(copy)  # the other name of a file whose namer was killed
    sync_directory(final.parent)
    source.unlink()
    return 1


def _look_for_room(source: Path, final: Path) -> None:
    """FileError where a copy would take what somebody who receives frames needs, as far as the system says."""
    try:
        status, needed = os.statvfs(final.parent), 2 * source.stat().st_size + SPARE_NBYTES
    except OSError:  # whoever makes the copy meets it again, and tells it
        return
    free = status.f_bavail * status.f_frsize
    if free < needed:
        raise FileError(
            f"move {source} to {final}",
            answer=f"{final.parent} has {free / 1e6:.3g} MB of room",
            accepted=f"{needed / 1e6:.3g} MB: twice its size, and {SPARE_NBYTES / 1e6:.3g} MB for whoever else writes",
        )


def _name(path: Path, final: Path) -> None:
    """Give the final name, unless it has it already."""
    if path.exists() and final.exists() and path.samefile(final):
        path.unlink()
        return
    if not path.exists() and final.exists():
        return
    try:
        give_name(path, final)
    except FileExistsError:
        raise _taken(final, path) from None


def _taken(final: Path, source: Path) -> FileError:
    return FileError(
        f"move {source} to {final}",
        answer="another file has that name, and is not replaced",
        accepted="that file moved away; then the next attempt goes on",
    )


def _copy(source: Path, copy: Path, on_progress: Callable[[int], None]) -> bytes:
    """On the disk when this returns; the checksum of what was read."""
    hasher = xxhash.xxh3_128()
    with open(open_there(source, os.O_RDONLY), "rb", buffering=0) as taken:
        with open(open_there(copy, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb", buffering=0) as out:
            while piece := taken.read(PIECE_NBYTES):
                hasher.update(piece)
                view = memoryview(piece)
                while len(view):
                    view = view[out.write(view) :]
                on_progress(len(piece))
            os.fsync(out.fileno())
            os.posix_fadvise(out.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # so that it is read from the disk
        os.posix_fadvise(taken.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # it will soon be gone
    return hasher.digest()


def _digest(path: Path) -> bytes:
    hasher = xxhash.xxh3_128()
    with open(open_there(path, os.O_RDONLY), "rb", buffering=0) as taken:
        while piece := taken.read(PIECE_NBYTES):
            hasher.update(piece)
    return hasher.digest()


def _left(folder: Path, part: Path | None) -> list[int]:
    """Bytes of each data file that is still away, as far as can be seen."""
    with contextlib.suppress(FileError, OSError, ValueError):
        away = read_away(part) if part is not None else None
        if away is not None and os.path.realpath(away.folder) == os.path.realpath(folder):
            return [file.nbytes for file in away.files if (folder / file.source).exists()]
    return []
