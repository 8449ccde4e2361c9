"""Data files that were spilled come home: whole, once, over nothing, and whenever whoever moves them is killed."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import hdf5plugin  # noqa: F401
import msgspec
import numpy as np
import pytest

from block_series import BACKENDS, SERIES, Series, contents, pixels, plain, same
from maxdaq_tango.errors import FileError
from maxdaq_tango.files import (
    away,
    block_set,
    blocks,
    bring_all_home,
    bring_home,
    check_file,
    homecoming,
    read_receipt,
    recover_file,
    write_manifest,
)
from maxdaq_tango.files.ownership import claim, release
from maxdaq_tango.files.side_files import away_path
from maxdaq_tango.files.spill import FINISHED, POINTER
from maxdaq_tango.model import FileBackend
from spilled_series import AWAY, COUNT, spilled

PROGRAM = Path(__file__).parents[2] / "spilled_series.py"


@pytest.fixture
def spill(tmp_path: Path) -> Path:
    (tmp_path / "spill").mkdir()
    return tmp_path / "spill"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def part(home: Path, spill: Path) -> Path:
    """The unfinished master of a series of which data files 2 and 3 are in the spill directory."""
    return spilled(home, spill)


def is_whole(home: Path, spill: Path) -> bool:
    with h5py.File(home / "a.h5") as file:
        same = np.array_equal(file["entry/data/data"], [pixels(number) for number in range(COUNT)])
    names = sorted([*(f"a_data_{number:06d}.h5" for number in range(1, 6)), "a.h5", "a.manifest.json"])
    return bool(
        same
        and check_file(home / "a.h5").problems == []
        and sorted(os.listdir(home)) == names
        and os.listdir(spill) == []
    )


def sources(spill: Path) -> list[Path]:
    return sorted(spill.glob("*/.a_data_*"))


class TestWhole:
    def test_the_master_has_its_name_when_the_last_data_file_is_home_and_not_before(
        self, part: Path, home: Path, spill: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert [int(path.name[8:14]) - 1 for path in sources(spill)] == list(AWAY)
        assert not (home / "a.h5").exists()
        seen: list[bool] = []
        name = homecoming._name

        def look(path: Path, final: Path) -> None:
            seen.append((home / "a.h5").exists())
            name(path, final)

        monkeypatch.setattr(homecoming, "_name", look)
        copied: list[int] = []
        (told,) = bring_all_home(spill, [str(home)], copied.append)
        assert (told.master, told.moved, told.left, told.problem) == (str(home / "a.h5"), len(AWAY), 0, "")
        assert seen == [False] * (len(AWAY) + 1)
        assert sum(copied) > len(AWAY) * pixels(0).nbytes // 8
        assert is_whole(home, spill)
        assert list(bring_all_home(spill)) == []

    def test_meanwhile_a_recovery_leaves_them_alone(self, part: Path, home: Path, spill: Path) -> None:
        for path in (part, *sources(spill)):
            found = recover_file(path)
            assert (found.file, found.problem) == ("", "")
            assert "left alone: " in found.note
            assert "being moved" in found.note
        assert bring_home(sources(spill)[0].parent).problem == ""
        assert is_whole(home, spill)

    def test_a_series_that_needs_no_room_elsewhere_leaves_nothing_there(self, home: Path, spill: Path) -> None:
        path = plain(6).finished(home / "a.h5", spill_directory=str(spill))
        assert path == home / "a.h5"
        assert check_file(path).problems == []
        assert os.listdir(spill) == []

    def test_one_that_is_abandoned_before_a_frame_leaves_nothing_anywhere(self, home: Path, spill: Path) -> None:
        series = plain(6).reserved(home / "a.h5", spill_directory=str(spill))
        series.abandon()
        assert os.listdir(home) == os.listdir(spill) == []


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", SERIES)
def test_what_came_home_is_what_would_have_been_there(
    home: Path, spill: Path, monkeypatch: pytest.MonkeyPatch, name: str, backend: FileBackend
) -> None:
    """Frames missing, rows turned, stragglers, blocks without a frame: every other block was spilled."""
    monkeypatch.setattr(Series, "backend", backend)
    series = SERIES[name]
    expected = contents(series.finished(home / "b.h5"))
    monkeypatch.setattr(block_set, "lacks_room", lambda layout, block, open_files: "full" if block % 2 == 0 else "")
    path = series.finished(home / "a.h5", spill_directory=str(spill))
    assert path == home / ".a.h5.part"
    (told,) = bring_all_home(spill)
    assert (told.problem, told.master) == ("", str(home / "a.h5"))
    result = check_file(told.master)
    assert (result.problems, result.frames_checked) == ([], sum(series.valid))
    found = contents(Path(told.master))
    assert sorted(found) == sorted(expected)
    assert [key for key in found if not same(found[key], expected[key])] == []
    assert os.listdir(spill) == []


@pytest.mark.parametrize("links", ["links", "no links"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_step_nothing_is_lost_and_the_next_attempt_ends_it(tmp_path: Path, when: str, links: str) -> None:
    """Each call that changes anything on a disk, and each piece of a copy, in turn."""
    command = [sys.executable, str(PROGRAM), str(tmp_path), when, links]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["points"] > 30
    assert told["bad"] == []


def test_the_manifest_of_an_earlier_file_of_that_name_is_moved_aside(home: Path, spill: Path) -> None:
    plain(6).finished(home / "a.h5")
    receipt = read_receipt(home / "a.h5")
    earlier = write_manifest(home / "a.h5", receipt, receipt.data_files).read_bytes()
    for path in home.glob("*.h5"):
        path.unlink()
    spilled(home, spill)
    (told,) = bring_all_home(spill)
    assert (told.problem, told.note) == ("", "")
    assert check_file(home / "a.h5").problems == []
    (aside,) = [path for path in home.iterdir() if ".old1" in path.name]
    assert aside.read_bytes() == earlier


def test_a_list_that_cannot_be_made_safe_is_none_and_the_names_are_taken_back(
    home: Path, spill: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever moved the rest would publish a master whose other data files have no names."""

    def fail(folder: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(away, "sync_directory", fail)
        with pytest.raises(FileError, match=f"errno {errno.EIO}"):
            spilled(home, spill)
    part = home / ".a.h5.part"
    assert not away_path(part).exists()
    assert [name for name in os.listdir(home) if not name.startswith(".")] == []
    assert len(list(spill.glob("*/.a_data_*.part"))) == len(AWAY)
    (told,) = bring_all_home(spill)
    assert part.exists()
    assert told.master == ""


def test_the_names_of_spilled_files_are_on_the_disk_before_the_list_of_them(
    home: Path, spill: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a list names must be there after a power cut; with direct nothing else asks for it after the last file."""
    seen: list[tuple[list[str], bool]] = []
    sync = blocks.sync_directory

    def look(folder: Path) -> None:
        if folder.parent == spill:
            names = [path.name for path in sources(spill) if path.suffix == ".part"]
            seen.append((names, away_path(home / ".a.h5.part").exists()))
        sync(folder)

    monkeypatch.setattr(blocks, "sync_directory", look)
    spilled(home, spill)
    assert seen == [([f".a_data_{block + 1:06d}.h5.part" for block in AWAY], False)]


def test_where_an_earlier_list_cannot_be_moved_aside_the_names_are_taken_back(
    home: Path, spill: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> None:
        raise FileError(f"move {path} aside", answer="10000 older versions exist")

    with monkeypatch.context() as patch:
        patch.setattr(away, "move_aside", fail)
        with pytest.raises(FileError, match="older versions exist"):
            spilled(home, spill)
    assert [name for name in os.listdir(home) if not name.startswith(".")] == []
    assert not away_path(home / ".a.h5.part").exists()


def test_a_series_with_nothing_to_move_is_not_claimed(home: Path, spill: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recovery that starts at that moment would find it taken, and leave it."""
    part = spilled(home, spill)
    (folder,) = spill.iterdir()
    away_path(part).unlink()
    (folder / FINISHED).rename(folder / POINTER)
    monkeypatch.setattr(homecoming, "claim", lambda path: pytest.fail("claimed"))
    assert "was not finished" in bring_home(folder).note


def test_files_of_another_folder_are_not_counted_as_left_in_this_one(part: Path, home: Path, spill: Path) -> None:
    other = spill / "b.0"
    other.mkdir()
    for path in sources(spill):
        (other / path.name).write_bytes(b"")
    (other / POINTER).write_bytes(msgspec.json.encode({"master_part": str(part)}))
    assert homecoming.survey(spill).left == len(AWAY)
    told = bring_home(other)
    assert "it waits for those of" in told.problem
    assert told.left == 0


def test_a_list_of_an_earlier_file_of_that_name_is_moved_aside(home: Path, spill: Path) -> None:
    stale = away_path(home / ".a.h5.part")
    stale.write_bytes(b"{}")
    spilled(home, spill)
    assert [told.problem for told in bring_all_home(spill)] == [""]
    assert check_file(home / "a.h5").problems == []
    assert [path.read_bytes() for path in home.iterdir() if ".old1" in path.name] == [b"{}"]


class TestRefused:
    @pytest.mark.parametrize("name", ["a_data_000002.h5", "a.h5"])
    def test_a_name_that_is_taken_is_not_replaced(self, part: Path, home: Path, spill: Path, name: str) -> None:
        (home / name).write_bytes(b"somebody else's")
        (told,) = bring_all_home(spill)
        assert "another file has that name, and is not replaced" in told.problem
        assert str(home / name) in told.problem
        assert (home / name).read_bytes() == b"somebody else's"
        assert told.left == len(sources(spill)) == (len(AWAY) if name != "a.h5" else 0)
        assert told.left_nbytes == sum(path.stat().st_size for path in sources(spill))
        assert part.exists()
        (home / name).unlink()
        (told,) = bring_all_home(spill)
        assert told.problem == ""
        assert is_whole(home, spill)

    def test_a_destination_without_room_keeps_the_source_and_has_its_room_back(
        self, part: Path, home: Path, spill: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = sorted(os.listdir(home))
        contents = [path.read_bytes() for path in sources(spill)]
        with monkeypatch.context() as patch:

            def full(handle: int) -> None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            patch.setattr(homecoming.os, "fsync", full)
            (told,) = bring_all_home(spill)
        assert f"{os.strerror(errno.ENOSPC)} (errno {errno.ENOSPC})" in told.problem
        assert str(home / "a_data_000002.h5") in told.problem
        assert sorted(os.listdir(home)) == before
        assert [path.read_bytes() for path in sources(spill)] == contents
        assert [one.problem for one in bring_all_home(spill)] == [""]
        assert is_whole(home, spill)

    @pytest.mark.parametrize("short", [True, False])
    def test_a_destination_that_would_be_full_afterwards_is_left_its_room(
        self, part: Path, home: Path, spill: Path, monkeypatch: pytest.MonkeyPatch, short: bool
    ) -> None:
        """Somebody else may be receiving frames there."""
        largest = max(path.stat().st_size for path in sources(spill))
        status = list(os.statvfs(home))
        status[1], status[4] = 1, 2 * largest + homecoming.SPARE_NBYTES - short
        with monkeypatch.context() as patch:
            patch.setattr(homecoming.os, "statvfs", lambda path: os.statvfs_result(status))
            patch.setattr(homecoming, "_copy", mock.Mock(wraps=homecoming._copy))
            (told,) = bring_all_home(spill)
            assert homecoming._copy.called is not short  # type: ignore[attr-defined]
        assert (f"{home} has" in told.problem) is short
        assert short or is_whole(home, spill)
        assert not short or told.left == len(AWAY)

    def test_a_copy_that_reads_back_differently_is_none(
        self, part: Path, home: Path, spill: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = sorted(os.listdir(home))
        copy = homecoming._copy

        def spoil(source: Path, path: Path, on_progress: Any) -> bytes:
            digest = copy(source, path, on_progress)
            with path.open("r+b") as file:
                file.seek(path.stat().st_size // 2)
                file.write(b"\x55\xaa\x55\xaa\x55")
            return digest

        with monkeypatch.context() as patch:
            patch.setattr(homecoming, "_copy", spoil)
            (told,) = bring_all_home(spill)
        assert "what was written reads back differently" in told.problem
        assert sorted(os.listdir(home)) == before
        assert len(sources(spill)) == len(AWAY)
        assert [one.problem for one in bring_all_home(spill)] == [""]
        assert is_whole(home, spill)

    def test_where_no_file_may_be_made_none_is_moved(self, part: Path, home: Path, spill: Path) -> None:
        (told,) = bring_all_home(spill, [str(spill)])
        assert "is not under the allowed roots" in told.note
        assert len(sources(spill)) == len(AWAY)

    def test_a_series_that_somebody_has_is_left_alone(self, part: Path, home: Path, spill: Path) -> None:
        assert claim(part)
        (told,) = bring_all_home(spill)
        assert "left alone: process" in told.note
        assert len(sources(spill)) == len(AWAY)
        release(part)
        assert [one.problem for one in bring_all_home(spill)] == [""]
        assert is_whole(home, spill)

    def test_a_data_file_that_is_nowhere_is_told(self, part: Path, home: Path, spill: Path) -> None:
        sources(spill)[1].rename(spill / "kept")
        (told,) = bring_all_home(spill)
        assert "it is neither here nor there" in told.problem
        assert part.exists()
        assert not (home / "a.h5").exists()

    @pytest.mark.parametrize("name", ["a_data_000002.h5", "a.h5"])
    def test_a_file_that_has_the_name_of_one_that_is_nowhere_is_not_taken_for_it(
        self, part: Path, home: Path, spill: Path, name: str
    ) -> None:
        if name == "a.h5":
            plain(6).finished(home / "b.h5")
            (home / "b.h5").rename(home / name)
            part.rename(spill / "kept")
        else:
            sources(spill)[0].rename(spill / "kept")
            (home / name).write_bytes(b"somebody else's")
        before = (home / name).read_bytes()
        (told,) = bring_all_home(spill)
        assert told.master == ""
        assert "another file" in told.problem
        assert (home / name).read_bytes() == before
        assert away_path(part).exists()

    def test_one_of_another_size_that_has_a_name_is_not_read(
        self, part: Path, home: Path, spill: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Every 30 s."""
        (home / "a_data_000002.h5").write_bytes(b"somebody else's")
        monkeypatch.setattr(homecoming, "_digest", lambda path: pytest.fail("read"))
        (told,) = bring_all_home(spill)
        assert "another file has that name" in told.problem

    @pytest.mark.parametrize("change", [{"master": "../a.h5"}, {"master": ""}, {"files": ("../x", "y")}])
    def test_a_list_that_leads_out_of_its_folders_is_refused(
        self, part: Path, home: Path, spill: Path, change: dict[str, Any]
    ) -> None:
        listed = away.read_away(part)
        assert listed is not None
        if "files" in change:
            name, source = change["files"]
            change = {"files": (away.AwayFile(name=name, source=source, nbytes=1),)}
        away_path(part).write_bytes(msgspec.json.encode(msgspec.structs.replace(listed, **change)))
        (told,) = bring_all_home(spill)
        assert "is no name of a file" in told.problem
        assert len(sources(spill)) == len(AWAY)

    @pytest.mark.parametrize("what", ["list", "pointer", "strange pointer"])
    def test_damaged_words_about_where_they_belong_move_nothing(
        self, part: Path, home: Path, spill: Path, what: str
    ) -> None:
        damaged = away_path(part) if what == "list" else sources(spill)[0].with_name(FINISHED)
        damaged.write_bytes(b'{"master_part": "a.txt"}' if what == "strange pointer" else b"{")
        (told,) = bring_all_home(spill)
        assert told.problem
        assert len(sources(spill)) == len(AWAY)
        assert part.exists()
