"""Writer processes that are slow, hang, meet a full disk, or are asked for the impossible."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import zmq

from dealing import PAUSE, crew, pids, recovered
from maxdaq_tango.errors import ConfigurationError, FileError
from maxdaq_tango.files import check_file
from maxdaq_tango.model import (
    AcquisitionState,
    Compression,
    FileBackend,
    Verdict,
)
from maxdaq_tango.pipeline import writers
from receiving import WAIT_S, Harness, stored


class TestSlow:
    def test_a_full_arena_makes_the_sender_wait_and_loses_nothing(self, harness: Harness, large: Any) -> None:
        sender = harness.sender = harness.add_sender()
        sender.socket.sndhwm, sender.socket.sndtimeo = 1, 500
        sender.socket.bind("tcp://127.0.0.1:*")  # connections get the limit of the moment of the bind
        endpoint = sender.socket.getsockopt_string(zmq.LAST_ENDPOINT)
        how: dict[str, Any] = {"memory_bytes": 16 << 20, "compression": Compression.NONE, "sources": (endpoint,)}
        harness.prepare(engines=2, frames_per_file=8, **how)
        sender.header()
        large(0)
        harness.wait_written(1)
        for writer in crew(harness):
            os.kill(writer.pid, signal.SIGSTOP)
        sent = 1
        while sent < 60:
            message = sender.number
            try:
                large(sent)
            except zmq.Again:
                sender.number = message
                break
            sent += 1
        assert sent < 60
        counters = harness.counters[-1]
        assert counters.queue_full_count > 0
        assert counters.queue_bytes <= counters.queue_limit_bytes + 2 * 2_100_000
        assert time.monotonic_ns() - counters.updated_ns < 2e9  # it still tells how it stands
        for writer in crew(harness):
            os.kill(writer.pid, signal.SIGCONT)
        sender.socket.sndtimeo = int(WAIT_S * 1000)
        for number in range(sent, 60):
            large(number)
        sender.end()
        receipt = harness.receipt()
        assert (receipt.verdict, receipt.frames_written) == (Verdict.COMPLETE, 60)
        assert [int(image[5, 5]) for image in stored(receipt)] == list(range(60))

    def test_one_that_hangs_is_killed_and_told(
        self, harness: Harness, large: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        harness.prepare(engines=2, frames_per_file=5, expected_frames=20, compression=Compression.NONE)
        harness.sender.header()
        large(0)
        harness.wait_written(1)
        monkeypatch.setattr(writers, "HANG_S", 0.5)
        first = crew(harness)[0]
        os.kill(first.pid, signal.SIGSTOP)
        large(1)
        receipt = harness.receipt()
        assert receipt.verdict is Verdict.FAILED
        assert receipt.frames_lost == (1,)
        assert "writer 1" in receipt.reasons[0]
        assert "no sign of life" in receipt.reasons[0]
        assert not first.is_alive

    def test_one_that_has_nothing_to_do_is_not_taken_for_one_that_hangs(
        self, harness: Harness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(writers, "HANG_S", 1.0)  # a busy machine takes half of that for a frame
        harness.prepare(engines=2, frames_per_file=1)
        PAUSE.wait(1.2)
        harness.sender.header()
        harness.sender.image(0)
        PAUSE.wait(1.2)
        harness.sender.image(1)
        harness.sender.end()
        assert harness.receipt().verdict is Verdict.COMPLETE


FULL_DISK = """
import os
from maxdaq_tango.files.writer import SeriesFile
write = SeriesFile.write

def write_until_full(file, row, *rest):
    if row == 40 and file.destination.final.name == "a_data_000002.h5":
        full = os.open("/dev/full", os.O_RDWR)
        slabs, backend = getattr(file._backend, "_slabs", None), file._backend
        for handle in [slabs._handle, slabs._plain] if slabs else [backend._file.id.get_vfd_handle()]:
            os.dup2(full, handle)
    return write(file, row, *rest)

SeriesFile.write = write_until_full
"""


class TestWrong:
    @pytest.mark.parametrize("backend", [FileBackend.SWMR, FileBackend.DIRECT])
    def test_a_full_disk_is_told_with_errno_and_path(
        self, harness: Harness, backend: FileBackend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "python").mkdir()
        (tmp_path / "python" / "sitecustomize.py").write_text(FULL_DISK)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "python"), *sys.path]))
        harness.prepare(
            engines=2,
            frames_per_file=100,
            expected_frames=1000,
            backend=backend,
            compression=Compression.NONE,
            memory_bytes=16 << 20,
        )
        harness.sender.header()
        for number in range(140):
            harness.sender.image(number)
        harness.wait_written(140)
        PAUSE.wait(1.2)  # in the file by then
        harness.sender.image(140)
        harness.sender.socket.sndtimeo = 0
        with contextlib.suppress(zmq.Again):  # the run may be over by now, and nobody there to take them
            for number in range(141, 150):
                harness.sender.image(number)
        harness.sender.socket.sndtimeo = int(WAIT_S * 1000)
        receipt = harness.receipt()
        assert receipt.verdict is Verdict.FAILED
        assert "No space left on device (errno 28)" in receipt.reasons[0]
        assert ".a_data_000002.h5.part" in receipt.reasons[0]
        assert len(set(receipt.reasons)) == len(receipt.reasons)
        assert receipt.frames_received == receipt.frames_written + len(receipt.frames_lost)
        assert harness.receiver.state is AcquisitionState.FAULT
        before = pids(harness)
        harness.prepare(destination=str(harness.folder / "b.h5"), engines=2, frames_per_file=100)
        harness.sender.series(300)
        assert harness.receipt().verdict is Verdict.COMPLETE
        assert pids(harness) == before
        assert check_file(harness.folder / "b.h5").problems == []
        if backend is FileBackend.DIRECT:
            assert recovered(harness.folder) >= set(range(140))

    def test_a_data_file_that_somebody_made_in_mid_run(self, harness: Harness) -> None:
        harness.prepare(engines=2, frames_per_file=2, expected_frames=10)
        harness.sender.header()
        harness.sender.image(0)
        harness.wait_written(1)
        part = harness.folder / ".a_data_000003.h5.part"
        part.write_text("somebody's")
        for number in range(1, 6):
            harness.sender.image(number)
        receipt = harness.receipt()
        assert receipt.verdict is Verdict.FAILED
        assert "an unfinished file of that name exists" in receipt.reasons[0]
        assert part.read_text() == "somebody's"

    def test_an_existing_data_file_refuses_the_run(self, harness: Harness) -> None:
        (harness.folder / "a_data_000002.h5").write_text("precious")
        with pytest.raises(FileError, match="the data file exists"):
            harness.prepare(engines=2, frames_per_file=5, expected_frames=10)
        assert [path.name for path in harness.folder.iterdir()] == ["a_data_000002.h5"]

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ({"engines": 0}, "0 engines.*1 to 16"),
            ({"engines": 17}, "17 engines"),
            ({"frames_per_file": -1}, "-1 frames a file"),
            ({"frames_per_file": 1_000_001}, "to 1000000"),
        ],
    )
    def test_numbers_that_make_no_sense(self, harness: Harness, change: dict[str, int], named: str) -> None:
        with pytest.raises(ConfigurationError, match=named):
            harness.prepare(**change)
        assert crew(harness) == []
