"""What the spill directory is used for, and what not: data files for which their destination has no room."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer

from block_series import FORMAT, Series, extras, pixels, plain
from full_disk import can_mount
from maxdaq_tango.cli.recover import recover
from maxdaq_tango.errors import FileError
from maxdaq_tango.files import (
    BlockedSeries,
    BlockLayout,
    BlockSet,
    FrameTimes,
    block_file,
    bring_all_home,
    check_file,
    reserve,
)
from maxdaq_tango.files.block_names import choose_spilled_rows
from maxdaq_tango.files.spill import POINTER, check_spill_directory, folder_of_series, lacks_room
from maxdaq_tango.kernels.compression import encode_pixels
from maxdaq_tango.model import FileBackend


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def spill(tmp_path: Path) -> Path:
    (tmp_path / "spill").mkdir()
    return tmp_path / "spill"


FILLED = f"""
import json, os, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from block_series import FORMAT, extras, pixels, plain
from maxdaq_tango.files import FrameTimes, bring_all_home, check_file
from maxdaq_tango.kernels.compression import encode_pixels

home, spill = map(Path, sys.argv[1:])
series = plain(600, 50)
file = series.reserved(home / "a.h5", spill_directory=str(spill))
file.begin(FORMAT, 600, 65535, {{}}, {{}}, extras=extras(0))
for number in range(600):
    if number in (50, 200):
        status = os.statvfs(home)
        with (home / "filler").open("ab") as filler:
            filler.write(bytes(status.f_bavail * status.f_frsize))
    file.write(number, number, [encode_pixels(pixels(number), FORMAT.encoding)], FrameTimes(), extras(number))
path = series.finish(file)
(home / "filler").unlink()
moved = [told.problem for told in bring_all_home(spill)]
print(json.dumps({{"path": str(path), "spilled": len(file.data_files_spilled), "moved": moved,
                  "check": check_file(home / "a.h5").problems}}))
"""
"""A series at whose destination somebody fills the disk to the last byte, twice."""


def refusing(folder: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No room can be held back in that folder for a data file."""

    def refuse(handle: int, offset: int, nbytes: int) -> None:
        name = os.readlink(f"/proc/self/fd/{handle}")
        if name.startswith(str(folder)) and "_data_" in os.path.basename(name):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(reserve.os, "posix_fallocate", refuse)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_new_data_file_that_is_refused_for_want_of_room_is_spilled(
    home: Path, spill: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    refusing(home, number, monkeypatch)
    file = plain(10).written(home / "a.h5", spill_directory=str(spill))
    assert isinstance(file, BlockedSeries)
    store = file._stored()
    assert sorted(store.spilled) == [0, 1, 2]
    assert f"(errno {number})" in store.why_spilled  # type: ignore[attr-defined]
    assert str(home) in store.why_spilled  # type: ignore[attr-defined]
    assert store.is_spilling  # type: ignore[attr-defined]
    assert [path.name for path in home.iterdir() if "_data_" in path.name] == []
    path = plain(10).finish(file)
    assert path == home / ".a.h5.part"
    assert len(file.data_files_spilled) == 3
    monkeypatch.undo()
    assert [told.problem for told in bring_all_home(spill)] == [""]
    assert check_file(home / "a.h5").problems == []


class TestRoomForTheEnd:
    def test_the_master_holds_it_back_until_the_end_begins(self, home: Path, spill: Path) -> None:
        held = reserve.reserve_path(home / ".a.h5.part")
        file = plain(10).written(home / "a.h5", spill_directory=str(spill))
        assert held.stat().st_blocks * 512 >= reserve.LEAST_BYTES
        plain(10).finish(file)
        assert not held.exists()
        file = plain(10).written(home / "b.h5", spill_directory=str(spill))
        file.abandon()
        assert not reserve.reserve_path(home / ".b.h5.part").exists()

    def test_a_destination_to_which_nothing_more_can_be_written_has_room_for_it(self, home: Path, spill: Path) -> None:
        """Whoever else writes there fills it to the last byte: all that follows is spilled, and the run ends well."""
        if not can_mount("tmpfs"):
            pytest.skip("needs the right to mount a small disk")
        mounted = 'mount -t tmpfs -o size=160m none "$1" && exec "$3" -c "$4" "$1" "$2"'
        command = ["unshare", "-m", "sh", "-c", mounted, "sh", str(home), str(spill), sys.executable, FILLED]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told["spilled"] >= 8
        assert (told["path"], told["moved"], told["check"]) == (str(home / ".a.h5.part"), [""], [])

    def test_a_destination_without_it_is_told_at_the_first_frame(
        self, home: Path, spill: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(handle: int, offset: int, nbytes: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(reserve.os, "posix_fallocate", full)
        file = plain(10).reserved(home / "a.h5", spill_directory=str(spill))
        with pytest.raises(FileError, match=rf"lay out the file {home}/a.h5.*\(errno {errno.ENOSPC}\)"):
            file.begin(FORMAT, 10, 65535, {}, {}, extras=extras(0))
        file.abandon()
        assert os.listdir(home) == os.listdir(spill) == []


def test_of_one_that_is_refused_half_made_nothing_is_left(
    home: Path, spill: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def refuse(handle: int, data: bytes) -> int:
        name = os.readlink(f"/proc/self/fd/{handle}")
        if name.startswith(str(home)) and name.endswith(".frames"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(handle, data)

    monkeypatch.setattr(os, "write", refuse)
    monkeypatch.setattr(Series, "backend", FileBackend.DIRECT)
    file = plain(10).written(home / "a.h5", spill_directory=str(spill))
    assert isinstance(file, BlockedSeries)
    assert sorted(file._stored().spilled) == [0, 1, 2]
    assert [path.name for path in home.iterdir() if "_data_" in path.name] == []
    plain(10).finish(file)
    assert [told.problem for told in bring_all_home(spill)] == [""]
    assert check_file(home / "a.h5").problems == []


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS])
def test_one_that_is_refused_for_another_reason_is_an_error(
    home: Path, spill: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    refusing(home, number, monkeypatch)
    with pytest.raises(FileError, match=f"errno {number}"):
        plain(10).written(home / "a.h5", spill_directory=str(spill))
    assert os.listdir(spill) == []


def test_a_spill_directory_without_room_is_told_by_its_path(
    home: Path, spill: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(home.parent, errno.ENOSPC, monkeypatch)
    with pytest.raises(FileError, match=f"{spill}.*errno {errno.ENOSPC}"):
        plain(10).written(home / "a.h5", spill_directory=str(spill))


def test_one_that_cannot_be_written_is_told_by_its_path(
    home: Path, spill: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(home, errno.ENOSPC, monkeypatch)
    fsync, failing = os.fsync, OSError(errno.EIO, os.strerror(errno.EIO))

    def fail(handle: int) -> None:
        if POINTER in os.readlink(f"/proc/self/fd/{handle}"):
            raise failing
        fsync(handle)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(FileError, match=f"spill a data file .of {spill}/a.*errno {errno.EIO}"):
        plain(10).written(home / "a.h5", spill_directory=str(spill))
    assert not list(spill.glob(f"*/{POINTER}"))


@pytest.fixture
def layout(home: Path) -> BlockLayout:
    return BlockLayout(
        folder=str(home), stem="a", suffix=".h5", detector="d", software="t", backend=FileBackend.DIRECT,
        format=FORMAT, fill=0, block_rows=100, rows=250, stored_nbytes=1_000_000, slab_memory_bytes=1 << 20,
    )  # fmt: skip


class TestRoom:
    @pytest.mark.parametrize(
        ("free", "block", "open_files", "has_room"),
        [
            (103_000_000, 0, 0, True),
            (101_000_000, 0, 0, False),
            (103_000_000, 0, 1, False),
            (205_000_000, 0, 1, True),
            (53_000_000, 2, 0, True),  # of which the last one has half
        ],
    )
    def test_a_whole_file_must_fit_beside_those_that_are_being_written(
        self,
        layout: BlockLayout,
        monkeypatch: pytest.MonkeyPatch,
        free: int,
        block: int,
        open_files: int,
        has_room: bool,
    ) -> None:
        status = list(os.statvfs(layout.folder))
        status[0:2], status[4] = [4096, 1000], free // 1000
        monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(status))
        told = lacks_room(layout, block, open_files)
        assert (told == "") is has_room
        assert has_room or f"{layout.folder} has {free / 1e6:.3g} MB of room" in told

    def test_a_destination_that_does_not_say_has_room(
        self, layout: BlockLayout, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(path: str) -> None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

        monkeypatch.setattr(os, "statvfs", fail)
        assert lacks_room(layout, 0, 0) == ""


class TestSync:
    """A process that closes a large file is told from one whose disk takes nothing."""

    def test_each_piece_that_the_disk_has_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "a").write_bytes(bytes(2 * block_file.SYNC_NBYTES + 1))
        told: list[str] = []
        sync = os.fdatasync
        monkeypatch.setattr(os, "fdatasync", lambda handle: (told.append("all"), sync(handle)))
        block_file.sync_file(tmp_path / "a", lambda: told.append("piece"))
        assert told == ["piece"] * 3 + ["all"]

    @pytest.mark.parametrize("number", [errno.ENOSYS, errno.EIO])
    def test_a_refusal_is_an_error_and_a_file_system_that_cannot_say_is_none_the_worse(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        def refuse(*_: object) -> int:
            ctypes.set_errno(number)
            return -1

        (tmp_path / "a").write_bytes(b"x")
        synced: list[int] = []
        monkeypatch.setattr(block_file, "_SYNC_FILE_RANGE", refuse)
        monkeypatch.setattr(os, "fdatasync", synced.append)
        if number == errno.EIO:
            with pytest.raises(OSError, match="Input/output error"):
                block_file.sync_file(tmp_path / "a", lambda: pytest.fail("told"))
        else:
            block_file.sync_file(tmp_path / "a", lambda: pytest.fail("told"))
            assert len(synced) == 1

    def test_a_data_file_that_is_closed_is_told_of(self, layout: BlockLayout) -> None:
        told: list[str] = []
        blocks = BlockSet(layout, on_progress=lambda: told.append("piece"))
        blobs = [encode_pixels(pixels(0), FORMAT.encoding)]
        blocks.write(0, 0, blobs, FrameTimes(), {})
        assert told == []
        blocks.close_all(1)
        assert told != []
        blocks.settle(np.array([True]), 0)


class TestNames:
    def test_no_two_series_have_a_folder(self, spill: Path) -> None:
        names = {folder_of_series(str(spill), "a") for _ in range(100)}
        assert len(names) == 100
        assert {Path(name).parent for name in names} == {spill}

    @pytest.mark.parametrize("stem", ["a" * 250, "ä" * 120, ".hidden", "."])
    def test_any_name_of_a_file_makes_a_folder_that_is_looked_at(self, spill: Path, stem: str) -> None:
        folder = Path(folder_of_series(str(spill), stem))
        folder.mkdir()
        assert len(os.fsencode(folder.name)) < 120
        assert not folder.name.startswith(".")

    def test_a_directory_is_absolute_and_there_and_can_be_written(
        self, spill: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        check_spill_directory("")
        check_spill_directory(str(spill))
        monkeypatch.setattr(os, "access", lambda path, mode: False)
        with pytest.raises(FileError, match="Permission denied"):
            check_spill_directory(str(spill))


@pytest.mark.parametrize(
    ("frame_nbytes", "rows", "chosen", "reason"),
    [
        (100_000, None, 500, "about 50 MB each"),
        (10_000_000, None, 10, "the least that is worth a file"),
        (100_000, 400_000, 1000, "500 files at most for 400000 frames"),
        (1, None, 100_000, "about 0.1 MB each"),
    ],
)
def test_a_file_is_half_of_what_a_process_may_be_behind(
    frame_nbytes: int, rows: int | None, chosen: int, reason: str
) -> None:
    found, told = choose_spilled_rows(frame_nbytes, rows, 128 << 20)
    assert found == chosen
    assert told.startswith(reason)


@pytest.mark.parametrize("content", ['{"home": "sweet"}', "{", ""])
def test_a_file_of_somebody_that_is_called_as_ours_is_no_matter_of_a_recovery(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "website").mkdir()
    (tmp_path / "website" / POINTER).write_text(content)
    with pytest.raises(typer.Exit) as told:
        recover([tmp_path, tmp_path / "website"], json=True)
    assert told.value.exit_code == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "files": [], "moved": []}


def test_a_damaged_word_in_a_folder_of_ours_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(folder_of_series(str(tmp_path), "scan"))
    folder.mkdir()
    (folder / POINTER).write_text("{")
    with pytest.raises(typer.Exit) as told:
        recover([tmp_path], json=True)
    assert told.value.exit_code == 1
    assert [one["folder"] for one in json.loads(capsys.readouterr().out)["moved"]] == [str(folder)]
