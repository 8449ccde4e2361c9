"""The recovery at start-up, as its owner sees it: what is told, what is left alone, and how it ends."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import killed_blocks
from killed_writers import kill, killed, start
from maxdaq_tango.engine.recoverer import Recoverer
from maxdaq_tango.files import check_file, find_parts, recover_file
from maxdaq_tango.files.ownership import claim, owner_path

WAIT_S = 30.0


def wait(condition: Callable[[], object]) -> None:
    pause = threading.Event()
    for _ in range(int(WAIT_S / 0.01)):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError


def over(recoverer: Recoverer) -> str:
    wait(lambda: recoverer.is_over)
    return recoverer.text


@pytest.fixture
def make() -> Iterator[Callable[[], Recoverer]]:
    made: list[Recoverer] = []

    def one() -> Recoverer:
        made.append(Recoverer(f"receiver {len(made)}"))
        return made[-1]

    yield one
    for recoverer in made:
        recoverer.close()
        recoverer.close()


@pytest.fixture
def recoverer(make: Callable[[], Recoverer]) -> Recoverer:
    return make()


@pytest.mark.lesson(13)
def test_what_killed_receivers_left_is_readable_and_told(
    tmp_path: Path, recoverer: Recoverer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "maxdaq_tango.engine.recoverer")
    killed(tmp_path / "1", "swmr", numbers="[n for n in range(40) if n != 5]")
    killed(tmp_path / "2", "direct", rows=40)
    killed(tmp_path / "3", "direct", numbers="[]")
    assert recoverer.text == ""
    recoverer.start([str(tmp_path)])
    text = over(recoverer)
    assert text.startswith(f"2 of 3 unfinished files under {tmp_path} were recovered. ")
    assert f"{tmp_path}/1/a_recovered.h5 has 39 frames, 5, 40-49 missing" in text
    assert f"{tmp_path}/2/a_recovered.h5 has 40 frames" in text
    assert f"1 were left alone, such as {tmp_path}/3/.a.h5.part: left as it is: it holds no frame" in text
    for folder in ("1", "2"):
        assert check_file(tmp_path / folder / "a_recovered.h5").problems == []
    assert f"receiver 0: recovery at start-up: {tmp_path}/1/a_recovered.h5 has 39 frames" in caplog.text
    assert "looked for unfinished files in 4 folders" in caplog.text
    assert recoverer.is_worth_telling


@pytest.mark.lesson(13)
def test_a_series_in_blocks_is_told_of_as_one(tmp_path: Path, recoverer: Recoverer) -> None:
    master = killed_blocks.killed(tmp_path, "direct")
    recoverer.start([str(tmp_path)])
    assert over(recoverer) == (
        f"6 of 6 unfinished files under {tmp_path} were recovered."
        f" {master.parent}/a_recovered_master.h5 has 22 frames (joins 5 data files)"
    )
    assert check_file(master.parent / "a_recovered_master.h5").problems == []


def test_where_nothing_is_left_there_is_nothing_to_tell(tmp_path: Path, recoverer: Recoverer) -> None:
    recoverer.start([str(tmp_path)])
    assert over(recoverer) == f"No unfinished file was found under {tmp_path}"
    assert not recoverer.is_worth_telling


@pytest.mark.lesson(13)
def test_a_file_whose_owner_lives_is_left_alone(tmp_path: Path, recoverer: Recoverer) -> None:
    writer = start(tmp_path, "direct")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    recoverer.start([str(tmp_path)])
    assert "is writing it" in over(recoverer)
    assert not recoverer.is_worth_telling
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    kill(writer)
    assert recover_file(tmp_path / ".a.h5.part").frames == 40


def test_a_broken_file_is_told_and_stays_and_the_others_are_recovered(tmp_path: Path, recoverer: Recoverer) -> None:
    killed(tmp_path / "whole", "swmr")
    broken = killed(tmp_path / "broken", "swmr")
    broken.write_bytes(b"not HDF5" + broken.read_bytes()[8:])
    before = broken.read_bytes()
    recoverer.start([str(tmp_path)])
    text = over(recoverer)
    assert f"{broken} could not be recovered: recover {broken}" in text
    assert "1 of 2 unfinished files" in text
    assert broken.read_bytes() == before
    assert recoverer.is_worth_telling


def test_a_root_that_cannot_be_read_is_told(tmp_path: Path, recoverer: Recoverer) -> None:
    recoverer.start([str(tmp_path / "gone"), str(tmp_path)])
    (tmp_path / "gone").mkdir()
    over(recoverer)
    other = Recoverer("other")
    try:
        other.start([str(tmp_path / "nowhere")])
        assert over(other).endswith(
            f"1 folders could not be read, the first is {tmp_path / 'nowhere'} (No such file or directory)"
        )
        assert other.is_worth_telling
    finally:
        other.close()


@pytest.mark.lesson(13)
def test_two_receivers_that_start_at_once_recover_each_file_once(tmp_path: Path, make: Callable[[], Recoverer]) -> None:
    for number in range(6):
        killed(tmp_path / str(number), "direct" if number % 2 else "swmr")
    pair = [make(), make()]
    for one in pair:
        one.start([str(tmp_path)])
    for one in pair:
        over(one)
    found = sorted(path.name for path in tmp_path.glob("*/*.h5"))
    assert found == ["a_recovered.h5"] * 6
    saved = [one.file for recoverer in pair for one in recoverer.files if one.file]
    assert len(saved) == len(set(saved)) == 6
    assert not any(one.problem for recoverer in pair for one in recoverer.files)
    assert list(find_parts(tmp_path)) == []
    assert list(tmp_path.glob("*/.*.owner*")) == []


def test_of_many_that_find_an_owner_dead_one_takes_its_place(tmp_path: Path) -> None:
    part = killed(tmp_path, "direct")
    dead = owner_path(part).read_bytes()
    for _ in range(20):
        owner_path(part).write_bytes(dead)
        line, taken = threading.Barrier(8), []

        def take(line: threading.Barrier = line, taken: list[bool] = taken) -> None:
            line.wait()
            taken.append(claim(part))

        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(taken) == [False] * 7 + [True]


@pytest.mark.lesson(13)
@pytest.mark.parametrize("how", ["close", "kill"])
def test_a_recovery_that_is_ended_in_the_middle_is_repeated_by_the_next(
    tmp_path: Path, make: Callable[[], Recoverer], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The child stands between the recovery of the pixels and the new name when it is told to end."""
    killed(tmp_path / "data", "direct")
    site = tmp_path / "site"
    site.mkdir()
    reached = tmp_path / "reached"
    (site / "sitecustomize.py").write_text(
        "import sys, time, maxdaq_tango.files.recovered as recovered\n"
        "def held(*args):\n"
        f"    open({str(reached)!r}, 'w').close()\n"
        "    time.sleep(60)\n"
        "if sys.argv[0] != '-c':\n"
        "    recovered._publish = held\n"
    )
    with monkeypatch.context() as patched:
        patched.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
        first = make()
        first.start([str(tmp_path / "data")])
    wait(reached.exists)
    assert first.text == f"Looking for unfinished files under {tmp_path / 'data'}"
    if how == "close":
        first.close()
        assert not first.is_over
    else:
        assert first._process is not None
        os.kill(first._process.pid, signal.SIGKILL)
        assert over(first).endswith("The search ended with status -9 before it was done")
        assert first.is_worth_telling
    second = make()
    second.start([str(tmp_path / "data")])
    assert "has 40 frames" in over(second)
    assert check_file(tmp_path / "data" / "a_recovered.h5").problems == []


def test_one_that_was_closed_does_not_start(tmp_path: Path, recoverer: Recoverer) -> None:
    recoverer.close()
    recoverer.start([str(tmp_path)])
    assert (recoverer.text, recoverer.is_over) == ("", False)


def test_a_program_that_cannot_be_started_is_told(
    tmp_path: Path, recoverer: Recoverer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no python"))
    recoverer.start([str(tmp_path)])
    assert "could not be started" in recoverer.text
    assert recoverer.is_worth_telling
