"""What simulators and streamers tell of themselves when they are ready, by the name that a topology has for it."""

from __future__ import annotations

import typing

from maxdaq_tango.deployment.simulators import SIMULATOR_ANSWERS, Simulator
from maxdaq_tango.deployment.streamers import STREAMER_ANSWERS, Streamer


def family_of(settings: Simulator | Streamer) -> str:
    """The word that tells it from the others."""
    return str(settings.__struct_config__.tag)


def is_simulator(settings: Simulator | Streamer) -> bool:
    """Or a streamer."""
    return isinstance(settings, typing.get_args(Simulator))


def answers_of(settings: Simulator | Streamer) -> dict[str, str]:
    """What `${program.…}` may name > what the program itself calls it."""
    return (SIMULATOR_ANSWERS if is_simulator(settings) else STREAMER_ANSWERS)[family_of(settings)]


def text_of(answer: object) -> str:
    """As it stands in a property: a list with commas between."""
    return ",".join(map(str, answer)) if isinstance(answer, list | tuple) else str(answer)


__all__ = ["answers_of", "family_of", "is_simulator", "text_of"]
