"""What one Arm came to, and the report of it. Pure."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from maxdaq_tango.errors import MaxdaqError
from maxdaq_tango.model import Receipt, Verdict, encoded
from maxdaq_tango.transaction.pair import PairRun
from maxdaq_tango.transaction.ports import Need
from maxdaq_tango.transaction.words import ScanPlan, Step

_Kind = TypeVar("_Kind", bound=MaxdaqError)

MOST_REASONS = 10
BRIEF_FIELDS = (
    *("verdict", "file", "frames_expected", "frames_received", "frames_written", "frames_missing_count"),
    *("frames_lost_count", "frames_corrupt", "started_at", "finished_at"),
)
"""Of a receipt, in the history of runs."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one Arm came to."""

    run_id: str
    verdict: Verdict
    armed: bool
    """False: it never became ready, and all that had been done was undone."""
    errors: tuple[MaxdaqError, ...] = ()
    """In the order in which they were noticed."""
    receipts: dict[str, Receipt] = field(default_factory=dict)
    detectors: tuple[str, ...] = ()
    """All of the run, also one whose receiver gave no receipt."""
    warnings: tuple[str, ...] = ()
    """What receivers said against the run before it began, and took it all the same."""
    scan: ScanPlan | None = None

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """Of every detector; without a receipt nothing is proven."""
        unproven = Verdict.FAILED if self.armed else self.verdict
        return {name: self.receipts[name].verdict if name in self.receipts else unproven for name in self.detectors}

    @property
    def reasons(self) -> tuple[str, ...]:
        """Everything that went wrong, one sentence each; empty when nothing did."""
        told = [str(error) for error in self.errors]
        for name, receipt in self.receipts.items():
            told += [f"{name}: {reason}" for reason in receipt.reasons]
        return tuple(dict.fromkeys(told))

    @property
    def report(self) -> str:
        """JSON {run_id, verdict, armed, reasons, warnings, scan, verdicts, receipts}; the last two by detector."""
        return self._encoded(self.reasons, self.receipts)

    @property
    def brief(self) -> str:
        """The same, of receipts the counts and the file, and no more than MOST_REASONS."""
        receipts = {
            name: {field: getattr(receipt, field) for field in BRIEF_FIELDS} for name, receipt in self.receipts.items()
        }
        return self._encoded(self.reasons[:MOST_REASONS], receipts)

    def _encoded(self, reasons: tuple[str, ...], receipts: dict[str, Any]) -> str:
        fields = {"run_id": self.run_id, "verdict": self.verdict, "armed": self.armed, "reasons": reasons}
        scan: dict[str, Any] | None = None
        if self.scan is not None:
            scan = {"number": self.scan.number, "master": self.scan.master if self.armed else ""}
        told = {**fields, "warnings": self.warnings, "scan": scan, "verdicts": self.verdicts, "receipts": receipts}
        return encoded(told).decode()


def outcome_of(run_id: str, pairs: Sequence[PairRun], scan: ScanPlan | None) -> Outcome:
    """Of a run whose pairs are all closed: its verdict is the worst of all, FAILED where there is no receipt."""
    return Outcome(
        run_id=run_id,
        verdict=worst([pair.receipt.verdict if pair.receipt else Verdict.FAILED for pair in pairs]),
        armed=True,
        errors=tuple(error for pair in pairs for error in pair.errors),
        receipts={pair.name: pair.receipt for pair in pairs if pair.receipt is not None},
        detectors=tuple(pair.name for pair in pairs),
        warnings=warnings_of(pairs),
        scan=scan,
    )


def undone(
    run_id: str, pairs: Sequence[PairRun], scan: ScanPlan | None, verdict: Verdict, errors: Sequence[MaxdaqError]
) -> Outcome:
    """Of a run that never became ready: receivers are not looked at while it is undone, so there are no receipts."""
    closed = outcome_of(run_id, pairs, scan)
    return replace(closed, verdict=verdict, armed=False, errors=tuple(errors))


def warnings_of(pairs: Sequence[PairRun]) -> tuple[str, ...]:
    """Of all receivers, with the names of their detectors; and that files of one folder are too large together."""
    told = [f"{pair.name}: {warning}" for pair in pairs for warning in pair.warnings]
    folders: dict[str, list[tuple[str, Need]]] = defaultdict(list)
    for pair in pairs:
        if pair.need is not None:
            folders[posixpath.dirname(pair.plan.destination)].append((pair.name, pair.need))
    for folder, needs in folders.items():
        total, free = sum(need.nbytes for _, need in needs), min(need.free_nbytes for _, need in needs)
        if total > free >= max(need.nbytes for _, need in needs):
            names = ", ".join(name for name, _ in needs)
            sizes = f"{total / 1e9:.3g} GB are needed together in {folder}, and {free / 1e9:.3g} GB are free"
            told.append(f"{names}: {sizes}")
    return tuple(told)


def named(error: _Kind, step: Step, side: str) -> _Kind:
    """The same error with what was asked and of whom, where it does not say so by itself."""
    asked = f"{step.value} {side}"
    if error.asked and error.asked != step.value:
        asked += f": {error.asked}"
    of = "" if error.of == side else error.of
    return type(error)(asked, of=of, answer=error.answer, accepted=error.accepted)


def worst(verdicts: list[Verdict]) -> Verdict:
    """The verdict of several; of none it is FAILED, as nothing is proven."""
    order = list(Verdict)
    return max(verdicts, key=order.index) if verdicts else Verdict.FAILED
