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
from maxdaq_tango.detectors.orca.simulated_library import find_compiler
from maxdaq_tango.detectors.registry import FAMILIES
from maxdaq_tango.detectors.simulation.pattern import FramePattern
from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.files import check_file
from maxdaq_tango.model import Verdict
from system.processes import Command

Demo = Callable[..., Command]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """Starts `maxdaq demo` in an empty folder; ends everything after the test."""
    running: list[Command] = []

    def start(*words: str, **environment: str) -> Command:
        command = Command(tmp_path, "demo", *words, environment={"TANGO_HOST": "nowhere.invalid:10000", **environment})
        running.append(command)
        return command

    yield start
    for command in running:
        command.clean_up()


@pytest.fixture
def _compiler() -> None:
    try:
        find_compiler()
    except ConfigurationError as error:
        pytest.skip(str(error))


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


def assert_all_is_right(command: Command, families: tuple[str, ...], frames: int) -> None:
    """Of every detector a complete series whose every pixel was compared, and no process is left."""
    told = json.loads(command.out)
    command.assert_nothing_is_left(0)
    assert (told["ok"], told["verdict"], told["reasons"], told["left_out"]) == (True, "COMPLETE", [], {})
    found = {device.rpartition("/")[2]: one for device, one in told["detectors"].items()}
    assert set(found) == set(families)
    for family, one in found.items():
        receipt, comparison = one["receipt"], one["comparison"]
        assert (receipt["verdict"], receipt["frames_written"]) == ("COMPLETE", frames), family
        with h5py.File(receipt["file"]) as file:
            data = file[receipt["dataset"]]
            assert data.shape == (frames, *receipt["shape"][1:]), family
            assert (comparison["pixels"], comparison["pixels_different"]) == (data.size, 0), family
        assert Path(one["picture"]).read_bytes().startswith(b"\x89PNG"), family


@pytest.mark.timeout(180)
def test_detectors_of_two_families_are_taken_together(demo: Demo) -> None:
    command = demo("--detectors", "jungfrau,pilatus", "--frames", "10", "--json")
    assert command.wait(120) == 0, command.err
    assert_all_is_right(command, ("jungfrau", "pilatus"), 10)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("_compiler")
def test_all_families_are_taken_together(demo: Demo) -> None:
    families = ("eiger", "pilatus", "lambda", "orca", "jungfrau")
    assert set(families) == set(FAMILIES)
    command = demo("--detectors", ",".join(families), "--frames", "20", "--json")
    assert command.wait(500) == 0, command.err
    assert_all_is_right(command, families, 20)


@pytest.mark.timeout(180)
def test_a_family_without_its_compiler_is_left_out_with_the_reason_and_the_others_run(
    demo: Demo, tmp_path: Path
) -> None:
    cache = str(tmp_path / "cache")
    command = demo("--detectors", "eiger,orca", "--frames", "5", "--json", CC="/nowhere/cc", XDG_CACHE_HOME=cache)
    assert command.wait(120) == 1, command.err
    told = json.loads(command.out)
    assert (told["ok"], told["verdict"], told["comparison"]["pixels_different"]) == (False, "COMPLETE", 0)
    assert list(told["left_out"]) == ["orca"]
    assert command.err.count("No orca: compile the simulated DCAM library: there is no C compiler") == 2
    assert "Traceback" not in command.err
    command.assert_nothing_is_left(0)


def test_a_demo_of_nothing_but_a_family_without_its_compiler_is_one_sentence(demo: Demo, tmp_path: Path) -> None:
    command = demo("--detectors", "orca", CC="/nowhere/cc", XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert command.wait(30) == 1
    assert command.err.startswith("maxdaq: simulate orca: ")
    assert "apt install gcc" in command.err
    assert len(command.err.splitlines()) == 1
    assert not (tmp_path / "data").exists()


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
