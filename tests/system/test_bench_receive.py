"""`maxdaq bench receive`: the whole of it, small and short."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import h5py
import pytest

from maxdaq_tango.bench import conductor, ours
from maxdaq_tango.bench.child import Child, wait_for
from maxdaq_tango.bench.conductor import COLUMNS_GROUP, Conductor, Turn, check_columns, check_complete
from maxdaq_tango.bench.plan import Case, Contestant, Extra, Plan, Saving
from maxdaq_tango.bench.results import Result
from maxdaq_tango.bench.talk import Done, Ready, Sent
from maxdaq_tango.deployment.interruption import Interrupted, Interruption
from maxdaq_tango.errors import FileError, LaunchError, PipelineError
from maxdaq_tango.model import Encoding, RunRequest
from system.processes import Command

TINY = Plan(sizes=(8_000,), packings=(Encoding.NONE,), extras=(), runs=2, seconds=0.05, most_bytes=20_000_000)


def run(plan: Plan, folder: Path, **how: object) -> Result:
    return Conductor(plan, folder, Interruption(), **how).run()


def test_every_contestant_reports_and_nothing_is_left(tmp_path: Path) -> None:
    turns: list[Turn] = []
    result = run(TINY, tmp_path, look=turns.append)
    everybody = TINY.blocks()[0].contestants
    assert {(sample.contestant, sample.repeat) for sample in result.samples} == {
        (contestant, repeat) for contestant in everybody for repeat in range(2)
    }
    for sample in result.samples:
        assert sample.frames > 0
        assert sample.seconds > 0
        assert sample.nbytes == pytest.approx(sample.frames * 8_000, rel=0.02)
        assert sample.peak_rss_bytes > 10_000_000
    assert [turn.number for turn in turns] == list(range(TINY.turn_count()))
    assert list(tmp_path.iterdir()) == []


def test_packed_frames_pass_through_everybody(tmp_path: Path) -> None:
    result = run(Plan(sizes=(8_000,), packings=(Encoding.BSLZ4,), extras=(), runs=1, seconds=0.02), tmp_path)
    assert len(result.rows) == 6


def test_the_command_prints_tables_json_and_a_plot(tmp_path: Path) -> None:
    words = ("bench", "receive", "--sizes", "8k", "--packing", "none", "--runs", "1", "--seconds", "0.02")
    command = Command(tmp_path, *words, "--only-grid", "--plot", "bench.svg", "--json")
    try:
        assert command.wait() == 0, command.err
        result = json.loads(command.out)
        assert {row["contestant"] for row in result["rows"]} >= {"pull", "write", "pull+write", "plain", "ours"}
        assert "pull+write" in command.err
        assert (tmp_path / "bench.svg").read_text().startswith("<svg")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["bench.svg", "err.txt", "out.txt"]
    finally:
        command.clean_up()


def test_ctrl_c_ends_everything_and_removes_the_files(tmp_path: Path) -> None:
    command = Command(tmp_path, "bench", "--sizes", "8k", "--packing", "none", "--seconds", "60")
    try:
        Interruption().wait_until(lambda: bool(list(tmp_path.glob("maxdaq-bench-*/data"))), 60)
        command.send(signal.SIGINT)
        assert command.wait() == 130, command.err
        command.assert_nothing_is_left()
        assert not list(tmp_path.glob("maxdaq-bench-*"))
    finally:
        command.clean_up()


def test_an_interruption_in_a_turn_ends_it(tmp_path: Path) -> None:
    interruption = Interruption()
    plan = Plan(sizes=(8_000,), packings=(Encoding.NONE,), saving=Saving.OFF, extras=(), seconds=60)
    with pytest.raises(Interrupted):
        Conductor(plan, tmp_path, interruption, look=lambda turn: interruption.request()).run()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("victim", [Contestant.PULL, Contestant.PLAIN])
def test_a_contestant_that_dies_ends_the_bench_loudly(tmp_path: Path, victim: Contestant) -> None:
    def kill(turn: Turn) -> None:
        if turn.contestant is victim:
            os.kill(turn.pid, signal.SIGKILL)

    with pytest.raises(LaunchError, match=rf"measure {victim.value} .* ended with status -9"):
        run(TINY, tmp_path, look=kill)
    assert list(tmp_path.iterdir()) == []


def test_an_engine_that_dies_ends_the_bench_loudly(tmp_path: Path) -> None:
    def kill(turn: Turn) -> None:
        if turn.contestant is Contestant.OURS:
            os.kill(turn.pid, signal.SIGKILL)

    with pytest.raises(PipelineError, match=r"measure ours: .*killed by signal 9"):
        run(TINY, tmp_path, look=kill)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_too_full_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="are free"):
        run(TINY, tmp_path, free=lambda folder: 1000)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_may_not_be_written_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="make a folder for the bench"):
        run(TINY, tmp_path / "missing")
    closed = tmp_path / "file"
    closed.write_text("not a folder")
    command = Command(tmp_path, "bench", "--folder", str(closed))
    try:
        assert command.wait() == 1
        assert "no such folder" in command.err
        assert "Traceback" not in command.err
    finally:
        command.clean_up()


def test_a_plot_that_exists_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "mine.svg").write_text("precious")
    command = Command(tmp_path, "bench", "--plot", "mine.svg")
    try:
        assert command.wait() == 2
        assert (tmp_path / "mine.svg").read_text() == "precious"
    finally:
        command.clean_up()


def test_a_child_that_fails_to_start_says_why(tmp_path: Path) -> None:
    child = Child("nobody", "contestant", ["no such contestant", "{}", "0", ""], handles=(), log=tmp_path / "log")
    try:
        with pytest.raises(LaunchError, match="no such contestant"):
            wait_for(child, Ready, Interruption(), 30)
    finally:
        child.close()


SENT = Sent(frames=10, nbytes=80_000, began_ns=0)
CASE = Case(wire_nbytes=8_000)


@pytest.mark.parametrize(
    ("contestant", "done", "why"),
    [
        (
            Contestant.OURS,
            Done(frames=10, nbytes=80_000, ended_ns=1, verdict="INCOMPLETE", note="lost one"),
            "lost one",
        ),
        (Contestant.OURS, Done(frames=9, nbytes=80_000, ended_ns=1, verdict="COMPLETE"), "9 of 10 frames"),
        (Contestant.PULL, Done(frames=9, nbytes=72_000, ended_ns=1), "9 of 10 frames"),
        (Contestant.PLAIN, Done(frames=10, nbytes=79_999, ended_ns=1), "79999 of 80000 bytes"),
    ],
)
def test_a_turn_that_lost_something_is_no_result(contestant: Contestant, done: Done, why: str) -> None:
    with pytest.raises(PipelineError, match=why):
        check_complete(contestant, CASE, SENT, done)


def test_columns_that_are_not_in_the_file_are_no_result(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group(COLUMNS_GROUP).create_dataset("column_00", data=[1.0])
    check_columns(tmp_path / "a.h5", 1)
    with pytest.raises(PipelineError, match="1 are in the file"):
        check_columns(tmp_path / "a.h5", 40)


def test_uncompressed_frames_are_packed_in_the_row_for_it_and_nowhere_else(tmp_path: Path) -> None:
    asked = [ours.make_request("tcp://127.0.0.1:1", str(tmp_path / "a.h5"), extra, 1200) for extra in (None, *Extra)]
    assert [request.compression for request in asked] == ["none", "bslz4", "none", "none"]


def test_a_disk_that_cannot_be_slowed_is_a_reason_and_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conductor, "why_no_throttle", lambda folder: "not here")
    plan = Plan(sizes=(8_000,), packings=(Encoding.NONE,), saving=Saving.OFF, extras=(Extra.THROTTLE,), seconds=0.02)
    result = run(plan, tmp_path)
    assert [(skipped.what, skipped.why) for skipped in result.skipped] == [("200 kB throttle", "not here")]


def test_the_rows_beside_the_grid_are_measured(tmp_path: Path) -> None:
    plan = Plan(sizes=(8_000,), packings=(), extras=(Extra.COMPRESS, Extra.COLUMNS), runs=1, seconds=0.02)
    names = {(row.case.name, row.contestant) for row in run(plan, tmp_path).rows}
    assert names == {
        ("200 kB compress", Contestant.PULL),
        ("200 kB compress", Contestant.COMPRESSION),
        ("200 kB compress", Contestant.OURS),
        ("200 kB columns", Contestant.OURS),
        ("200 kB columns", Contestant.WITHOUT_COLUMNS),
    }


def test_the_engine_is_asked_with_its_own_defaults(tmp_path: Path) -> None:
    request = ours.make_request("tcp://127.0.0.1:1", str(tmp_path / "a.h5"), None, 1200)
    usual = RunRequest(sources=("tcp://127.0.0.1:1",), stream_format=request.stream_format)
    assert request.frame_nbytes == 1200
    assert request.memory_bytes == usual.memory_bytes
    assert request.grace_s == usual.grace_s
    assert request.roots == (str(tmp_path),)
    assert ours.make_request("tcp://127.0.0.1:1", "", None, 1200).roots == ()
