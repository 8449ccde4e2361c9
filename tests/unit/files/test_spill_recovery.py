"""A recovery takes nothing out of a whole series whose data files are in the spill directory, whatever is not there."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import h5py
import hdf5plugin  # noqa: F401
import msgspec
import numpy as np
import pytest

from block_series import BACKENDS, FORMAT, pixels, plain
from maxdaq_tango.files import (
    Recovered,
    away,
    blocks,
    bring_all_home,
    check_file,
    find_parts,
    read_receipt,
    recover_found,
    recovered_series,
)
from maxdaq_tango.files.ownership import claim, owner_path, release
from maxdaq_tango.files.side_files import away_path
from maxdaq_tango.files.spill import FINISHED, POINTER
from maxdaq_tango.kernels.compression import encode_pixels
from maxdaq_tango.model import Verdict
from spilled_series import COUNT, spilled

KILLED = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from block_series import Series, plain
from maxdaq_tango.model import FileBackend
from spilled_series import COUNT, lacking_room

Series.backend = FileBackend(sys.argv[3])
with lacking_room():
    file = plain(COUNT).written(Path(sys.argv[1], "a.h5"), spill_directory=sys.argv[2])
    for block in file._store._open:
        block.checkpoint()
os._exit(9)
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def spill(tmp_path: Path) -> Path:
    (tmp_path / "spill").mkdir()
    return tmp_path / "spill"


def sources(spill: Path) -> list[Path]:
    return sorted(spill.glob("*/.a_data_*.part"))


def recovered(folder: Path) -> list[Recovered]:
    return list(recover_found(find_parts(folder)))


def comes_home(home: Path, spill: Path) -> bool:
    """As if nothing had been."""
    problems = [told.problem for told in bring_all_home(spill)]
    names = sorted([*(f"a_data_{number:06d}.h5" for number in range(1, 6)), "a.h5", "a.manifest.json"])
    whole = check_file(home / "a.h5").problems == [] and sorted(os.listdir(home)) == names
    return problems == [""] and whole and os.listdir(spill) == []


class TestDestinationNotThere:
    @pytest.mark.parametrize("mount_point", ["no folder", "empty"])
    def test_the_files_of_a_whole_series_wait_for_it(self, home: Path, spill: Path, mount_point: str) -> None:
        spilled(home, spill)
        home.rename(home.with_name("unmounted"))
        if mount_point == "empty":
            home.mkdir()
        (told,) = bring_all_home(spill)
        assert (told.problem != "", told.master, told.left) == (True, "", 0)
        found = recovered(spill)
        assert [(one.file, one.problem) for one in found] == [("", "")] * 2
        assert all("left alone: it belongs to" in one.note and FINISHED in one.note for one in found)
        if mount_point == "empty":
            home.rmdir()
        home.with_name("unmounted").rename(home)
        assert comes_home(home, spill)

    def test_those_of_a_killed_one_as_well(self, home: Path, spill: Path) -> None:
        """Its other files are there."""
        part = spilled(home, spill)
        away_path(part).unlink()
        (folder,) = spill.iterdir()
        (folder / FINISHED).rename(folder / POINTER)
        home.rename(home.with_name("unmounted"))
        found = recovered(spill)
        assert [(one.file, one.problem) for one in found] == [("", "")] * 2
        assert all("that folder is not there" in one.note for one in found)

    def test_where_it_is_lost_for_good_they_can_be_recovered_as_the_note_says(self, home: Path, spill: Path) -> None:
        spilled(home, spill)
        home.rename(home.with_name("lost"))
        home.mkdir()
        (folder,) = spill.iterdir()
        (folder / FINISHED).rename(folder / POINTER)
        found = recovered(spill)
        assert [(one.frames, one.problem) for one in found] == [(4, "")] * 2
        assert [check_file(one.file).problems for one in found] == [[]] * 2

    @pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
    def test_a_list_that_cannot_be_read_is_no_leave_to_take_them(self, home: Path, spill: Path, number: int) -> None:
        spilled(home, spill)
        read = Path.read_bytes

        def fail(path: Path) -> bytes:
            if path.suffix == ".away":
                raise OSError(number, os.strerror(number), str(path))
            return read(path)

        with mock.patch.object(Path, "read_bytes", fail):
            found = [*recovered(spill), *recovered(home)]
        assert [(one.file, one.problem) for one in found] == [("", "")] * 3
        assert all("whether it is being moved cannot be known" in one.note for one in found)
        assert comes_home(home, spill)

    def test_somebody_elses_file_of_the_pointers_name_keeps_nobody_away(self, home: Path) -> None:
        file = plain(6, 0).written(home / "b.h5")
        file.checkpoint()  # type: ignore[union-attr]
        file.abandon()
        (home / POINTER).write_bytes(b"{}")
        owner_path(home / ".b.h5.part").unlink(missing_ok=True)
        (found,) = recovered(home)
        assert (found.frames, found.problem, found.file) == (6, "", str(home / "b_recovered.h5"))


class TestSpillDirectoryNotThere:
    @pytest.mark.parametrize("killed", ["", "before the master's state was removed"])
    def test_the_master_waits_for_it(self, home: Path, spill: Path, killed: str) -> None:
        if killed:
            with mock.patch.object(blocks, "remove_side_files"):
                spilled(home, spill)
            for path in (*home.rglob("*.owner"), *spill.rglob("*.owner")):
                path.unlink()
        else:
            spilled(home, spill)
        spill.rename(spill.with_name("unmounted"))
        (found,) = recovered(home)
        assert (found.file, found.problem) == ("", "")
        assert found.note.startswith("left alone: 2 of its data files are being moved here from ")
        assert found.note.endswith(", which is not there")
        spill.with_name("unmounted").rename(spill)
        assert comes_home(home, spill)

    def test_a_list_of_another_master_does_not_keep_a_killed_one_waiting(self, home: Path, spill: Path) -> None:
        part = spilled(home, spill)
        listed = away.read_away(part)
        assert listed is not None
        assert listed.master_id == away.file_id(part)
        other = msgspec.structs.replace(listed, master_id="0" * 32)
        away_path(part).write_bytes(msgspec.json.encode(other))
        assert away.is_being_moved(part) == ""

    def test_a_list_that_lies_where_a_master_is_made_is_moved_aside(self, home: Path) -> None:
        away_path(home / ".a.h5.part").write_bytes(b"{}")
        file = plain(6).written(home / "a.h5")
        assert not away_path(home / ".a.h5.part").exists()
        assert [path.read_bytes() for path in home.iterdir() if ".old1" in path.name] == [b"{}"]
        plain(6).finish(file)


class TestKilled:
    """In the midst of a series, when data files 2 and 3 are in the spill directory."""

    @pytest.fixture(params=BACKENDS)
    def part(self, request: pytest.FixtureRequest, home: Path, spill: Path) -> Path:
        command = [sys.executable, "-c", KILLED, str(home), str(spill), request.param.value]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 9, done.stderr
        return home / ".a.h5.part"

    @pytest.mark.parametrize("looked_at_first", ["home", "spill"])
    def test_they_are_copied_home_and_joined_with_the_others(
        self, part: Path, home: Path, spill: Path, looked_at_first: str
    ) -> None:
        (told,) = bring_all_home(spill)
        assert "maxdaq recover joins what there is of it" in told.note
        folders = [home, spill] if looked_at_first == "home" else [spill, home]
        found = [one for folder in folders for one in recovered(folder)]
        assert [one.problem for one in found if one.problem] == []
        away_ones = [one for one in found if "_data_00000" in one.part and str(spill) in one.part]
        assert [(one.frames, Path(one.file).name) for one in away_ones] == [
            (4, f"a_recovered_data_00000{number}.h5") for number in (2, 3)
        ]
        master = home / "a_recovered.h5"
        assert {one.master for one in found if one.master} == {str(master)}
        assert check_file(master).problems == []
        receipt = read_receipt(master)
        assert (receipt.verdict, receipt.frames_written, receipt.frames_missing_ranges) == (Verdict.FAILED, COUNT, ())
        assert receipt.reasons == ("the receiver was killed",)
        with h5py.File(master) as file:
            assert np.array_equal(file["entry/data/data"], [pixels(number) for number in range(COUNT)])
        assert os.listdir(spill) == []

    def test_one_of_which_frames_are_not_right_stays_and_is_recovered_by_itself(
        self, part: Path, home: Path, spill: Path
    ) -> None:
        path = sources(spill)[0]
        data = path.read_bytes()
        wrong = encode_pixels(pixels(5), FORMAT.encoding)
        assert data.count(wrong) == 1
        path.write_bytes(data.replace(wrong, wrong[:-1] + bytes([wrong[-1] ^ 1])))
        found = recovered(home)
        assert read_receipt(home / "a_recovered.h5").frames_lost == (5,)
        (alone,) = [one for one in found if one.part == str(path)]
        assert (alone.problem, alone.frames) == ("", 3)
        assert Path(alone.file).parent == path.parent

    def test_a_spill_directory_that_is_not_there_is_waited_for(self, part: Path, home: Path, spill: Path) -> None:
        spill.rename(spill.with_name("unmounted"))
        (first, *_) = recovered(home)
        assert "data files of it may be in this spill directory, which is not there" in first.problem
        assert str(spill) in first.problem
        spill.with_name("unmounted").rename(spill)
        assert recovered(home)[0].frames == COUNT

    def test_a_copy_that_does_not_hold_them_keeps_the_source(self, part: Path, home: Path, spill: Path) -> None:
        before = [path.name for path in sources(spill)]
        make = recovered_series.make_stand_in

        def spoil(path: Path, *how: object) -> None:
            make(path, *how)  # type: ignore[arg-type]
            data, right = path.read_bytes(), encode_pixels(pixels(5), FORMAT.encoding)
            path.write_bytes(data.replace(right, right[:-1] + bytes([right[-1] ^ 1])))

        with mock.patch.object(recovered_series, "make_stand_in", spoil):
            assert recovered(home)[0].problem
        assert [path.name for path in sources(spill)] == before
        assert recovered(spill)[0].frames == COUNT
        assert check_file(home / "a_recovered.h5").problems == []

    @pytest.mark.parametrize("what", ["pointer", "a link in its place"])
    def test_a_folder_that_is_not_of_this_master_is_left_alone(
        self, part: Path, home: Path, spill: Path, what: str
    ) -> None:
        """A master can say whatever it likes."""
        (folder,) = spill.iterdir()
        if what == "pointer":
            (folder / POINTER).write_bytes(msgspec.json.encode({"master_part": str(home / ".b.h5.part")}))
        else:
            for path in sources(spill):
                path.rename(home / path.name[1:])
                path.symlink_to(home / path.name[1:])
        before = {path: path.read_bytes() for path in folder.iterdir()}
        assert recovered(home)[0].frames == COUNT - 8
        assert {path: path.read_bytes() for path in folder.iterdir()} == before

    def test_a_process_that_still_writes_there_is_waited_for(self, part: Path, home: Path, spill: Path) -> None:
        path = sources(spill)[0]
        owner_path(path).unlink(missing_ok=True)
        assert claim(path)
        (first, *_) = recovered(home)
        assert (first.problem, first.file) == ("", "")
        assert "left alone: process" in first.note
        release(path)
        assert recovered(home)[0].frames == COUNT


def test_a_series_whose_end_came_before_the_word_of_it_has_it_from_the_first_attempt_on(
    home: Path, spill: Path
) -> None:
    with mock.patch.object(blocks, "mark_finished"):
        spilled(home, spill)
    (folder,) = spill.iterdir()
    assert (folder / POINTER).exists()
    (home / "a_data_000002.h5").write_bytes(b"somebody else's")
    assert [told.left for told in bring_all_home(spill)] == [2]
    assert not (folder / POINTER).exists()
    (home / "a_data_000002.h5").unlink()
    assert comes_home(home, spill)
