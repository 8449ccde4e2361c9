"""The account of a series, and the row of a frame."""

from __future__ import annotations

import numpy as np
import pytest

from maxdaq_tango.model import Fate
from maxdaq_tango.pipeline.ledger import DOUBTFUL_JUMP, MAX_JUMP, Entry, Ledger


def enter_all(ledger: Ledger, numbers: list[int], fate: Fate = Fate.WRITTEN) -> dict[int, int]:
    rows: dict[int, int] = {}
    for number in numbers:
        entry, row = ledger.enter(number)
        if entry is Entry.NEW:
            ledger.settle(row, fate)
            rows[number] = row
    return rows


def final_rows(ledger: Ledger, rows: dict[int, int], **how: bool) -> dict[int, int]:
    """Where each frame number stands once the rows are turned as the account says."""
    account = ledger.close(**how)
    turned = {}
    for number, row in rows.items():
        new = row - account.rotation
        turned[number] = new % account.modulus if account.modulus is not None else new
    return turned


def test_numbers_from_zero_are_their_own_rows() -> None:
    ledger = Ledger(5)
    assert enter_all(ledger, [0, 1, 2, 3, 4]) == {n: n for n in range(5)}
    account = ledger.close()
    assert (account.first, account.row_count, account.rotation, account.missing_count) == (0, 5, 0, 0)


@pytest.mark.parametrize("first", [0, 1, 3, 7, 10, 105, 1166])
@pytest.mark.parametrize("count", [1, 2, 10])
def test_any_first_number_ends_in_rows_from_zero_without_holes(first: int, count: int) -> None:
    ledger = Ledger(count)
    numbers = list(range(first, first + count))
    rows = enter_all(ledger, numbers)
    assert sorted(rows.values()) == list(range(count))
    account = ledger.close()
    assert account.missing_ranges == ()
    assert account.first == first
    assert final_rows(ledger, rows) == {number: number - first for number in numbers}


def test_a_lost_first_frame_is_missing_not_a_shift() -> None:
    ledger = Ledger(10)
    rows = enter_all(ledger, list(range(1, 10)))
    account = ledger.close()
    assert account.first == 0
    assert account.missing_ranges == ((0, 0),)
    assert final_rows(ledger, rows)[9] == 9


def test_gaps_are_ranges() -> None:
    ledger = Ledger(10)
    enter_all(ledger, [0, 3, 4, 8])
    account = ledger.close()
    assert account.missing_ranges == ((1, 2), (5, 7), (9, 9))
    assert account.missing_count == 6
    assert ledger.gaps == 5


def test_without_the_tail_only_rows_up_to_the_last_frame_are_kept_but_all_are_missing() -> None:
    ledger = Ledger(100_000)
    enter_all(ledger, list(range(9)))
    account = ledger.close(keep_tail=False)
    assert account.row_count == 9
    assert account.missing_ranges == ((9, 99_999),)


@pytest.mark.lesson(3)
def test_a_duplicate_is_told_from_a_stranger() -> None:
    ledger = Ledger(3)
    enter_all(ledger, [0, 1])
    assert ledger.enter(1)[0] is Entry.DUPLICATE
    assert ledger.enter(3)[0] is Entry.UNEXPECTED  # would stand in row 0, which frame 0 holds
    assert (ledger.duplicates.ranges(), ledger.unexpected.ranges()) == (((1, 1),), ((3, 3),))


def test_an_intact_copy_replaces_a_corrupt_frame() -> None:
    ledger = Ledger(2)
    _, row = ledger.enter(0)
    ledger.settle(row, Fate.CORRUPT)
    entry, again = ledger.enter(0)
    assert (entry, again) == (Entry.NEW, row)
    ledger.settle(again, Fate.WRITTEN)
    assert ledger.seen == 1
    assert ledger.close().count(Fate.CORRUPT) == 0


def test_frames_on_their_way_when_the_account_closes_are_lost_not_forgotten() -> None:
    ledger = Ledger(2)
    ledger.enter(0)
    account = ledger.close()
    assert account.count(Fate.LOST_POOL) == 1
    assert account.count(Fate.TAKEN) == 0


def test_unknown_count_grows() -> None:
    ledger = Ledger()
    rows = enter_all(ledger, list(range(5000)))
    assert rows[4999] == 4999
    account = ledger.close()
    assert (account.expected, account.row_count, account.missing_count) == (None, 5000, 0)


def test_unknown_count_starts_at_the_first_number_seen() -> None:
    ledger = Ledger()
    rows = enter_all(ledger, [7, 8, 9])
    assert rows == {7: 0, 8: 1, 9: 2}
    assert ledger.close().first == 7


def test_with_slack_earlier_numbers_may_follow() -> None:
    ledger = Ledger()
    rows = {}
    for number in (9, 7, 8):
        entry, row = ledger.enter(number, slack=256)
        assert entry is Entry.NEW
        ledger.settle(row, Fate.WRITTEN)
        rows[number] = row
    assert final_rows(ledger, rows) == {7: 0, 8: 1, 9: 2}


def test_a_proof_of_the_first_number_beats_the_guess() -> None:
    ledger = Ledger(10)
    ledger.hint_first(1)
    rows = enter_all(ledger, list(range(2, 11)))  # frame 1 was lost
    account = ledger.close()
    assert account.missing_ranges == ((1, 1),)
    assert final_rows(ledger, rows)[2] == 1


@pytest.mark.parametrize("expected", [None, 10])
def test_a_damaged_number_allocates_nothing(expected: int | None) -> None:
    ledger = Ledger(expected)
    enter_all(ledger, [0, 1])
    assert ledger.enter(1 + MAX_JUMP + 11)[0] is Entry.UNEXPECTED
    assert ledger.enter(2**62)[0] is Entry.UNEXPECTED
    assert ledger.unexpected.count == 2


def test_a_number_before_the_first_is_not_written_over_others() -> None:
    ledger = Ledger()
    enter_all(ledger, [100, 101])
    assert ledger.enter(99)[0] is Entry.UNEXPECTED


def test_an_empty_series_has_an_account_too() -> None:
    account = Ledger(3).close()
    assert account.missing_ranges == ((0, 2),)
    assert account.row_count == 0
    assert Ledger().close().missing_count == 0


def test_the_expected_count_may_come_late() -> None:
    ledger = Ledger()
    ledger.set_expected(4)
    enter_all(ledger, [0, 1, 2])
    assert not ledger.all_seen
    enter_all(ledger, [3])
    assert ledger.all_seen


def test_fates_are_in_the_order_of_the_rows() -> None:
    ledger = Ledger(4)
    for number, fate in ((3, Fate.WRITTEN), (1, Fate.DISCARDED), (4, Fate.CORRUPT)):
        _, row = ledger.enter(number)
        ledger.settle(row, fate)
    account = ledger.close()
    assert account.first == 1
    assert np.array_equal(account.fates, [Fate.DISCARDED, Fate.MISSING, Fate.WRITTEN, Fate.CORRUPT])


@pytest.mark.parametrize("hint", [None, 0])
def test_a_number_out_of_reach_takes_nobodys_row(hint: int | None) -> None:
    """Frame 50 is lost and a stray 150 comes: modulo 100 it would stand in row 50 and turn the whole file."""
    ledger = Ledger(100)
    if hint is not None:
        ledger.hint_first(hint)
    rows = enter_all(ledger, [*range(50), 150, *range(51, 100)])
    assert rows == {n: n for n in range(100) if n != 50}
    account = ledger.close()
    assert (account.first, account.rotation, account.missing_ranges) == (0, 0, ((50, 50),))
    assert ledger.unexpected.count == 1


def test_a_jump_far_ahead_is_believed_at_the_second_frame() -> None:
    ledger = Ledger()
    enter_all(ledger, [0, 1])
    assert ledger.enter(10_000_000)[0] is Entry.UNEXPECTED  # ten million blank rows for one wrong number
    enter_all(ledger, [2, 3])
    assert ledger.close().row_count == 4
    far = DOUBTFUL_JUMP + 100
    assert ledger.enter(far)[0] is Entry.UNEXPECTED
    assert ledger.enter(far + 1) == (Entry.NEW, far + 1)


def test_a_count_without_end_costs_no_memory() -> None:
    ledger = Ledger(2_000_000_000_000)
    rows = enter_all(ledger, [0, 1, 2])
    account = ledger.close(keep_tail=False)
    assert rows == {0: 0, 1: 1, 2: 2}
    assert account.row_count == 3
    assert account.missing_ranges == ((3, 1_999_999_999_999),)
    assert ledger.modulus is None
    assert Ledger(2_000_000_000_000).close().missing_count == 2_000_000_000_000


def test_no_number_fits_a_series_of_no_frames() -> None:
    ledger = Ledger(0)
    assert ledger.enter(0)[0] is Entry.UNEXPECTED
    assert ledger.all_seen


@pytest.mark.parametrize("expected", [None, 0, 10])
def test_it_knows_which_frames_are_on_their_way(expected: int | None) -> None:
    ledger = Ledger(expected)
    assert not ledger.is_on_its_way(3)
    entry, row = ledger.enter(3)
    if expected == 0:
        assert entry is Entry.UNEXPECTED
        assert not ledger.is_on_its_way(3)
        return
    assert ledger.is_on_its_way(3)
    assert not any(ledger.is_on_its_way(number) for number in (0, 2, 4, 2**40 + 1))
    ledger.settle(row, Fate.WRITTEN)
    assert not ledger.is_on_its_way(3)


@pytest.mark.parametrize("expected", [None, 1000])
@pytest.mark.parametrize("first", [0, 7, 5000])
def test_the_first_gap_is_known_while_frames_come(expected: int | None, first: int) -> None:
    ledger = Ledger(expected)
    assert ledger.first_gap() is None
    ledger.hint_first(first)
    enter_all(ledger, [first + n for n in (0, 1, 5, 6, 9)])
    assert ledger.first_gap() == (first + 2, first + 4)
    enter_all(ledger, [first + n for n in (2, 3, 4)])
    assert ledger.first_gap() == (first + 7, first + 8)
    enter_all(ledger, [first + 7, first + 8])
    assert (ledger.first_gap(), ledger.gaps) == (None, 0)


def test_the_first_gap_is_found_where_rows_go_round() -> None:
    ledger = Ledger(10)
    enter_all(ledger, [8, 9, 10, 13])
    assert ledger.first_gap() == (11, 12)


@pytest.mark.parametrize("expected", [None, 5])
def test_it_tells_which_numbers_are_here_and_undamaged(expected: int | None) -> None:
    ledger = Ledger(expected)
    assert not ledger.holds(0)
    rows = {number: ledger.enter(number)[1] for number in (10, 11, 12)}
    ledger.settle(rows[11], Fate.CORRUPT)
    ledger.settle(rows[12], Fate.WRITTEN)
    assert [ledger.holds(number) for number in (0, 9, 10, 11, 12, 13, 15, 17)] == [
        *(False, False, True, False, True),
        *(False, False, False),
    ]
