"""Who owns the process that moves spilled data files hears what is done, and starts another when it has died."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from maxdaq_tango.engine import homecoming
from maxdaq_tango.engine.homecomer import Homecomer
from maxdaq_tango.files import Homecoming, check_file
from spilled_series import AWAY, spilled


@pytest.fixture
def homecomer() -> Iterator[Homecomer]:
    homecomer = Homecomer("test")
    yield homecomer
    homecomer.close()
    homecomer.close()


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    home, spill = tmp_path / "home", tmp_path / "spill"
    home.mkdir()
    spill.mkdir()
    return home, spill


def wait(what: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(2000):
        if what():
            return
        pause.wait(0.01)
    raise AssertionError("it did not come")


def pid(homecomer: Homecomer) -> int:
    assert homecomer._process is not None
    return homecomer._process.pid


def test_before_the_start_there_is_nothing_to_tell(homecomer: Homecomer) -> None:
    homecomer.look()
    assert (homecomer.text, homecomer.left_nbytes, homecomer.problems) == ("", 0, [])


def test_a_series_is_moved_at_the_start_and_the_next_when_it_is_told(
    homecomer: Homecomer, folders: tuple[Path, Path]
) -> None:
    home, spill = folders
    spilled(home, spill)
    homecomer.start(str(spill), [str(home)])
    wait((home / "a.manifest.json").exists)
    wait(lambda: homecomer.text == f"0 data files to be moved are in {spill}, {len(AWAY)} were moved")
    first = pid(homecomer)
    (home / "other").mkdir()
    spilled(home / "other", spill)
    homecomer.look()
    wait(lambda: homecomer.text.endswith(f"{2 * len(AWAY)} were moved"))
    assert pid(homecomer) == first
    assert homecomer.left_nbytes == 0
    for path in (home / "a.h5", home / "other" / "a.h5"):
        assert check_file(path).problems == []
    assert os.listdir(spill) == []


def test_what_a_dead_one_says_late_is_not_said_of_the_next(
    homecomer: Homecomer, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, spill = folders
    late = threading.Event()
    read = homecomer._read

    def read_late(process: subprocess.Popen[bytes]) -> None:
        if first:
            first.clear()
            late.wait(60)
        read(process)

    first = {"one": True}
    monkeypatch.setattr(homecomer, "_read", read_late)
    homecomer.start(str(spill), [])
    dead, reader = homecomer._process, homecomer._reader
    assert dead is not None
    assert reader is not None
    dead.kill()
    dead.wait()
    homecomer.look()
    assert homecomer._process is not dead
    late.set()
    reader.join(60)
    assert homecomer.problems == []


def test_a_spill_directory_that_gives_an_error_is_told_and_looked_at_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said: list[object] = []
    monkeypatch.setattr(homecoming, "_say", said.append)
    exists = Path.exists

    def stale(path: Path) -> bool:
        if path.parent == tmp_path:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return exists(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "exists", stale)
        homecoming._look(tmp_path, [], lambda nbytes: None)
    (told,) = said
    assert isinstance(told, Homecoming)
    assert "the spill directory cannot be looked at: [Errno 116] Stale file handle" in told.problem
    homecoming._look(tmp_path, [], lambda nbytes: None)
    assert len(said) == 1


def test_a_pointer_to_a_path_that_cannot_be_one_stops_nobody(homecomer: Homecomer, folders: tuple[Path, Path]) -> None:
    home, spill = folders
    (spill / "0").mkdir()
    (spill / "0" / "home.json").write_text('{"master_part": "/a\\u0000b/.a.h5.part"}')
    spilled(home, spill)
    homecomer.start(str(spill), [str(home), "/"])
    wait((home / "a.h5").exists)
    wait(lambda: any("null byte" in problem for problem in homecomer.problems))


def test_one_that_is_killed_is_told_and_replaced_and_the_next_goes_on(
    homecomer: Homecomer, folders: tuple[Path, Path]
) -> None:
    home, spill = folders
    homecomer.start(str(spill), [str(home)])
    wait(lambda: bool(homecomer.text))
    part = spilled(home, spill)
    killed = pid(homecomer)
    os.kill(killed, signal.SIGKILL)
    wait(lambda: homecomer.problems == ["nobody moves spilled files: the process ended with status -9"])
    assert part.exists()
    homecomer.look()
    wait((home / "a.h5").exists)
    assert pid(homecomer) != killed
    wait(lambda: homecomer.problems == [])
    wait(lambda: os.listdir(spill) == [])
    assert check_file(home / "a.h5").problems == []


def test_what_cannot_be_moved_is_counted_and_told(homecomer: Homecomer, folders: tuple[Path, Path]) -> None:
    home, spill = folders
    spilled(home, spill)
    nbytes = sum(path.stat().st_size for path in spill.glob("*/.a_data_*"))
    (home / "a_data_000002.h5").write_bytes(b"somebody else's")
    homecomer.start(str(spill), [str(home)])
    wait(lambda: "another file has that name" in homecomer.text)
    assert homecomer.left_nbytes == nbytes
    assert homecomer.text.startswith(f"{len(AWAY)} data files to be moved are in {spill}, 0 were moved. ")
    assert (home / "a_data_000002.h5").read_bytes() == b"somebody else's"


def test_one_that_cannot_be_started_is_told(
    homecomer: Homecomer, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, spill = folders
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    homecomer.start(str(spill), [str(home)])
    assert "the process could not be started" in homecomer.text
