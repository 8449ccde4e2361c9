"""The frame's road when something is wrong: refused runs, hostile streams, early ends, full and slow disks."""

from __future__ import annotations

import itertools
import socket
import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zmq

from maxdaq_tango.errors import ConfigurationError, FileError, PipelineError, StateError
from maxdaq_tango.files import SeriesFile, check_file, read_receipt
from maxdaq_tango.files.frame_log import read_log
from maxdaq_tango.files.slabs import SlabWriter
from maxdaq_tango.kernels.compression import compress_bslz4
from maxdaq_tango.model import (
    AcquisitionState,
    Compression,
    Counters,
    Encoding,
    FileBackend,
    FileNaming,
    Frame,
    FrameFormat,
    Verdict,
)
from maxdaq_tango.pipeline import Receiver, RunReport
from maxdaq_tango.wire import stins
from receiving import (
    SHAPE,
    WAIT_S,
    Harness,
    pixels,
    slow_writes,
    stored,
    wait_for_bytes,
)


class TestRefused:
    def test_an_existing_file(self, harness: Harness) -> None:
        (harness.folder / "a.h5").write_text("precious")
        with pytest.raises(FileError, match="the file exists"):
            harness.prepare()
        assert harness.receiver.state is AcquisitionState.IDLE
        assert (harness.folder / "a.h5").read_text() == "precious"
        harness.prepare(destination=str(harness.folder / "b.h5"))
        harness.sender.series(1)
        assert harness.receipt().verdict is Verdict.COMPLETE

    def test_a_second_run_while_one_is_on(self, harness: Harness) -> None:
        harness.prepare()
        with pytest.raises(StateError, match="another one is ARMED"):
            harness.receiver.prepare(harness.request(destination=str(harness.folder / "b.h5")))
        harness.sender.series(2)
        assert harness.receipt().verdict is Verdict.COMPLETE
        assert not (harness.folder / "b.h5").exists()

    def test_an_endpoint_that_is_none(self, harness: Harness) -> None:
        with pytest.raises(ConfigurationError, match="nonsense"):
            harness.prepare(sources=("nonsense",))
        assert list(harness.folder.iterdir()) == []

    def test_a_sender_that_is_not_there(self, harness: Harness) -> None:
        with socket.socket() as taken:  # so that nobody else gets the port meanwhile
            taken.bind(("127.0.0.1", 0))
            nobody = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
            with pytest.raises(PipelineError, match="nobody accepted the connection"):
                harness.prepare(sources=(nobody,), connect_timeout_s=0.2)
        assert list(harness.folder.iterdir()) == []
        assert harness.receiver.state is AcquisitionState.IDLE


class TestHostile:
    @pytest.mark.lesson(25)
    def test_garbage_between_frames_is_counted_and_passed_over(self, harness: Harness) -> None:
        harness.prepare()
        sender = harness.sender
        sender.header()
        sender.image(0)
        for parts in ([b"garbage"], [b""], [b"{}"], [b'{"htype":"image"}', b"x"], [b"\xff" * 100] * 5):
            sender.send(list(parts))
        sender.image(1)
        sender.end()
        receipt = harness.receipt()
        assert receipt.frames_corrupt == 5
        assert receipt.frames_written == 2
        assert receipt.verdict is Verdict.INCOMPLETE
        assert np.array_equal(stored(receipt), [pixels(0), pixels(1)])

    @pytest.mark.parametrize("encoding", [Encoding.NONE, Encoding.BSLZ4])
    @pytest.mark.lesson(11)
    def test_a_truncated_blob_is_corrupt_and_never_reaches_the_file(self, harness: Harness, encoding: Encoding) -> None:
        harness.prepare()
        sender = harness.sender
        sender.header()
        for number in range(3):
            blob = pixels(number).tobytes() if encoding is Encoding.NONE else compress_bslz4(pixels(number))
            sender.image(number, blob=blob[:10] if number == 1 else blob, encoding=encoding)
        sender.end()
        receipt = harness.receipt()
        assert (receipt.verdict, receipt.frames_corrupt) == (Verdict.INCOMPLETE, 1)
        assert (receipt.frames_corrupt_numbers, receipt.frames_missing) == ((1,), ())
        assert receipt.reasons[0].startswith(f"frame 1: look at a {encoding} blob")
        assert np.all(stored(receipt)[1] == 65535)
        assert check_file(receipt.file).problems == []

    def test_a_frame_of_another_shape_is_corrupt(self, harness: Harness) -> None:
        harness.prepare()
        sender = harness.sender
        sender.header()
        sender.image(0)
        other = Frame(series="", frame_number=1, format=FrameFormat((3, 3), "uint8", Encoding.NONE), blobs=(b"\0" * 9,))
        sender.send(stins.encode_image(sender._next(), other))
        sender.end()
        receipt = harness.receipt()
        assert receipt.frames_corrupt_numbers == (1,)
        assert "its series is (40, 30) uint16 none" in " ".join(receipt.reasons)

    def test_a_stream_that_never_starts(self, harness: Harness) -> None:
        harness.prepare(start_timeout_s=0.2)
        receipt = harness.receipt()
        assert receipt.verdict is Verdict.FAILED
        (reason,) = receipt.reasons
        assert "no start message came within 0.2 s" in reason
        assert list(harness.folder.iterdir()) == []
        harness.prepare()
        harness.sender.series(1)
        assert harness.receipt().verdict is Verdict.COMPLETE

    def test_a_sender_that_is_not_there_is_told_from_one_that_is_silent(self, harness: Harness) -> None:
        harness.prepare(start_timeout_s=0.2, connect_timeout_s=0.0, sources=("tcp://127.0.0.1:1",))
        assert harness.receipt().reasons[1:] == ("nobody ever accepted a connection at tcp://127.0.0.1:1",)

    def test_a_stream_that_stops_in_the_middle(self, harness: Harness) -> None:
        harness.prepare(stall_timeout_s=0.2, expected_frames=10)
        harness.sender.header()
        harness.sender.image(0)
        harness.sender.image(1)
        receipt = harness.receipt()
        assert receipt.verdict is Verdict.INCOMPLETE
        assert receipt.frames_missing == tuple(range(2, 10))
        assert np.array_equal(stored(receipt), [pixels(0), pixels(1)])

    @pytest.mark.lesson(21)
    def test_a_receiver_that_joins_in_the_middle_writes_nothing(self, harness: Harness) -> None:
        harness.prepare(start_timeout_s=0.3)
        for number in range(5, 9):
            harness.sender.image(number)
        receipt = harness.receipt()
        assert receipt.frames_out_of_series == 4
        assert receipt.file == ""


def test_what_a_sender_kept_from_an_earlier_series_is_thrown_away_before_the_detector_is_armed(
    harness: Harness,
) -> None:
    left_over = threading.Thread(target=harness.sender.series, args=(3,))  # blocks until somebody connects
    left_over.start()
    harness.prepare()
    left_over.join(WAIT_S)
    harness.sender.header(which="new")
    harness.sender.image(0)
    harness.sender.end()
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_written, receipt.frames_out_of_series) == (Verdict.COMPLETE, 1, 5)
    with h5py.File(receipt.file, "r") as file:
        assert file["entry/instrument/eiger/which"][()] == b"new"


class TestEnded:
    def test_abort_keeps_what_came(self, harness: Harness) -> None:
        harness.prepare(expected_frames=100)
        harness.sender.header()
        harness.sender.image(0)
        harness.wait_written(1)
        harness.receiver.abort("the operator said so")
        receipt = harness.receipt()
        assert receipt.verdict is Verdict.ABORTED
        assert "the operator said so" in receipt.reasons
        assert np.array_equal(stored(receipt)[0], pixels(0))
        assert harness.receiver.state is AcquisitionState.IDLE

    def test_abort_before_anything_came_leaves_no_file(self, harness: Harness) -> None:
        harness.prepare()
        harness.receiver.abort("undo")
        assert harness.receipt().file == ""
        assert list(harness.folder.iterdir()) == []

    def test_stop_drains(self, harness: Harness) -> None:
        harness.prepare(expected_frames=100, grace_s=5.0)
        harness.sender.header()
        harness.sender.image(0)
        harness.wait_state(AcquisitionState.ACQUIRING)
        harness.receiver.stop()
        harness.wait_state(AcquisitionState.DRAINING)
        harness.sender.image(1)
        harness.sender.end()
        assert harness.receipt().frames_written == 2

    def test_stop_and_abort_without_a_run_are_harmless(self, harness: Harness) -> None:
        harness.receiver.stop()
        harness.receiver.abort("nothing")
        harness.receiver.expect("1", 2)
        assert harness.receiver.state is AcquisitionState.IDLE

    @pytest.mark.lesson(27)
    def test_close_in_mid_run_finishes_the_file(self, harness: Harness) -> None:
        harness.prepare(expected_frames=100)
        harness.sender.header()
        harness.sender.image(0)
        harness.wait_written(1)
        harness.receiver.close()
        assert harness.receipt().verdict is Verdict.ABORTED
        assert check_file(harness.folder / "a.h5").ok


class TestDisk:
    @pytest.mark.lesson(7)
    def test_a_write_error_fails_the_run_and_keeps_what_was_written(
        self, harness: Harness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write, sent = SeriesFile.write, threading.Event()

        def fail_at_two(file: SeriesFile, row: int, *arguments: Any) -> int:
            if row == 2:
                sent.wait(WAIT_S)  # who fails closes the sockets, and the sender would wait for them
                raise FileError("write a frame", of=str(file.destination.part), answer="No space left (errno 28)")
            return write(file, row, *arguments)

        monkeypatch.setattr(SeriesFile, "write", fail_at_two)
        harness.prepare(expected_frames=5, compression=Compression.NONE)
        harness.sender.series(5)
        sent.set()
        receipt = harness.receipt()
        assert receipt.verdict is Verdict.FAILED
        assert "No space left" in receipt.reasons[0]
        assert receipt.frames_lost_at["writer"] == ((2, 2),)
        assert receipt.frames_written == 2
        assert receipt.frames_written + receipt.frames_lost_count + receipt.frames_missing_count == 5
        assert np.array_equal(stored(receipt)[:2], [pixels(0), pixels(1)])
        assert harness.receiver.state is AcquisitionState.FAULT
        monkeypatch.undo()
        harness.prepare(destination=str(harness.folder / "b.h5"))
        harness.sender.series(2)
        assert harness.receipt().verdict is Verdict.COMPLETE

    @pytest.mark.lesson(20)
    def test_a_slow_disk_loses_nothing_and_memory_stays_within_budget(
        self, harness: Harness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write = SeriesFile.write
        slow = threading.Event()

        def write_slowly(file: SeriesFile, *arguments: Any) -> int:
            slow.wait(0.002)
            return write(file, *arguments)

        monkeypatch.setattr(SeriesFile, "write", write_slowly)
        budget = 64 * pixels(0).nbytes
        harness.prepare(memory_bytes=budget, frame_nbytes=pixels(0).nbytes)
        harness.sender.series(300)
        receipt = harness.receipt()
        assert receipt.verdict is Verdict.COMPLETE
        assert max(c.queue_bytes for c in harness.counters) <= budget
        assert harness.counters[-1].queue_full_count > 0


def test_a_slow_disk_is_no_silence_of_the_sender(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_writes(monkeypatch, 1.0, range(1, 2))
    harness.prepare(expected_frames=400, stall_timeout_s=0.3)
    harness.sender.header(exptime=0.001)
    harness.sender.image(0)
    harness.wait_written(1)
    harness.sender.image(1)  # alone in its batch: behind it the queue fills while the disk hangs
    threading.Event().wait(0.2)
    for number in range(2, 400):
        harness.sender.image(number)
    harness.sender.end()
    assert harness.receipt().verdict is Verdict.COMPLETE


def test_what_has_arrived_when_the_source_is_stopped_is_written(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_writes(monkeypatch, 0.01, range(100))
    harness.prepare(expected_frames=1000, grace_s=0.2)
    harness.sender.header()
    for number in range(100):
        harness.sender.image(number)
    harness.wait_written(5)
    harness.receiver.stop()
    assert harness.receipt().frames_written == 100


@pytest.mark.lesson(30)
def test_an_endless_source_does_not_outlast_a_stop(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_writes(monkeypatch, 0.002, range(100_000))
    harness.prepare(expected_frames=100_000, grace_s=0.2, memory_bytes=1 << 20)
    harness.sender.header()
    done = threading.Event()

    def send() -> None:
        harness.sender.socket.sndtimeo = 100
        for number in range(100_000):
            if done.is_set():
                return
            try:
                harness.sender.image(number)
            except zmq.Again:
                return

    sending = threading.Thread(target=send)
    sending.start()
    try:
        harness.wait_written(5)
        harness.receiver.stop()
        receipt = harness.receipt()
    finally:
        done.set()
        sending.join()
    assert receipt.verdict is Verdict.ABORTED
    assert check_file(receipt.file).problems == []


@pytest.mark.lesson(13)
def test_an_abort_tells_of_every_frame_that_it_threw_away(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_writes(monkeypatch, 0.02, range(100))
    harness.prepare(expected_frames=100, compression=Compression.NONE)
    harness.sender.header()
    for number in range(100):
        harness.sender.image(number)
    wait_for_bytes(harness, 100 * pixels(0).nbytes)
    harness.receiver.abort("enough")
    receipt = harness.receipt()
    left = 100 - receipt.frames_written
    assert receipt.reasons == ("enough", f"frames that had arrived were lost: {left} at the socket")
    assert receipt.frames_lost_at == {"socket": ((receipt.frames_written, 99),)}
    assert (receipt.frames_missing_count, receipt.frames_out_of_series, receipt.frames_received) == (0, 0, 100)
    assert receipt.shape[0] == receipt.frames_written  # no blank rows for what was never taken
    assert check_file(receipt.file).problems == []


@pytest.mark.parametrize("number", [2**40, 2**62])
def test_an_absurd_count_is_missing_frames_and_no_hang(harness: Harness, number: int) -> None:
    harness.prepare()
    harness.sender.header()
    harness.sender.image(0)
    harness.sender.number = number
    harness.sender.end()
    receipt = harness.receipt()
    assert receipt.verdict is Verdict.INCOMPLETE
    assert receipt.frames_missing_count == number - 2
    assert receipt.shape == (1, *SHAPE)


@pytest.mark.parametrize("count", [-1, 2**62 + 1, 2**70])
def test_a_count_below_nothing_or_beyond_all_counting_is_refused(harness: Harness, count: int) -> None:
    with pytest.raises(ConfigurationError, match=f"expect {count} frames"):
        harness.receiver.prepare(harness.request(expected_frames=count))
    harness.prepare()
    with pytest.raises(ConfigurationError, match=f"expect {count} frames"):
        harness.receiver.expect(None, count)


def test_a_second_source_that_is_no_address_leaves_no_socket_of_the_first(harness: Harness) -> None:
    with pytest.raises(ConfigurationError, match="nonsense"):
        harness.prepare(sources=(harness.sender.endpoint, "nonsense"))
    harness.receiver.close()  # would wait for ever for a socket that nobody closes
    assert list(harness.folder.iterdir()) == []


@pytest.mark.lesson(26)
def test_a_bug_in_closing_is_told_and_the_next_run_is_taken(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(SeriesFile, "settle", lambda *_: {}["nothing"])
        harness.prepare()
        harness.sender.series(2)
        receipt = harness.receipt()
    assert receipt.verdict is Verdict.FAILED
    assert "internal error, please report it: KeyError" in receipt.reasons[0]
    assert harness.receiver.state is AcquisitionState.FAULT
    fresh = harness.add_sender()  # the other one may not have noticed yet that nobody takes its frames any more
    harness.prepare(destination=str(harness.folder / "b.h5"), sources=(fresh.endpoint,))
    fresh.series(2)
    assert harness.receipt().verdict is Verdict.COMPLETE


def test_an_empty_file_that_cannot_be_removed_is_told(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    harness.prepare()
    with monkeypatch.context() as patch:
        patch.setattr("maxdaq_tango.files.writer.unlink_there", refuse)
        harness.receiver.abort("not wanted")
        receipt = harness.receipt()
    assert receipt.verdict is Verdict.FAILED
    assert "remove the empty file" in receipt.reasons[-1]
    assert receipt.file.endswith(".a.h5.part")


def test_the_header_that_replaces_another_names_the_file(harness: Harness) -> None:
    harness.prepare(destination="", naming=FileNaming.STREAM)
    harness.sender.header(str(harness.folder / "stale.h5"))
    harness.sender.header(str(harness.folder / "real.h5"))
    harness.sender.image(0)
    harness.sender.end()
    assert harness.receipt().file == str(harness.folder / "real.h5")
    assert sorted(path.name for path in harness.folder.iterdir()) == ["real.h5", "real.manifest.json"]


@pytest.mark.lesson(20)
def test_frames_larger_than_foreseen_do_not_pass_the_budget_in_the_socket(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ZeroMQ counts messages: room for 4 MiB frames that nobody announced must not become room for as many larger."""
    write, released = SeriesFile.write, threading.Event()
    monkeypatch.setattr(SeriesFile, "write", lambda *frame: (frame[1] == 0 or released.wait(WAIT_S)) and write(*frame))
    format = FrameFormat((4096, 2048), "uint16", Encoding.NONE)
    blob = bytes(format.nbytes)
    sender = harness.add_sender()
    sender.socket.sndhwm, sender.socket.sndtimeo = 1, 1000
    sender.socket.bind("tcp://127.0.0.1:*")  # connections get the limit of the moment of the bind
    endpoint = sender.socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def send(number: int) -> None:
        frame = Frame(series="", frame_number=number, format=format, blobs=(blob,))
        sender.send(stins.encode_image(None, frame))

    harness.prepare(sources=(endpoint,), memory_bytes=256 << 20)
    sender.header()
    send(0)
    harness.wait_written(1)
    sent = 1
    try:
        while sent < 100:
            send(sent)
            sent += 1
    except zmq.Again:
        pass
    assert sent * len(blob) < 300 << 20
    harness.receiver.abort("seen enough")
    released.set()


def test_a_stream_that_stalls_is_told_and_goes_on(harness: Harness) -> None:
    harness.prepare(expected_frames=2)
    harness.sender.header()
    harness.sender.image(0)
    pause = threading.Event()
    for _ in range(500):
        if harness.counters[-1].stalled_ms >= 1000:
            break
        pause.wait(0.01)
    assert 1000 <= harness.counters[-1].stalled_ms < 5000
    assert harness.receiver.state is AcquisitionState.ACQUIRING
    harness.sender.image(1)
    harness.sender.end()
    assert harness.receipt().verdict is Verdict.COMPLETE
    assert harness.counters[-1].stalled_ms == 0


def test_a_slow_disk_is_no_stall(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_writes(monkeypatch, 1.3, range(1, 2))
    harness.prepare(expected_frames=4, compression=Compression.NONE)
    harness.sender.series(4)
    assert harness.receipt().verdict is Verdict.COMPLETE
    assert max(counters.stalled_ms for counters in harness.counters) == 0


@pytest.mark.lesson(26)
def test_listeners_that_raise_stop_neither_the_run_nor_its_file(tmp_path: Path) -> None:
    told: list[RunReport] = []
    over = threading.Event()

    def hear(report: RunReport) -> None:
        told.append(report)
        if report.receipt is not None:
            over.set()
        if len(told) > 1:  # the first is heard by whoever prepares
            raise ValueError("nobody listens")

    def look(counters: Counters) -> None:
        if len(told) > 1:
            raise ValueError("nobody looks")

    harness = Harness(tmp_path)
    receiver = Receiver(hear, look)
    try:
        receiver.prepare(harness.request())
        harness.sender.series(3)
        assert over.wait(WAIT_S)
        assert receiver.join(WAIT_S)
        assert receiver.state is AcquisitionState.IDLE
        assert check_file(tmp_path / "a.h5").verdict is Verdict.COMPLETE
    finally:
        receiver.close()
        harness.receiver.close()
        harness.context.destroy(0)


def test_a_reason_that_cannot_be_encoded_is_in_the_file_all_the_same(harness: Harness) -> None:
    harness.prepare(expected_frames=10)
    harness.sender.header()
    harness.sender.image(0)
    harness.wait_written(1)
    harness.receiver.abort("/data/\udcff.h5 is in the way")
    receipt = harness.receipt()
    assert receipt.verdict is Verdict.ABORTED
    assert check_file(receipt.file).problems == []
    assert read_receipt(receipt.file).reasons[0] == "/data/\\udcff.h5 is in the way"


@pytest.mark.lesson(13)
def test_what_a_busy_disk_has_taken_is_safe_while_the_rest_waits_for_it(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collector is in one long wait for room, and never comes round to its usual look at the clock."""
    gate, taken, write = threading.Event(), itertools.count(), SlabWriter._write

    def held(self: SlabWriter, view: memoryview, offset: int) -> None:
        if next(taken) >= 2:
            assert gate.wait(3 * WAIT_S)
        write(self, view, offset)

    monkeypatch.setattr(SlabWriter, "_write", held)
    harness.prepare(expected_frames=900, memory_bytes=2 << 20, backend=FileBackend.DIRECT, compression=Compression.NONE)
    sending = threading.Thread(target=harness.sender.series, args=(900,))
    sending.start()
    try:
        pause = threading.Event()
        for _ in range(500):
            if harness.counters[-1].frames_safe:
                break
            pause.wait(0.01)
        last = harness.counters[-1]
        assert 0 < last.frames_safe < last.frames_written < 900
        assert sum(len(block.rows) for block in read_log(harness.folder / ".a.h5.part").blocks) >= last.frames_safe
    finally:
        gate.set()
        sending.join()
    assert harness.receipt().verdict is Verdict.COMPLETE
    assert harness.counters[-1].frames_safe == 900
