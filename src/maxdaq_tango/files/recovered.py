"""What a killed receiver has left becomes a file of its own, with an account: `<name>_recovered.h5`.

Nothing is replaced and nothing is lost: the unfinished file gets a new name once it is whole, and what lay beside it is
kept beside it. A file that somebody is writing, and one without a frame, is left alone.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.block_names import BlockNames
from maxdaq_tango.files.check import check_file
from maxdaq_tango.files.closed_state import state_path
from maxdaq_tango.files.frame_log import log_path
from maxdaq_tango.files.homecoming import is_being_moved
from maxdaq_tango.files.manifest import manifest_path, read_manifest, write_manifest
from maxdaq_tango.files.ownership import claim, living_owner, release
from maxdaq_tango.files.paths import first_free, give_name, sync_directory
from maxdaq_tango.files.receipt import read_receipt
from maxdaq_tango.files.recovered_rows import Settled, settle
from maxdaq_tango.files.recovery import recover_part
from maxdaq_tango.files.reserve import remove_reserve
from maxdaq_tango.files.search import is_part
from maxdaq_tango.files.side_files import remove_side_files
from maxdaq_tango.model import MISSING_LISTED, PLACES, Fate, Receipt, Verdict

KILLED = "the receiver was killed"


class Recovered(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one unfinished file."""

    part: str
    file: str = ""
    """Where it is now; "" = it was left as it is."""
    frames: int = 0
    """That can be read."""
    missing: tuple[tuple[int, int], ...] = ()
    """[first, last] frame numbers that are not in the file: they never came, or were not on the disk yet."""
    wrong: tuple[int, ...] = ()
    """Frame numbers whose pixels were not, or not rightly, on the disk; their rows are blank."""
    note: str = ""
    """What else is to be said, for people."""
    problem: str = ""
    """Why it could not be done."""


def find_parts(path: Path) -> Iterator[Path]:
    """`path` itself, or all unfinished files in the folder and below; links to folders are not followed."""
    if not path.is_dir():
        yield path
        return
    for folder, _, names in os.walk(path):
        for name in sorted(names):
            if is_part(name):
                yield Path(folder, name)


def recover_file(part: Path) -> Recovered:
    """Make it readable, give it an account, publish it. Raises nothing: `problem` says what went wrong."""
    if not is_part(part.name) or not part.is_file():
        answer = "there is no such file" if is_part(part.name) else "that is no name of an unfinished file"
        accepted = "a folder, or the .NAME.h5.part of a run that was killed"
        return Recovered(part=str(part), problem=str(FileError(f"recover {part}", answer=answer, accepted=accepted)))
    try:
        if moved := is_being_moved(part):
            return Recovered(part=str(part), note=f"left alone: {moved}")
        owner = living_owner(part)
        if owner is not None:
            return Recovered(part=str(part), note=f"left alone: {owner} is writing it")
        if not claim(Path(os.path.realpath(part.parent), part.name)):
            return Recovered(part=str(part), note="left alone: somebody else is recovering it")
        try:
            if not part.exists():
                return Recovered(part=str(part), note="somebody else has just recovered it")
            published = _published(part)
            if published is not None:
                # One of two names of the file: the writer was killed between giving it and taking this one.
                part.unlink()
                remove_side_files(part)
                return Recovered(part=str(part), file=str(published), note="was finished: it has its name already")
            return _recover(part)
        finally:
            release(part)
    except (FileError, OSError, KeyError, RuntimeError, ValueError) as error:
        return Recovered(part=str(part), problem=str(error))


def _recover(part: Path) -> Recovered:
    # Whole with its receipt: it was about to get its name. Not asked of one that is marked or broken: HDF5 refuses it.
    finished = check_file(part)
    if finished.ok and finished.receipt is not None:
        final = _publish(part)
        missing = finished.receipt.frames_missing_ranges
        note = f"was finished: {finished.receipt.verdict.value}{_write_manifest(final, finished.receipt)}"
        return Recovered(part=str(part), file=str(final), frames=finished.frames_valid, missing=missing, note=note)
    remove_reserve(part)
    completed = recover_part(part)
    if not completed.frames:
        final = part.with_name(part.name[1:].removesuffix(".part"))
        note = "left as it is: it holds no frame"
        if BlockNames.of(final).has_data_files():
            note += ", but the header of a series in blocks, whose data files are recovered one by one"
        return Recovered(part=str(part), note=note)
    final = _free_name(part)
    left = _left_receipt(part)
    settled = settle(part, completed, lambda found: _receipt(found, final, left))
    final = _publish(part)
    return Recovered(
        part=str(part),
        file=str(final),
        frames=settled.frames,
        missing=settled.missing,
        wrong=settled.wrong,
        note=_write_manifest(final, read_receipt(final)).removeprefix("; "),
    )


def _left_receipt(part: Path) -> Receipt | None:
    """Of a run that ended without being able to finish its file: it knew why. None: nobody wrote one."""
    with contextlib.suppress(FileError):
        manifest = read_manifest(part)
        if manifest is not None and manifest.file.name == part.name:
            return manifest.receipt
    return None


def _write_manifest(final: Path, receipt: Receipt) -> str:
    """What is to be said of it, if anything: the file is good without."""
    try:
        write_manifest(final, receipt, receipt.data_files)
    except FileError as error:
        return f"; {error}"
    return ""


def _receipt(found: Settled, final: Path, left: Receipt | None) -> Receipt:
    reasons = [KILLED] if left is None else list(left.reasons)
    if found.missing_count:
        reasons.append(f"{found.missing_count} frames never came, or were not on the disk when it was")
    if found.wrong:
        reasons.append(f"{len(found.wrong)} frames were flagged, but the disk does not hold what was written")
    if found.first is None:
        reasons.append(f"which numbers the {found.blank} blank rows have is not known")
    listed = [number for low, high in found.missing for number in range(low, min(high, low + MISSING_LISTED) + 1)]
    known = left or Receipt(verdict=Verdict.FAILED)
    return Receipt(
        verdict=Verdict.FAILED,
        reasons=tuple(reasons),
        run_id=known.run_id,
        series=known.series,
        stream_format=known.stream_format,
        sources=known.sources,
        started_at=known.started_at,
        settings=known.settings,
        decisions=known.decisions,
        frames_expected=found.expected,
        frames_received=found.frames + len(found.wrong),
        frames_written=found.frames,
        frames_missing=tuple(listed[:MISSING_LISTED]),
        frames_missing_count=found.missing_count,
        frames_missing_ranges=found.missing,
        frames_lost=found.wrong,
        frames_lost_count=len(found.wrong),
        frames_lost_at={PLACES[Fate.LOST_WRITER]: tuple((number, number) for number in found.wrong)}
        if found.wrong
        else {},
        first_frame_number=found.first,
        bytes_written=found.nbytes,
        file=str(final),
        dataset=found.dataset,
        shape=found.shape,
        dtype=found.dtype,
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        software=found.software,
    )


def _published(part: Path) -> Path | None:
    """Another name in the folder for the same file."""
    status = part.stat()
    if status.st_nlink < 2:
        return None
    with os.scandir(part.parent) as entries:
        for entry in entries:
            if entry.name != part.name and entry.inode() == status.st_ino and not entry.is_symlink():
                return Path(entry.path)
    return None


def _free_name(part: Path) -> Path:
    final = Path(part.name[1:].removesuffix(".part"))
    return first_free(
        f"publish {part}",
        lambda n: part.with_name(f"{final.stem}_recovered{f'_{n - 1}' if n > 1 else ''}{final.suffix}"),
    )


def _publish(part: Path) -> Path:
    with part.open("rb") as raw:
        os.fdatasync(raw.fileno())
    final = _free_name(part)
    give_name(part, final)
    for beside in (log_path(part), state_path(part), manifest_path(part)):
        with contextlib.suppress(FileNotFoundError):
            give_name(beside, final.with_name(f".{final.name}{beside.name.removeprefix(part.name)}"))
    sync_directory(final.parent)
    return final
