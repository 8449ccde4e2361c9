"""One series into one file: laid out, readable at every moment, finished, taken back."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401
import numpy as np
import pytest

from maxdaq_tango.errors import FileError
from maxdaq_tango.files import FrameTimes, SeriesFile, check_file, read_receipt, resolve_destination
from maxdaq_tango.kernels.compression import compress_bslz4, encode_pixels
from maxdaq_tango.model import Encoding, FileBackend, FrameFormat, Receipt, Verdict

SHAPE = (32, 24)
BACKENDS = [FileBackend.SWMR, FileBackend.DIRECT]


@pytest.fixture(params=[f"{backend} on {place}" for backend in BACKENDS for place in ("disk", "tmpfs")], autouse=True)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> FileBackend:
    """Every test of this module runs with both, in both places: the file is the same."""
    chosen = FileBackend(request.param.split()[0])
    monkeypatch.setattr(Session, "backend", chosen)
    return chosen


@pytest.fixture
def tmp_path(tmp_path: Path, request: pytest.FixtureRequest, backend: FileBackend) -> Iterator[Path]:
    """As pytest's own, or in memory, where O_DIRECT is refused."""
    place = request.node.callspec.params["backend"].split()[-1]
    if place == "disk":
        yield tmp_path
        return
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("there is no /dev/shm here")
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="maxdaq-test-") as folder:
        yield Path(folder)


def pixels(number: int, dtype: str = "uint16") -> np.ndarray[Any, Any]:
    return (np.arange(np.prod(SHAPE)).reshape(SHAPE) * 7 + number * 1000).astype(dtype)


class Session:
    """A file with the blanks and formats of a test."""

    backend = FileBackend.AUTO

    def __init__(self, path: Path, encoding: Encoding = Encoding.BSLZ4, rows: int | None = 10, **how: Any) -> None:
        self.path = path
        destination = resolve_destination(str(path), [str(path.parent)], overwrite=how.get("overwrite", False))
        self.file = SeriesFile(destination, detector="eiger", software="tests", backend=self.backend, **how)
        self.format = FrameFormat(SHAPE, "uint16", encoding)
        self.rows = rows

    def begin(self, metadata: dict[str, Any] | None = None) -> Session:
        self.file.begin(self.format, self.rows, 65535, metadata or {}, {})
        return self

    def write(self, row: int, number: int) -> Session:
        blob = encode_pixels(pixels(number), self.format.encoding)
        self.file.write(row, number, [blob], FrameTimes(start=number * 0.1, exposure=0.05))
        return self

    def finish(self, valid: list[bool], first: int = 0, rotation: int = 0, modulus: int | None = None) -> Path:
        flags = np.array(valid)
        self.file.settle(flags, first, rotation, modulus)
        missing = tuple(first + int(r) for r in np.flatnonzero(~flags))
        return self.file.finish(
            Receipt(
                verdict=Verdict.INCOMPLETE if missing else Verdict.COMPLETE,
                frames_written=int(flags.sum()),
                frames_missing=missing,
                frames_missing_count=len(missing),
                frames_missing_ranges=tuple((m, m) for m in missing),
                first_frame_number=first,
                shape=(len(valid), *SHAPE),
                dtype="uint16",
            )
        )


def read(path: Path) -> np.ndarray[Any, Any]:
    with h5py.File(path, "r") as file:
        data: np.ndarray[Any, Any] = file["/entry/instrument/eiger/data"][...]
        return data


@pytest.mark.parametrize("encoding", [Encoding.NONE, Encoding.BSLZ4, Encoding.LZ4_HDF5])
@pytest.mark.parametrize("rows", [5, None])
def test_what_was_written_is_read_back(tmp_path: Path, encoding: Encoding, rows: int | None) -> None:
    session = Session(tmp_path / "a.h5", encoding, rows).begin()
    for number in (3, 0, 4, 1, 2):
        session.write(number, number)
    final = session.finish([True] * 5, modulus=rows)
    assert final == tmp_path / "a.h5"
    assert np.array_equal(read(final), [pixels(n) for n in range(5)])
    assert check_file(final).problems == []
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_the_file_has_the_default_plot_chain_and_classes(tmp_path: Path) -> None:
    final = Session(tmp_path / "a.h5", rows=1).begin().write(0, 0).finish([True])
    with h5py.File(final, "r") as file:
        entry = file[file.attrs["default"].decode()]
        plot = entry[entry.attrs["default"].decode()]
        assert plot[plot.attrs["signal"].decode()].shape == (1, *SHAPE)
        assert file["entry/instrument/eiger"].attrs["NX_class"] == b"NXdetector"
        assert file["entry/instrument"].attrs["NX_class"] == b"NXinstrument"


def test_a_row_without_a_frame_is_blank_and_flagged_never_zero_counts(tmp_path: Path) -> None:
    final = Session(tmp_path / "a.h5", rows=3).begin().write(0, 0).write(2, 2).finish([True, False, True], modulus=3)
    assert np.all(read(final)[1] == 65535)
    with h5py.File(final, "r") as file:
        group = file["entry/instrument/eiger"]
        assert group["daq/frame_valid"][...].tolist() == [1, 0, 1]
        assert group["sequence_number"][...].tolist() == [0, 1, 2]
        assert np.isnan(group["start_time"][1])
    assert check_file(final).problems == []


def test_a_short_series_is_trimmed(tmp_path: Path) -> None:
    session = Session(tmp_path / "a.h5", rows=100_000).begin().write(0, 0).write(1, 1)
    assert read(session.finish([True, True], modulus=100_000)).shape == (2, *SHAPE)


@pytest.mark.parametrize("encoding", [Encoding.NONE, Encoding.BSLZ4])
@pytest.mark.parametrize(("count", "rotation"), [(5, 1), (6, 2), (6, 3), (7, 5)])
def test_rows_are_turned_for_senders_that_do_not_count_from_zero(
    tmp_path: Path, encoding: Encoding, count: int, rotation: int
) -> None:
    session = Session(tmp_path / "a.h5", encoding, rows=count).begin()
    for number in range(rotation, rotation + count):
        session.write(number % count, number)
    final = session.finish([True] * count, first=rotation, rotation=rotation, modulus=count)
    assert np.array_equal(read(final), [pixels(n) for n in range(rotation, rotation + count)])
    assert check_file(final).problems == []


def test_turning_leaves_gaps_where_they_belong(tmp_path: Path) -> None:
    session = Session(tmp_path / "a.h5", rows=4).begin()
    for number in (1, 2, 4):
        session.write(number % 4, number)
    final = session.finish([True, True, False, True], first=1, rotation=1, modulus=4)
    stored = read(final)
    assert np.array_equal(stored[3], pixels(4))
    assert np.all(stored[2] == 65535)
    assert check_file(final).problems == []


def test_leading_rows_of_a_growing_file_are_given_back(tmp_path: Path) -> None:
    session = Session(tmp_path / "a.h5", rows=None).begin()
    for number in (9, 7, 8):
        session.write(number - 4, number)
    final = session.finish([True] * 3, first=7, rotation=3)
    assert np.array_equal(read(final), [pixels(n) for n in (7, 8, 9)])
    assert check_file(final).problems == []


def test_several_chunks_a_frame(tmp_path: Path) -> None:
    session = Session(tmp_path / "a.h5", rows=2)
    session.format = FrameFormat((2, *SHAPE), "uint16", Encoding.BSLZ4, (1, *SHAPE))
    session.begin()
    for number in (0, 1):
        blobs = [compress_bslz4(pixels(number)), compress_bslz4(pixels(number + 50))]
        session.file.write(number, number, blobs, FrameTimes())
    session.file.settle(np.array([True, True]), 0, 0, 2)
    session.file.finish(
        Receipt(verdict=Verdict.COMPLETE, frames_written=2, shape=(2, 2, *SHAPE), dtype="uint16", first_frame_number=0)
    )
    assert np.array_equal(read(tmp_path / "a.h5")[1], [pixels(1), pixels(51)])
    assert check_file(tmp_path / "a.h5").problems == []


def test_a_growing_file_can_be_read_while_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "backend", FileBackend.SWMR)
    session = Session(tmp_path / "a.h5", rows=10).begin().write(0, 0).write(1, 1)
    session.file.checkpoint()
    with h5py.File(session.file.destination.part, "r", swmr=True, locking=False) as reader:
        group = reader["entry/instrument/eiger"]
        assert np.array_equal(group["data"][1], pixels(1))
        assert group["daq/frame_valid"][:3].tolist() == [1, 1, 0]
    session.finish([True, True], modulus=10)


@pytest.mark.lesson(16)
def test_metadata_of_any_shape_are_kept_and_never_stop_the_file(tmp_path: Path) -> None:
    metadata = {
        "photon_energy": 8000.0,
        "count_time": 0.1,
        "nested": {"a": 1, "deeper": {"b": [1, 2, 3]}},
        "none": None,
        "ragged": [[1], [2, 3]],
        "mixed": [1, "a"],
        "empty": [],
        "huge": 2**70,
        "nul": "a\0b",
        "slash/name": 1,
        "data": "reserved",
        "sequence_number": [1, 2],
        "..": "dots",
        "": "no name",
        "flag": True,
        "text": "µÅ",
    }
    final = Session(tmp_path / "a.h5", rows=1).begin(metadata).write(0, 0).finish([True])
    with h5py.File(final, "r") as file:
        group = file["entry/instrument/eiger"]
        assert group["photon_energy"][()] == 8000.0
        assert group["photon_energy"].attrs["units"] == b"eV"
        assert group["count_time"].attrs["units"] == b"s"
        assert group["nested/deeper/b"][...].tolist() == [1, 2, 3]
        assert group["none"][()] == b"null"
        assert group["ragged"][()] == b"[[1],[2,3]]"
        assert group["huge"].asstr()[()] == str(2**70)
        assert group["data_from_header"][()] == b"reserved"
        assert group["sequence_number_from_header"][...].tolist() == [1, 2]
        assert group["text"].asstr()[()] == "µÅ"
        assert group["slash_name"][()] == 1
    assert check_file(final).problems == []


@pytest.mark.lesson(10)
def test_an_unfinished_file_of_the_same_name_is_not_touched(tmp_path: Path) -> None:
    part = tmp_path / ".a.h5.part"
    part.write_text("somebody's")
    with pytest.raises(FileError, match="unfinished file of that name exists"):
        Session(tmp_path / "a.h5")
    assert part.read_text() == "somebody's"


def test_abandoning_an_empty_file_leaves_nothing(tmp_path: Path) -> None:
    session = Session(tmp_path / "deep" / "a.h5") if (tmp_path / "deep").mkdir() is None else None
    assert session is not None
    session.file.abandon()
    session.file.abandon()
    assert list((tmp_path / "deep").iterdir()) == []


def test_abandoning_a_file_with_frames_keeps_it(tmp_path: Path) -> None:
    session = Session(tmp_path / "a.h5").begin().write(0, 0)
    session.file.checkpoint()
    session.file.abandon()
    with h5py.File(tmp_path / ".a.h5.part", "r") as file:
        assert np.array_equal(file["entry/instrument/eiger/data"][0], pixels(0))


@pytest.mark.lesson(10)
def test_a_name_taken_during_the_run_is_not_replaced(tmp_path: Path) -> None:
    session = Session(tmp_path / "a.h5", rows=1).begin().write(0, 0)
    (tmp_path / "a.h5").write_text("somebody's")
    final = session.finish([True])
    assert final == tmp_path / "a_1.h5"
    assert (tmp_path / "a.h5").read_text() == "somebody's"
    assert check_file(final).ok


@pytest.mark.lesson(10)
def test_overwriting_moves_the_old_file_aside(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_text("old")
    final = Session(tmp_path / "a.h5", rows=1, overwrite=True).begin().write(0, 0).finish([True])
    assert check_file(final).ok
    assert (tmp_path / "a.old1.h5").read_text() == "old"


def test_a_read_only_folder_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(h5py, "File", refuse)
    with pytest.raises(FileError, match=r"Read-only file system \(errno 30\)") as caught:
        Session(tmp_path / "a.h5")
    assert str(tmp_path / "a.h5") in str(caught.value)


def test_a_closed_file_refuses_more(tmp_path: Path) -> None:
    session = Session(tmp_path / "a.h5", rows=1).begin().write(0, 0)
    session.finish([True])
    with pytest.raises(FileError, match="closed"):
        session.file.checkpoint()


def test_pixels_that_are_no_chunk_are_refused(tmp_path: Path) -> None:
    session = Session(tmp_path / "a.h5")
    session.format = FrameFormat(SHAPE, "uint16", Encoding.MONO12P)
    with pytest.raises(FileError, match="mono12p"):
        session.begin()
    session.file.abandon()


class TestCheck:
    def finished(self, path: Path) -> Path:
        return Session(path, rows=3).begin().write(0, 0).write(1, 1).write(2, 2).finish([True] * 3)

    def test_a_changed_pixel_is_found(self, tmp_path: Path) -> None:
        final = self.finished(tmp_path / "a.h5")
        with h5py.File(final, "r+") as file:
            file["entry/instrument/eiger/data"].id.write_direct_chunk((1, 0, 0), compress_bslz4(pixels(9)), 0)
        assert check_file(final).problems == ["row 1 (frame 1): the checksum of the stored chunk differs"]

    def test_a_damaged_chunk_is_found(self, tmp_path: Path) -> None:
        final = self.finished(tmp_path / "a.h5")
        with h5py.File(final, "r+") as file:
            file["entry/instrument/eiger/data"].id.write_direct_chunk((1, 0, 0), b"\0" * 40, 0)
        result = check_file(final)
        assert not result.ok
        assert "row 1" in result.problems[0]

    def test_a_shortened_dataset_is_found(self, tmp_path: Path) -> None:
        final = self.finished(tmp_path / "a.h5")
        with h5py.File(final, "r+") as file:
            file["entry/instrument/eiger/data"].resize(2, axis=0)
        assert any("shape" in problem for problem in check_file(final).problems)

    def test_a_frame_that_the_flags_deny_is_found(self, tmp_path: Path) -> None:
        final = self.finished(tmp_path / "a.h5")
        with h5py.File(final, "r+") as file:
            file["entry/instrument/eiger/daq/frame_valid"][1] = 0
        problems = check_file(final).problems
        assert any("2 are flagged valid" in problem for problem in problems)
        assert any("not blank" in problem for problem in problems)

    def test_a_forged_receipt_is_found(self, tmp_path: Path) -> None:
        final = self.finished(tmp_path / "a.h5")
        with h5py.File(final, "r+") as file:
            daq = file["entry/instrument/eiger/daq"]
            text = daq["receipt"].asstr()[()].replace('"frames_written":3', '"frames_written":4')
            del daq["receipt"]
            daq["receipt"] = text
        assert any("receipt says 4 frames written" in problem for problem in check_file(final).problems)

    @pytest.mark.parametrize("content", [b"", b"not hdf5", b"\x89HDF\r\n\x1a\n" + b"\0" * 100])
    def test_something_else_is_one_clear_problem(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "a.h5").write_bytes(content)
        result = check_file(tmp_path / "a.h5")
        assert len(result.problems) == 1
        assert not result.ok

    def test_a_foreign_hdf5_file_is_no_file_of_ours(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["x"] = 1
        with pytest.raises(FileError, match="no /entry/instrument"):
            read_receipt(tmp_path / "a.h5")
        assert not check_file(tmp_path / "a.h5").ok

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        assert not check_file(tmp_path / "none.h5").ok


@pytest.mark.parametrize("detector", ["", ".", "..", "a/b", "a\0b", "é"])
def test_a_detector_name_that_is_a_path_is_refused_before_anything_is_made(tmp_path: Path, detector: str) -> None:
    destination = resolve_destination(str(tmp_path / "a.h5"), [str(tmp_path)])
    with pytest.raises(FileError, match="not a name in a file"):
        SeriesFile(destination, detector=detector, software="tests")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["make_skeleton", "h5py.File.flush"])
def test_a_file_that_cannot_be_begun_leaves_nothing_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"maxdaq_tango.files.writer.{what}", full)
    destination = resolve_destination(str(tmp_path / "a.h5"), [str(tmp_path)])
    with pytest.raises(FileError, match="No space left"):
        SeriesFile(destination, detector="eiger", software="tests")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.lesson(7)
def test_a_full_disk_is_told_and_what_was_safe_stays_readable(tmp_path: Path, backend: FileBackend) -> None:
    """In a process of its own: closing such a file used to end in a segmentation fault."""
    handles = {
        FileBackend.SWMR: "[file._backend._file.id.get_vfd_handle()]",
        FileBackend.DIRECT: "[file._backend._slabs._handle, file._backend._slabs._plain]",
    }[backend]
    script = f"""
import gc, os
import numpy as np
from maxdaq_tango.errors import FileError
from maxdaq_tango.files import FrameTimes, SeriesFile, resolve_destination
from maxdaq_tango.model import Encoding, FileBackend, FrameFormat
destination = resolve_destination({str(tmp_path / "a.h5")!r}, [{str(tmp_path)!r}])
how = dict(detector="eiger", software="t", backend=FileBackend("{backend}"), slab_memory_bytes=1 << 19)
file = SeriesFile(destination, **how)
format = FrameFormat((64, 64), "uint16", Encoding.NONE)
file.begin(format, 500, 65535, {{}}, {{}})
for row in range(100):
    file.write(row, row, [bytes(8192)], FrameTimes())
file.checkpoint()
full = os.open("/dev/full", os.O_RDWR)
for handle in {handles}:
    os.dup2(full, handle)
try:
    for row in range(100, 300):
        file.write(row, row, [bytes(8192)], FrameTimes())
    file.checkpoint()
except FileError as error:
    print(error)
file.abandon()
del file
gc.collect()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "No space left on device (errno 28)" in done.stdout
    with h5py.File(tmp_path / ".a.h5.part", "r", swmr=backend is FileBackend.SWMR, locking=False) as part:
        assert part["entry/instrument/eiger/daq/frame_valid"][...].sum() == 100


@pytest.mark.parametrize("error", [KeyError, RuntimeError, ValueError, TypeError])
def test_damaged_metadata_are_a_problem_of_the_file_not_of_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def damaged(*_: object) -> None:
        raise error("incorrect metadata checksum after all read attempts")

    with h5py.File(tmp_path / "a.h5", "w"):
        pass
    monkeypatch.setattr("maxdaq_tango.files.check.find_detector", damaged)
    monkeypatch.setattr("maxdaq_tango.files.check.receipt_of", damaged)
    result = check_file(tmp_path / "a.h5")
    assert not result.ok
    assert "incorrect metadata checksum" in result.problems[0]
