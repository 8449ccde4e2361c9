"""The account of a run whose engine died: it can give none itself, so its owner does."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from maxdaq_tango import __version__
from maxdaq_tango.model import Counters, Receipt, RunRequest, Verdict


def receipt_of_the_dead(
    request: RunRequest, counters: Counters, how: str, decisions: dict[str, str], *, look: bool = True
) -> Receipt:
    """FAILED, with what the counters knew at their last look, a tenth of a second before the end at most.

    What the file holds, `maxdaq recover` finds out: a frame counts as written when it is handed to the disk. Without
    `look` the file system is not asked whether the file is there: it may not answer.
    """
    part = _part_of(request, look)
    reasons = [how]
    if part:
        reasons.append(
            f"{counters.frames_written} frames had been handed to the disk; maxdaq recover {part} saves them"
        )
    gap = ((counters.gap_first, counters.gap_last),) if counters.gap_first >= 0 else ()
    return Receipt(
        verdict=Verdict.FAILED,
        reasons=tuple(reasons),
        run_id=request.run_id,
        series=request.series or "",
        stream_format=request.stream_format.value,
        sources=request.sources,
        frames_expected=counters.frames_expected if counters.frames_expected >= 0 else None,
        frames_received=counters.frames_received,
        frames_written=counters.frames_written,
        frames_discarded=counters.frames_discarded,
        frames_missing_count=counters.frames_missing,
        frames_missing_ranges=gap,
        frames_duplicate=counters.frames_duplicate,
        frames_corrupt=counters.frames_corrupt,
        frames_lost_count=counters.frames_lost,
        frames_late=counters.frames_late,
        frames_unexpected=counters.frames_unexpected,
        frames_out_of_series=counters.frames_out_of_series,
        bytes_received=counters.bytes_received,
        bytes_written=counters.bytes_written,
        file=part,
        finished_at=datetime.now(UTC).isoformat(),
        software=f"maxdaq-tango {__version__}",
        decisions=decisions,
        settings=msgspec.to_builtins(request),
    )


def _part_of(request: RunRequest, look: bool) -> str:
    """The unfinished file, where it is known and there; with several series or names in the stream it is not."""
    if not request.destination or request.series_count != 1:
        return ""
    final = Path(request.destination)
    part = final.with_name(f".{final.name}.part")
    return str(part) if not look or part.exists() else ""
