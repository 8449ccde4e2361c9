from __future__ import annotations

from itertools import pairwise

import pytest

from maxdaq_tango.bench.plan import (
    PACKINGS,
    SIZES,
    Block,
    Case,
    Contestant,
    Extra,
    Plan,
    Saving,
    size_of,
    size_text,
)
from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.model import Encoding


def test_every_size_and_packing_is_a_case_with_every_contestant() -> None:
    plan = Plan(extras=())
    assert [(b.case.wire_nbytes, b.case.packing) for b in plan.blocks()] == [(s, p) for s in SIZES for p in PACKINGS]
    everybody = set(Contestant) - {Contestant.COMPRESSION, Contestant.WITHOUT_COLUMNS}
    assert all(set(block.contestants) == everybody for block in plan.blocks())
    assert plan.turn_count() == len(SIZES) * len(PACKINGS) * len(everybody) * 3


def test_without_saving_nobody_writes() -> None:
    plan = Plan(saving=Saving.OFF, extras=())
    assert plan.blocks()[0].contestants == (Contestant.PULL, Contestant.OURS_LIVE)
    assert not plan.writes


def test_with_saving_only_the_unsaved_row_is_left_out() -> None:
    plan = Plan(saving=Saving.ON, extras=())
    assert Contestant.OURS_LIVE not in plan.blocks()[0].contestants
    assert plan.writes


def test_everybody_takes_as_many_turns_and_begins_in_turn() -> None:
    block = Block(Case(wire_nbytes=8000), (Contestant.PULL, Contestant.PLAIN, Contestant.OURS), 3, 1.0)
    turns = list(block.turns())
    assert sorted(turns) == sorted((r, c) for r in range(3) for c in block.contestants)
    firsts = [next(contestant for number, contestant in turns if number == repeat) for repeat in range(3)]
    assert set(firsts) == set(block.contestants)
    assert [repeat for repeat, _ in turns] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_nobody_always_follows_the_same_one() -> None:
    block = Plan(extras=()).blocks()[0]
    before: dict[Contestant, set[Contestant]] = {}
    for (_, one), (_, next_one) in pairwise(block.turns()):
        before.setdefault(next_one, set()).add(one)
    assert all(len(others) > 1 for others in before.values())


def test_extra_rows_come_last_and_say_what_they_are() -> None:
    plan = Plan(sizes=(8000,), packings=(Encoding.NONE,), extras=tuple(Extra))
    assert [block.case.name for block in plan.blocks()] == [
        "8 kB",
        "200 kB compress",
        "200 kB columns",
        "200 kB throttle",
    ]
    compress, columns, throttle = plan.blocks()[1:]
    assert Contestant.COMPRESSION in compress.contestants
    assert [columns.case.columns(contestant) for contestant in columns.contestants] == [40, 0]
    assert compress.case.columns(Contestant.OURS) == 0
    assert (throttle.runs, throttle.seconds) == (1, 60.0)


@pytest.mark.parametrize(
    "plan",
    [Plan(sizes=()), Plan(sizes=(10,)), Plan(sizes=(2_000_000_000,)), Plan(runs=0), Plan(seconds=0)],
)
def test_the_impossible_is_refused_before_anything_starts(plan: Plan) -> None:
    with pytest.raises(ConfigurationError):
        plan.check()


@pytest.mark.parametrize(
    ("text", "size"),
    [("8k", 8000), ("8 kB", 8000), ("2M", 2_000_000), ("20MB", 20_000_000), ("1.5k", 1500), ("123", 123)],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert size_of(text) == size


@pytest.mark.parametrize("text", ["", "k", "big", "1e999M", "nan"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="frame size"):
        size_of(text)


def test_a_size_is_written_as_it_is_read() -> None:
    assert [size_text(size) for size in SIZES] == ["8 kB", "32 kB", "200 kB", "2 MB", "20 MB"]
    assert [size_of(size_text(size)) for size in SIZES] == list(SIZES)
