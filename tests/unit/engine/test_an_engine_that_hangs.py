"""An engine that hangs, also where nothing can kill it: FAULT within a bounded time, and another for the next run."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine_owner import WAIT_S, Owner
from maxdaq_tango.errors import EngineError
from maxdaq_tango.files import check_file
from maxdaq_tango.model import AcquisitionState, Verdict
from maxdaq_tango.pipeline.unkillable import end_within, is_set_aside, reap


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    owner = Owner(tmp_path)
    owner.engine._hang_s, owner.engine._kill_s = 0.5, 0.3
    yield owner
    owner.close()


class Frozen:
    """An engine in the middle of a run that hears nothing, and that no signal of its owner reaches: as in state D."""

    def __init__(self, owner: Owner, *, dies: bool) -> None:
        owner.engine.prepare(owner.request(expected_frames=100))
        owner.send(count=5, end=False)
        owner.wait_written(5)
        process = owner.engine._process
        assert process is not None
        self.process = process
        os.kill(process.pid, signal.SIGSTOP)
        if not dies:
            process.kill = process.send_signal = lambda *_: None  # type: ignore[assignment, method-assign]

    def thaw(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        pause = threading.Event()
        for _ in range(1000):
            if not reap():
                return
            pause.wait(0.01)
        raise AssertionError(f"{self.process.pid} was not reaped")


def told_fault(owner: Owner) -> str:
    owner.wait(lambda: owner.told and owner.told[-1].state is AcquisitionState.FAULT)
    return owner.told[-1].message


def takes_a_run(owner: Owner) -> None:
    owner.socket.close()
    owner.bind()  # the connection of a frozen process takes messages until its buffers are full
    owner.engine.prepare(owner.request("b.h5"))
    owner.send()
    assert owner.engine.wait_idle(WAIT_S)
    receipt = owner.engine.last_receipt
    assert receipt is not None
    assert receipt.verdict is Verdict.COMPLETE
    assert check_file(receipt.file).problems == []


@pytest.mark.lesson(27)
def test_one_that_nothing_can_kill_is_a_fault_and_is_replaced_and_reaped_later(owner: Owner) -> None:
    frozen = Frozen(owner, dies=False)
    try:
        owner.engine.kill()
        assert "was killed and does not die: a file system may not answer it" in told_fault(owner)
        receipt = owner.told[-1].receipt
        assert receipt is not None
        assert (receipt.verdict, receipt.frames_written) == (Verdict.FAILED, 5)
        assert receipt.file == str(owner.folder / ".a.h5.part")
        assert not owner.engine.is_alive
        assert is_set_aside(frozen.process)
        takes_a_run(owner)
        assert owner.engine.pid != frozen.process.pid
        assert reap() == [frozen.process.pid]
    finally:
        frozen.thaw()


def test_the_next_run_waits_for_no_death(owner: Owner) -> None:
    """Nobody was told of a fault yet."""
    frozen = Frozen(owner, dies=False)
    try:
        owner.engine._kill_s = 0.1
        owner.engine.kill()
        takes_a_run(owner)
    finally:
        frozen.thaw()


def test_closing_waits_a_bounded_time(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maxdaq_tango.engine.client.END_TIMEOUT_S", 0.2)
    monkeypatch.setattr("maxdaq_tango.engine.client.ANSWER_TIMEOUT_S", 0.2)
    frozen = Frozen(owner, dies=False)
    try:
        began = time.monotonic()
        owner.engine.close()
        assert time.monotonic() - began < 10
        assert is_set_aside(frozen.process)
        owner.engine.close()
    finally:
        frozen.thaw()


def test_one_that_does_not_end_an_aborted_run_is_killed(owner: Owner) -> None:
    frozen = Frozen(owner, dies=True)
    with pytest.raises(EngineError, match="no answer in"):
        owner.engine.abort("enough", timeout_s=0.1)
    assert told_fault(owner) == "the receiver engine gave no sign of life for 0.5 s and was killed"
    assert not is_set_aside(frozen.process)
    takes_a_run(owner)


def test_one_that_owes_an_answer_for_long_is_killed(owner: Owner) -> None:
    owner.engine.start()
    pid = owner.engine.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(EngineError, match="no answer in"):
        owner.engine.prepare(owner.request(connect_timeout_s=0.0), timeout_s=0.1)
    assert "gave no sign of life" in told_fault(owner)
    takes_a_run(owner)


def can_freeze() -> bool:
    """Root, who may mount a file system of its own in a mount namespace of its own."""
    tools = ("unshare", "fsfreeze", "mkfs.ext4")
    if os.geteuid() != 0 or any(shutil.which(tool) is None for tool in tools):
        return False
    script = (
        "cd $(mktemp -d) && mkdir disk && truncate -s 8M image && mkfs.ext4 -q -F image && mount -o loop image disk"
    )
    script += " && umount disk; code=$?; rm -rf $PWD; exit $code"
    return subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, check=False).returncode == 0


@pytest.mark.lesson(27)
def test_on_a_disk_that_is_frozen_the_device_hears_of_it_and_the_next_run_is_taken(tmp_path: Path) -> None:
    if not can_freeze():
        pytest.skip("nobody but root may freeze a file system, and not everywhere")
    (tmp_path / "disk").mkdir()
    (tmp_path / "healthy").mkdir()
    program = shlex.join([sys.executable, str(Path(__file__).parents[2] / "frozen_disk.py"), "disk", "healthy"])
    script = "truncate -s 40M image && mkfs.ext4 -q -F -m 0 image && mount -o loop image disk || exit 1\n"
    script += f"timeout 80 {program}; code=$?; fsfreeze -u disk 2> /dev/null; umount disk; exit $code"
    command = ["unshare", "-m", "sh", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["frozen"]
    assert told["fault_s"] < 10
    assert told["fault"] == "the receiver engine was killed and does not die: a file system may not answer it"
    assert (told["idle"], told["another"], told["next"], told["unkillable"]) == (True, True, "COMPLETE", True)
    assert told["left"] == []
    assert told["recovered"] == ["", True, []]


def test_a_process_that_ends_or_can_be_killed_is_not_set_aside() -> None:
    ends, sleeps = subprocess.Popen(["true"]), subprocess.Popen(["sleep", "600"])
    assert end_within(ends, 10, 0) == 0
    assert end_within(sleeps, 0, 10) == -signal.SIGKILL
    assert not is_set_aside(ends)
    assert reap() == []
