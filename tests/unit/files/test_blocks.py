"""A series in blocks: its content is that of one file, however frames come, and a kill loses little."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401
import numpy as np
import pytest

from block_series import BACKENDS, FORMAT, SERIES, SHAPE, Series, contents, extras, pixels, plain, same
from maxdaq_tango.errors import FileError
from maxdaq_tango.files import (
    BlockedSeries,
    BlockLayout,
    BlockSet,
    FrameTimes,
    check_file,
    recover_part,
)
from maxdaq_tango.files.block_set import OPEN_BLOCKS
from maxdaq_tango.files.frame_log import log_path
from maxdaq_tango.kernels.compression import encode_pixels
from maxdaq_tango.model import Encoding, FileBackend


@pytest.fixture(params=BACKENDS, autouse=True)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> FileBackend:
    """Every test of this module runs with both."""
    monkeypatch.setattr(Series, "backend", request.param)
    return FileBackend(request.param)


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
                    assert recover_part(part).frames >= 3
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
            assert recover_part(part).frames == frames
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
