"""Does a file hold what its receipt says, and its manifest, if there is one? Every chunk is read, looked at, hashed and
unpacked; of a master in all its data files.

Raises nothing for a bad file: all disagreements are collected, so that one look tells the whole story.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  (registers the read filters)
import msgspec
import numpy as np
import xxhash

from maxdaq_tango.errors import FileError, WireError
from maxdaq_tango.files.block_file import LOW
from maxdaq_tango.files.manifest import disagreements
from maxdaq_tango.files.receipt import FATES, find_detector, receipt_of
from maxdaq_tango.files.scan_master import MARK, linked_files
from maxdaq_tango.files.stored_chunks import StoredChunks
from maxdaq_tango.kernels.framing import check_framing
from maxdaq_tango.model import Fate, Receipt, Verdict


class CheckResult(msgspec.Struct, kw_only=True):
    """What a check found."""

    file: str
    ok: bool = False
    """No disagreement between the file and its receipt. Says nothing about the verdict of the run."""
    problems: list[str] = msgspec.field(default_factory=list)
    rows: int = 0
    frames_valid: int = 0
    frames_checked: int = 0
    """Frames whose checksum was compared and whose pixels were unpacked."""
    verdict: Verdict | None = None
    receipt: Receipt | None = None


MAX_PROBLEMS = 50


def check_file(path: Path | str, on_progress: Callable[[int, int], None] | None = None) -> CheckResult:
    """Compare a file with its receipt. `on_progress(done, total)` is called for every row."""
    result = CheckResult(file=str(path))
    try:
        with h5py.File(path, "r", locking=False) as file:
            _check_open_file(file, result, on_progress)
    except OSError as error:
        result.problems.append(f"the file cannot be opened as HDF5: {error}")
    except FileError as error:
        result.problems.append(str(error))
    except (KeyError, RuntimeError, ValueError, TypeError) as error:  # h5py's ways to say that metadata are damaged
        result.problems.append(f"the file is damaged: {error}")
    if result.receipt is not None:
        result.problems += disagreements(Path(path), result.receipt)
    result.ok = not result.problems
    return result


def _check_open_file(file: h5py.File, result: CheckResult, on_progress: Callable[[int, int], None] | None) -> None:
    if MARK in file.attrs:
        files = sorted(linked_files(file))
        result.problems.append(f"this is a scan master: the accounts are in its files, check those: {', '.join(files)}")
        return
    if LOW in file.get("entry/data/data", file).attrs and "receipt" not in find_detector(file)["daq"]:
        result.problems.append("this is a data file of a series: its account is in the master, check that")
        return
    receipt = result.receipt = receipt_of(file)
    result.verdict = receipt.verdict
    group = find_detector(file)
    if "data" not in group:
        if receipt.frames_written:
            result.problems.append(f"the receipt says {receipt.frames_written} frames, the file has no dataset")
        return
    data = group["data"]
    try:
        valid = group["daq/frame_valid"][...].astype(bool)
        checksums = group["daq/chunk_checksum"][...]
        numbers = group["sequence_number"][...]
    except (OSError, KeyError) as error:
        result.problems.append(f"the per-frame arrays cannot be read: {error}")
        return
    rows = result.rows = data.shape[0]
    result.frames_valid = int(valid.sum())
    fates = group["daq"].get(FATES)  # files of earlier versions have none
    if fates is not None and not np.array_equal(fates[...] == Fate.WRITTEN, valid):
        result.problems.append("frame_fate and frame_valid disagree about which frames were written")
    _check_counts(receipt, data, rows, valid, numbers, result)
    if len(valid) != rows or len(checksums) != rows:
        result.problems.append(f"{rows} rows of pixels, {len(valid)} flags, {len(checksums)} checksums")
        return
    with StoredChunks(data) as chunks:
        result.problems += chunks.problems
        for row in range(rows):
            if len(result.problems) >= MAX_PROBLEMS:
                result.problems.append("... and more; only the first ones are listed")
                return
            problem = _check_row(data, chunks, row, bool(valid[row]), int(checksums[row]))
            if problem:
                result.problems.append(f"row {row} (frame {int(numbers[row])}): {problem}")
            elif valid[row]:
                result.frames_checked += 1
            if on_progress is not None:
                on_progress(row + 1, rows)


def _check_counts(
    receipt: Receipt,
    data: h5py.Dataset,
    rows: int,
    valid: np.ndarray[tuple[int], np.dtype[np.bool_]],
    numbers: np.ndarray[tuple[int], np.dtype[np.uint64]],
    result: CheckResult,
) -> None:
    problems = result.problems
    count = int(valid.sum())
    if count != receipt.frames_written:
        problems.append(f"the receipt says {receipt.frames_written} frames written, {count} are flagged valid")
    if tuple(receipt.shape) != tuple(data.shape):
        problems.append(f"the receipt says shape {tuple(receipt.shape)}, the dataset has {tuple(data.shape)}")
    if receipt.dtype != str(data.dtype):
        problems.append(f"the receipt says type {receipt.dtype}, the dataset has {data.dtype}")
    if len(numbers) and receipt.first_frame_number is not None:
        expected = np.arange(receipt.first_frame_number, receipt.first_frame_number + rows, dtype=numbers.dtype)
        if not np.array_equal(numbers, expected):
            problems.append("sequence_number does not count up from the receipt's first frame number")
    blank = {int(numbers[row]) for row in np.flatnonzero(~valid)}
    for low, high in receipt.frames_missing_ranges:
        for number in range(low, min(high, low + len(numbers)) + 1):
            if number in blank:
                blank.discard(number)
            elif len(numbers) and number <= int(numbers[-1]):
                problems.append(f"the receipt says frame {number} is missing, the file has it")
    lost = max(receipt.frames_lost_count, len(receipt.frames_lost))
    accounted = receipt.frames_discarded + receipt.frames_corrupt + lost + receipt.frames_late
    if len(blank) > accounted:
        problems.append(f"{len(blank)} blank rows are not in the receipt's missing list, first: {min(blank)}")
    if tuple(receipt.data_files) != _data_files(data):
        problems.append("the receipt lists other data files than the master joins")
    if receipt.verdict is Verdict.COMPLETE and receipt.frames_missing_count:
        problems.append(f"the verdict is COMPLETE with {receipt.frames_missing_count} frames missing")


def _data_files(data: h5py.Dataset) -> tuple[str, ...]:
    if not data.is_virtual:
        return ()
    sources = sorted(data.virtual_sources(), key=lambda source: source.vspace.get_select_bounds()[0][0])
    return tuple(source.file_name.replace("%%", "%") for source in sources)


def _check_row(data: h5py.Dataset, chunks: StoredChunks, row: int, valid: bool, checksum: int) -> str:
    if not chunks.has(row):
        return "the chunk was never written"
    try:
        packed = chunks.read(row)
        # First, because HDF5's filters read past the end of a chunk that was cut, and say nothing.
        if (format := chunks.format) is not None:
            for chunk in packed:
                check_framing(format, memoryview(chunk))
        pixels = chunks.pixels(row)
    except WireError as error:
        return f"the chunk is damaged: {error}"
    except OSError as error:
        return f"the pixels cannot be unpacked: {error}"
    if not valid:
        return "" if np.all(pixels == data.fillvalue) or np.all(pixels != pixels) else "flagged invalid but not blank"
    hasher = xxhash.xxh3_64()
    for chunk in packed:
        hasher.update(chunk)
    return "" if hasher.intdigest() == checksum else "the checksum of the stored chunk differs"
