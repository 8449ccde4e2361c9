"""What a scan is beside its series: the file that links those of all detectors."""

from __future__ import annotations

from typing import Any

import msgspec

from maxdaq_tango.model.receipt import Verdict


class ScanLink(msgspec.Struct, frozen=True, kw_only=True):
    """One detector of a scan."""

    name: str
    """Of its group in the scan master: /entry/instrument/<name>."""
    device: str
    file: str = ""
    """Absolute path; "" = there is nothing to link, and `absent` says why."""
    dataset: str = ""
    """Path of the pixels inside `file`."""
    absent: str = ""


class ScanMaster(msgspec.Struct, frozen=True, kw_only=True):
    """All that a scan master holds. JSON in, JSON out: the argument of `WriteScanMaster`."""

    path: str
    """Absolute, under the roots of whoever writes it."""
    overwrite: bool = False
    """An existing file of that name is moved aside."""
    scan_number: int = 0
    run_id: str = ""
    verdict: Verdict = Verdict.FAILED
    started_at: str = ""
    """UTC, ISO 8601."""
    finished_at: str = ""
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    links: tuple[ScanLink, ...] = ()
    """In the order of the detectors; the first that has a file is the default plot."""
    report: str = ""
    """JSON, also saved beside the master."""
