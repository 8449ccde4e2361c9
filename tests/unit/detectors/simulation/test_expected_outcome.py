"""The rules by which receipts are judged. What a real receiver makes of them: unit/pipeline/test_hostile_streams.py."""

from __future__ import annotations

import msgspec
import pytest

from maxdaq_tango.detectors.simulation import Faults, SeriesAccount
from maxdaq_tango.detectors.simulation.expected_outcome import (
    ExpectedOutcome,
    disagreements,
    expect_outcome,
    over_at,
    unaccounted,
)
from maxdaq_tango.model import Encoding, Receipt, Verdict

COUNT = 12
ALL = SeriesAccount(series=1, frames_made=COUNT, intact=((0, COUNT - 1),), finished=True)


def account(**fields: object) -> SeriesAccount:
    return msgspec.structs.replace(ALL, **fields)


def outcome(words: str = "", book: SeriesAccount = ALL, **options: object) -> ExpectedOutcome:
    return expect_outcome(Faults.parse(words.split()), book, COUNT, series_known=True, **options)  # type: ignore[arg-type]


GOOD = Receipt(verdict=Verdict.COMPLETE, series="1", frames_expected=COUNT, frames_written=COUNT)


def test_a_series_in_good_health_is_complete_and_each_frame_is_its_own_exposure() -> None:
    good = outcome()
    assert (good.verdict, good.stored) == (Verdict.COMPLETE, {number: number for number in range(COUNT)})
    assert disagreements(GOOD, good) == []


@pytest.mark.parametrize(
    ("encoding", "wrong", "corrupt"),
    [(Encoding.BSLZ4, set(), {5}), (Encoding.LZ4_HDF5, set(), {5}), (Encoding.NONE, {5}, set())],
)
def test_a_wrong_block_length_is_seen_where_there_are_blocks(
    encoding: Encoding, wrong: set[int], corrupt: set[int]
) -> None:
    book = account(intact=((0, 4), (6, 11)), damaged=((5, 5),))
    told = outcome("block_length_frames=5", book, encoding=encoding)
    assert (told.wrong, told.corrupt) == (wrong, corrupt)
    assert told.verdict is (Verdict.COMPLETE if wrong else Verdict.INCOMPLETE)


def test_of_several_faults_on_one_frame_the_first_counts() -> None:
    book = account(intact=((0, 4), (6, 11)), damaged=((5, 5),))
    told = outcome("bomb=5 corrupt_frames=5", book)
    assert (told.wrong, told.corrupt, 5 in told.kept) == (frozenset(), frozenset(), False)


def test_numbers_that_begin_again_are_stored_once_with_the_first_exposure() -> None:
    book = account(intact=((0, 3),), renumbered=((4, 11, 0),))
    assert outcome("restart_at=4", book).stored == {**{n: n for n in range(4)}, **{n: n + 4 for n in range(4, 8)}}


def test_what_a_thief_took_is_missing() -> None:
    told = outcome("thief=4", account(stolen=((5, 5), (7, 7))))
    assert told.kept == set(range(COUNT)) - {5, 7}


@pytest.mark.parametrize(
    ("words", "known", "until"),
    [
        ("", True, COUNT),
        ("second_header_at=6", True, 6),
        ("second_header_at=0", False, 0),
        ("second_header_at=0", True, COUNT),
        ("interleave=3", True, 3),
        ("missing_header", True, 0),
        ("end_at=4 delay_frames=2,8 delay_s=3", True, 8),
        ("end_at=4 delay_frames=8 delay_s=0.1", True, COUNT),
    ],
)
def test_when_a_run_is_over(words: str, known: bool, until: int) -> None:
    assert over_at(Faults.parse(words.split()), COUNT, series_known=known, grace_s=2.0) == until


def test_a_stopped_series_is_aborted_unless_all_had_come() -> None:
    half = account(frames_made=6, intact=((0, 5),))
    assert outcome("", half, stopped=True).verdict is Verdict.ABORTED
    assert outcome("", ALL, stopped=True).verdict is Verdict.COMPLETE


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"verdict": Verdict.INCOMPLETE, "reasons": ("x",)}, "should be COMPLETE"),
        ({"frames_written": 11}, "11 frames written"),
        ({"frames_corrupt_numbers": (3,)}, "corrupt are [3]"),
        ({"reasons": ("but",)}, "with the reasons"),
        ({"frames_missing_ranges": ((2, 3),)}, "they differ in [2, 3]"),
        ({"frames_late_ranges": ((2, 2),)}, "late without a reason"),
        ({"frames_lost_at": {"writer": ((2, 2),)}}, "13 frames, and 12 were expected"),
    ],
)
def test_a_receipt_that_says_anything_else_is_found_out(change: dict[str, object], words: str) -> None:
    found = disagreements(msgspec.structs.replace(GOOD, **change), outcome())
    assert words in "; ".join(found)


def test_a_frame_in_two_states_and_one_in_none_are_found() -> None:
    receipt = Receipt(
        verdict=Verdict.ABORTED,
        series="1",
        frames_expected=4,
        frames_written=1,
        frames_missing_ranges=((1, 2),),
        frames_late_ranges=((2, 2),),
    )
    assert unaccounted(receipt) == ["late and something else at once: [2]"]
    assert unaccounted(msgspec.structs.replace(receipt, frames_late_ranges=())) == [
        "all states together are 3 frames, and 4 were expected"
    ]
