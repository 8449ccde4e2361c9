"""The account of one run: the receipt is part of the data."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec


class Verdict(StrEnum):
    """What a run came to. The worst of several is the verdict of all."""

    COMPLETE = "COMPLETE"
    """Every expected frame is accounted for as written, or discarded on request."""
    INCOMPLETE = "INCOMPLETE"
    """The series ended and something is missing; the receipt says what."""
    ABORTED = "ABORTED"
    """Somebody ended it early."""
    FAILED = "FAILED"
    """An error ended it: the disk, the engine, the detector."""


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of frames unless a unit says otherwise. Stored in the file, served by Tango, printed as JSON."""

    verdict: Verdict
    reasons: tuple[str, ...] = ()
    """One sentence per thing that went wrong, in the order in which it was noticed. COMPLETE has none, unless all that
    failed was to write the manifest, or data files lie in the spill directory."""
    run_id: str = ""
    series: str = ""
    stream_format: str = ""
    sources: tuple[str, ...] = ()
    frames_expected: int | None = None
    """None when nobody said how many frames would come."""
    frames_received: int = 0
    """Distinct frames of this series that arrived intact, written or not."""
    frames_written: int = 0
    frames_discarded: int = 0
    """Arrived with `discard` set, or in a run that saves nothing."""
    frames_missing: tuple[int, ...] = ()
    """Frame numbers that never came; at most MISSING_LISTED of them, `frames_missing_ranges` has all."""
    frames_missing_count: int = 0
    frames_missing_ranges: tuple[tuple[int, int], ...] = ()
    """[first, last] pairs, both included."""
    frames_duplicate: int = 0
    """Copies of frames that were here already; not kept."""
    frames_duplicate_ranges: tuple[tuple[int, int], ...] = ()
    """Numbers of which copies came; MISSING_LISTED different ones at most."""
    frames_conflicting: int = 0
    """Frames of which a copy came with other pixels; the first that came is stored, and may be the wrong one."""
    frames_conflicting_ranges: tuple[tuple[int, int], ...] = ()
    frames_corrupt: int = 0
    """Messages that could not be decoded, or whose pixels did not fit the series."""
    frames_corrupt_numbers: tuple[int, ...] = ()
    """Those of them whose frame number could be read; they have blank rows and are not in `frames_missing`."""
    frames_lost: tuple[int, ...] = ()
    """Arrived intact and were lost between socket and disk; at most MISSING_LISTED, `frames_lost_at` has all."""
    frames_lost_count: int = 0
    frames_lost_at: dict[str, tuple[tuple[int, int], ...]] = msgspec.field(default_factory=dict)
    """Place (socket, assembly, pool, writer) to [first, last] pairs."""
    frames_late: int = 0
    """Came when the series was over; not written."""
    frames_late_ranges: tuple[tuple[int, int], ...] = ()
    frames_unexpected: int = 0
    """Numbers beyond the expected count; not written."""
    frames_unexpected_ranges: tuple[tuple[int, int], ...] = ()
    """MISSING_LISTED different ones at most."""
    frames_out_of_series: int = 0
    """Messages of another series, or from before the header; never written."""
    modules: int = 0
    """Of the detector, where each sends its own part of every frame; else 0."""
    frames_partial: int = 0
    """Stored without all pixels of all modules: those of a module that did not come are blank."""
    frames_partial_ranges: tuple[tuple[int, int], ...] = ()
    modules_missing: tuple[int, ...] = ()
    """Of each module: the frames that went to the file without it."""
    modules_incomplete: tuple[int, ...] = ()
    """Of each module: the frames in which packets of it were lost before its sender, who filled their pixels."""
    parts_late: int = 0
    """Parts of modules that came when their frame had gone to the file without them."""
    parts_duplicate: int = 0
    """Parts of modules that came twice; the first is kept."""
    first_frame_number: int | None = None
    """Frame number of row 0 of the dataset."""
    bytes_received: int = 0
    """Of all message parts."""
    bytes_written: int = 0
    """Of pixel chunks."""
    seconds: float = 0.0
    """From the start message to the last frame."""
    end_message_seen: bool = False
    file: str = ""
    """Absolute path; "" for live only."""
    data_files: tuple[str, ...] = ()
    """Where the series is stored in blocks: names of the data files, beside `file`, which is then their master."""
    data_files_spilled: tuple[str, ...] = ()
    """Absolute paths of those that lay in the spill directory when this was written. They are being moved beside
    `file`, which appears when the last of them has arrived; no frame is lost by that. Those of a run whose `file` is an
    unfinished one stay there, for a recovery."""
    dataset: str = ""
    """Path of the pixels inside the file."""
    shape: tuple[int, ...] = ()
    """Of the dataset, frames first."""
    dtype: str = ""
    encoding: str = ""
    started_at: str = ""
    """UTC, ISO 8601."""
    finished_at: str = ""
    software: str = ""
    decisions: dict[str, str] = msgspec.field(default_factory=dict)
    """What the receiver decided by itself, and why: the way to the disk, the packing, limits and workers."""
    settings: dict[str, Any] = msgspec.field(default_factory=dict)
    """The run request as the engine took it, JSON values only."""

    def counts(self) -> dict[str, int]:
        """All that is counted, under its name here, and the first frame number; without what nobody knows."""
        named = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return {name: value for name, value in named if isinstance(value, int) and not isinstance(value, bool)}

    def with_reason(self, reason: str) -> Receipt:
        """One more thing that went wrong; the verdict stays."""
        return msgspec.structs.replace(self, reasons=(*self.reasons, reason))

    def with_modules(
        self,
        modules: int,
        partial: tuple[tuple[int, int], ...],
        missing: tuple[int, ...],
        incomplete: tuple[int, ...],
        *,
        late: int,
        duplicate: int,
    ) -> Receipt:
        """Of a detector of so many modules, some of which were not there in `partial`: then the run is not COMPLETE."""
        count = sum(last - first + 1 for first, last in partial)
        told = [f"module {i} missing in {n}" for i, n in enumerate(missing) if n]
        told += [f"packets of module {i} lost in {n}" for i, n in enumerate(incomplete) if n]
        reason = f"{count} frames have not all pixels: {', '.join(told)}"
        return msgspec.structs.replace(
            self,
            verdict=Verdict.INCOMPLETE if count and self.verdict is Verdict.COMPLETE else self.verdict,
            reasons=(*self.reasons, reason) if count else self.reasons,
            modules=modules,
            frames_partial=count,
            frames_partial_ranges=partial,
            modules_missing=missing,
            modules_incomplete=incomplete,
            parts_late=late,
            parts_duplicate=duplicate,
        )

    def with_conflicts(self, ranges: tuple[tuple[int, int], ...]) -> Receipt:
        """Of these frames a copy came that differs: nobody can say which one is true, so the run is not COMPLETE."""
        count = sum(last - first + 1 for first, last in ranges)
        reason = f"{count} frames came again with other pixels, and the first that came is stored"
        return msgspec.structs.replace(
            self,
            verdict=Verdict.INCOMPLETE if self.verdict is Verdict.COMPLETE else self.verdict,
            reasons=(*self.reasons, reason),
            frames_conflicting=count,
            frames_conflicting_ranges=ranges,
        )


MISSING_LISTED = 100_000
"""A detector armed for a million frames and stopped after ten must not make a receipt of megabytes."""
