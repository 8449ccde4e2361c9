"""The phases of a transaction and what each arming phase does. Pure."""

from __future__ import annotations

from enum import StrEnum

from maxdaq_tango.transaction.words import Step


class Phase(StrEnum):
    """Where the transaction stands. The first five after IDLE are its steps."""

    IDLE = "IDLE"
    CHECK = "CHECK"
    CONFIGURE = "CONFIGURE"
    PREPARE = "PREPARE"
    ARM = "ARM"
    EXPECT = "EXPECT"
    RUN = "RUN"
    STOP = "STOP"
    ABORT = "ABORT"
    LINK = "LINK"
    """Every file is closed; the scan master is being written."""
    UNDO = "UNDO"


ARMING: dict[Phase, tuple[Step, Phase]] = {
    Phase.CHECK: (Step.CHECK, Phase.CONFIGURE),
    Phase.CONFIGURE: (Step.CONFIGURE, Phase.PREPARE),
    Phase.PREPARE: (Step.PREPARE, Phase.ARM),
    Phase.ARM: (Step.ARM, Phase.EXPECT),
    Phase.EXPECT: (Step.EXPECT, Phase.RUN),
}
"""Arming phase > what every pair does in it, and the phase that follows when all have."""

SUPERVISED = frozenset({Phase.RUN, Phase.STOP, Phase.ABORT})
