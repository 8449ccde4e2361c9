"""Parts of modules to frames: put together by frame number, with a bounded wait. Pure: the clock is an argument.

Whatever the order in which parts come, the same frames come out; blobs are handed on, not copied, because a frame of n
modules is stored as n chunks. A frame goes out as soon as all its modules are here. What never comes must not keep it:

- It waits `wait_s` at most, and no longer than there is room for (frames and bytes).
- It goes out without the module then: in its place are pixels of the fill value, never zeros that look like counts, and
  the frame says which modules are there (`modules_valid`, `modules_mask`).
- A module that was silent for the whole wait of a frame is not waited for any more until it sends something: a dead one
  costs its own pixels, and one wait.

A part that comes after its frame has gone out is counted and dropped; where its module was there already the two are
compared by checksum: other pixels are of another life of the sender, or of another acquisition.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from maxdaq_tango.errors import WireError
from maxdaq_tango.kernels.compression import encode_pixels
from maxdaq_tango.model import Buffer, DamagedFrame, Frame, FrameFormat, ModuleFrame
from maxdaq_tango.pipeline.budget import head_cost
from maxdaq_tango.pipeline.numbers import NumberRuns, Numbers
from maxdaq_tango.pipeline.part_sums import PartSums, differ
from maxdaq_tango.pipeline.transforms import fill_value

MOST_FRAMES = 4096
"""That wait for modules at a time, however small they are."""
MOST_BLANK_BYTES = 512 << 20
PART_COST = 1024
"""Bytes that a part costs beyond its pixels."""
NOBODY: frozenset[int] = frozenset()
MASK_BITS = 48
"""Modules in one column: a column is float64, in which integers are exact up to 2**53."""

Made = Frame | WireError
"""A frame; a DamagedFrame, of which no module is intact; or what is wrong with a part that could not be used."""


class _Waiting:
    """A frame some of whose modules have come."""

    __slots__ = ("began", "came", "nbytes", "number", "parts", "troubles")

    def __init__(self, number: int, began: float, modules: int) -> None:
        self.number = number
        self.began = began
        self.parts: list[ModuleFrame | None] = [None] * modules
        self.troubles: list[WireError] = []
        """Of parts that could not be used; they are told with the frame."""
        self.came = 0
        self.nbytes = 0

    def missing(self) -> list[int]:
        """Modules that have not come."""
        return [module for module, part in enumerate(self.parts) if part is None]


class Assembler:
    """Of one series. One thread."""

    def __init__(
        self,
        modules: int,
        *,
        wait_s: float,
        limit_bytes: int,
        holds: Callable[[int], bool],
        most_frames: int = MOST_FRAMES,
        most_blank_bytes: int = MOST_BLANK_BYTES,
    ) -> None:
        """`holds` tells of a frame number whether its frame has gone out: the ledger knows.

        More than `limit_bytes` wait only where a single frame has as many. A packed part may state any size: what is
        put in the place of a missing one has `most_blank_bytes` at most, unpacked.
        """
        self.modules = modules
        self.nbytes = 0
        """Of the parts that wait."""
        self.late = 0
        """Parts whose frame had gone out."""
        self.duplicates = 0
        """Parts that came twice before their frame had gone out; the first is kept."""
        self.conflicting = Numbers()
        """Frames of which a part came again with other pixels."""
        self.partial = NumberRuns()
        """Frames that went out without all pixels of all modules."""
        self.missing = [NumberRuns() for _ in range(modules)]
        """Of each module the frames that went out without it."""
        self.incomplete = [NumberRuns() for _ in range(modules)]
        """Of each module the frames in which packets of it were lost before its sender."""
        self._wait_s = wait_s
        self._limit_bytes = limit_bytes
        self._holds = holds
        self._most_frames = most_frames
        self._most_blank_bytes = most_blank_bytes
        self._waiting: dict[int, _Waiting] = {}  # in the order in which they began
        self._came_at = [-math.inf] * modules
        self._silent: set[int] = set()
        self._format: FrameFormat | None = None
        self._whole: FrameFormat | None = None
        self._blank: bytes | None = None
        self._sums = PartSums(modules)

    def __len__(self) -> int:
        """Frames that wait."""
        return len(self._waiting)

    @property
    def parts(self) -> int:
        """Parts that wait."""
        return sum(waiting.came for waiting in self._waiting.values())

    def put(self, part: ModuleFrame, now: float) -> list[Made]:
        """One part; returns what has become of it and others."""
        if part.module >= self.modules or part.module_count not in (None, self.modules):
            of = f"{part.module_count} modules" if part.module_count is not None else "this detector"
            answer = f"module {part.module} of {of}"
            return [WireError(f"read frame {part.frame_number}", answer=answer, accepted=f"{self.modules} modules")]
        trouble = self._trouble_with(part)
        self._came_at[part.module] = now
        self._silent.discard(part.module)
        waiting = self._waiting.get(part.frame_number)
        if waiting is None:
            if self._holds(part.frame_number):
                self.note_late(part)
                return [trouble] if trouble is not None else []
            waiting = self._waiting[part.frame_number] = _Waiting(part.frame_number, now, self.modules)
        if not self._place(waiting, part, intact=trouble is None):
            return [trouble] if trouble is not None else []
        if trouble is not None:
            waiting.troubles.append(trouble)
        made = self._make(waiting) if self._is_ready(waiting) else []
        while len(self._waiting) > self._most_frames or (self.nbytes > self._limit_bytes and len(self._waiting) > 1):
            made += self._give_up(next(iter(self._waiting.values())))
        return made

    def due(self, now: float) -> list[Made]:
        """Frames that have waited long enough.

        `now` is a moment at which all that had arrived was put in, but for what `leaders` may have brought.
        """
        made: list[Made] = []
        only_oldest = bool(self.leaders())  # the others may wait for what nobody has looked at
        while self._waiting and now - (oldest := next(iter(self._waiting.values()))).began >= self._wait_s:
            made += self._give_up(oldest)
            if only_oldest:
                break
        return made

    def leaders(self) -> frozenset[int]:
        """Connections that are not to be read now: half of the room is taken, and the oldest frame waits for others.

        So what is too far ahead stays with its sender, and no frame goes out without a module that is only slow.
        """
        if 2 * self.nbytes <= self._limit_bytes or len(self._waiting) < 2:
            return NOBODY
        oldest = next(iter(self._waiting.values()))
        return frozenset(part.source for part in oldest.parts if part is not None)

    def note_late(self, part: ModuleFrame) -> None:
        """Its frame has gone out."""
        self.late += 1
        usable = part.blob is not None and part.format == self._format
        if usable and self._sums.contradict(part.frame_number, part.module, part.blob):
            self.conflicting.add(part.frame_number)

    def flush(self) -> list[Made]:
        """All that wait: nothing more can come."""
        return [made for waiting in list(self._waiting.values()) for made in self._make(waiting)]

    # ---- inside ----

    def _trouble_with(self, part: ModuleFrame) -> WireError | None:
        """Why its pixels cannot be used. The first part of a series sets the rule for all."""
        where = f"module {part.module} of frame {part.frame_number}"
        if part.blob is None:
            return WireError(f"read {where}", answer=part.trouble, accepted="undamaged pixels")
        if self._format is None:
            self._format = part.format
            shape = part.format.shape
            self._whole = FrameFormat(
                (self.modules, *shape), part.format.dtype, part.format.encoding, chunk_shape=(1, *shape)
            )
        elif part.format is not self._format and part.format != self._format:
            return WireError(f"read {where}", answer=_name(part.format), accepted=_name(self._format))
        return None

    def _place(self, waiting: _Waiting, part: ModuleFrame, *, intact: bool) -> bool:
        """False: it is there already."""
        before = waiting.parts[part.module]
        if before is not None and not (before.blob is None and intact):  # an intact copy of a damaged one is welcome
            self.duplicates += 1
            if intact and differ(before.blob, part.blob):
                self.conflicting.add(part.frame_number)
            return False
        if not intact:
            part = ModuleFrame(
                source=part.source,
                module=part.module,
                module_count=part.module_count,
                frame_number=part.frame_number,
                format=part.format,
                blob=None,
            )
        nbytes = PART_COST + (len(part.blob) + head_cost(part.head_nbytes) if part.blob is not None else 0)
        waiting.parts[part.module] = part
        waiting.came += before is None
        waiting.nbytes += nbytes
        self.nbytes += nbytes
        return True

    def _is_ready(self, waiting: _Waiting) -> bool:
        if waiting.came == self.modules:
            return True
        return bool(self._silent) and all(module in self._silent for module in waiting.missing())

    def _give_up(self, waiting: _Waiting) -> list[Made]:
        """It has waited long enough; and so have the others for a module that was silent all the time."""
        silent = {module for module in waiting.missing() if self._came_at[module] < waiting.began}
        made = self._make(waiting)
        if silent - self._silent:
            self._silent |= silent
            for one in list(self._waiting.values()):
                made += self._make(one) if self._is_ready(one) else []
        return made

    def _make(self, waiting: _Waiting) -> list[Made]:
        """What was wrong with its parts, and the frame. One of which none is intact is the last of these troubles."""
        del self._waiting[waiting.number]
        self.nbytes -= waiting.nbytes
        there = [part for part in waiting.parts if part is not None and part.blob is not None]
        whole = self._whole
        if not there or whole is None:
            *troubles, last = waiting.troubles
            error = WireError(
                f"put frame {waiting.number} together",
                answer=f"of {waiting.came} modules that came none is intact, in the end: {last}",
                accepted=f"{self.modules} modules, or some of them",
            )
            return [*troubles, DamagedFrame(error, self._without_pixels(waiting))]
        try:
            blobs = tuple([self._blob(part) for part in waiting.parts])
        except WireError as error:
            return [*waiting.troubles, DamagedFrame(error, self._without_pixels(waiting))]
        mask = 0
        for part in there:
            mask |= part.is_whole << part.module
        if mask != (1 << self.modules) - 1:
            self._count(waiting)
        self._sums.keep(waiting.number, [part.blob if part is not None else None for part in waiting.parts])
        first = there[0]
        frame = Frame(
            series="",
            frame_number=waiting.number,
            format=whole,
            blobs=blobs,
            discard=any(part.discard for part in there),
            exposure_time_s=first.exposure_time_s,
            start_time_s=first.start_time_s,
            extras={**first.extras, **_packets(there), **modules_told(mask, self.modules)},
        )
        return [*waiting.troubles, frame]

    def _without_pixels(self, waiting: _Waiting) -> Frame:
        format = self._whole or next(part.format for part in waiting.parts if part is not None)
        return Frame(series="", frame_number=waiting.number, format=format, blobs=())

    def _count(self, waiting: _Waiting) -> None:
        self.partial.add(waiting.number)
        for module, part in enumerate(waiting.parts):
            if part is None or part.blob is None:
                self.missing[module].add(waiting.number)
            elif not part.is_whole:
                self.incomplete[module].add(waiting.number)

    def _blob(self, part: ModuleFrame | None) -> Buffer:
        if part is not None and part.blob is not None:
            return part.blob
        if self._blank is None:
            assert self._format is not None
            shape, dtype = self._format.shape, self._format.dtype
            if self._format.nbytes > self._most_blank_bytes:
                stated = f"its pixels are {self._format.nbytes} bytes"
                raise WireError("make a blank module", answer=stated, accepted=f"at most {self._most_blank_bytes}")
            self._blank = encode_pixels(np.full(shape, fill_value(dtype), dtype), self._format.encoding)
        return self._blank


def modules_told(mask: int, modules: int) -> dict[str, int]:
    """What a frame says of its modules: how many have all their pixels, and which: bit i = module i.

    `modules_mask` has the first MASK_BITS modules, `modules_mask_48` the next, and so on.
    """
    told = {"modules_valid": mask.bit_count()}
    for first in range(0, modules, MASK_BITS):
        told[f"modules_mask_{first}" if first else "modules_mask"] = (mask >> first) & ((1 << MASK_BITS) - 1)
    return told


def _packets(parts: list[ModuleFrame]) -> dict[str, Any]:
    caught = [part.packets for part in parts if part.packets is not None]
    return {"packets_caught": sum(caught)} if caught else {}


def _name(format: FrameFormat) -> str:
    return f"{format.shape} {format.dtype} {format.encoding.value}"
