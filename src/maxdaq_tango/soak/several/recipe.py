"""What one acquisition of several detectors shall be, from the seed and its number alone. Pure."""

from __future__ import annotations

from enum import StrEnum
from random import Random

import msgspec

from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.model import TriggerMode
from maxdaq_tango.soak.menu import DISHES, Group
from maxdaq_tango.soak.several.menu import dishes_of, words_of


class Trick(StrEnum):
    """What somebody does to an acquisition."""

    NONE = "nothing"
    STOP = "stop"
    ABORT = "abort"
    EARLY_TRIGGER = "early-trigger"
    """SoftwareTrigger before Arm, and again while arming."""
    ARM_TWICE = "arm-twice"
    """A second client arms as well."""
    SECOND_CLIENT = "second-client"
    """Another client resets, triggers, arms the detector device and then stops what is going on."""
    INIT_DETECTOR = "init-detector"
    INIT_RECEIVER = "init-receiver"
    INIT_CONTROLLER = "init-controller"
    KILL_ENGINE = "kill-engine"
    KILL_RECEIVER = "kill-receiver"
    KILL_DETECTOR = "kill-detector"
    KILL_CONTROLLER = "kill-controller"
    KILL_STREAMER = "kill-streamer"
    EXISTING_FILE = "existing-file"
    OVERWRITE = "overwrite"
    """The file exists, and may be moved aside."""
    LIVE_VIEW = "live-view"
    """Command Live, until Stop."""


class Moment(StrEnum):
    """When it does."""

    ARMING = "while arming"
    RUNNING = "in mid-run"
    ENDING = "while it ends"


TRICKS = tuple(trick.value for trick in Trick if trick is not Trick.NONE)
ENDING = frozenset({Trick.STOP, Trick.ABORT, Trick.SECOND_CLIENT, Trick.LIVE_VIEW})
"""Somebody ends the run of every detector."""
ON_ALL = frozenset({Trick.INIT_CONTROLLER, Trick.KILL_CONTROLLER})
"""Meet the run of every detector."""
ON_ONE = frozenset(
    {
        *(Trick.INIT_DETECTOR, Trick.INIT_RECEIVER, Trick.KILL_ENGINE, Trick.KILL_RECEIVER, Trick.KILL_DETECTOR),
        Trick.KILL_STREAMER,
    }
)
"""Meet the victim."""
_WEIGHTS = {
    Trick.NONE: 36, Trick.STOP: 10, Trick.ABORT: 10, Trick.EARLY_TRIGGER: 5, Trick.ARM_TWICE: 5, Trick.SECOND_CLIENT: 5,
    Trick.INIT_DETECTOR: 4, Trick.INIT_RECEIVER: 4, Trick.INIT_CONTROLLER: 3, Trick.KILL_ENGINE: 5,
    Trick.KILL_RECEIVER: 2, Trick.KILL_DETECTOR: 2, Trick.KILL_CONTROLLER: 2, Trick.KILL_STREAMER: 2,
    Trick.EXISTING_FILE: 3, Trick.OVERWRITE: 2, Trick.LIVE_VIEW: 2,
}  # fmt: skip
EARLY = frozenset({Trick.ARM_TWICE, Trick.SECOND_CLIENT})
"""Try what must be refused while an acquisition is under way: not when it is nearly over."""
_TIMELESS = frozenset({Trick.EARLY_TRIGGER, Trick.EXISTING_FILE, Trick.OVERWRITE, Trick.LIVE_VIEW})
STREAMED = frozenset({"pilatus", "lambda", "orca"})
"""Families with a streamer."""
MIN_S, MAX_S = 0.2, 1.2
"""Of a series, without waits for triggers."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What one detector does."""

    family: str
    frames_per_trigger: int
    exposure_s: float
    overridden: bool
    """Its settings are not those of all."""
    dishes: tuple[str, ...]
    words: tuple[str, ...]
    """Its faults, as its simulator takes them."""

    @property
    def faults(self) -> Faults:
        """The same, parsed."""
        return Faults.parse(self.words)

    def has(self, *groups: Group) -> bool:
        """One of its faults is of these kinds."""
        return any(DISHES[name].group in groups for name in self.dishes)


class SeveralRecipe(msgspec.Struct, frozen=True, kw_only=True):
    """One acquisition."""

    number: int
    parts: tuple[Part, ...]
    """Of the detectors that are enabled, in the order of the controller."""
    trigger_mode: TriggerMode
    triggers: int
    live: bool
    """Without files."""
    trick: Trick
    victim: str
    """Family of the detector that the trick meets."""
    moment: Moment
    at: float
    """0 to 1, of that moment's length."""
    look_seed: int

    @property
    def labels(self) -> tuple[str, ...]:
        """Faults and tricks."""
        faults = sorted({name for part in self.parts for name in part.dishes})
        trick = () if self.trick is Trick.NONE else (self.trick.value,)
        return (*faults, *trick)

    def frames(self, part: Part) -> int:
        """That a detector shall take."""
        return self.triggers * part.frames_per_trigger

    @property
    def seconds(self) -> float:
        """Of the longest series, without waits for triggers."""
        return max(self.frames(part) * part.exposure_s for part in self.parts)

    def describe(self) -> str:
        """One line for people."""
        parts = "; ".join(
            f"{part.family} {part.frames_per_trigger} x {part.exposure_s:g} s"
            + (f" with {' '.join(part.words)}" if part.words else "")
            for part in self.parts
        )
        trick = "" if self.trick is Trick.NONE else f"; {self.trick.value}"
        if trick and self.trick not in _TIMELESS:
            whose = f" of {self.victim}" if self.trick in ON_ONE else ""
            trick += f"{whose} {self.moment.value} at {self.at:.2f}"
        live = ", without files" if self.live else ""
        return f"{self.triggers} triggers, {self.trigger_mode.value}{live}: {parts}{trick}"


def draw(seed: int, number: int, families: tuple[str, ...], allowed: frozenset[str]) -> SeveralRecipe:
    """Acquisition `number` of the soak of this seed. `allowed` names faults and tricks that may be drawn."""
    random = Random(f"{seed}/several/{number}")
    enabled = [family for family in families if random.random() < 0.85] or [random.choice(families)]
    tricks = [trick for trick in _WEIGHTS if trick is Trick.NONE or trick.value in allowed]
    trick = random.choices(tricks, [_WEIGHTS[trick] for trick in tricks])[0]
    victims = [family for family in enabled if trick is not Trick.KILL_STREAMER or family in STREAMED]
    if not victims:
        trick, victims = Trick.NONE, enabled
    mode = random.choices(
        (TriggerMode.INTERNAL, TriggerMode.SOFTWARE, TriggerMode.EXTERNAL_MULTI), (55, 30, 15)
    )[0]  # fmt: skip
    if trick is Trick.LIVE_VIEW:
        mode = TriggerMode.INTERNAL
    triggers = random.randint(1, 4) if mode is TriggerMode.SOFTWARE else 1
    chosen = [*random.sample(enabled, 1), *(family for family in enabled if random.random() < 0.2)]
    faulty = frozenset(chosen) if random.random() < (0.55 if trick is Trick.NONE else 0.25) else frozenset[str]()
    common = _times(random, triggers)
    moment, at = random.choice(list(Moment)), round(random.random(), 3)
    if trick in EARLY:
        moment, at = random.choice((Moment.ARMING, Moment.RUNNING)), round(at / 2, 3)
    return SeveralRecipe(
        number=number,
        parts=tuple(_part(random, family, triggers, mode, common, allowed, family in faulty) for family in enabled),
        trigger_mode=mode,
        triggers=triggers,
        live=trick not in (Trick.EXISTING_FILE, Trick.OVERWRITE) and random.random() < 0.12,
        trick=trick,
        victim=random.choice(victims),
        moment=moment,
        at=at,
        look_seed=random.randrange(1 << 30),
    )


def _times(random: Random, triggers: int) -> tuple[int, float]:
    """Frames per trigger, and exposure in s."""
    exposure_s = round(random.uniform(0.004, 0.05), 3)
    seconds = random.uniform(MIN_S, MAX_S)
    return max(1, round(seconds / exposure_s / triggers)), exposure_s


def _part(
    random: Random,
    family: str,
    triggers: int,
    mode: TriggerMode,
    common: tuple[int, float],
    allowed: frozenset[str],
    faulty: bool,
) -> Part:
    overridden = random.random() < 0.3
    frames, exposure_s = _times(random, triggers) if overridden else common
    there = [dish for dish in dishes_of(family) if dish.name in allowed]
    if mode is not TriggerMode.INTERNAL:
        there = [dish for dish in there if not dish.internal_only]
    per_frame = [dish for dish in there if dish.group is Group.PER_FRAME]
    others = [dish for dish in there if dish.group is not Group.PER_FRAME]
    dishes = []
    if faulty and there:
        pool = others if (random.random() < 0.6 and others) or not per_frame else per_frame
        dishes = random.sample(pool, min(len(pool), random.choice((1, 1, 2)) if pool is per_frame else 1))
    total = max(2, triggers * frames)
    words = [word for dish in dishes for word in words_of(family, dish, random, total)]
    return Part(
        family=family,
        frames_per_trigger=frames,
        exposure_s=exposure_s,
        overridden=overridden,
        dishes=tuple(dish.name for dish in dishes),
        words=(*words, f"seed={random.randrange(1000)}") if words else (),
    )
