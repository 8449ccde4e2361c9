"""The states of an acquisition, as one table.

    IDLE ──configure──> CONFIGURING ──armed──> ARMED ──started──> ACQUIRING
      ^                     |                    |                    |
      |                     |undone              |source_done         |source_done
      |<────────────────────┘                    v                    v
      |<──closed── FINALISING <──drained────── DRAINING <─────────────┘

`failed` leads from every working state to FAULT. FAULT keeps its reason until `reset`, or until the next `configure`:
an operator who simply arms again must not need a detour.

Everything that affects transitions lives in `TRANSITIONS`; nothing in this file knows Tango, files or detectors.
"""

from __future__ import annotations

from enum import StrEnum

from maxdaq_tango.errors import StateError


class AcquisitionState(StrEnum):
    """Where an acquisition stands. The order is the order of life."""

    IDLE = "IDLE"
    CONFIGURING = "CONFIGURING"
    ARMED = "ARMED"
    ACQUIRING = "ACQUIRING"
    DRAINING = "DRAINING"
    """The source has finished; frames are still on their way to the file."""
    FINALISING = "FINALISING"
    """All frames are accounted for; the file is being closed."""
    FAULT = "FAULT"


class AcquisitionEvent(StrEnum):
    """What can happen to an acquisition."""

    CONFIGURE = "configure"
    ARMED = "armed"
    UNDONE = "undone"
    """An arming that failed or was aborted has been taken back; nothing is left of it."""
    STARTED = "started"
    SOURCE_DONE = "source_done"
    DRAINED = "drained"
    CLOSED = "closed"
    FAILED = "failed"
    RESET = "reset"


_S, _E = AcquisitionState, AcquisitionEvent

TRANSITIONS: dict[tuple[AcquisitionState, AcquisitionEvent], AcquisitionState] = {
    (_S.IDLE, _E.CONFIGURE): _S.CONFIGURING,
    (_S.IDLE, _E.RESET): _S.IDLE,
    (_S.CONFIGURING, _E.ARMED): _S.ARMED,
    (_S.CONFIGURING, _E.UNDONE): _S.IDLE,
    (_S.CONFIGURING, _E.FAILED): _S.FAULT,
    (_S.ARMED, _E.STARTED): _S.ACQUIRING,
    (_S.ARMED, _E.SOURCE_DONE): _S.DRAINING,
    (_S.ARMED, _E.FAILED): _S.FAULT,
    (_S.ACQUIRING, _E.STARTED): _S.ACQUIRING,
    (_S.ACQUIRING, _E.SOURCE_DONE): _S.DRAINING,
    (_S.ACQUIRING, _E.FAILED): _S.FAULT,
    (_S.DRAINING, _E.STARTED): _S.DRAINING,
    (_S.DRAINING, _E.SOURCE_DONE): _S.DRAINING,
    (_S.DRAINING, _E.DRAINED): _S.FINALISING,
    (_S.DRAINING, _E.FAILED): _S.FAULT,
    (_S.FINALISING, _E.CLOSED): _S.IDLE,
    (_S.FINALISING, _E.FAILED): _S.FAULT,
    (_S.FAULT, _E.RESET): _S.IDLE,
    (_S.FAULT, _E.CONFIGURE): _S.CONFIGURING,
    (_S.FAULT, _E.FAILED): _S.FAULT,
}

BUSY_STATES = frozenset({_S.CONFIGURING, _S.ARMED, _S.ACQUIRING, _S.DRAINING, _S.FINALISING})
"""States in which a second Arm is refused."""


def next_state(state: AcquisitionState, event: AcquisitionEvent) -> AcquisitionState:
    """The state after `event`; a combination that is not in the table is a `StateError`."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        possible = sorted({e.value for s, e in TRANSITIONS if s is state})
        raise StateError(
            f"'{event.value}' while {state.value}", answer="not possible in this state", accepted=", ".join(possible)
        ) from None
