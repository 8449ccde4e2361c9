"""What one acquisition of a soak shall be, from the seed and its number alone: any of them can be repeated. Pure."""

from __future__ import annotations

from enum import StrEnum
from random import Random

import msgspec

from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.model import Encoding, StreamFormat, TriggerMode
from maxdaq_tango.soak.menu import DISHES, Dish, Group, chosen

SETUP_LASTS = 40
"""Acquisitions with the same properties: a receiver starts anew for other ones, and its memory is looked at."""
SHAPE = (160, 128)
"""Rows and columns: small, so that a soak is about accounts and not about bandwidth. Five blocks of bslz4."""
FASTEST_HZ = 800.0
EIGHT_BIT_HZ = 2500.0
"""Above 2250 Hz an EIGER2 has pixels of 8 bits."""
KILLED_AFTER_S = 2.0
"""A series that is going to be killed lasts longer than this and the interval of checkpoints."""
MOST_FRAMES = 1200

_FORMATS = (StreamFormat.DECTRIS_V1, StreamFormat.DECTRIS_V2)
_ENCODINGS = {
    (StreamFormat.DECTRIS_V1, "bslz4"): Encoding.BSLZ4,
    (StreamFormat.DECTRIS_V2, "bslz4"): Encoding.BSLZ4,
    (StreamFormat.DECTRIS_V1, "lz4"): Encoding.LZ4_BLOCK,
    (StreamFormat.DECTRIS_V2, "lz4"): Encoding.LZ4_HDF5,
    (StreamFormat.DECTRIS_V1, "none"): Encoding.NONE,
    (StreamFormat.DECTRIS_V2, "none"): Encoding.NONE,
}


class End(StrEnum):
    """How an acquisition ends."""

    ITSELF = "by itself"
    STOP = "stop"
    ABORT = "abort"
    KILL_ENGINE = "kill-engine"
    KILL_SERVER = "kill-server"


ENDS = tuple(end.value for end in End if end is not End.ITSELF)
_END_CHANCES = {End.STOP: 0.10, End.ABORT: 0.07, End.KILL_ENGINE: 0.03, End.KILL_SERVER: 0.015}


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """Properties of the devices."""

    stream_format: StreamFormat
    backend: str
    frames_per_file: int
    engines: int


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """One acquisition."""

    number: int
    setup: Setup
    trigger_mode: TriggerMode
    triggers: int
    frames_per_trigger: int
    rate_hz: float
    compression: str
    """As the detector spells it."""
    dishes: tuple[str, ...]
    """Names of the faults."""
    faults: tuple[str, ...]
    """The same as the simulator takes them, such as `drop=0.1`."""
    end: End
    end_at: float
    """When it is ended, or when a fault that comes in mid-run comes: 0 to 1 of its length."""
    look_seed: int
    """Chooses the frames whose pixels are compared."""

    @property
    def frames(self) -> int:
        """Of the whole series."""
        return self.triggers * self.frames_per_trigger

    @property
    def seconds(self) -> float:
        """From the first to the last exposure, without waits for triggers."""
        return self.frames / self.rate_hz

    @property
    def labels(self) -> tuple[str, ...]:
        """Its faults, and its end where that is not its own."""
        return (*self.dishes, *(() if self.end is End.ITSELF else (self.end.value,)))

    @property
    def encoding(self) -> Encoding:
        """Of frames on the wire."""
        return _ENCODINGS[self.setup.stream_format, self.compression]

    @property
    def parsed(self) -> Faults:
        """What is asked of the simulator."""
        return Faults.parse(self.faults)

    def has(self, group: Group) -> bool:
        """One of its faults is of this kind."""
        return any(DISHES[name].group is group for name in self.dishes)

    def describe(self) -> str:
        """One line for people."""
        setup = self.setup
        files = f", {setup.frames_per_file} frames a file, {setup.engines} engines" if setup.frames_per_file else ""
        return (
            f"{self.triggers} x {self.frames_per_trigger} frames at {self.rate_hz:g} Hz, {self.trigger_mode.value}, "
            f"{setup.stream_format.value} {self.compression}, backend {setup.backend}{files}; "
            f"faults: {' '.join(self.faults) or 'none'}; ends: {self.end.value}"
            + ("" if self.end is End.ITSELF and not self.has(Group.MID_RUN) else f" at {self.end_at:.2f} of its length")
        )


def draw(seed: int, number: int, allowed: frozenset[str]) -> Recipe:
    """Acquisition `number` of the soak of this seed. `allowed` names faults and ends that may be drawn."""
    setup = _setup(Random(f"{seed}/setup/{number // SETUP_LASTS}"))
    random = Random(f"{seed}/{number}")
    compression = random.choice(("bslz4", "bslz4", "bslz4", "lz4", "none"))
    encoding = _ENCODINGS[setup.stream_format, compression]
    end = _end(random, allowed)
    dishes = _dishes(random, allowed, encoding, end)
    internal = any(dish.internal_only for dish in dishes)
    mode = TriggerMode.INTERNAL if internal else random.choice(list(TriggerMode))
    killed = end in (End.KILL_ENGINE, End.KILL_SERVER)
    fast = not killed and mode is TriggerMode.INTERNAL and random.random() < 0.08
    rate = EIGHT_BIT_HZ if fast else round(20.0 * (FASTEST_HZ / 20.0) ** random.random(), 1)
    seconds = KILLED_AFTER_S + 3 * random.random() if killed else 0.3 + 1.2 * random.random()
    total = max(8, min(MOST_FRAMES, round(rate * seconds)))
    triggers = {TriggerMode.INTERNAL: 1, TriggerMode.EXTERNAL_MULTI_GATE: total}.get(mode, random.randint(1, 4))
    frames = max(1, total // triggers)
    words = tuple(word for dish in dishes for word in dish.words(random, triggers * frames))
    return Recipe(
        number=number,
        setup=setup,
        trigger_mode=mode,
        triggers=triggers,
        frames_per_trigger=frames,
        rate_hz=rate,
        compression=compression,
        dishes=tuple(dish.name for dish in dishes),
        faults=(*words, f"seed={random.randrange(1000)}") if words else (),
        end=end,
        end_at=round(random.uniform(0.05, 1.05) if killed else random.uniform(0.1, 0.9), 3),
        look_seed=random.randrange(1 << 30),
    )


def _setup(random: Random) -> Setup:
    blocks = random.random() < 0.35
    return Setup(
        stream_format=random.choice(_FORMATS),
        backend=random.choice(("auto", "swmr", "direct")),
        frames_per_file=random.choice((10, 50, 200)) if blocks else 0,
        engines=random.choice((1, 2)) if blocks else 1,
    )


def _end(random: Random, allowed: frozenset[str]) -> End:
    dice = random.random()
    for end, chance in _END_CHANCES.items():
        if dice < chance:
            return end if end.value in allowed else End.ITSELF
        dice -= chance
    return End.ITSELF


def _dishes(random: Random, allowed: frozenset[str], encoding: Encoding, end: End) -> list[Dish]:
    there = [dish for dish in DISHES.values() if dish.name in allowed and encoding not in dish.not_with]
    per_frame = [dish for dish in there if dish.group is Group.PER_FRAME]
    others = [dish for dish in there if dish.group is not Group.PER_FRAME]
    dice = random.random()
    if end is not End.ITSELF:
        return chosen(random, per_frame, 1) if dice < 0.4 else []
    if dice < 0.25:
        return []
    if dice < 0.6 and others:
        return chosen(random, others, 1)
    return chosen(random, per_frame, random.choice((1, 1, 1, 2, 2, 3)))
