"""The scan master of a run: who writes it, and what goes into it. Pure; ADR 9 has the reasons."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Sequence

from maxdaq_tango.model import Receipt, ScanLink, ScanMaster
from maxdaq_tango.transaction.outcome import Outcome
from maxdaq_tango.transaction.pair import PairRun

PART = ".part"
"""Ending of files that are not finished."""


def writer_of(pairs: Sequence[PairRun]) -> PairRun | None:
    """The first whose receiver has closed the run and can be reached; None: there is nobody left."""
    able = [pair for pair in pairs if pair.receipt is not None and pair.receiver_lost_s is None]
    return able[0] if able else None


def master_of(outcome: Outcome, detectors: Sequence[str]) -> ScanMaster:
    """All that the scan master of a run holds. `detectors` in their order, also those without a receipt."""
    scan = outcome.scan
    if scan is None:
        raise AssertionError("a run without a scan has no master")
    receipts = outcome.receipts
    return ScanMaster(
        path=scan.master,
        overwrite=scan.overwrite,
        scan_number=scan.number,
        run_id=outcome.run_id,
        verdict=outcome.verdict,
        started_at=min((one.started_at for one in receipts.values() if one.started_at), default=""),
        finished_at=max((one.finished_at for one in receipts.values() if one.finished_at), default=""),
        metadata=scan.metadata,
        links=tuple(
            _link(name, device, receipts.get(device))
            for name, device in zip(link_names(detectors, receipts), detectors, strict=True)
        ),
        report=outcome.report,
    )


def link_names(detectors: Sequence[str], receipts: dict[str, Receipt]) -> list[str]:
    """A name for each: as in its own file; where two have the same there, the last part of the device's name, or all
    of it with - for /."""
    kinds = (
        [_name_in_file(receipts.get(device)) or _last(device) for device in detectors],
        [_last(device) for device in detectors],
    )
    whole = [device.replace("/", "-") for device in detectors]
    return next((names for names in kinds if max(Counter(names).values(), default=0) <= 1), whole)


def _name_in_file(receipt: Receipt | None) -> str:
    return posixpath.basename(posixpath.dirname(receipt.dataset)) if receipt is not None else ""


def _last(device: str) -> str:
    return device.rpartition("/")[2]


def _link(name: str, device: str, receipt: Receipt | None) -> ScanLink:
    if receipt is None:
        return ScanLink(name=name, device=device, absent="its receiver gave no receipt")
    if receipt.data_files_spilled:
        absent = f"data files are still in the spill directory; {receipt.file} appears when they are home"
        return ScanLink(name=name, device=device, absent=absent)
    if not receipt.file:
        return ScanLink(name=name, device=device, absent="no file was written")
    if receipt.file.endswith(PART):
        return ScanLink(name=name, device=device, absent=f"its file is not finished: {receipt.file}")
    if not receipt.dataset:
        return ScanLink(name=name, device=device, absent=f"there are no frames in {receipt.file}")
    return ScanLink(name=name, device=device, file=receipt.file, dataset=receipt.dataset)
