"""Who writes a block where there is a spill directory: a rule about processes, whatever they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from block_series import FORMAT
from maxdaq_tango.files import BlockLayout
from maxdaq_tango.model import FileBackend
from maxdaq_tango.pipeline.spilling import BESIDE_A_FRAME_BYTES, SPILL_AFTER_S, Spilling

FRAME = 1000
ROWS = 10


@dataclass(eq=False)
class Process:
    arena_nbytes: int = 25 * (FRAME + BESIDE_A_FRAME_BYTES)
    used: int = 0
    silent_s: float = 0.0
    spilled: list[int] = field(default_factory=list)
    why_spilled: str = ""
    is_spilling: bool = False

    @property
    def room_nbytes(self) -> int:
        return self.arena_nbytes - self.used

    def hold(self, frames: int) -> None:
        self.used = frames * (FRAME + BESIDE_A_FRAME_BYTES)


def spilling(homes: list[Process], spare: Process, rows: int = ROWS) -> Spilling[Process]:
    how: dict[str, Any] = {"folder": "/data", "stem": "a", "suffix": ".h5", "detector": "d", "software": "t"}
    how |= {"backend": FileBackend.DIRECT, "format": FORMAT, "fill": 0, "slab_memory_bytes": 1, "rows": None}
    layout = BlockLayout(block_rows=rows, stored_nbytes=FRAME, spill_folder="/spill/a.1", **how)
    return Spilling(homes, spare, layout)


def test_a_block_belongs_to_its_process_as_long_as_that_tells_of_frames() -> None:
    homes, spare = [Process(), Process()], Process()
    rule = spilling(homes, spare)
    for block in range(6):
        assert rule.choose(block) is homes[block % 2]
        rule.note(block, homes[block % 2])
    homes[0].hold(5)
    homes[0].silent_s = SPILL_AFTER_S - 0.01
    assert rule.choose(6) is homes[0]
    assert (rule.blocks, rule.present, rule.decision, rule.handed_over) == (frozenset(), "", "", ())


def test_what_is_begun_stays_where_it_is_and_what_follows_a_stall_goes_to_the_spare_process() -> None:
    homes, spare = [Process(), Process()], Process()
    rule = spilling(homes, spare)
    rule.note(0, homes[0])
    rule.note(1, homes[1])
    homes[0].silent_s = SPILL_AFTER_S
    assert rule.choose(0) is homes[0]
    assert rule.choose(2) is spare
    assert rule.choose(3) is homes[1]  # that of the other process
    rule.note(2, spare)
    assert rule.present == "the destination has taken nothing for 1.0 s"
    homes[0].silent_s = 0.0
    assert rule.choose(2) is spare
    assert rule.choose(4) is homes[0]
    rule.note(4, homes[0])
    assert rule.present == ""
    assert rule.decision == "data files 3 in /spill/a.1: the destination has taken nothing for 1.0 s"
    assert rule.handed_over == (2,)


def test_a_block_is_begun_only_where_all_of_it_has_room() -> None:
    home, spare = Process(), Process()
    rule = spilling([home], spare)
    rule.note(0, home)
    for handed in range(2, ROWS + 1):
        rule.note(0, home)
        home.hold(handed)
        assert rule.choose(1) is home  # ten of each and one to spare
    rule.note(1, home)
    home.hold(ROWS + 1)
    assert rule.choose(2) is None  # nine of block 1 are still to come
    home.silent_s = SPILL_AFTER_S
    assert rule.choose(2) is spare
    home.silent_s = 0.0
    home.hold(0)
    assert rule.choose(2) is home


@pytest.mark.parametrize("rows", [30, 1000])
def test_one_that_never_has_room_is_begun_when_nothing_else_waits(rows: int) -> None:
    home, spare = Process(), Process()
    rule = spilling([home], spare, rows)
    assert rule.choose(0) is home
    rule.note(0, home)
    home.hold(24)
    assert rule.choose(1) is None
    home.hold(0)
    assert rule.choose(1) is home


def test_what_a_process_has_spilled_itself_for_want_of_room_is_told() -> None:
    homes, spare = [Process(), Process()], Process()
    rule = spilling(homes, spare)
    homes[1].spilled, homes[1].why_spilled, homes[1].is_spilling = [3, 5, 7], "it is full", True
    rule.note(4, spare)
    assert rule.blocks == {3, 4, 5, 7}
    assert rule.handed_over == (4,)
    rule.note(6, homes[0])
    assert rule.present == "it is full"
    homes[1].is_spilling = False
    assert rule.present == ""
    assert rule.decision.startswith("data files 4-6, 8 in /spill/a.1: ")


def test_files_that_are_removed_at_the_end_are_not_told_of() -> None:
    homes, spare = [Process(spilled=[4, 6])], Process()
    rule = spilling(homes, spare)
    for block in (5, 7):
        rule.note(block, spare)
    assert rule.decision.startswith("data files 5-8 in /spill/a.1")
    rule.settled(6)
    assert rule.blocks == {4, 5}
    assert rule.decision.startswith("data files 5-6 in /spill/a.1")
