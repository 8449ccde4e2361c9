"""The packed chunks behind a dataset, for whoever checks them: in the file itself, or in the data files of a master."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import h5py
import numpy as np

from maxdaq_tango.files.filters import framed_encoding_of
from maxdaq_tango.files.layout import stored_rows
from maxdaq_tango.files.receipt import find_detector
from maxdaq_tango.model import FrameFormat


class _Part(NamedTuple):
    """Neighbouring rows."""

    first: int
    rows: int
    stored: set[int]
    """Those with a chunk, counted from `first`."""
    path: Path | None
    """Of the data file; None = in the file itself."""
    dataset: str


class StoredChunks:
    """Chunks of a dataset by row. A context manager: one data file is open at a time.

    Pixels of a master are read from its data files too: through a virtual dataset HDF5 keeps every file open, and reads
    blanks where it can open no more.
    """

    def __init__(self, data: h5py.Dataset) -> None:
        self.problems: list[str] = []
        """Of the data files and of the way the master joins them."""
        self._data = data
        self._parts: list[_Part] = []
        self._part: _Part | None = None
        self._file: h5py.File | None = None
        self._open_data = data

    def __enter__(self) -> StoredChunks:
        if self._data.is_virtual:
            self._join()
        else:
            self._parts = [_Part(0, self._data.shape[0], stored_rows(self._data), None, "")]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def has(self, row: int) -> bool:
        """The row has a chunk of its own."""
        part = self._find(row)
        return part is not None and row - part.first in part.stored

    def pixels(self, row: int) -> np.ndarray[Any, Any]:
        """Unpacked; the row must have a chunk. OSError."""
        data, inside = self._place(row)
        pixels: np.ndarray[Any, Any] = data[inside]
        return pixels

    def read(self, row: int) -> list[bytes]:
        """Its chunks in C order of the chunk grid; the row must have one. OSError."""
        data, inside = self._place(row)
        counts = [size // chunk for size, chunk in zip(data.shape[1:], data.chunks[1:], strict=True)]
        corners = (tuple(i * c for i, c in zip(index, data.chunks[1:], strict=True)) for index in np.ndindex(*counts))
        return [data.id.read_direct_chunk((inside, *corner))[1] for corner in corners]

    @property
    def format(self) -> FrameFormat | None:
        """What each chunk that `read` returned last must be, if its packing has block lengths."""
        data = self._open_data
        encoding = framed_encoding_of(data)
        return FrameFormat(tuple(data.chunks[1:]), str(data.dtype), encoding) if encoding is not None else None

    # ---- inside ----

    def _find(self, row: int) -> _Part | None:
        part = self._part
        if part is None or not part.first <= row < part.first + part.rows:
            part = next((part for part in self._parts if part.first <= row < part.first + part.rows), None)
        return part

    def _place(self, row: int) -> tuple[h5py.Dataset, int]:
        part = self._find(row)
        if part is None:
            raise KeyError(f"no file has row {row}")
        if part is not self._part:
            self._close()
            if part.path is not None:
                self._file = h5py.File(part.path, "r", locking=False)
                self._open_data = self._file[part.dataset]
            self._part = part
        return self._open_data, row - part.first

    def _close(self) -> None:
        self._part, self._open_data = None, self._data
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _join(self) -> None:
        """Every data file as the master says it should be: readers go by division, and by links of fixed names."""
        master, rows, size = self._data.file, 0, 0
        sources = sorted(self._data.virtual_sources(), key=lambda source: source.vspace.get_select_bounds()[0][0])
        for number, source in enumerate(sources):
            low, high = (bound[0] for bound in source.vspace.get_select_bounds())
            name, count = source.file_name.replace("%%", "%"), high - low + 1
            if low != rows:
                self.problems.append(f"data file {name} begins at row {low}, the one before ends with row {rows - 1}")
            size = size or count
            if count > size or (count < size and number < len(sources) - 1):
                self.problems.append(f"data file {name} has {count} rows, the first one {size}")
            rows = high + 1
            self._check_link(master, number, name)
            self._look_into(Path(master.filename).parent / name, source.dset_name, low, count)
        if rows != self._data.shape[0]:
            self.problems.append(f"the data files have {rows} rows, the master {self._data.shape[0]}")

    def _check_link(self, master: h5py.File, number: int, name: str) -> None:
        link_name = f"/entry/data/data_{number + 1:06d}"
        link = master.get(link_name, getlink=True) if link_name in master["/entry/data"] else None
        if not isinstance(link, h5py.ExternalLink) or link.filename != name:
            self.problems.append(f"link {link_name} does not lead to data file {name}")

    def _look_into(self, path: Path, dataset: str, first: int, count: int) -> None:
        try:
            with h5py.File(path, "r", locking=False) as file:
                data = file[dataset]
                shape, dtype, stored = data.shape, data.dtype, stored_rows(data)
                self._check_columns(file, first, count)
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            self.problems.append(f"data file {path.name} cannot be read: {error}")
            return
        if shape != (count, *self._data.shape[1:]) or dtype != self._data.dtype:
            self.problems.append(f"data file {path.name} holds {shape} {dtype}, the master joins {count} rows")
            return
        self._parts.append(_Part(first, count, stored, path, dataset))

    def _check_columns(self, file: h5py.File, first: int, count: int) -> None:
        own, ours = find_detector(file), find_detector(self._data.file)
        for name in ("daq/frame_valid", "daq/chunk_checksum", "sequence_number"):
            mine: np.ndarray[Any, Any] = own[name][...]
            if not np.array_equal(mine, ours[name][first : first + count]):
                self.problems.append(f"{name} of data file {Path(file.filename).name} is not what the master says")
