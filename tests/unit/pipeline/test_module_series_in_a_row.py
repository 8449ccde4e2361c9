"""Series after series of a detector of modules on the same sockets: each file has its own frames and no others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from maxdaq_tango.model import AcquisitionState, StreamFormat, Verdict
from module_parts import whole
from module_senders import Jungfrau
from receiving import Harness, stored, wait_for_bytes


@pytest.fixture
def detector(harness: Harness) -> Jungfrau:
    return Jungfrau(harness.context)


@pytest.fixture
def single(harness: Harness) -> Jungfrau:
    return Jungfrau(harness.context, modules=1)


def prepare(harness: Harness, detector: Jungfrau, **changes: Any) -> None:
    settings = {"sources": detector.endpoints, "stream_format": StreamFormat.SLS_JSON, "module_wait_s": 0.3}
    harness.prepare(**{**settings, "series_count": 2, **changes})
    detector.wait_subscribed()


def send(detector: Jungfrau, first: int, frames: range, *ports: int, end: bool = True) -> None:
    detector.begin(first)
    for number in frames:
        detector.image(number, *ports)
    if end:
        detector.end(*ports)


def test_a_series_without_an_end_and_the_next_one_in_the_same_batch_are_both_taken(
    harness: Harness, single: Jungfrau
) -> None:
    prepare(harness, single)
    send(single, 101, range(3), end=False)
    send(single, 104, range(3))
    harness.wait_state(AcquisitionState.IDLE)
    first, second = harness.wait_receipts(2)
    assert (first.verdict, first.frames_written, first.frames_out_of_series) == (Verdict.INCOMPLETE, 3, 0)
    assert (second.verdict, second.frames_written, second.frames_out_of_series) == (Verdict.COMPLETE, 3, 0)
    for receipt in (first, second):
        np.testing.assert_array_equal(stored(receipt), [whole(n, 1) for n in range(3)])


def test_when_there_is_no_room_for_the_next_series_this_one_is_over_and_no_message_is_taken_twice(
    harness: Harness, detector: Jungfrau
) -> None:
    prepare(harness, detector, memory_bytes=1 << 20, module_wait_s=5.0)
    send(detector, 101, range(5), 0)
    send(detector, 101, range(2), 1, end=False)  # the rest never comes
    send(detector, 200, range(60), 0)
    harness.wait_receipts(1)
    send(detector, 200, range(60), 1)
    harness.wait_state(AcquisitionState.IDLE)
    first, second = harness.wait_receipts(2)
    assert (first.verdict, first.frames_written, first.frames_partial_ranges) == (Verdict.INCOMPLETE, 5, ((103, 105),))
    assert any("no more room for the next series" in reason for reason in first.reasons)
    np.testing.assert_array_equal(stored(first), [whole(n, 2, (1,) if n > 1 else ()) for n in range(5)])
    assert (second.frames_written, second.parts_duplicate + second.parts_late) == (60, 0)
    assert (first.frames_out_of_series, second.frames_out_of_series) == (0, 0)


def test_a_port_that_is_dead_and_a_next_series_without_room_cost_its_pixels_and_not_the_run(
    harness: Harness, detector: Jungfrau
) -> None:
    prepare(harness, detector, memory_bytes=1 << 20, module_wait_s=5.0)
    send(detector, 101, range(5), 0)  # port 1 brings nothing: no frame has gone out when the room is full
    send(detector, 106, range(60), 0)
    (first,) = harness.wait_receipts(1)
    assert (first.verdict, first.frames_written, first.frames_lost_count) == (Verdict.INCOMPLETE, 5, 0)
    np.testing.assert_array_equal(stored(first), [whole(n, 2, (1,)) for n in range(5)])
    harness.receiver.stop()
    second = harness.wait_receipts(2)[1]
    assert (second.frames_written, second.frames_partial, second.frames_missing_count) == (60, 60, 0)


def test_a_next_series_that_never_pauses_ends_no_run_whose_ends_have_come(harness: Harness, detector: Jungfrau) -> None:
    prepare(harness, detector, grace_s=0.2)
    send(detector, 101, range(3))
    detector.begin(104)
    frames = 0
    while not any(report.receipt for report in harness.reports):  # with a grace time it would be the last one
        detector.image(frames)
        frames += 1
    detector.end()
    harness.wait_state(AcquisitionState.IDLE)
    first, second = harness.wait_receipts(2)
    assert (first.verdict, first.frames_written, second.verdict) == (Verdict.COMPLETE, 3, Verdict.COMPLETE)
    assert (second.frames_written, second.first_frame_number) == (frames, 104)


@pytest.mark.parametrize("first", [1, 50], ids=["lower", "higher"])
def test_a_next_series_that_never_pauses_ends_one_whose_ends_were_lost(
    harness: Harness, detector: Jungfrau, first: int
) -> None:
    prepare(harness, detector, grace_s=0.2, expected_frames=3, module_wait_s=5.0)
    send(detector, 11, range(3), end=False)
    detector.begin(first)
    frames = 0
    while not any(report.receipt for report in harness.reports):
        detector.image(frames)
        frames += 1
    for number in range(frames, 3):
        detector.image(number)
    detector.end()
    one, two = harness.wait_receipts(2)
    assert (one.frames_written, one.first_frame_number, one.frames_unexpected) == (3, 11, 0)
    assert (two.frames_written, two.first_frame_number) == (3, first)
    for receipt in (one, two):
        np.testing.assert_array_equal(stored(receipt), [whole(n, 2) for n in range(3)])


@pytest.mark.lesson(2)
@pytest.mark.parametrize("expected", [None, 5], ids=["unknown", "expected"])
@pytest.mark.parametrize("other_first", [False, True], ids=["before the next series", "inside it"])
def test_what_a_slow_port_still_brings_of_the_series_before_is_out_of_series(
    harness: Harness, detector: Jungfrau, other_first: bool, expected: int | None
) -> None:
    prepare(harness, detector, expected_frames=expected, module_wait_s=0.5)
    send(detector, 101, range(5), 0)
    send(detector, 101, range(2), 1, end=False)
    harness.wait_receipts(1)  # the other port was silent for longer than the wait
    if other_first:
        send(detector, 106, range(3), 0, end=False)
    before = detector.nbytes
    send(detector, 101, range(2, 5), 1, end=False)
    wait_for_bytes(harness, detector.nbytes - before)
    send(detector, 106, range(5), 1)
    send(detector, 106, range(3 if other_first else 0, 5), 0)
    harness.wait_state(AcquisitionState.IDLE)
    first, second = harness.wait_receipts(2)
    assert (first.frames_written, first.frames_partial_ranges) == (5, ((103, 105),))
    assert (second.verdict, second.frames_out_of_series, second.first_frame_number) == (Verdict.COMPLETE, 3, 106)
    np.testing.assert_array_equal(stored(second), [whole(n, 2) for n in range(5)])
