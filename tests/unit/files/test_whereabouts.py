"""A link that is put in the way between the look at a path and the making of the file leads nowhere."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maxdaq_tango.errors import FileError
from maxdaq_tango.files import FrameTimes, SeriesFile, ownership, paths, resolve_destination
from maxdaq_tango.files.master import MasterFile
from maxdaq_tango.files.paths import Destination
from maxdaq_tango.files.whereabouts import folder_at, hdf5_there, open_there, unlink_there
from maxdaq_tango.model import Encoding, FileBackend, FrameFormat

FORMAT = FrameFormat((4, 6), "uint16", Encoding.NONE)
NO_TIMES = FrameTimes()


class Storage:
    """An allowed root with a folder of a user in it, and another folder that is nobody's business of his."""

    def __init__(self, folder: Path) -> None:
        self.root, self.outside = folder / "root", folder / "outside"
        self.user, self.moved = self.root / "user", self.root / "user-moved"
        self.user.mkdir(parents=True)
        self.outside.mkdir()

    def destination(self, name: str = "user/scan.h5", **options: Any) -> Destination:
        return resolve_destination(str(self.root / name), [str(self.root)], **options)

    def swap(self) -> None:
        """What the attacker does."""
        self.user.rename(self.moved)
        self.user.symlink_to(self.outside)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path)


def series_file(destination: Destination, backend: FileBackend = FileBackend.DIRECT) -> SeriesFile:
    return SeriesFile(destination, detector="eiger", software="test", backend=backend)


def begin(file: SeriesFile, rows: int = 3) -> None:
    file.begin(FORMAT, rows, 65535, {}, {})


def after(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, then: Callable[[], None]) -> None:
    """The hook that makes a race no matter of luck: right after this step the path is swapped."""
    real = getattr(module, name)

    def step(*arguments: Any, **named: Any) -> Any:
        answer = real(*arguments, **named)
        then()
        return answer

    monkeypatch.setattr(module, name, step)


@pytest.mark.lesson(40)
def test_a_folder_swapped_after_the_look_leads_nobody_out(storage: Storage) -> None:
    destination = storage.destination()
    storage.swap()
    for make in (series_file, lambda where: MasterFile(where, "eiger", "test")):
        with pytest.raises(FileError, match=r"the path has changed since it was looked at: .*outside"):
            make(destination)
    assert list(storage.outside.iterdir()) == []


@pytest.mark.lesson(40)
def test_a_folder_swapped_between_its_making_and_the_file_leads_nobody_out(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = storage.destination()
    after(monkeypatch, ownership, "make_way", storage.swap)
    with pytest.raises(FileError, match="the path has changed"):
        series_file(destination)
    assert list(storage.outside.iterdir()) == []


def test_missing_folders_are_not_made_elsewhere(storage: Storage) -> None:
    destination = storage.destination("user/new/er/scan.h5")
    storage.swap()
    with pytest.raises(FileError, match="the path has changed"):
        series_file(destination)
    assert list(storage.outside.iterdir()) == []


def test_a_link_in_the_place_of_a_folder_that_was_missing_is_not_followed(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = storage.destination("user/new/scan.h5")
    real = os.mkdir

    def mkdir(path: Any, *arguments: Any, **named: Any) -> None:
        if path == "new":
            (storage.user / "new").symlink_to(storage.outside)
        real(path, *arguments, **named)

    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(FileError, match="is a link, or no folder"):
        series_file(destination)
    assert list(storage.outside.iterdir()) == []


@pytest.mark.parametrize("backend", [FileBackend.DIRECT, FileBackend.SWMR])
def test_somebody_elses_unfinished_file_is_not_emptied_by_the_second_making(
    storage: Storage, backend: FileBackend
) -> None:
    """The format of the file follows from the first frame; then it is made once more."""
    file = series_file(storage.destination(), backend)
    theirs = storage.outside / ".scan.h5.part"
    theirs.write_bytes(b"of another beamline")
    storage.swap()
    if backend is FileBackend.DIRECT:
        with pytest.raises(FileError, match="the path has changed"):
            begin(file)
        with pytest.raises(FileError, match="the path has changed"):
            file.abandon()
    else:  # which keeps the one it has, by its descriptor
        begin(file)
        file.write(0, 0, [bytes(48)], NO_TIMES)
        with pytest.raises(FileError, match="the path has changed"):
            file.settle(np.ones(1, np.bool_), 0, 0, None)
        file.abandon()
    assert theirs.read_bytes() == b"of another beamline"
    assert sorted(path.name for path in storage.outside.iterdir()) == [".scan.h5.part"]


@pytest.mark.parametrize("backend", [FileBackend.DIRECT, FileBackend.SWMR])
def test_a_link_in_the_place_of_the_unfinished_file_is_not_followed(storage: Storage, backend: FileBackend) -> None:
    victim = series_file(storage.destination("victim.h5"), FileBackend.SWMR)
    begin(victim)
    victim.write(0, 0, [bytes(48)], NO_TIMES)
    victim.settle(np.array([True, False, False]), 0, 0, None)
    victim.abandon()
    theirs = storage.outside / "theirs.h5"
    (storage.root / ".victim.h5.part").rename(theirs)
    before = theirs.read_bytes()
    file = series_file(storage.destination(), backend)
    begin(file)
    file.write(0, 0, [bytes(48)], NO_TIMES)
    part = storage.user / ".scan.h5.part"
    part.rename(part.with_name("kept"))
    part.symlink_to(theirs)
    with pytest.raises(FileError):
        file.settle(np.ones(1, np.bool_), 0, 0, None)
    file.abandon()
    assert theirs.read_bytes() == before


def test_a_file_is_opened_where_it_is_and_only_there(storage: Storage) -> None:
    path = storage.user / "a"
    os.close(open_there(path, os.O_CREAT | os.O_WRONLY, 0o640))
    assert path.stat().st_mode & 0o777 == 0o640 & ~_umask()
    with pytest.raises(FileExistsError):
        open_there(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    with pytest.raises(FileNotFoundError):
        open_there(storage.user / "b", os.O_RDONLY)
    (storage.user / "link").symlink_to(path)
    with pytest.raises(FileError, match="'link' is a link"):
        open_there(storage.user / "link", os.O_RDONLY)
    unlink_there(path)
    assert not path.exists()


def test_hdf5_makes_opens_and_makes_anew(storage: Storage) -> None:
    path = storage.user / "a.h5"
    with hdf5_there(path, "x") as file:
        file["one"] = 1
    with pytest.raises(FileExistsError):
        hdf5_there(path, "x")
    with hdf5_there(path, "r+") as file:
        assert list(file) == ["one"]
    with hdf5_there(path, "w") as file:
        assert list(file) == []
    with pytest.raises(FileNotFoundError):
        hdf5_there(storage.user / "b.h5", "w")


def open_below(folder: Path) -> list[str]:
    """What this process holds open there. Others of its descriptors come and go by themselves."""
    links = []
    for handle in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            links.append(os.readlink(f"/proc/self/fd/{handle}"))
    return [link for link in links if link.startswith(str(folder))]


def test_missing_folders_are_made_and_no_descriptor_is_left(storage: Storage) -> None:
    with folder_at(storage.user / "a" / "b", make=True):
        assert open_below(storage.user) == [str(storage.user / "a" / "b")]
    assert (storage.user / "a" / "b").is_dir()
    with pytest.raises(FileNotFoundError), folder_at(storage.user / "c"):
        pass
    storage.swap()
    with pytest.raises(FileError), folder_at(storage.user):
        pass
    assert open_below(storage.root.parent) == []


def test_a_root_behind_a_link_is_found_by_its_real_path(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(storage.root)
    destination = paths.resolve_destination(str(tmp_path / "data" / "user" / "a.h5"), [str(tmp_path / "data")])
    file = series_file(destination)
    file.abandon()
    assert list(storage.user.iterdir()) == []


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
