"""Series that are packed on their way: every pixel read back, and every frame accounted for when something is wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import h5py
import lz4.block
import numpy as np
import pytest

from maxdaq_tango.errors import ConfigurationError, FileError
from maxdaq_tango.files import SeriesFile, check_file
from maxdaq_tango.kernels import compression as kernel
from maxdaq_tango.kernels.compression import HAS_BSZSTD, compress_bslz4
from maxdaq_tango.model import (
    AcquisitionState,
    Compression,
    Encoding,
    Frame,
    FrameFormat,
    Orientation,
    StreamFormat,
    Verdict,
)
from maxdaq_tango.pipeline.pool import Job, Pool
from maxdaq_tango.pipeline.transforms import Chain
from maxdaq_tango.wire import dectris_v1, stins
from receiving import SHAPE, WAIT_S, Harness, pixels, send_v1, slow_writes, stored

ZSTD = pytest.param(
    Compression.BSZSTD, marks=pytest.mark.skipif(not HAS_BSZSTD, reason="this build of bitshuffle has no Zstandard")
)
OPTIONS = {Compression.BSLZ4: (0, 2), Compression.BSZSTD: (0, 3)}


def send_picture(harness: Harness, number: int, picture: np.ndarray[Any, Any]) -> None:
    format = FrameFormat(picture.shape, str(picture.dtype), Encoding.NONE)
    frame = Frame(series="", frame_number=number, format=format, blobs=(picture.tobytes(),))
    harness.sender.send(stins.encode_image(harness.sender._next(), frame))


class HeldBack:
    """The work of the pool, for frames of the test's choice not before it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, which: Callable[[int], bool]) -> None:
        self.begun, self.go_on = threading.Semaphore(0), threading.Event()
        apply = Chain.apply

        def held_back(chain: Chain, frame: Frame, into: memoryview) -> Frame:
            if which(frame.frame_number) and threading.current_thread().name.startswith("packer"):
                self.begun.release()
                assert self.go_on.wait(WAIT_S)
            return apply(chain, frame, into)

        monkeypatch.setattr(Chain, "apply", held_back)

    def wait_begun(self, count: int) -> None:
        for _ in range(count):
            assert self.begun.acquire(timeout=WAIT_S)


def broken(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    apply = Chain.apply

    def fail(chain: Chain, frame: Frame, into: memoryview) -> Frame:
        if frame.frame_number == number:
            raise KeyError("a bug")
        return apply(chain, frame, into)

    monkeypatch.setattr(Chain, "apply", fail)


@pytest.mark.parametrize("workers", [0, 1, 5])
@pytest.mark.parametrize("compression", [Compression.BSLZ4, ZSTD])
def test_an_uncompressed_stream_is_stored_packed_pixel_by_pixel(
    harness: Harness, compression: Compression, workers: int
) -> None:
    harness.prepare(compression=compression, pool_workers=workers)
    harness.sender.series(120)
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_written) == (Verdict.COMPLETE, 120)
    assert (receipt.encoding, receipt.settings["compression"]) == (compression.value, compression.value)
    assert receipt.bytes_written < 120 * pixels(0).nbytes
    assert np.array_equal(stored(receipt), [pixels(n) for n in range(120)])
    assert check_file(receipt.file).problems == []
    with h5py.File(receipt.file, "r") as file:
        ((number, _, options, _),) = [file[receipt.dataset].id.get_create_plist().get_filter(0)]
        assert (number, options[-2:]) == (32008, OPTIONS[compression])


@pytest.mark.lesson(35)
def test_by_default_frames_are_packed_as_bslz4(harness: Harness) -> None:
    harness.prepare()
    harness.sender.series(3)
    assert harness.receipt().encoding == "bslz4"


def test_without_compression_frames_are_stored_as_they_come(harness: Harness) -> None:
    harness.prepare(compression=Compression.NONE)
    harness.sender.series(5)
    receipt = harness.receipt()
    assert (receipt.encoding, receipt.bytes_written) == ("none", 5 * pixels(0).nbytes)
    with h5py.File(receipt.file, "r") as file:
        dataset = file[receipt.dataset]
        assert dataset.id.get_create_plist().get_nfilters() == 0
        assert [dataset.id.read_direct_chunk((n, 0, 0))[1] for n in range(5)] == [pixels(n).tobytes() for n in range(5)]


@pytest.mark.parametrize("compression", Compression)
def test_what_the_detector_has_compressed_passes_byte_for_byte_and_needs_no_thread(
    harness: Harness, compression: Compression
) -> None:
    if compression is Compression.BSZSTD and not HAS_BSZSTD:
        pytest.skip("this build of bitshuffle has no Zstandard")
    harness.prepare(stream_format=StreamFormat.DECTRIS_V1, compression=compression)
    send_v1(harness.sender, list(range(5)), end=False)
    harness.wait_written(5)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("packer")]
    harness.receiver.stop()
    receipt = harness.receipt()
    assert receipt.encoding == "bslz4"
    with h5py.File(receipt.file, "r") as file:
        dataset = file[receipt.dataset]
        blobs = [dataset.id.read_direct_chunk((n, 0, 0))[1] for n in range(5)]
    assert blobs == [compress_bslz4(pixels(n)) for n in range(5)]


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((1, 1), "uint8"), ((1, 7), "uint64"), ((3, 5), "float32"), ((129, 67), "float64"), ((129, 67), "int16")],
)
def test_any_type_and_any_size_come_back(harness: Harness, shape: tuple[int, ...], dtype: str) -> None:
    pictures = [np.random.default_rng(n).poisson(4, shape).astype(dtype) for n in range(4)]
    harness.prepare()
    harness.sender.header()
    for number in (0, 1, 3):
        send_picture(harness, number, pictures[number])
    harness.sender.skip()
    harness.sender.end()
    receipt = harness.receipt()
    assert (receipt.dtype, receipt.encoding, receipt.frames_missing) == (dtype, "bslz4", (2,))
    assert np.array_equal(stored(receipt)[[0, 1, 3]], [pictures[n] for n in (0, 1, 3)])
    assert check_file(receipt.file).problems == []


@pytest.mark.parametrize("compression", [Compression.NONE, Compression.BSLZ4, ZSTD])
def test_turned_frames_are_packed_as_well(harness: Harness, compression: Compression) -> None:
    harness.prepare(orientation=Orientation(1, flipud=True), compression=compression)
    harness.sender.series(10)
    receipt = harness.receipt()
    assert receipt.encoding == compression.value
    assert np.array_equal(stored(receipt), [np.flipud(np.rot90(pixels(n))) for n in range(10)])


@pytest.mark.parametrize("workers", [0, 3])
def test_packing_that_this_installation_cannot_do_is_refused_before_anything_is_made(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(kernel, "HAS_BSZSTD", False)
    with pytest.raises(ConfigurationError, match="no Zstandard"):
        harness.prepare(compression=Compression.BSZSTD, pool_workers=workers)
    with pytest.raises(ConfigurationError, match="-1 workers"):
        harness.prepare(pool_workers=-1)
    assert list(harness.folder.iterdir()) == []
    assert harness.receiver.state is AcquisitionState.IDLE


def fails_at_39(harness: Harness, reason: str) -> None:
    """A run whose 40th frame is the end of it: FAILED for that reason, and every frame has an account."""
    harness.prepare(expected_frames=100)
    harness.sender.header()
    for number in range(40):
        harness.sender.image(number)
    receipt = harness.receipt()
    assert receipt.verdict is Verdict.FAILED
    assert reason in receipt.reasons[0]
    assert 39 in receipt.frames_lost
    assert receipt.frames_received == receipt.frames_written + len(receipt.frames_lost)
    assert harness.receiver.state is AcquisitionState.FAULT


class TestDamage:
    def test_a_damaged_frame_among_good_ones_is_corrupt_and_leaves_a_blank_row(self, harness: Harness) -> None:
        harness.prepare(orientation=Orientation(2))
        harness.sender.header()
        for number in range(30):
            blob = bytearray(compress_bslz4(pixels(number)))
            if number == 7:
                blob[16:24] = b"\xff" * 8  # inside its first block: seen by nobody before it is unpacked
            harness.sender.image(number, blob=bytes(blob), encoding=Encoding.BSLZ4)
        harness.sender.end()
        receipt = harness.receipt()
        assert (receipt.verdict, receipt.frames_written) == (Verdict.INCOMPLETE, 29)
        assert (receipt.frames_corrupt, receipt.frames_corrupt_numbers, receipt.frames_lost) == (1, (7,), ())
        assert receipt.reasons[0].startswith("frame 7: unpack")
        data = stored(receipt)
        assert np.all(data[7] == 65535)
        assert all(np.array_equal(data[n], np.rot90(pixels(n), 2)) for n in range(30) if n != 7)
        assert check_file(receipt.file).problems == []

    def test_an_intact_copy_right_behind_a_damaged_frame_is_stored(self, harness: Harness) -> None:
        harness.prepare(stream_format=StreamFormat.DECTRIS_V1, orientation=Orientation(2), expected_frames=3)
        good = {n: compress_bslz4(pixels(n)) for n in range(3)}
        bad = bytearray(good[1])
        bad[16:24] = b"\xff" * 8
        send_v1(harness.sender, [0], end=False)
        format, times = FrameFormat(SHAPE, "uint16", Encoding.BSLZ4), {"start_ns": 0, "stop_ns": 0, "real_ns": 0}
        for number, blob in ((1, bytes(bad)), (1, good[1]), (1, good[1]), (2, good[2])):
            harness.sender.send(dectris_v1.encode_image(7, number, format, blob, **times))
        harness.sender.send(dectris_v1.encode_end(7))
        receipt = harness.receipt()
        assert (receipt.frames_written, receipt.frames_corrupt, receipt.frames_duplicate) == (3, 1, 1)
        assert receipt.frames_corrupt_numbers == ()
        assert np.array_equal(stored(receipt), [np.rot90(pixels(n), 2) for n in range(3)])

    def test_a_bare_lz4_block_that_is_none_does_not_stop_the_others(self, harness: Harness) -> None:
        harness.prepare()
        harness.sender.header()
        for number in range(10):
            block = lz4.block.compress(pixels(number).tobytes(), store_size=False)
            blob = bytes(2 * pixels(0).nbytes) if number == 4 else block
            harness.sender.image(number, blob=blob, encoding=Encoding.LZ4_BLOCK)
        harness.sender.end()
        receipt = harness.receipt()
        assert (receipt.frames_written, receipt.frames_corrupt_numbers) == (9, (4,))

    @pytest.mark.lesson(25)
    def test_a_bug_in_the_work_fails_the_run_and_loses_no_account(
        self, harness: Harness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            broken(patch, 39)
            fails_at_39(harness, "internal error, please report it: KeyError")
        harness.prepare(destination=str(harness.folder / "b.h5"))
        harness.sender.series(3)
        assert harness.receipt().verdict is Verdict.COMPLETE

    def test_a_bug_in_the_work_of_the_first_frame_is_told_like_any_other(
        self, harness: Harness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broken(monkeypatch, 0)
        harness.prepare(expected_frames=100)
        harness.sender.header()
        harness.sender.image(0)
        receipt = harness.receipt()
        assert (receipt.verdict, receipt.frames_lost, receipt.frames_written) == (Verdict.FAILED, (0,), 0)
        assert "KeyError" in receipt.reasons[0]

    def test_a_write_error_fails_the_run_and_counts_what_was_in_the_pool_as_lost(
        self, harness: Harness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write = SeriesFile.write
        failed = threading.Event()

        def fail_at_39(file: SeriesFile, row: int, *arguments: Any) -> int:
            assert not failed.is_set(), "the file was asked again"
            if row == 39:
                failed.set()
                raise FileError("write a frame", of=str(file.destination.part), answer="No space left (errno 28)")
            return write(file, row, *arguments)

        monkeypatch.setattr(SeriesFile, "write", fail_at_39)
        fails_at_39(harness, "No space left")


class TestEnds:
    def test_the_end_waits_for_what_is_in_the_pool(self, harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
        held = HeldBack(monkeypatch, lambda number: number in (3, 9))
        harness.prepare(expected_frames=10, pool_workers=2)
        harness.sender.series(10)
        harness.wait_state(AcquisitionState.FINALISING)
        assert not harness.over.is_set()
        held.go_on.set()
        receipt = harness.receipt()
        assert (receipt.verdict, receipt.frames_written) == (Verdict.COMPLETE, 10)
        assert np.array_equal(stored(receipt), [pixels(n) for n in range(10)])

    def test_frames_are_written_as_they_become_ready(self, harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
        held = HeldBack(monkeypatch, lambda number: number == 0)
        harness.prepare(pool_workers=2)
        harness.sender.header()
        for number in range(10):
            harness.sender.image(number)
        harness.wait_written(9)
        held.go_on.set()
        harness.wait_written(10)
        harness.sender.end()
        assert harness.receipt().verdict is Verdict.COMPLETE

    @pytest.mark.parametrize("end", ["abort", "close"])
    def test_abort_finishes_what_is_begun_and_counts_the_rest_as_lost(
        self, harness: Harness, monkeypatch: pytest.MonkeyPatch, end: str
    ) -> None:
        held = HeldBack(monkeypatch, lambda number: number >= 2)
        drop = Pool.drop

        def drop_before_the_begun_go_on(pool: Pool) -> list[Job]:
            dropped = drop(pool)
            held.go_on.set()
            return dropped

        monkeypatch.setattr(Pool, "drop", drop_before_the_begun_go_on)
        harness.prepare(expected_frames=100, pool_workers=2)
        harness.sender.header()
        for number in range(20):
            harness.sender.image(number)
        harness.wait_written(2)
        held.wait_begun(2)
        self._wait_received(harness, 20)
        if end == "abort":
            harness.receiver.abort("enough")
        else:
            harness.receiver.close()
        receipt = harness.receipt()
        assert receipt.verdict is Verdict.ABORTED
        assert (receipt.frames_received, receipt.frames_written) == (20, 4)
        assert receipt.frames_lost == tuple(range(4, 20))
        assert receipt.frames_lost_at == {"pool": ((4, 19),)}
        assert receipt.reasons[1:] == ("frames that had arrived were lost: 16 at the pool",)
        assert np.array_equal(stored(receipt)[:4], [pixels(n) for n in range(4)])
        assert check_file(receipt.file).problems == []

    def test_stop_writes_everything_that_has_arrived(self, harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
        held = HeldBack(monkeypatch, lambda number: number >= 5)
        harness.prepare(expected_frames=1000, pool_workers=1)
        harness.sender.header()
        for number in range(60):
            harness.sender.image(number)
        harness.wait_written(5)
        self._wait_received(harness, 60)
        harness.receiver.stop()
        harness.sender.end()
        held.go_on.set()
        receipt = harness.receipt()
        assert (receipt.verdict, receipt.frames_written, receipt.frames_lost) == (Verdict.ABORTED, 60, ())
        assert np.array_equal(stored(receipt), [pixels(n) for n in range(60)])

    def test_two_series_in_a_row_may_have_different_formats(self, harness: Harness) -> None:
        for name, picture in (("a.h5", np.ones((5, 6), "uint32")), ("b.h5", np.full((50, 60), 7, "uint8"))):
            harness.prepare(destination=str(harness.folder / name))
            harness.sender.header()
            send_picture(harness, 0, picture)
            harness.sender.end()
            assert np.array_equal(stored(harness.receipt())[0], picture)

    @staticmethod
    def _wait_received(harness: Harness, count: int) -> None:
        pause = threading.Event()
        for _ in range(500):
            if harness.counters[-1].frames_received >= count:
                return
            pause.wait(0.01)
        raise AssertionError(f"{count} frames were not received: {harness.counters[-1]}")


class TestSlow:
    def test_a_slow_disk_loses_nothing_and_the_queue_says_that_it_was_full(
        self, harness: Harness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        slow_writes(monkeypatch, 0.002, range(300))
        harness.prepare(memory_bytes=64 * pixels(0).nbytes, frame_nbytes=pixels(0).nbytes)
        harness.sender.series(300)
        receipt = harness.receipt()
        assert receipt.verdict is Verdict.COMPLETE
        assert harness.counters[-1].queue_full_count > 0
        assert np.array_equal(stored(receipt), [pixels(n) for n in range(300)])

    def test_slow_workers_fill_the_pool_and_then_the_queue(
        self, harness: Harness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        held = HeldBack(monkeypatch, lambda number: True)
        budget = 64 * pixels(0).nbytes
        harness.prepare(memory_bytes=budget, frame_nbytes=pixels(0).nbytes, pool_workers=1)
        sending = threading.Thread(target=harness.sender.series, args=(300,))
        sending.start()
        held.wait_begun(1)
        pool = harness.receiver._collector._taking.storing.pool  # type: ignore[union-attr]
        assert pool is not None
        pause = threading.Event()
        sources = harness.receiver._collector._sources  # type: ignore[union-attr]
        for _ in range(500):
            if sources.full_count:
                break
            pause.wait(0.01)
        assert sources.full_count
        assert 0 < pool.nbytes <= pool.limit_bytes < budget
        held.go_on.set()
        assert harness.receipt().verdict is Verdict.COMPLETE
        sending.join()
