"""`maxdaq explain`, as a person runs it, on what a receiver has left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from receiving import Harness
from system.processes import Command


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """The folder of a run of which a second client has taken every second frame."""
    folder = tmp_path / "runs"
    folder.mkdir()
    harness = Harness(folder)
    try:
        harness.prepare(expected_frames=20)
        harness.sender.header()
        for number in range(20):
            if number % 2 and number > 4:
                harness.sender.skip()
            else:
                harness.sender.image(number)
        harness.sender.end()
        harness.receipt()
    finally:
        harness.receiver.close()
        harness.context.destroy(0)
    return folder


def explained(folder: Path, *words: str, status: int = 0) -> Command:
    command = Command(folder, "explain", *words)
    assert command.wait(60) == status, command.err
    return command


def test_people_get_a_timeline_and_the_likely_cause(left: Path, tmp_path: Path) -> None:
    told = explained(tmp_path, str(left / "a.h5")).out
    assert "INCOMPLETE" in told
    assert "header of series" in told
    assert "likely cause: a second client takes messages from the same stream" in told
    assert "every second frame is missing" in told


@pytest.mark.parametrize("name", ["", "a.h5", "a.blackbox.jsonl"])
def test_a_folder_a_file_and_a_black_box_say_the_same(left: Path, tmp_path: Path, name: str) -> None:
    (run,) = json.loads(explained(tmp_path, str(left / name), "--json").out)["runs"]
    assert run["verdict"] == "INCOMPLETE"
    assert run["causes"][0]["rule"] == "second client"
    assert run["timeline"][0]["seconds"] == 0


def test_without_its_black_box_the_receipt_still_tells_something(left: Path, tmp_path: Path) -> None:
    (left / "a.blackbox.jsonl").unlink()
    told = explained(tmp_path, str(left / "a.h5")).out
    assert "there is no black box" in told
    assert "a second client" in told


def test_a_folder_without_any_is_no_error_and_a_file_that_is_not_there_is(tmp_path: Path) -> None:
    assert "no run with a black box" in explained(tmp_path, ".").out
    assert "there is no such file" in explained(tmp_path, "nothing.h5", status=1).err


def test_a_file_that_is_none_of_ours_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.blackbox.jsonl").write_text("{}\n")
    assert "there is no receipt in it" in explained(tmp_path, "a.blackbox.jsonl", status=1).err
