"""Files that have their old name besides the new one: a kill, or the disk, came between giving one and taking one."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from block_series import pixels, plain
from maxdaq_tango.errors import FileError
from maxdaq_tango.files import BlockedSeries, SeriesFile, check_file, find_parts, read_manifest, recover_found
from maxdaq_tango.files.manifest import manifest_path
from maxdaq_tango.model import Verdict

COUNT = 6


@pytest.fixture
def file(tmp_path: Path) -> BlockedSeries | SeriesFile:
    """A series in two blocks before its end."""
    return plain(COUNT).written(tmp_path / "a.h5")


def refuse_unlink(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """The disk keeps these, whoever asks."""
    real = os.unlink

    def unlink(path: Path | str, *arguments: object, **named: object) -> None:
        if os.path.basename(path) in names:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        real(path, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "unlink", unlink)


def all_are_there(master: Path) -> None:
    assert check_file(master).problems == []
    with h5py.File(master) as opened:
        assert np.array_equal(opened["entry/data/data"], [pixels(number) for number in range(COUNT)])


def test_a_master_whose_old_name_stays_is_not_published_without_its_data_files(
    tmp_path: Path, file: BlockedSeries | SeriesFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be COMPLETE, and read as blanks."""
    with monkeypatch.context() as patch:
        refuse_unlink(patch, ".a.h5.part")
        with pytest.raises(FileError, match=os.strerror(errno.EIO)):
            plain(COUNT).finish(file)
    file.abandon()
    assert list(tmp_path.glob("a*.h5")) == []
    (told, *_) = recover_found(find_parts(tmp_path))
    assert told.note == "was finished: COMPLETE"
    all_are_there(Path(told.file))


def test_a_master_that_cannot_lose_either_name_keeps_its_data_files(
    tmp_path: Path, file: BlockedSeries | SeriesFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        refuse_unlink(patch, ".a.h5.part", "a.h5")
        with pytest.raises(FileError, match=os.strerror(errno.EIO)):
            plain(COUNT).finish(file)
    file.abandon()
    all_are_there(tmp_path / "a.h5")
    (told, *_) = recover_found(find_parts(tmp_path))
    assert (told.file, told.note) == (str(tmp_path / "a.h5"), "was finished: it has its name already")
    all_are_there(tmp_path / "a.h5")
    assert list(find_parts(tmp_path)) == []


@pytest.mark.lesson(13)
def test_a_master_that_has_its_name_already_gets_its_data_files_back(
    tmp_path: Path, file: BlockedSeries | SeriesFile
) -> None:
    """As a run leaves it that is killed while it takes back the names that it has given."""
    plain(COUNT).finish(file)
    for number in (1, 2):
        (tmp_path / f"a_data_{number:06d}.h5").rename(tmp_path / f".a_data_{number:06d}.h5.part")
    os.link(tmp_path / "a.h5", tmp_path / ".a.h5.part")
    (told, *_) = recover_found(find_parts(tmp_path))
    assert (told.file, told.note) == (str(tmp_path / "a.h5"), "was finished: COMPLETE")
    all_are_there(tmp_path / "a.h5")
    assert list(find_parts(tmp_path)) == []


@pytest.mark.lesson(13)
@pytest.mark.parametrize("block_rows", [0, 4])
def test_a_file_that_was_killed_before_its_old_name_went_gets_its_manifest(tmp_path: Path, block_rows: int) -> None:
    plain(COUNT, block_rows).finished(tmp_path / "a.h5")
    os.link(tmp_path / "a.h5", tmp_path / ".a.h5.part")
    assert not manifest_path(tmp_path / "a.h5").exists()
    (told, *_) = recover_found(find_parts(tmp_path))
    assert told.note == "was finished: it has its name already"
    manifest = read_manifest(tmp_path / "a.h5")
    assert manifest is not None
    assert manifest.verdict is Verdict.COMPLETE
    assert [entry.name for entry in manifest.data_files] == [f"a_data_{n:06d}.h5" for n in (1, 2) if block_rows]
    all_are_there(tmp_path / "a.h5")
