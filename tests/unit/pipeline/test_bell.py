"""A bell: no ring is lost, whenever it comes."""

from __future__ import annotations

import select
import threading

from maxdaq_tango.pipeline.bell import Bell


def test_a_ring_before_anybody_listens_is_remembered_and_costs_no_system_call() -> None:
    bell = Bell()
    bell.ring()
    assert select.select([bell], [], [], 0)[0] == []
    assert not bell.listen()
    assert bell.silence()
    assert bell.listen()
    assert not bell.silence()
    bell.close()


def test_a_ring_wakes_who_listens_once() -> None:
    bell = Bell()
    assert bell.listen()
    bell.ring()
    bell.ring()
    assert select.select([bell], [], [], 10)[0] == [bell]
    assert bell.silence()
    assert bell.listen()
    assert select.select([bell], [], [], 0)[0] == []
    assert not bell.silence()
    bell.close()


def test_nobody_ever_waits_for_a_ring_that_came() -> None:
    bell, told, heard = Bell(), 0, 0
    answered = threading.Semaphore(0)

    def ring() -> None:
        nonlocal told
        for _ in range(20_000):
            told += 1
            bell.ring()
            answered.acquire()

    ringer = threading.Thread(target=ring)
    ringer.start()
    while heard < 20_000:
        if bell.listen():
            assert select.select([bell], [], [], 10)[0] == [bell]
        assert bell.silence()
        if told > heard:
            heard += 1
            answered.release()
    ringer.join()
    bell.close()


def test_after_its_end_it_is_silent() -> None:
    bell = Bell()
    bell.listen()
    bell.close()
    bell.ring()
    bell.close()
