"""A recovery takes nothing out of a whole series whose data files are in the spill directory, whatever is not there."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from unittest import mock

import msgspec
import pytest

from block_series import plain
from maxdaq_tango.files import Recovered, away, blocks, bring_all_home, check_file, find_parts, recover_found
from maxdaq_tango.files.ownership import owner_path
from maxdaq_tango.files.side_files import away_path
from maxdaq_tango.files.spill import FINISHED, POINTER
from spilled_series import spilled


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
