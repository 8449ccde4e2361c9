"""The data files of one series, or a process's share of them: which are open, which are parked, which are made.

Frames come in any order, so the newest block and the one before it stay open; older ones are parked, and a straggler
opens its block for as long as no other straggler comes. One thread at a time; errors are FileError.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.block_file import BlockFile, BlockLayout
from maxdaq_tango.files.block_names import count_blocks
from maxdaq_tango.files.columns import FrameTimes
from maxdaq_tango.files.side_files import remove_side_files
from maxdaq_tango.files.spill import lacks_room, refusal, spilled_layout
from maxdaq_tango.model import Buffer

OPEN_BLOCKS = 3
"""The newest, the one before, and one for stragglers."""


class BlockStore(Protocol):
    """Where the blocks of a series are written: here (`BlockSet`) or by other processes."""

    @property
    def bytes_written(self) -> int:
        """Of pixel chunks, blanks included."""
        ...

    @property
    def lost_texts(self) -> int:
        """Frames whose metadata besides the columns had no room."""
        ...

    @property
    def frames_safe(self) -> int:
        """Frames that a kill would leave readable, as far as is known."""
        ...

    @property
    def checkpointed(self) -> tuple[int, float]:
        """Checkpoints, and the seconds that they took together, as far as is known."""
        ...

    @property
    def bytes_waiting(self) -> int:
        """Taken, and not yet given to the file system."""
        ...

    @property
    def waiting_limit_bytes(self) -> int:
        """Of `bytes_waiting`."""
        ...

    @property
    def way(self) -> str:
        """How chunks reach the disk, and why so."""
        ...

    @property
    def spilled(self) -> Collection[int]:
        """Blocks whose files are in the spill directory, as far as is known; after `close_all` and `give_up` all."""
        ...

    def wait_room(self, nbytes: int, timeout_s: float) -> bool:
        """Whether so many bytes can be taken without waiting, at once or after `timeout_s`, as far as is known."""
        ...

    def write(
        self, row: int, number: int, blobs: Sequence[Buffer], times: FrameTimes, extras: Mapping[str, Any]
    ) -> bool:
        """Take one frame; its blobs are free when this returns. False: there is no room for it yet. FileError."""
        ...

    def checkpoint_if_due(self, now: float) -> None:
        """Call when nothing arrives."""
        ...

    def close_all(self, block_count: int) -> None:
        """Every block is whole on the disk; those below `block_count` that have not been made are there, empty."""
        ...

    def settle(self, valid: np.ndarray[Any, Any], first: int) -> None:
        """After `close_all`: `valid[r]` tells whether row r holds a frame, and that is then frame `first` + r."""
        ...

    def give_up(self) -> None:
        """Close whatever is open; what is there stays readable. A file without a frame is removed."""
        ...


class BlockSet:
    """Blocks `index`, `index + count`, `index + 2 count` ... of a series: all of them by default."""

    def __init__(
        self,
        layout: BlockLayout,
        index: int = 0,
        count: int = 1,
        *,
        spare: bool = False,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_progress` is called after each file during long work.

        A `spare` one has no blocks of its own: it makes those that it gets frames of, in the spill folder.
        """
        self._layout = layout
        self._spare = spare
        self._on_progress = on_progress
        self.spilled: dict[int, str] = {}
        """Blocks whose files are in the spill folder, and why there."""
        self._index, self._count = index, count
        self._files: dict[int, BlockFile] = {}
        self._open: list[BlockFile] = []
        self._current: BlockFile | None = None

    @property
    def why_spilled(self) -> str:
        """Of the last of `spilled`."""
        return next(reversed(self.spilled.values()), "")

    @property
    def is_spilling(self) -> bool:
        """The last file that was made is in the spill folder."""
        return next(reversed(self._files), -1) in self.spilled

    @property
    def bytes_written(self) -> int:
        """Of pixel chunks, blanks included."""
        return sum(file.bytes_written for file in self._files.values())

    @property
    def lost_texts(self) -> int:
        """See `BlockStore`."""
        return sum(file.lost_texts for file in self._files.values())

    @property
    def frames_safe(self) -> int:
        """See `BlockStore`."""
        return sum(file.frames_safe for file in self._files.values())

    @property
    def checkpointed(self) -> tuple[int, float]:
        """See `BlockStore`."""
        told = [file.checkpointed for file in self._files.values()]
        return sum(count for count, _ in told), sum(seconds for _, seconds in told)

    @property
    def bytes_waiting(self) -> int:
        """See `BlockStore`."""
        return sum(file.bytes_waiting for file in self._open)

    @property
    def waiting_limit_bytes(self) -> int:
        """See `BlockStore`."""
        return self._layout.slab_memory_bytes if self.bytes_waiting else 0

    @property
    def way(self) -> str:
        """Of any file: all are alike."""
        return next((file.way for file in self._files.values()), "")

    def wait_room(self, nbytes: int, timeout_s: float = 0.0) -> bool:
        """In the block that was written last."""
        return self._current is None or self._current.wait_room(nbytes, timeout_s)

    def write(
        self, row: int, number: int, blobs: Sequence[Buffer], times: FrameTimes, extras: Mapping[str, Any]
    ) -> bool:
        """Into the block that the row belongs to."""
        block, inside = divmod(row, self._layout.block_rows)
        file = self._current
        if file is None or file.block != block:
            file = self._current = self._opened(block)
        file.write(inside, number, blobs, times, extras)
        return True

    def checkpoint_if_due(self, now: float) -> None:
        """See `BlockStore`."""
        for file in self._open:
            file.checkpoint_if_due(now)

    def close_all(self, block_count: int, elsewhere: Collection[int] = ()) -> None:
        """See `BlockStore`; blocks `elsewhere` are made by others."""
        self._current = None
        self._park(self._open)
        for block in () if self._spare else range(self._index, block_count, self._count):
            if block not in self._files and block not in elsewhere:
                self._park([self._opened(block)])
                self._on_progress()

    def settle(self, valid: np.ndarray[Any, Any], first: int) -> None:
        """Blocks behind the last row hold nothing of the series and are removed."""
        size = self._layout.block_rows
        blocks = count_blocks(len(valid), size)
        for block, file in sorted(self._files.items()):
            if block < blocks:
                start = block * size
                file.close_rows(valid[start : start + size], first + start)
                self._on_progress()
            else:
                file.destination.part.unlink(missing_ok=True)
                remove_side_files(file.destination.part)
                del self._files[block]
                self.spilled.pop(block, None)

    def give_up(self) -> None:
        """See `BlockStore`; raises the first FileError when everything is done."""
        self._current, self._open = None, []
        error: Exception | None = None
        for file in self._files.values():
            try:
                file.abandon()
            except Exception as raised:  # the others must be closed all the same
                error = error or raised
        if error is not None:
            raise error

    # ---- inside ----

    def _opened(self, block: int) -> BlockFile:
        file = self._files.get(block)
        if file is not None and file.is_open:
            return file
        newest = sorted([*(other.block for other in self._open), block])[-2:]
        self._park([other for other in self._open if other.block not in newest])
        if file is None:
            file = self._files[block] = self._made(block)
        else:
            file.take_up()
        self._open.append(file)
        return file

    def _made(self, block: int) -> BlockFile:
        layout, share = self._layout, self._layout.slab_memory_bytes // OPEN_BLOCKS
        if not layout.spill_folder:
            return BlockFile(layout, block, share)
        why = "" if self._spare else self._lacks_room(block)
        if not self._spare and not why:
            try:
                return BlockFile(layout, block, share)
            except FileError as error:
                why = refusal(error)
                if not why:
                    raise
        file = BlockFile(self._spilled_layout(), block, share)
        self.spilled[block] = why
        return file

    def _lacks_room(self, block: int) -> str:
        at_home = sum(file.block not in self.spilled for file in self._open)
        return lacks_room(self._layout, block, self._count * (at_home + 1) - 1)

    def _spilled_layout(self) -> BlockLayout:
        try:
            return spilled_layout(self._layout)
        except OSError as error:
            answer = f"{error.strerror} (errno {error.errno})"
            raise FileError("spill a data file", of=self._layout.spill_folder, answer=answer) from error

    def _park(self, files: Sequence[BlockFile]) -> None:
        for file in list(files):
            file.park(self._on_progress)
            self._open.remove(file)
