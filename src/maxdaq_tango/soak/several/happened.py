"""What is known of one acquisition of several detectors when it is over; plain values, so that judging it is pure."""

from __future__ import annotations

import msgspec

from maxdaq_tango.client.report import Report
from maxdaq_tango.detectors.simulation.account import SeriesAccount
from maxdaq_tango.files import Recovered
from maxdaq_tango.model import Receipt
from maxdaq_tango.soak.evidence import FileEvidence


class OneHappened(msgspec.Struct, frozen=True, kw_only=True):
    """Of one detector."""

    device: str
    file: str
    """Path that was asked for; "" = none."""
    accounts: tuple[SeriesAccount, ...] = ()
    """Of every series that its simulator made in the run."""
    receipt_of_receiver: Receipt | None = None
    """None where it is of another run."""
    evidence: tuple[FileEvidence, ...] = ()
    """Files that were found in its folder."""
    recovered: tuple[Recovered, ...] = ()
    left: tuple[str, ...] = ()
    """Names of all its files."""
    precious: str = ""
    """Name of the file that was there before, as it was; "" = it is gone, or there was none."""


class SeveralHappened(msgspec.Struct, frozen=True, kw_only=True):
    """Of all."""

    refusal: str = ""
    """What Arm said when it did not arm."""
    armed: bool = False
    hung: str = ""
    stopped: bool = False
    """The client gave up: the triggers that were left could not be given."""
    triggers_given: int = 0
    verdict: str = ""
    """Attribute of the controller."""
    state: str = ""
    report: Report | None = None
    report_is_new: bool = False
    """It is of this run, and not of the one before."""
    detectors: dict[str, OneHappened] = {}
    """Family > what it did."""
    complaints: tuple[str, ...] = ()
    """What a client met with that it should not have."""
    too_late: bool = False
    """The acquisition was over when a second client armed: the report is of the second one."""
    killed: tuple[str, ...] = ()
    """Processes."""
    notes: tuple[str, ...] = ()
