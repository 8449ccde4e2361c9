"""Parts that come again with other pixels: two lives of a sender, or two acquisitions, are never one COMPLETE file."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from maxdaq_tango.model import StreamFormat, Verdict
from maxdaq_tango.pipeline.assembly import Assembler
from maxdaq_tango.pipeline.part_sums import FRAME_COST, PartSums
from module_parts import part, pixels, whole
from module_senders import Jungfrau, Lambda
from receiving import Harness, stored


def other(number: int, module: int) -> bytes:
    return bytes(pixels(number, module) + 7777)


@pytest.fixture
def four(harness: Harness) -> Lambda:
    detector = Lambda(harness.context)
    how: dict[str, Any] = {"stream_format": StreamFormat.LAMBDA_MODULES, "module_wait_s": 0.3, "expected_frames": 5}
    harness.prepare(sources=detector.endpoints, **how)
    return detector


@pytest.fixture
def ports(harness: Harness) -> Jungfrau:
    detector = Jungfrau(harness.context, first=1)
    harness.prepare(sources=detector.endpoints, stream_format=StreamFormat.SLS_JSON, module_wait_s=0.3)
    detector.wait_subscribed()
    return detector


@pytest.mark.lesson(2)
@pytest.mark.parametrize("again", [(0, 1, 2, 3), (2,)], ids=["all senders", "one sender"])
def test_senders_that_are_started_again_within_a_series_are_told(
    harness: Harness, four: Lambda, again: tuple[int, ...]
) -> None:
    four.header()
    for number in range(3):
        four.image(number)
    harness.wait_written(3)
    for module in again:
        four.numbers[module] = 0
    four.header(*again)
    for number in range(5):
        for module in range(4):
            if module in again:
                four.image(number, module, blob=other(number, module))
            elif number > 2:
                four.image(number, module)
    four.end()
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_written) == (Verdict.INCOMPLETE, 5)
    assert (receipt.frames_conflicting, receipt.frames_conflicting_ranges) == (3, ((0, 2),))
    assert any("3 frames came again with other pixels" in reason for reason in receipt.reasons)
    np.testing.assert_array_equal(stored(receipt)[:3], [whole(n, 4) for n in range(3)])


@pytest.mark.lesson(2)
def test_an_acquisition_that_counts_from_the_same_number_as_the_one_before_is_told(
    harness: Harness, ports: Jungfrau
) -> None:
    for number in range(5):
        ports.image(number)  # and the ends are lost
    for number in range(5):
        for module in range(2):
            ports.image(number, module, blob=other(number, module))
    ports.end()
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_conflicting_ranges) == (Verdict.INCOMPLETE, ((1, 5),))
    np.testing.assert_array_equal(stored(receipt), [whole(n, 2) for n in range(5)])


def test_the_same_parts_again_are_no_conflict(harness: Harness, four: Lambda) -> None:
    four.header()
    for number in range(3):
        four.image(number)
    four.numbers = [0] * 4
    four.header()
    for number in range(5):
        four.image(number)
    four.end()
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_conflicting) == (Verdict.COMPLETE, 0)
    assert receipt.parts_late + receipt.parts_duplicate == 12


def assembler(modules: int = 2) -> tuple[Assembler, set[int]]:
    out: set[int] = set()
    return Assembler(modules, wait_s=1.0, limit_bytes=1 << 20, holds=out.__contains__), out


def test_a_part_that_comes_twice_before_its_frame_is_out_is_compared() -> None:
    made, _ = assembler()
    for blob in (part(0, 0).blob, part(0, 0).blob, part(9, 0).blob):
        made.put(part(0, 0, blob=blob), 0.0)
    assert (made.duplicates, made.conflicting.ranges()) == (2, ((0, 0),))


def test_a_part_that_is_late_for_a_frame_without_it_contradicts_nothing() -> None:
    made, out = assembler()
    made.put(part(0, 0), 0.0)
    made.due(1.0)
    out.add(0)
    made.put(part(0, 1), 1.0)
    assert (made.late, made.conflicting.count) == (1, 0)
    made.put(part(0, 0, blob=part(9, 0).blob), 1.0)
    assert (made.late, made.conflicting.ranges()) == (2, ((0, 0),))


def test_of_a_long_series_the_first_and_the_newest_frames_are_known() -> None:
    sums = PartSums(1, most_bytes=8 * (FRAME_COST + 8))
    for number in range(100):
        sums.keep(number, [b"%d" % number])
    known = [number for number in range(100) if sums.contradict(number, 0, b"x")]
    assert known == [0, 1, 2, 3, 96, 97, 98, 99]
    assert not sums.contradict(1, 0, b"1")
