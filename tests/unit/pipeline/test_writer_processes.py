"""Several processes write one series: the whole of it, and what happens when one of them is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from dealing import PAUSE, crew, is_running, pids, recovered, wait_for
from maxdaq_tango.errors import PipelineError
from maxdaq_tango.files import BlockLayout, FrameTimes, check_file
from maxdaq_tango.model import (
    AcquisitionState,
    Compression,
    Encoding,
    FileBackend,
    FrameFormat,
    RunRequest,
    StreamFormat,
    Verdict,
)
from maxdaq_tango.pipeline.writer_crew import WriterCrew
from maxdaq_tango.pipeline.writer_protocol import CloseAll, GiveUp, Settle
from maxdaq_tango.pipeline.writers import Writer
from receiving import SHAPE, WAIT_S, Harness, pixels, send_v1, stored


class TestWhole:
    @pytest.mark.parametrize("backend", [FileBackend.SWMR, FileBackend.DIRECT])
    @pytest.mark.lesson(32)
    def test_the_blocks_of_a_series_are_dealt_in_turn(self, harness: Harness, backend: FileBackend) -> None:
        harness.prepare(engines=3, frames_per_file=4, backend=backend, expected_frames=30)
        harness.sender.series(30)
        receipt = harness.receipt()
        assert receipt.verdict is Verdict.COMPLETE, receipt.reasons
        assert receipt.data_files == tuple(f"a_data_{number:06d}.h5" for number in range(1, 9))
        assert np.array_equal(stored(receipt), [pixels(number) for number in range(30)])
        assert check_file(receipt.file).problems == []
        assert receipt.decisions["backend"] == f"{backend.value} (asked for), by 3 processes"
        assert receipt.decisions["blocks"] == "4 frames a file (asked for)"
        last = harness.counters[-1]
        assert (last.frames_written, last.bytes_written, last.queue_bytes) == (30, receipt.bytes_written, 0)
        assert len(set(pids(harness))) == 3

    @pytest.mark.parametrize("backend", [FileBackend.SWMR, FileBackend.DIRECT])
    def test_writers_tell_what_is_safe(self, harness: Harness, backend: FileBackend) -> None:
        harness.prepare(engines=2, frames_per_file=4, backend=backend, expected_frames=13)
        harness.sender.header()
        for number in range(12):
            harness.sender.image(number)
        wait_for(lambda: harness.counters[-1].frames_safe == 12)
        harness.sender.image(12)
        harness.sender.end()
        assert harness.receipt().verdict is Verdict.COMPLETE
        assert harness.counters[-1].frames_safe == 13

    def test_without_a_number_a_good_one_is_chosen_and_told(self, harness: Harness) -> None:
        harness.prepare(engines=2)
        harness.sender.series(5)
        receipt = harness.receipt()
        assert receipt.data_files == ("a_data_000001.h5",)
        assert receipt.decisions["blocks"].startswith("100000 frames a file (about ")
        assert check_file(receipt.file).problems == []

    def test_one_process_serves_run_after_run(self, harness: Harness) -> None:
        seen = []
        for name, engines in (("a.h5", 2), ("b.h5", 2), ("c.h5", 1), ("d.h5", 2)):
            harness.prepare(destination=str(harness.folder / name), engines=engines, frames_per_file=3)
            harness.sender.series(10)
            assert harness.receipt().verdict is Verdict.COMPLETE
            assert check_file(harness.folder / name).problems == []
            seen.append(pids(harness))
        assert seen == [seen[0]] * 4
        assert len(seen[0]) == 2

    def test_series_after_series_on_the_same_sockets(self, harness: Harness) -> None:
        """Each has files of its own, and a master stays a master."""
        harness.prepare(
            destination=str(harness.folder / "a_master.h5"), engines=2, frames_per_file=4, expected_frames=10,
            series_count=3,
        )  # fmt: skip
        for _ in range(3):
            harness.sender.series(10)
        with harness.states:
            assert harness.states.wait_for(lambda: sum(r.receipt is not None for r in harness.reports) == 3, WAIT_S)
        receipts = [report.receipt for report in harness.reports if report.receipt is not None]
        assert [Path(receipt.file).name for receipt in receipts] == ["a_master.h5", "a_2_master.h5", "a_3_master.h5"]
        assert [receipt.data_files[2] for receipt in receipts] == [f"a{n}_data_000003.h5" for n in ("", "_2", "_3")]
        for receipt in receipts:
            assert (receipt.verdict, check_file(receipt.file).problems) == (Verdict.COMPLETE, [])

    def test_one_engine_has_no_process_of_its_own(self, harness: Harness) -> None:
        harness.prepare(frames_per_file=3)
        harness.sender.series(10)
        assert check_file(harness.receipt().file).problems == []
        assert crew(harness) == []

    @pytest.mark.parametrize("first", [1, 5, 9])
    def test_senders_that_do_not_count_from_zero(self, harness: Harness, first: int) -> None:
        numbers = [number for number in range(first, first + 10) if number != first + 3]
        harness.prepare(stream_format=StreamFormat.DECTRIS_V1, engines=2, frames_per_file=3, expected_frames=10)
        send_v1(harness.sender, numbers)
        receipt = harness.receipt()
        data = stored(receipt)
        if receipt.first_frame_number == first:
            rows = [row for row in range(len(data)) if row != 3]
            assert receipt.frames_missing[0] == first + 3
            assert np.array_equal(data[rows], [pixels(first + row) for row in rows])
        assert check_file(receipt.file).problems == []

    def test_a_copy_of_a_frame_on_its_way_is_a_duplicate(self, harness: Harness) -> None:
        harness.prepare(stream_format=StreamFormat.DECTRIS_V1, engines=2, frames_per_file=2)
        send_v1(harness.sender, [0, 0, 1, 3, 2, 2, 4])
        receipt = harness.receipt()
        assert (receipt.verdict, receipt.frames_duplicate, receipt.frames_written) == (Verdict.COMPLETE, 2, 5)

    def test_a_frame_larger_than_the_shared_memory_passes_alone(self, harness: Harness, large: Any) -> None:
        harness.prepare(engines=3, frames_per_file=2, memory_bytes=16 << 20, compression=Compression.NONE)
        harness.sender.header()
        for number in range(7):
            large(number)
        harness.sender.end()
        receipt = harness.receipt()
        assert receipt.verdict is Verdict.COMPLETE, receipt.reasons
        assert [int(image[5, 5]) for image in stored(receipt)] == list(range(7))

    def test_a_whole_block_that_is_missing_is_blank(self, harness: Harness) -> None:
        harness.prepare(stream_format=StreamFormat.DECTRIS_V1, engines=2, frames_per_file=2, expected_frames=8)
        send_v1(harness.sender, [0, 1, 5, 6, 7])
        receipt = harness.receipt()
        assert receipt.frames_missing == (2, 3, 4)
        assert np.all(stored(receipt)[2:5] == 65535)
        assert len(receipt.data_files) == 4
        assert check_file(receipt.file).problems == []

    def test_live_only_and_an_early_abort_leave_nothing(self, harness: Harness) -> None:
        harness.prepare(engines=2, destination="")
        harness.sender.series(3)
        assert harness.receipt().verdict is Verdict.COMPLETE
        harness.prepare(engines=2, frames_per_file=5)
        harness.sender.header()
        harness.receiver.abort("undo")
        assert harness.receipt().file == ""
        assert list(harness.folder.iterdir()) == []

    def test_abort_keeps_what_came(self, harness: Harness) -> None:
        harness.prepare(engines=2, frames_per_file=4, expected_frames=100)
        harness.sender.header()
        for number in range(10):
            harness.sender.image(number)
        harness.wait_written(10)
        harness.receiver.abort("enough")
        receipt = harness.receipt()
        assert (receipt.verdict, receipt.frames_written, receipt.shape[0]) == (Verdict.ABORTED, 10, 10)
        assert len(receipt.data_files) == 3
        assert check_file(receipt.file).problems == []


class TestGone:
    def test_a_killed_process_is_named_and_what_was_safe_can_be_recovered(self, harness: Harness) -> None:
        harness.prepare(engines=2, frames_per_file=10, expected_frames=100, backend=FileBackend.DIRECT)
        harness.sender.header()
        for number in range(45):
            harness.sender.image(number)
        harness.wait_written(45)
        PAUSE.wait(1.5)  # a checkpoint is at most a second old
        killed = crew(harness)[0]
        os.kill(killed.pid, signal.SIGKILL)
        receipt = harness.receipt()
        assert receipt.verdict is Verdict.FAILED
        reason = receipt.reasons[0]
        assert len(set(receipt.reasons)) == len(receipt.reasons)
        assert f"writer 1 (process {killed.pid})): it was killed by signal 9" in reason
        assert "maxdaq recover" in reason
        assert harness.receiver.state is AcquisitionState.FAULT
        assert receipt.file.endswith(".a.h5.part")
        assert recovered(harness.folder) >= set(range(45))
        harness.prepare(destination=str(harness.folder / "b.h5"), engines=2, frames_per_file=10)
        harness.sender.series(30)
        assert harness.receipt().verdict is Verdict.COMPLETE
        assert killed.pid not in pids(harness)
        assert check_file(harness.folder / "b.h5").problems == []

    def test_frames_that_it_had_not_written_are_lost(self, harness: Harness, large: Any) -> None:
        harness.prepare(engines=2, frames_per_file=5, expected_frames=20, compression=Compression.NONE)
        harness.sender.header()
        large(0)
        harness.wait_written(1)
        first = crew(harness)[0]
        os.kill(first.pid, signal.SIGSTOP)
        for number in range(1, 7):
            large(number)
        wait_for(lambda: harness.counters[-1].frames_written == 3)  # 0, and those of the other process
        os.kill(first.pid, signal.SIGKILL)
        receipt = harness.receipt()
        assert receipt.verdict is Verdict.FAILED
        assert receipt.frames_written == 3
        assert receipt.frames_lost == (1, 2, 3, 4)

    def test_one_that_died_between_two_runs_is_replaced(self, harness: Harness) -> None:
        for name in ("a.h5", "b.h5"):
            harness.prepare(destination=str(harness.folder / name), engines=2, frames_per_file=3)
            harness.sender.series(10)
            assert harness.receipt().verdict is Verdict.COMPLETE
            pid = pids(harness)[1]
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: not crew(harness)[1].is_alive)

    def test_one_that_dies_before_the_first_frame_fails_the_run(self, harness: Harness) -> None:
        harness.prepare(engines=2, frames_per_file=3)
        for pid in pids(harness):
            os.kill(pid, signal.SIGKILL)
        harness.sender.series(10)
        receipt = harness.receipt()
        assert receipt.verdict is Verdict.FAILED
        assert "killed by signal 9" in receipt.reasons[0]
        assert list(harness.folder.iterdir()) == []

    def test_one_that_cannot_be_started_refuses_the_run(
        self, harness: Harness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", "/bin/false")
            with pytest.raises(PipelineError, match="start writer 1: it ended with status 1"):
                harness.prepare(engines=2)
            patch.setattr(sys, "executable", "/no/such/python")
            with pytest.raises(PipelineError, match="start writer"):
                harness.prepare(engines=2)
        assert list(harness.folder.iterdir()) == []
        harness.prepare(engines=2)
        harness.sender.series(3)
        assert harness.receipt().verdict is Verdict.COMPLETE

    def test_they_end_when_their_engine_is_killed_and_write_what_they_had(self, tmp_path: Path) -> None:
        script = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from maxdaq_tango.model import FileBackend
from receiving import Harness
harness = Harness(Path({str(tmp_path)!r}))
harness.prepare(engines=2, frames_per_file=10, expected_frames=100, backend=FileBackend.DIRECT)
harness.sender.header()
for number in range(45):
    harness.sender.image(number)
harness.wait_written(45)
print(*(writer.pid for writer in harness.receiver._crew._writers), flush=True)
time.sleep(60)
"""
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as engine:
            assert engine.stdout is not None
            found = [int(pid) for pid in engine.stdout.readline().split()]
            assert len(found) == 2
            engine.kill()
        wait_for(lambda: not any(is_running(pid) for pid in found))
        assert recovered(tmp_path) == set(range(45))

    def test_signals_of_a_terminal_or_a_supervisor_are_the_engines_business(self, harness: Harness) -> None:
        for name in ("first.h5", "second.h5"):  # who has written the first is up, and hears signals as it should
            harness.prepare(engines=2, frames_per_file=3, destination=str(harness.folder / name))
            if name == "second.h5":
                for pid in pids(harness):
                    os.kill(pid, signal.SIGINT)
                    os.kill(pid, signal.SIGTERM)
            harness.sender.series(10)
            assert harness.receipt().verdict is Verdict.COMPLETE


class TestTwice:
    def test_the_end_of_a_process_and_of_a_crew(self) -> None:
        processes = WriterCrew()
        (one, two) = processes.ready(2)
        assert processes.ready(2) == (one, two)
        assert processes.ready(1) == ()
        one.end()
        one.end()
        (fresh, same) = processes.ready(2)
        assert (fresh is not one, same is two) == (True, True)
        processes.close()
        processes.close()
        assert not any(is_running(writer.pid) for writer in (one, two, fresh))

    def test_shared_memory_is_given_back_when_it_is_not_needed(self, harness: Harness, large: Any) -> None:
        harness.prepare(engines=2, frames_per_file=5, memory_bytes=64 << 20)
        harness.sender.header()
        large(0)
        harness.sender.end()
        harness.receipt()
        assert [writer.arena_nbytes for writer in crew(harness)] == [8 << 20] * 2
        harness.prepare(destination="", engines=1)
        assert [writer.arena_nbytes for writer in crew(harness)] == [0, 0]


def test_the_request_is_one_engine_and_one_file_by_default() -> None:
    request = RunRequest(sources=("tcp://127.0.0.1:1",), stream_format=StreamFormat.STINS)
    assert (request.engines, request.frames_per_file) == (1, 0)


def test_files_that_were_settled_are_given_up_where_another_writer_failed(tmp_path: Path) -> None:
    layout = BlockLayout(
        folder=str(tmp_path), stem="a", suffix=".h5", detector="eiger", software="tests", fill=65535,
        format=FrameFormat(SHAPE, "uint16", Encoding.NONE), backend=FileBackend.DIRECT,
        block_rows=5, rows=5, slab_memory_bytes=4 << 20,
    )  # fmt: skip
    writer = Writer(1)
    try:
        writer.begin(layout, 0, 1, 1 << 20)
        writer.put(0, 0, [pixels(0).tobytes()], FrameTimes(), {})
        for message in (CloseAll(1, ()), Settle(np.array([True] + 4 * [False]).tobytes(), 0)):
            writer.request(message)
            writer.answer()
        (owner,) = tmp_path.glob(".*.owner")
        writer.request(GiveUp())
        writer.answer()
        assert not owner.exists()
        with h5py.File(next(tmp_path.glob(".a_data_*.part")), locking=False) as file:
            np.testing.assert_array_equal(file["entry/data/data"][0], pixels(0))
    finally:
        writer.end()
