"""The frame's road over real sockets: whole series, hostile streams, full and failing disks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import lz4.block
import numpy as np
import pytest
import zmq

from maxdaq_tango.errors import ConfigurationError, FileError, PipelineError, StateError
from maxdaq_tango.files import SeriesFile, check_file
from maxdaq_tango.kernels.compression import compress_bslz4, encode_pixels
from maxdaq_tango.model import (
    AcquisitionState,
    Counters,
    Encoding,
    FileNaming,
    Frame,
    FrameFormat,
    Orientation,
    Receipt,
    RunRequest,
    StreamFormat,
    Verdict,
)
from maxdaq_tango.pipeline import Receiver, RunReport
from maxdaq_tango.wire import dectris_v1, dectris_v2, stins

SHAPE = (40, 30)
WAIT_S = 10.0


def pixels(number: int, dtype: str = "uint16") -> np.ndarray[Any, Any]:
    values: np.ndarray[Any, Any] = (np.arange(np.prod(SHAPE)).reshape(SHAPE) * 3 + number * 101).astype(dtype)
    return values


class Sender:
    """A PUSH socket on a free port, and STINS messages with numbers of its own."""

    def __init__(self, context: zmq.Context[Any]) -> None:
        self.socket = context.socket(zmq.PUSH)
        self.socket.linger = 0
        self.socket.sndtimeo = int(WAIT_S * 1000)
        self.socket.bind("tcp://127.0.0.1:*")
        self.endpoint: str = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self.number = 0

    def send(self, parts: list[Any]) -> None:
        self.socket.send_multipart(parts)

    def header(self, filename: str = "", **metadata: Any) -> None:
        self.send(stins.encode_header(self._next(), filename, metadata))

    def image(self, number: int, *, blob: bytes | None = None, encoding: Encoding = Encoding.NONE, **how: Any) -> None:
        frame = Frame(
            series="",
            frame_number=number,
            format=FrameFormat(SHAPE, "uint16", encoding),
            blobs=(blob if blob is not None else pixels(number).tobytes(),),
            **how,
        )
        self.send(stins.encode_image(self._next(), frame))

    def end(self) -> None:
        self.send(stins.encode_end(self._next()))

    def skip(self, count: int = 1) -> None:
        """Messages that were sent and got lost on the way."""
        self.number += count

    def series(self, count: int) -> None:
        self.header(exptime=0.5)
        for number in range(count):
            self.image(number)
        self.end()

    def _next(self) -> int:
        self.number += 1
        return self.number - 1


class Harness:
    """A receiver, its sender, and everything that was told."""

    def __init__(self, folder: Path) -> None:
        self.context: zmq.Context[Any] = zmq.Context()
        self.senders: list[Sender] = []
        self.sender = self.add_sender()
        self.folder = folder
        self.reports: list[RunReport] = []
        self.counters: list[Counters] = []
        self.over = threading.Event()
        self.states = threading.Condition()
        self.receiver = Receiver(self._hear, self.counters.append, software="tests")

    def add_sender(self) -> Sender:
        self.senders.append(
            Sender(self.context)
        )  # kept, so that the context closes it and not the collector of garbage
        return self.senders[-1]

    def _hear(self, report: RunReport) -> None:
        with self.states:
            self.reports.append(report)
            self.states.notify_all()
        if report.receipt is not None:
            self.over.set()

    def request(self, **changes: Any) -> RunRequest:
        settings: dict[str, Any] = {
            "sources": (self.sender.endpoint,),
            "stream_format": StreamFormat.STINS,
            "destination": str(self.folder / "a.h5"),
            "roots": (str(self.folder),),
            "detector": "eiger",
            "connect_timeout_s": WAIT_S,
            "grace_s": 0.2,
        }
        return RunRequest(**{**settings, **changes})

    def prepare(self, **changes: Any) -> None:
        self.over.clear()
        self.receiver.prepare(self.request(**changes))

    def wait_written(self, count: int) -> None:
        pause = threading.Event()
        for _ in range(500):
            if self.counters and self.counters[-1].frames_written >= count:
                return
            pause.wait(0.01)
        raise AssertionError(f"{count} frames were not written: {self.counters[-1:]}")

    def wait_state(self, state: AcquisitionState) -> None:
        with self.states:
            assert self.states.wait_for(lambda: self.receiver.state is state, WAIT_S), self.receiver.state

    def receipt(self) -> Receipt:
        assert self.over.wait(WAIT_S), self.reports[-1]
        receipt = self.reports[-1].receipt
        assert receipt is not None
        return receipt


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    harness = Harness(tmp_path)
    yield harness
    harness.receiver.close()
    harness.context.destroy(0)
    left = [t.name for t in threading.enumerate() if t.name.startswith(("ingest", "collector"))]
    assert left == []


def stored(receipt: Receipt) -> np.ndarray[Any, Any]:
    with h5py.File(receipt.file, "r") as file:
        data: np.ndarray[Any, Any] = file[receipt.dataset][...]
        return data


def test_a_series_arrives_whole(harness: Harness) -> None:
    harness.prepare()
    harness.sender.series(20)
    receipt = harness.receipt()
    assert receipt.verdict is Verdict.COMPLETE
    assert (receipt.frames_received, receipt.frames_written, receipt.frames_expected) == (20, 20, 20)
    assert np.array_equal(stored(receipt), [pixels(n) for n in range(20)])
    assert check_file(receipt.file).problems == []
    with h5py.File(receipt.file, "r") as file:
        group = file["entry/instrument/eiger"]
        assert group["exptime"][()] == 0.5
        assert np.all(group["daq/receive_time"][...] > 1.6e9)


def test_the_states_are_told_in_order(harness: Harness) -> None:
    harness.prepare()
    harness.sender.header()
    harness.sender.image(0)
    harness.wait_state(AcquisitionState.ACQUIRING)
    harness.sender.end()
    harness.receipt()
    told = [report.state.value for report in harness.reports]
    assert [s for i, s in enumerate(told) if i == 0 or told[i - 1] != s] in (
        ["ARMED", "ACQUIRING", "FINALISING", "IDLE"],
        ["ARMED", "ACQUIRING", "DRAINING", "FINALISING", "IDLE"],
    )


def test_live_counters_follow_the_run_and_end_with_the_receipt(harness: Harness) -> None:
    harness.prepare()
    harness.sender.series(50)
    receipt = harness.receipt()
    last = harness.counters[-1]
    assert (last.frames_received, last.frames_written, last.frames_expected) == (50, 50, 50)
    assert last.bytes_written == receipt.bytes_written == 50 * pixels(0).nbytes
    assert last.queue_bytes == 0


def test_two_series_in_a_row(harness: Harness) -> None:
    for name in ("a.h5", "b.h5"):
        harness.prepare(destination=str(harness.folder / name))
        harness.sender.series(3)
        assert harness.receipt().verdict is Verdict.COMPLETE
    assert harness.counters[-1].run_number == 2


def test_a_prepared_receiver_never_shows_the_counts_of_the_run_before(harness: Harness) -> None:
    # A scan client that waits for nFramesAcquired would take them for the frames of its first trigger.
    harness.prepare(destination="")
    harness.sender.series(3)
    harness.receipt()
    seen: list[Counters] = []
    hear = harness.receiver._tell

    def look(report: RunReport) -> None:
        if report.state is AcquisitionState.ARMED:
            seen.append(harness.counters[-1])
        hear(report)

    harness.receiver._tell = look
    harness.prepare(destination="")
    assert [(counters.run_number, counters.frames_received) for counters in seen] == [(2, 0)]


def test_a_lost_message_is_missing_and_leaves_a_blank_row(harness: Harness) -> None:
    harness.prepare()
    sender = harness.sender
    sender.header()
    sender.image(0)
    sender.skip()
    sender.image(2)
    sender.end()
    receipt = harness.receipt()
    assert receipt.verdict is Verdict.INCOMPLETE
    assert receipt.frames_missing == (1,)
    data = stored(receipt)
    assert np.all(data[1] == 65535)
    assert np.array_equal(data[2], pixels(2))
    assert check_file(receipt.file).problems == []


def test_frames_in_any_order_with_copies_are_stored_once_each(harness: Harness) -> None:
    harness.prepare(stream_format=StreamFormat.DECTRIS_V1, expected_frames=5)
    send_v1(harness.sender, [3, 0, 3, 4, 1, 1, 2])
    receipt = harness.receipt()
    assert receipt.verdict is Verdict.COMPLETE
    assert receipt.frames_duplicate == 2
    assert np.array_equal(stored(receipt), [pixels(n) for n in range(5)])


def send_v1(sender: Sender, numbers: list[int], *, encoding: Encoding = Encoding.BSLZ4, end: bool = True) -> None:
    config = {"nimages": len(set(numbers)), "ntrigger": 1, "count_time": 0.1, "frame_time": 0.11}
    sender.send(dectris_v1.encode_header(7, detail=dectris_v1.HeaderDetail.BASIC, config=config, appendix=None))
    for number in numbers:
        data = pixels(number)
        blob = (
            compress_bslz4(data) if encoding is Encoding.BSLZ4 else lz4.block.compress(data.tobytes(), store_size=False)
        )
        format = FrameFormat(SHAPE, "uint16", encoding)
        sender.send(
            dectris_v1.encode_image(7, number, format, blob, start_ns=number * 10**9, stop_ns=10**9, real_ns=10**8)
        )
    if end:
        sender.send(dectris_v1.encode_end(7))


def test_bare_lz4_blocks_become_chunks_that_hdf5_reads(harness: Harness) -> None:
    harness.prepare(stream_format=StreamFormat.DECTRIS_V1)
    send_v1(harness.sender, [0, 1, 2], encoding=Encoding.LZ4_BLOCK)
    receipt = harness.receipt()
    assert receipt.verdict is Verdict.COMPLETE
    assert receipt.encoding == "lz4"
    assert np.array_equal(stored(receipt), [pixels(n) for n in range(3)])
    assert check_file(receipt.file).problems == []


def test_detector_times_are_kept(harness: Harness) -> None:
    harness.prepare(stream_format=StreamFormat.DECTRIS_V1)
    send_v1(harness.sender, [0, 1])
    with h5py.File(harness.receipt().file, "r") as file:
        assert file["entry/instrument/eiger/start_time"][...].tolist() == [0.0, 1.0]
        assert file["entry/instrument/eiger/real_time"][...].tolist() == [0.1, 0.1]


def packed_by_hdf5(data: np.ndarray[Any, Any]) -> bytes:
    """Bitshuffle-Zstandard as HDF5's filter makes it; not every build of the bitshuffle package can."""
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        options = {"compression": hdf5plugin.BSHUF_ID, "compression_opts": (0, 3)}
        dataset = file.create_dataset("data", data=data[None], chunks=(1, *data.shape), **options)
        chunk: bytes = dataset.id.read_direct_chunk((0, 0, 0))[1]
        return chunk


@pytest.mark.parametrize("encoding", [Encoding.NONE, Encoding.BSLZ4, Encoding.BSZSTD, Encoding.LZ4_HDF5])
def test_every_packing_of_v2_is_stored_as_it_came_and_read_back(harness: Harness, encoding: Encoding) -> None:
    harness.prepare(stream_format=StreamFormat.DECTRIS_V2, expected_frames=3)
    harness.sender.send(dectris_v2.encode_start(3, "01X", {"number_of_images": 3}))
    times = {"start_time": (0, 1), "stop_time": (1, 1), "real_time": (1, 1)}
    for number in (0, 2):  # the blank row in between must have the same packing
        data = pixels(number)
        blob = packed_by_hdf5(data) if encoding is Encoding.BSZSTD else encode_pixels(data, encoding)
        channels = {"threshold_1": (FrameFormat(SHAPE, "uint16", encoding), blob)}
        harness.sender.send(dectris_v2.encode_image(3, "01X", number, channels, series_date="", **times))
    harness.sender.send(dectris_v2.encode_end(3, "01X"))
    receipt = harness.receipt()
    assert (receipt.frames_missing, receipt.encoding) == ((1,), encoding.value)
    assert np.array_equal(stored(receipt)[[0, 2]], [pixels(0), pixels(2)])
    assert np.all(stored(receipt)[1] == 65535)
    assert check_file(receipt.file).problems == []


def test_threshold_channels_are_stored_side_by_side(harness: Harness) -> None:
    harness.prepare(stream_format=StreamFormat.DECTRIS_V2)
    format = FrameFormat(SHAPE, "uint16", Encoding.BSLZ4)
    harness.sender.send(dectris_v2.encode_start(3, "01X", {"number_of_images": 2, "channels": ["threshold_1"]}))
    for number in range(2):
        channels = {
            name: (format, compress_bslz4(pixels(number + shift)))
            for name, shift in (("threshold_1", 0), ("threshold_2", 100))
        }
        times = {"start_time": (0, 1), "stop_time": (1, 1), "real_time": (1, 1)}
        harness.sender.send(dectris_v2.encode_image(3, "01X", number, channels, series_date="", **times))
    harness.sender.send(dectris_v2.encode_end(3, "01X"))
    receipt = harness.receipt()
    assert receipt.shape == (2, 2, *SHAPE)
    assert np.array_equal(stored(receipt)[1], [pixels(1), pixels(101)])


@pytest.mark.parametrize("encoding", [Encoding.NONE, Encoding.BSLZ4])
def test_orientation_turns_frames_before_they_are_stored(harness: Harness, encoding: Encoding) -> None:
    harness.prepare(orientation=Orientation(1, fliplr=True))
    harness.sender.header()
    data = pixels(0)
    blob = compress_bslz4(data) if encoding is Encoding.BSLZ4 else data.tobytes()
    harness.sender.image(0, blob=blob, encoding=encoding)
    harness.sender.end()
    receipt = harness.receipt()
    assert receipt.shape == (1, SHAPE[1], SHAPE[0])
    assert np.array_equal(stored(receipt)[0], np.fliplr(np.rot90(data)))


def test_without_a_destination_frames_are_counted_and_nothing_is_written(harness: Harness) -> None:
    harness.prepare(destination="")
    harness.sender.series(3)
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_discarded, receipt.file) == (Verdict.COMPLETE, 3, "")
    assert list(harness.folder.iterdir()) == []


def test_discarded_frames_are_received_but_not_written(harness: Harness) -> None:
    harness.prepare()
    harness.sender.header()
    harness.sender.image(0, discard=True)
    harness.sender.image(1)
    harness.sender.end()
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_received, receipt.frames_written) == (Verdict.COMPLETE, 2, 1)
    assert np.all(stored(receipt)[0] == 65535)
    assert check_file(receipt.file).problems == []


class TestNaming:
    def test_by_default_the_stream_does_not_choose_the_file(self, harness: Harness) -> None:
        harness.prepare()
        harness.sender.header(str(harness.folder / "other.h5"))
        harness.sender.image(0)
        harness.sender.end()
        assert harness.receipt().file == str(harness.folder / "a.h5")

    def test_in_stream_mode_it_does(self, harness: Harness) -> None:
        harness.prepare(naming=FileNaming.STREAM, destination="")
        harness.sender.header(str(harness.folder / "other.h5"))
        harness.sender.image(0)
        harness.sender.end()
        assert harness.receipt().file == str(harness.folder / "other.h5")

    @pytest.mark.parametrize("header", [{"filename": ""}, {"filename": "{folder}/b.h5", "save_raw": False}])
    def test_live_only_on_the_word_of_the_stream(self, harness: Harness, header: dict[str, Any]) -> None:
        harness.prepare(naming=FileNaming.STREAM, destination="")
        filename = header.pop("filename").format(folder=harness.folder)
        harness.sender.header(filename, **header)
        harness.sender.image(0)
        harness.sender.end()
        receipt = harness.receipt()
        assert (receipt.verdict, receipt.file, receipt.frames_discarded) == (Verdict.COMPLETE, "", 1)

    def test_a_name_outside_the_roots_fails_the_run_with_the_reason(self, harness: Harness) -> None:
        harness.prepare(naming=FileNaming.STREAM, destination="")
        harness.sender.header("/etc/evil.h5")
        harness.sender.image(0)
        receipt = harness.receipt()
        assert receipt.verdict is Verdict.FAILED
        assert "outside the allowed roots" in receipt.reasons[0]
        assert harness.receiver.state is AcquisitionState.FAULT


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
        harness.sender.socket.close(0)
        with pytest.raises(PipelineError, match="nobody accepted the connection"):
            harness.prepare(connect_timeout_s=0.2)
        assert list(harness.folder.iterdir()) == []
        assert harness.receiver.state is AcquisitionState.IDLE

    def test_a_packing_that_no_file_can_hold(self, harness: Harness) -> None:
        harness.prepare()
        harness.sender.header()
        harness.sender.image(0, blob=b"\0" * (SHAPE[0] * SHAPE[1] * 3 // 2), encoding=Encoding.MONO12P)
        receipt = harness.receipt()
        assert receipt.verdict is Verdict.FAILED
        assert "mono12p" in receipt.reasons[0]


class TestHostile:
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
        assert receipt.frames_missing == (1,)
        assert "frame 1" in receipt.reasons[0] or "image 1" in receipt.reasons[0] or "blob" in receipt.reasons[0]
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

    def test_close_in_mid_run_finishes_the_file(self, harness: Harness) -> None:
        harness.prepare(expected_frames=100)
        harness.sender.header()
        harness.sender.image(0)
        harness.wait_written(1)
        harness.receiver.close()
        assert harness.receipt().verdict is Verdict.ABORTED
        assert check_file(harness.folder / "a.h5").ok


class TestDisk:
    def test_a_write_error_fails_the_run_and_keeps_what_was_written(
        self, harness: Harness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write = SeriesFile.write

        def fail_at_two(file: SeriesFile, row: int, *arguments: Any) -> int:
            if row == 2:
                raise FileError("write a frame", of=str(file.destination.part), answer="No space left (errno 28)")
            return write(file, row, *arguments)

        monkeypatch.setattr(SeriesFile, "write", fail_at_two)
        harness.prepare(expected_frames=5)
        harness.sender.series(5)
        receipt = harness.receipt()
        assert receipt.verdict is Verdict.FAILED
        assert "No space left" in receipt.reasons[0]
        assert receipt.frames_lost == (2,)
        assert receipt.frames_written == 2
        assert np.array_equal(stored(receipt)[:2], [pixels(0), pixels(1)])
        assert harness.receiver.state is AcquisitionState.FAULT
        monkeypatch.undo()
        harness.prepare(destination=str(harness.folder / "b.h5"))
        harness.sender.series(2)
        assert harness.receipt().verdict is Verdict.COMPLETE

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


def test_frames_that_overtake_their_header_on_another_socket_are_kept(harness: Harness) -> None:
    other = harness.add_sender()
    harness.prepare(
        sources=(harness.sender.endpoint, other.endpoint), stream_format=StreamFormat.DECTRIS_V1, expected_frames=4
    )
    format = FrameFormat(SHAPE, "uint16", Encoding.NONE)
    times = {"start_ns": 0, "stop_ns": 0, "real_ns": 0}
    for number in (1, 3):
        other.send(dectris_v1.encode_image(7, number, format, pixels(number).tobytes(), **times))
    other.send(dectris_v1.encode_end(7))
    wait_for_bytes(harness, 2 * pixels(0).nbytes)
    send_v1_raw(harness.sender, [0, 2])
    receipt = harness.receipt()
    assert receipt.verdict is Verdict.COMPLETE
    assert np.array_equal(stored(receipt), [pixels(n) for n in range(4)])


def send_v1_raw(sender: Sender, numbers: list[int]) -> None:
    config = {"nimages": 4, "ntrigger": 1}
    sender.send(dectris_v1.encode_header(7, detail=dectris_v1.HeaderDetail.BASIC, config=config))
    format = FrameFormat(SHAPE, "uint16", Encoding.NONE)
    for number in numbers:
        blob = pixels(number).tobytes()
        sender.send(dectris_v1.encode_image(7, number, format, blob, start_ns=0, stop_ns=0, real_ns=0))


def wait_for_bytes(harness: Harness, nbytes: int) -> None:
    pause = threading.Event()
    for _ in range(500):
        if harness.counters and harness.counters[-1].bytes_received >= nbytes:
            return
        pause.wait(0.01)
    raise AssertionError("the messages did not arrive")


def slow_writes(monkeypatch: pytest.MonkeyPatch, pause_s: float, rows: range) -> None:
    write, pause = SeriesFile.write, threading.Event()

    def slow(self: SeriesFile, row: int, *rest: Any) -> int:
        if row in rows:
            pause.wait(pause_s)
        return write(self, row, *rest)

    monkeypatch.setattr(SeriesFile, "write", slow)


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


def test_an_abort_says_what_it_threw_away(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_writes(monkeypatch, 0.02, range(100))
    harness.prepare(expected_frames=100)
    harness.sender.header()
    for number in range(100):
        harness.sender.image(number)
    wait_for_bytes(harness, 100 * pixels(0).nbytes)
    harness.receiver.abort("enough")
    receipt = harness.receipt()
    left = 100 - receipt.frames_written
    assert receipt.reasons == ("enough", f"{left} messages that had arrived by then were thrown away unread")
    assert receipt.frames_out_of_series == 0


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


def test_a_count_below_nothing_is_refused(harness: Harness) -> None:
    with pytest.raises(ConfigurationError, match="expect -1 frames"):
        harness.receiver.prepare(harness.request(expected_frames=-1))
    harness.prepare()
    with pytest.raises(ConfigurationError, match="expect -5 frames"):
        harness.receiver.expect(None, -5)


def test_a_second_source_that_is_no_address_leaves_no_socket_of_the_first(harness: Harness) -> None:
    with pytest.raises(ConfigurationError, match="nonsense"):
        harness.prepare(sources=(harness.sender.endpoint, "nonsense"))
    harness.receiver.close()  # would wait for ever for a socket that nobody closes
    assert list(harness.folder.iterdir()) == []


def test_a_bug_in_closing_is_told_and_the_next_run_is_taken(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(SeriesFile, "settle", lambda *_: {}["nothing"])
        harness.prepare()
        harness.sender.series(2)
        receipt = harness.receipt()
    assert receipt.verdict is Verdict.FAILED
    assert "internal error, please report it: KeyError" in receipt.reasons[0]
    assert harness.receiver.state is AcquisitionState.FAULT
    harness.prepare(destination=str(harness.folder / "b.h5"))
    harness.sender.series(2)
    assert harness.receipt().verdict is Verdict.COMPLETE


def test_an_empty_file_that_cannot_be_removed_is_told(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    harness.prepare()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
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
    assert [path.name for path in harness.folder.iterdir()] == ["real.h5"]


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
