"""Which Tango state a device shows. One table for all devices.

INIT     starting up
RUNNING  from Arm until the file is closed (a StreamReceiver whose stream has stalled: ALARM)
FAULT    the last run failed, or the configuration cannot work; the reason is in Status until the next Arm or Reset
UNKNOWN  the other side cannot be reached
ALARM    the last run ended with frames missing, or arming failed; the next Arm or Reset clears it
ON       ready (STANDBY for device classes whose clients want that, property IdleState)
"""

from __future__ import annotations

import tango

from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.model import BUSY_STATES, AcquisitionState, Verdict

IDLE_STATES = {"ON": tango.DevState.ON, "STANDBY": tango.DevState.STANDBY}


def tango_state(
    acquisition: AcquisitionState,
    *,
    starting: bool = False,
    reachable: bool = True,
    alarmed: bool = False,
    stalled: bool = False,
    idle: tango.DevState = tango.DevState.ON,
) -> tango.DevState:
    """The first that applies: INIT, RUNNING (ALARM when it is stalled), FAULT, UNKNOWN, ALARM, idle.

    RUNNING comes before UNKNOWN: frames flow and files are written without the control link.
    """
    if starting:
        return tango.DevState.INIT
    if acquisition in BUSY_STATES:
        return tango.DevState.ALARM if stalled else tango.DevState.RUNNING
    if acquisition is AcquisitionState.FAULT:
        return tango.DevState.FAULT
    if not reachable:
        return tango.DevState.UNKNOWN
    return tango.DevState.ALARM if alarmed else idle


def is_alarming(verdict: Verdict | None, *, armed: bool = True) -> bool:
    """True for what an operator must notice. What somebody ended on purpose is no alarm."""
    if verdict is None:
        return False
    return verdict in (Verdict.INCOMPLETE, Verdict.FAILED) or (not armed and verdict is not Verdict.ABORTED)


def idle_state(name: str) -> tango.DevState:
    """Of property IdleState."""
    try:
        return IDLE_STATES[name.strip().upper()]
    except KeyError:
        raise ConfigurationError(
            f"set property IdleState to '{name}'", answer="no such state", accepted=" or ".join(IDLE_STATES)
        ) from None
