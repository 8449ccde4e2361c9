"""Every fault of the simulated Eiger that a soak can draw, with what it may be combined with. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.model import Encoding

Words = Callable[[Random, int], Sequence[str]]
"""Fault words for a series of so many frames."""

OFFLINE_S = 1.5
"""Longest absence of the control address; a detector device gives one up after 30 s."""


class Group(StrEnum):
    """When a fault comes, and with what it may be combined."""

    PER_FRAME = "per frame"
    """Meets single frames or the end of the series: up to three of these at once."""
    STREAM = "stream"
    """Changes the order of the whole series: alone."""
    REFUSAL = "refusal"
    """Arming fails: nothing may be left."""
    CONTROL = "control"
    """Arming or control is slow; the data must be whole."""
    MID_RUN = "mid-run"
    """Is switched on while frames come."""


@dataclass(frozen=True)
class Dish:
    """One fault."""

    name: str
    group: Group
    words: Words
    not_with: frozenset[Encoding] = frozenset()
    """Packings in which nobody can say from outside what becomes of it."""
    internal_only: bool = False
    """The series must come in one burst: a pause between triggers would end it early, as it should."""


_BARE = frozenset({Encoding.LZ4_BLOCK})
"""A bare LZ4 block states no size: whether it was cut is only seen when it is unpacked (`Verify` = full)."""
_LZ4 = frozenset({Encoding.LZ4_BLOCK, Encoding.LZ4_HDF5})


def _some(random: Random, frames: int) -> str:
    """One to three frame numbers, the last one more often than others."""
    chosen = {random.randrange(frames) for _ in range(random.randint(1, 3))}
    if random.random() < 0.2:
        chosen.add(frames - 1)
    return ",".join(map(str, sorted(chosen)))


def _inside(random: Random, frames: int) -> int:
    return random.randrange(1, frames)


def _fraction(name: str, most: float) -> Words:
    def words(random: Random, frames: int) -> Sequence[str]:
        if random.random() < 0.5:
            return (f"{name}_frames={_some(random, frames)}",)
        return (f"{name}={random.uniform(0.01, most):.3f}",)

    return words


def _at(name: str) -> Words:
    return lambda random, frames: (f"{name}={_inside(random, frames)}",)


def _always(*words: str) -> Words:
    return lambda random, frames: words


def _drop_burst(random: Random, frames: int) -> Sequence[str]:
    first = random.randrange(frames)
    return (f"drop_frames={first}-{min(frames - 1, first + random.randrange(1, 20))}",)


_PER_FRAME = (
    Dish("drop", Group.PER_FRAME, _fraction("drop", 0.3)),
    Dish("drop-burst", Group.PER_FRAME, _drop_burst),
    Dish("duplicate", Group.PER_FRAME, _fraction("duplicate", 0.2)),
    Dish("reorder", Group.PER_FRAME, lambda random, frames: (f"reorder={random.randint(2, 16)}",)),
    Dish("swap", Group.PER_FRAME, lambda random, frames: (f"reorder_frames={_some(random, frames)}",)),
    Dish("delay", Group.PER_FRAME, lambda random, frames: (*_fraction("delay", 0.05)(random, frames), "delay_s=0.05")),
    Dish("cut", Group.PER_FRAME, _fraction("cut", 0.1), _BARE),
    Dish("corrupt", Group.PER_FRAME, _fraction("corrupt", 0.1), _LZ4),
    Dish("block-length", Group.PER_FRAME, _fraction("block_length", 0.1), _BARE),
    Dish("wrong-size", Group.PER_FRAME, _fraction("wrong_size", 0.1)),
    Dish("wrong-series", Group.PER_FRAME, _fraction("wrong_series", 0.1)),
    Dish("bomb", Group.PER_FRAME, lambda random, frames: (f"bomb={random.randrange(frames)}",)),
    Dish("missing-end", Group.PER_FRAME, _always("missing_end")),
    Dish("duplicate-end", Group.PER_FRAME, _always("duplicate_end")),
    Dish("filename", Group.PER_FRAME, _always("filename=../../outside.h5")),
)
_STREAM = (
    Dish("huge-number", Group.STREAM, _at("number_at")),
    Dish("negative-number", Group.STREAM, lambda random, frames: (*_at("number_at")(random, frames), "number_sent=-1")),
    Dish("restart", Group.STREAM, _at("restart_at")),
    Dish("dtype", Group.STREAM, _at("dtype_at")),
    Dish("shape", Group.STREAM, _at("shape_at")),
    Dish("second-header", Group.STREAM, lambda random, frames: (f"second_header_at={random.randrange(frames)}",)),
    Dish("interleave", Group.STREAM, lambda random, frames: (f"interleave={random.randrange(frames)}",)),
    Dish("end-early", Group.STREAM, _at("end_at"), internal_only=True),
    Dish("stop-after", Group.STREAM, lambda random, frames: (f"stop_after={random.randrange(frames)}",)),
    Dish("vanish", Group.STREAM, lambda random, frames: (f"vanish_at={_inside(random, frames)}", "vanish_s=0.4")),
    Dish("thief", Group.STREAM, _at("thief"), internal_only=True),
    Dish("missing-header", Group.STREAM, _always("missing_header")),
    Dish("never-start", Group.STREAM, _always("never_start"), internal_only=True),
)
_CONTROL = (
    Dish("refuse-arm", Group.REFUSAL, _always("refuse_arm=the high voltage is off")),
    Dish(
        "failing-key",
        Group.REFUSAL,
        lambda random, frames: (f"failing_keys={random.choice(('arm', 'nimages', 'count_time', 'ntrigger'))}",),
    ),
    Dish("slow-arm", Group.CONTROL, lambda random, frames: (f"arm_delay_s={random.uniform(0.3, 2.8):.2f}",)),
    Dish(
        "error-state",
        Group.MID_RUN,
        lambda random, frames: (
            "error_state=link 2 is down",
            f"initialise_delay_s={random.uniform(0, 0.5):.2f}",
        ),
    ),
    Dish("offline", Group.MID_RUN, lambda random, frames: (f"offline_s={random.uniform(0.2, OFFLINE_S):.2f}",)),
)

DISHES = {dish.name: dish for dish in (*_PER_FRAME, *_STREAM, *_CONTROL)}


def chosen(random: Random, dishes: Sequence[Dish], count: int) -> list[Dish]:
    """So many different ones, or all."""
    return random.sample(dishes, min(count, len(dishes)))


def allowed_of(text: str, ends: Iterable[str]) -> frozenset[str]:
    """Faults and ends that may be drawn, from words with commas between them; `all`, `none`, `-name` takes one away."""
    known = {*DISHES, *ends}
    allowed: set[str] = set()
    for word in (word.strip().replace("_", "-") for word in text.split(",") if word.strip()):
        if word == "all":
            allowed = set(known)
        elif word == "none":
            allowed = set()
        elif word.lstrip("-") in known and word.startswith("-"):
            allowed.discard(word[1:])
        elif word in known:
            allowed.add(word)
        else:
            raise ConfigurationError(f"soak with {word!r}", accepted=f"all, none, {', '.join(sorted(known))}; -NAME")
    return frozenset(allowed)
