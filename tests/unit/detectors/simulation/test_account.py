"""The sender's own account of a series."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxdaq_tango.detectors.simulation.account import MOST_SERIES, AccountBook, NumberSet, SeriesAccount
from maxdaq_tango.detectors.simulation.delivery import END, HEADER, DeliveryPlan
from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.errors import ConfigurationError


def account(count: int, **faults) -> SeriesAccount:
    """Of a series in which everything that was made leaves at once."""
    book, plan = AccountBook(), DeliveryPlan(Faults(**faults))
    book.begin(1, restarted=faults.get("restart_at"))
    deliveries = [HEADER]
    for number in range(count):
        book.made(1)
        deliveries += plan.frame(number)
    deliveries += [*plan.end(), END]
    for delivery in deliveries:
        book.offered(1)
        book.sent(1, delivery)
    book.finished(1)
    return book.read(1)


@given(st.lists(st.integers(0, 60)))
def test_numbers_in_any_order_are_the_same_ranges(numbers: list[int]) -> None:
    held = NumberSet()
    news = [held.add(number) for number in numbers]
    inside = {number for first, last in held.ranges for number in range(first, last + 1)}
    assert inside == set(numbers)
    assert sum(news) == len(inside)
    assert all(a[1] + 1 < b[0] for a, b in zip(held.ranges, held.ranges[1:], strict=False))
    assert all((number in held) == (number in inside) for number in range(62))
    gaps = {number for first, last in held.absent(40) for number in range(first, last + 1)}
    assert gaps == set(range(40)) - inside


def test_a_series_in_good_health() -> None:
    told = account(5)
    assert told.intact == ((0, 4),)
    assert (told.headers, told.ends, told.finished, told.frames_made, told.messages_waiting) == (1, 1, True, 5, 0)
    assert told.dropped == told.damaged == told.foreign == told.duplicated == told.stolen == told.renumbered == ()
    assert told.restarted is None


def test_each_fault_is_in_its_own_list() -> None:
    told = account(
        10, drop_frames=(1, 2), duplicate_frames=(4,), truncate_frames=(5,), wrong_series_frames=(7,),
        reorder_frames=(8,), second_header_at=3,
    )  # fmt: skip
    assert told.intact == ((0, 0), (3, 4), (6, 6), (8, 9))
    assert told.dropped == ((1, 2), (7, 7))
    assert told.duplicated == ((4, 4),)
    assert told.damaged == ((5, 5),)
    assert told.foreign == ((7, 7),)
    assert (told.headers, told.foreign_headers) == (1, 1)


def test_numbers_that_begin_again_are_one_entry() -> None:
    told = account(6, restart_at=4)
    assert told.renumbered == ((4, 5, 0),)
    assert told.intact == ((0, 3),)
    assert told.duplicated == ((0, 1),)
    assert told.dropped == ((4, 5),)
    assert told.restarted == 4


def test_a_sender_that_has_gone_has_dropped_the_rest() -> None:
    assert account(6, stop_after=2).dropped == ((2, 5),)


def test_what_waits_is_not_told_as_sent() -> None:
    book = AccountBook()
    book.begin(3, "ULID")
    book.made(3)
    book.offered(3)
    assert (book.read(3).messages_waiting, book.read(3).intact, book.read(3).finished) == (1, (), False)
    book.lost(3)
    assert (book.read(3).messages_waiting, book.read(3).dropped) == (0, ((0, 0),))


def test_a_series_that_never_was_is_refused_with_those_there_are() -> None:
    book = AccountBook()
    with pytest.raises(ConfigurationError, match="none yet"):
        book.read(1)
    book.begin(1)
    book.begin(2)
    with pytest.raises(ConfigurationError, match="1 to 2"):
        book.read(9)


def test_old_accounts_are_forgotten_and_a_number_that_comes_again_is_new() -> None:
    book = AccountBook()
    for series in range(MOST_SERIES + 1):
        book.begin(series)
    with pytest.raises(ConfigurationError):
        book.read(0)
    book.made(5)
    book.begin(5)
    assert book.read(5).frames_made == 0
