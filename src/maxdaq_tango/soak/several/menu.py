"""Which faults the simulator of each family can have, in the words of the soak's menu. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from random import Random

from maxdaq_tango.detectors.pilatus.simulator_faults import refuse_meaningless
from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.detectors.xspectrum_lambda.simulator import check_faults
from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.soak.menu import DISHES, Dish

CHECKS: dict[str, Callable[[Faults], None]] = {
    "eiger": lambda faults: None,
    "pilatus": refuse_meaningless,
    "lambda": check_faults,
}
"""Family > what its simulator says to faults that would do nothing. These families can be soaked together."""
KEYS = {
    "eiger": ("arm", "nimages", "count_time", "ntrigger"),
    "pilatus": ("NImages", "ExpTime", "ExpPeriod", "Exposure", "ImgPath"),
    "lambda": ("number_of_frames", "shutter_time", "trigger_mode"),
}
"""What may answer with an error, with the fault `failing-key`."""


def words_of(family: str, dish: Dish, random: Random, frames: int) -> Sequence[str]:
    """Of the fault, for a series of so many frames."""
    if dish.name == "failing-key":
        return (f"failing_keys={random.choice(KEYS[family])}",)
    return dish.words(random, frames)


@cache
def dishes_of(family: str) -> tuple[Dish, ...]:
    """Those that its simulator accepts; ConfigurationError for a family that cannot be soaked."""
    if family not in CHECKS:
        raise ConfigurationError(f"soak the family '{family}'", accepted=", ".join(CHECKS))
    return tuple(dish for dish in DISHES.values() if _means_something(family, dish))


def _means_something(family: str, dish: Dish) -> bool:
    try:
        CHECKS[family](Faults.parse(words_of(family, dish, Random(0), 10)))
    except ConfigurationError:
        return False
    return True
