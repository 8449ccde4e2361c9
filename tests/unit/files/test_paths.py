"""Where a file may lie."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.paths import give_name, move_aside, resolve_destination


def test_a_path_under_a_root_is_taken_and_nothing_is_made(tmp_path: Path) -> None:
    destination = resolve_destination(str(tmp_path / "new" / "scan.h5"), [str(tmp_path)])
    assert destination.final == tmp_path / "new" / "scan.h5"
    assert destination.part == tmp_path / "new" / ".scan.h5.part"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("", "not a file name"),
        ("relative.h5", "not absolute"),
        ("{root}/scan.txt", "unknown suffix"),
        ("{root}/a\0b.h5", "not a file name"),
        ("{root}/a\udcff.h5", "surrogates not allowed"),
        ("{root}/../outside.h5", "outside the allowed roots"),
        ("/etc/passwd.h5", "outside the allowed roots"),
        ("{root}2/scan.h5", "outside the allowed roots"),
        ("{root}/taken.h5", "exists"),
        ("{root}/folder.h5", "exists"),
        ("{root}/" + 255 * "a" + ".h5", "too long"),
        ("{root}/" + 250 * "a" + ".h5", "too long"),  # with the .part of the name in use
        ("{root}/" + 2500 * "a/" + "a.h5", "too long"),
        ("{root}/taken.h5/scan.h5", "Not a directory"),
    ],
)
@pytest.mark.lesson(40)
def test_what_is_refused_says_why_and_what_would_be_accepted(tmp_path: Path, path: str, complaint: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "taken.h5").touch()
    (root / "folder.h5").mkdir()
    with pytest.raises(FileError, match=complaint) as caught:
        resolve_destination(path.format(root=root), [str(root)])
    assert caught.value.accepted


@pytest.mark.lesson(40)
def test_a_link_that_leads_out_of_the_root_is_seen_through(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "door").symlink_to(outside)
    with pytest.raises(FileError, match="outside the allowed roots"):
        resolve_destination(str(root / "door" / "scan.h5"), [str(root)])


def test_a_root_that_is_a_link_itself_is_fine(tmp_path: Path) -> None:
    real = tmp_path / "gpfs"
    real.mkdir()
    (tmp_path / "data").symlink_to(real)
    assert resolve_destination(str(tmp_path / "data" / "a.h5"), [str(tmp_path / "data")]).final == real / "a.h5"


def test_without_roots_nothing_may_be_written(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no roots are configured"):
        resolve_destination(str(tmp_path / "a.h5"), [])


def test_a_dangling_link_of_the_name_counts_as_existing(tmp_path: Path) -> None:
    (tmp_path / "a.h5").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileError, match="exists"):
        resolve_destination(str(tmp_path / "a.h5"), [str(tmp_path)])


def test_moving_aside_keeps_every_older_version(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    for content in ("one", "two"):
        path.write_text(content)
        move_aside(path)
    assert move_aside(path) is None
    assert sorted((p.name, p.read_text()) for p in tmp_path.iterdir()) == [("a.old1.h5", "one"), ("a.old2.h5", "two")]
    assert not os.path.lexists(path)


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_system_without_hard_links_replaces_nothing_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "new").write_text("new")
    (tmp_path / "old").write_text("old")
    with pytest.raises(FileExistsError):
        give_name(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old").read_text() == "old"
    give_name(tmp_path / "new", tmp_path / "other")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old", "other"]


def test_a_file_that_keeps_its_old_name_does_not_get_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("content")

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        give_name(old, new)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert old.read_text() == "content"


def test_an_old_name_that_has_gone_although_a_server_said_no_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("content")

    def remove_and_refuse(path: Path, missing_ok: bool = False) -> None:
        os.unlink(path)
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(Path, "unlink", remove_and_refuse)
    give_name(old, new)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    assert new.read_text() == "content"
