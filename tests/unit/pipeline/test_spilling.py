"""A destination that takes no data: what follows goes to the spill directory, and home when the series is over."""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401
import msgspec
import numpy as np
import pytest

from dealing import crew, is_running, wait_for
from full_disk import FRAMES, can_mount
from maxdaq_tango.errors import FileError
from maxdaq_tango.files import (
    bring_all_home,
    check_file,
    find_parts,
    read_manifest,
    read_receipt,
    recover_found,
)
from maxdaq_tango.model import AcquisitionState, Compression, FileBackend, Receipt, Verdict
from maxdaq_tango.pipeline import writers
from maxdaq_tango.pipeline.spilling import SPILL_AFTER_S
from receiving import Harness, pixels, stored

PROGRAM = Path(__file__).parents[2] / "spilling_disks.py"
HOW: dict[str, Any] = {"frames_per_file": 4, "compression": Compression.NONE}


@pytest.fixture
def spill(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spill")


@pytest.fixture(autouse=True)
def going_on(harness: Harness) -> Iterator[None]:
    """Whoever was stopped by a test that failed goes on: its receiver would wait for long."""
    yield
    for writer in crew(harness):
        if writer.is_alive:
            os.kill(writer.pid, signal.SIGCONT)


def send(harness: Harness, first: int, last: int) -> None:
    for number in range(first, last):
        harness.sender.image(number)


def stall(harness: Harness, first: int) -> int:
    """The process that writes at home stops as if its disk did; it has a frame, and is silent for long enough."""
    harness.wait_written(first)
    home = crew(harness)[0]
    os.kill(home.pid, signal.SIGSTOP)
    send(harness, first, first + 1)
    wait_for(lambda: home.silent_s > SPILL_AFTER_S)
    return home.pid


def spilled_series(harness: Harness, spill: Path, **how: Any) -> Receipt:
    """30 frames in 8 data files: the home is stopped from frame 5 to 20, so files 3, 4 and 5 are spilled."""
    harness.prepare(spill_directory=str(spill), expected_frames=30, **{**HOW, **how})
    harness.sender.header()
    send(harness, 0, 5)
    home = stall(harness, 5)
    send(harness, 6, 20)
    harness.wait_written(5 + 12)
    os.kill(home, signal.SIGCONT)
    harness.wait_written(20)
    send(harness, 20, 30)
    harness.sender.end()
    return harness.receipt()


@pytest.mark.parametrize(
    ("backend", "compression"), [(FileBackend.SWMR, Compression.NONE), (FileBackend.DIRECT, Compression.BSLZ4)]
)
def test_blocks_that_follow_a_stall_are_spilled_and_come_home(
    harness: Harness, spill: Path, backend: FileBackend, compression: Compression
) -> None:
    receipt = spilled_series(harness, spill, backend=backend, compression=compression)
    assert receipt.verdict is Verdict.COMPLETE
    assert receipt.frames_written == 30
    assert receipt.decisions["spill"].startswith(f"data files 3-5 in {spill}/a.")
    assert ": the destination has taken nothing for " in receipt.decisions["spill"]
    (reason,) = receipt.reasons
    assert reason.startswith("3 data files were put into the spill directory (data files 3-5 in ")
    assert reason.endswith(f"{harness.folder}/a.h5 appears when they have been moved there, and is "
                           f"{harness.folder}/.a.h5.part until then")  # fmt: skip
    messages = [report.message for report in harness.reports]
    begins = [place for place, message in enumerate(messages) if "Data files go to the spill directory" in message]
    assert len(begins) == 1
    assert "spill" not in messages[begins[0] + 1]
    final = harness.folder / "a.h5"
    assert receipt.file == str(final)
    assert not final.exists()
    assert [Path(path).name for path in receipt.data_files_spilled] == [
        f".a_data_{number:06d}.h5.part" for number in (3, 4, 5)
    ]
    assert all(Path(path).is_relative_to(spill) for path in receipt.data_files_spilled)
    (told,) = bring_all_home(spill)
    assert (told.master, told.moved, told.left, told.problem) == (str(final), 3, 0, "")
    assert np.array_equal(stored(receipt), [pixels(number) for number in range(30)])
    assert check_file(final).problems == []
    assert read_receipt(final) == msgspec.json.decode(msgspec.json.encode(receipt), type=Receipt)
    assert read_manifest(final) is not None
    assert list(spill.iterdir()) == []
    assert sorted(path.name for path in harness.folder.iterdir()) == sorted(
        ["a.h5", "a.manifest.json", *receipt.data_files]
    )


class TestStalled:
    def test_frames_of_a_block_that_is_begun_wait_and_those_that_follow_do_not(
        self, harness: Harness, spill: Path
    ) -> None:
        """However fast they come: a block is begun only where all of it has room in memory."""
        rows, count = 200, 1600
        harness.prepare(
            spill_directory=str(spill), expected_frames=count, memory_bytes=16 << 20, frames_per_file=rows,
            compression=Compression.NONE,
        )  # fmt: skip
        harness.sender.header()
        send(harness, 0, 1)
        harness.wait_written(1)
        home = crew(harness)[0]
        os.kill(home.pid, signal.SIGSTOP)
        send(harness, 1, count - 1)  # the last one ends the series
        blocks = home.arena_nbytes // (2400 + 64) // rows
        assert blocks == 4
        wait_for(lambda: harness.counters[-1].frames_written >= count - 1 - rows * blocks, 30)
        assert home.under_way % rows == rows - 1  # all of each block that it has; a frame was written before
        os.kill(home.pid, signal.SIGCONT)
        send(harness, count - 1, count)
        harness.sender.end()
        receipt = harness.receipt()
        assert (receipt.verdict, receipt.frames_written) == (Verdict.COMPLETE, count)
        assert [told.problem for told in bring_all_home(spill)] == [""]
        assert check_file(receipt.file).problems == []
        assert np.array_equal(stored(receipt), [pixels(number) for number in range(count)])

    def test_a_block_that_does_not_fit_into_memory_is_waited_for_and_told(self, harness: Harness, spill: Path) -> None:
        harness.prepare(
            spill_directory=str(spill), expected_frames=2000, memory_bytes=16 << 20, frames_per_file=1500,
            compression=Compression.NONE,
        )  # fmt: skip
        harness.sender.header()
        send(harness, 0, 1)
        home = stall(harness, 1)
        send(harness, 2, 2000)
        harness.sender.end()
        wait_for(lambda: harness.counters[-1].frames_received > 500)
        assert harness.counters[-1].frames_written == 1
        os.kill(home, signal.SIGCONT)
        receipt = harness.receipt()
        assert (receipt.verdict, receipt.frames_written) == (Verdict.COMPLETE, 2000)
        assert receipt.decisions["blocks"] == (
            "1500 frames a file (asked for; more than 436 do not fit into memory when the destination stalls)"
        )

    def test_by_itself_a_file_is_what_fits_into_memory_when_it_stalls(self, harness: Harness, spill: Path) -> None:
        harness.prepare(spill_directory=str(spill), memory_bytes=16 << 20, compression=Compression.NONE)
        harness.sender.series(5)
        receipt = harness.receipt()
        assert receipt.verdict is Verdict.COMPLETE
        assert receipt.decisions["blocks"] == (
            "200 frames a file (about 0.48 MB each, so that one that stalls fits into memory)"
        )
        assert receipt.decisions["backend"].endswith("by 1 processes and one for the spill directory")
        assert "spill" not in receipt.decisions
        assert check_file(receipt.file).problems == []
        assert list(spill.iterdir()) == []

    def test_of_several_processes_one_that_stalls_stops_no_other(self, harness: Harness, spill: Path) -> None:
        harness.prepare(spill_directory=str(spill), expected_frames=48, engines=2, **HOW)
        assert len(crew(harness)) == 3
        harness.sender.header()
        send(harness, 0, 8)
        home = stall(harness, 8)  # of blocks 0, 2, 4 ...
        send(harness, 9, 47)
        harness.wait_written(47 - 4)
        os.kill(home, signal.SIGCONT)
        send(harness, 47, 48)
        harness.sender.end()
        receipt = harness.receipt()
        assert receipt.verdict is Verdict.COMPLETE
        assert [int(path[-14:-8]) for path in receipt.data_files_spilled] == [5, 7, 9, 11]
        assert [told.problem for told in bring_all_home(spill)] == [""]
        assert np.array_equal(stored(receipt), [pixels(number) for number in range(48)])
        assert check_file(receipt.file).problems == []

    def test_abort_ends_a_run_whose_newest_blocks_are_spilled(self, harness: Harness, spill: Path) -> None:
        harness.prepare(spill_directory=str(spill), expected_frames=1000, **HOW)
        harness.sender.header()
        send(harness, 0, 5)
        home = stall(harness, 5)
        send(harness, 6, 14)
        harness.wait_written(5 + 6)
        harness.receiver.abort("enough")
        os.kill(home, signal.SIGCONT)
        receipt = harness.receipt()
        assert (receipt.verdict, receipt.frames_written) == (Verdict.ABORTED, 14)
        assert [told.problem for told in bring_all_home(spill)] == [""]
        assert check_file(receipt.file).problems == []
        assert np.array_equal(stored(receipt), [pixels(number) for number in range(14)])

    def test_an_existing_file_is_moved_aside_when_the_series_is_over(self, harness: Harness, spill: Path) -> None:
        harness.prepare(frames_per_file=4)
        harness.sender.series(9)
        old = harness.receipt()
        receipt = spilled_series(harness, spill, overwrite=True)
        assert [told.problem for told in bring_all_home(spill)] == [""]
        assert check_file(receipt.file).problems == []
        aside = harness.folder / "a.old1"
        assert sorted(path.name for path in aside.iterdir()) == sorted(["a.h5", "a.manifest.json", *old.data_files])


class TestGone:
    def test_a_spare_process_that_dies_fails_the_run_and_what_was_safe_can_be_recovered(
        self, harness: Harness, spill: Path
    ) -> None:
        harness.prepare(spill_directory=str(spill), expected_frames=100, backend=FileBackend.DIRECT, **HOW)
        harness.sender.header()
        send(harness, 0, 5)
        home = stall(harness, 5)
        send(harness, 6, 20)
        harness.wait_written(5 + 12)
        wait_for(lambda: crew(harness)[1].frames_safe == 12)
        os.kill(crew(harness)[1].pid, signal.SIGKILL)
        os.kill(home, signal.SIGCONT)
        receipt = harness.receipt()
        assert receipt.verdict is Verdict.FAILED
        assert "writer 2" in receipt.reasons[0]
        assert len(receipt.data_files_spilled) == 3
        assert any("unfinished data files are in" in reason for reason in receipt.reasons)
        (told,) = bring_all_home(spill)
        assert "was not finished" in told.note
        found = [one for one in recover_found(find_parts(spill)) if str(spill) in one.part]
        assert [(one.problem, one.frames) for one in found] == [("", 4)] * 3
        assert {one.master for one in found} == {str(harness.folder / "a_recovered.h5")}
        assert check_file(harness.folder / "a_recovered.h5").problems == []
        assert list(spill.iterdir()) == []

    def test_a_destination_that_stays_away_is_given_up_with_what_was_in_memory_for_it(
        self, harness: Harness, spill: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        harness.prepare(spill_directory=str(spill), expected_frames=100, **HOW)
        harness.sender.header()
        send(harness, 0, 5)
        home = stall(harness, 5)
        send(harness, 6, 20)
        harness.wait_written(5 + 12)
        monkeypatch.setattr(writers, "SPILL_HANG_S", 0.5)
        receipt = harness.receipt()
        assert receipt.verdict is Verdict.FAILED
        assert f"writer 1 (process {home})): it gave no sign of life for 0.5 s and was killed" in receipt.reasons[0]
        assert receipt.frames_lost == (5, 6, 7)
        assert receipt.frames_lost_at == {"writer": ((5, 7),)}
        assert (receipt.frames_written, len(receipt.data_files_spilled)) == (17, 3)
        found = [one for one in recover_found(find_parts(spill)) if str(spill) in one.part]
        assert [(one.problem, one.frames) for one in found] == [("", 4)] * 3
        assert all(Path(one.file).parent == harness.folder for one in found)

    def test_an_engine_that_is_killed_in_a_stall_leaves_every_frame_where_it_can_be_recovered(
        self, tmp_path: Path, spill: Path
    ) -> None:
        script = f"""
import os, signal, sys, time
sys.path.insert(0, {str(PROGRAM.parent)!r})
from pathlib import Path
from dealing import wait_for
from maxdaq_tango.model import Compression
from receiving import Harness
harness = Harness(Path({str(tmp_path)!r}))
harness.prepare(spill_directory={str(spill)!r}, expected_frames=100, frames_per_file=4, compression=Compression.NONE)
harness.sender.header()
for number in range(5):
    harness.sender.image(number)
harness.wait_written(5)
home, spare = harness.receiver._crew._writers
os.kill(home.pid, signal.SIGSTOP)
harness.sender.image(5)
wait_for(lambda: home.silent_s > 1)
for number in range(6, 20):
    harness.sender.image(number)
harness.wait_written(5 + 12)
print(home.pid, spare.pid, flush=True)
time.sleep(60)
"""
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as engine:
            assert engine.stdout is not None
            pids = [int(pid) for pid in engine.stdout.readline().split()]
            assert len(pids) == 2
            engine.kill()
        os.kill(pids[0], signal.SIGCONT)
        wait_for(lambda: not any(is_running(pid) for pid in pids))
        found = [one for folder in (tmp_path, spill) for one in recover_found(find_parts(folder))]
        assert [one.problem for one in found if one.problem] == []
        seen: list[int] = []
        for one in found:
            if not one.file or one.master:  # the master has their frames too
                continue
            assert check_file(one.file).problems == []
            with h5py.File(one.file) as file:
                group = file["entry/instrument/eiger"]
                for row in np.flatnonzero(group["daq/frame_valid"][...]):
                    number = int(group["sequence_number"][row])
                    assert np.array_equal(group["data"][row], pixels(number))
                    seen.append(number)
        assert sorted(seen) == list(range(20))
        assert all(Path(one.file).parent == tmp_path for one in found if one.file)
        assert not list(spill.rglob("*.h5*"))

    @pytest.mark.parametrize("path", ["spill", "/no/such/folder", __file__])
    def test_a_directory_that_cannot_be_used_refuses_the_run(self, harness: Harness, path: str) -> None:
        with pytest.raises(FileError, match="use the spill directory"):
            harness.prepare(spill_directory=path, **HOW)
        assert list(harness.folder.iterdir()) == []

    def test_a_directory_that_has_gone_in_the_run_is_not_made_again(self, harness: Harness, spill: Path) -> None:
        """It may be a file system that is not mounted any more."""
        harness.prepare(spill_directory=str(spill), expected_frames=100, **HOW)
        harness.sender.header()
        send(harness, 0, 5)
        home = stall(harness, 5)
        spill.rmdir()
        send(harness, 6, 9)
        wait_for(lambda: harness.receiver.state is not AcquisitionState.ACQUIRING)
        os.kill(home, signal.SIGCONT)
        receipt = harness.receipt()
        assert receipt.verdict is Verdict.FAILED
        assert f"use the spill directory '{spill}': there is no such folder" in receipt.reasons[0]
        assert receipt.frames_written == 8
        assert not spill.exists()


class TestDisks:
    """Real ones, where somebody may mount them."""

    @pytest.mark.parametrize(("backend", "engines"), [("direct", 1), ("swmr", 2)])
    def test_what_a_full_destination_does_not_take_is_spilled_and_comes_when_there_is_room(
        self, tmp_path: Path, backend: str, engines: int
    ) -> None:
        told = run_on("tmpfs", tmp_path, "full", "100m", backend, engines)
        assert (told["verdict"], told["written"], told["lost"], told["missing"]) == ("COMPLETE", FRAMES, 0, 0)
        assert "MB of room" in told["reasons"][0]
        assert told["spilled"] > 10
        assert not told["published before"]
        (problem,) = told["no room yet"]
        assert f"{tmp_path}/home has" in problem
        assert "MB of room" in problem
        assert told["moved"] == [[str(tmp_path / "home" / "a.h5"), "", ""]]
        assert (told["check"], told["right"], told["left"]) == ([], FRAMES, [])

    @pytest.mark.parametrize(("backend", "engines"), [("direct", 2), ("swmr", 1)])
    def test_a_full_spill_directory_is_the_end_with_errno_and_path(
        self, tmp_path: Path, backend: str, engines: int
    ) -> None:
        told = run_on("tmpfs", tmp_path, "full", "8m", backend, engines)
        assert told["verdict"] == "FAILED"
        assert f"{os.strerror(errno.ENOSPC)} (errno {errno.ENOSPC})" in told["reasons"][0]
        assert str(tmp_path / "spill") in told["reasons"][0]
        assert told["written"] + told["lost"] + told["missing"] == FRAMES
        assert told["check"] == []
        assert told["right" if "right" in told else "recovered"] == told["written"]

    @pytest.mark.parametrize("backend", ["direct", "swmr"])
    def test_a_destination_that_is_frozen_stops_nothing(self, tmp_path: Path, backend: str) -> None:
        told = run_on("ext4", tmp_path, "frozen", "100m", backend, 1)
        assert told["written while frozen"] > 0
        assert told["spilling"]
        assert (told["verdict"], told["written"], told["spilled"] > 10) == ("COMPLETE", FRAMES, True)
        assert told["moved"] == [[str(tmp_path / "home" / "a.h5"), "", ""]]
        assert (told["check"], told["right"], told["left"]) == ([], FRAMES, [])


MOUNT = {
    "tmpfs": "mount -t tmpfs -o size=24m none home",
    "ext4": "mkfs.ext4 -q -F -m 0 image && mount -o loop image home",
}


def run_on(disk: str, folder: Path, how: str, spill: str, backend: str, engines: int) -> dict[str, Any]:
    """What the program tells."""
    if not can_mount(disk) or (how == "frozen" and shutil.which("fsfreeze") is None):
        pytest.skip("nobody but root may mount a file system, and not everywhere")
    for name in ("home", "spill"):
        (folder / name).mkdir()
    mount = f"truncate -s 200M image && {MOUNT[disk]} && mount -t tmpfs -o size={spill} none spill"
    command = [sys.executable, str(PROGRAM), how, "home", "spill", backend, str(engines)]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", f"{mount} && {shlex.join(command)}"],
        cwd=folder, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told
