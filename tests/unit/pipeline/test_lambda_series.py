"""A detector of four modules, each on a socket of its own, from the sockets to the pixels in the file."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from maxdaq_tango.files.check import check_file
from maxdaq_tango.model import AcquisitionState, Encoding, FileBackend, Receipt, StreamFormat, Verdict
from module_parts import SHAPE, part, whole
from module_senders import Lambda
from receiving import Harness, slow_writes, stored, wait_for_bytes

MODULES = 4


@pytest.fixture
def detector(harness: Harness) -> Lambda:
    return Lambda(harness.context, MODULES)


def prepare(harness: Harness, detector: Lambda, **changes: Any) -> None:
    settings = {"sources": detector.endpoints, "stream_format": StreamFormat.LAMBDA_MODULES, "detector": "lambda"}
    harness.prepare(**{**settings, "module_wait_s": 0.3, **changes})


def column(receipt: Receipt, name: str) -> np.ndarray[Any, Any]:
    with h5py.File(receipt.file, "r") as file:
        values: np.ndarray[Any, Any] = file[receipt.dataset].parent[name][...]
        return values


def is_sound(receipt: Receipt) -> None:
    assert check_file(Path(receipt.file)).problems == []


@pytest.mark.parametrize("backend", [FileBackend.SWMR, FileBackend.DIRECT])
@pytest.mark.parametrize("encoding", [Encoding.NONE, Encoding.BSLZ4])
def test_all_modules_of_all_frames_are_stored_pixel_by_pixel(
    harness: Harness, detector: Lambda, encoding: Encoding, backend: FileBackend
) -> None:
    prepare(harness, detector, backend=backend)
    detector.header(exptime=0.5)
    for number in range(6):
        detector.image(number, encoding=encoding)
    detector.end()
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.reasons) == (Verdict.COMPLETE, ())
    assert (receipt.shape, receipt.encoding) == ((6, MODULES, *SHAPE), "bslz4")
    assert (receipt.modules, receipt.frames_partial, receipt.modules_missing) == (4, 0, (0, 0, 0, 0))
    np.testing.assert_array_equal(stored(receipt), [whole(n, MODULES) for n in range(6)])
    assert column(receipt, "frame_metadata/modules_mask").tolist() == [15.0] * 6
    with h5py.File(receipt.file, "r") as file:
        group = file["entry/instrument/lambda"]
        assert group["data"].chunks == (1, 1, *SHAPE)
        told = {name: group[name][()].tolist() for name in ("x", "y", "rotation", "full_shape", "modules")}
    assert told == {
        "x": [0, 10, 20, 30],
        "y": [0, 20, 40, 60],
        "rotation": [0, 90, 180, 270],
        "full_shape": [30, 40],
        "modules": 4,
    }
    is_sound(receipt)


@pytest.mark.lesson(18)
def test_a_message_of_one_module_that_is_lost_costs_its_pixels_alone(harness: Harness, detector: Lambda) -> None:
    prepare(harness, detector)
    detector.header()
    detector.image(0)
    detector.image(1, 0, 1, 3)
    detector.lose(2)
    for number in range(2, 6):
        detector.image(number)
    detector.end()
    receipt = harness.receipt()
    assert receipt.verdict is Verdict.INCOMPLETE
    assert receipt.reasons == ("1 frames have not all pixels: module 2 missing in 1",)
    assert (receipt.frames_expected, receipt.frames_written, receipt.frames_missing_count) == (6, 6, 0)
    assert (receipt.frames_partial, receipt.frames_partial_ranges) == (1, ((1, 1),))
    assert receipt.modules_missing == (0, 0, 1, 0)
    np.testing.assert_array_equal(stored(receipt), [whole(n, MODULES, (2,) if n == 1 else ()) for n in range(6)])
    assert column(receipt, "frame_metadata/modules_mask").tolist() == [15, 11, 15, 15, 15, 15]
    assert column(receipt, "frame_metadata/modules_valid").tolist() == [4, 3, 4, 4, 4, 4]
    assert column(receipt, "daq/frames_partial_ranges").tolist() == [[1, 1]]
    is_sound(receipt)


@pytest.mark.lesson(18)
@pytest.mark.parametrize("dead", range(MODULES))
def test_a_module_that_is_silent_for_the_whole_series_costs_its_pixels_alone(
    harness: Harness, detector: Lambda, dead: int
) -> None:
    prepare(harness, detector, expected_frames=20)
    alive = [module for module in range(MODULES) if module != dead]
    detector.header(*alive)
    for number in range(20):
        detector.image(number, *alive)
    detector.end(*alive)
    receipt = harness.receipt()
    assert receipt.verdict is Verdict.INCOMPLETE
    assert (receipt.frames_written, receipt.frames_partial_ranges) == (20, ((0, 19),))
    assert receipt.modules_missing == tuple(20 * (module == dead) for module in range(MODULES))
    np.testing.assert_array_equal(stored(receipt), [whole(n, MODULES, (dead,)) for n in range(20)])
    is_sound(receipt)


@pytest.mark.lesson(18)
def test_a_module_at_whose_address_nobody_listens_is_named(harness: Harness, detector: Lambda) -> None:
    detector.sockets[3].unbind(detector.endpoints[3])
    prepare(harness, detector, connect_timeout_s=0.0)
    detector.header(0, 1, 2)
    for number in range(3):
        detector.image(number, 0, 1, 2)
    detector.end(0, 1, 2)
    receipt = harness.receipt()
    assert receipt.verdict is Verdict.INCOMPLETE
    assert any(detector.endpoints[3] in reason for reason in receipt.reasons)
    np.testing.assert_array_equal(stored(receipt), [whole(n, MODULES, (3,)) for n in range(3)])


def test_modules_may_send_their_series_one_after_the_other(harness: Harness, detector: Lambda) -> None:
    prepare(harness, detector, module_wait_s=10.0)
    for module in (2, 0, 3, 1):
        detector.header(module)
        for number in range(200):
            detector.image(number, module)
        detector.end(module)
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_partial, receipt.frames_written) == (Verdict.COMPLETE, 0, 200)
    np.testing.assert_array_equal(stored(receipt), [whole(n, MODULES) for n in range(200)])


def test_a_frame_that_no_module_brings_is_missing_and_not_partial(harness: Harness, detector: Lambda) -> None:
    prepare(harness, detector, expected_frames=3)
    detector.header()
    detector.image(0)
    detector.lose(0, 1, 2, 3)
    detector.image(2)
    detector.end()
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_missing, receipt.frames_partial) == (Verdict.INCOMPLETE, (1,), 0)
    np.testing.assert_array_equal(stored(receipt), [whole(0, 4), whole(1, 4, (0, 1, 2, 3)), whole(2, 4)])


def test_what_was_waiting_is_stored_when_a_series_falls_silent(harness: Harness, detector: Lambda) -> None:
    prepare(harness, detector, expected_frames=3, stall_timeout_s=0.5, module_wait_s=60.0)
    detector.header()
    detector.image(0)
    detector.image(1, 0, 1)
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_written, receipt.frames_missing) == (Verdict.INCOMPLETE, 2, (2,))
    np.testing.assert_array_equal(stored(receipt), [whole(0, 4), whole(1, 4, (2, 3))])


def test_a_damaged_blob_costs_its_module_alone(harness: Harness, detector: Lambda) -> None:
    prepare(harness, detector)
    detector.header()
    detector.image(0, 0, 1, 2)
    detector.image(0, 3, blob=part(0, 3).blob[:-1])  # type: ignore[index]
    detector.image(1)
    detector.end()
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_corrupt, receipt.frames_partial) == (Verdict.INCOMPLETE, 1, 1)
    assert any("module 3 of frame 0" in reason for reason in receipt.reasons)
    np.testing.assert_array_equal(stored(receipt), [whole(0, 4, (3,)), whole(1, 4)])


def test_parts_that_come_twice_are_counted_and_harmless(harness: Harness, detector: Lambda) -> None:
    prepare(harness, detector, expected_frames=2)
    detector.header()
    detector.image(0, 0)
    detector.numbers[0] -= 1
    detector.image(0)
    detector.image(1)
    detector.end()
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_duplicate) == (Verdict.COMPLETE, 0)
    assert receipt.parts_duplicate + receipt.parts_late == 1  # its frame may have gone out before
    np.testing.assert_array_equal(stored(receipt), [whole(0, 4), whole(1, 4)])


def test_a_stale_part_of_an_earlier_life_of_a_sender_is_not_stored(harness: Harness, detector: Lambda) -> None:
    prepare(harness, detector, expected_frames=3)
    detector.header()
    detector.image(0)
    detector.numbers[1] += 700
    detector.image(2, 1, blob=bytes(30))
    detector.numbers[1] -= 701
    for number in (1, 2):
        detector.image(number)
    detector.end()
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_out_of_series, receipt.frames_partial) == (Verdict.COMPLETE, 1, 0)
    np.testing.assert_array_equal(stored(receipt), [whole(n, 4) for n in range(3)])


def test_the_next_series_may_begin_at_one_module_before_this_one_has_ended_at_another(
    harness: Harness, detector: Lambda
) -> None:
    prepare(harness, detector, series_count=2, module_wait_s=10.0)

    def send(*modules: int) -> None:
        detector.header(*modules)
        for number in range(3):
            detector.image(number, *modules)
        detector.end(*modules)

    send(0, 1)
    send(0, 1)
    send(2, 3)
    send(2, 3)
    harness.wait_state(AcquisitionState.IDLE)
    receipts = [report.receipt for report in harness.reports if report.receipt is not None]
    assert [(receipt.verdict, receipt.reasons) for receipt in receipts] == [(Verdict.COMPLETE, ())] * 2
    for receipt in receipts:
        np.testing.assert_array_equal(stored(receipt), [whole(n, 4) for n in range(3)])


def test_an_aborted_run_says_which_frames_were_lost_between_modules(harness: Harness, detector: Lambda) -> None:
    prepare(harness, detector, expected_frames=9, module_wait_s=60.0)
    detector.header()
    detector.image(0)
    detector.image(1, 0, 2)
    detector.image(2, 1, 3)
    detector.image(3, 2)
    detector.image(4)
    harness.wait_written(2)
    harness.receiver.abort("enough")
    receipt = harness.receipt()
    assert receipt.verdict is Verdict.ABORTED
    lost = {number for low, high in receipt.frames_lost_at["assembly"] for number in range(low, high + 1)}
    assert lost <= {1, 2, 3}
    assert lost >= {1}
    assert (receipt.frames_written, receipt.frames_partial) == (2, 0)
    np.testing.assert_array_equal(stored(receipt)[[0, 4]], [whole(0, 4), whole(4, 4)])


def test_what_waits_for_modules_stays_within_its_share_of_the_memory(harness: Harness, detector: Lambda) -> None:
    prepare(harness, detector, memory_bytes=4 << 20, expected_frames=2000)
    alive = [0, 1, 3]
    detector.header()
    for number in range(2000):
        detector.image(number, *alive)
    detector.end()
    receipt = harness.receipt()
    assert (receipt.frames_written, receipt.frames_partial) == (2000, 2000)
    data = stored(receipt)
    for number in range(0, 2000, 97):
        np.testing.assert_array_equal(data[number], whole(number, 4, (2,)))


def test_the_decisions_and_the_receipt_in_the_file_tell_of_modules(harness: Harness, detector: Lambda) -> None:
    prepare(harness, detector)
    detector.header()
    detector.image(0)
    detector.end()
    receipt = harness.receipt()
    assert receipt.decisions["modules"] == "4, each waited for 0.3 s"
    assert receipt.decisions["sockets"].startswith("1 for each source")
    with h5py.File(receipt.file, "r") as file:
        daq = file[receipt.dataset].parent["daq"]
        assert json.loads(daq["receipt"][()])["modules"] == 4
        assert daq["counters"].attrs["frames_partial"] == 0


def test_a_module_that_is_far_behind_is_waited_for_while_the_others_wait_at_their_senders(
    harness: Harness, detector: Lambda
) -> None:
    frames, far_ahead = 3000, threading.Event()
    prepare(harness, detector, memory_bytes=4 << 20, module_wait_s=30.0)

    def lead() -> None:
        for number in range(frames):
            detector.image(number, 0, 1, 2)
            if number == 500:  # four times what the budget has room for
                far_ahead.set()
        detector.end(0, 1, 2)

    detector.header()
    leading = threading.Thread(target=lead)
    leading.start()
    try:
        assert far_ahead.wait(10)
        for number in range(frames):
            detector.image(number, 3)
        detector.end(3)
        receipt = harness.receipt()
    finally:
        leading.join()
    assert (receipt.verdict, receipt.frames_written, receipt.frames_partial) == (Verdict.COMPLETE, frames, 0)
    data = stored(receipt)
    for number in range(0, frames, 97):
        np.testing.assert_array_equal(data[number], whole(number, 4))


def test_a_slow_disk_is_no_silence_of_a_module(
    harness: Harness, detector: Lambda, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_writes(monkeypatch, 0.9, range(0, 400, 100))
    prepare(harness, detector, module_wait_s=0.3)
    detector.header()
    for number in range(400):
        detector.image(number)
    detector.end()
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_written, receipt.frames_partial) == (Verdict.COMPLETE, 400, 0)


def test_parts_that_waited_for_headers_in_vain_are_out_of_series(harness: Harness, detector: Lambda) -> None:
    prepare(harness, detector, module_wait_s=60.0)
    detector.header(0)
    detector.image(0, 0)
    detector.image(1, 0)
    wait_for_bytes(harness, detector.nbytes)
    harness.receiver.stop()
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_out_of_series, receipt.file) == (Verdict.ABORTED, 2, "")
    assert harness.counters[-1].queue_limit_bytes > 0


def test_parts_of_a_last_series_that_wait_for_headers_are_told_when_the_run_is_stopped(
    harness: Harness, detector: Lambda
) -> None:
    prepare(harness, detector, series_count=0, module_wait_s=60.0)
    detector.header()
    detector.image(0)
    detector.end()
    harness.wait_receipts(1)
    before = detector.nbytes
    detector.header(0, 1, 2)
    for number in range(3):
        detector.image(number, 0, 1, 2)
    wait_for_bytes(harness, detector.nbytes - before)
    harness.receiver.stop()
    last = harness.wait_receipts(2)[1]
    assert (last.verdict, last.frames_out_of_series, last.file) == (Verdict.ABORTED, 9, "")
    harness.wait_state(AcquisitionState.IDLE)
