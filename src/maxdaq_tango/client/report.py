"""What a device tells about its last acquisition. Pure."""

from __future__ import annotations

import msgspec

from maxdaq_tango.errors import MaxdaqError, StateError
from maxdaq_tango.model import Receipt, Verdict


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    """What belongs to all detectors together."""

    number: int = 0
    master: str = ""
    """Path of the file that links those of all detectors; "" = none was asked for."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One acquisition, of one detector or of several."""

    run_id: str
    verdict: Verdict
    """The worst of all detectors."""
    armed: bool
    """False: it ended before every detector was armed, and nothing was taken."""
    reasons: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    """What receivers said before it, such as that the disk may be too small."""
    scan: Scan | None = None
    """None of a detector by itself, and of a live view."""
    receipts: dict[str, Receipt]
    """By detector device."""
    verdicts: dict[str, Verdict] = {}
    """Of every detector of the run, also of one whose receiver gave no receipt."""

    @property
    def files(self) -> dict[str, str]:
        """Path of the file of each detector that has one."""
        return {name: receipt.file for name, receipt in self.receipts.items() if receipt.file}

    @property
    def is_complete(self) -> bool:
        """Every frame of every detector is in its file, or was shown if none was wanted."""
        return self.verdict is Verdict.COMPLETE


class BadRun(MaxdaqError):
    """An acquisition ended, and is not COMPLETE. `report` says how."""

    def __init__(self, asked: str, *, of: str, report: Report) -> None:
        told = "; ".join(report.reasons) or "no reason was told"
        super().__init__(asked, of=of, answer=f"{report.verdict.value}: {told}", accepted="COMPLETE")
        self.report = report


def report_of(text: str, device: str) -> Report:
    """Of attribute LastReport; StateError when it is none."""
    try:
        return msgspec.json.decode(text, type=Report)
    except msgspec.MsgspecError as error:
        raise StateError(
            "read LastReport", of=device, answer=str(error) if text else "it is empty", accepted="after an acquisition"
        ) from None
