"""One series into data files of equally many frames and a master that joins them.

To the pipeline it is a `SeriesFile`: it is reserved, laid out by the first frame, takes frames in any order, is settled
and published. Where the blocks are written is a `BlockStore`'s matter: here, or in other processes.
Data files get their final names first, the master last; nothing that exists is replaced.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.away import Away, AwayFile, keep_away
from maxdaq_tango.files.block_file import BlockLayout
from maxdaq_tango.files.block_names import BlockNames, choose_block_rows, choose_spilled_rows, count_blocks
from maxdaq_tango.files.block_set import BlockSet, BlockStore
from maxdaq_tango.files.block_turn import BlockFiles, go_on_from_here, turn_blocks
from maxdaq_tango.files.columns import Checksums, FrameColumns, FrameTimes
from maxdaq_tango.files.kept import Numbers, kept_numbers
from maxdaq_tango.files.layout import check_detector_name
from maxdaq_tango.files.manifest import manifest_path
from maxdaq_tango.files.master import MasterFile
from maxdaq_tango.files.ownership import release
from maxdaq_tango.files.paths import Destination, give_name, is_one, sync_directory
from maxdaq_tango.files.receipt import Fates
from maxdaq_tango.files.side_files import remove_side_files
from maxdaq_tango.files.spill import check_spill_directory, folder_of_series, mark_finished, tidy
from maxdaq_tango.files.troubles import told_as_file_error
from maxdaq_tango.model import (
    MOST_FRAMES_PER_FILE,
    NOTHING_PINNED,
    Buffer,
    FileBackend,
    FrameFormat,
    Pinned,
    Receipt,
)

_NOTHING: Mapping[str, Any] = {}
MOST_VERSIONS = 10_000


class BlockedSeries:
    """See the module. One thread at a time; errors are FileError with errno and path."""

    def __init__(
        self,
        destination: Destination,
        *,
        detector: str,
        software: str,
        block_rows: int,
        overwrite: bool = False,
        backend: FileBackend = FileBackend.AUTO,
        slab_memory_bytes: int = 64 << 20,
        pinned: Pinned = NOTHING_PINNED,
        expected_rows: int | None = None,
        open_store: Callable[[BlockLayout], BlockStore] = BlockSet,
        writers: int = 1,
        ahead_nbytes: int = 64 << 20,
        spill_directory: str = "",
    ) -> None:
        """Reserve the name of the master; the data files must not exist, as far as is known how many there will be.

        `block_rows` frames a file, 0 = a good number for `writers` that may each be `ahead_nbytes` behind. Data files
        that the destination does not take go to the `spill_directory`, if there is one.
        """
        check_detector_name(detector)
        if not 0 <= block_rows <= MOST_FRAMES_PER_FILE:
            raise FileError(f"store {block_rows} frames a file", accepted=f"1 to {MOST_FRAMES_PER_FILE}")
        self.destination = destination
        self.dataset = f"/entry/instrument/{detector}/data"
        self.format: FrameFormat | None = None
        self.block_reason = "asked for"
        """Why a file has as many frames as it has."""
        self._detector, self._software = detector, software
        self._overwrite, self._backend = overwrite, backend
        self._slab_memory_bytes = slab_memory_bytes
        self._pinned = pinned
        self._block_rows = block_rows
        self._open_store, self._writers, self._ahead_nbytes = open_store, writers, ahead_nbytes
        self._names = BlockNames.of(destination.final)
        self._layout: BlockLayout | None = None
        self._store: BlockStore | None = None
        self._rows = 0
        check_spill_directory(spill_directory)
        self._spill_folder = folder_of_series(spill_directory, self._names.stem) if spill_directory else ""
        known = expected_rows is not None and block_rows > 0
        self._names.refuse_existing(
            count_blocks(expected_rows or 0, block_rows) if known else None, overwrite=overwrite
        )
        self._master = MasterFile(destination, detector, software)

    # -- the road of a frame -----------------------------------------------------------------------------------------

    def begin(
        self,
        format: FrameFormat,
        rows: int | None,
        fill: float | int,
        metadata: Mapping[str, Any],
        arrays: Mapping[str, np.ndarray[Any, Any]],
        *,
        stored_nbytes: int | None = None,
        period_s: float | None = None,
        extras: Mapping[str, Any] = _NOTHING,
    ) -> None:
        """As `SeriesFile.begin`. Data files are made when the first frame of their block comes."""
        frame_nbytes = stored_nbytes or format.nbytes
        if self._spill_folder:
            good, reason = choose_spilled_rows(frame_nbytes, rows, self._ahead_nbytes)
        else:
            good, reason = choose_block_rows(frame_nbytes, rows, self._ahead_nbytes, self._writers)
        if not self._block_rows:
            self._block_rows, self.block_reason = good, reason
        elif self._writers > 1 and self._block_rows > good and not self._spill_folder:
            self.block_reason += f"; with more than {good} not all {self._writers} writers have work at the same time"
        fitting = self._ahead_nbytes // 2 // frame_nbytes
        if self._spill_folder and self._block_rows > fitting:
            self.block_reason += f"; more than {fitting} do not fit into memory when the destination stalls"
        if rows:
            self._names.name(count_blocks(rows, self._block_rows) - 1)
        columns = len(FrameColumns(dict(extras)).columns)
        self._master.begin(metadata, arrays, self._block_rows, rows, columns, self._spill_folder)
        self._layout = BlockLayout(
            folder=str(self._names.folder),
            stem=self._names.stem,
            suffix=self._names.suffix,
            detector=self._detector,
            software=self._software,
            backend=self._backend,
            format=format,
            fill=fill,
            block_rows=self._block_rows,
            rows=rows or None,
            stored_nbytes=stored_nbytes,
            period_s=period_s,
            extras=dict(extras),
            slab_memory_bytes=self._slab_memory_bytes,
            pinned=self._pinned,
            master_id=self._master.file_id,
            master_part=str(self.destination.part) if self._spill_folder else "",
            spill_folder=self._spill_folder,
        )
        self._store = self._open_store(self._layout)
        self.format = format

    def wait_room(self, nbytes: int, timeout_s: float = 0.0) -> bool:
        """Whether so many bytes can be taken without waiting for the disk, at once or after `timeout_s`."""
        return self._store is None or self._store.wait_room(nbytes, timeout_s)

    def write(
        self,
        row: int,
        frame_number: int,
        blobs: Sequence[Buffer],
        times: FrameTimes,
        extras: Mapping[str, Any] = _NOTHING,
    ) -> bool:
        """Take one frame; the blobs must already fit the format and are free when this returns.

        False: whoever is to write it has no room, which `wait_room` waits for.
        """
        return self._stored().write(row, frame_number, blobs, times, extras)

    def checkpoint_if_due(self, now: float) -> None:
        """Call when nothing arrives."""
        if self._store is not None:
            self._store.checkpoint_if_due(now)

    # -- the end -----------------------------------------------------------------------------------------------------

    def settle(self, valid: np.ndarray[Any, Any], first: int, rotation: int, modulus: int | None) -> None:
        """As `SeriesFile.settle`: final order, number and shape of the rows, in every file."""
        layout = self._layout
        if layout is None:
            return
        store, rows = self._stored(), len(valid)
        needed = (modulus or rows + rotation) if rotation else rows
        store.close_all(count_blocks(needed, layout.block_rows))
        if rotation:
            with told_as_file_error("turn the rows of", self.destination):
                files = BlockFiles(self._parts(needed), self._detector, layout.block_rows, "r+")
                try:
                    turn_blocks(files, layout.format, FrameColumns(layout.extras), rotation, modulus)
                finally:
                    files.close()
                go_on_from_here(files.parts, self.dataset)
        store.settle(valid, first)
        self._rows = rows
        self._master.join(layout, self._parts(rows), rows, first)

    def checksums(self) -> Checksums:
        """Of the rows, after `settle`."""
        return self._master.checksums()

    def finish(self, receipt: Receipt, fates: Fates | None = None) -> Path:
        """Complete the master and publish all files; returns the master's final path.

        Where data files are in the spill directory, it stays as it is until they are home (`bring_home`), and its
        path now is returned.
        """
        layout = self._layout
        if layout is None:
            raise FileError("close the file", of=str(self.destination.final), answer="it was never laid out")
        names = self._free_names()
        blocks = range(count_blocks(self._rows, layout.block_rows))
        parts, away = self._parts(self._rows), sorted(self._spilled.intersection(blocks))
        self._master.finish(layout, [names.name(block) for block in blocks], self._rows, receipt, fates)
        with told_as_file_error("publish", self.destination):
            if self._overwrite:
                _move_aside(self._names)
            named: list[tuple[Path, Path]] = []
            try:
                for block in blocks:
                    if block not in away:
                        part, final = parts[block], names.destination(block).final
                        give_name(part, final)
                        named.append((final, part))
                sync_directory(names.folder)
                if away:
                    sync_directory(Path(self._spill_folder))
                    keep_away(self.destination.part, self._away(names, away))
                    mark_finished(Path(self._spill_folder))
                else:
                    give_name(self.destination.part, names.master)
            except (OSError, FileError):
                if is_one(self.destination.part, names.master):  # it has its name; only the old one could not be taken
                    raise
                for final, part in named:  # all or none: without a master nobody finds them
                    with contextlib.suppress(OSError):
                        give_name(final, part)
                raise
            sync_directory(names.folder)
            for part in (self.destination.part, *parts):
                remove_side_files(part)
        if self._spill_folder:
            tidy(Path(self._spill_folder))
        return self.destination.part if away else names.master

    @property
    def bytes_written(self) -> int:
        """Of pixel chunks, blanks included."""
        return self._store.bytes_written if self._store is not None else 0

    @property
    def frames_safe(self) -> int:
        """Frames that a kill would leave readable, in their data files."""
        return self._store.frames_safe if self._store is not None else 0

    @property
    def checkpointed(self) -> tuple[int, float]:
        """Checkpoints of the data files, and the seconds that they took together, as far as is known."""
        return self._store.checkpointed if self._store is not None else (0, 0.0)

    @property
    def bytes_waiting(self) -> int:
        """Taken, and not yet given to the file system."""
        return self._store.bytes_waiting if self._store is not None else 0

    @property
    def waiting_limit_bytes(self) -> int:
        """Of `bytes_waiting`."""
        return self._store.waiting_limit_bytes if self._store is not None else 0

    @property
    def way(self) -> str:
        """How chunks reach the disk, and why so; "" before the first frame."""
        return self._store.way if self._store is not None else ""

    @property
    def lost_texts(self) -> int:
        """Frames whose metadata besides the columns had no room in the master or their data file."""
        return max(self._master.lost_texts, self._store.lost_texts if self._store is not None else 0)

    @property
    def block_rows(self) -> int:
        """Frames a file; 0 = not decided yet."""
        return self._block_rows

    def planned_path(self) -> Path:
        """Where `finish` will publish the master, as things stand."""
        return self._free_names().master

    @property
    def data_files(self) -> tuple[str, ...]:
        """Names of the data files beside the master, as `finish` will publish them as things stand."""
        names = self._free_names()
        return tuple(names.name(block) for block in range(count_blocks(self._rows, self._block_rows)))

    @property
    def data_files_spilled(self) -> tuple[str, ...]:
        """Paths of those of them that are in the spill directory, after `settle`."""
        parts = self._parts(self._rows) if self._block_rows else []
        return tuple(str(parts[block]) for block in sorted(self._spilled.intersection(range(len(parts)))))

    @property
    def part_files_spilled(self) -> tuple[Path, ...]:
        """Those of the spill directory that are unfinished, whoever made them."""
        if not self._spill_folder:
            return ()
        return tuple(path for _, path in self._spilled_names.existing())

    @property
    def part_files(self) -> tuple[str, ...]:
        """Names of the data files that are there, unfinished."""
        return tuple(path.name for _, path in self._names.existing() if path.name.startswith("."))

    def kept_numbers(self) -> Numbers:
        """As `SeriesFile.kept_numbers`, of all data files."""
        return kept_numbers([*(self._names.folder / name for name in self.part_files), *self.part_files_spilled])

    def abandon(self) -> None:
        """Take back everything when nothing was written; else close what is there: it stays, under its `.part` names.

        FileError when something empty cannot be removed: it would be in the way of the next run.
        """
        written = self.bytes_written
        try:
            if self._store is not None:
                self._store.give_up()
        finally:
            self._master.give_back()
            if written == 0:
                self._master.remove()
            if self._spill_folder:
                tidy(Path(self._spill_folder))
            with contextlib.suppress(OSError):
                release(self.destination.part)

    # ---- inside ----

    def _stored(self) -> BlockStore:
        if self._store is None:
            raise FileError("use the file", of=str(self.destination.final), answer="it was not laid out yet")
        return self._store

    @property
    def _spilled(self) -> frozenset[int]:
        return frozenset(self._store.spilled if self._store is not None else ())

    @property
    def _spilled_names(self) -> BlockNames:
        return dataclasses.replace(self._names, folder=Path(self._spill_folder))

    def _parts(self, rows: int) -> list[Path]:
        spilled, names, others = self._spilled, self._names, self._spilled_names
        blocks = range(count_blocks(rows, self._block_rows))
        return [(others if block in spilled else names).destination(block).part for block in blocks]

    def _away(self, names: BlockNames, blocks: Sequence[int]) -> Away:
        """What `bring_home` has to do."""
        parts = [(block, self._spilled_names.destination(block).part) for block in blocks]
        files = [AwayFile(name=names.name(b), source=part.name, nbytes=part.stat().st_size) for b, part in parts]
        master = names.master.name
        return Away(folder=self._spill_folder, master=master, files=tuple(files), master_id=self._master.file_id)

    def _free_names(self) -> BlockNames:
        """Ours, or with a number where somebody took one of them during the run: nothing is lost, nothing replaced."""
        if self._overwrite:
            return self._names
        for number in range(MOST_VERSIONS):
            names = self._names.other(number) if number else self._names
            blocks = range(count_blocks(self._rows, self._block_rows)) if self._block_rows else range(0)
            wanted = [names.master, *(names.destination(block).final for block in blocks)]
            if not any(os.path.lexists(path) for path in wanted):
                return names
        raise FileError(
            f"publish {self.destination.final}", answer=f"{MOST_VERSIONS} of that name exist", accepted="another name"
        )


def _move_aside(names: BlockNames) -> None:
    """Existing files of these names go into a folder of their own: there the links of an old master find its data."""
    data = [path for _, path in names.existing() if not path.name.startswith(".")]
    old = [path for path in (names.master, *data) if os.path.lexists(path)]
    if not old:
        return
    old += [path for path in (manifest_path(names.master),) if os.path.lexists(path)]
    for number in range(1, MOST_VERSIONS):
        aside = names.folder / f"{names.stem}.old{number}"
        with contextlib.suppress(FileExistsError):
            aside.mkdir()
            break
    else:
        raise FileExistsError(f"{MOST_VERSIONS} older versions of {names.master} exist")
    for path in old:
        give_name(path, aside / path.name)
    sync_directory(aside)
