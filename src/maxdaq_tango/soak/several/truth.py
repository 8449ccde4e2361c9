"""What the file of one detector may hold and must hold, from the accounts of its simulator. Pure.

A camserver makes one series for each exposure command, a Lambda one for each burst: with software triggers a run is
several of their series, one behind the other in the file.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from maxdaq_tango.detectors.simulation.account import SeriesAccount
from maxdaq_tango.detectors.simulation.delivery import Damage, damage_of
from maxdaq_tango.detectors.simulation.expected_outcome import numbers
from maxdaq_tango.model import TriggerMode
from maxdaq_tango.soak.several.recipe import Part, SeveralRecipe


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """Frames are numbers as in the file."""

    stored: dict[int, int]
    """Number of a frame that left whole > the exposure whose pixels it has."""
    untrue: frozenset[int] = frozenset()
    """May be in the file with other pixels, or not at all: nobody can say from outside."""
    spoilt: frozenset[int] = frozenset()
    """Left in a state in which they must not be stored."""
    must: frozenset[int] = frozenset()
    """Has to be in the file when nobody disturbs the run."""
    made: int = 0
    """Exposures."""

    @property
    def possible(self) -> frozenset[int]:
        """All that the file may hold."""
        return frozenset(self.stored) | self.untrue


def truth_of(recipe: SeveralRecipe, part: Part, accounts: Sequence[SeriesAccount]) -> Truth:
    """Of all series that the simulator made in the run, in their order."""
    one_for_each = recipe.trigger_mode is TriggerMode.SOFTWARE and part.family in ("pilatus", "lambda")
    stored: dict[int, int] = {}
    untrue, spoilt = set[int](), set[int]()
    for index, account in enumerate(accounts):
        base = index * part.frames_per_trigger if one_for_each else 0
        stolen = numbers(account.stolen)
        stored |= {base + number: number for number in numbers(account.intact) - stolen}
        for number in numbers(account.damaged) - stolen:
            blind = damage_of(part.faults, number) in (Damage.BITS, Damage.BLOCK_LENGTH)
            (untrue if blind else spoilt).add(base + number)
        for first, last, sent_as in account.renumbered:
            untrue |= {base + exposure - first + sent_as for exposure in range(first, last + 1)}
        untrue |= {base + number for number in stolen}
    expected, end_at = recipe.frames(part), part.faults.end_at
    untrue = {number for number in untrue if 0 <= number < expected}
    stored = {number: exposure for number, exposure in stored.items() if number < expected and number not in untrue}
    return Truth(
        stored=stored,
        must=frozenset(number for number in stored if end_at is None or number < end_at),
        untrue=frozenset(untrue),
        spoilt=frozenset(spoilt - untrue - stored.keys()),
        made=sum(account.frames_made for account in accounts),
    )
