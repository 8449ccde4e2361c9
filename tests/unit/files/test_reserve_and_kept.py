"""Room that is held back for the end of a file, and what can be read of one that did not come to its end."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from maxdaq_tango.errors import FileError
from maxdaq_tango.files import FrameTimes, SeriesFile, resolve_destination
from maxdaq_tango.files.closed_state import state_path
from maxdaq_tango.files.frame_log import LogBlock
from maxdaq_tango.files.kept import kept_numbers
from maxdaq_tango.files.reserve import LEAST_BYTES, MOST_BYTES, Reserve, remove_reserve, reserve_path, room_for
from maxdaq_tango.model import Encoding, FileBackend, FrameFormat, Receipt, Verdict

FORMAT = FrameFormat((30, 40), "uint16", Encoding.NONE)


def begun(folder: Path, backend: FileBackend, rows: int = 20) -> SeriesFile:
    destination = resolve_destination(str(folder / "a.h5"), [str(folder)])
    file = SeriesFile(destination, detector="d", software="t", backend=backend, slab_memory_bytes=1 << 20)
    file.begin(FORMAT, rows, 65535, {}, {})
    return file


def write(file: SeriesFile, numbers: range) -> None:
    for number in numbers:
        file.write(number, number + 100, [np.full(FORMAT.shape, number, "<u2").tobytes()], FrameTimes())


@pytest.mark.parametrize("backend", [FileBackend.SWMR, FileBackend.DIRECT])
def test_room_is_held_while_frames_come_and_given_back_at_the_end(tmp_path: Path, backend: FileBackend) -> None:
    reserve = tmp_path / ".a.h5.part.reserve"
    file = begun(tmp_path, backend)
    write(file, range(3))
    assert reserve.stat().st_blocks * 512 >= LEAST_BYTES
    file.settle(np.ones(3, np.bool_), 100, 0, None)
    assert not reserve.exists()
    file.finish(Receipt(verdict=Verdict.COMPLETE))
    file = begun(tmp_path / "other", backend)
    write(file, range(3))
    file.abandon()
    assert not reserve_path(file.destination.part).exists()


def test_a_disk_without_room_for_the_end_is_told_at_the_first_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "posix_fallocate", full)
    destination = resolve_destination(str(tmp_path / "a.h5"), [str(tmp_path)])
    file = SeriesFile(destination, detector="d", software="t", backend=FileBackend.DIRECT)
    with pytest.raises(FileError, match=rf"lay out the file.*\(errno {errno.EDQUOT}\)"):
        file.begin(FORMAT, 20, 65535, {}, {})
    file.abandon()
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_that_holds_nothing_back_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(os, "posix_fallocate", unknown)
    file = begun(tmp_path, FileBackend.DIRECT)
    write(file, range(3))
    assert not reserve_path(file.destination.part).exists()
    file.abandon()
    assert len(file.kept_numbers()) == 3


def test_a_link_of_its_name_is_never_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("as it is")
    reserve_path(tmp_path / ".a.h5.part").symlink_to(precious)
    with pytest.raises(FileExistsError):
        Reserve(tmp_path / ".a.h5.part").take(1 << 16)
    assert precious.read_text() == "as it is"


def test_how_much_room_follows_from_the_rows_and_has_a_limit() -> None:
    assert room_for(1, 8, 1) < room_for(1000, 8, 1) < room_for(1000, 8, 4) < room_for(None, 48, 1)
    assert room_for(10**9, 8, 1) == MOST_BYTES


def test_what_a_kill_leaves_of_it_is_removed(tmp_path: Path) -> None:
    part = tmp_path / ".a.h5.part"
    Reserve(part).take(1 << 16)
    Reserve(part).give_back()  # another one, which took none
    assert reserve_path(part).exists()
    begun(tmp_path, FileBackend.SWMR).abandon()
    remove_reserve(part)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("backend", [FileBackend.SWMR, FileBackend.DIRECT])
def test_all_that_was_written_is_kept_when_nothing_refuses(tmp_path: Path, backend: FileBackend) -> None:
    file = begun(tmp_path, backend)
    write(file, range(5))
    file.abandon()
    assert file.kept_numbers().tolist() == [100, 101, 102, 103, 104]


def test_a_log_tells_what_is_kept_as_far_as_the_file_goes(tmp_path: Path) -> None:
    file = begun(tmp_path, FileBackend.DIRECT)
    write(file, range(8))
    file.checkpoint()
    part = file.destination.part
    size = part.stat().st_size
    assert kept_numbers([part]).tolist() == list(range(100, 108))
    os.truncate(part, size - 4096 - FORMAT.nbytes)
    assert kept_numbers([part]).tolist() == list(range(100, 100 + len(kept_numbers([part]))))
    assert len(kept_numbers([part])) < 8
    file.abandon()


def test_a_file_that_was_half_changed_at_its_end_is_put_back(tmp_path: Path) -> None:
    file = begun(tmp_path, FileBackend.SWMR)
    write(file, range(6))
    file.settle(np.ones(6, np.bool_), 100, 0, None)
    file.abandon()
    part = file.destination.part
    assert state_path(part).exists()
    with part.open("r+b") as raw:
        raw.seek(40)
        raw.write(b"torn" * 20)
    with pytest.raises(OSError, match=r"."), h5py.File(part, "r"):
        pass
    assert file.kept_numbers().tolist() == list(range(100, 106))
    with h5py.File(part, "r") as readable:
        assert readable["entry/instrument/d/daq/frame_valid"][:6].all()


def test_what_cannot_be_read_is_not_kept(tmp_path: Path) -> None:
    part = tmp_path / ".a.h5.part"
    part.write_bytes(b"no HDF5")
    assert kept_numbers([part, tmp_path / ".b.h5.part"]).tolist() == []


def test_frames_of_a_block_that_the_disk_took_are_told_from_the_others() -> None:
    offsets = np.array([[0, 10], [20, 30], [40, 50]], "u8")
    block = LogBlock(np.arange(3), offsets, np.full((3, 2), 10, "u4"), [np.arange(3) * 0.5])
    assert [block.until(end) for end in (60, 59, 40, 39, 0)] == [3, 2, 2, 1, 0]
    done, rest = block.split(2)
    assert (done.rows.tolist(), rest.rows.tolist()) == ([0, 1], [2])
    assert done.columns[0].tolist() == [0.0, 0.5]
