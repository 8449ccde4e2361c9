"""A stale frame of an earlier life of a STINS sender is told by its numbers; an odd sender is not taken for stale."""

from __future__ import annotations

import numpy as np
import pytest

from maxdaq_tango.files import check_file
from maxdaq_tango.model import Compression, Encoding, FileBackend, Frame, FrameFormat, Verdict
from maxdaq_tango.pipeline.numbering import Numbering
from maxdaq_tango.wire import stins
from receiving import Harness, pixels, stored

HEADER = 100


def accepted(numbering: Numbering, frames: list[tuple[int, int]]) -> list[bool]:
    """(frame number, message number) as they come."""
    newest, answers = -1, []
    for number, msg_number in frames:
        known = msg_number - number == numbering.offset
        answers.append(known or numbering.accepts(msg_number, number, newest))
        newest = max(newest, number)
    return answers


@pytest.mark.parametrize("first", [0, 1, 70_000])
def test_losses_on_the_way_and_any_order_contradict_nothing(first: int) -> None:
    numbering = Numbering(HEADER)
    frames = [(first + n, HEADER + 1 + n) for n in (0, 5, 2, 9, 1)]
    assert all(accepted(numbering, frames))
    assert (numbering.first, numbering.is_off, numbering.decision) == (first, False, "")


@pytest.mark.lesson(2)
def test_one_frame_of_an_earlier_life_is_doubtful() -> None:
    numbering = Numbering(0)
    assert accepted(numbering, [(0, 1), (3, 400), (1, 2), (2, 3), (3, 4)]) == [True, False, True, True, True]
    assert not numbering.is_off


def test_a_stale_frame_that_comes_first_does_not_push_the_true_ones_out() -> None:
    assert accepted(Numbering(0), [(3, 400), (0, 1), (1, 2), (2, 3)]) == [False, True, True, True]
    assert accepted(Numbering(0), [(30, 5), (0, 1), (1, 2), (2, 3)]) == [True] * 4


def test_frames_that_the_camera_skipped_are_no_contradiction() -> None:
    numbering = Numbering(HEADER)
    skipped = [(0, 101), (1, 102), (5, 103), (6, 104), (9, 105)]
    assert all(accepted(numbering, skipped))
    assert all(accepted(Numbering(HEADER), [skipped[i] for i in (0, 2, 1, 4, 3)]))  # over several sockets
    assert not numbering.is_off


def test_the_second_contradiction_ends_the_rule_and_says_so() -> None:
    numbering = Numbering(HEADER)
    ring = [(n % 4, HEADER + 1 + n) for n in range(12)]
    assert accepted(numbering, ring) == [True] * 4 + [False] + [True] * 7
    assert numbering.is_off
    assert "not numbered in step" in numbering.decision


def test_without_a_number_in_the_header_there_is_no_rule() -> None:
    assert all(accepted(Numbering(), [(0, 5), (3, 1), (1, 900)]))
    assert Numbering().decision == ""


@pytest.mark.lesson(2)
def test_a_stale_frame_of_an_earlier_life_does_not_displace_the_true_one(harness: Harness) -> None:
    harness.prepare(expected_frames=6)
    sender = harness.sender
    sender.header()
    for number in range(3):
        sender.image(number)
    sender.number, now = 500, sender.number
    sender.image(4, blob=pixels(99).tobytes())
    sender.number = now
    for number in range(3, 6):
        sender.image(number)
    sender.end()
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_out_of_series, receipt.frames_duplicate) == (Verdict.COMPLETE, 1, 0)
    assert np.array_equal(stored(receipt), [pixels(n) for n in range(6)])


def test_a_sender_that_sends_in_any_order_loses_no_frame_to_the_rule(harness: Harness) -> None:
    harness.prepare(expected_frames=6)
    harness.sender.header()
    for number in (0, 2, 1, 5, 3, 4):
        harness.sender.image(number)
    harness.sender.end()
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_out_of_series) == (Verdict.COMPLETE, 0)
    assert "not numbered in step" in receipt.decisions["numbering"]
    assert np.array_equal(stored(receipt), [pixels(n) for n in range(6)])


@pytest.mark.lesson(2)
@pytest.mark.parametrize("compression", [Compression.NONE, Compression.BSLZ4])
@pytest.mark.parametrize("backend", [FileBackend.SWMR, FileBackend.DIRECT])
@pytest.mark.parametrize("frames_per_file", [0, 2])
def test_a_copy_with_other_pixels_makes_the_series_incomplete(
    harness: Harness, compression: Compression, backend: FileBackend, frames_per_file: int
) -> None:
    harness.prepare(expected_frames=4, compression=compression, backend=backend, frames_per_file=frames_per_file)
    sender = harness.sender
    sender.header()
    for number, picture in ((0, 0), (1, 1), (1, 1), (2, 77), (2, 2), (3, 3)):
        sender.image(number, blob=pixels(picture).tobytes())
    sender.end()
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_duplicate) == (Verdict.INCOMPLETE, 2)
    assert receipt.frames_duplicate_ranges == ((1, 2),)
    assert (receipt.frames_conflicting, receipt.frames_conflicting_ranges) == (1, ((2, 2),))
    assert receipt.reasons == ("1 frames came again with other pixels, and the first that came is stored",)
    assert check_file(receipt.file).problems == []


def test_copies_that_are_the_same_are_no_conflict(harness: Harness) -> None:
    harness.prepare(expected_frames=3)
    harness.sender.header()
    for number in (0, 1, 1, 0, 2):
        harness.sender.image(number)
    harness.sender.end()
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_duplicate, receipt.frames_conflicting) == (Verdict.COMPLETE, 2, 0)


@pytest.mark.parametrize("odd", [b"\0" * 9, b"\0\0\0"])
def test_a_copy_of_another_shape_is_a_conflict(harness: Harness, odd: bytes) -> None:
    harness.prepare(expected_frames=2)
    harness.sender.header()
    harness.sender.image(0)
    format = FrameFormat((1, len(odd)), "uint8", Encoding.NONE)
    copy = Frame(series="", frame_number=0, format=format, blobs=(odd,))
    harness.sender.send(stins.encode_image(harness.sender._next(), copy))
    harness.sender.image(1)
    harness.sender.end()
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_conflicting_ranges) == (Verdict.INCOMPLETE, ((0, 0),))
    assert np.array_equal(stored(receipt), [pixels(0), pixels(1)])
