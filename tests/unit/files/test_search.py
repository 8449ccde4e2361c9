"""The search for unfinished files: what it finds, in which order, and where it stops."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from maxdaq_tango.files import Search
from maxdaq_tango.files.search import LOOK_ENTRIES


def part(folder: Path, name: str = ".a.h5.part") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(b"")
    return path


def test_parts_of_ours_are_found_at_any_depth(tmp_path: Path) -> None:
    wanted = {part(tmp_path), part(tmp_path / "a" / "b"), part(tmp_path / "a" / "b", ".c.nxs.part")}
    for name in ("a.h5", ".x.part", "b.h5.part", ".a.h5.part.frames", ".a.h5.part.owner"):
        (tmp_path / "a" / name).write_text("somebody's")
    (tmp_path / ".d.h5.part").mkdir()
    search = Search([str(tmp_path)])
    assert set(search) == wanted
    assert (search.folders, search.unreadable, search.left_out) == (3, [], 0)


def test_links_and_hidden_folders_are_not_followed(tmp_path: Path) -> None:
    real = part(tmp_path / "real")
    part(tmp_path / ".snapshot" / "hourly")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / ".link.h5.part").symlink_to(real)
    assert list(Search([str(tmp_path)])) == [real]


def test_roots_within_another_are_looked_at_once(tmp_path: Path) -> None:
    wanted = part(tmp_path / "a")
    (tmp_path / "other").symlink_to(tmp_path / "a")
    search = Search([str(tmp_path), str(tmp_path / "a"), str(tmp_path / "other")])
    assert list(search) == [wanted]
    assert search.folders == 2


def test_the_folder_that_was_changed_last_comes_first(tmp_path: Path) -> None:
    parts = [part(tmp_path / name) for name in ("old", "new", "middle")]
    for path, changed in zip(parts, (1_000, 3_000, 2_000), strict=True):
        os.utime(path.parent, (changed, changed))
    assert [path.parent.name for path in Search([str(tmp_path)])] == ["new", "middle", "old"]


def test_what_is_too_deep_is_left_out_and_counted(tmp_path: Path) -> None:
    near = part(tmp_path / "1" / "2")
    part(tmp_path / "1" / "2" / "3")
    part(tmp_path / "1" / "2" / "too")
    search = Search([str(tmp_path)], depth=2)
    assert list(search) == [near]
    assert search.left_out == 2


def test_when_time_is_up_the_rest_is_left_out_and_counted(tmp_path: Path) -> None:
    for number in range(5):
        part(tmp_path / str(number))
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 1.0  # a second for each folder
        return now

    search = Search([str(tmp_path)], search_s=2.5, clock=clock)
    assert len(list(search)) == 2
    assert (search.folders, search.left_out) == (3, 3)


def test_one_folder_of_a_great_many_files_cannot_hold_it_up(tmp_path: Path) -> None:
    for number in range(2 * LOOK_ENTRIES):
        (tmp_path / str(number)).touch()
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 1.0
        return now

    search = Search([str(tmp_path)], search_s=0.5, clock=clock)
    assert list(search) == []
    assert search.left_out == 1


def test_the_time_that_is_spent_on_files_does_not_count(tmp_path: Path) -> None:
    for number in range(3):
        part(tmp_path / str(number))
    now = 0.0
    search = Search([str(tmp_path)], search_s=1.0, clock=lambda: now)
    for _ in search:
        now += 100.0
    assert search.left_out == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_without_permission_is_told_and_the_others_are_searched(tmp_path: Path) -> None:
    wanted = part(tmp_path / "open")
    closed = part(tmp_path / "closed").parent
    closed.chmod(0)
    try:
        search = Search([str(tmp_path)])
        assert list(search) == [wanted]
        assert search.unreadable == [(str(closed), "Permission denied")]
    finally:
        closed.chmod(0o755)


def test_a_folder_that_cannot_be_read_is_told_and_the_others_are_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, closed = part(tmp_path / "open"), part(tmp_path / "closed").parent
    scandir = os.scandir

    def refusing(folder: str) -> object:
        if str(folder) == str(closed):
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr("maxdaq_tango.files.search.os.scandir", refusing)
    search = Search([str(tmp_path), str(tmp_path / "gone")])
    assert list(search) == [wanted]
    assert search.unreadable == [(str(closed), "Permission denied")]
    search = Search([str(tmp_path.parent / "nowhere")])
    assert list(search) == []
    assert search.unreadable == [(str(tmp_path.parent / "nowhere"), "No such file or directory")]
