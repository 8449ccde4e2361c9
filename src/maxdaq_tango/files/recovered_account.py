"""What a recovery says of a file that a killed receiver has left: to whoever asked for it, and in the file."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.manifest import read_manifest, write_manifest
from maxdaq_tango.files.recovered_rows import Settled
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
    master: str = ""
    """Of a data file: the recovered file that joins it with the others of its series, and accounts for all frames."""
    note: str = ""
    """What else is to be said, for people."""
    problem: str = ""
    """Why it could not be done."""


def left_receipt(part: Path) -> Receipt | None:
    """Of a run that ended without being able to finish its file: it knew why. None: nobody wrote one."""
    with contextlib.suppress(FileError):
        manifest = read_manifest(part)
        if manifest is not None and manifest.file.name == part.name:
            return manifest.receipt
    return None


def with_manifest(final: Path, receipt: Receipt) -> str:
    """Write it, if it is not there; what is to be said of that, if anything: the file is good without."""
    with contextlib.suppress(FileError):
        manifest = read_manifest(final)
        if manifest is not None and manifest.receipt == receipt:
            return ""
    try:
        write_manifest(final, receipt, receipt.data_files)
    except FileError as error:
        return f"; {error}"
    return ""


def killed_receipt(found: Settled, final: Path, left: Receipt | None) -> Receipt:
    """FAILED, with the reasons of a run that ended and could not finish; which frames are there and which not."""
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
