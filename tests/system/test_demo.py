"""`maxdaq demo`, as a person runs it."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  (registers the read filters)
import pytest

from maxdaq_tango.deployment.interruption import Interruption
from maxdaq_tango.detectors.simulation.pattern import FramePattern
from maxdaq_tango.files import check_file
from maxdaq_tango.model import Verdict
from system.processes import Command

Demo = Callable[..., Command]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """Starts `maxdaq demo` in an empty folder; ends everything after the test."""
    running: list[Command] = []

    def start(*words: str) -> Command:
        command = Command(tmp_path, "demo", *words, environment={"TANGO_HOST": "nowhere.invalid:10000"})
        running.append(command)
        return command

    yield start
    for command in running:
        command.clean_up()


@pytest.mark.timeout(180)
def test_the_demo_takes_a_complete_series_and_leaves_nothing_running(demo: Demo, tmp_path: Path) -> None:
    command = demo("--frames", "40", "--json")
    assert command.wait() == 0, command.err
    command.assert_nothing_is_left(0)
    told = json.loads(command.out)
    assert told["ok"] is True
    assert told["verdict"] == "COMPLETE"
    assert told["receipt"]["frames_written"] == 40
    assert told["comparison"]["pixels"] == 40 * 1065 * 1030
    assert told["comparison"]["pixels_different"] == 0
    assert Path(told["picture"]).read_bytes().startswith(b"\x89PNG")
    folder = Path(told["folder"])
    assert folder.parent == tmp_path / "data"
    with h5py.File(told["receipt"]["file"]) as file:
        data = file[told["receipt"]["dataset"]]
        assert (data[17] == FramePattern(1, (1065, 1030), data.dtype.name).frame(17)).all()
    logs = {path.name for path in folder.glob("logs/*/*.log")}
    assert logs == {
        "database.log",
        "simulator-eiger.log",
        "EigerDetector-laptop.log",
        "StreamReceiver-laptop.log",
        "DAQController-laptop.log",
    }
    assert "nowhere.invalid:10000 is left alone" in command.err


@pytest.mark.timeout(180)
def test_the_demo_explains_itself_to_people(demo: Demo, tmp_path: Path) -> None:
    command = demo("--frames", "10", "--rate", "50", "--directory", "elsewhere")
    assert command.wait() == 0, command.err
    for words in (
        "all devices are ON",
        "COMPLETE",
        "All 10,969,500 pixels",
        "preview.png",
        "maxdaq check",
        "hdf5plugin",
    ):
        assert words in command.out
    assert command.err == ""
    assert "Traceback" not in command.out
    (folder,) = (tmp_path / "elsewhere").iterdir()
    assert f"elsewhere/{folder.name}/preview.png" in command.out


@pytest.mark.timeout(180)
def test_a_second_demo_overwrites_nothing(demo: Demo, tmp_path: Path) -> None:
    first, second = demo("--frames", "5", "--json"), demo("--frames", "5", "--json")
    assert [first.wait(), second.wait()] == [0, 0], second.err
    assert len(list((tmp_path / "data").iterdir())) == 2


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGINT, "database is ready"),
        (signal.SIGINT, "EigerDetector/laptop is ready"),
        (signal.SIGINT, "all devices are ON"),
        (signal.SIGTERM, "all devices are ON"),
        (signal.SIGHUP, "simulator-eiger is ready"),
    ],
)
def test_a_signal_at_any_moment_ends_everything(demo: Demo, number: signal.Signals, moment: str) -> None:
    command = demo("--frames", "5000")
    command.wait_for(moment)
    command.send(number)
    assert command.wait(30) == 128 + number
    command.assert_nothing_is_left(0)
    assert "Every process is stopped." in command.out
    assert "Traceback" not in command.out + command.err


@pytest.mark.timeout(180)
def test_ctrl_c_in_the_series_leaves_a_readable_file(demo: Demo, tmp_path: Path) -> None:
    command = demo("--frames", "5000")

    def is_growing() -> bool:
        return any(path.stat().st_size > 2_000_000 for path in tmp_path.glob("data/*/*.h5*"))

    assert Interruption().wait_until(is_growing, 60)
    command.send(signal.SIGINT)
    assert command.wait(30) == 130
    command.assert_nothing_is_left(0)
    (path,) = tmp_path.glob("data/*/*.h5*")
    result = check_file(path)
    assert result.ok, result.problems
    assert result.verdict is Verdict.ABORTED
    assert result.frames_valid > 0


@pytest.mark.timeout(180)
@pytest.mark.parametrize("moment", ["database is ready", "all devices are ON"])
def test_a_killed_demo_leaves_nothing_running(demo: Demo, moment: str) -> None:
    command = demo("--frames", "5000")
    command.wait_for(moment)
    assert command.family()
    command.send(signal.SIGKILL)
    assert command.wait(10) == -signal.SIGKILL
    command.assert_nothing_is_left()


@pytest.mark.timeout(180)
def test_devices_are_kept_running_when_asked(demo: Demo) -> None:
    command = demo("--frames", "5", "--keep-running")
    command.wait_for("export TANGO_HOST=")
    command.wait_for("laptop/daq/controller")
    assert len(command.family()) >= 5
    command.send(signal.SIGINT)
    assert command.wait(30) == 0
    command.assert_nothing_is_left(0)


def test_a_folder_that_cannot_be_made_is_one_sentence(demo: Demo, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("mine")
    command = demo()
    assert command.wait(30) == 1
    assert command.err.startswith("maxdaq: make a folder")
    assert len(command.err.splitlines()) == 1


@pytest.mark.parametrize("words", [("--frames", "0"), ("--rate", "0"), ("--frames", "many")])
def test_nonsense_is_refused(demo: Demo, words: tuple[str, str]) -> None:
    command = demo(*words)
    assert command.wait(30) == 2
    assert words[0] in command.err
