"""The packed chunks behind a dataset, for whoever checks them: in the file itself, or in the data files of a master."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from maxdaq_tango.files.layout import stored_rows
from maxdaq_tango.files.receipt import find_detector


class StoredChunks:
    """Chunks of a dataset by row. A context manager: data files are open meanwhile."""

    def __init__(self, data: h5py.Dataset) -> None:
        self.problems: list[str] = []
        """Of the data files and of the way the master joins them."""
        self._files = contextlib.ExitStack()
        self._parts: list[tuple[int, h5py.Dataset, set[int]]] = []  # first row, dataset, its rows with a chunk
        self._data = data

    def __enter__(self) -> StoredChunks:
        if self._data.is_virtual:
            self._join()
        else:
            self._parts = [(0, self._data, stored_rows(self._data))]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()

    def has(self, row: int) -> bool:
        """The row has a chunk of its own."""
        found = self._find(row)
        return found is not None and row - found[0] in found[2]

    def read(self, row: int) -> list[bytes]:
        """Its chunks in C order of the chunk grid. OSError."""
        found = self._find(row)
        if found is None:
            return []
        first, data, _ = found
        counts = [size // chunk for size, chunk in zip(data.shape[1:], data.chunks[1:], strict=True)]
        corners = (tuple(i * c for i, c in zip(index, data.chunks[1:], strict=True)) for index in np.ndindex(*counts))
        return [data.id.read_direct_chunk((row - first, *corner))[1] for corner in corners]

    # ---- inside ----

    def _find(self, row: int) -> tuple[int, h5py.Dataset, set[int]] | None:
        for part in reversed(self._parts):
            if part[0] <= row:
                return part if row < part[0] + part[1].shape[0] else None
        return None

    def _join(self) -> None:
        """Every data file as the master says it should be: readers go by division, and by links of fixed names."""
        master, rows = self._data.file, 0
        sources = sorted(self._data.virtual_sources(), key=lambda source: source.vspace.get_select_bounds()[0][0])
        size = None
        for number, source in enumerate(sources):
            low, high = (bound[0] for bound in source.vspace.get_select_bounds())
            name = source.file_name.replace("%%", "%")
            count = high - low + 1
            if low != rows:
                self.problems.append(f"data file {name} begins at row {low}, the one before ends with row {rows - 1}")
            if size is not None and (count > size or (count < size and number < len(sources) - 1)):
                self.problems.append(f"data file {name} has {count} rows, the first one {size}")
            size, rows = size or count, high + 1
            self._check_link(master, number, name)
            self._open(Path(master.filename).parent / name, source.dset_name, low, count)
        if rows != self._data.shape[0]:
            self.problems.append(f"the data files have {rows} rows, the master {self._data.shape[0]}")

    def _check_link(self, master: h5py.File, number: int, name: str) -> None:
        link_name = f"/entry/data/data_{number + 1:06d}"
        link = master.get(link_name, getlink=True) if link_name in master["/entry/data"] else None
        if not isinstance(link, h5py.ExternalLink) or link.filename != name:
            self.problems.append(f"link {link_name} does not lead to data file {name}")

    def _open(self, path: Path, dataset: str, first: int, count: int) -> None:
        try:
            file = self._files.enter_context(h5py.File(path, "r", locking=False))
            data = file[dataset]
            self._check_columns(file, first, count)
            stored = stored_rows(data)
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            self.problems.append(f"data file {path.name} cannot be read: {error}")
            return
        if data.shape != (count, *self._data.shape[1:]) or data.dtype != self._data.dtype:
            self.problems.append(
                f"data file {path.name} holds {data.shape} {data.dtype}, the master joins {count} rows"
            )
            return
        self._parts.append((first, data, stored))

    def _check_columns(self, file: h5py.File, first: int, count: int) -> None:
        own, ours = find_detector(file), find_detector(self._data.file)
        for name in ("daq/frame_valid", "daq/chunk_checksum", "sequence_number"):
            mine: np.ndarray[Any, Any] = own[name][...]
            if not np.array_equal(mine, ours[name][first : first + count]):
                self.problems.append(f"{name} of data file {Path(file.filename).name} is not what the master says")
