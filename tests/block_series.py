"""Series under test that are stored in blocks, or for comparison in one file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401
import numpy as np

from maxdaq_tango.files import (
    BlockedSeries,
    FrameTimes,
    SeriesFile,
    resolve_destination,
)
from maxdaq_tango.kernels.compression import encode_pixels
from maxdaq_tango.model import Encoding, FileBackend, FrameFormat, Receipt, Verdict

SHAPE = (16, 24)
FORMAT = FrameFormat(SHAPE, "uint16", Encoding.BSLZ4)
BACKENDS = [FileBackend.SWMR, FileBackend.DIRECT]


def pixels(number: int) -> np.ndarray[Any, Any]:
    return (np.arange(np.prod(SHAPE)).reshape(SHAPE) * 7 + number * 100).astype("uint16")


def extras(number: int) -> dict[str, Any]:
    return {"angle": number * 0.5, "note": "usual" if number % 4 else f"note {number}"}


@dataclass
class Series:
    """Frames by row, and what the account says of them in the end."""

    rows: dict[int, int]
    """Row as it is written > frame number."""
    valid: list[bool]
    first: int = 0
    rotation: int = 0
    modulus: int | None = None
    block_rows: int = 4
    format: FrameFormat = FORMAT
    backend = FileBackend.AUTO
    how: dict[str, Any] = field(default_factory=dict)

    def reserved(self, path: Path, **how: Any) -> BlockedSeries | SeriesFile:
        how = {"detector": "eiger", "software": "tests", "backend": self.backend, **self.how, **how}
        destination = resolve_destination(str(path), [str(path.parent)], overwrite=how.get("overwrite", False))
        if self.block_rows == 0:
            return SeriesFile(destination, **how)
        return BlockedSeries(destination, block_rows=self.block_rows, expected_rows=self.modulus, **how)

    def written(self, path: Path, **how: Any) -> BlockedSeries | SeriesFile:
        file = self.reserved(path, **how)
        example = extras(next(iter(self.rows.values()), 0))
        file.begin(self.format, self.modulus, 65535, {"count_time": 0.1, "nested": {"a": 1}}, {}, extras=example)
        for row, number in self.rows.items():
            blobs = [encode_pixels(pixels(number + shift), self.format.encoding) for shift in self.shifts]
            file.write(row, number, blobs, FrameTimes(start=number * 0.1), extras(number))
        return file

    @property
    def shifts(self) -> range:
        return range(self.format.chunk_count)

    def finished(self, path: Path, **how: Any) -> Path:
        return self.finish(self.written(path, **how))

    def finish(self, file: BlockedSeries | SeriesFile) -> Path:
        flags = np.array(self.valid)
        file.settle(flags, self.first, self.rotation, self.modulus)
        missing = tuple(self.first + int(row) for row in np.flatnonzero(~flags))
        receipt = Receipt(
            verdict=Verdict.INCOMPLETE if missing else Verdict.COMPLETE,
            frames_written=int(flags.sum()),
            frames_missing=missing,
            frames_missing_count=len(missing),
            frames_missing_ranges=tuple((number, number) for number in missing),
            first_frame_number=self.first,
            shape=(len(flags), *self.format.shape),
            dtype="uint16",
            data_files=file.data_files if isinstance(file, BlockedSeries) else (),
        )
        return file.finish(receipt)


def plain(count: int, block_rows: int = 4, order: list[int] | None = None, **more: Any) -> Series:
    rows = {row: row for row in (range(count) if order is None else order)}
    valid = [row in rows for row in range(count)]
    return Series(rows, valid, modulus=count, block_rows=block_rows, **more)


SHUFFLED = [7, 0, 9, 3, 12, 1, 5, 2, 11, 4, 8, 6, 10]

SERIES = {
    "in order": plain(10),
    "one block": plain(3, 50),
    "full blocks": plain(8, 4),
    "one frame a file": plain(5, 1),
    "any order": plain(13, 3, SHUFFLED),
    "frames missing": plain(13, 3, [row for row in SHUFFLED if row not in (4, 12)]),
    "a block missing": plain(13, 3, [row for row in SHUFFLED if not 3 <= row < 9]),
    "the first block missing": plain(13, 3, [row for row in SHUFFLED if row > 2]),
    "stopped early": Series({0: 0, 1: 1, 2: 2, 3: 3, 4: 4}, [True] * 5, modulus=1000),
    "unknown count": Series({row: row for row in SHUFFLED}, [True] * 13, block_rows=5),
    "unknown count, far ahead": Series({0: 0, 29: 29}, [row in (0, 29) for row in range(30)]),
    "from 1": Series({n % 10: n for n in range(1, 11)}, [True] * 10, 1, 1, 10),
    "from 3": Series({n % 10: n for n in range(3, 13)}, [True] * 10, 3, 3, 10, 5),
    "from a multiple of the block": Series({n % 12: n for n in range(6, 18)}, [True] * 12, 6, 6, 12, 3),
    "from 3, frames missing": Series(
        {n % 10: n for n in range(3, 13) if n not in (5, 11)}, [n not in (5, 11) for n in range(3, 13)], 3, 3, 10, 4
    ),
    "from 3, stopped": Series({n % 10: n for n in range(3, 8)}, [True] * 5, 3, 3, 10),
    "from 9, unknown count": Series({n - 4: n for n in range(9, 18) if n != 12}, [n != 12 for n in range(9, 18)], 9, 5),
    "several chunks a frame": plain(
        5, 2, format=FrameFormat((2, *SHAPE), "uint16", Encoding.BSLZ4, (1, *SHAPE)), order=[3, 0, 1, 4]
    ),
    "turned, several chunks a frame": Series(
        {n % 5: n for n in range(2, 7)}, [True] * 5, 2, 2, 5, 2,
        FrameFormat((2, *SHAPE), "uint16", Encoding.NONE, (1, *SHAPE)),
    ),
}  # fmt: skip


def contents(path: Path) -> dict[str, Any]:
    """Everything of the detector group but the receipt and how it is stored."""
    with h5py.File(path) as file:
        group = file["entry/instrument/eiger"]
        found: dict[str, Any] = {}

        def keep(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and name not in ("daq/receipt", "daq/frame_texts"):
                found[name] = (item[...].tolist(), str(item.dtype), dict(item.attrs))

        group.visititems(keep)
        found["fill"] = group["data"].fillvalue
        texts = json.loads(group["daq/frame_texts"][()])
        valid = group["daq/frame_valid"][...]
        found["texts"] = [texts.get(str(row), texts["usual"]) for row in np.flatnonzero(valid)]
        found["plot"] = file["entry/data/data"][...].tolist()
        return found


def same(one: Any, other: Any) -> bool:
    """Equal, with NaN equal to NaN."""
    return repr(one) == repr(other)
