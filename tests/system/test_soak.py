"""`maxdaq soak`, as a person runs it, for a minute: long ones are in docs/reference/soak.md."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from system.processes import Command

Soak = Callable[..., Command]
SEED_OF_THREE = 8


@pytest.fixture
def soak(tmp_path: Path) -> Iterator[Soak]:
    """Starts `maxdaq soak` in an empty folder; ends everything after the test."""
    running: list[Command] = []

    def start(*words: str) -> Command:
        command = Command(tmp_path, "soak", *words, environment={"TANGO_HOST": "nowhere.invalid:10000"})
        running.append(command)
        return command

    yield start
    for command in running:
        command.clean_up()


@pytest.mark.timeout(300)
def test_a_minute_of_random_acquisitions_agrees_with_the_sender(soak: Soak, tmp_path: Path) -> None:
    command = soak("--minutes", "1", "--seed", "2", "--json")
    status = command.wait(270)
    told = json.loads(command.out)
    assert told["disagreements"] == []
    assert (status, told["ok"], told["deaths"]) == (0, True, []), command.err
    command.assert_nothing_is_left(0)
    assert told["acquisitions"] == sum(told["verdicts"].values()) > 3
    assert told["frames"] > 0
    assert "everybody agrees" in command.err
    (folder,) = (tmp_path / "data").iterdir()
    assert list((folder / "runs").iterdir()) == []  # files of acquisitions that agree are removed


@pytest.mark.timeout(300)
def test_one_acquisition_can_be_taken_again_alone(soak: Soak) -> None:
    command = soak("--seed", "2", "--first", "4", "--acquisitions", "1", "--json")
    assert command.wait(120) == 0, command.err
    told = json.loads(command.out)
    assert (told["first"], told["acquisitions"]) == (4, 1)
    assert {line["fault"] for line in told["lines"]} == {"end-early"}  # as in a soak of this seed that began with 0


TOGETHER = ("--detectors", "eiger,pilatus,lambda", "--json")


def _of_three(soak: Soak, acquisitions: int, seed: int, limit_s: float) -> dict[str, Any]:
    command = soak(*TOGETHER, "--acquisitions", str(acquisitions), "--seed", str(seed), "--minutes", "120")
    status = command.wait(limit_s)
    told: dict[str, Any] = json.loads(command.out)
    assert told["disagreements"] == []
    assert (status, told["ok"], told["deaths"]) == (0, True, []), command.err
    command.assert_nothing_is_left(0)
    assert told["acquisitions"] == sum(told["verdicts"].values()) == acquisitions
    assert told["frames"] > 0
    return told


@pytest.mark.timeout(300)
def test_random_acquisitions_of_three_detectors_leave_none_stuck_and_no_wrong_verdict(soak: Soak) -> None:
    told = _of_three(soak, 5, SEED_OF_THREE, 270)
    assert len(told["verdicts"]) > 1  # not only good ones
    assert 0 < told["ready_s"] < 60
    assert told["slowest"]["Arm"] < 3


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_500_random_acquisitions_of_three_detectors_leave_none_stuck_and_no_wrong_verdict(soak: Soak) -> None:
    told = _of_three(soak, 500, 9, 7000)
    assert {"kill-engine", "kill-receiver", "kill-detector", "kill-controller", "kill-streamer"} <= {
        line["fault"] for line in told["lines"]
    }


def test_a_family_that_cannot_be_soaked_is_refused_and_those_that_can_are_named(soak: Soak) -> None:
    command = soak("--detectors", "eiger,rayonix")
    assert command.wait(30) == 2
    assert "eiger, pilatus, lambda" in command.err
    assert len(command.err.splitlines()) == 1


@pytest.mark.timeout(300)
def test_ctrl_c_tells_what_was_found_so_far_and_leaves_nothing(soak: Soak) -> None:
    command = soak("--minutes", "5", "--seed", "5")
    command.wait_for("DAQController/laptop is ready", 60)
    command.send(signal.SIGINT)
    assert command.wait(60) == 130
    command.assert_nothing_is_left(0)
    assert "Every process is stopped." in command.out
    assert "Traceback" not in command.out + command.err


def test_an_unknown_fault_is_refused_and_all_are_named(soak: Soak) -> None:
    command = soak("--faults", "lightning")
    assert command.wait(30) == 2
    assert "thief" in command.err
    assert len(command.err.splitlines()) == 1
