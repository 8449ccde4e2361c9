"""A bounded hand-over: full, closed, nudged, oversized."""

from __future__ import annotations

import threading

from maxdaq_tango.pipeline.byte_queue import ByteQueue

WAIT_S = 5.0


def in_thread(function: object, *arguments: object) -> tuple[threading.Thread, list[object]]:
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(function(*arguments)))  # type: ignore[operator]
    thread.start()
    return thread, results


def test_items_come_out_in_order_and_free_their_bytes() -> None:
    queue: ByteQueue[int] = ByteQueue(100)
    assert queue.put_many([(1, 10), (2, 20)])
    assert queue.nbytes == 30
    assert queue.get_many(1, 0) == [1]
    assert queue.nbytes == 20
    assert queue.get_many(10, 0) == [2]


def test_a_batch_is_bounded_in_bytes_but_never_empty_for_that() -> None:
    queue: ByteQueue[int] = ByteQueue(1000)
    queue.put_many([(1, 10), (2, 20), (3, 30), (4, 500), (5, 1)])
    assert queue.get_many(10, 0, 30) == [1, 2]
    assert queue.get_many(10, 0, 30) == [3]
    assert queue.get_many(10, 0, 30) == [4]
    assert queue.nbytes == 1


def test_a_full_queue_makes_the_producer_wait_and_counts_it() -> None:
    queue: ByteQueue[int] = ByteQueue(100)
    queue.put_many([(1, 90)])
    thread, results = in_thread(queue.put_many, [(2, 20)])
    thread.join(0.05)
    assert thread.is_alive()
    assert queue.get_many(1, 0) == [1]
    thread.join(WAIT_S)
    assert results == [True]
    assert queue.full_count == 1
    assert queue.get_many(1, 0) == [2]


def test_an_item_larger_than_the_budget_passes_an_empty_queue() -> None:
    queue: ByteQueue[int] = ByteQueue(10)
    assert queue.put_many([(1, 1000)])
    assert queue.get_many(1, 0) == [1]


def test_close_wakes_a_waiting_producer_who_learns_that_he_was_turned_away() -> None:
    queue: ByteQueue[int] = ByteQueue(10)
    queue.put_many([(1, 10)])
    thread, results = in_thread(queue.put_many, [(2, 10)])
    queue.close()
    queue.close()
    thread.join(WAIT_S)
    assert results == [False]
    assert queue.get_many(5, 0) == [1]  # what was handed over before is not lost


def test_close_and_nudge_wake_a_waiting_consumer() -> None:
    for wake in ("close", "nudge"):
        queue: ByteQueue[int] = ByteQueue(10)
        thread, results = in_thread(queue.get_many, 1, WAIT_S)
        getattr(queue, wake)()
        thread.join(WAIT_S)
        assert results == [[]]


def test_a_nudge_before_the_wait_is_not_lost() -> None:
    queue: ByteQueue[int] = ByteQueue(10)
    queue.nudge()
    thread, results = in_thread(queue.get_many, 1, 60.0)
    thread.join(WAIT_S)
    assert results == [[]]


def test_clear_lets_the_producer_go_on() -> None:
    queue: ByteQueue[int] = ByteQueue(10)
    queue.put_many([(1, 10)])
    thread, results = in_thread(queue.put_many, [(2, 10)])
    thread.join(0.05)
    assert queue.clear() == 1
    thread.join(WAIT_S)
    assert results == [True]
