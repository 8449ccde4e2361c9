"""What one kill of a campaign (`kills.py`) has left: recovered, unpacked, and compared with what was sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  (registers the read filters)
import numpy as np

from maxdaq_tango.files import check_file, find_parts, read_receipt, recover_found
from maxdaq_tango.model import Encoding, FrameFormat, Verdict

SHAPE = (128, 128)
FORMAT = FrameFormat(SHAPE, "uint16", Encoding.BSLZ4)
BLANK = 65535
PATTERNS = 16
READ_ROWS = 256
Pixels = np.ndarray[Any, Any]


def all_patterns() -> Pixels:
    """Hard to pack, so that disks have something to do."""
    return np.array([np.random.default_rng(n).integers(0, 1 << 10, SHAPE) for n in range(PATTERNS)]).astype("<u2")


def pixels(numbers: Pixels, patterns: Pixels) -> Pixels:
    """(n, rows, columns): no two frames below 65 536 are alike."""
    made: Pixels = patterns[numbers % PATTERNS] ^ numbers.astype("<u2")[:, None, None]
    return made


@dataclass
class Kill:
    """What one kill showed."""

    number: int
    backend: str
    victim: str
    after_s: float
    """Since the request to prepare."""
    checkpoint_s: float = 0.0
    """Pinned; 0 = automatic."""
    frames_per_file: int = 0
    """0 = all in one; else safe frames are no longer those with the lowest numbers."""
    phase: str = ""
    """The last state that was told before it; "finished": it came too late."""
    safe: int = 0
    """Frames that the engine had called safe."""
    frames: int = 0
    """Right ones in the file."""
    outcome: str = ""
    """recovered, closed (by the engine), published (before the kill), or none: no file with frames."""
    problems: list[str] = field(default_factory=list)

    @property
    def counts(self) -> bool:
        """It hit a run."""
        return self.phase != "finished"


def look_at(kill: Kill, folder: Path, count: int, patterns: Pixels) -> None:
    """What the kill has left in its folder, recovered and compared; all that is told goes into `kill`."""
    final, part = folder / "a.h5", folder / ".a.h5.part"
    file: Path | None = final if final.exists() else None
    kill.outcome = ("closed" if kill.victim == "device" else "published") if file else "none"
    missing: tuple[tuple[int, int], ...] | None = None
    if part.exists():
        told = {one.part: one for one in recover_found(list(find_parts(folder)))}
        kill.problems += [f"not recovered: {one.problem}" for one in told.values() if one.problem]
        kill.problems += [f"left: {one.note}" for one in told.values() if "left alone" in one.note]
        found = told[str(part)]
        if found.wrong:
            kill.problems.append(f"frames {found.wrong} were flagged and not on the disk")
        if found.file and file is None:
            file, kill.outcome, missing = Path(found.file), "recovered", found.missing
    if file is not None:
        try:
            compare(kill, file, missing, count, patterns)
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            kill.problems.append(f"{file} cannot be read: {error}")
    if kill.frames < kill.safe:
        kill.problems.append(f"{kill.safe} frames were safe, {kill.frames} are there")


def compare(kill: Kill, file: Path, missing: tuple[tuple[int, int], ...] | None, count: int, patterns: Pixels) -> None:
    """Pixel by pixel with what was sent, and the accounts with the pixels; `missing` is that of a recovery."""
    problems = kill.problems
    problems += check_file(file).problems
    receipt = read_receipt(file)
    with h5py.File(file, "r") as opened:
        group = opened["entry/instrument/d"]
        data, valid = group["data"], group["daq/frame_valid"][...].astype(bool)
        numbers = group["sequence_number"][...]
        rows = len(data)
        if not np.array_equal(numbers, np.arange(rows)):
            problems.append(f"rows are not in the order of numbers: {numbers[:20]}")
        for start in range(0, rows, READ_ROWS):
            here = np.arange(start, min(start + READ_ROWS, rows))
            wanted = pixels(here, patterns)
            wanted[~valid[here]] = BLANK
            wrong = here[(data[here[0] : here[-1] + 1] != wanted).any(axis=(1, 2))]
            problems += [f"row {row} has not the pixels of its frame" for row in wrong]
    kill.frames = int(valid.sum())
    lowest = 0 if kill.frames_per_file else kill.safe
    lost = [row for row in range(lowest) if row >= rows or not valid[row]]
    if lost:
        problems.append(f"{len(lost)} frames that were safe are lost, the first is {lost[0]}")
    away = set(range(count)) - set(np.flatnonzero(valid).tolist())
    for what, ranges in (("recovery", missing), ("receipt", receipt.frames_missing_ranges)):
        if ranges is None:
            continue
        not_stored = [
            *receipt.frames_late_ranges,
            *(one for places in receipt.frames_lost_at.values() for one in places),
        ]
        told = {number for low, high in (*ranges, *not_stored) for number in range(low, high + 1)}
        if told != away:
            problems.append(f"the {what} calls {len(told)} frames missing, late or lost, {len(away)} are")
    if receipt.frames_written != kill.frames:
        problems.append(f"the receipt has {receipt.frames_written} frames, the file {kill.frames}")
    if receipt.verdict is Verdict.COMPLETE and away:
        problems.append(f"the verdict is COMPLETE with {len(away)} frames missing")
