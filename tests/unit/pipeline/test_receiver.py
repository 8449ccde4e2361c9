"""The frame's road over real sockets: whole series in every format, and who names the file."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import pytest

from maxdaq_tango.files import check_file
from maxdaq_tango.kernels.compression import compress_bslz4, encode_pixels
from maxdaq_tango.model import (
    AcquisitionState,
    Compression,
    Counters,
    Encoding,
    FileBackend,
    FileNaming,
    FrameFormat,
    Orientation,
    StreamFormat,
    Verdict,
)
from maxdaq_tango.pipeline import RunReport
from maxdaq_tango.wire import dectris_v1, dectris_v2
from receiving import (
    SHAPE,
    WAIT_S,
    Harness,
    packed_by_hdf5,
    pixels,
    send_v1,
    send_v1_raw,
    stored,
    wait_for_bytes,
)


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


@pytest.mark.parametrize(("backend", "way"), [("direct", "direct (asked for)"), ("swmr", "swmr (asked for)")])
def test_what_is_decided_is_told_while_the_series_runs_and_in_the_receipt(
    harness: Harness, backend: str, way: str
) -> None:
    harness.prepare(backend=FileBackend(backend), pool_workers=2, frame_nbytes=np.dtype("u2").itemsize * 1200)
    decisions = dict(harness.reports[-1].decisions)
    assert decisions.pop("io threads").endswith("cores")
    assert decisions.pop("receive buffer").startswith(("4096 KiB (", "left to the system (net.core.rmem_max is"))
    assert decisions == {
        "sockets": "1 for each source (the data rate is not known)",
        "messages ahead": "1000",
        "batch": "64 messages, 1024 KiB",
        "largest message": "512 MiB",
        "queue": "480 MiB",
    }
    harness.sender.header()
    harness.sender.image(0)
    harness.wait_written(1)
    with harness.states:
        assert harness.states.wait_for(lambda: "backend" in harness.reports[-1].decisions, WAIT_S)
    during = harness.reports[-1].decisions
    assert during["backend"].startswith(way)
    assert during["packing"] == "bslz4 (Pack)"
    assert during["pool"] == "2 workers of 2"
    harness.sender.end()
    assert harness.receipt().decisions == during


def test_live_counters_follow_the_run_and_end_with_the_receipt(harness: Harness) -> None:
    harness.prepare(compression=Compression.NONE)
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


@pytest.mark.lesson(29)
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


@pytest.mark.lesson(1)
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


@pytest.mark.lesson(3)
def test_frames_in_any_order_with_copies_are_stored_once_each(harness: Harness) -> None:
    harness.prepare(stream_format=StreamFormat.DECTRIS_V1, expected_frames=5)
    send_v1(harness.sender, [3, 0, 3, 4, 1, 1, 2])
    receipt = harness.receipt()
    assert receipt.verdict is Verdict.COMPLETE
    assert receipt.frames_duplicate == 2
    assert np.array_equal(stored(receipt), [pixels(n) for n in range(5)])


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


@pytest.mark.parametrize("encoding", [Encoding.NONE, Encoding.BSLZ4, Encoding.BSZSTD, Encoding.LZ4_HDF5])
def test_every_packing_of_v2_is_stored_as_it_came_and_read_back(harness: Harness, encoding: Encoding) -> None:
    harness.prepare(stream_format=StreamFormat.DECTRIS_V2, expected_frames=3, compression=Compression.NONE)
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
@pytest.mark.lesson(12)
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

    @pytest.mark.lesson(40)
    def test_a_name_outside_the_roots_fails_the_run_with_the_reason(self, harness: Harness) -> None:
        harness.prepare(naming=FileNaming.STREAM, destination="")
        harness.sender.header("/etc/evil.h5")
        harness.sender.image(0)
        receipt = harness.receipt()
        assert receipt.verdict is Verdict.FAILED
        assert "outside the allowed roots" in receipt.reasons[0]
        assert harness.receiver.state is AcquisitionState.FAULT


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


def test_the_counters_after_a_run_are_those_of_its_receipt(harness: Harness) -> None:
    harness.prepare(expected_frames=20, grace_s=0.1)
    harness.sender.header()
    for number in (0, 1, 5, 5, 6):
        harness.sender.number = number + 1
        harness.sender.image(number)
    harness.sender.number = 21
    harness.sender.end()
    receipt = harness.receipt()
    counters = harness.counters[-1]
    assert receipt.frames_missing_ranges == ((2, 4), (7, 19))
    assert (counters.frames_missing, counters.gap_first, counters.gap_last) == (16, 2, 4)
    assert (counters.frames_duplicate, counters.frames_lost, counters.frames_late) == (1, 0, 0)


def test_a_gap_is_told_while_frames_come(harness: Harness) -> None:
    harness.prepare(expected_frames=20)
    harness.sender.header()
    for number in (0, 4, 5):
        harness.sender.number = number + 1
        harness.sender.image(number)
    harness.wait_written(3)
    counters = harness.counters[-1]
    assert (counters.frames_missing, counters.gap_first, counters.gap_last) == (3, 1, 3)
