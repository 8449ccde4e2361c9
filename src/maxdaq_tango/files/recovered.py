"""What a killed receiver has left becomes a file of its own, with an account: `<name>_recovered.h5`.

Nothing is replaced and nothing is lost: the unfinished file gets a new name once it is whole, and what lay beside it is
kept beside it. A file that somebody is writing, and one without a frame, is left alone.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.away import is_being_moved
from maxdaq_tango.files.check import check_file
from maxdaq_tango.files.enclosed import refuse_if_led_elsewhere
from maxdaq_tango.files.killed_series import master_of, move_beside, other_name
from maxdaq_tango.files.ownership import claim, living_owner, release
from maxdaq_tango.files.paths import first_free, give_name, sync_directory
from maxdaq_tango.files.receipt import read_receipt
from maxdaq_tango.files.recovered_account import Recovered, killed_receipt, left_receipt, with_manifest
from maxdaq_tango.files.recovered_rows import settle
from maxdaq_tango.files.recovered_series import recover_series
from maxdaq_tango.files.recovery import recover_part
from maxdaq_tango.files.reserve import remove_reserve
from maxdaq_tango.files.search import is_part
from maxdaq_tango.files.side_files import remove_side_files
from maxdaq_tango.files.spilled_members import master_at_home


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
    """Make it readable, give it an account, publish it. Raises nothing: `problem` says what went wrong.

    A file of a series in blocks is recovered together with the others; `recover_together` tells of all.
    """
    return next(one for one in recover_together(part) if one.part == str(part))


def recover_together(part: Path) -> list[Recovered]:
    """Recover an unfinished file, and all of the series in blocks that it belongs to, the master first.

    Raises nothing: `problem` says what went wrong.
    """
    if not is_part(part.name) or not part.is_file():
        answer = "there is no such file" if is_part(part.name) else "that is no name of an unfinished file"
        accepted = "a folder, or the .NAME.h5.part of a run that was killed"
        return [Recovered(part=str(part), problem=str(FileError(f"recover {part}", answer=answer, accepted=accepted)))]
    if part.is_symlink():
        return [Recovered(part=str(part), note="left alone: it is a link to a file that lies elsewhere")]
    at_home = master_at_home(part)
    master = at_home or master_of(part)
    if master is None or is_being_moved(master):  # a master that waits for its data files is whole
        return [_recover_alone(part)]
    found = recover_series(master, _recover_alone)
    if at_home is not None:  # told by its real path
        real = os.path.join(os.path.realpath(part.parent), part.name)
        found = [msgspec.structs.replace(one, part=str(part)) if one.part == real else one for one in found]
    if not any(one.part == str(part) for one in found):
        left = Recovered(part=str(part), note=f"left for another attempt, with {master}")
        found.append(left if at_home is not None else _recover_alone(part))
    return found


def recover_found(parts: Iterable[Path]) -> Iterator[Recovered]:
    """Of each of them what became of it; files that go together are told together, whichever comes first."""
    told: set[str] = set()
    for part in parts:
        if str(part) in told:
            continue
        if not part.is_file():
            yield Recovered(part=str(part), note="has gone since it was found: somebody else has recovered it")
            continue
        for one in recover_together(part):
            told.add(one.part)
            yield one


def _recover_alone(part: Path) -> Recovered:
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
            published = other_name(part)
            if published is not None:
                # One of two names of the file: the writer was killed between giving it and taking this one.
                part.unlink()
                remove_side_files(part)
                note = f"was finished: it has its name already{_with_manifest(published)}"
                return Recovered(part=str(part), file=str(published), note=note)
            return _recover(part)
        finally:
            release(part)
    except (FileError, OSError, KeyError, RuntimeError, ValueError) as error:
        return Recovered(part=str(part), problem=str(error))


def _recover(part: Path) -> Recovered:
    refuse_if_led_elsewhere(part)
    # Whole with its receipt: it was about to get its name. Not asked of one that is marked or broken: HDF5 refuses it.
    finished = check_file(part)
    if finished.ok and finished.receipt is not None:
        final = _publish(part)
        missing = finished.receipt.frames_missing_ranges
        note = f"was finished: {finished.receipt.verdict.value}{with_manifest(final, finished.receipt)}"
        return Recovered(part=str(part), file=str(final), frames=finished.frames_valid, missing=missing, note=note)
    remove_reserve(part)
    completed = recover_part(part)
    if not completed.frames:
        return Recovered(part=str(part), note="left as it is: it holds no frame")
    final = _free_name(part)
    left = left_receipt(part)
    settled = settle(part, completed, lambda found: killed_receipt(found, final, left))
    final = _publish(part)
    return Recovered(
        part=str(part),
        file=str(final),
        frames=settled.frames,
        missing=settled.missing,
        wrong=settled.wrong,
        note=with_manifest(final, read_receipt(final)).removeprefix("; "),
    )


def _with_manifest(final: Path) -> str:
    with contextlib.suppress(FileError):  # a data file has no receipt, and needs no manifest
        return with_manifest(final, read_receipt(final))
    return ""


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
    move_beside(part, final)
    sync_directory(final.parent)
    return final
