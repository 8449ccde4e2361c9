"""A series in blocks: its content is that of one file, however frames come; names are kept, nothing is replaced."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401
import numpy as np
import pytest

from maxdaq_tango.errors import FileError
from maxdaq_tango.files import (
    BlockedSeries,
    BlockLayout,
    BlockSet,
    FrameTimes,
    SeriesFile,
    blocks,
    check_file,
    recover_part,
    resolve_destination,
)
from maxdaq_tango.files.block_names import BlockNames, choose_block_rows
from maxdaq_tango.files.block_set import OPEN_BLOCKS
from maxdaq_tango.files.frame_log import log_path
from maxdaq_tango.kernels.compression import encode_pixels
from maxdaq_tango.model import Encoding, FileBackend, FrameFormat, Receipt, Verdict

SHAPE = (16, 24)
FORMAT = FrameFormat(SHAPE, "uint16", Encoding.BSLZ4)
BACKENDS = [FileBackend.SWMR, FileBackend.DIRECT]


@pytest.fixture(params=BACKENDS, autouse=True)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> FileBackend:
    """Every test of this module runs with both."""
    monkeypatch.setattr(Series, "backend", request.param)
    return FileBackend(request.param)


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


@pytest.mark.parametrize("name", SERIES)
def test_the_content_is_that_of_one_file(tmp_path: Path, name: str) -> None:
    series = SERIES[name]
    master = series.finished(tmp_path / "a_master.h5")
    result = check_file(master)
    assert (result.problems, result.frames_checked) == ([], sum(series.valid))
    block_rows, series.block_rows = series.block_rows, 0
    try:
        single = series.finished(tmp_path / "single.h5")
    finally:
        series.block_rows = block_rows
    found, expected = contents(master), contents(single)
    assert sorted(found) == sorted(expected)
    assert [key for key in found if not same(found[key], expected[key])] == []
    assert result.receipt is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["single.h5", "a_master.h5", *result.receipt.data_files]
    )
    assert len(result.receipt.data_files) == -(-len(series.valid) // block_rows)


def test_a_data_file_has_its_own_rows_and_columns_and_a_hard_link_for_neggia(tmp_path: Path) -> None:
    plain(10, 4).finished(tmp_path / "a_master.h5")
    for number, rows in ((1, range(4)), (2, range(4, 8)), (3, range(8, 10))):
        with h5py.File(tmp_path / f"a_data_{number:06d}.h5") as file:
            data, group = file["entry/data/data"], file["entry/instrument/eiger"]
            assert file["entry/data"].get("data", getlink=True).__class__ is h5py.HardLink
            assert data == group["data"]
            assert np.array_equal(data[...], [pixels(row) for row in rows])
            assert (data.attrs["image_nr_low"], data.attrs["image_nr_high"]) == (rows[0] + 1, rows[-1] + 1)
            assert group["sequence_number"][...].tolist() == list(rows)
            assert group["frame_metadata/angle"][...].tolist() == [row * 0.5 for row in rows]
            assert group["daq/frame_valid"][...].tolist() == [1] * len(rows)
            assert "receipt" not in group["daq"]
            assert [name for name in file["entry/data"] if name.startswith("data")] == ["data"]


def test_a_data_file_says_where_its_account_is(tmp_path: Path) -> None:
    plain(4).finished(tmp_path / "a.h5")
    (problem,) = check_file(tmp_path / "a_data_000001.h5").problems
    assert "its account is in the master" in problem


def test_the_master_refers_to_data_files_by_their_names_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    here.mkdir()
    plain(10, 4).finished(here / "a_master.h5")
    there = tmp_path / "there"
    shutil.copytree(here, there)
    shutil.rmtree(here)
    monkeypatch.chdir("/")
    assert check_file(there / "a_master.h5").problems == []
    with h5py.File(there / "a_master.h5") as file:
        plot = file["entry/data"]
        assert sorted(plot) == ["data", "data_000001", "data_000002", "data_000003"]
        for number in range(3):
            link = plot.get(f"data_{number + 1:06d}", getlink=True)
            assert (link.filename, link.path) == (f"a_data_{number + 1:06d}.h5", "/entry/data/data")
        assert np.array_equal(plot["data_000002"][1], pixels(5))


@pytest.mark.parametrize("stem", ["50%", "a%b", "%%", "ä", "a b", "data_000001"])
def test_names_that_hdf5_could_misunderstand(tmp_path: Path, stem: str) -> None:
    master = plain(6, 4).finished(tmp_path / f"{stem}.h5")
    assert check_file(master).problems == []
    assert (tmp_path / f"{stem}_data_000002.h5").exists()


class TestStragglers:
    def series(self, tmp_path: Path) -> BlockedSeries:
        series = Series({}, [], modulus=60, block_rows=4).written(tmp_path / "a.h5")
        assert isinstance(series, BlockedSeries)
        return series

    def test_few_files_are_open_and_the_others_are_whole_on_the_disk(
        self, tmp_path: Path, backend: FileBackend
    ) -> None:
        series = self.series(tmp_path)
        for row in (*range(40), 3, 17, 9, 39):
            if row in (3, 17, 9):
                continue
            series.write(row, row, [encode_pixels(pixels(row), Encoding.BSLZ4)], FrameTimes(), extras(row))
        for row in (3, 17, 9):
            series.write(row, row, [encode_pixels(pixels(row), Encoding.BSLZ4)], FrameTimes(), extras(row))
            store = series._store
            assert isinstance(store, BlockSet)
            assert len(store._open) <= OPEN_BLOCKS
            opened = {file.block for file in store._open}
            assert {8, 9} <= opened
            for block in set(range(10)) - opened:
                part = tmp_path / f".a_data_{block + 1:06d}.h5.part"
                with h5py.File(part) as file:
                    assert file["entry/data/data"].shape == (4, *SHAPE)
                    assert file["entry/instrument/eiger/daq/frame_valid"][...].sum() >= 3
                if backend is FileBackend.DIRECT:
                    assert recover_part(part) >= 3
        end = Series({}, [True] * 40, modulus=60)
        assert check_file(end.finish(series)).problems == []

    def test_texts_of_a_straggler_join_those_of_its_block(self, tmp_path: Path) -> None:
        series = self.series(tmp_path)
        for row in (0, 20, 40, 59, 1, 21, 2, 3):
            series.write(
                row, row, [encode_pixels(pixels(row), Encoding.BSLZ4)], FrameTimes(), {"angle": 0, "note": row}
            )
        rows = {0, 20, 40, 59, 1, 21, 2, 3}
        master = Series({}, [row in rows for row in range(60)], modulus=60).finish(series)
        with h5py.File(master) as file:
            texts = json.loads(file["entry/instrument/eiger/daq/frame_texts"][()])
        assert all(texts.get(str(row), texts["usual"]) in ({"note": row}, {}) for row in rows)


class TestNames:
    @pytest.mark.parametrize(
        ("final", "data"),
        [
            ("/d/x_master.h5", "x_data_000001.h5"),
            ("/d/x.nxs", "x_data_000001.nxs"),
            ("/d/x.y.h5", "x.y_data_000001.h5"),
            ("/d/_master.h5", "_master_data_000001.h5"),
        ],
    )
    def test_data_files_are_called_after_the_master(self, final: str, data: str) -> None:
        names = BlockNames.of(Path(final))
        assert names.name(0) == data
        assert names.master == Path(final)
        assert names.destination(0).part == Path("/d") / f".{data}.part"

    def test_with_a_number_the_master_keeps_its_ending(self) -> None:
        names = BlockNames.of(Path("/d/x_master.h5")).other(3)
        assert (names.master, names.name(9)) == (Path("/d/x_3_master.h5"), "x_3_data_000010.h5")

    def test_the_numbers_have_six_digits(self, tmp_path: Path) -> None:
        with pytest.raises(FileError, match=r"999999 data files at most.*FramesPerFile"):
            BlockNames.of(Path("/d/x.h5")).name(999_999)
        file = Series({}, [], modulus=1_000_001, block_rows=1).reserved(tmp_path / "a.h5")
        with pytest.raises(FileError, match="999999 data files at most"):
            file.begin(FORMAT, 1_000_001, 65535, {}, {})
        file.abandon()
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("frame", "rows", "ahead", "writers", "chosen"),
        [
            (27_000, None, 128 << 20, 2, 5000),
            (200_000, None, 128 << 20, 2, 1000),
            (2_000_000, None, 128 << 20, 2, 100),
            (20_000_000, None, 128 << 20, 2, 10),
            (200_000_000, None, 128 << 20, 2, 10),
            (200_000, None, 85 << 20, 3, 500),
            (100, None, 1 << 40, 2, 100_000),
            (2_000_000, 1_000_000, 128 << 20, 2, 2000),
            (20_000_000, 100_000, 128 << 20, 2, 200),
            (20_000_000, 1 << 24, 128 << 20, 16, 50_000),
            (0, 1, 0, 1, 10),
        ],
    )
    def test_a_good_number_of_frames_a_file(
        self, frame: int, rows: int | None, ahead: int, writers: int, chosen: int
    ) -> None:
        count, reason = choose_block_rows(frame, rows, ahead, writers)
        assert count == chosen
        assert ("work at the same time" in reason) or ("500 files at most" in reason)
        if rows is not None:
            assert -(-rows // count) <= 500


class TestExisting:
    def put(self, folder: Path, name: str) -> Path:
        (folder / name).write_text("somebody's")
        return folder / name

    @pytest.mark.parametrize("name", ["a_data_000001.h5", "a_data_000003.h5"])
    def test_a_data_file_is_refused_when_the_name_is_reserved(self, tmp_path: Path, name: str) -> None:
        path = self.put(tmp_path, name)
        with pytest.raises(FileError, match=rf"{name}.*the data file exists.*--overwrite"):
            plain(10).reserved(tmp_path / "a_master.h5")
        assert [p.name for p in tmp_path.iterdir()] == [name]
        assert path.read_text() == "somebody's"

    def test_one_that_the_series_does_not_need_is_nobodys_business(self, tmp_path: Path) -> None:
        for name in ("a_data_000004.h5", "a_data_01.h5", "ab_data_000001.h5", "a_data_000001.hdf5", "a.h5.txt"):
            self.put(tmp_path, name)
        assert check_file(plain(10).finished(tmp_path / "a.h5")).ok

    def test_without_a_count_any_is_in_the_way(self, tmp_path: Path) -> None:
        self.put(tmp_path, "a_data_000400.h5")
        with pytest.raises(FileError, match="the data file exists"):
            Series({}, [], modulus=None).reserved(tmp_path / "a.h5")

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_an_unfinished_data_file_is_refused(self, tmp_path: Path, overwrite: bool) -> None:
        self.put(tmp_path, ".a_data_000002.h5.part")
        with pytest.raises(FileError, match="unfinished data file"):
            plain(10).reserved(tmp_path / "a.h5", overwrite=overwrite)

    def test_an_unfinished_master_is_refused(self, tmp_path: Path) -> None:
        self.put(tmp_path, ".a.h5.part")
        with pytest.raises(FileError, match="unfinished file"):
            plain(10).reserved(tmp_path / "a.h5")
        assert (tmp_path / ".a.h5.part").read_text() == "somebody's"

    @pytest.mark.parametrize("name", ["a_master.h5", "a_data_000002.h5"])
    def test_a_name_taken_during_the_run_is_not_replaced(self, tmp_path: Path, name: str) -> None:
        series = plain(10, 4)
        file = series.written(tmp_path / "a_master.h5")
        self.put(tmp_path, name)
        final = series.finish(file)
        assert final == tmp_path / "a_1_master.h5"
        assert check_file(final).problems == []
        assert (tmp_path / name).read_text() == "somebody's"
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
            [name, "a_1_master.h5", *(f"a_1_data_{number:06d}.h5" for number in (1, 2, 3))]
        )

    def test_overwriting_moves_the_old_files_aside_together_so_that_they_can_be_read(self, tmp_path: Path) -> None:
        plain(10, 4).finished(tmp_path / "a_master.h5")
        new = Series({row: row + 50 for row in range(3)}, [True] * 3, 50, 0, 3, 2)
        for version in (1, 2):
            final = new.finished(tmp_path / "a_master.h5", overwrite=True)
            assert check_file(final).problems == []
            aside = tmp_path / f"a.old{version}"
            assert check_file(aside / "a_master.h5").problems == []
        assert check_file(tmp_path / "a.old1" / "a_master.h5").rows == 10
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
            ["a_master.h5", "a_data_000001.h5", "a_data_000002.h5", "a.old1", "a.old2"]
        )

    def test_publishing_is_all_or_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        series, give_name = plain(10, 4), blocks.give_name
        file = series.written(tmp_path / "a.h5")

        def refuse(path: Path, name: Path) -> None:
            if name.name == "a_data_000003.h5":
                raise OSError(28, "No space left on device")
            give_name(path, name)

        monkeypatch.setattr(blocks, "give_name", refuse)
        with pytest.raises(FileError, match=r"publish .*No space left on device \(errno 28\)"):
            series.finish(file)
        file.abandon()
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
            [".a.h5.part", *(f".a_data_{number:06d}.h5.part" for number in (1, 2, 3))]
        )

    def test_a_name_that_is_too_long_for_data_files_is_refused_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(FileError, match="name that the file system takes"):
            plain(10).reserved(tmp_path / f"{'x' * 230}.h5")
        assert list(tmp_path.iterdir()) == []

    def test_a_detector_name_that_is_a_path_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(FileError, match="not a name in a file"):
            plain(10).reserved(tmp_path / "a.h5", detector="a/b")
        assert list(tmp_path.iterdir()) == []


class TestAbandoned:
    def test_nothing_is_left_of_an_empty_one(self, tmp_path: Path) -> None:
        for file in (plain(10).reserved(tmp_path / "a.h5"), Series({}, [], modulus=9).written(tmp_path / "b.h5")):
            file.abandon()
            file.abandon()
        assert list(tmp_path.iterdir()) == []

    def test_frames_stay_readable_in_their_files(self, tmp_path: Path) -> None:
        plain(10, 4).written(tmp_path / "a.h5").abandon()
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
            [".a.h5.part", *(f".a_data_{number:06d}.h5.part" for number in (1, 2, 3))]
        )
        for block in range(3):
            with h5py.File(tmp_path / f".a_data_{block + 1:06d}.h5.part") as file:
                assert np.array_equal(file["entry/data/data"][0], pixels(4 * block))
        with h5py.File(tmp_path / ".a.h5.part") as file:  # the header comes only once
            assert file["entry/instrument/eiger/count_time"][()] == 0.1

    def test_a_closed_one_refuses_more(self, tmp_path: Path) -> None:
        file = plain(4).reserved(tmp_path / "a.h5")
        with pytest.raises(FileError, match="not laid out"):
            file.write(0, 0, [b""], FrameTimes())
        file.abandon()


WRITER = """
import sys
import numpy as np
from maxdaq_tango.files import BlockedSeries, FrameTimes, resolve_destination
from maxdaq_tango.model import Encoding, FileBackend, FrameFormat
folder, backend = sys.argv[1:]
file = BlockedSeries(resolve_destination(folder + "/a.h5", [folder]), detector="d", software="t", block_rows=50,
                     backend=FileBackend(backend), slab_memory_bytes=3 << 20)
file.begin(FrameFormat((100, 101), "uint16", Encoding.NONE), 100_000, 65535, {"count_time": 1.0}, {})
row = 0
while True:
    file.write(row, row, [np.full((100, 101), row, "<u2").tobytes()], FrameTimes())
    row += 1
    if row % 37 == 0:
        for block in file._store._open:
            block.checkpoint()
        print(row, flush=True)
"""


@pytest.mark.parametrize("lines", [1, 2, 9])
def test_a_kill_loses_nothing_of_the_last_checkpoint(tmp_path: Path, lines: int, backend: FileBackend) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path), backend.value]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for _ in range(lines):
            safe = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        safe = max([safe, *map(int, writer.stdout.read().split())])
    found: set[int] = set()
    for part in tmp_path.glob(".a_data_*.part"):
        first = (int(part.name[8:14]) - 1) * 50
        if log_path(part).exists():
            recover_part(part)
        try:
            file = h5py.File(part, "r", swmr=backend is FileBackend.SWMR, locking=False)
        except OSError:
            continue  # it was about to be made
        with file:
            data, valid = file["entry/data/data"], file["entry/instrument/d/daq/frame_valid"][...]
            for row in np.flatnonzero(valid):
                assert np.all(data[int(row)] == first + row)
                found.add(first + int(row))
    assert set(range(safe)) <= found
    with h5py.File(tmp_path / ".a.h5.part") as file:
        assert file["entry/instrument/d/count_time"][()] == 1.0


def test_a_full_disk_is_told_with_errno_and_path(tmp_path: Path, backend: FileBackend) -> None:
    script = f"""
import gc, resource
from maxdaq_tango.errors import FileError
from maxdaq_tango.files import BlockedSeries, FrameTimes, resolve_destination
from maxdaq_tango.model import Encoding, FileBackend, FrameFormat
file = BlockedSeries(resolve_destination({str(tmp_path / "a.h5")!r}, [{str(tmp_path)!r}]), detector="eiger",
                     software="t", block_rows=100, backend=FileBackend("{backend}"), slab_memory_bytes=3 << 18)
file.begin(FrameFormat((64, 64), "uint16", Encoding.NONE), 500, 65535, {{}}, {{}})
for row in range(150):
    file.write(row, row, [bytes(8192)], FrameTimes())
file.checkpoint_if_due(1e18)
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))  # the second file has 400 kB
try:
    for row in range(150, 300):
        file.write(row, row, [bytes(8192)], FrameTimes())
except FileError as error:
    print(error)
file.abandon()
del file
gc.collect()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "File too large (errno 27)" in done.stdout
    assert ".a_data_000002.h5.part" in done.stdout
    for number, frames in ((1, 100), (2, 50)):
        part = tmp_path / f".a_data_{number:06d}.h5.part"
        if log_path(part).exists():  # there was no room to lay it over the file
            assert recover_part(part) == frames
        swmr = backend is FileBackend.SWMR and number == 2
        with h5py.File(part, "r", swmr=swmr, locking=False) as file:
            assert file["entry/instrument/eiger/daq/frame_valid"][...].sum() >= frames


def test_two_shares_are_the_whole(tmp_path: Path) -> None:
    layout = BlockLayout(
        folder=str(tmp_path),
        stem="a",
        suffix=".h5",
        detector="eiger",
        software="tests",
        backend=Series.backend,
        format=FORMAT,
        fill=65535,
        block_rows=3,
        rows=14,
        slab_memory_bytes=3 << 20,
    )
    shares = [BlockSet(layout, index, 2) for index in range(2)]
    for row in range(14):
        if row not in (6, 7, 8):
            share = shares[row // 3 % 2]
            share.write(row, row, [encode_pixels(pixels(row), Encoding.BSLZ4)], FrameTimes(), {})
    valid = np.array([row not in (6, 7, 8) for row in range(14)])
    for share in shares:
        share.close_all(5)
        share.settle(valid, 0)
    parts = sorted(tmp_path.glob("*.part"))
    assert [part.name for part in parts] == [f".a_data_{number:06d}.h5.part" for number in range(1, 6)]
    rows = []
    for part in parts:
        with h5py.File(part) as file:
            rows.append(len(file["entry/data/data"]))
    assert rows == [3, 3, 3, 3, 2]


class TestCheck:
    def master(self, folder: Path) -> Path:
        return plain(10, 4).finished(folder / "a.h5")

    def problems(self, master: Path) -> str:
        return "; ".join(check_file(master).problems)

    def test_a_data_file_that_is_gone(self, tmp_path: Path) -> None:
        master = self.master(tmp_path)
        (tmp_path / "a_data_000002.h5").unlink()
        assert "data file a_data_000002.h5 cannot be read" in self.problems(master)

    def test_few_files_are_open_at_a_time(self, tmp_path: Path) -> None:
        """Through a virtual dataset HDF5 would read blanks, without an error, when it can open no more files."""
        master = plain(60, 1).finished(tmp_path / "a.h5")
        script = f"""
import resource
from maxdaq_tango.files import check_file
resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30))
print(check_file({str(master)!r}))
"""
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert "problems=[], rows=60, frames_valid=60, frames_checked=60" in done.stdout

    def test_data_files_that_were_mixed_up(self, tmp_path: Path) -> None:
        master = self.master(tmp_path)
        one, two = tmp_path / "a_data_000001.h5", tmp_path / "a_data_000002.h5"
        one.rename(tmp_path / "c")
        two.rename(one)
        (tmp_path / "c").rename(two)
        assert "daq/chunk_checksum of data file a_data_000001.h5 is not what the master says" in self.problems(master)
        assert "row 0 (frame 0): the checksum of the stored chunk differs" in self.problems(master)

    def test_a_changed_pixel_in_a_data_file(self, tmp_path: Path) -> None:
        master = self.master(tmp_path)
        with h5py.File(tmp_path / "a_data_000002.h5", "r+") as file:
            file["entry/data/data"].id.write_direct_chunk((1, 0, 0), encode_pixels(pixels(9), Encoding.BSLZ4), 0)
        assert self.problems(master) == "row 5 (frame 5): the checksum of the stored chunk differs"

    def test_a_data_file_that_was_shortened(self, tmp_path: Path) -> None:
        master = self.master(tmp_path)
        with h5py.File(tmp_path / "a_data_000002.h5", "r+") as file:
            file["entry/data/data"].resize(3, axis=0)
        assert "the master joins 4 rows" in self.problems(master)

    def test_a_link_that_leads_elsewhere(self, tmp_path: Path) -> None:
        master = self.master(tmp_path)
        with h5py.File(master, "r+") as file:
            del file["entry/data/data_000002"]
            file["entry/data/data_000002"] = h5py.ExternalLink("a_data_000003.h5", "/entry/data/data")
            del file["entry/data/data_000003"]
        assert self.problems(master) == (
            "link /entry/data/data_000002 does not lead to data file a_data_000002.h5; "
            "link /entry/data/data_000003 does not lead to data file a_data_000003.h5"
        )

    def test_a_receipt_that_lists_other_files(self, tmp_path: Path) -> None:
        master = self.master(tmp_path)
        with h5py.File(master, "r+") as file:
            daq = file["entry/instrument/eiger/daq"]
            text = daq["receipt"].asstr()[()].replace("a_data_000003", "b_data_000003")
            del daq["receipt"]
            daq["receipt"] = text
        assert self.problems(master) == "the receipt lists other data files than the master joins"
