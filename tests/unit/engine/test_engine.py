"""The engine as a process: runs, refusals, deaths."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from engine_owner import WAIT_S, Owner
from maxdaq_tango.engine.client import EngineClient
from maxdaq_tango.engine.counters import CountersMemory, create_counters_file
from maxdaq_tango.engine.protocol import ErrorText, Told
from maxdaq_tango.errors import ConfigurationError, EngineError, FileError, StateError
from maxdaq_tango.files import check_file
from maxdaq_tango.model import (
    AcquisitionState,
    Counters,
    ScanMaster,
    Verdict,
)
from maxdaq_tango.pipeline.blackbox import decoded


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    owner = Owner(tmp_path)
    yield owner
    pid = owner.engine.pid
    owner.close()
    if pid is not None:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def children(pid: int) -> list[int]:
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(child) for child in path.read_text().split()]
    return found


@pytest.mark.parametrize("engines", [1, 3])
@pytest.mark.lesson(33)
def test_a_run_through_another_process(owner: Owner, engines: int) -> None:
    owner.engine.prepare(owner.request(engines=engines))
    assert owner.engine.pid is not None
    assert len(children(owner.engine.pid)) == (0 if engines == 1 else engines)
    assert owner.engine.state is AcquisitionState.ARMED
    owner.engine.expect(None, 3)
    owner.send()
    assert owner.engine.wait_idle(WAIT_S)
    receipt = owner.engine.last_receipt
    assert receipt is not None
    assert (receipt.verdict, receipt.frames_written, receipt.run_id) == (Verdict.COMPLETE, 3, "a.h5")
    assert owner.engine.counters().frames_written == 3
    assert check_file(receipt.file).problems == []


def test_one_engine_takes_many_runs(owner: Owner) -> None:
    pids = set()
    for number in range(3):
        owner.engine.prepare(owner.request(f"{number}.h5"))
        pids.add(owner.engine.pid)
        owner.send()
        assert owner.engine.wait_idle(WAIT_S)
    assert len(pids) == 1
    assert owner.engine.counters().run_number == 3


def test_errors_keep_their_type_and_their_words(owner: Owner) -> None:
    with pytest.raises(FileError, match="outside the allowed roots") as caught:
        owner.engine.prepare(owner.request(destination="/etc/a.h5"))
    assert str(owner.folder) in caught.value.accepted
    with pytest.raises(ConfigurationError, match="nonsense"):
        owner.engine.prepare(owner.request(sources=("nonsense",)))
    owner.engine.prepare(owner.request())
    with pytest.raises(StateError, match="ARMED"):
        owner.engine.prepare(owner.request("b.h5"))
    owner.engine.abort("enough")
    assert owner.engine.wait_idle(WAIT_S)


@pytest.mark.parametrize("engines", [1, 2])
@pytest.mark.lesson(26)
def test_an_engine_that_is_killed_is_a_fault_and_the_next_run_gets_a_new_one(owner: Owner, engines: int) -> None:
    owner.engine.prepare(owner.request(expected_frames=100, engines=engines))
    owner.send(count=5, end=False)
    owner.wait_written(5)
    first = owner.engine.pid
    assert first is not None
    writers = children(first)
    os.kill(first, signal.SIGKILL)
    owner.wait(lambda: owner.told and owner.told[-1].state is AcquisitionState.FAULT)
    assert "killed by signal 9" in owner.told[-1].message
    assert owner.told[-1].run_id == "a.h5"
    receipt = owner.engine.last_receipt
    assert receipt is not None
    assert receipt is owner.told[-1].receipt
    assert (receipt.verdict, receipt.run_id, receipt.frames_expected) == (Verdict.FAILED, "a.h5", 100)
    assert (receipt.frames_received, receipt.frames_written) == (5, 5)
    assert receipt.reasons[0] == "the receiver engine was killed by signal 9"
    assert receipt.file == str(owner.folder / ".a.h5.part")
    assert receipt.settings["destination"] == str(owner.folder / "a.h5")
    box = decoded((owner.folder / "a.blackbox.jsonl").read_bytes().splitlines())  # what the dead one had noted
    assert [box[0]["what"], box[-1]["what"]] == ["prepared", "receipt"]
    assert {"header", "state"} <= {record["what"] for record in box}
    assert box[-1]["receipt"]["verdict"] == "FAILED"
    with pytest.raises(EngineError):
        owner.engine.expect("1", 2)
    owner.engine.prepare(owner.request("b.h5", engines=engines))
    assert owner.engine.pid != first
    pause = threading.Event()
    for pid in writers:  # whoever owns orphans may be slow to bury them
        for _ in range(1000):
            if not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes():
                break
            pause.wait(0.01)
        else:
            raise AssertionError(f"writer process {pid} outlived its engine")
    owner.send()
    assert owner.engine.wait_idle(WAIT_S)
    assert owner.engine.last_receipt is not None
    assert owner.engine.last_receipt.verdict is Verdict.COMPLETE


@pytest.mark.parametrize("engines", [1, 2])
@pytest.mark.parametrize("how", ["term", "close"])
@pytest.mark.lesson(13)
def test_an_engine_told_to_go_finishes_its_file(owner: Owner, how: str, engines: int) -> None:
    owner.engine.prepare(owner.request(expected_frames=100, engines=engines))
    owner.send(count=5, end=False)
    owner.wait_written(5)
    pid = owner.engine.pid
    assert pid is not None
    if how == "term":
        os.kill(pid, signal.SIGTERM)
        owner.wait(lambda: any("ended with status 0" in told.message for told in owner.told))
    else:
        owner.engine.close()
    result = check_file(owner.folder / "a.h5")
    assert result.problems == []
    assert result.frames_valid == 5
    assert result.verdict is Verdict.ABORTED


def test_stop_abort_reset_and_close_are_harmless_without_a_process(tmp_path: Path) -> None:
    engine = EngineClient("never started")
    engine.stop()
    engine.abort("nothing")
    engine.reset()
    assert engine.counters() == Counters()
    assert not engine.is_alive
    engine.close()
    engine.close()


def test_reset_leaves_the_fault_of_a_dead_engine(owner: Owner) -> None:
    owner.engine.start()
    owner.engine.kill()
    owner.wait(lambda: owner.told and owner.told[-1].state is AcquisitionState.FAULT)
    owner.engine.reset()
    assert owner.engine.state is AcquisitionState.IDLE


def test_the_engine_writes_scan_masters_also_when_the_last_one_has_died(owner: Owner) -> None:
    owner.engine.start()
    master, roots = ScanMaster(path=str(owner.folder / "scan.h5"), report="{}"), (str(owner.folder),)
    owner.engine.link(master, roots)
    with pytest.raises(FileError, match=r"scan\.h5.*the file exists"):
        owner.engine.link(master, roots)
    owner.engine.kill()
    assert owner.engine.wait_gone(WAIT_S)
    owner.engine.link(msgspec.structs.replace(master, overwrite=True), roots)
    assert sorted(path.name for path in owner.folder.iterdir()) == [
        "scan.h5", "scan.old1.h5", "scan.report.json", "scan.report.old1.json",
    ]  # fmt: skip


@pytest.mark.lesson(9)
def test_a_failed_run_leaves_fault_by_reset_or_by_the_next_run(owner: Owner) -> None:
    owner.engine.prepare(owner.request(start_timeout_s=0.1))
    assert owner.engine.wait_idle(WAIT_S)
    assert owner.engine.state is AcquisitionState.FAULT
    assert "no start message" in owner.engine.message
    owner.engine.reset()
    owner.wait(lambda: owner.engine.state is AcquisitionState.IDLE)


def test_whoever_has_killed_an_engine_at_rest_can_wait_for_its_death_and_start_another(owner: Owner) -> None:
    owner.engine.start()
    first = owner.engine.pid
    assert not owner.engine.wait_gone(0.05)
    owner.engine.kill()
    assert owner.engine.wait_gone(WAIT_S)
    owner.engine.start()
    assert owner.engine.is_alive
    assert owner.engine.pid != first


def test_a_count_that_no_cell_holds_freezes_no_counters() -> None:
    handle = create_counters_file()
    writer, reader = CountersMemory(handle), CountersMemory(handle)
    os.close(handle)
    for received in (1, 2):
        writer.write(Counters(frames_received=received, frames_expected=2**70))
        seen = reader.read()
        assert (seen.frames_received, seen.frames_expected) == (received, 2**63 - 1)


def test_counters_are_read_whole_while_they_are_written() -> None:
    handle = create_counters_file()
    writer, reader = CountersMemory(handle), CountersMemory(handle)
    os.close(handle)
    done = threading.Event()

    def write() -> None:
        number = 0
        while not done.is_set():
            number += 1
            writer.write(Counters(frames_received=number, frames_written=number, bytes_received=number))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(3000):
            seen = reader.read()
            assert seen.frames_received == seen.frames_written == seen.bytes_received
    finally:
        done.set()
        thread.join()


def test_an_unknown_error_from_the_other_side_is_not_lost() -> None:
    error = ErrorText("SomethingNew", "do it", "it", "no", "yes").to_error()
    assert isinstance(error, EngineError)
    assert str(error) == "do it (of it): no. Accepted: yes"


def test_a_prepare_that_was_given_up_is_taken_back_when_the_engine_answers_again(owner: Owner) -> None:
    owner.engine.start()
    pid = owner.engine.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(EngineError, match=r"no answer in 0\.2 s"):
            owner.engine.prepare(owner.request(connect_timeout_s=0.0), timeout_s=0.2)
    finally:
        os.kill(pid, signal.SIGCONT)
    with owner.changed:
        assert owner.changed.wait_for(lambda: any(told.receipt for told in owner.told), WAIT_S)
    receipt = owner.engine.last_receipt
    assert receipt is not None
    assert receipt.reasons[0] == "the request to prepare was given up"
    assert list(owner.folder.iterdir()) == []
    owner.engine.prepare(owner.request("b.h5"))


def test_what_was_decided_and_why_is_a_line_of_the_log(owner: Owner, capfd: pytest.CaptureFixture[str]) -> None:
    owner.engine.prepare(owner.request())
    owner.send()
    assert owner.engine.wait_idle(WAIT_S)
    lines = [line for line in capfd.readouterr().err.splitlines() if " decided: " in line]
    assert "backend: direct (the number of frames is not known)" in lines[0]
    assert "; pool: " in lines[-1]


@pytest.mark.lesson(26)
def test_a_listener_that_raises_does_not_make_the_owner_deaf(owner: Owner, caplog: pytest.LogCaptureFixture) -> None:
    def raises(told: Told) -> None:
        raise ValueError("a panel of mine is broken")

    owner.engine._on_told = raises
    owner.engine.prepare(owner.request())
    owner.send()
    assert owner.engine.wait_idle(WAIT_S)
    assert owner.engine.last_receipt is not None
    assert owner.engine.last_receipt.verdict is Verdict.COMPLETE
    assert "a panel of mine is broken" in caplog.text


NONSENSE_ENGINE = """#!{python}
import socket, sys, json, time
control = socket.socket(fileno=int(sys.argv[sys.argv.index("--control-fd") + 1]))
for line in control.makefile("rb"):
    ask = json.loads(line)
    control.sendall(json.dumps({{"type": "answer", "id": ask["id"]}}).encode() + b"\\n")
    if ask["verb"] == "prepare":
        control.sendall(b'{{"type":"told","state":"ARMED","run_id":"a.h5"}}\\n')
        control.sendall({line!r})
"""


@pytest.mark.lesson(25)
@pytest.mark.parametrize(
    "line", [b"not JSON\n", b'{"type":"told","state":"NO SUCH"}\n', b'{"type":"told"}\n', b"\xff\n"]
)
def test_an_engine_that_talks_nonsense_is_a_fault_and_is_replaced(
    owner: Owner, line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = owner.folder / "engine"
    program.write_text(NONSENSE_ENGINE.format(python=sys.executable, line=line))
    program.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(program))
        owner.engine.prepare(owner.request())
    owner.wait(lambda: owner.told and owner.told[-1].state is AcquisitionState.FAULT)
    assert "said what cannot be understood" in owner.told[-1].message
    receipt = owner.engine.last_receipt
    assert receipt is not None
    assert (receipt.verdict, receipt.run_id) == (Verdict.FAILED, "a.h5")
    owner.engine.prepare(owner.request("b.h5"))
    owner.send()
    assert owner.engine.wait_idle(WAIT_S)
    assert owner.engine.last_receipt.verdict is Verdict.COMPLETE


def test_an_engine_that_dies_without_a_run_leaves_no_receipt(owner: Owner) -> None:
    owner.engine.start()
    owner.engine.kill()
    owner.wait(lambda: owner.told and owner.told[-1].state is AcquisitionState.FAULT)
    assert owner.engine.last_receipt is None
