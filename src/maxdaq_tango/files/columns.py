"""What is known of each frame besides its pixels: one 1-D dataset a quantity, filled in blocks.

Values are kept as they come, one tuple a frame, and go into their datasets at checkpoints: writing single elements was
what made other receivers slow (files with 40 of them lost nine tenths of their rate).

Fixed columns are there for every series. What else the frames carry (`Frame.extras`) becomes a column each where it is
a number; which ones, the first frame decides, because nothing can be added to a file that is being read. All the rest
is kept as JSON text and stored when the file is closed: {"usual": of most frames, "5": of row 5, ...}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from typing import Any, NamedTuple

import h5py
import msgspec
import numpy as np

from maxdaq_tango.files.frame_texts import FrameTexts, store_texts, turned
from maxdaq_tango.files.layout import ascii_text, free_name

NAN = float("nan")
CHUNK_ROWS = 4096
EXTRAS = "frame_metadata"
"""Group of the columns that the frames brought with them."""
MOST_EXTRAS = 256
"""Columns; a sender that makes a new name for each frame must not fill a file with datasets."""
FOLD_FRAMES = 128
EXACT = 2**53
"""Integers up to here are themselves as float64."""
OTHERS_BYTES = 16 << 20
"""JSON text of what is no column, in memory until the file is closed."""


_NUMBERS = frozenset({int, float})
_FLOATS = frozenset({float})


class FrameTimes(NamedTuple):
    """Times of one frame in seconds, NaN = not told. The detector's clock, except `received` (UNIX time)."""

    start: float = NAN
    stop: float = NAN
    real: float = NAN
    exposure: float = NAN
    received: float = NAN


class Column(NamedTuple):
    """One dataset."""

    path: str
    dtype: str
    empty: float | int
    """Value of a row without a frame."""
    unit: str = ""


NUMBER = "sequence_number"
CHECKSUM = "daq/chunk_checksum"
FIXED = (
    Column(NUMBER, "u8", 0),
    Column(CHECKSUM, "u8", 0),
    Column("start_time", "f8", NAN, "s"),
    Column("stop_time", "f8", NAN, "s"),
    Column("real_time", "f8", NAN, "s"),
    Column("exposure_time", "f8", NAN, "s"),
    Column("daq/receive_time", "f8", NAN, "s"),
    Column("daq/frame_valid", "u1", 0),
)


class FrameColumns:
    """The columns of one file, from its layout to its end. One thread at a time."""

    def __init__(self, example: Mapping[str, Any]) -> None:
        """`example` are the extras of the first frame."""
        self.lost_texts = 0
        """Frames whose other metadata had no room."""
        taken: set[str] = set()
        self._keys = tuple(key for key, value in flat(example) if _is_number(value))[:MOST_EXTRAS]
        # float64 for integers too: what is 1 in the first frame may be 0.5 in the next; exact up to 2**53.
        self.columns = (*FIXED, *(Column(f"{EXTRAS}/{free_name(key, taken)}", "f8", NAN) for key in self._keys))
        self._plain = not any(isinstance(value, Mapping) for value in example.values())
        self._pick: Callable[[Mapping[str, Any]], Any] | None = itemgetter(*self._keys) if self._keys else None
        self._rows: list[int] = []
        self._values: list[tuple[Any, ...]] = []
        self._extras: list[tuple[Any, ...]] = []
        self._folded: list[np.ndarray[Any, Any]] = []
        self._usual: dict[str, Any] | None = None  # what is no column, in the first frame that had any
        self._others: dict[int, bytes] = {}  # in those that differ from it
        self._others_bytes = 0

    @property
    def pending(self) -> int:
        """Frames noted since the last `write`."""
        return len(self._rows)

    def make(self, group: h5py.Group, rows: int, *, grows: bool) -> None:
        """Lay out the datasets."""
        for column in self.columns:
            dataset = group.create_dataset(
                column.path,
                shape=(rows,),
                maxshape=(None if grows else rows,),
                dtype=column.dtype,
                chunks=(min(rows, CHUNK_ROWS),),
                fillvalue=np.array(column.empty, dtype=column.dtype)[()],
            )
            if column.unit:
                dataset.attrs["units"] = ascii_text(column.unit)

    def note(self, row: int, number: int, times: FrameTimes, checksum: int, extras: Mapping[str, Any]) -> None:
        """Remember one frame; a row that is noted twice has the later values."""
        self._rows.append(row)
        self._values.append((number, checksum, *times, 1))
        if extras or self._keys:
            picked = self._picked(row, extras)
            if self._keys:
                self._extras.append(picked)
                if len(self._extras) >= FOLD_FRAMES:
                    self._fold()

    def take(self) -> tuple[np.ndarray[Any, Any], list[np.ndarray[Any, Any]]]:
        """What was noted since the last call: the rows, in the order of the notes, and one array a column."""
        rows = np.array(self._rows, "i8")
        blocks = list(self._blocks()) if self._rows else [np.empty(0, column.dtype) for column in self.columns]
        self._rows, self._values, self._folded = [], [], []
        return rows, blocks

    def _blocks(self) -> Iterator[np.ndarray[Any, Any]]:
        """The noted values, one array a column."""
        for column, values in zip(FIXED, zip(*self._values, strict=True), strict=True):
            yield np.array(values, column.dtype)
        if self._keys:
            self._fold()
            yield from np.concatenate(self._folded).T

    def _fold(self) -> None:
        # Numbers in Python take four times the room: 40 of them a frame, at 25 000 frames/s, were 400 MB in a second.
        if self._extras:
            self._folded.append(np.array(self._extras, "f8"))
            self._extras = []

    def turn(self, group: h5py.Group, rotation: int, modulus: int | None) -> None:
        """New row r = old row (r + rotation) mod modulus; all there is room for."""
        for column in self.columns:
            dataset = group[column.path]
            values = dataset[...]
            values = np.roll(_padded(values, modulus, column.empty), -rotation) if modulus else values[rotation:]
            dataset[...] = _padded(values, len(dataset), column.empty)[: len(dataset)]

    def settle(self, group: h5py.Group, rows: int, first: int, rotation: int, modulus: int | None) -> None:
        """Final number of rows, which are turned already, and of texts, which are not; see `SeriesFile.settle`."""
        for column in self.columns:
            dataset = group[column.path]
            values = _padded(dataset[...], rows, column.empty)[:rows]
            if column.path == "sequence_number":
                values[:] = np.arange(first, first + rows, dtype=values.dtype)
            dataset.resize(rows, axis=0)
            dataset[...] = values
        if self._usual is not None:
            store_texts(group, turned(self.take_texts(), rotation, modulus, rows))

    def take_texts(self) -> FrameTexts:
        """What came since the columns were made or this was called; it is kept by the caller from now on."""
        texts = FrameTexts(self._usual, self._others)
        self._usual, self._others, self._others_bytes = None, {}, 0
        return texts

    def go_on(self, usual: dict[str, Any]) -> None:
        """After `take_texts`: frames that carry this are not worth a word."""
        self._usual = usual

    # ---- inside ----

    def _picked(self, row: int, extras: Mapping[str, Any]) -> tuple[Any, ...]:
        """Values of the extra columns; whatever is no column goes to the texts."""
        if self._pick is not None and self._plain and len(extras) == len(self._keys):
            try:  # every frame like the first one
                values = self._pick(extras)
                values = values if len(self._keys) > 1 else (values,)
                kinds = set(map(type, values))
                if kinds == _FLOATS or (kinds <= _NUMBERS and min(values) >= -EXACT and max(values) <= EXACT):
                    return values
            except KeyError:
                pass
        flattened = dict(flat(extras))
        values = tuple(flattened.pop(key) if _is_number(flattened.get(key)) else NAN for key in self._keys)
        self._keep_text(row, flattened)
        return values

    def _keep_text(self, row: int, rest: dict[str, Any]) -> None:
        if self._usual is None and rest:
            self._usual = rest
        if rest == (self._usual or {}):
            return
        text = msgspec.json.encode(rest)
        if self._others_bytes + len(text) > OTHERS_BYTES:
            self.lost_texts += 1
            return
        self._others_bytes += len(text)
        self._others[row] = text


Checksums = np.ndarray[tuple[int], np.dtype[np.uint64]]
"""xxh3-64 of what is stored of each row; 0 where no frame is."""


def read_checksums(group: h5py.Group) -> Checksums:
    """Of the rows of a detector group."""
    checksums: Checksums = group["daq/chunk_checksum"][...]
    return checksums


def scatter(dataset: h5py.Dataset, rows: np.ndarray[Any, Any], values: np.ndarray[Any, Any]) -> None:
    """Put values into these rows of a column; where a row is there twice, the later value counts."""
    if not len(rows):
        return
    low, high = int(rows.min()), int(rows.max())
    if len(rows) != high - low + 1 or not bool((rows == np.arange(low, high + 1)).all()):
        block = dataset[low : high + 1]  # frames in between came before, or come later
        block[rows - low] = values
        values = block
    dataset[low : high + 1] = values


def flat(extras: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(key, value) of everything, `outer/inner` for what is nested."""
    for key, value in extras.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", value


def _is_number(value: Any) -> bool:
    return type(value) is float or (type(value) is int and -EXACT <= value <= EXACT)


def _padded(values: np.ndarray[Any, Any], rows: int, empty: float | int) -> np.ndarray[Any, Any]:
    """With at least `rows` rows, the new ones empty."""
    return np.concatenate([values, np.full(max(0, rows - len(values)), empty, values.dtype)])
