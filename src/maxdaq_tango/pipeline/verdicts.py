"""From the closed ledger to the words of the receipt: what is counted, and what the run came to. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from maxdaq_tango.model import PLACES, Fate, Verdict
from maxdaq_tango.pipeline.ledger import Account, Ledger
from maxdaq_tango.pipeline.numbers import listed


def counts_of(account: Account, ledger: Ledger) -> dict[str, Any]:
    """Fields of the receipt that follow from the numbers alone."""
    return {
        "frames_expected": account.expected,
        "frames_discarded": account.count(Fate.DISCARDED),
        "frames_missing": listed(account.missing_ranges),
        "frames_missing_count": account.missing_count,
        "frames_missing_ranges": account.missing_ranges,
        "frames_duplicate": ledger.duplicates.count,
        "frames_duplicate_ranges": ledger.duplicates.ranges(),
        "frames_late": account.count(Fate.LATE),
        "frames_late_ranges": account.ranges(Fate.LATE),
        "frames_unexpected": ledger.unexpected.count,
        "frames_unexpected_ranges": ledger.unexpected.ranges(),
        "first_frame_number": account.first if ledger.seen else None,
        **written_and_lost(account),
    }


def written_and_lost(account: Account) -> dict[str, Any]:
    """Those of them that the disk may change once more, when it refuses what was handed to it."""
    lost = {place: account.ranges(fate) for fate, place in PLACES.items() if account.count(fate)}
    return {
        "frames_written": account.count(Fate.WRITTEN),
        "frames_lost": listed(tuple(sorted(one for ranges in lost.values() for one in ranges))),
        "frames_lost_count": sum(account.count(fate) for fate in PLACES),
        "frames_lost_at": lost,
    }


def loss_of(account: Account) -> str:
    """How many frames that had arrived were lost, and where; "" when none."""
    counts = {place: account.count(fate) for fate, place in PLACES.items()}
    where = ", ".join(f"{count} at the {place}" for place, count in counts.items() if count)
    return f"frames that had arrived were lost: {where}" if where else ""


@dataclass(frozen=True)
class HowItEnded:
    """What a verdict needs to know beside the numbers."""

    started: bool
    """A header of the series came."""
    end_message_seen: bool
    asked_to_stop: bool
    """Somebody told the source to stop."""
    finished: str
    """Why the source sends no more, where it ended without being told."""


def judge(account: Account, ledger: Ledger, how: HowItEnded, reasons: list[str]) -> Verdict:
    """COMPLETE only when every expected frame is where it should be. Adds to `reasons` what is not."""
    if not how.started:
        return Verdict.ABORTED if how.asked_to_stop else Verdict.FAILED
    if account.missing_count:
        why = f": {how.finished}" if how.finished else ""
        reasons.append(f"{account.missing_count} of {account.expected or ledger.seen} frames never came{why}")
    if account.count(Fate.CORRUPT) and not reasons:
        reasons.append(f"{account.count(Fate.CORRUPT)} frames were corrupt")
    if account.count(Fate.LATE):
        reasons.append(f"{account.count(Fate.LATE)} frames came after the series was over")
    if ledger.unexpected.count:
        reasons.append(f"{ledger.unexpected.count} frames had numbers beyond the expected {account.expected}")
    if account.expected is not None and ledger.seen > account.expected:
        reasons.append(f"{ledger.seen} frames came, and {account.expected} were expected in the end")
    if account.expected is None and not how.end_message_seen:
        reasons.append("no end message came, and nobody said how many frames to expect")
    if how.asked_to_stop and account.missing_count:
        return Verdict.ABORTED
    return Verdict.INCOMPLETE if reasons else Verdict.COMPLETE
