"""Which process writes a block where there is a spill directory: its own one, or the spare one, which writes there.

It is decided once for each block, when its first frame is handed over: a data file is in one place as a whole. A
process that has frames and tells of none for SPILL_AFTER_S has a destination that takes nothing; it may be waiting in
any call of any file system, and the others go on, since it is a process of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from maxdaq_tango.files import BlockLayout
from maxdaq_tango.model import ranges_text
from maxdaq_tango.pipeline.numbers import ranges_of

SPILL_AFTER_S = 1.0
"""A healthy disk takes something within a tenth of it; a block that is spilled without need costs one copy."""
BESIDE_A_FRAME_BYTES = 64
"""In the memory of a process, as frames are aligned there."""
LONGEST_LIST = 100
"""Characters for the numbers of data files."""


class Home(Protocol):
    """A process that writes; what it makes is where it belongs, as far as that takes it."""

    @property
    def room_nbytes(self) -> int:
        """Of the memory through which it gets frames, what is free."""
        ...

    @property
    def arena_nbytes(self) -> int:
        """All of that memory."""
        ...

    @property
    def silent_s(self) -> float:
        """How long it has told of no frame although it has some."""
        ...

    @property
    def spilled(self) -> Sequence[int]:
        """Blocks that it put into the spill directory itself, as there was no room for them."""
        ...

    @property
    def why_spilled(self) -> str:
        """Of the last of them."""
        ...

    @property
    def is_spilling(self) -> bool:
        """The last data file that it made is one of them."""
        ...


Process = TypeVar("Process", bound=Home)


class Spilling(Generic[Process]):
    """Of one series."""

    def __init__(self, homes: Sequence[Process], spare: Process, layout: BlockLayout) -> None:
        """`layout` tells what a block takes, as far as the first frame does."""
        self._homes, self._spare = homes, spare
        self._folder = layout.spill_folder
        self._rows_of = layout.rows_of
        self._frame_nbytes = (layout.stored_nbytes or layout.format.nbytes) + BESIDE_A_FRAME_BYTES
        self._owners: dict[int, Process] = {}
        self._begun: dict[int, tuple[int, int]] = {}  # of each home, its newest block and how many frames are to come
        self._spills = False
        """The newest block is spilled."""
        self._why = ""
        self._count: int | None = None

    def choose(self, block: int) -> Process | None:
        """Who writes it, as things stand; None: it is to wait, until there is room or the stall has been long enough.

        A block is begun at home only where all of it has room in memory: its frames must be out of the way of those
        that follow when it stalls.
        """
        owner = self._owners.get(block)
        if owner is not None:
            return owner
        place = block % len(self._homes)
        home = self._homes[place]
        if home.silent_s >= SPILL_AFTER_S:
            return self._spare
        room = home.room_nbytes
        if room == home.arena_nbytes:
            return home
        needed = min((self._rows_of(block) + 1) * self._frame_nbytes, home.arena_nbytes // 2)
        to_come = self._begun.get(place, (0, 0))[1] * self._frame_nbytes
        return home if room >= needed + min(to_come, home.arena_nbytes // 2) else None

    def note(self, block: int, owner: Process) -> None:
        """A frame of it was handed over."""
        place = block % len(self._homes)
        if block not in self._owners:
            spilled = owner is self._spare
            if spilled and not self._spills:
                self._why = f"the destination has taken nothing for {self._homes[place].silent_s:.1f} s"
            self._owners[block], self._spills = owner, spilled
            if not spilled:
                self._begun[place] = (block, self._rows_of(block) - 1)
        elif (begun := self._begun.get(place)) is not None and begun[0] == block:
            self._begun[place] = (block, begun[1] - 1)

    @property
    def handed_over(self) -> tuple[int, ...]:
        """Blocks that the spare process has."""
        return tuple(sorted(block for block, owner in self._owners.items() if owner is self._spare))

    @property
    def blocks(self) -> frozenset[int]:
        """All that are in the spill directory."""
        blocks = frozenset(self.handed_over).union(*(home.spilled for home in self._homes))
        return blocks if self._count is None else frozenset(block for block in blocks if block < self._count)

    def settled(self, block_count: int) -> None:
        """Blocks from `block_count` on hold nothing of the series: their files are removed."""
        self._count = block_count

    @property
    def present(self) -> str:
        """Why the newest data files go there, for people; "" = they go where they belong."""
        if self._spills:
            return self._why
        return next((home.why_spilled for home in self._homes if home.is_spilling), "")

    @property
    def decision(self) -> str:
        """What was spilled so far; "" = nothing."""
        blocks = sorted(self.blocks)
        if not blocks:
            return ""
        numbers = ranges_text(ranges_of(block + 1 for block in blocks), LONGEST_LIST)
        why = self._why or next((home.why_spilled for home in self._homes if home.why_spilled), "")
        return f"data files {numbers} in {self._folder}: {why}"
