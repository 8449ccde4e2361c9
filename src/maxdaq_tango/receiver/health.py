"""Can this receiver take a Prepare, and if not, why not? Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from maxdaq_tango import __version__
from maxdaq_tango.model import BUSY_STATES, AcquisitionState
from maxdaq_tango.receiver.disk_room import Room


class EngineHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The process that takes the stream."""

    alive: bool
    pid: int = 0
    silent_s: int = 0
    """How long it has given no sign of life in a run, once that is over 5 s."""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """One look; attribute `Health` is this as JSON."""

    ready: bool
    """Prepare with a destination would be taken now, as far as can be seen."""
    why_not: tuple[str, ...]
    """Empty when ready."""
    concerns: tuple[str, ...]
    """What somebody should look at although Prepare is taken."""
    state: AcquisitionState
    engine: EngineHealth
    roots: tuple[Room, ...]
    version: str = __version__


def judge(
    *,
    trouble: str,
    starting: bool,
    preparing: bool,
    state: AcquisitionState,
    failure: str,
    engine: EngineHealth,
    roots: Sequence[Room],
) -> Health:
    """`trouble`: why the properties cannot work; `failure`: what went wrong last, until somebody acknowledges it."""
    why_not, concerns = [], []
    if trouble:
        why_not.append(trouble)
    elif starting:
        why_not.append("the receiver engine is starting")
    elif preparing:
        why_not.append("a run is being prepared")
    elif state in BUSY_STATES:
        why_not.append(f"a run is under way ({state.value})")
    blocked = [f"{room.path}: {room.problem}" for room in roots if room.problem]
    if blocked and len(blocked) == len(roots):
        why_not += blocked
    else:
        concerns += blocked
    if not trouble and not roots:
        concerns.append("Roots is empty: only runs without a file can be prepared")
    if engine.silent_s:
        concerns.append(f"the receiver engine has given no sign of life for {engine.silent_s} s")
    if not (trouble or starting or engine.alive):
        concerns.append("the receiver engine does not run: the next Prepare starts one")
    if failure:
        concerns.append(failure)
    return Health(
        ready=not why_not,
        why_not=tuple(why_not),
        concerns=tuple(concerns),
        state=state,
        engine=engine,
        roots=tuple(roots),
    )
